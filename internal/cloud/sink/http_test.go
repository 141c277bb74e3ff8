package sink

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/outbox"
)

// request is what a test server got.
type request struct {
	uri, body string
	header    http.Header
}

// server is an HTTP server that writes down what it gets.
type server struct {
	*httptest.Server
	mu  sync.Mutex
	got []request // guarded by mu
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	s := &server{}
	s.Server = httptest.NewServer(s.handler(answer))
	t.Cleanup(s.Close)
	return s
}

func (s *server) handler(answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.got = append(s.got, request{r.Method + " " + r.RequestURI, string(body), r.Header})
		s.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	})
}

func (s *server) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func allowAll(string) error { return nil }

func httpEntry(h *HTTP) *outbox.Entry {
	return &outbox.Entry{Kind: KindHTTP, ID: fmt.Sprintf("%032x", len(h.Body)), Data: h.Encode(), Lane: h.Lane()}
}

func newHTTP(t *testing.T, o HTTPOptions) *HTTPDeliverer {
	if o.Allow == nil {
		o.Allow = allowAll
	}
	d := NewHTTP(o)
	t.Cleanup(d.Close)
	return d
}

// deliver performs requests together and returns their errors.
func deliver(d outbox.Deliverer, requests ...*HTTP) []error {
	var entries []*outbox.Entry
	for _, h := range requests {
		e := httpEntry(h)
		if len(requests) > 1 {
			e.Batch = &outbox.Batching{}
		}
		entries = append(entries, e)
	}
	return d.Deliver(context.Background(), entries)
}

func class(err error) string {
	var e *outbox.Error
	switch {
	case err == nil:
		return "done"
	case !errors.As(err, &e):
		return "busy"
	}
	return [...]string{"busy", "unreachable", "uncertain", "permanent"}[e.Class]
}

func TestHTTPRequest(t *testing.T) {
	s := serve(t, nil)
	d := newHTTP(t, HTTPOptions{})
	for _, h := range []*HTTP{
		{URL: s.URL + "/a/b?c=d%20e", Body: []byte(`{"a":1}`), Headers: []Header{{"x-key", "v1"}, {"X-Key", "v2"}}},
		{URL: s.URL, Body: []byte{0, 1}, Binary: true},
		{URL: s.URL, Body: []byte("text"), Headers: []Header{{"content-type", "text/plain"}}},
	} {
		if errs := deliver(d, h); errs[0] != nil {
			t.Fatal(errs)
		}
	}
	got := s.requests()
	if got[0].uri != "POST /a/b?c=d%20e" || got[0].body != `{"a":1}` || !slices.Equal(got[0].header["X-Key"], []string{"v1", "v2"}) ||
		got[0].header.Get(IDHeader) != fmt.Sprintf("%032x", 7) || got[0].header.Get("User-Agent") != "mote" {
		t.Errorf("got %+v", got[0])
	}
	for i, want := range []string{"application/json", "application/octet-stream", "text/plain"} {
		if types := got[i].header["Content-Type"]; !slices.Equal(types, []string{want}) {
			t.Errorf("request %d has type %q, want %q", i, types, want)
		}
	}
}

func TestHTTPAnswers(t *testing.T) {
	elsewhere := serve(t, nil)
	long := strings.Repeat("x", maxAnswer)
	for _, c := range []struct {
		status int
		body   string
		header string
		want   string
		after  time.Duration
	}{
		{200, "", "", "done", 0},
		{204, "", "", "done", 0},
		{200, long + "x", "", "done", 0},
		{301, "", "", "permanent", 0},
		{307, "", "", "permanent", 0},
		{400, "bad\nthing", "", "permanent", 0},
		{404, long + "x", "", "permanent", 0},
		{429, "", "7", "busy", 7 * time.Second},
		{500, long, "", "busy", 0},
		{500, long + "x", "", "uncertain", 0},
		{503, "", "nonsense", "busy", 0},
		{599, "", "", "busy", 0},
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", elsewhere.URL)
			if c.header != "" {
				w.Header().Set("Retry-After", c.header)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		err := deliver(newHTTP(t, HTTPOptions{}), &HTTP{URL: s.URL + "/p?token=secret", Body: []byte("1")})[0]
		if class(err) != c.want {
			t.Errorf("%d with %d bytes: %v (%s), want %s", c.status, len(c.body), err, class(err), c.want)
		}
		var e *outbox.Error
		if errors.As(err, &e) && e.After != c.after {
			t.Errorf("%d: pause %v, want %v", c.status, e.After, c.after)
		}
		if c.status/100 == 3 && !strings.Contains(err.Error(), "redirects are not followed") {
			t.Errorf("%d: %v", c.status, err)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), fmt.Sprint(c.status))) || c.status == 400 && !strings.Contains(err.Error(), "bad thing") {
			t.Errorf("%d: %v", c.status, err)
		}
	}
	if len(elsewhere.requests()) > 0 {
		t.Error("a redirect was followed")
	}
}

// A destination that never ends its answer holds up its own requests only for
// a moment: what it answered is known.
func TestHTTPAnswerWithoutEnd(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	began := time.Now()
	if err := deliver(newHTTP(t, HTTPOptions{Transport: Transport{Timeout: time.Hour}}), &HTTP{URL: s.URL, Body: []byte("1")})[0]; err != nil {
		t.Error(err)
	}
	if waited := time.Since(began); waited > 30*time.Second {
		t.Errorf("waited %v", waited)
	}
}

// listen accepts connections, reads a request from each and then calls f.
func listen(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 4096))
				f(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return "http://" + l.Addr().String() + "/?token=secret"
}

func TestHTTPWithoutAnswer(t *testing.T) {
	closed := listen(t, func(net.Conn) {})
	broken := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nshort") })
	nonsense := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0\r\n\r\n") })
	release := make(chan struct{})
	silent := listen(t, func(c net.Conn) { <-release })
	defer close(release)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	patient, hasty := newHTTP(t, HTTPOptions{}), newHTTP(t, HTTPOptions{Transport: Transport{Timeout: 300 * time.Millisecond}})
	for _, c := range []struct{ url, want, text string }{
		{closed, "uncertain", "closed the connection"},
		{broken, "uncertain", "broke off"},
		{nonsense, "uncertain", "malformed"},
		{silent, "unreachable", "in time"},
		{"http://" + nobody.Addr().String(), "unreachable", "refused"},
	} {
		d := patient
		if c.url == silent {
			d = hasty
		}
		err := deliver(d, &HTTP{URL: c.url, Body: []byte("1")})[0]
		if class(err) != c.want || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v (%s), want %s %s", err, class(err), c.want, c.text)
		}
	}
}

// A connection that was kept, and that the peer has closed meanwhile, says
// nothing about the request.
func TestHTTPOnAConnectionThatWasClosedMeanwhile(t *testing.T) {
	url := listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		_, _ = c.Read(make([]byte, 4096)) // the second request gets no answer
	})
	d := newHTTP(t, HTTPOptions{})
	for i, want := range []string{"done", "busy", "done"} {
		if err := deliver(d, &HTTP{URL: url, Body: []byte("1")})[0]; class(err) != want {
			t.Errorf("request %d: %v (%s), want %s", i+1, err, class(err), want)
		}
	}
}

func TestHTTPSVerifiesTheServer(t *testing.T) {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(s.handler(nil))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	if err := deliver(newHTTP(t, HTTPOptions{}), &HTTP{URL: s.URL})[0]; class(err) != "unreachable" || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	if err := deliver(newHTTP(t, HTTPOptions{Transport: Transport{RootCAs: pool}}), &HTTP{URL: s.URL})[0]; err != nil {
		t.Error(err)
	}
	if n := len(s.requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPTakesNoProxyFromTheEnvironment(t *testing.T) {
	proxy := serve(t, nil)
	t.Setenv("HTTP_PROXY", proxy.URL)
	const nowhere = "http://host.invalid/"
	if err := deliver(newHTTP(t, HTTPOptions{}), &HTTP{URL: nowhere})[0]; class(err) != "unreachable" || len(proxy.requests()) != 0 {
		t.Errorf("got %v, %d requests", err, len(proxy.requests()))
	}
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	if err := deliver(newHTTP(t, HTTPOptions{Transport: Transport{Proxy: http.ProxyURL(u)}}), &HTTP{URL: nowhere})[0]; err != nil || len(proxy.requests()) != 1 {
		t.Errorf("got %v, %d requests", err, len(proxy.requests()))
	}
}

func TestHTTPAllow(t *testing.T) {
	s := serve(t, nil)
	no := errors.New("not confirmed")
	var asked string
	for _, c := range []struct {
		err  error
		want string
	}{{no, "permanent"}, {outbox.Fail(outbox.Busy, no), "busy"}} {
		d := newHTTP(t, HTTPOptions{Allow: func(url string) error { asked = url; return c.err }})
		if err := deliver(d, &HTTP{URL: s.URL + "/x?y"})[0]; !errors.Is(err, no) || class(err) != c.want || asked != s.URL+"/x?y" {
			t.Errorf("got %v (%s), asked for %s", err, class(err), asked)
		}
	}
	if err := deliver(NewHTTP(HTTPOptions{}), &HTTP{URL: s.URL})[0]; class(err) != "permanent" {
		t.Errorf("without Allow: %v", err)
	}
	if len(s.requests()) > 0 {
		t.Error("a request went out")
	}
}

func TestHTTPBatch(t *testing.T) {
	s := serve(t, nil)
	d := newHTTP(t, HTTPOptions{})
	one := func(path, body string) *HTTP {
		return &HTTP{URL: s.URL + path, Body: []byte(body), Headers: []Header{{"X-Body", body}}}
	}
	binary := one("/a", "\x00\x01")
	binary.Binary, binary.Headers = true, nil
	entries := []*HTTP{one("/a", `{"a":1}`), one("/a", `2`), one("/a?q", `3`), binary, one("/a", `4`), one("/a", `not json`), one("/a", `"5"`)}
	for i, err := range deliver(d, entries...) {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	var got []string
	for _, r := range s.requests() {
		got = append(got, strings.Join([]string{r.uri, r.body, r.header.Get("Content-Type"), r.header.Get("X-Body")}, " "))
	}
	want := []string{
		`POST /a [{"a":1},2] application/json 2`, `POST /a?q [3] application/json 3`,
		"POST /a \x00\x01 application/octet-stream ", `POST /a [4] application/json 4`,
		`POST /a not json application/octet-stream not json`, `POST /a ["5"] application/json "5"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if ids := s.requests()[0].header.Get(IDHeader); ids != fmt.Sprintf("%032x,%032x", 7, 1) {
		t.Errorf("ids %s", ids)
	}
}

func TestHTTPDamagedData(t *testing.T) {
	s := serve(t, nil)
	good := httpEntry(&HTTP{URL: s.URL, Body: []byte("1")})
	good.Batch = &outbox.Batching{}
	errs := newHTTP(t, HTTPOptions{}).Deliver(context.Background(), []*outbox.Entry{{Data: []byte("x")}, good, {Data: nil}})
	if class(errs[0]) != "permanent" || errs[1] != nil || class(errs[2]) != "permanent" || len(s.requests()) != 1 {
		t.Errorf("got %v", errs)
	}
}

func TestHTTPSigned(t *testing.T) {
	s := serve(t, nil)
	o := HTTPOptions{Credentials: func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "secret"}, nil
	}}
	h := &HTTP{URL: s.URL + "/a b", Body: []byte("{}"), SigV4: &SigV4{"eu-west-1", "execute-api"}, Headers: []Header{{"X-One", "1"}}}
	h.URL = s.URL + "/a%20b?c=d"
	if err := deliver(newHTTP(t, o), h)[0]; err != nil {
		t.Fatal(err)
	}
	auth := s.requests()[0].header.Get("Authorization")
	if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(auth, "/eu-west-1/execute-api/aws4_request") || !strings.Contains(auth, "x-one") {
		t.Errorf("authorization %s", auth)
	}
	if err := deliver(newHTTP(t, HTTPOptions{}), h)[0]; class(err) != "permanent" {
		t.Errorf("without credentials: %v", err)
	}
	o.Credentials = func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errors.New("expired") }
	if err := deliver(newHTTP(t, o), h)[0]; class(err) != "busy" {
		t.Errorf("with credentials that cannot be had: %v", err)
	}
}

func TestHTTPEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	url := listen(t, func(net.Conn) { <-release })
	defer close(release)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	errs := newHTTP(t, HTTPOptions{Transport: Transport{Timeout: time.Hour}}).Deliver(ctx, []*outbox.Entry{httpEntry(&HTTP{URL: url})})
	if errs[0] == nil {
		t.Error("delivered without an answer")
	}
}
