package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/cloud/table"
	"mote/internal/iotsql/eval"
	"mote/internal/mqtt"
)

// fakeTables keeps a copy of what is put, and refuses tables that are not named.
type fakeTables struct {
	mu    sync.Mutex
	items map[string][]table.Item // guarded by mu; the keys are the tables there are
	err   error                   // of every Put
}

func (f *fakeTables) Put(b *store.Batch, name string, item table.Item) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if _, ok := f.items[name]; !ok {
		return &table.Error{Code: table.CodeNotFound, Message: "Requested resource not found"}
	}
	f.items[name] = append(f.items[name], maps.Clone(item))
	b.Set(fmt.Appendf(nil, "i%s%d", name, len(f.items[name])), []byte("x"))
	return nil
}

func (f *fakeTables) PutMembers(b *store.Batch, name string, members []table.Member) error {
	item := table.Item{}
	for _, m := range members {
		item[m.Name] = m.Value
	}
	return f.Put(b, name, item)
}

func (f *fakeTables) SetAttribute(b *store.Batch, name string, key table.Item, attribute string, value table.Value, _ func(error)) error {
	item := maps.Clone(key)
	item[attribute] = value
	return f.Put(b, name, item)
}

func (f *fakeTables) Remove(b *store.Batch, name string, key table.Item) error {
	return f.Put(b, name, key)
}

func (f *fakeTables) GetItem(r table.GetRequest) (table.GetResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, item := range f.items[r.Table] {
		return table.GetResult{Item: item}, nil
	}
	return table.GetResult{}, &table.Error{Code: table.CodeNotFound, Message: "Requested resource not found"}
}

type bench struct {
	*testing.T
	st     *store.Store
	tables *fakeTables
	*Engine
	log bytes.Buffer
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, tables: &fakeTables{items: map[string][]table.Item{"air": nil, "errors": nil}}}
	b.st = storetest.Open(t, t.TempDir())
	b.open()
	return b
}

func (b *bench) open() {
	b.Helper()
	var err error
	b.Engine, err = Open(b.st, b.tables, Options{Log: slog.New(slog.NewTextHandler(&b.log, nil))})
	if err != nil {
		b.Fatal(err)
	}
}

const toAir = `{"dynamoDBv2":{"roleArn":"arn:aws:iam::1:role/r","putItem":{"tableName":"air"}}}`

// payload makes a rule of version 2016-03-23; an action that starts with "!" is
// the error action.
func payload(sql string, actions ...string) Payload {
	p := Payload{SQL: sql, AWSIoTSQLVersion: "2016-03-23"}
	for _, a := range actions {
		if e, ok := strings.CutPrefix(a, "!"); ok {
			p.ErrorAction = json.RawMessage(e)
		} else {
			p.Actions = append(p.Actions, json.RawMessage(a))
		}
	}
	return p
}

func (b *bench) create(name, sql string, actions ...string) {
	b.Helper()
	if err := b.Create(name, payload(sql, actions...)); err != nil {
		b.Fatal(err)
	}
}

var testTime = time.UnixMilli(1566553626391)

// publish runs the rules and returns the outcome and how many writes they made.
func (b *bench) publish(topic, payload string) (message.Outcome, int) {
	b.Helper()
	return b.apply(&message.Message{Topic: topic, Payload: []byte(payload), ClientID: "dev1", Time: testTime})
}

func (b *bench) apply(m *message.Message) (message.Outcome, int) {
	b.Helper()
	batch := b.st.NewBatch()
	defer batch.Discard()
	out := b.Apply(batch, m)
	return out, batch.Count()
}

func (b *bench) status(name string) Status {
	b.Helper()
	for _, s := range b.Status() {
		if s.Name == name {
			return s
		}
	}
	b.Fatalf("no status of %s", name)
	return Status{}
}

// show prints an item as DynamoDB's JSON, members sorted.
func show(item table.Item) string {
	data, err := json.Marshal(wireItem(item))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestSelectAllIntoTable(t *testing.T) {
	b := newBench(t)
	b.create("store_air", `SELECT * FROM 'sensors/+/air'`, toAir)
	out, n := b.publish("sensors/1/air", `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.20,"big":12345678901234567890.123456789,"ok":true,"no":null,"l":[1,"x"],"m":{"a":1e2}}`)
	if n != 1 || len(out.Failed) != 0 || len(out.Republish) != 0 {
		t.Fatalf("outcome %+v, %d writes", out, n)
	}
	want := `{"big":{"N":"12345678901234567890.123456789"},"dust":{"N":"35.2"},"id":{"S":"1"},"l":{"L":[{"N":"1"},{"S":"x"}]},"m":{"M":{"a":{"N":"100"}}},"no":{"NULL":true},"ok":{"BOOL":true},"time":{"S":"2026-11-22T10:15:30.123Z"}}`
	if got := show(b.tables.items["air"][0]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if out, n := b.publish("sensors/1/other", `{"a":1}`); n != 0 || len(out.Failed) != 0 {
		t.Errorf("another topic: %+v, %d writes", out, n)
	}
	if s := b.status("store_air"); s.Matched != 1 || s.Fired != 1 || s.Failed != 0 || s.LastError != nil || !s.Enabled {
		t.Errorf("status %+v", s)
	}
	// the map of the item is used again: nothing of the first may show
	if _, n := b.publish("sensors/2/air", `{"id":"2"}`); n != 1 || show(b.tables.items["air"][1]) != `{"id":{"S":"2"}}` {
		t.Errorf("second item %s", show(b.tables.items["air"][1]))
	}
}

func TestRecordAction(t *testing.T) {
	for _, c := range []struct{ sql, action, payload, want string }{
		{`SELECT * FROM '#'`, `{"dynamoDB":{"roleArn":"r","tableName":"air","hashKeyField":"DeviceId","hashKeyValue":"${clientid()}","rangeKeyField":"TimeStamp","rangeKeyValue":"${timestamp()}","payloadField":"data"}}`,
			`{"state":{"temperature":27.0}}`,
			`{"DeviceId":{"S":"dev1"},"TimeStamp":{"S":"1566553626391"},"data":{"M":{"state":{"M":{"temperature":{"N":"27"}}}}}}`},
		{`SELECT a FROM '#'`, `{"dynamoDB":{"tableName":"${t}","hashKeyField":"${topic(1)}","hashKeyValue":"${n}","hashKeyType":"NUMBER","operation":"INSERT"}}`,
			`{"a":1,"n":"7.50","t":"air"}`, `{"payload":{"M":{"a":{"N":"1"}}},"x":{"N":"7.5"}}`},
		{`SELECT * FROM '#'`, `{"dynamoDB":{"tableName":"air","hashKeyField":"k","hashKeyValue":"v"}}`, "\xff\x00", `{"k":{"S":"v"},"payload":{"B":"/wA="}}`},
		{`SELECT VALUE missing FROM '#'`, `{"dynamoDB":{"tableName":"air","hashKeyField":"k","hashKeyValue":"v"}}`, `{}`, `{"k":{"S":"v"},"payload":{"B":""}}`},
		{`SELECT VALUE a FROM '#'`, `{"dynamoDB":{"tableName":"air","hashKeyField":"k","hashKeyValue":"v"}}`, `{"a":[true]}`, `{"k":{"S":"v"},"payload":{"L":[{"BOOL":true}]}}`},
	} {
		b := newBench(t)
		b.create("r", c.sql, c.action)
		out, n := b.publish("x/y", c.payload)
		if n != 1 || len(out.Failed) != 0 {
			t.Errorf("%s: %+v, %d writes", c.action, out.Failed, n)
			continue
		}
		if got := show(b.tables.items["air"][0]); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.action, got, c.want)
		}
	}
}

func TestRepublish(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT id, topic(2) AS board FROM 'sensors/+/air' WHERE dust > 20`,
		`{"republish":{"roleArn":"r","topic":"$$aws/things/${id}/shadow/update","qos":1,"headers":{"payloadFormatIndicator":"UTF8_DATA","contentType":"application/json",
		 "responseTopic":"re/${id}","correlationData":"${encode(id, 'base64')}","messageExpiry":"${5 * 2}","userProperties":[{"key":"k","value":"${id}"},{"key":"k","value":"2"}]}}}`)
	if out, _ := b.publish("sensors/1/air", `{"id":"7","dust":20}`); len(out.Republish) != 0 {
		t.Errorf("WHERE let it through: %+v", out)
	}
	out, n := b.apply(&message.Message{Topic: "sensors/1/air", Payload: []byte(`{"id":"7","dust":21}`), ClientID: "dev1", Principal: "p", Time: testTime, QoS: 1, Retain: true, Depth: 2})
	if len(out.Republish) != 1 || n != 0 || len(out.Failed) != 0 {
		t.Fatalf("%+v %d", out, n)
	}
	m := out.Republish[0]
	if m.Topic != "$aws/things/7/shadow/update" || string(m.Payload) != `{"id":"7","board":"1"}` || m.QoS != 1 || m.Retain || m.Depth != 3 || m.ClientID != "dev1" {
		t.Errorf("message %+v", m)
	}
	if !m.UTF8Payload || m.ContentType != "application/json" || m.ResponseTopic != "re/7" || string(m.CorrelationData) != "7" ||
		!m.Expiry.Equal(testTime.Add(10*time.Second)) || fmt.Sprint(m.UserProperties) != "[{k 7} {k 2}]" {
		t.Errorf("headers %+v", m)
	}
	if s := b.status("r"); s.Matched != 2 || s.Fired != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestRepublishTopicIsChecked(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM 'in'`, `{"republish":{"topic":"${t}"}}`)
	for topic, ok := range map[string]bool{"out": true, "$$aws/things/a/shadow/get": true, "$aws/things/a/shadow/get": false, "a/+": false, "": false, "$$aws/things/a/jobs/get": false} {
		out, _ := b.publish("in", `{"t":"`+topic+`"}`)
		if got := len(out.Republish) == 1 && len(out.Failed) == 0; got != ok {
			t.Errorf("%q: %+v", topic, out)
		}
	}
}

// Two rules that republish to each other come to an end, with a log line.
func TestLoopEnds(t *testing.T) {
	b := newBench(t)
	b.create("ping", `SELECT *, 'ping' AS by FROM 'ping'`, `{"republish":{"topic":"pong"}}`)
	b.create("pong", `SELECT *, 'pong' AS by FROM 'pong'`, `{"republish":{"topic":"ping"}}`)
	queue := []*message.Message{{Topic: "ping", Payload: []byte(`{}`), Time: testTime}}
	published, failed := 0, 0
	for ; len(queue) > 0 && published < 1000; queue = queue[1:] {
		out, _ := b.apply(queue[0])
		queue = append(queue, out.Republish...)
		published += len(out.Republish)
		failed += len(out.Failed)
	}
	if published != maxDepth || failed != 1 {
		t.Errorf("%d republished, %d failed", published, failed)
	}
	if !strings.Contains(b.log.String(), "republish to each other without end") {
		t.Errorf("log: %s", b.log.String())
	}
	if s := b.status("ping"); s.LastError == nil || !strings.Contains(s.LastError.Text, "rules feed each other") || s.Failed != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestFailureWithoutErrorAction(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM '#'`, `{"dynamoDBv2":{"putItem":{"tableName":"nowhere"}}}`, toAir)
	out, n := b.publish("a", `{"id":"1","text":"`+strings.Repeat("é", 2000)+`"}`)
	if n != 1 || len(b.tables.items["air"]) != 1 {
		t.Errorf("the other action did not run: %d writes", n)
	}
	if len(out.Failed) != 1 || out.Failed[0].Error() != "rule r: DynamoDBv2Action on nowhere: ResourceNotFoundException: Requested resource not found" {
		t.Errorf("failed %+v", out.Failed)
	}
	if n := strings.Count(b.log.String(), "no error action took it"); n != 1 {
		t.Errorf("%d log lines", n)
	}
	s := b.status("r")
	if s.Failed != 1 || s.LastError == nil || s.LastError.Topic != "a" || s.LastError.ClientID != "dev1" || len(s.LastError.Payload) > maxShownPayload+4 ||
		!strings.HasPrefix(s.LastError.Payload, `{"id":"1"`) || !strings.HasSuffix(s.LastError.Payload, "é…") {
		t.Errorf("status %+v %+v", s, s.LastError)
	}
}

func TestResultMustBeAnObject(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM '#'`, toAir)
	for _, payload := range []string{"80", "[1]", "not json", ""} {
		if out, n := b.publish("a", payload); n != 0 || len(out.Failed) != 1 {
			t.Errorf("%q: %+v, %d writes", payload, out, n)
		}
	}
	if out, n := b.publish("a", `{"n":`+strings.Repeat("9", 60)+`}`); n != 0 || len(out.Failed) != 1 {
		t.Errorf("a number with 60 digits: %+v, %d writes", out, n)
	}
}

// A statement that works without end on one message fails; the next message is
// not concerned.
func TestTooMuchWorkFails(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT id, (SELECT VALUE (SELECT VALUE (SELECT VALUE 1 FROM e) FROM e) FROM e) AS n FROM '#'`, toAir, `!{"republish":{"topic":"failed"}}`)
	out, n := b.publish("a", `{"id":"1","e":[`+strings.TrimSuffix(strings.Repeat("1,", 10_000), ",")+`]}`)
	if n != 0 || len(out.Republish) != 1 || !bytes.Contains(out.Republish[0].Payload, []byte("too much work")) {
		t.Errorf("%+v, %d writes", out, n)
	}
	if _, n := b.publish("a", `{"id":"1","e":[1,2]}`); n != 1 {
		t.Errorf("%d writes", n)
	}
}

func TestErrorActionRunsOnce(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM 'a/b'`, `{"dynamoDBv2":{"putItem":{"tableName":"one"}}}`, `{"dynamoDBv2":{"putItem":{"tableName":"two"}}}`,
		`!{"republish":{"topic":"failed/${id}"}}`)
	out, n := b.publish("a/b", `{"id":"1"}`)
	if n != 0 || len(out.Failed) != 0 || len(out.Republish) != 1 || out.Republish[0].Topic != "failed/1" {
		t.Fatalf("%+v", out)
	}
	var p map[string]any
	if err := json.Unmarshal(out.Republish[0].Payload, &p); err != nil {
		t.Fatal(err)
	}
	if id, _ := p["cloudwatchTraceId"].(string); len(id) != 36 {
		t.Errorf("trace id %q", id)
	}
	delete(p, "cloudwatchTraceId")
	got, _ := json.Marshal(p)
	want := `{"base64OriginalPayload":"eyJpZCI6IjEifQ==","clientId":"dev1","failures":[` +
		`{"errorMessage":"ResourceNotFoundException: Requested resource not found","failedAction":"DynamoDBv2Action","failedResource":"one"},` +
		`{"errorMessage":"ResourceNotFoundException: Requested resource not found","failedAction":"DynamoDBv2Action","failedResource":"two"}],"ruleName":"r","topic":"a/b"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s := b.status("r"); s.Failed != 2 {
		t.Errorf("status %+v", s)
	}
	// an error action that fails too: all failures come out
	if err := b.Replace("r", payload(`SELECT * FROM 'a/b'`, `{"dynamoDBv2":{"putItem":{"tableName":"one"}}}`, `!{"dynamoDB":{"tableName":"gone","hashKeyField":"k","hashKeyValue":"${id}"}}`)); err != nil {
		t.Fatal(err)
	}
	if out, _ := b.publish("a/b", `{"id":"1"}`); len(out.Failed) != 2 || out.Failed[1].Target != "gone" || out.Failed[1].Action != "DynamoAction" {
		t.Errorf("%+v", out.Failed)
	}
	// and one that works, into a table
	if err := b.Replace("r", payload(`SELECT * FROM 'a/b'`, `{"dynamoDBv2":{"putItem":{"tableName":"one"}}}`, `!{"dynamoDBv2":{"putItem":{"tableName":"errors"}}}`)); err != nil {
		t.Fatal(err)
	}
	if out, n := b.publish("a/b", `{"id":"1"}`); len(out.Failed) != 0 || n != 1 || b.tables.items["errors"][0]["ruleName"].Str != "r" {
		t.Errorf("%+v, %d writes", out.Failed, n)
	}
}

func TestFullDiskIsUnavailable(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT * FROM '#'`, toAir, `!{"republish":{"topic":"failed"}}`)
	b.tables.err = fmt.Errorf("put: %w", store.ErrFull)
	if out, _ := b.publish("a", `{"id":"1"}`); !errors.Is(out.Unavailable, store.ErrFull) || len(out.Failed) != 0 || len(out.Republish) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestBasicIngest(t *testing.T) {
	b := newBench(t)
	b.create("direct", `SELECT *, topic() AS t, topic(2) AS second WHERE id <> '0'`, toAir)
	b.create("all", `SELECT * FROM '#'`, `{"republish":{"topic":"x"}}`)
	out, n := b.publish("$aws/rules/direct/sensors/1", `{"id":"1"}`)
	if n != 1 || len(out.Republish) != 0 {
		t.Fatalf("%+v %d", out, n)
	}
	if got := show(b.tables.items["air"][0]); got != `{"id":{"S":"1"},"second":{"S":"1"},"t":{"S":"sensors/1"}}` {
		t.Error(got)
	}
	if _, n := b.publish("$aws/rules/direct/sensors/1", `{"id":"0"}`); n != 0 {
		t.Error("WHERE does not apply")
	}
	if _, n := b.publish("$aws/rules/direct", `{"id":"1"}`); n != 1 {
		t.Error("a topic without rest is refused")
	}
	if out, n := b.publish("$aws/rules/nowhere/x", `{"id":"1"}`); n != 0 || fmt.Sprint(out.Failures()) != `[there is no rule "nowhere", or it is disabled]` || !strings.Contains(b.log.String(), "rule=nowhere") {
		t.Errorf("%v, log %s", out.Refused, b.log.String())
	}
}

func TestNotExecutedIsReported(t *testing.T) {
	b := newBench(t)
	sns := `{"sns":{"targetArn":"arn:aws:sns:us-east-1:1:t","roleArn":"r"}}`
	b.create("r", `SELECT * FROM '#'`, sns, toAir, `!{"sqs":{"queueUrl":"q","roleArn":"r"}}`)
	if s := b.status("r"); fmt.Sprint(s.NotExecuted) != "[sns sqs]" {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(b.log.String(), "stored, not executed"); n != 1 {
		t.Errorf("%d log lines: %s", n, b.log.String())
	}
	if _, n := b.publish("a", `{"id":"1"}`); n != 1 {
		t.Error("the action that mote knows did not run")
	}
	r, err := b.Get("r")
	if err != nil || string(r.Payload.Actions[0]) != sns {
		t.Errorf("kept %s, %v", r.Payload.Actions, err)
	}
}

func TestRulesSurviveRestart(t *testing.T) {
	b := newBench(t)
	b.create("keep", `SELECT * FROM 'a/#'`, toAir)
	b.create("gone", `SELECT * FROM 'a/#'`, toAir)
	b.create("off", `SELECT * FROM 'a/#'`, toAir)
	if err := errors.Join(b.Delete("gone"), b.Delete("gone"), b.SetEnabled("off", false)); err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(b.List())
	if err != nil {
		t.Fatal(err)
	}
	b.open()
	after, _ := json.Marshal(b.List())
	if string(before) != string(after) || len(b.List()) != 2 || b.List()[0].Filter != "a/#" || b.List()[0].CreatedAt.IsZero() {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	if _, n := b.publish("a/b", `{"id":"1"}`); n != 1 {
		t.Errorf("%d writes: only the enabled rule should run", n)
	}
	if err := b.SetEnabled("off", true); err != nil {
		t.Fatal(err)
	}
	if _, n := b.publish("a/b", `{"id":"1"}`); n != 2 {
		t.Errorf("%d writes with both rules", n)
	}
}

func TestStoredRuleThatDoesNotCompile(t *testing.T) {
	b := newBench(t)
	batch := b.st.NewBatch()
	batch.Set(key("future"), []byte("\x01"+`{"created_at":"2026-11-22T00:00:00Z","payload":{"sql":"SELECT brandnew() FROM 'a'","actions":[]}}`))
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	b.open()
	s := b.status("future")
	if s.Enabled || s.LastError == nil || !strings.Contains(s.LastError.Text, "brandnew") || !strings.Contains(b.log.String(), "does not compile") {
		t.Errorf("status %+v", s)
	}
	if out, _ := b.publish("a", `{}`); len(out.Failed) != 0 {
		t.Errorf("%+v", out)
	}
	batch = b.st.NewBatch()
	batch.Set(key("other"), []byte("\x02{}"))
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.st, b.tables, Options{}); err == nil || !strings.Contains(err.Error(), "rule other is stored in a form") {
		t.Errorf("got %v", err)
	}
}

func TestOperationsOnMissingAndExistingRules(t *testing.T) {
	b := newBench(t)
	p := payload(`SELECT * FROM 'a'`, toAir)
	b.create("r", p.SQL, toAir)
	_, getErr := b.Get("x")
	for what, c := range map[string]struct{ got, want error }{
		"create":  {b.Create("r", p), ErrExists},
		"replace": {b.Replace("x", p), ErrNotFound},
		"get":     {getErr, ErrNotFound},
		"disable": {b.SetEnabled("x", false), ErrNotFound},
		"delete":  {b.Delete("x"), nil},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v", what, c.got)
		}
	}
	first, _ := b.Get("r")
	if _, n := b.publish("a", `{"id":"1"}`); n != 1 {
		t.Fatal("does not run")
	}
	if err := b.Replace("r", payload(`SELECT * FROM 'b'`, toAir)); err != nil {
		t.Fatal(err)
	}
	second, _ := b.Get("r")
	if !first.CreatedAt.Equal(second.CreatedAt) || second.Filter != "b" || b.status("r").Matched != 1 {
		t.Errorf("after replace: %+v, %+v", second, b.status("r"))
	}
	if _, n := b.publish("a", `{"id":"1"}`); n != 0 {
		t.Error("the old filter still matches")
	}
}

func TestInvalidRules(t *testing.T) {
	const sql = `SELECT * FROM 'a'`
	eleven := make([]string, 11)
	for i := range eleven {
		eleven[i] = toAir
	}
	for _, c := range []struct {
		name    string
		p       Payload
		sql     bool
		message string
	}{
		{"a-b", payload(sql), false, `rule name "a-b": use 1 to 128 letters, digits and _`},
		{"", payload(sql), false, `rule name "": use 1 to 128 letters, digits and _`},
		{"r", payload(`SELECT a b FROM 'a'`), true, "line 1, column 10: expected `,` or AS between items, FROM, WHERE or the end, found `b`\n  SELECT a b FROM 'a'\n           ^"},
		{"r", payload(`SELECT f(1) FROM 'a'`), true, "line 1, column 8: there is no function f\n  SELECT f(1) FROM 'a'\n         ^"},
		{"r", payload(`SELECT * FROM 'a/#/b'`), true, "line 1, column 15: in topic filter \"a/#/b\" the wildcard # is not the last level [MQTT-4.7.1-1]\n  SELECT * FROM 'a/#/b'\n                ^"},
		{"r", payload(`SELECT * FROM '$share/g/a'`), true, "line 1, column 15: a rule cannot share a subscription: leave $share/… out\n  SELECT * FROM '$share/g/a'\n                ^"},
		{"r", Payload{SQL: sql, AWSIoTSQLVersion: "2020-01-01"}, false, `awsIotSqlVersion: unknown SQL version "2020-01-01": use "2015-10-08" or "2016-03-23"`},
		{"r", Payload{SQL: `SELECT [1] AS a FROM 'a'`}, true, "line 1, column 8: an array literal needs awsIotSqlVersion \"2016-03-23\"; this rule has \"2015-10-08\"\n  SELECT [1] AS a FROM 'a'\n         ^"},
		{"r", payload(sql, eleven...), false, "a rule has at most 10 actions, this one has 11"},
		{"r", payload(sql, `{}`), false, "action 1: want an object with one member, the kind of action, found 0"},
		{"r", payload(sql, `{"sns":{},"sqs":{}}`), false, "action 1: want an object with one member, the kind of action, found 2"},
		{"r", payload(sql, `[]`), false, "action 1: want a JSON object, found []"},
		{"r", payload(sql, toAir, `{"mail":{}}`), false, `action 2: unknown kind of action "mail"`},
		{"r", payload(sql, `{"lambda":"f"}`), false, `action 1 (lambda): want a JSON object, found "f"`},
		{"r", payload(sql, `{"dynamoDBv2":{}}`), false, "action 1 (dynamoDBv2): putItem is required"},
		{"r", payload(sql, `{"dynamoDBv2":{"putItem":{}}}`), false, "action 1 (dynamoDBv2): putItem: tableName is required"},
		{"r", payload(sql, `{"dynamoDBv2":{"putItem":{"tableName":5}}}`), false, "action 1 (dynamoDBv2): putItem: tableName: want a string, found 5"},
		{"r", payload(sql, `{"dynamoDBv2":{"putItem":{"tableName":"t","x":1}}}`), false, `action 1 (dynamoDBv2): putItem: unknown member "x"`},
		{"r", payload(sql, `{"dynamoDBv2":{"roleArn":"${a}","putItem":{"tableName":"t"}}}`), false, "action 1 (dynamoDBv2): roleArn cannot hold a substitution template"},
		{"r", payload(sql, `{"dynamoDBv2":{"putItem":{"tableName":"a${b"}}}`), true, "action 1 (dynamoDBv2): putItem: tableName: line 1, column 5: expected an operator or the closing `}` of ${…}, found the end\n  a${b\n      ^"},
		{"r", payload(sql, `{"dynamoDB":{"tableName":"t"}}`), false, "action 1 (dynamoDB): hashKeyField and hashKeyValue are required"},
		{"r", payload(sql, `{"dynamoDB":{"tableName":"t","hashKeyField":"k"}}`), false, "action 1 (dynamoDB): hashKeyField and hashKeyValue go together"},
		{"r", payload(sql, `{"dynamoDB":{"tableName":"t","hashKeyField":"k","hashKeyValue":"v","hashKeyType":"S"}}`), false, `action 1 (dynamoDB): hashKeyType "S": want STRING or NUMBER`},
		{"r", payload(sql, `{"dynamoDB":{"tableName":"t","hashKeyField":"k","hashKeyValue":"v","operation":"UPSERT"}}`), false, `action 1 (dynamoDB): operation "UPSERT": want INSERT, UPDATE or DELETE`},
		{"r", payload(sql, `{"dynamoDB":{"tableName":"t","hashKeyField":"k","hashKeyValue":"v","payloadField":"k"}}`), false, `action 1 (dynamoDB): hashKeyField and payloadField are both "k"`},
		{"r", payload(sql, `{"republish":{}}`), false, "action 1 (republish): topic is required"},
		{"r", payload(sql, `{"republish":{"topic":"$aws/things/a/shadow/update"}}`), false, `action 1 (republish): topic: "$aws/things/a/shadow/update": a reserved topic is written with $$ in a rule`},
		{"r", payload(sql, `{"republish":{"topic":"a/#"}}`), false, `action 1 (republish): topic: topic name "a/#" contains a wildcard, + or # [MQTT-3.3.2-2]`},
		{"r", payload(sql, `{"republish":{"topic":"a","qos":2}}`), false, "action 1 (republish): qos 2: want 0 or 1"},
		{"r", payload(sql, `{"republish":{"topic":"a","headers":{"userProperties":[{"key":"k"}]}}}`), false, "action 1 (republish): headers: userProperties 1: value is required"},
		{"r", payload(sql, `!{"republish":{"topic":"a","retain":true}}`), false, `errorAction (republish): unknown member "retain"`},
	} {
		b := newBench(t)
		err := b.Create(c.name, c.p)
		var e *InvalidError
		if !errors.As(err, &e) || e.SQL != c.sql || e.Msg != c.message {
			t.Errorf("got %v\nwant %s (SQL %v)", err, c.message, c.sql)
		}
		if len(b.List()) != 0 {
			t.Errorf("%s: stored all the same", c.message)
		}
		b.open()
		if len(b.List()) != 0 {
			t.Errorf("%s: on disk all the same", c.message)
		}
	}
}

func TestVersionDefaultsTo2015(t *testing.T) {
	b := newBench(t)
	if err := b.Create("r", Payload{SQL: `SELECT a FROM 'a'`, Actions: []json.RawMessage{json.RawMessage(`{"republish":{"topic":"${a}"}}`)}}); err != nil {
		t.Fatal(err)
	}
	out, _ := b.publish("a", `{"a":10.0}`)
	if len(out.Republish) != 1 || string(out.Republish[0].Payload) != `{"a":10.0}` || out.Republish[0].Topic != "10.0" {
		t.Errorf("%+v", out)
	}
}

// A message that no rule wants makes no garbage, however many rules there are.
func TestNoMatchAllocatesNothing(t *testing.T) {
	b := newBench(t)
	for i := range 50 {
		b.create(fmt.Sprintf("r%d", i), fmt.Sprintf(`SELECT * FROM 'sensors/%d/air'`, i), toAir)
	}
	batch := b.st.NewBatch()
	defer batch.Discard()
	m := &message.Message{Topic: "sensors/other/air", Payload: []byte(`{}`), Time: testTime}
	if n := testing.AllocsPerRun(100, func() { b.Apply(batch, m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Rules change while messages run through them.
func TestConcurrentChanges(t *testing.T) {
	b := newBench(t)
	b.create("stay", `SELECT * FROM 'a/+'`, toAir)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				batch := b.st.NewBatch()
				out := b.Apply(batch, &message.Message{Topic: "a/b", Payload: []byte(`{"id":"1"}`), Time: testTime})
				if len(out.Failed) > 0 || batch.Empty() {
					t.Errorf("%+v, empty %v", out, batch.Empty())
				}
				batch.Discard()
			}
		})
	}
	for i := range 10 {
		name := fmt.Sprintf("r%d", i%3)
		err := b.Create(name, payload(`SELECT id FROM 'a/#'`, toAir))
		if errors.Is(err, ErrExists) {
			err = b.Delete(name)
		}
		if err != nil {
			t.Error(err)
		}
		b.Status()
	}
	close(stop)
	wg.Wait()
}

// With the real table engine: what one message causes becomes readable with
// its commit, and a refused item leaves nothing in the batch.
func TestRealTables(t *testing.T) {
	b := newBench(t)
	db, err := table.Open(b.st, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, name := range []string{"air", "errors"} {
		hash := map[string]string{"air": "id", "errors": "topic"}[name]
		_, err := db.Create(table.CreateRequest{
			Name: name, Billing: table.PayPerRequest, Attributes: []table.KeyAttr{{Name: hash, Kind: table.S}},
			Schema: []table.KeyElement{{Name: hash, Type: "HASH"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if b.Engine, err = Open(b.st, db, Options{}); err != nil {
		t.Fatal(err)
	}
	b.create("r", `SELECT * FROM 'sensors/+/air'`, toAir, `!{"dynamoDBv2":{"putItem":{"tableName":"errors"}}}`)
	batch := b.st.NewBatch()
	for _, payload := range []string{`{"id":"1","dust":35.20}`, `{"id":5}`} { // the second has a key of the wrong type
		if out := b.Apply(batch, &message.Message{Topic: "sensors/1/air", Payload: []byte(payload), Time: testTime}); len(out.Failed) > 0 {
			t.Fatal(out.Failed[0])
		}
	}
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	got, err := db.GetItem(table.GetRequest{Table: "air", Key: table.Item{"id": table.String("1")}})
	if err != nil || show(got.Item) != `{"dust":{"N":"35.2"},"id":{"S":"1"}}` {
		t.Errorf("item %s, %v", show(got.Item), err)
	}
	got, err = db.GetItem(table.GetRequest{Table: "errors", Key: table.Item{"topic": table.String("sensors/1/air")}})
	if err != nil || got.Item["ruleName"].Str != "r" || len(got.Item["failures"].List) != 1 {
		t.Errorf("error item %s, %v", show(got.Item), err)
	}
}

func FuzzTrieMatchesLikeMQTT(f *testing.F) {
	for _, s := range [][2]string{{"a/#", "a"}, {"a/#", "a/"}, {"+/b", "$x/b"}, {"#", "$aws/x"}, {"$aws/#", "$aws/x"}, {"$aws/+/b", "$aws/x/b"}, {"a//+", "a//"}, {"/", "/"}, {"#", "a/b/c"}, {"+", "/"}, {"$", "$"}, {"$/+", "$/a"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if checkFilter(filter) != nil || mqtt.ValidTopic(topic) != nil {
			return
		}
		var root trie
		root.add(filter, &compiled{order: 1})
		root.add(filter, &compiled{order: 0})
		got := root.match(nil, topic)
		if want := mqtt.MatchAWS(filter, topic); (len(got) == 2) != want || (len(got) == 0) == want {
			t.Fatalf("%q %q: %d matches, MatchAWS %v", filter, topic, len(got), want)
		}
		if len(got) == 2 && got[0].order != 0 {
			t.Fatal("not in order")
		}
	})
}

func FuzzCompileAction(f *testing.F) {
	f.Add(toAir)
	f.Add(`{"dynamoDB":{"tableName":"${t}","hashKeyField":"a","hashKeyValue":"${n}","hashKeyType":"NUMBER"}}`)
	f.Add(`{"republish":{"topic":"$$aws/${a}","qos":1,"headers":{"userProperties":[{"key":"k","value":"v"}]}}}`)
	f.Add(`{"s3":null,"sqs":{}}`)
	f.Fuzz(func(t *testing.T, action string) {
		_, err := compile(Rule{Name: "r", Payload: payload(`SELECT * FROM 'a'`, action)})
		var e *InvalidError
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%T %v", err, err)
		}
	})
}

// keysOf is one attribute of a key as functions name it.
func keysOf(name, text string, number bool) []eval.Key {
	return []eval.Key{{Name: name, Text: text, Number: number}}
}
