package destination

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/watch"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func open(t testing.TB, st *store.Store, o Options) *Destinations {
	t.Helper()
	if o.pauses == nil {
		o.pauses = []time.Duration{time.Millisecond, time.Millisecond}
	}
	d, err := Open(st, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// received is a confirmation request as a web service gets it.
type received struct {
	path, query, body string
	header            http.Header
}

func (r received) token() string {
	var body struct{ ConfirmationToken string }
	_ = json.Unmarshal([]byte(r.body), &body)
	return body.ConfirmationToken
}

// service is a web service that answers confirmation requests with the statuses,
// the last one for ever.
func service(t testing.TB, statuses ...int) (*httptest.Server, <-chan received) {
	got := make(chan received, 10)
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{r.Method + " " + r.URL.Path, r.URL.RawQuery, string(body), r.Header}
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(statuses[min(n, len(statuses)-1)])
		n++ // attempts come one after the other
	}))
	t.Cleanup(srv.Close)
	return srv, got
}

// wait waits until a destination has the status.
func wait(t testing.TB, d *Destinations, arn string, want Status) Destination {
	t.Helper()
	var got Destination
	watch.Until(t, arn+" is "+string(want), func() bool {
		got = must[Destination](t)(d.Get(arn))
		return got.Status == want
	})
	return got
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

func TestHandshake(t *testing.T) {
	dir := t.TempDir()
	st := storetest.Open(t, dir)
	srv, got := service(t, 200)
	d := open(t, st, Options{Region: "eu-west-1", Account: "123456789012", Trust: TrustNone, Base: func() string { return "https://mote.example:8443" }})

	made := must[Destination](t)(d.CreateURL(srv.URL + "/hooks?a=b"))
	if made.Status != InProgress || !strings.HasPrefix(made.ARN, "arn:aws:iot:eu-west-1:123456789012:ruledestination/http/") || made.CreatedAt.IsZero() || made.URL != srv.URL+"/hooks?a=b" {
		t.Errorf("%+v", made)
	}
	r := <-got
	token := r.token()
	want := fmt.Sprintf(`{"arn":%q,"confirmationToken":%q,"enableUrl":"https://mote.example:8443/confirmdestination/%s","messageType":"DestinationConfirmation"}`, made.ARN, token, token)
	if r.path != "POST /hooks" || r.query != "a=b&confirmationToken="+token || r.body != want || len(token) != 43 {
		t.Errorf("%+v\nwant %s", r, want)
	}
	if h := r.header; h.Get("x-amz-rules-engine-message-type") != "DestinationConfirmation" || h.Get("x-amz-rules-engine-destination-arn") != made.ARN || h.Get("Content-Type") != "application/json" {
		t.Errorf("%v", h)
	}
	if err := d.Allow(srv.URL + "/hooks/1"); err == nil || !strings.Contains(err.Error(), "IN_PROGRESS") {
		t.Errorf("allowed before it is confirmed: %v", err)
	}
	for _, wrong := range []string{"", "x", token + "=", token[:42] + "_"} {
		if err := d.Confirm(wrong); !errors.Is(err, ErrToken) && wrong != token {
			t.Errorf("token %q: %v", wrong, err)
		}
	}
	if err := errors.Join(d.Confirm(token), d.Confirm(token), d.Allow(srv.URL+"/hooks/1")); err != nil {
		t.Fatal(err)
	}
	must[Destination](t)(d.Update(made.ARN, Disabled))
	if err := d.Confirm(token); err != nil {
		t.Error(err)
	}
	if v := wait(t, d, made.ARN, Disabled); d.Allow(srv.URL+"/hooks") == nil {
		t.Errorf("a repeated confirmation has enabled it again: %+v", v)
	}
	must[Destination](t)(d.Update(made.ARN, Enabled))

	d.Close()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, storetest.Open(t, dir), Options{Region: "eu-west-1", Account: "123456789012", Trust: TrustNone})
	if err := d.Allow(srv.URL + "/hooks/1"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if again := must[Destination](t)(d.Get(made.ARN)); again.Status != Enabled || !again.CreatedAt.Equal(made.CreatedAt) {
		t.Errorf("%+v", again)
	}
	if err := errors.Join(d.Delete(made.ARN)); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(made.ARN); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := d.Allow(srv.URL + "/hooks/1"); err == nil {
		t.Error("allowed after it was deleted")
	}
}

func TestANewRequestReplacesTheToken(t *testing.T) {
	srv, got := service(t, 200)
	d := open(t, storetest.Open(t, t.TempDir()), Options{Trust: TrustNone})
	made := must[Destination](t)(d.CreateURL(srv.URL))
	first := (<-got).token()
	must[Destination](t)(d.Update(made.ARN, InProgress))
	second := (<-got).token()
	if err := d.Confirm(first); !errors.Is(err, ErrToken) {
		t.Errorf("the replaced token: %v", err)
	}
	if err := d.Confirm(second); err != nil {
		t.Error(err)
	}
	must[Destination](t)(d.Update(made.ARN, InProgress)) // of an enabled one: until the answer it is not
	if err := d.Allow(srv.URL); err == nil {
		t.Error("allowed while a new confirmation is under way")
	}
	if err := d.Confirm((<-got).token()); err != nil {
		t.Error(err)
	}
}

func TestTokensExpire(t *testing.T) {
	srv, got := service(t, 200)
	c := &clock{t: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	d := open(t, storetest.Open(t, t.TempDir()), Options{now: c.now})
	made := must[Destination](t)(d.CreateURL(srv.URL))
	token := (<-got).token()
	c.add(tokenLife)
	if v := must[Destination](t)(d.Get(made.ARN)); v.Status != Failed || !strings.Contains(v.Reason, "nobody answered") {
		t.Errorf("%+v", v)
	}
	if err := d.Confirm(token); !errors.Is(err, ErrToken) {
		t.Errorf("got %v", err)
	}
	if _, err := d.Update(made.ARN, Enabled); err == nil || !strings.Contains(err.Error(), "ERROR") {
		t.Errorf("enabled without a confirmation: %v", err)
	}
}

func TestConfirmationFailures(t *testing.T) {
	for name, c := range map[string]struct {
		statuses []int
		attempts int
		status   Status
		reason   string
	}{
		"busy twice":  {[]int{503, 429, 200}, 3, InProgress, ""},
		"always busy": {[]int{500}, 3, Failed, "it answered 500 Internal Server Error"},
		"unknown":     {[]int{404}, 1, Failed, "it answered 404 Not Found"},
		"redirect":    {[]int{307}, 1, Failed, "redirects are not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, got := service(t, c.statuses...)
			d := open(t, storetest.Open(t, t.TempDir()), Options{Trust: TrustNone})
			made := must[Destination](t)(d.CreateURL(srv.URL))
			first := ""
			for range c.attempts {
				r := <-got
				if first == "" {
					first = r.token()
				}
				if r.token() != first {
					t.Error("an attempt has another token")
				}
			}
			d.sending.Wait()
			if v := wait(t, d, made.ARN, c.status); !strings.Contains(v.Reason, c.reason) {
				t.Errorf("%+v", v)
			}
			if len(got) > 0 {
				t.Errorf("another attempt: %+v", <-got)
			}
			if err := d.Confirm(first); c.status == Failed && err != nil {
				t.Errorf("who got the token may still answer: %v", err)
			}
		})
	}
	d := open(t, storetest.Open(t, t.TempDir()), Options{})
	made := must[Destination](t)(d.CreateURL("http://127.0.0.1:1/"))
	if v := wait(t, d, made.ARN, Failed); !strings.Contains(v.Reason, "connection refused") || strings.Contains(v.Reason, "confirmationToken") {
		t.Errorf("%+v", v)
	}
}

func TestAnInterruptedRequestIsSentAgain(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	hold, got := make(chan struct{}), make(chan string, 10)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.URL.Query().Get("confirmationToken")
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(srv.Close)
	d := open(t, st, Options{})
	made := must[Destination](t)(d.CreateURL(srv.URL))
	<-got
	d.Close()
	close(hold)
	d = open(t, st, Options{})
	if err := d.Confirm(<-got); err != nil {
		t.Fatal(err)
	}
	wait(t, d, made.ARN, Enabled)
	d.Close()
	d = open(t, st, Options{})
	d.sending.Wait()
	if len(got) > 0 {
		t.Error("a confirmed destination got another request")
	}
}

func TestManyInterruptedRequestsAreSentAgain(t *testing.T) {
	const many = 50
	st := storetest.Open(t, t.TempDir())
	hold, asked := make(chan struct{}), make(chan string, 2*many)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-hold
		asked <- r.URL.Path
	}))
	t.Cleanup(srv.Close)
	d := open(t, st, Options{})
	for i := range many {
		must[Destination](t)(d.CreateURL(fmt.Sprint(srv.URL, "/", i)))
	}
	d.Close()
	close(hold)
	d = open(t, st, Options{})
	d.sending.Wait()
	paths := map[string]bool{}
	for range len(asked) {
		paths[<-asked] = true
	}
	if len(paths) != many {
		t.Errorf("%d of %d got a request", len(paths), many)
	}
}

func TestVPC(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	d := open(t, st, Options{})
	text := `{"subnetIds":["subnet-1"],"securityGroups":["sg-1"],"vpcId":"vpc-1","roleArn":"arn:aws:iam::1:role/x","more":1}`
	made := must[Destination](t)(d.CreateVPC(json.RawMessage(text)))
	if made.Status != Enabled || !strings.Contains(made.ARN, ":ruledestination/vpc/") || string(made.VPC) != text || made.Reason == "" {
		t.Errorf("%+v", made)
	}
	for _, bad := range []string{`{}`, `[]`, `{"subnetIds":[],"vpcId":"v","roleArn":"r"}`, `{"subnetIds":["s"],"vpcId":"v"}`, `{"subnetIds":["` + strings.Repeat("s", maxVPC) + `"],"vpcId":"v","roleArn":"r"}`} {
		var e *InvalidError
		if _, err := d.CreateVPC(json.RawMessage(bad)); !errors.As(err, &e) {
			t.Errorf("%.60s: %v", bad, err)
		}
	}
	if _, err := d.Update(made.ARN, InProgress); err == nil {
		t.Error("a VPC destination was sent a confirmation request")
	}
	must[Destination](t)(d.Update(made.ARN, Disabled))
	d.Close()
	d = open(t, st, Options{})
	if list := d.List(); len(list) != 1 || list[0].Status != Disabled || string(list[0].VPC) != text {
		t.Errorf("%+v", list)
	}
}

func TestCreateRefuses(t *testing.T) {
	d := open(t, storetest.Open(t, t.TempDir()), Options{})
	for url, want := range map[string]string{
		"":                              "not an http or https URL",
		"ftp://h/":                      "not an http or https URL",
		"http:///x":                     "names no host",
		"http://u:secret@h/":            "user name or password",
		"http://h/#f":                   "fragment",
		"http://h/${topic()}":           "template",
		"http://h/a/../b":               `".."`,
		"http://h/a/%2e%2E/b":           `".."`,
		"http://h/a%2fb":                `"a/b"`,
		"http://h/\x00":                 "invalid control character",
		"http://169.254.169.254/latest": "link-local",
		"http://[fe80::1%25eth0]/":      "link-local",
		"http://[::ffff:169.254.1.1]/":  "link-local",
		"http://[fd00:ec2::254]/":       "metadata",
		"http://h/" + strings.Repeat("x", maxURL): "the limit is 2000",
	} {
		_, err := d.CreateURL(url)
		var e *InvalidError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60q: got %v, want %s", url, err, want)
		}
	}
	must[Destination](t)(d.CreateURL("http://127.0.0.1:1/a"))
	if _, err := d.CreateURL("http://127.0.0.1:1/a"); !errors.Is(err, ErrExists) {
		t.Errorf("got %v", err)
	}
	if _, err := Open(d.st, Options{Trust: "some"}); err == nil {
		t.Error("opened with trust some")
	}
}

func TestLimit(t *testing.T) {
	d := open(t, storetest.Open(t, t.TempDir()), Options{})
	for i := range maxDestinations {
		d.all[fmt.Sprint("vpc/", i)] = &record{Status: Enabled}
	}
	if _, err := d.CreateURL("http://127.0.0.1:1/"); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v", err)
	}
}

// enabled is a set with enabled destinations for the URLs.
func enabled(t testing.TB, o Options, urls ...string) *Destinations {
	d := open(t, storetest.Open(t, t.TempDir()), o)
	for i, u := range urls {
		target, err := parseTarget(u)
		if err != nil {
			t.Fatal(err)
		}
		d.all[fmt.Sprint("http/", i)] = &record{Status: Enabled, URL: u, target: target}
	}
	return d
}

func TestAllow(t *testing.T) {
	d := enabled(t, Options{Trust: TrustNone}, "https://good.example/hooks", "http://plain.example:8080/", "https://s.example/a%20b/?x=1")
	for url, want := range map[string]bool{
		"https://good.example/hooks":                true,
		"https://good.example/hooks/":               true,
		"https://good.example/hooks/1?q=a":          true,
		"https://good.example/hooks?q=/../":         true,
		"https://GOOD.example:443/hooks/1":          true,
		"https://good.example./hooks/1":             true,
		"https://good.example/hooksX":               false,
		"https://good.example/hook":                 false,
		"https://good.example/":                     false,
		"https://good.example/hooks/../admin":       false,
		"https://good.example/hooks/%2e%2e/admin":   false,
		"https://good.example/hooks/..%2fadmin":     false,
		`https://good.example/hooks/..%5cadmin`:     false,
		"https://good.example.evil/hooks":           false,
		"https://good.example@evil/hooks":           false,
		"https://evil/https://good.example/hooks":   false,
		"https://xgood.example/hooks":               false,
		"https://good.example:8443/hooks":           false,
		"http://good.example/hooks":                 false,
		"https://good.example//hooks":               false,
		"http://plain.example:8080/anything/at/all": true,
		"http://plain.example/":                     false,
		"https://s.example/a%20b/c":                 true,
		"https://s.example/a b/c":                   true,
		"https://s.example/a+b/c":                   false,
		"http://127.0.0.1/":                         false,
		"http://169.254.169.254/":                   false,
		"mailto:good.example":                       false,
		"":                                          false,
	} {
		if err := d.Allow(url); (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTrust(t *testing.T) {
	type answers map[string]bool
	for trust, want := range map[string]answers{
		TrustLoopback: {"http://127.0.0.1:9/x": true, "http://127.8.8.8/": true, "http://[::1]:9/": true, "http://localhost/": true, "http://a.localhost/": false, "http://[::ffff:127.0.0.1]/": true,
			"http://localhost.example/": false, "http://127.0.0.1.example/": false, "http://0.0.0.0/": false, "http://10.0.0.1/": false},
		TrustAll:  {"http://10.0.0.1/": true, "https://any.example/x": true, "http://169.254.169.254/": false, "http://169.254.7.7/": false, "ftp://any.example/": false},
		TrustNone: {"http://127.0.0.1:9/x": false, "http://localhost/": false},
	} {
		d := enabled(t, Options{Trust: trust})
		for url, ok := range want {
			if err := d.Allow(url); (err == nil) != ok {
				t.Errorf("trust %s, %s: %v", trust, url, err)
			}
		}
	}
}

func TestDialControl(t *testing.T) {
	d := enabled(t, Options{})
	for address, ok := range map[string]bool{"169.254.169.254:80": false, "[fe80::1%lo]:80": false, "[::ffff:169.254.169.254]:80": false, "127.0.0.1:80": true, "93.184.216.34:443": true, "x": false} {
		if err := d.DialControl(t.Context(), "tcp", address, nil); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestStoredByANewerMote(t *testing.T) {
	st := storetest.Open(t, t.TempDir())
	b := st.NewBatch()
	b.Set(key("http/x"), []byte{recordVersion + 1, '{', '}'})
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(st, Options{}); err == nil || !strings.Contains(err.Error(), "use the mote that wrote it") {
		t.Errorf("got %v", err)
	}
}

func FuzzAllow(f *testing.F) {
	for _, u := range []string{"https://good.example/hooks/1", "https://good.example/hooks/../x", "http://[fe80::1%25eth0]/", "http://u:p@h/", "https://good.example:443/hooks/%2e%2e", "//good.example/hooks"} {
		f.Add(u)
	}
	d := enabled(f, Options{Trust: TrustNone}, "https://good.example/hooks")
	f.Fuzz(func(t *testing.T, raw string) {
		if d.Allow(raw) != nil {
			return
		}
		req, err := http.NewRequest("POST", raw, nil)
		if err != nil {
			t.Fatalf("%q is allowed and cannot be sent: %v", raw, err)
		}
		host := strings.ToLower(strings.TrimSuffix(req.URL.Hostname(), "."))
		if host != "good.example" || req.URL.Scheme != "https" || !strings.HasPrefix(req.URL.Path, "/hooks") || strings.Contains(req.URL.Path, "/../") {
			t.Errorf("%q is allowed", raw)
		}
	})
}
