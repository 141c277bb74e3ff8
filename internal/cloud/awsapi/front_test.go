package awsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/cloud/refusal"
	"mote/internal/sigv4"
)

const (
	keyID  = "AKIDTEST"
	secret = "a secret of the test"
)

func keys(id string) (string, bool) { return secret, id == keyID }

// recorder is a service that remembers what reached it.
type recorder struct {
	name string
	mu   sync.Mutex
	seen []string         // guarded by mu: method, path, caller, body
	do   http.HandlerFunc // guarded by mu; nil: answers with the service's name
}

func (s *recorder) answerWith(do http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	whole, _ := Body(r)
	if !bytes.Equal(body, whole) {
		panic("r.Body and Body differ")
	}
	s.mu.Lock()
	s.seen = append(s.seen, fmt.Sprintf("%s %s by %s: %s", r.Method, r.URL.EscapedPath(), Caller(r.Context()).AccessKeyID, body))
	do := s.do
	s.mu.Unlock()
	if do != nil {
		do(w, r)
		return
	}
	WriteJSON(w, map[string]string{"service": s.name})
}

func (s *recorder) Refuse(w http.ResponseWriter, _ *http.Request, e *sigv4.Error) { RefuseJSON(w, e) }

func (s *recorder) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return ""
	}
	return s.seen[len(s.seen)-1]
}

// routes is a REST engine with one stage.
type routes struct{ recorder }

func (*routes) HasStage(name string) bool { return name == "prod" }

type origin struct {
	*httptest.Server
	refusals *refusal.Log
	iot      *recorder
	services map[string]*recorder
}

func serve(t testing.TB) *origin {
	t.Helper()
	o := &origin{refusals: refusal.New(nil), services: map[string]*recorder{}}
	for _, n := range []string{"iot", "iotdata", "dynamodb", "apigateway"} {
		o.services[n] = &recorder{name: n}
	}
	o.iot = o.services["iot"]
	f := NewFront(Config{IoT: o.iot, IoTData: o.services["iotdata"], DynamoDB: o.services["dynamodb"], APIGateway: o.services["apigateway"],
		Rest:    &routes{recorder{name: "rest"}},
		Console: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"service":"console"}`) }),
		Confirm: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"service":"confirm"}`) }),
		Keys:    keys, Account: "000000000001", Region: "eu-west-1", Refusals: o.refusals, Log: slog.New(slog.DiscardHandler)})
	o.Server = httptest.NewUnstartedServer(nil)
	o.Server.Config = Server(f, slog.New(slog.DiscardHandler))
	o.Start()
	t.Cleanup(o.Close)
	return o
}

// call sends a request, signed for scope unless that is "".
func (o *origin) call(t testing.TB, method, path, scope, body string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, o.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	if scope != "" {
		if err := sigv4.Sign(t.Context(), req, []byte(body), aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, scope, "us-east-1", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return resp, string(data)
}

func TestDispatch(t *testing.T) {
	o := serve(t)
	for _, c := range []struct {
		method, path, scope string
		header              []string
		want                string
	}{
		{"POST", "/", "dynamodb", []string{"X-Amz-Target", "DynamoDB_20120810.ListTables"}, "dynamodb"},
		{"GET", "/things", "iot", nil, "iot"},
		{"GET", "/things", "execute-api", nil, "iot"},
		{"GET", "/things/a/jobs/b", "execute-api", nil, "iot"},
		{"POST", "/things/a%2Fb//c", "iot", nil, "iot"},
		{"POST", "/prod/dust", "execute-api", nil, "rest"},
		{"POST", "/prod/dust", "apigateway", nil, "rest"},
		{"POST", "/prod/dust", "", nil, "rest"},
		{"POST", "/nostage/dust", "execute-api", nil, "rest"},
		{"POST", "/nostage/dust", "", nil, "rest"},
		{"POST", "/x", "", []string{"Host", "abc.execute-api.eu-west-1.amazonaws.com"}, "rest"},
		{"POST", "/topics/a/b", "iotdata", nil, "iotdata"},
		{"POST", "/topics/a/b", "iotdevicegateway", nil, "iotdata"},
		{"GET", "/things/a/shadow", "iotdata", nil, "iotdata"},
		{"GET", "/restapis", "apigateway", nil, "apigateway"},
		{"GET", "/", "", []string{"Accept", "text/html,*/*"}, "console"},
		{"GET", "/console/app.js", "", nil, "console"},
	} {
		resp, body := o.call(t, c.method, c.path, c.scope, "", c.header...)
		if resp.StatusCode != 200 || body != `{"service":"`+c.want+`"}` {
			t.Errorf("%s %s for %q: %d %s, want %s", c.method, c.path, c.scope, resp.StatusCode, body, c.want)
		}
	}
	if got := o.iot.last(); got != "POST /things/a%2Fb//c by AKIDTEST: " {
		t.Errorf("the service saw %q", got)
	}
	if resp, body := o.call(t, "GET", "/", "", ""); resp.StatusCode != 200 || body != "healthy: dynamodb.eu-west-1.amazonaws.com " {
		t.Errorf("health: %d %q", resp.StatusCode, body)
	}
}

func TestNotOffered(t *testing.T) {
	o := serve(t)
	for _, c := range []struct {
		method, path, scope string
		status              int
		code, text          string
	}{
		{"GET", "/bucket", "s3", 501, "NotImplementedException", `"s3" is not offered`},
		{"GET", "/things/a/jobs", "iot-jobs-data", 501, "NotImplementedException", "jobs data plane"},
		{"POST", "/", "", 404, "UnknownOperationException", "sign the request"},
	} {
		resp, body := o.call(t, c.method, c.path, c.scope, "")
		var m struct{ Message string }
		if err := json.Unmarshal([]byte(body), &m); err != nil || resp.StatusCode != c.status || resp.Header.Get("x-amzn-ErrorType") != c.code || !strings.Contains(m.Message, c.text) {
			t.Errorf("%s %s: %d %s %s", c.method, c.path, resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"), body)
		}
	}
}

func TestRefusalsAreToldAndRecorded(t *testing.T) {
	o := serve(t)
	for _, c := range []struct {
		name   string
		call   func() (*http.Response, string)
		status int
		code   string
		body   string
		reason string
	}{
		{"unsigned", func() (*http.Response, string) { return o.call(t, "GET", "/things", "", "") }, 403, sigv4.CodeMissingToken, "Missing Authentication Token", "not signed"},
		{"unsigned publish", func() (*http.Response, string) { return o.call(t, "POST", "/topics/a", "", "x") }, 403, sigv4.CodeMissingToken, "Missing Authentication Token", "not signed"},
		{"wrong service", func() (*http.Response, string) {
			return o.call(t, "POST", "/", "iot", "{}", "X-Amz-Target", "DynamoDB_20120810.ListTables")
		}, 403, sigv4.CodeInvalid, "correct service: 'dynamodb'", `for service "iot"`},
		{"unknown key", func() (*http.Response, string) {
			return o.call(t, "GET", "/things", "", "", "X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"), "Authorization",
				"AWS4-HMAC-SHA256 Credential=AKIDOTHER/"+time.Now().UTC().Format("20060102")+"/r/iot/aws4_request, SignedHeaders=host, Signature=0")
		}, 403, sigv4.CodeUnknownKey, "The security token included in the request is invalid.", `"AKIDOTHER" is not known`},
		{"too large", func() (*http.Response, string) {
			return o.call(t, "POST", "/topics/a", "iotdata", strings.Repeat("x", 128<<10+1))
		}, 413, "RequestEntityTooLargeException", "exceeds 131072 bytes", "larger than 131072 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := c.call()
			if resp.StatusCode != c.status || resp.Header.Get("x-amzn-ErrorType") != c.code || !strings.Contains(body, c.body) {
				t.Errorf("%d %s %s", resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"), body)
			}
			recent, _ := o.refusals.Recent(1)
			if len(recent) != 1 || recent[0].Where != "api" || !strings.Contains(recent[0].Reason, c.reason) || recent[0].SourceIP != "127.0.0.1" || strings.Contains(recent[0].Reason, secret) {
				t.Errorf("recorded %+v", recent)
			}
		})
	}
}

func TestBodyAtTheLimit(t *testing.T) {
	o := serve(t)
	if resp, body := o.call(t, "POST", "/topics/a", "iotdata", strings.Repeat("x", 128<<10)); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// pipes is a listener of in-memory connections.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dialInMemory returns a connection to a front in the caller's bubble.
func dialInMemory(t *testing.T) net.Conn {
	f := NewFront(Config{IoT: &recorder{name: "iot"}, Rest: &routes{recorder{name: "rest"}}, Keys: keys, Refusals: refusal.New(nil),
		Console: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range 10 {
				if r.URL.Path != "/console/events" {
					return
				}
				time.Sleep(answerTimeout / 3)
				io.WriteString(w, "news")
				w.(http.Flusher).Flush()
			}
		})})
	l := pipes{make(chan net.Conn), make(chan struct{})}
	s := Server(f, slog.New(slog.DiscardHandler))
	go s.Serve(l)
	t.Cleanup(func() { _ = s.Close() })
	client, server := net.Pipe()
	l.conns <- server
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// TestClientThatNeverReads: who takes no answer does not hold a connection for
// ever; the console's stream may go on.
func TestClientThatNeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := dialInMemory(t)
		_, _ = io.WriteString(client, "GET /things HTTP/1.1\r\nHost: here\r\n\r\n")
		time.Sleep(answerTimeout + time.Second)
		if data, err := io.ReadAll(client); err != nil || len(data) > 0 {
			t.Errorf("the connection is still there: %.60q %v", data, err)
		}
		client = dialInMemory(t)
		_, _ = io.WriteString(client, "GET /console/events HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
		if data, err := io.ReadAll(client); err != nil || bytes.Count(data, []byte("news")) != 10 {
			t.Errorf("the stream was cut: %q %v", data, err)
		}
	})
}

// TestBodyThatNeverComes: who announces a body and sends none is answered in
// time, and holds no connection, whatever part of the origin it asks.
func TestBodyThatNeverComes(t *testing.T) {
	for name, head := range map[string]string{
		"unsigned":   "POST /things/a HTTP/1.1\r\nContent-Length: 1000\r\n",
		"chunked":    "POST /things/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
		"health":     "GET / HTTP/1.1\r\nContent-Length: 1000\r\n",
		"console":    "POST /console/x HTTP/1.1\r\nContent-Length: 1000\r\n",
		"route":      "POST /prod/dust HTTP/1.1\r\nContent-Length: 1000\r\n",
		"known key":  "POST /things/a HTTP/1.1\r\nContent-Length: 1000\r\nX-Amz-Date: 20000101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 Credential=" + keyID + "/20000101/r/iot/aws4_request, SignedHeaders=host, Signature=00\r\n",
		"no service": "POST /x HTTP/1.1\r\nContent-Length: 1000\r\nAuthorization: AWS4-HMAC-SHA256 Credential=" + keyID + "/20000101/r/s3/aws4_request\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // begins on 2000-01-01, and takes no real time
				client := dialInMemory(t)
				_, _ = io.WriteString(client, head+"Host: here\r\n\r\n")
				ctx, cancel := context.WithTimeout(t.Context(), 2*bodyTimeout)
				defer cancel()
				defer context.AfterFunc(ctx, func() { _ = client.Close() })()
				data, err := io.ReadAll(client) // until the server closes
				if ctx.Err() != nil || err != nil || !bytes.HasPrefix(data, []byte("HTTP/1.1 ")) {
					t.Errorf("after %v: %.100q %v", 2*bodyTimeout, data, err)
				}
			})
		})
	}
}

func TestPanicCostsOneRequest(t *testing.T) {
	o := serve(t)
	o.iot.answerWith(func(http.ResponseWriter, *http.Request) { panic("broken") })
	if resp, body := o.call(t, "GET", "/things", "iot", ""); resp.StatusCode != 500 || !strings.Contains(body, "internal failure") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	o.iot.answerWith(nil)
	if resp, _ := o.call(t, "GET", "/things", "iot", ""); resp.StatusCode != 200 {
		t.Errorf("the next request: %d", resp.StatusCode)
	}
}

func TestCallerIdentity(t *testing.T) {
	o := serve(t)
	form := "Action=GetCallerIdentity&Version=2011-06-15"
	header := []string{"Content-Type", "application/x-www-form-urlencoded"}
	resp, body := o.call(t, "POST", "/", "sts", form, header...)
	if resp.StatusCode != 200 || !strings.Contains(body, "<Arn>arn:aws:iam::000000000001:root</Arn><UserId>000000000001</UserId><Account>000000000001</Account>") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	for _, c := range []struct {
		scope, form, code string
		status            int
	}{{"", form, "MissingAuthenticationToken", 403}, {"sts", "Action=AssumeRole", "InvalidAction", 400}, {"sts", "%zz", "MalformedQueryString", 400}} {
		if resp, body := o.call(t, "POST", "/", c.scope, c.form, header...); resp.StatusCode != c.status || !strings.Contains(body, "<Code>"+c.code+"</Code>") {
			t.Errorf("%q %q: %d %s", c.scope, c.form, resp.StatusCode, body)
		}
	}
}

// TestCommandLines signs with the AWS command lines that are installed: the
// Debian one signs IoT calls as execute-api, a current one as iot.
func TestCommandLines(t *testing.T) {
	o := serve(t)
	o.iot.answerWith(func(w http.ResponseWriter, _ *http.Request) { WriteJSON(w, map[string]any{"things": []any{}}) })
	seen := map[string]bool{}
	for _, name := range []string{"/usr/bin/aws", "aws"} {
		path, err := exec.LookPath(name)
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		for _, c := range []struct {
			args []string
			want string
		}{
			{[]string{"iot", "list-things"}, `"things": []`},
			{[]string{"sts", "get-caller-identity"}, `"Account": "000000000001"`},
		} {
			t.Run(path+" "+c.args[0], func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), path, append(c.args, "--endpoint-url", o.URL, "--region", "eu-west-1", "--output", "json")...)
				cmd.Env = append(cmd.Environ(), "AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_PAGER=")
				if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
	if len(seen) == 0 {
		t.Skip("no AWS command line is installed")
	}
}

func TestMux(t *testing.T) {
	var m Mux
	got := ""
	for _, p := range []string{"/things", "/things/{name}", "/things/special", "/things/{name}/principals", "/topics/{topic+}", "/things/{name}/{rest+}"} {
		m.Handle("GET", p, func(_ http.ResponseWriter, r *http.Request) {
			got = p + " " + r.PathValue("name") + " " + r.PathValue("topic") + r.PathValue("rest")
		})
	}
	m.Handle("POST", "/things", func(http.ResponseWriter, *http.Request) {})
	for _, c := range []struct{ path, want string }{
		{"/things", "/things  "},
		{"/things/", "/things  "},
		{"/things/a%2Fb%3Ac", "/things/{name} a/b:c "},
		{"/things/special", "/things/special  "},
		{"/things/a/principals", "/things/{name}/principals a "},
		{"/things/a/x/y", "/things/{name}/{rest+} a x/y"},
		{"/topics/a/b%2Fc/", "/topics/{topic+}  a/b/c/"},
		{"/topics", "none []"},
		{"/things//principals", "none []"},
		{"/nothing", "none []"},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		got = ""
		if h, allowed := m.Find(r); h != nil {
			h(nil, r)
		} else {
			got = fmt.Sprint("none ", allowed)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
	if h, allowed := m.Find(httptest.NewRequest("DELETE", "/things", nil)); h != nil || fmt.Sprint(allowed) != "[GET POST]" {
		t.Errorf("allowed %v", allowed)
	}
}

// FuzzDispatch: whatever arrives has a target, and nothing that a stage may be
// called is taken for an API.
func FuzzDispatch(f *testing.F) {
	f.Add("GET", "/things/a%3Ab", "", "iot.eu-west-1.amazonaws.com", "AWS4-HMAC-SHA256 Credential=a/b/c/iot/e, x", "", "text/html")
	f.Add("POST", "//", "X-Amz-Credential=a%2Fb%2Fc%2Fsts%2Fe", ".amazonaws.com", "", "DynamoDB_20120810.X", "")
	f.Add("POST", "/prod/%zz", "", "amazonaws.com", "", "", "")
	f.Fuzz(func(t *testing.T, method, path, query, host, auth, amzTarget, accept string) {
		r := &http.Request{Method: method, Host: host, Header: http.Header{"Authorization": {auth}, "X-Amz-Target": {amzTarget}, "Accept": {accept}},
			URL: &url.URL{Path: path, RawPath: path, RawQuery: query}}
		got, _ := dispatch(r, func(name string) bool { return name == "prod" })
		if got < toUnknown || got > toHealth {
			t.Errorf("target %d", got)
		}
		if root := segments(r.URL.EscapedPath())[0]; root == "prod" && got != toRest && !strings.HasPrefix(amzTarget, dynamoTarget) {
			t.Errorf("a deployed stage went to %d", got)
		}
		var m Mux
		m.Handle(method, "/{a}/{b+}", nil)
		m.Find(r)
	})
}

func TestReserved(t *testing.T) {
	for segment, want := range map[string]bool{"things": true, "topics": true, "restapis": true, "console": true, "mqtt": true, "": true, "prod": false, "Things": false} {
		if Reserved(segment) != want {
			t.Errorf("Reserved(%q) = %v", segment, !want)
		}
	}
}

func TestConfirmationsNeedNoSignature(t *testing.T) {
	o := serve(t)
	for _, c := range []struct{ method, path, scope, want string }{
		{"GET", "/confirmdestination/abc", "", `{"service":"confirm"}`},
		{"GET", "/confirmdestination/a/b?x", "", `{"service":"confirm"}`},
		{"GET", "/confirmdestination/abc", "iot", `"service":"iot"`}, // signed: as any other call
		{"POST", "/confirmdestination/abc", "", "Missing Authentication Token"},
		{"GET", "/destinations", "", "Missing Authentication Token"},
	} {
		if _, body := o.call(t, c.method, c.path, c.scope, ""); !strings.Contains(body, c.want) {
			t.Errorf("%s %s signed for %q: %s, want %s", c.method, c.path, c.scope, body, c.want)
		}
	}
}
