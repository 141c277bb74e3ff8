package iot

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"mote/internal/cloud/destination"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/table"
)

// newRuleServer serves the real rules in dir.
func newRuleServer(t testing.TB) (*httptest.Server, *rules.Engine, *destination.Destinations) {
	t.Helper()
	reg, st := openRegistry(t, t.TempDir())
	db, err := table.Open(st, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	e, err := rules.Open(st, db, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	destinations, err := destination.Open(st, destination.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destinations.Close)
	srv := httptest.NewServer(New(reg, e, Options{Destinations: destinations}))
	t.Cleanup(srv.Close)
	return srv, e, destinations
}

// message is the message of an error's body.
func messageOf(t testing.TB, body string) string {
	t.Helper()
	var e struct{ Message string }
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatal(err)
	}
	return e.Message
}

// A bad statement is refused with its place; nothing of the rule is kept.
func TestBadStatementsAreNotStored(t *testing.T) {
	srv, e, _ := newRuleServer(t)
	for _, c := range []struct{ sql, action, want string }{
		{`SELECT a b FROM 'a'`, "", "line 1, column 10: expected"},
		{`SELECT nothing() FROM 'a'`, "", "line 1, column 8: there is no function nothing\n  SELECT nothing() FROM 'a'\n         ^"},
		{`SELECT * FROM 'a/#/b'`, "", "\n  SELECT * FROM 'a/#/b'\n                ^"},
		{"SELECT *\nFROM 'a'\nWHERE", "", "line 3, column 6: "},
		{`SELECT * FROM 'a'`, `{"republish":{"roleArn":"r","topic":"x/${1 +}"}}`, "action 1 (republish): topic: line 1, column 8: "},
	} {
		action := c.action
		if action == "" {
			action = `{"republish":{"roleArn":"r","topic":"x"}}`
		}
		sql, _ := json.Marshal(c.sql)
		body := fmt.Sprintf(`{"sql":%s,"actions":[%s],"awsIotSqlVersion":"2016-03-23"}`, sql, action)
		for _, method := range []string{"POST", "PATCH"} {
			status, code, answer := do(t, srv, method, "/rules/r", body)
			if status != 400 || code != "SqlParseException" || !strings.Contains(messageOf(t, answer), c.want) {
				t.Errorf("%s: %d %s %s", c.sql, status, code, answer)
			}
			if got := e.List(); len(got) > 0 && got[0].Payload.SQL == c.sql {
				t.Errorf("%s is stored", c.sql)
			}
		}
		if len(e.List()) == 0 {
			do(t, srv, "POST", "/rules/r", `{"sql":"SELECT * FROM 'ok'","actions":[]}`)
		}
	}
	if got := e.List(); len(got) != 1 || got[0].Filter != "ok" {
		t.Errorf("%+v", got)
	}
}

// Actions come back as they went in, also those that mote does not execute.
func TestActionsComeBackVerbatim(t *testing.T) {
	srv, _, _ := newRuleServer(t)
	const body = `{"sql":"SELECT * FROM 'a'","description":"<d>","ruleDisabled":true,"actions":[
		{"timestream":{"databaseName":"d","tableName":"t","dimensions":[{"name":"n","value":"${a}"}],"timestamp":{"value":"${timestamp()}","unit":"MILLISECONDS"},"roleArn":"r"}},
		{"iotSiteWise":{"roleArn":"r","putAssetPropertyValueEntries":[{"propertyAlias":"/a/<b>","propertyValues":[{"value":{"doubleValue":"1"},"timestamp":{"timeInSeconds":"1"}}]}]}},
		{"cloudwatchLogs":{"roleArn":"r","logGroupName":"g","batchMode":false,"more":{"deep":[1,2.50,null]}}},
		{"dynamoDB":{"roleArn":"r","tableName":"t","hashKeyField":"k","hashKeyValue":"v","operation":"${op}"}},
		{"http":{"url":"https://example.com/${a}","confirmationUrl":"https://example.com","headers":[{"key":"k","value":"${a}"}]}}],
		"errorAction":{"sns":{"targetArn":"a","roleArn":"r","messageFormat":"RAW"}}}`
	if status, code, answer := do(t, srv, "POST", "/rules/r", body); status != 200 {
		t.Fatal(code, answer)
	}
	_, _, answer := do(t, srv, "GET", "/rules/r", "")
	var in map[string]any
	var out struct{ Rule map[string]any }
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		t.Fatal(err)
	}
	for name, want := range in {
		if got := out.Rule[name]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if !strings.Contains(answer, "2.50") {
		t.Errorf("a number lost its digits: %s", answer)
	}
}

func TestListTopicRules(t *testing.T) {
	srv, _, _ := newRuleServer(t)
	for name, filter := range map[string]string{"a": "sensors/+/air", "b": "sensors/#", "c": "#", "d": "other", "e": "$aws/things/+/shadow/update"} {
		if status, _, answer := do(t, srv, "POST", "/rules/"+name, fmt.Sprintf(`{"sql":"SELECT * FROM '%s'","actions":[],"ruleDisabled":%v}`, filter, name == "d")); status != 200 {
			t.Fatal(answer)
		}
	}
	do(t, srv, "POST", "/rules/f", `{"sql":"SELECT *","actions":[]}`)
	for _, c := range []struct{ query, want string }{
		{"", "a b c d e f"},
		{"topic=sensors/1/air", "a b c"},
		{"topic=" + url.QueryEscape("sensors/+/air"), "a b c"},
		{"topic=other", "c d"},
		{"topic=" + url.QueryEscape("$aws/things/x/shadow/update"), "e"},
		{"ruleDisabled=true", "d"},
		{"ruleDisabled=false", "a b c e f"},
		{"topic=other&ruleDisabled=false", "c"},
		{"maxResults=2", "a b"},
		{"maxResults=10000", "a b c d e f"},
	} {
		if got := listed(t, srv, c.query); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
	if status, code, _ := do(t, srv, "GET", "/rules?maxResults=10001", ""); status != 400 || code != "InvalidRequestException" {
		t.Errorf("%d %s", status, code)
	}
	var names []string
	token := ""
	for range 10 {
		_, _, answer := do(t, srv, "GET", "/rules?maxResults=2&topic=sensors/1/air&nextToken="+url.QueryEscape(token), "")
		var page struct {
			Rules     []struct{ RuleName string }
			NextToken string
		}
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Rules {
			names = append(names, r.RuleName)
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[a b c]" {
		t.Errorf("pages: %v", names)
	}
}

// listed returns the names of the first page of a list.
func listed(t *testing.T, srv *httptest.Server, query string) string {
	t.Helper()
	_, _, answer := do(t, srv, "GET", "/rules?"+query, "")
	var list struct{ Rules []struct{ RuleName string } }
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list.Rules {
		names = append(names, r.RuleName)
	}
	return strings.Join(names, " ")
}

// A rule with an http action makes the destination that it needs, once, and
// none for what is trusted or differs from message to message.
func TestRuleMakesItsDestination(t *testing.T) {
	srv, _, all := newRuleServer(t)
	rule := func(actions string) string { return `{"sql":"SELECT * FROM 'a'","actions":[` + actions + `]}` }
	for _, step := range []struct{ method, body string }{
		{"POST", rule(`{"http":{"url":"https://service.invalid/in/${topic(1)}","confirmationUrl":"https://service.invalid/in"}},{"http":{"url":"http://127.0.0.1:9/x"}}`)},
		{"PATCH", rule(`{"http":{"url":"https://service.invalid/in"}},{"http":{"url":"${u}","confirmationUrl":"${u}"}},{"http":{"url":"http://169.254.169.254/x"}}`)},
	} {
		if status, code, answer := do(t, srv, step.method, "/rules/r", step.body); status != 200 {
			t.Fatal(code, answer)
		}
	}
	if got := all.List(); len(got) != 1 || got[0].URL != "https://service.invalid/in" {
		t.Errorf("%+v", got)
	}
}
