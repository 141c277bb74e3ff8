package rules

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"mote/internal/cloud/message"
	"mote/internal/cloud/table"
)

func tryOn(t *testing.T, p Payload, topic, payload string) string {
	t.Helper()
	got, err := Try(p, &message.Message{Topic: topic, Payload: []byte(payload), ClientID: "dev1", Time: testTime}, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	return uuidForm.ReplaceAllString(string(data), "<uuid>")
}

func TestTry(t *testing.T) {
	const sql = `SELECT id, dust FROM 'sensors/+/air' WHERE dust > 20`
	for _, c := range []struct{ sql, action, topic, payload, want string }{
		{sql, toAir, "sensors/1/air", `{"id":"1","dust":21}`,
			`{"matched":true,"fired":true,"where":"true","result":{"id":"1","dust":21},"actions":[{"kind":"dynamoDBv2","does":"puts an item","target":"air","item":{"dust":{"N":"21"},"id":{"S":"1"}}}]}`},
		{sql, toAir, "sensors/1/air", `{"id":"1","dust":20}`, `{"matched":true,"fired":false,"where":"false","actions":[]}`},
		{sql, toAir, "sensors/1/air", `{"id":"1"}`, `{"matched":true,"fired":false,"where":"undefined","actions":[]}`},
		{`SELECT * FROM 'a' WHERE n`, toAir, "a", `{"n":[1]}`, `{"matched":true,"fired":false,"where":"[1]","actions":[]}`},
		{sql, toAir, "sensors/1", `{"id":"1","dust":21}`, `{"matched":false,"fired":false,"actions":[]}`},
		{`SELECT VALUE missing FROM '#'`, `{"republish":{"topic":"out"}}`, "a", `{}`,
			`{"matched":true,"fired":true,"actions":[{"kind":"republish","does":"publishes a message","target":"out","publish":{"topic":"out","qos":0}}]}`},
		{`SELECT * FROM '#'`, `{"s3":{"bucketName":"dust","key":"k"}}`, "a", "\xff\xfe",
			`{"matched":true,"fired":true,"result_base64":"//4=","actions":[{"kind":"s3","does":"writes an object","target":"dust","object":{"bucket":"dust","key":"k","size":2}}]}`},
		{`SELECT topic() AS t WHERE true`, `{"sqs":{"queueUrl":"q"}}`, "$aws/rules/any/a/b", `{}`,
			`{"matched":true,"fired":true,"where":"true","result":{"t":"a/b"},"actions":[{"kind":"sqs","does":"nothing: the action is stored, not executed"}]}`},
		{`SELECT * FROM '#'`, `{"http":{"url":"https://example.com/a","headers":[{"key":"content-type","value":"text/plain"},{"key":"X-A","value":"${id}"}],"auth":{"sigv4":{"signingRegion":"r","serviceName":"s","roleArn":"x"}}}}`, "a", `{"id":7}`,
			`{"matched":true,"fired":true,"result":{"id":7},"actions":[{"kind":"http","does":"sends an HTTP request","target":"https://example.com/a","request":{"method":"POST","url":"https://example.com/a","headers":[{"name":"content-type","value":"text/plain"},{"name":"X-A","value":"7"}],"signed":"r/s","payload":{"id":7}}}]}`},
		{`SELECT * FROM '#'`, `{"dynamoDB":{"tableName":"t","hashKeyField":"k","hashKeyValue":"${id}","operation":"UPDATE"}}`, "a", `{"id":7}`,
			`{"matched":true,"fired":true,"result":{"id":7},"actions":[{"kind":"dynamoDB","does":"sets an attribute","target":"t","key":{"k":{"S":"7"}},"attribute":"payload","value":{"M":{"id":{"N":"7"}}}}]}`},
		{`SELECT * FROM '#'`, `{"dynamoDB":{"tableName":"t","hashKeyField":"k","hashKeyValue":"${id}","operation":"DELETE"}}`, "a", `{"id":7}`,
			`{"matched":true,"fired":true,"result":{"id":7},"actions":[{"kind":"dynamoDB","does":"removes an item","target":"t","key":{"k":{"S":"7"}}}]}`},
		{`SELECT * FROM '#'`, `{"lambda":{"functionArn":"f"}}`, "a", `{"id":7}`,
			`{"matched":true,"fired":true,"result":{"id":7},"actions":[{"kind":"lambda","does":"invokes a function","target":"f","request":{"payload":{"id":7}}}]}`},
		{`SELECT aws_lambda("arn", {}) AS x, id FROM '#'`, toAir, "a", `{"id":"7"}`,
			`{"matched":true,"fired":true,"result":{"id":"7"},"actions":[{"kind":"dynamoDBv2","does":"puts an item","target":"air","item":{"id":{"S":"7"}}}],"not_offered":["aws_lambda"]}`},
	} {
		if got := tryOn(t, payload(c.sql, c.action), c.topic, c.payload); got != c.want {
			t.Errorf("%s over %s\ngot  %s\nwant %s", c.sql, c.payload, got, c.want)
		}
	}
}

func TestTryErrorAction(t *testing.T) {
	p := payload(`SELECT VALUE id FROM '#'`, toAir, `{"republish":{"topic":"ok"}}`, `!{"republish":{"topic":"failed/${id}","qos":1,"headers":{"messageExpiry":"60"}}}`)
	got := tryOn(t, p, "a", `{"id":1}`)
	want := `{"matched":true,"fired":true,"result":1,"actions":[` +
		`{"kind":"dynamoDBv2","does":"fails","target":"air","error":"the result of the statement is not a JSON object, so it has no attributes"},` +
		`{"kind":"republish","does":"publishes a message","target":"ok","publish":{"topic":"ok","qos":0,"payload":1}}],` +
		`"error_action":{"kind":"republish","does":"publishes a message","target":"failed/1","publish":{"topic":"failed/1","qos":1,"payload":` +
		`{"ruleName":"trial","topic":"a","cloudwatchTraceId":"<uuid>","clientId":"dev1","base64OriginalPayload":"eyJpZCI6MX0=",` +
		`"failures":[{"failedAction":"DynamoDBv2Action","failedResource":"air","errorMessage":"the result of the statement is not a JSON object, so it has no attributes"}]},"expiry_seconds":60}}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTryRefusesABadRule(t *testing.T) {
	_, err := Try(payload(`SELECT FROM 'a'`), &message.Message{Topic: "a"}, nil, Options{})
	var e *InvalidError
	if !errors.As(err, &e) || !e.SQL || !strings.Contains(e.Msg, "^") {
		t.Errorf("got %v", err)
	}
}

// With the tables of an engine, a trial knows what they refuse; it writes
// nothing and counts nothing.
func TestTryOnAnEngine(t *testing.T) {
	rec := &recorder{}
	_, e := rec.open(t, Options{})
	try := func(p Payload, data string) *Trial {
		t.Helper()
		got, err := e.Try(p, &message.Message{Topic: "a", Payload: []byte(data), Time: testTime})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	p := payload(`SELECT * FROM '#'`, toAir, `{"s3":{"bucketName":"dust","key":"k"}}`, `{"dynamoDB":{"tableName":"both","hashKeyField":"id","hashKeyValue":"1","operation":"UPDATE"}}`)
	got := try(p, `{"id":"1"}`)
	if got.Actions[0].Error != "" || got.Actions[0].Item == nil || got.Actions[1].Object == nil {
		t.Errorf("%+v", got.Actions)
	}
	if got.Actions[2].Error != "ValidationException: The provided key element does not match the schema" {
		t.Errorf("%+v", got.Actions[2])
	}
	if got := try(p, `{"id":1}`); !strings.Contains(got.Actions[0].Error, "Type mismatch for key id") || got.Actions[0].Item != nil {
		t.Errorf("%+v", got.Actions[0])
	}
	item, err := rec.GetItem(table.GetRequest{Table: "air", Key: table.Item{"id": table.String("1")}})
	if err != nil || item.Item != nil || len(rec.entries) != 0 || len(e.Status()) != 0 {
		t.Errorf("the trial wrote: %v, %v, %v", item, err, rec.entries)
	}
}

func TestExplain(t *testing.T) {
	got, err := Explain(`SELECT a.b FROM 'x/+' WHERE a > 1`, "2016-03-23")
	if want := "select\n  member a.b\nfrom topic filter \"x/+\"\nwhere\n  >\n    member a\n    1\n"; err != nil || got != want {
		t.Errorf("got %s %v", got, err)
	}
	for _, bad := range [][2]string{{"SELECT", "2016-03-23"}, {"SELECT nofunction() FROM 'a'", ""}, {"SELECT * FROM 'a'", "2017"}} {
		var e *InvalidError
		if _, err := Explain(bad[0], bad[1]); !errors.As(err, &e) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// What functions read from outside: items as plain JSON.
func TestServices(t *testing.T) {
	rec := &recorder{}
	_, e := rec.open(t, Options{})
	read := &services{tables: e.tables, opt: &e.opt, logs: &e.unread}
	item := table.Item{
		"id": table.String("1"), "n": {Kind: table.N, Str: "12345678901234567890.123456789"}, "b": table.Binary([]byte{0xff}), "t": table.Bool(true), "z": table.Null(),
		"ss": {Kind: table.SS, Set: []string{"x"}}, "ns": {Kind: table.NS, Set: []string{"1.5"}}, "bs": {Kind: table.BS, Set: []string{"\xff"}},
		"l": table.List(table.String("a"), table.Map(table.Item{"k": table.Null()})),
	}
	if _, err := rec.PutItem(table.PutRequest{Table: "air", Item: item}); err != nil {
		t.Fatal(err)
	}
	got, ok := read.Item("air", keysOf("id", "1", false))
	want := `{"b":"/w==","bs":["/w=="],"id":"1","l":["a",{"k":null}],"n":12345678901234567890.123456789,"ns":[1.5],"ss":["x"],"t":true,"z":null}`
	if !ok || string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, c := range []struct {
		table string
		key   string
		n     bool
	}{{"none", "1", false}, {"air", "1", true}, {"air", "x", true}, {"air", "2", false}} {
		if got, ok := read.Item(c.table, keysOf("id", c.key, c.n)); ok {
			t.Errorf("%v: %s", c, got)
		}
	}
	if _, ok := read.Shadow("t", ""); ok {
		t.Error("a shadow from nowhere")
	}
	if _, ok := read.RegistryData("DescribeThing", "t"); ok {
		t.Error("a thing from nowhere")
	}
}

func TestNotOfferedIsReportedOnce(t *testing.T) {
	b := newBench(t)
	b.create("r", `SELECT aws_lambda('f', {}) AS x, * FROM '#'`, `{"republish":{"topic":"a/${get_secret('x','SecretString','r')}${aws_lambda('f', {})}"}}`)
	if s := b.status("r"); strings.Join(s.NotOffered, " ") != "aws_lambda get_secret" {
		t.Errorf("%v", s.NotOffered)
	}
	for range 3 {
		b.publish("a", `{}`)
	}
	if n := strings.Count(b.log.String(), "need a service mote does not have"); n != 1 {
		t.Errorf("%d lines: %s", n, b.log.String())
	}
}

func FuzzTry(f *testing.F) {
	f.Add(`SELECT *, topic(1) AS t FROM '#' WHERE a > 1`, `{"http":{"url":"https://example.com/${a}","confirmationUrl":"https://example.com"}}`, []byte(`{"a":2}`))
	f.Add(`SELECT VALUE a FROM '#'`, `{"dynamoDB":{"tableName":"t","hashKeyField":"k","hashKeyValue":"${a}","operation":"${op}"}}`, []byte("\xff"))
	f.Fuzz(func(t *testing.T, sql, action string, data []byte) {
		got, err := Try(payload(sql, action, "!"+action), &message.Message{Topic: "a/b", Payload: data}, nil, Options{})
		if err != nil {
			return
		}
		if _, err := json.Marshal(got); err != nil {
			t.Fatal(err)
		}
	})
}
