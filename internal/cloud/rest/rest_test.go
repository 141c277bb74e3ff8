package rest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/cloud/table"
	"mote/internal/sigv4"
)

const (
	accessKey = "AKIDTEST"
	secret    = "a secret of the test"
	keyValue  = "seed-key-value-of-the-test-0123456789"

	publishURI = "arn:aws:apigateway:eu-west-1:iotdata:path/topics/"
	putItemURI = "arn:aws:apigateway:eu-west-1:dynamodb:action/PutItem"
)

// backend records what the routes did, and answers as it is told.
type backend struct {
	mu       sync.Mutex
	messages []*message.Message
	items    map[string][]table.Item
	outcome  message.Outcome
	err      error
}

func (b *backend) Publish(_ context.Context, m *message.Message) (message.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
	return b.outcome, b.err
}

func (b *backend) PutDurable(_ context.Context, name string, item table.Item) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return b.err
	}
	if b.items == nil {
		b.items = map[string][]table.Item{}
	}
	b.items[name] = append(b.items[name], item)
	return nil
}

// world is an engine with a route of every kind behind an HTTP server.
type world struct {
	*backend
	e        *Engine
	url      string
	refusals *refusal.Log
	api      API
	key      Key
	plan     Plan
	now      time.Time
}

func open(t testing.TB, st *store.Store, b *backend, log *refusal.Log, now func() time.Time) *Engine {
	t.Helper()
	e, err := Open(st, Options{Region: "eu-west-1", Account: "000000000001", Publisher: b, Items: b, Refusals: log, Now: now,
		Keys: func(id string) (string, bool) { return secret, id == accessKey }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// route makes all resources of path and a method on the last.
func (w *world) route(t testing.TB, apiID, path string, m Method, in Integration) {
	t.Helper()
	all := must[[]Resource](t)(w.e.Resources(apiID))
	byPath := map[string]string{}
	for _, r := range all {
		byPath[r.Path] = r.ID
	}
	at := byPath["/"]
	for i, parts := 0, pathParts(path); i < len(parts); i++ {
		prefix := "/" + strings.Join(parts[:i+1], "/")
		if byPath[prefix] == "" {
			byPath[prefix] = must[Resource](t)(w.e.CreateResource(apiID, at, parts[i])).ID
		}
		at = byPath[prefix]
	}
	if m.AuthorizationType == "" {
		m.AuthorizationType = AuthNone
	}
	must[Method](t)(w.e.PutMethod(apiID, at, m))
	must[Integration](t)(w.e.PutIntegration(apiID, at, m.HTTPMethod, in))
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{backend: &backend{}, refusals: refusal.New(nil), now: time.Now()}
	w.e = open(t, storetest.Open(t, t.TempDir()), w.backend, w.refusals, func() time.Time { return w.now })
	w.api = must[API](t)(w.e.CreateAPI(API{Name: "dust"}))
	publish := Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI}
	w.route(t, w.api.ID, "/dust", Method{HTTPMethod: "POST", APIKeyRequired: true}, publish)
	w.route(t, w.api.ID, "/open", Method{HTTPMethod: "POST"}, publish)
	w.route(t, w.api.ID, "/iam", Method{HTTPMethod: "POST", AuthorizationType: AuthIAM}, publish)
	w.route(t, w.api.ID, "/both", Method{HTTPMethod: "POST", AuthorizationType: AuthIAM, APIKeyRequired: true}, publish)
	w.route(t, w.api.ID, "/item", Method{HTTPMethod: "POST"}, Integration{Type: "AWS", HTTPMethod: "POST", URI: putItemURI,
		RequestTemplates: map[string]string{"application/json": `{"TableName":"air","Item":"$input.body"}`}})
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	w.key = must[Key](t)(w.e.CreateKey(Key{Name: "pi", Value: keyValue, Enabled: true}))
	w.plan = must[Plan](t)(w.e.CreatePlan(Plan{Name: "boards", Stages: []PlanStage{{w.api.ID, "prod"}}}))
	must[Key](t)(w.e.AddPlanKey(w.plan.ID, w.key.ID))
	s := httptest.NewServer(w.e)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

type answer struct {
	status    int
	errorType string
	body      string
	header    http.Header
}

func (w *world) do(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	if resp.Header.Get("x-amzn-RequestId") == "" || resp.Header.Get("x-amz-apigw-id") == "" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers of %s: %v", req.URL, resp.Header)
	}
	return answer{resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"), string(data), resp.Header}
}

func (w *world) request(t testing.TB, method, path, body string, header ...string) *http.Request {
	t.Helper()
	req := must[*http.Request](t)(http.NewRequest(method, w.url+path, strings.NewReader(body)))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func (w *world) post(t testing.TB, path, body string, header ...string) answer {
	t.Helper()
	return w.do(t, w.request(t, "POST", path, body, header...))
}

func (w *world) sign(t testing.TB, req *http.Request, body, service string, at time.Time) *http.Request {
	t.Helper()
	ok(t, sigv4.Sign(t.Context(), req, []byte(body), aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret}, service, "ap-northeast-2", at))
	return req
}

const seedBody = `{"time": "2018-10-26 10:15:30.123456", "id": "1", "dust": "35.2", "temp": "21.5", "humid": "40"}`

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

func TestSignedRoutes(t *testing.T) {
	w := newWorld(t)
	req := w.sign(t, w.request(t, "POST", "/prod/iam", seedBody), seedBody, "execute-api", w.now)
	if a := w.do(t, req); a.status != 200 || w.messages[0].Principal != accessKey {
		t.Fatalf("%+v", a)
	}
	req = w.sign(t, w.request(t, "POST", "/prod/both", seedBody, "x-api-key", keyValue), seedBody, "execute-api", w.now)
	if a := w.do(t, req); a.status != 200 {
		t.Errorf("both: %+v", a)
	}
	req = w.sign(t, w.request(t, "POST", "/prod/iam", seedBody), "another body", "execute-api", w.now)
	if a := w.do(t, req); a.status != 403 || a.errorType != "InvalidSignatureException" || !strings.HasPrefix(a.body,
		`{"message":"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request should have been\n'POST\n/prod/iam\n\n`) {
		t.Errorf("wrong signature: %+v", a)
	}
	req = w.sign(t, w.request(t, "POST", "/prod/iam", seedBody), seedBody, "execute-api", w.now.Add(-6*time.Minute))
	if a := w.do(t, req); a.status != 403 || !strings.Contains(a.body, "Signature expired: ") || !strings.Contains(a.body, " - 5 min.)") {
		t.Errorf("expired: %+v", a)
	}
}

// TestTemporaryKeys: the role of a temporary key is asked about the very resource,
// in which an escaped slash does not part two segments.
func TestTemporaryKeys(t *testing.T) {
	w := newWorld(t)
	w.route(t, w.api.ID, "/{any}", Method{HTTPMethod: "POST", AuthorizationType: AuthIAM}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	var asked []string
	w.e.o.Sessions = func(id, token string) (*sigv4.Session, *sigv4.Error) {
		return &sigv4.Session{Secret: secret, Principal: "me", May: func(action, resource, _ string) error {
			asked = append(asked, action+" "+resource)
			return errors.New("no")
		}}, nil
	}
	for _, path := range []string{"/prod/iam", "/prod/open%2Fx"} {
		req := w.request(t, "POST", path, seedBody)
		ok(t, sigv4.Sign(t.Context(), req, []byte(seedBody), aws.Credentials{AccessKeyID: "ASIAX", SecretAccessKey: secret, SessionToken: "t"}, "execute-api", "ap-northeast-2", w.now))
		if a := w.do(t, req); a.status != 403 || a.errorType != sigv4.CodeDenied {
			t.Errorf("%s: %+v", path, a)
		}
	}
	at := "execute-api:Invoke " + w.api.ID + "/prod/POST/"
	if want := []string{at + "iam", at + "open%2Fx"}; !slices.Equal(asked, want) || len(w.messages) != 0 {
		t.Errorf("asked %q, published %v", asked, w.messages)
	}
}

// seedRequest builds the request of the seed's Python sender, which signs the
// wrong host, the path "/" and a list of headers that ends in a semicolon.
func (w *world) seedRequest(t testing.TB, path string) *http.Request {
	stamp := w.now.UTC().Format("20060102T150405Z")
	scope := stamp[:8] + "/ap-northeast-2/execute-api/aws4_request"
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	canonical := "POST\n/\n\nhost:apigateway.amazonaws.com\nx-amz-date:" + stamp + "\n\nhost;x-amz-date;\n" + hash(seedBody)
	key := mac(mac(mac(mac([]byte("AWS4"+secret), stamp[:8]), "ap-northeast-2"), "execute-api"), "aws4_request")
	signature := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hash(canonical)))
	return w.request(t, "POST", path, seedBody, "Content-Type", "application/json", "X-Amz-Date", stamp, "X-Api-key", keyValue,
		"Authorization", "AWS4-HMAC-SHA256 Credential="+accessKey+"/"+scope+", SignedHeaders=host;x-amz-date;, Signature="+signature)
}

func TestSeedSigner(t *testing.T) {
	w := newWorld(t)
	if a := w.do(t, w.seedRequest(t, "/prod/dust")); a.status != 200 || len(w.messages) != 1 {
		t.Fatalf("on a route with API key: %+v", a)
	}
	if a := w.do(t, w.seedRequest(t, "/prod/both")); a.status != 403 || a.errorType != "InvalidSignatureException" {
		t.Fatalf("on a route with AWS_IAM: %+v", a)
	}
	recent, _ := w.refusals.Recent(1)
	for _, want := range []string{`signed the host "apigateway.amazonaws.com"`, `signed the path "/" but sent "/prod/both"`, "ends in a ';'"} {
		if !strings.Contains(recent[0].Reason, want) {
			t.Errorf("reason %q lacks %q", recent[0].Reason, want)
		}
	}
	if recent[0].Principal != accessKey {
		t.Errorf("principal %q", recent[0].Principal)
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

func TestItems(t *testing.T) {
	w := newWorld(t)
	if a := w.post(t, "/prod/item", `{"id":"1","dust":35.20,"big":12345678901234567890123456789012345678,"ok":true,"none":null,"list":[1,"a"],"map":{"x":-0.5}}`); a.status != 200 || a.body != "{}" {
		t.Fatalf("%+v", a)
	}
	n := func(s string) table.Value { return must[table.Value](t)(table.Number(s)) }
	want := table.Item{"id": table.String("1"), "dust": n("35.2"), "big": n("12345678901234567890123456789012345678"), "ok": table.Bool(true), "none": table.Null(),
		"list": table.List(n("1"), table.String("a")), "map": table.Map(table.Item{"x": n("-0.5")})}
	if got := w.items["air"]; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v", got)
	}
	if a := w.post(t, "/prod/item", strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40)); a.status != 400 || !strings.Contains(a.body, "Nesting Levels") {
		t.Errorf("deep: %+v", a)
	}
}

func TestTemplates(t *testing.T) {
	w := newWorld(t)
	in := func(template string) Integration {
		return Integration{Type: "AWS", HTTPMethod: "POST", URI: putItemURI, RequestTemplates: map[string]string{"application/json": template}}
	}
	w.route(t, w.api.ID, "/boards/{id}", Method{HTTPMethod: "POST"}, in(`{
	  "TableName": "dust",
	  "Item": {"id": {"S": "b-$input.params('id')"}, "time": {"S": "$input.path('$.time')"}, "v": {"N": "$input.path('$.values[1].x')"},
	           "raw": {"S": "$input.json('$.values')"}, "gone": {"S": "$input.path('$.a.b.c')"}, "ok": {"BOOL": "$input.path('$.ok')"}, "from": {"S": "$context.identity.sourceIp"}}}`))
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	if a := w.post(t, "/prod/boards/7", `{"time":"t","values":[1,{"x":2.50}],"ok":true}`); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	v := must[table.Value](t)(table.Number("2.5"))
	want := table.Item{"id": table.String("b-7"), "time": table.String("t"), "v": v, "raw": table.String(`[1,{"x":2.50}]`), "gone": table.String(""), "ok": table.Bool(true), "from": table.String("127.0.0.1")}
	if got := w.items["dust"]; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("got %+v", got)
	}
	for template, text := range map[string]string{
		`#set($x = 1) {"TableName":"t"}`:                                        "VTL",
		`{"TableName":"t"}`:                                                     "Item",
		`{"Item":"$input.body"}`:                                                "TableName",
		`{"TableName":"t","Item":"$input.path('$.x')"}`:                         "$input.body",
		`{"TableName":"t","Item":{"a":{"M":"x"}}}`:                              `type "M"`,
		`{"TableName":"t","Item":{"a":{"S":"$util.x()"}}}`:                      "$util",
		`{"TableName":"t","Item":{"a":{"S":"$input.path('x')"}}}`:               "JSON path",
		`{"TableName":"t","Item":{"a":{"S":"$context.authorizer"}}}`:            "context.authorizer",
		`{"TableName":"t","Item":"$input.body","ConditionExpression":"a = :a"}`: "ConditionExpression",
	} {
		if _, err := compileAction(ptr(in(template))); err == nil || !strings.Contains(err.Error(), text) || !strings.HasPrefix(err.Error(), CodeBadRequest) {
			t.Errorf("%s: %v", template, err)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestIntegrationsNotOffered(t *testing.T) {
	for _, in := range []Integration{
		{Type: "HTTP_PROXY", URI: "https://example.com"},
		{Type: "AWS", HTTPMethod: "POST", URI: "arn:aws:apigateway:r:lambda:path/2015-03-31/functions/f/invocations"},
		{Type: "AWS", HTTPMethod: "POST", URI: "arn:aws:apigateway:r:dynamodb:action/Query"},
		{Type: "AWS", HTTPMethod: "POST", URI: "https://example.com"},
		{Type: "AWS", HTTPMethod: "GET", URI: publishURI},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI + "a/{id}"},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI + "a?qos=2"},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI, RequestParameters: map[string]string{"integration.request.header.x": "'y'"}},
		{Type: "AWS", HTTPMethod: "POST", URI: publishURI, RequestTemplates: map[string]string{"application/json": "{}"}},
		{Type: "AWS", HTTPMethod: "POST", URI: putItemURI},
		{Type: "MOCK", RequestTemplates: map[string]string{"application/json": "$x"}},
		{Type: "MOCK", Responses: map[string]*IntegrationResponse{"200": {StatusCode: "200", ResponseTemplates: map[string]string{"application/json": "$x"}}}},
	} {
		if _, err := compileAction(&in); err == nil || !strings.HasPrefix(err.Error(), CodeBadRequest) {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestTopicMapping(t *testing.T) {
	w := newWorld(t)
	in := Integration{Type: "AWS", HTTPMethod: "POST", URI: "arn:aws:apigateway:eu-west-1:abc-ats.iotdata:path/topics/boards/{id}/{kind}?qos=0",
		RequestParameters: map[string]string{"integration.request.path.id": "method.request.path.board", "integration.request.path.kind": "'air'"}}
	w.route(t, w.api.ID, "/b/{board}", Method{HTTPMethod: "POST"}, in)
	w.route(t, w.api.ID, "/any/{proxy+}", Method{HTTPMethod: "ANY"}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	mock := Integration{Type: "MOCK", RequestTemplates: map[string]string{"application/json": `{"statusCode": 204}`}}
	w.route(t, w.api.ID, "/mock", Method{HTTPMethod: "GET"}, mock)
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	for path, want := range map[string]string{"/prod/b/a%20b": "boards/a b/air", "/prod/any/x/y/": "rest/prod/any/x/y"} {
		w.messages = nil
		if a := w.post(t, path, "x"); a.status != 200 || w.messages[0].Topic != want {
			t.Errorf("%s: %+v %+v", path, a, w.messages)
		}
	}
	for _, path := range []string{"/prod/b/%23", "/prod/b/a+b"} {
		if a := w.post(t, path, "x"); a.status != 400 || !strings.Contains(a.body, "not valid") {
			t.Errorf("%s: %+v", path, a)
		}
	}
	if a := w.do(t, w.request(t, "GET", "/prod/mock", "")); a.status != 204 {
		t.Errorf("mock: %+v", a)
	}
}

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

// TestDeploymentIsFrozen: changes are served only once they are deployed.
func TestDeploymentIsFrozen(t *testing.T) {
	w := newWorld(t)
	all := must[[]Resource](t)(w.e.Resources(w.api.ID))
	for _, r := range all {
		if r.Path == "/open" {
			ok(t, w.e.DeleteResource(w.api.ID, r.ID))
		}
	}
	if a := w.post(t, "/prod/open", "{}"); a.status != 200 {
		t.Errorf("before the deployment: %+v", a)
	}
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, ""))
	if a := w.post(t, "/prod/open", "{}"); a.status != 403 {
		t.Errorf("after it: %+v", a)
	}
	old := must[[]Deployment](t)(w.e.Deployments(w.api.ID))[1]
	must[Stage](t)(w.e.MoveStage(w.api.ID, "prod", old.ID))
	if a := w.post(t, "/prod/open", "{}"); a.status != 200 {
		t.Errorf("moved back: %+v", a)
	}
	for range maxDeployments + 3 {
		must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{}, ""))
	}
	if n := len(must[[]Deployment](t)(w.e.Deployments(w.api.ID))); n != maxDeployments+1 {
		t.Errorf("%d deployments are kept", n)
	}
}

func TestThrottle(t *testing.T) {
	w := newWorld(t)
	slow := must[Plan](t)(w.e.CreatePlan(Plan{Name: "slow", Stages: []PlanStage{{w.api.ID, "prod"}}, Throttle: &Throttle{BurstLimit: 2, RateLimit: 1}}))
	k := must[Key](t)(w.e.CreateKey(Key{Enabled: true}))
	if len(k.Value) != 40 {
		t.Errorf("made key of %d characters", len(k.Value))
	}
	must[Key](t)(w.e.AddPlanKey(slow.ID, k.ID))
	for i, want := range []int{200, 200, 429, 200, 429} {
		if i == 3 {
			w.now = w.now.Add(time.Second)
		}
		a := w.post(t, "/prod/dust", "{}", "x-api-key", k.Value)
		if a.status != want || want == 429 && (a.body != `{"message":"Too Many Requests"}` || a.errorType != "TooManyRequestsException" || a.header.Get("Retry-After") == "") {
			t.Errorf("request %d: %+v", i, a)
		}
	}
}

// TestReopen: everything is there after a restart.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	st := storetest.Open(t, dir)
	w := &world{backend: &backend{}, now: time.Now()}
	w.e = open(t, st, w.backend, nil, nil)
	w.api = must[API](t)(w.e.CreateAPI(API{Name: "a", Tags: map[string]string{"x": "y"}}))
	gone := must[API](t)(w.e.CreateAPI(API{Name: "gone"}))
	w.route(t, w.api.ID, "/dust/{x}", Method{HTTPMethod: "POST", APIKeyRequired: true}, Integration{Type: "AWS", HTTPMethod: "POST", URI: publishURI})
	must[Deployment](t)(w.e.Deploy(w.api.ID, Stage{Name: "prod"}, "first"))
	k := must[Key](t)(w.e.CreateKey(Key{Enabled: true, Name: "k"}))
	p := must[Plan](t)(w.e.CreatePlan(Plan{Name: "p", Stages: []PlanStage{{w.api.ID, "prod"}}}))
	must[Key](t)(w.e.AddPlanKey(p.ID, k.ID))
	ok(t, w.e.DeleteAPI(gone.ID))
	before := fmt.Sprint(w.e.APIs(), must[[]Resource](t)(w.e.Resources(w.api.ID))[1].Path, w.e.Keys(), w.e.Plans(""), must[[]Stage](t)(w.e.Stages(w.api.ID, "")))
	ok(t, st.Close())
	st = storetest.Open(t, dir)
	defer st.Close()
	w.e = open(t, st, w.backend, nil, nil)
	after := fmt.Sprint(w.e.APIs(), must[[]Resource](t)(w.e.Resources(w.api.ID))[1].Path, w.e.Keys(), w.e.Plans(""), must[[]Stage](t)(w.e.Stages(w.api.ID, "")))
	if before != after {
		t.Errorf("before %s\nafter  %s", before, after)
	}
	r := httptest.NewRequest("POST", "/prod/dust/1", strings.NewReader("{}"))
	r.Header.Set("x-api-key", k.Value)
	rec := httptest.NewRecorder()
	if w.e.ServeHTTP(rec, r); rec.Code != 200 {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestRefusedChanges(t *testing.T) {
	w := newWorld(t)
	root := w.api.RootResourceID
	proxy := must[Resource](t)(w.e.CreateResource(w.api.ID, root, "{proxy+}"))
	must[Resource](t)(w.e.CreateResource(w.api.ID, root, "{id}"))
	empty := must[API](t)(w.e.CreateAPI(API{Name: "empty"}))
	half := must[API](t)(w.e.CreateAPI(API{Name: "half"}))
	must[Method](t)(w.e.PutMethod(half.ID, half.RootResourceID, Method{HTTPMethod: "GET", AuthorizationType: AuthNone}))
	err2 := func(_ any, err error) error { return err }
	for _, c := range []struct {
		err        error
		code, text string
	}{
		{err2(w.e.CreateAPI(API{})), CodeBadRequest, "name"},
		{err2(w.e.API("nothere")), CodeNotFound, "Invalid API identifier specified nothere"},
		{w.e.DeleteAPI("nothere"), CodeNotFound, "Invalid API identifier"},
		{err2(w.e.CreateResource(w.api.ID, root, "a b")), CodeBadRequest, "path part"},
		{err2(w.e.CreateResource(w.api.ID, root, "dust")), CodeConflict, "already has this name"},
		{err2(w.e.CreateResource(w.api.ID, root, "{other}")), CodeBadRequest, "already has a variable path part"},
		{err2(w.e.CreateResource(w.api.ID, proxy.ID, "x")), CodeBadRequest, "greedy"},
		{w.e.DeleteResource(w.api.ID, root), CodeBadRequest, "root"},
		{err2(w.e.PutMethod(w.api.ID, root, Method{HTTPMethod: "BREW", AuthorizationType: AuthNone})), CodeBadRequest, "HttpMethod"},
		{err2(w.e.PutMethod(w.api.ID, root, Method{HTTPMethod: "GET", AuthorizationType: "CUSTOM"})), CodeBadRequest, "CUSTOM"},
		{err2(w.e.Method(w.api.ID, root, "GET")), CodeNotFound, "Invalid Method"},
		{w.e.PutMethodResponse(w.api.ID, root, "GET", MethodResponse{StatusCode: "x"}), CodeBadRequest, "status code"},
		{err2(w.e.Deploy(empty.ID, Stage{}, "")), CodeBadRequest, "doesn't contain any methods"},
		{err2(w.e.Deploy(half.ID, Stage{}, "")), CodeBadRequest, "No integration defined for method"},
		{err2(w.e.Deploy(w.api.ID, Stage{Name: "a b"}, "")), CodeBadRequest, "Stage name"},
		{err2(w.e.CreateStage(w.api.ID, Stage{Name: "x", DeploymentID: "nothere"})), CodeNotFound, "Deployment"},
		{err2(w.e.CreateKey(Key{Value: "short"})), CodeBadRequest, "at least 20 characters"},
		{err2(w.e.CreateKey(Key{Value: keyValue})), CodeConflict, "already exists"},
		{err2(w.e.CreatePlan(Plan{Name: "x", Stages: []PlanStage{{w.api.ID, "nothere"}}})), CodeNotFound, "API Stage not found"},
		{err2(w.e.AddPlanKey(w.plan.ID, w.key.ID)), CodeConflict, "already has the key"},
		{err2(w.e.AddPlanKey(w.plan.ID, "nothere")), CodeNotFound, "API Key"},
		{w.e.DeletePlan(w.plan.ID), CodeBadRequest, "still has API stages"},
		{w.e.DeletePlan("nothere"), CodeNotFound, "Usage Plan"},
	} {
		var e *Error
		if !errors.As(c.err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.text) {
			t.Errorf("got %v, want %s …%s…", c.err, c.code, c.text)
		}
	}
}

// TestDeletionsLeaveNothingBehind: keys and stages vanish from the plans.
func TestDeletionsLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	ok(t, w.e.DeleteKey(w.key.ID))
	if keys := must[[]Key](t)(w.e.PlanKeys(w.plan.ID)); len(keys) != 0 {
		t.Errorf("keys %v", keys)
	}
	if a := w.post(t, "/prod/dust", "{}", "x-api-key", keyValue); a.status != 403 {
		t.Errorf("a deleted key works: %+v", a)
	}
	ok(t, w.e.DeleteStage(w.api.ID, "prod"))
	if p := must[Plan](t)(w.e.Plan(w.plan.ID)); len(p.Stages) != 0 || w.e.HasStage("prod") {
		t.Errorf("stages %v", p.Stages)
	}
	ok(t, w.e.DeletePlan(w.plan.ID))
}

func TestMatching(t *testing.T) {
	root := &node{}
	for _, r := range []string{"GET /", "GET /a", "GET /a/{x}", "POST /a/b", "GET /{y}/b", "ANY /{z+}", "GET /a/{x}/c"} {
		method, path, _ := strings.Cut(r, " ")
		ok(t, root.add(&endpoint{path: path, method: &Method{HTTPMethod: method}}))
	}
	for request, want := range map[string]string{
		"GET /":       "/ []",
		"GET /a":      "/a []",
		"GET /a/":     "/a []",
		"GET /a/q":    "/a/{x} [q]",
		"GET /a/b":    "/a/{x} [b]",
		"POST /a/b":   "/a/b []",
		"PUT /a/b":    "/{z+} [a/b]",
		"GET /q/b":    "/{y}/b [q]",
		"GET /a/b/c":  "/a/{x}/c [b]",
		"GET /a/b/d":  "/{z+} [a/b/d]",
		"GET /A":      "/{z+} [A]",
		"TRACE /a/b":  "none",
		"GET /a/%2F":  "/a/{x} [/]",
		"GET /a//c":   "/{z+} [a//c]",
		"GET /a/%zzz": "malformed",
	} {
		method, path, _ := strings.Cut(request, " ")
		_, parts, wellFormed := cutStage("/prod" + path)
		got := "malformed"
		if wellFormed {
			got = "none"
			if ep, values := root.find(method, parts, nil); ep != nil {
				got = fmt.Sprint(ep.path, " ", values)
				if len(values) == 0 {
					got = ep.path + " []"
				}
				if len(values) != len(ep.labels) {
					t.Errorf("%s: values %v for labels %v", request, values, ep.labels)
				}
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}

func FuzzMatching(f *testing.F) {
	f.Add("GET", "/prod/a/b", "/a/{x}\n/{z+}")
	f.Add("POST", "//%2f/", "/\n/{a}/{b}\n/{a}/c")
	f.Fuzz(func(t *testing.T, method, path, routes string) {
		root := &node{}
		for route := range strings.SplitSeq(routes, "\n") {
			_ = root.add(&endpoint{path: route, method: &Method{HTTPMethod: "ANY"}})
		}
		_, parts, wellFormed := cutStage(path)
		if !wellFormed {
			return
		}
		if ep, values := root.find(method, parts, nil); ep != nil && len(values) != len(ep.labels) {
			t.Errorf("%q on %q: values %q for labels %q", path, ep.path, values, ep.labels)
		}
	})
}

func FuzzItemTemplate(f *testing.F) {
	f.Add(`{"TableName":"t","Item":{"a":{"S":"x$input.path('$.a[0].b')"},"b":{"N":"$input.json('$.c')"}}}`, `{"a":[{"b":1}],"c":2}`)
	f.Add(`{"TableName":"t","Item":"$input.body"}`, `{"a":[[[{}]]],"n":1e99}`)
	f.Fuzz(func(t *testing.T, template, body string) {
		p, err := compileItemTemplate(template)
		if err != nil {
			return
		}
		object, err := decodeObject([]byte(body))
		if err != nil {
			return
		}
		c := &call{r: httptest.NewRequest("POST", "/", nil), ep: &endpoint{}, body: []byte(body), object: object}
		_, _ = p.item(c)
	})
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
