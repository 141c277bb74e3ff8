package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
)

func TestPublishRoute(t *testing.T) {
	w := newWorld(t)
	a := w.post(t, "/prod/dust/", seedBody, "X-API-Key", keyValue, "Content-Type", "application/json", "Authorization", "whatever")
	var body map[string]string
	ok(t, json.Unmarshal([]byte(a.body), &body))
	if a.status != 200 || body["message"] != "OK" || body["traceId"] != a.header.Get("x-amzn-RequestId") || !strings.HasPrefix(a.header.Get("X-Amzn-Trace-Id"), "Root=1-") {
		t.Fatalf("%+v", a)
	}
	want := &message.Message{Topic: "rest/prod/dust", Payload: []byte(seedBody), QoS: 1, ContentType: "application/json", Principal: w.key.ID, SourceIP: "127.0.0.1", Time: w.now}
	if len(w.messages) != 1 || !reflect.DeepEqual(w.messages[0], want) {
		t.Errorf("published %+v", w.messages)
	}
	if _, total := w.refusals.Recent(1); total != 0 {
		t.Errorf("%d refusals", total)
	}
}

// TestFailures holds the answers of the API Gateway developer guide,
// "Gateway response types", word for word, and that
// the log knows why.
func TestFailures(t *testing.T) {
	w := newWorld(t)
	disabled := must[Key](t)(w.e.CreateKey(Key{Value: strings.Repeat("d", 20)}))
	stray := must[Key](t)(w.e.CreateKey(Key{Enabled: true}))
	must[Key](t)(w.e.AddPlanKey(w.plan.ID, disabled.ID))
	signed := func(path, body, service string, at time.Time) *http.Request {
		return w.sign(t, w.request(t, "POST", path, body), body, service, at)
	}
	for _, c := range []struct {
		name            string
		req             *http.Request
		status          int
		errorType, body string
		reason          string
	}{
		{"unknown route", w.request(t, "POST", "/prod/nothing", "{}"), 403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`, "no resource of stage"},
		{"unknown method", w.request(t, "GET", "/prod/dust", ""), 403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`, "no resource of stage"},
		{"unknown stage", w.request(t, "POST", "/dev/dust", "{}"), 403, "ForbiddenException", `{"message":"Forbidden"}`, `no deployed stage is named "dev"`},
		{"unknown route, strange Authorization", w.request(t, "POST", "/prod/nothing", "{}", "Authorization", "hello"), 403, "IncompleteSignatureException",
			`{"message":"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ='."}`, "no resource of stage"},
		{"no key", w.request(t, "POST", "/prod/dust", "{}"), 403, "ForbiddenException", `{"message":"Forbidden"}`, "no header x-api-key"},
		{"wrong key", w.request(t, "POST", "/prod/dust", "{}", "x-api-key", keyValue+"x"), 403, "ForbiddenException", `{"message":"Forbidden"}`, "no API key of this server"},
		{"disabled key", w.request(t, "POST", "/prod/dust", "{}", "x-api-key", disabled.Value), 403, "ForbiddenException", `{"message":"Forbidden"}`, "switched off"},
		{"key without plan", w.request(t, "POST", "/prod/dust", "{}", "x-api-key", stray.Value), 403, "ForbiddenException", `{"message":"Forbidden"}`, "in no usage plan"},
		{"unsigned", w.request(t, "POST", "/prod/iam", "{}"), 403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`, "not signed"},
		{"malformed", w.request(t, "POST", "/prod/iam", "{}", "Authorization", "AWS4-HMAC-SHA256 hello"), 403, "IncompleteSignatureException",
			`{"message":"'hello' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-HMAC-SHA256 hello'."}`, "without equal sign"},
		{"wrong service", signed("/prod/iam", "{}", "iot", w.now), 403, "InvalidSignatureException", `{"message":"Credential should be scoped to correct service: 'execute-api'. "}`, `service "iot"`},
		{"signed, but no key", signed("/prod/both", "{}", "execute-api", w.now), 403, "ForbiddenException", `{"message":"Forbidden"}`, "no header x-api-key"},
		{"key, but unsigned", w.request(t, "POST", "/prod/both", "{}", "x-api-key", keyValue), 403, "MissingAuthenticationTokenException", `{"message":"Missing Authentication Token"}`, "not signed"},
		{"too large", w.request(t, "POST", "/prod/open", strings.Repeat("x", 128<<10+1)), 413, "RequestTooLargeException", `{"message":"Request Too Long: this route takes bodies of at most 131072 bytes"}`, "131072"},
		{"no object", w.request(t, "POST", "/prod/item", "[1]"), 400, "BadRequestException", `{"message":"Invalid request body: it must be one JSON object"}`, "one JSON object"},
		{"bad number", w.request(t, "POST", "/prod/item", `{"id":"1","v":1e400}`), 400, "ValidationException", "", "Number overflow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := w.do(t, c.req)
			if a.status != c.status || a.errorType != c.errorType || c.body != "" && a.body != c.body {
				t.Errorf("%d %s %s", a.status, a.errorType, a.body)
			}
			recent, _ := w.refusals.Recent(1)
			if len(recent) != 1 || recent[0].Where != "rest" || !strings.Contains(recent[0].Reason, c.reason) || recent[0].Action != c.req.Method+" "+c.req.URL.Path {
				t.Errorf("recorded %+v", recent)
			}
			if strings.Contains(fmt.Sprint(recent), keyValue) || strings.Contains(fmt.Sprint(recent), secret) {
				t.Error("a secret is in the log")
			}
		})
	}
	if len(w.messages) != 0 || len(w.items) != 0 {
		t.Errorf("a refused request had effects: %v %v", w.messages, w.items)
	}
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t)
	w.outcome = message.Outcome{Failed: []*message.Failure{{Rule: "store_rest", Action: "DynamoDBv2Action", Target: "air", Err: errors.New("missing the key id")}}}
	if a := w.post(t, "/prod/open", "{}"); a.status != 400 || a.body != `{"message":"rule store_rest: DynamoDBv2Action on air: missing the key id"}` {
		t.Errorf("failed rule: %+v", a)
	}
	w.outcome = message.Outcome{Unavailable: errors.New("data disk is full")}
	if a := w.post(t, "/prod/open", "{}"); a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "data disk is full") {
		t.Errorf("full disk: %+v", a)
	}
	w.outcome, w.err = message.Outcome{}, context.DeadlineExceeded
	if a := w.post(t, "/prod/open", "{}"); a.status != 504 || a.body != `{"message":"Endpoint request timed out"}` {
		t.Errorf("timeout: %+v", a)
	}
	w.err = refusedTopic{errors.New("nobody may publish there")}
	if a := w.post(t, "/prod/open", "{}"); a.status != 400 || !strings.Contains(a.body, "nobody may publish there") {
		t.Errorf("refused: %+v", a)
	}
	w.err = &table.Error{Code: "ResourceNotFoundException", Message: "Requested resource not found"}
	if a := w.post(t, "/prod/item", "{}"); a.status != 400 || a.errorType != "ResourceNotFoundException" || a.body != `{"message":"Requested resource not found"}` {
		t.Errorf("no table: %+v", a)
	}
	w.err = store.ErrFull
	if a := w.post(t, "/prod/item", "{}"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("full disk: %+v", a)
	}
	w.err = errors.New("detail of the inside")
	if a := w.post(t, "/prod/item", "{}"); a.status != 500 || a.body != `{"message":"Internal server error"}` {
		t.Errorf("broken: %+v", a)
	}
}

type refusedTopic struct{ error }

func (refusedTopic) Invalid() bool { return true }

// TestSenderStaysInItsLevel: what a sender writes into a path, a query or a
// header must not choose another topic than the route's author meant.
func TestSenderStaysInItsLevel(t *testing.T) {
	w := newWorld(t)
	publishes := func(topic, from string) Integration {
		return Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI + topic, RequestParameters: map[string]string{"integration.request.path.x": from}}
	}
	w.route(t, w.api.ID, "/own/{x}", Method{HTTPMethod: "POST"}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	w.route(t, w.api.ID, "/path/{x}", Method{HTTPMethod: "POST"}, publishes("{x}", "method.request.path.x"))
	w.route(t, w.api.ID, "/query", Method{HTTPMethod: "POST"}, publishes("sensors/{x}/air", "method.request.querystring.x"))
	w.route(t, w.api.ID, "/header", Method{HTTPMethod: "POST"}, publishes("sensors/{x}/air", "method.request.header.x"))
	w.route(t, w.api.ID, "/greedy/{x+}", Method{HTTPMethod: "POST"}, publishes("{x}", "method.request.path.x"))
	w.route(t, w.api.ID, "/fixed", Method{HTTPMethod: "POST"}, publishes("{x}", "'a/b'"))
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	for path, want := range map[string]string{
		"/prod/own/a": "rest/prod/own/a", "/prod/own/a%2Fb": "", "/prod/path/a": "a", "/prod/path/a%2Fb": "", "/prod/path/$aws": "",
		"/prod/path/%24aws%2Frules%2Fstore_air%2Fx": "", "/prod/query?x=1": "sensors/1/air", "/prod/query?x=1/cmd": "", "/prod/header": "",
		"/prod/greedy/a/b": "a/b", "/prod/greedy/$aws/rules/store_air/x": "", "/prod/fixed": "a/b",
	} {
		w.messages = nil
		a := w.post(t, path, "x", "x", "1/cmd")
		switch {
		case want != "" && (a.status != 200 || w.messages[0].Topic != want):
			t.Errorf("%s: %+v %+v", path, a, w.messages)
		case want == "" && (a.status != 400 || len(w.messages) != 0 || !strings.Contains(a.body, "slash") && !strings.Contains(a.body, "reserved")):
			t.Errorf("%s: %+v %+v", path, a, w.messages)
		}
	}
}

// deadlines is a writer that remembers the read deadline that was set last.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error { d.read = t; return nil }

// TestUnreadBodyKeepsItsDeadline: net/http reads what is left of a body before
// it answers, which takes for ever without a deadline.
func TestUnreadBodyKeepsItsDeadline(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		body io.Reader
		left bool
	}{
		{"whole", strings.NewReader("x"), false},
		{"cut off", io.MultiReader(strings.NewReader("x"), iotest.ErrReader(errors.New("timeout"))), true},
		{"too large", strings.NewReader(strings.Repeat("x", maxPayload+1)), true},
	} {
		rec := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		req := httptest.NewRequest("POST", "/prod/open", io.NopCloser(c.body)) // of unknown length
		w.e.ServeHTTP(rec, req)
		if rec.read.IsZero() == c.left || (rec.Code == 200) == c.left {
			t.Errorf("%s: %d, deadline %v", c.name, rec.Code, rec.read)
		}
	}
}

// TestHostOfOneAPI: a client may name the API by its host, as on AWS.
func TestHostOfOneAPI(t *testing.T) {
	w := newWorld(t)
	for host, status := range map[string]int{w.api.ID + ".execute-api.eu-west-1.amazonaws.com": 200, "nothere.execute-api.eu-west-1.amazonaws.com": 403} {
		req := w.request(t, "POST", "/prod/open", "{}")
		req.Host = host
		if a := w.do(t, req); a.status != status {
			t.Errorf("%s: %+v", host, a)
		}
	}
}

func TestOneOriginOneOwner(t *testing.T) {
	w := newWorld(t)
	other := must[API](t)(w.e.CreateAPI(API{Name: "other"}))
	mock := Integration{Type: "MOCK"}
	w.route(t, other.ID, "/dust", Method{HTTPMethod: "ANY"}, mock)
	_, err := w.e.Deploy(other.ID, Stage{Name: "prod"}, "")
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeConflict || !strings.Contains(e.Message, w.api.ID+" (dust)") || !strings.Contains(e.Message, "POST /prod/dust") {
		t.Fatalf("got %v", err)
	}
	if list, _ := w.e.Deployments(other.ID); len(list) != 0 {
		t.Errorf("the refused deployment is there: %v", list)
	}
	must[Deployment](t)(w.e.Deploy(other.ID, Stage{Name: "dev"}, ""))
	if !w.e.HasStage("dev") || w.e.HasStage("nothing") {
		t.Error("stages")
	}
	if a := w.post(t, "/dev/dust", ""); a.status != 200 {
		t.Errorf("%+v", a)
	}
}

func FuzzServe(f *testing.F) {
	w := newWorld(f)
	f.Add("POST", "/prod/dust", keyValue, "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0", []byte("{}"))
	f.Add("POST", "/prod/iam", "", "x=", []byte("{}"))
	f.Add("POST", "/prod/item", "", "", []byte(seedBody))
	f.Fuzz(func(t *testing.T, method, path, key, auth string, body []byte) {
		r, err := http.NewRequest(method, "http://h/"+strings.TrimPrefix(path, "/"), bytes.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("x-api-key", key)
		r.Header.Set("Authorization", auth)
		rec := httptest.NewRecorder()
		w.e.ServeHTTP(rec, r)
		if rec.Code >= 500 || rec.Code == 200 && (strings.HasPrefix(path, "/prod/iam") || strings.HasPrefix(path, "/prod/dust") && key != keyValue) {
			t.Errorf("%d %s", rec.Code, rec.Body)
		}
	})
}
