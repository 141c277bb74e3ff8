package iot

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"mote/internal/cloud/rules"
)

// statements for create-topic-rule, with the SQL version and, for bad ones,
// the place and words of the message of SqlParseException.
var statements = []struct{ sql, version, refused string }{
	{`SELECT * FROM 'sensors/+/air'`, "", ""},
	{`SELECT color AS rgb FROM 'topic/subtopic' WHERE temperature > 50`, "2016-03-23", ""},
	{`SELECT (temperature - 32) * 5 / 9 AS celsius, upper(color) as my_color FROM 'a/b'`, "2015-10-08", ""},
	{`SELECT get((SELECT v FROM e WHERE n = 'temperature'), 0).v as temperature FROM 'topic'`, "2016-03-23", ""},
	{`SELECT *, parse_time("yyyy.MM.dd G 'at' HH:mm:ss z", timestamp()) as ts FROM 'device/+/data'`, "2016-03-23", ""},
	{`SELECT temp, md5(deviceid) AS hashed_id FROM topic/#`, "", ""},
	{"SET @c = (f - 32) * 5 / 9\nSELECT @c AS celsius\nFROM 'device/data'", "2016-03-23", ""},
	{`SELECT aws_lambda("arn:aws:lambda:us-east-1:1:function:f", *) AS output`, "2016-03-23", ""},
	{`SELECT current.state.reported.* FROM '$aws/things/+/shadow/update/documents' WHERE NOT isUndefined(current.state.reported)`, "beta", ""},
	{`SELECT VALUE decode(encode(*, 'base64'), 'base64') FROM '/leading/#'`, "2016-03-23", ""},

	{`SELEC * FROM 'a/b'`, "", "line 1, column 1: expected SELECT"},
	{`SELECT * FROM`, "", "line 1, column 14: expected a topic filter"},
	{`SELECT * FROM WHERE a = 1`, "", "line 1, column 15: expected a topic filter"},
	{`SELECT a, FROM 'a/b'`, "", "line 1, column 11: expected an expression"},
	{`SELECT * FROM 'a/b`, "", "line 1, column 15: the string has no closing '"},
	{`SELECT * FROM 'a/b' WHERE a == 1`, "", "line 1, column 29: IoT SQL compares with one `=`"},
	{`SELECT * FROM 'a/b' WHERE a LIKE 'x%'`, "", "line 1, column 29: IoT SQL has no LIKE"},
	{`SELECT * FROM 'a/b' WHERE a IS NULL`, "", "line 1, column 29: IoT SQL has no IS"},
	{`SELECT a FROM 'a/b' GROUP BY a`, "", "line 1, column 21: IoT SQL has no GROUP"},
	{`SELECT * FROM 'a/b';`, "", "line 1, column 20: IoT SQL has no `;`"},
	{"SELECT *\nFROM 'a/b' -- all\nWHERE a = 1", "", "line 2, column 12: IoT SQL has no comments"},
	{"SELECT *,\n  nosuch(1) AS n\nFROM 'a/b'", "2016-03-23", "line 2, column 3: there is no function nosuch"},
	{`SELECT count(*) FROM 'a/b'`, "2016-03-23", "line 1, column 8: there is no function count"},
	{`SELECT cast(a AS Blob) FROM 'a/b'`, "2016-03-23", "line 1, column 18: there is no type Blob"},
	{`SELECT @x FROM 'a/b'`, "2016-03-23", "line 1, column 8: @x is not set"},
	// the version that the API takes when none is given
	{`SELECT {'a': 1} AS o FROM 'a/b'`, "", "line 1, column 8: an object literal needs awsIotSqlVersion"},
	{`SELECT (SELECT VALUE n FROM e) AS n FROM 'a/b'`, "2015-10-08", "line 1, column 8: a nested SELECT needs awsIotSqlVersion"},
	{`SELECT isUndefined(a) AS u FROM 'a/b'`, "", "line 1, column 8: function isUndefined needs awsIotSqlVersion"},
	// topic filters
	{`SELECT * FROM 'a/#/b'`, "", "line 1, column 15: "},
	{`SELECT * FROM 'a/b+'`, "", "line 1, column 15: "},
	{`SELECT * FROM 'a/b#'`, "", "line 1, column 15: "},
	{`SELECT * FROM ''`, "", "line 1, column 15: "},
	{`SELECT * FROM '$share/g/a'`, "", "line 1, column 15: "},
}

// testStatements sends statements through an AWS CLI: good ones are stored as
// they are, bad ones are refused with the place and leave nothing behind.
func testStatements(t *testing.T, aws *cli) {
	aws.url = newRulesServer(t).URL
	good := 0
	for i, s := range statements {
		name := fmt.Sprintf("rule_%d", i)
		if s.refused == "" {
			good++
			aws.run(t, "", "create-topic-rule", "--rule-name", name, "--topic-rule-payload", sqlPayload(t, s.sql, s.version))
			got, _ := aws.run(t, name, "get-topic-rule", "--rule-name", name)["rule"].(map[string]any)
			if got["sql"] != s.sql {
				t.Errorf("stored %q, want %q", got["sql"], s.sql)
			}
			continue
		}
		out := aws.output(t, "SqlParseException", "create-topic-rule", "--rule-name", name, "--topic-rule-payload", sqlPayload(t, s.sql, s.version))
		if !strings.Contains(out, s.refused) || !strings.Contains(out, "^") {
			t.Errorf("%s\n got %s\nwant %s, and a caret", s.sql, out, s.refused)
		}
	}
	if rules, _ := aws.run(t, "rules", "list-topic-rules")["rules"].([]any); len(rules) != good {
		t.Errorf("%d rules are stored, want %d", len(rules), good)
	}
	aws.output(t, "SqlParseException", "replace-topic-rule", "--rule-name", "rule_0", "--topic-rule-payload", sqlPayload(t, `SELECT FROM x`, ""))
	if got, _ := aws.run(t, "rule_0", "get-topic-rule", "--rule-name", "rule_0")["rule"].(map[string]any); got["sql"] != statements[0].sql {
		t.Errorf("a bad replacement changed the rule: %v", got)
	}
}

// newRulesServer serves the rules of the real engine, without tables.
func newRulesServer(t *testing.T) *httptest.Server {
	t.Helper()
	reg, st := openRegistry(t, t.TempDir())
	engine, err := rules.Open(st, nil, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(New(reg, engine, Options{Endpoint: "mote.example"}))
	t.Cleanup(srv.Close)
	return srv
}

// sqlPayload makes the payload of a rule that republishes.
func sqlPayload(t *testing.T, sql, version string) string {
	t.Helper()
	payload := map[string]any{"sql": sql, "actions": []any{map[string]any{
		"republish": map[string]any{"topic": "out/${topic()}", "roleArn": "arn:aws:iam::1:role/x"},
	}}}
	if version != "" {
		payload["awsIotSqlVersion"] = version
	}
	out, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
