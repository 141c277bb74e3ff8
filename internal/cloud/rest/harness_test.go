package rest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
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

func ptr[T any](v T) *T { return &v }
