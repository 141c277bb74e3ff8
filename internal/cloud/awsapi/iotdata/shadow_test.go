package iotdata

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/shadow"
)

// shadowBook answers as it is told and notes what it was asked.
type shadowBook struct {
	asked string
	err   error
	names []string
}

func (b *shadowBook) answer(op string, n shadow.Name, payload []byte) ([]byte, error) {
	b.asked = fmt.Sprintf("%s %s|%s %s", op, n.Thing, n.Shadow, payload)
	return []byte(`{"state":{"a":"<1.0>"}}`), b.err
}

func (b *shadowBook) GetShadow(_ context.Context, n shadow.Name) ([]byte, error) {
	return b.answer("get", n, nil)
}

func (b *shadowBook) UpdateShadow(_ context.Context, n shadow.Name, payload []byte) ([]byte, error) {
	return b.answer("update", n, payload)
}

func (b *shadowBook) DeleteShadow(_ context.Context, n shadow.Name) ([]byte, error) {
	return b.answer("delete", n, nil)
}

func (b *shadowBook) NamedShadows(thing, after string, limit int) (out []string, more bool, err error) {
	b.asked = fmt.Sprintf("list %s %d", thing, limit)
	for _, name := range b.names {
		if name > after {
			out = append(out, name)
		}
	}
	return out[:min(limit, len(out))], len(out) > limit, b.err
}

func TestShadows(t *testing.T) {
	missing := func(name string) error {
		return &shadow.Error{Code: 404, Message: "No shadow exists with name: '" + name + "'"}
	}
	for _, c := range []struct {
		method, target string
		err            error
		asked          string
		status         int
		errorType      string
		body           string
	}{
		{"GET", "/things/a%3Ab/shadow", nil, "get a:b| ", 200, "", `{"state":{"a":"<1.0>"}}`},
		{"POST", "/things/t/shadow?name=%24n", nil, "update t|$n {}", 200, "", `{"state":{"a":"<1.0>"}}`},
		{"DELETE", "/things/t/shadow?name=n", nil, "delete t|n ", 200, "", `{"state":{"a":"<1.0>"}}`},
		{"GET", "/things/t/shadow", missing("t"), "get t| ", 404, "ResourceNotFoundException", `"No shadow exists with name: 't'"`},
		{"GET", "/things/t/shadow?name=n", missing("n"), "get t|n ", 404, "ResourceNotFoundException", `"No shadow exists with name: 't~n'"`},
		{"POST", "/things/t/shadow", &shadow.Error{Code: 409, Message: "Version conflict"}, "update t| {}", 409, "ConflictException", `"Version conflict"`},
		{"POST", "/things/t/shadow", &shadow.Error{Code: 413, Message: "big"}, "update t| {}", 413, "RequestEntityTooLargeException", `"big"`},
		{"POST", "/things/t/shadow", &shadow.Error{Code: 415, Message: "x"}, "update t| {}", 415, "UnsupportedDocumentEncodingException", `"x"`},
		{"POST", "/things/t/shadow", &shadow.Error{Code: 429, Message: "x"}, "update t| {}", 429, "ThrottlingException", `"x"`},
		{"POST", "/things/t/shadow", &shadow.Error{Code: 500, Message: "x"}, "update t| {}", 500, "InternalFailureException", `"x"`},
		{"POST", "/things/t/shadow", errors.New("disk full"), "update t| {}", 503, "ServiceUnavailableException", "disk full"},
		{"GET", "/things/t/shadow?name=", nil, "", 400, "InvalidRequestException", "empty"},
		{"DELETE", "/things/t/shadow?name=%zz", nil, "", 400, "InvalidRequestException", "query"},
		{"PUT", "/things/t/shadow", nil, "", 405, "MethodNotAllowedException", "DELETE GET POST"},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t", nil, "list t 25", 200, "", `{"results":["a","b","c"],"timestamp":1795341600}`},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t?pageSize=2", nil, "list t 2", 200, "", `{"results":["a","b"],"nextToken":"Yg","timestamp":1795341600}`},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t?pageSize=2&nextToken=Yg", nil, "list t 2", 200, "", `{"results":["c"],"timestamp":1795341600}`},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t?nextToken=Yw", nil, "list t 25", 200, "", `{"results":[],`},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t?nextToken=!", nil, "", 400, "InvalidRequestException", "nextToken"},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t?pageSize=101", nil, "", 400, "InvalidRequestException", "pageSize"},
	} {
		b := &shadowBook{err: c.err, names: []string{"a", "b", "c"}}
		s := New(Config{Shadows: b, Now: func() time.Time { return now }})
		r := httptest.NewRequest(c.method, c.target, nil)
		awsapi.SetBody(r, []byte("{}"))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		got := w.Body.String()
		if c.errorType == "" && !strings.HasSuffix(c.body, ",") && got != c.body || !strings.Contains(got, c.body) {
			t.Errorf("%s %s answers %s, want %s", c.method, c.target, got, c.body)
		}
		if w.Code != c.status || w.Header().Get("x-amzn-ErrorType") != c.errorType || b.asked != c.asked || w.Header().Get("x-amzn-RequestId") == "" {
			t.Errorf("%s %s: %d %v, asked %q", c.method, c.target, w.Code, w.Header(), b.asked)
		}
	}
}
