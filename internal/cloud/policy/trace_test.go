package policy

import (
	"slices"
	"strings"
	"testing"
)

const traced = `{"Version":"2012-10-17","Statement":[
 {"Sid":"own","Effect":"Allow","Action":"iot:Publish","Resource":"$A:topic/${iot:Connection.Thing.ThingName}/*"},
 {"Effect":"Allow","Action":["iot:Receive"],"Resource":"$A:topic/all"},
 {"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"true"}}},
 { "Sid": "no", "Effect": "Deny", "Action": "*", "Resource": "$A:topic/*/secret" }]}`

func TestExplain(t *testing.T) {
	doc, err := Compile("p", strings.ReplaceAll(traced, "$A", testARN))
	if err != nil {
		t.Fatal(err)
	}
	attached, alone := "client=pi thing=pi", "client=pi"
	for _, c := range []struct {
		subject, action, resource string
		allowed, denied           bool
		index                     int
		misses, why               string
	}{
		{attached, "iot:Publish", "topic/pi/a", true, false, 0, "", ""},
		{attached, "iot:Publish", "topic/pi/secret", false, true, 3, "", ""},
		{attached, "iot:Connect", "client/pi", true, false, 2, "", ""},
		{alone, "iot:Connect", "client/pi", false, false, 2, "condition", "its condition Bool iot:Connection.Thing.IsAttached does not hold"},
		{alone, "iot:Publish", "topic/pi/a", false, false, 0, "resource", "${iot:Connection.Thing.ThingName} has no value"},
		{attached, "iot:Publish", "topic/x", false, false, 0, "resource", "its resources do not fit " + testARN + ":topic/x"},
		{attached, "iot:Subscribe", "topic/all", false, false, 1, "action", "it is not about iot:Subscribe"},
	} {
		got := Explain(subject(c.subject), testARN+":", []*Document{doc}, c.action, testARN+":"+c.resource)
		if got.Allowed != c.allowed || got.Denied() != c.denied || got.Statement == nil || got.Statement.Index != c.index ||
			strings.Join(got.Misses, ",") != c.misses || !strings.Contains(got.Why, c.why) {
			t.Errorf("%s %s: %+v, statement %+v", c.action, c.resource, got, got.Statement)
			continue
		}
		if (got.Statement.Sid == "own") != (c.index == 0) || !strings.HasPrefix(got.Statement.Source, "{") || !strings.HasSuffix(got.Statement.Source, "}") {
			t.Errorf("the statement is %+v", got.Statement)
		}
	}
	if got := Explain(&Subject{}, testARN+":", nil, "iot:Publish", "x"); got.Allowed || got.Statement != nil {
		t.Errorf("without policies: %+v", got)
	}
}

// TestExplainAgrees asks both for each case of the table of decisions.
func TestExplainAgrees(t *testing.T) {
	asked := 0
	for _, body := range cases(t, "testdata/decisions.txt") {
		docs, questions := parseCase(t, body)
		for _, q := range questions {
			asked++
			d := NewJudge(q.subject, testARN+":", docs).Decide(q.action, q.resource)
			e := Explain(q.subject, testARN+":", docs, q.action, q.resource)
			decided := d.Policy != ""
			if e.Decision != d || decided != (len(e.Misses) == 0 && e.Statement != nil) || decided && e.Statement.Policy != d.Policy {
				t.Errorf("%s %s: the judge says %+v, the explanation %+v", q.action, q.resource, d, e)
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d questions were asked", asked)
	}
}

type question struct {
	subject          *Subject
	action, resource string
}

// parseCase reads a case of testdata without its answers.
func parseCase(t *testing.T, body string) (docs []*Document, out []question) {
	t.Helper()
	var s *Subject
	lines := strings.Split(body, "\n")
	for i := 0; i < len(lines); i++ {
		word, rest, _ := strings.Cut(lines[i], " ")
		switch word {
		case "":
		case "policy":
			end := i + 1 + slices.Index(append(lines[i+1:], ""), "")
			d, err := Compile(rest, strings.Join(lines[i+1:end], "\n"))
			if err != nil {
				t.Fatal(err)
			}
			docs, i = append(docs, d), end
		case "subject":
			s = subject(rest)
		default:
			text, _, _ := strings.Cut(rest, " : ")
			action, resource, _ := strings.Cut(text, " ")
			out = append(out, question{s, action, resource})
		}
	}
	return docs, out
}
