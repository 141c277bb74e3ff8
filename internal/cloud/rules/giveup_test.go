package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/outbox"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/watch"
)

// whole is rules over real tables and a real outbox.
type whole struct {
	*testing.T
	st     *store.Store
	tables *table.DB
	box    *outbox.Outbox
	*Engine

	mu        sync.Mutex
	published []*message.Message // guarded by mu
	publish   error              // guarded by mu; what Publish answers
}

// refuses is a deliverer that fails for good.
type refuses struct{ texts []string }

func (r refuses) Deliver(_ context.Context, entries []*outbox.Entry) []error {
	out := make([]error, len(entries))
	for i := range out {
		out[i] = outbox.Fail(outbox.Permanent, errors.New(r.texts[i%len(r.texts)]))
	}
	return out
}

func openWhole(t *testing.T, d outbox.Deliverer) *whole {
	t.Helper()
	w := &whole{T: t}
	var err error
	if w.st, err = store.Open(t.TempDir(), store.Options{}); err != nil {
		t.Fatal(err)
	}
	if w.tables, err = table.Open(w.st, table.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tables.Create(table.CreateRequest{
		Name: "errors", Billing: table.PayPerRequest, Attributes: []table.KeyAttr{{Name: "ruleName", Kind: table.S}},
		Schema: []table.KeyElement{{Name: "ruleName", Type: "HASH"}},
	}); err != nil {
		t.Fatal(err)
	}
	w.box, err = outbox.Open(w.st, outbox.Options{
		Deliverers: map[string]outbox.Deliverer{"http": d, "s3": d, "lambda": d, "kafka": d},
		Failed:     func(ctx context.Context, b *store.Batch, f []outbox.Failure) error { return w.GiveUp(ctx, b, f) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if w.Engine, err = Open(w.st, w.tables, Options{Outbox: w.box, Publish: w.take}); err != nil {
		t.Fatal(err)
	}
	if err := w.box.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.box.Close(t.Context()), w.tables.Close(), w.st.Close()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return w
}

func (w *whole) take(_ context.Context, m *message.Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.publish != nil {
		return w.publish
	}
	w.published = append(w.published, m)
	return nil
}

func (w *whole) all() []*message.Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*message.Message{}, w.published...)
}

// send runs the rules over messages in one batch, and commits it.
func (w *whole) send(messages ...*message.Message) {
	w.Helper()
	b := w.st.NewBatch()
	for _, m := range messages {
		if out := w.Apply(b, m); len(out.Failed) > 0 {
			w.Fatal(out.Failed[0])
		}
	}
	if err := w.st.Commit(b); err != nil {
		w.Fatal(err)
	}
}

func (w *whole) empty() bool { return w.box.Status().Waiting == 0 }

func (w *whole) errorItem(rule string) table.Item {
	w.Helper()
	got, err := w.tables.GetItem(table.GetRequest{Table: "errors", Key: table.Item{"ruleName": table.String(rule)}})
	if err != nil {
		w.Fatal(err)
	}
	return got.Item
}

const (
	toWeb    = `{"http":{"url":"https://example.com/in?key=secret"}}`
	toBucket = `{"s3":{"bucketName":"dust","key":"k"}}`
	toErrors = `!{"dynamoDBv2":{"putItem":{"tableName":"errors"}}}`
	toFailed = `!{"republish":{"topic":"failed/${topic(2)}/${id}","qos":1}}`
)

func (w *whole) create(name, sql string, actions ...string) {
	w.Helper()
	if err := w.Create(name, payload(sql, actions...)); err != nil {
		w.Fatal(err)
	}
}

func boardMessage(board, payload string) *message.Message {
	return &message.Message{Topic: "sensors/" + board + "/air", Payload: []byte(payload), ClientID: "dev" + board, Time: testTime, SourceIP: "192.0.2.7"}
}

func TestGivenUpEntryGoesIntoATable(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no such host"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`, toWeb, toErrors)
	w.send(boardMessage("1", `{"id":"a"}`))
	watch.Until(w, "the error item", func() bool { return w.errorItem("r") != nil })
	item := w.errorItem("r")
	trace := item["cloudwatchTraceId"].Str
	if len(trace) != 36 {
		t.Errorf("trace id %q", trace)
	}
	want := `{"base64OriginalPayload":{"S":"eyJpZCI6ImEifQ=="},"clientId":{"S":"dev1"},"cloudwatchTraceId":{"S":"` + trace + `"},` +
		`"failures":{"L":[{"M":{"errorMessage":{"S":"no such host"},"failedAction":{"S":"HttpAction"},"failedResource":{"S":"https://example.com/in"}}}]},` +
		`"ruleName":{"S":"r"},"topic":{"S":"sensors/1/air"}}`
	if got := show(item); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	watch.Until(w, "the outbox is empty", w.empty)
	s := w.Status()[0]
	if s.Failed != 1 || s.LastError == nil || s.LastError.Topic != "sensors/1/air" || s.LastError.Payload != `{"id":"a"}` || s.LastError.Text != "no such host" {
		t.Errorf("status %+v, %+v", s, s.LastError)
	}
	if s.LastRetry == nil || s.Waiting != 0 {
		t.Errorf("status %+v", s)
	}
}

// Two actions of one message fail at different times: its error action runs once.
func TestErrorActionRunsOnceForOutgoingActions(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`, toWeb, toBucket, toFailed)
	w.send(boardMessage("1", `{"id":"a"}`), boardMessage("2", `{"id":"b"}`))
	watch.Until(w, "the outbox is empty", w.empty)
	topics := map[string]int{}
	for _, m := range w.all() {
		topics[m.Topic]++
		if m.QoS != 1 || m.Depth != 1 || !json.Valid(m.Payload) {
			t.Errorf("%+v", m)
		}
	}
	if fmt.Sprint(topics) != "map[failed/1/a:1 failed/2/b:1]" {
		t.Errorf("published %v", topics)
	}
	if s := w.Status()[0]; s.Failed != 4 {
		t.Errorf("%d failures", s.Failed)
	}
}

// One action fails at once and another one later: the error action ran already.
func TestErrorActionRunsOnceForSlowAndQuickActions(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`, toWeb, `{"dynamoDBv2":{"putItem":{"tableName":"nowhere"}}}`, toFailed)
	b := w.st.NewBatch()
	out := w.Apply(b, boardMessage("1", `{"id":"a"}`))
	if len(out.Republish) != 1 || len(out.Failed) != 0 {
		t.Fatalf("%+v", out)
	}
	if err := w.st.Commit(b); err != nil {
		t.Fatal(err)
	}
	watch.Until(w, "the outbox is empty", w.empty)
	if got := w.all(); len(got) != 0 {
		t.Errorf("the error action ran again: %+v", got[0])
	}
}

// What the error action itself sends is not its own error action's.
func TestErrorActionThatIsGivenUp(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`, toWeb, `!{"s3":{"bucketName":"errors","key":"${traceid()}"}}`)
	w.send(boardMessage("1", `{"id":"a"}`))
	watch.Until(w, "the outbox is empty and two failed", func() bool { return w.empty() && w.Status()[0].Failed == 2 })
	if got := w.Status()[0].LastError; got.Action != "S3Action" {
		t.Errorf("last error %+v", got)
	}
}

func TestGivenUpBatch(t *testing.T) {
	w := openWhole(t, refuses{[]string{"status 400", "status 400", "too large"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`,
		`{"http":{"url":"https://example.com/in","enableBatching":true,"batchConfig":{"maxBatchSize":3,"maxBatchOpenMs":200,"batchAcrossTopics":true}}}`, `!{"republish":{"topic":"failed"}}`)
	w.send(boardMessage("1", `{"id":"a"}`), boardMessage("2", `{"id":"b"}`), boardMessage("3", `{"id":"c"}`))
	watch.Until(w, "the outbox is empty", w.empty)
	got := w.all()
	if len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	want := `{"ruleName":"r","payloadsWithMetadata":[` +
		`{"id":1,"topic":"sensors/1/air","cloudwatchTraceId":"<uuid>","clientId":"dev1","sourceIp":"192.0.2.7","base64OriginalPayload":"eyJpZCI6ImEifQ=="},` +
		`{"id":2,"topic":"sensors/2/air","cloudwatchTraceId":"<uuid>","clientId":"dev2","sourceIp":"192.0.2.7","base64OriginalPayload":"eyJpZCI6ImIifQ=="},` +
		`{"id":3,"topic":"sensors/3/air","cloudwatchTraceId":"<uuid>","clientId":"dev3","sourceIp":"192.0.2.7","base64OriginalPayload":"eyJpZCI6ImMifQ=="}],` +
		`"failures":[{"affectedIds":[1,2],"failedAction":"HttpAction","failedResource":"https://example.com/in","errorMessage":"status 400"},` +
		`{"affectedIds":[3],"failedAction":"HttpAction","failedResource":"https://example.com/in","errorMessage":"too large"}]}`
	if text := uuidForm.ReplaceAllString(string(got[0].Payload), "<uuid>"); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// Records that travelled together are given up one by one.
func TestGivenUpRecords(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`, `{"kafka":{"destinationArn":"d","topic":"dust","clientProperties":{"bootstrap.servers":"localhost:9092","security.protocol":"PLAINTEXT"}}}`, toFailed)
	w.send(boardMessage("1", `{"id":"a"}`), boardMessage("2", `{"id":"b"}`))
	watch.Until(w, "the outbox is empty", w.empty)
	topics := map[string]bool{}
	for _, m := range w.all() {
		topics[m.Topic] = true
		if !strings.Contains(string(m.Payload), `"failures":[{"failedAction":"KafkaAction","failedResource":"dust","errorMessage":"no"}]`) {
			t.Errorf("%s", m.Payload)
		}
	}
	if len(w.all()) != 2 || !topics["failed/1/a"] || !topics["failed/2/b"] {
		t.Errorf("%v", topics)
	}
}

// An error action that cannot run for now leaves the entries where they are.
func TestGiveUpWaitsForTheBroker(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no"}})
	w.create("r", `SELECT * FROM 'sensors/+/air'`, toFailed)
	entry := func(rule string, o *origin) outbox.Failure {
		data, err := o.encode()
		if err != nil {
			t.Fatal(err)
		}
		return outbox.Failure{Entry: &outbox.Entry{Rule: rule, Kind: "http", Context: data}, Err: errors.New("no")}
	}
	w.publish = errors.New("closing")
	o := &origin{Action: "HttpAction", Trace: "t", Topic: "sensors/1/air", Payload: []byte(`{"id":"a"}`), Time: testTime}
	giveUp := func(failures ...outbox.Failure) error {
		b := w.st.NewBatch()
		defer b.Discard()
		return w.GiveUp(t.Context(), b, failures)
	}
	if err := giveUp(entry("r", o)); err == nil || !strings.Contains(err.Error(), "closing") {
		t.Errorf("got %v", err)
	}
	w.publish = nil
	if err := giveUp(entry("gone", o)); err != nil || len(w.all()) != 0 {
		t.Errorf("a rule that is gone: %v", err)
	}
	damaged := outbox.Failure{Entry: &outbox.Entry{Rule: "r", Context: []byte("\x01{")}, Err: errors.New("no")}
	if err := giveUp(damaged, entry("r", o)); err != nil || len(w.all()) != 1 {
		t.Errorf("a damaged entry holds up the others: %v", err)
	}
	if err := giveUp(); err != nil {
		t.Error(err)
	}
}

// An entry and an item of one message are in one batch: both or neither.
func TestEntryAndItemAreOneCommit(t *testing.T) {
	hold := make(chan struct{})
	w := openWhole(t, holds{hold})
	defer close(hold)
	w.create("r", `SELECT topic() AS ruleName FROM 'sensors/+/air'`, toWeb, strings.TrimPrefix(toErrors, "!"))
	b := w.st.NewBatch()
	w.Apply(b, boardMessage("1", `{}`))
	if got := w.box.Status().Rules; len(got) > 0 && got[0].Delivered > 0 {
		t.Error("performed before the commit")
	}
	b.Discard()
	if w.errorItem("sensors/1/air") != nil || !w.empty() {
		t.Error("a batch that was given up left something")
	}
	w.send(boardMessage("1", `{}`))
	if w.errorItem("sensors/1/air") == nil || w.box.Status().Waiting != 1 || w.Status()[0].Waiting != 1 {
		t.Errorf("item %v, status %+v", w.errorItem("sensors/1/air"), w.box.Status())
	}
}

// holds is a deliverer that waits.
type holds struct{ until chan struct{} }

func (h holds) Deliver(ctx context.Context, entries []*outbox.Entry) []error {
	select {
	case <-h.until:
	case <-ctx.Done():
	}
	return nil
}

// A full outbox is a failure of the action, not of the message.
func TestFullOutboxIsAFailure(t *testing.T) {
	rec := &recorder{full: fmt.Errorf("%w: 5 wait", outbox.ErrFull)}
	st, e := rec.open(t, Options{})
	if err := e.Create("r", payload(`SELECT * FROM '#'`, toWeb, toFailed)); err != nil {
		t.Fatal(err)
	}
	b := st.NewBatch()
	defer b.Discard()
	out := e.Apply(b, boardMessage("1", `{"id":"a"}`))
	if out.Unavailable != nil || len(out.Republish) != 1 || !strings.Contains(string(out.Republish[0].Payload), "the outbox is full: 5 wait") {
		t.Errorf("%+v", out)
	}
}

func TestOldMarksAreRemoved(t *testing.T) {
	w := openWhole(t, refuses{[]string{"no"}})
	old, fresh := markKey("r", time.Now().Add(-markAge-time.Hour), "t"), markKey("r", time.Now(), "t")
	b := w.st.NewBatch()
	b.Set(old, nil)
	w.mark(b, fresh)
	if err := w.st.Commit(b); err != nil {
		t.Fatal(err)
	}
	_, oldThere, _ := w.st.Get(old)
	_, freshThere, _ := w.st.Get(fresh)
	if oldThere || !freshThere {
		t.Errorf("old %v, fresh %v", oldThere, freshThere)
	}
	if _, err := Open(w.st, w.tables, Options{}); err != nil {
		t.Errorf("marks are no rules: %v", err)
	}
}

func FuzzOrigin(f *testing.F) {
	data, _ := (&origin{Action: "HttpAction", Topic: "a", Payload: []byte{1}, Time: testTime}).encode()
	f.Add(data)
	f.Add([]byte("\x01{}"))
	f.Add([]byte("\x02"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := decodeOrigin(data)
		if err != nil {
			return
		}
		again, err := o.encode()
		if err != nil {
			t.Skip(err) // a year that JSON does not take
		}
		if _, err := decodeOrigin(again); err != nil || o.message() == nil {
			t.Fatal(err)
		}
	})
}
