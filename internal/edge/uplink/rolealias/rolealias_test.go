package rolealias

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/mqtt/mqtttest"
)

// provider is the other side: it wants a client certificate of the CA.
type provider struct {
	mu       sync.Mutex
	requests int                                                         // guarded by mu
	lifetime time.Duration                                               // guarded by mu
	answer   func(w http.ResponseWriter, r *http.Request) (handled bool) // guarded by mu
	clock    time.Duration                                               // guarded by mu; how far its clock is ahead
}

func (s *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	now := time.Now().Add(s.clock)
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	if s.answer != nil && s.answer(w, r) {
		return
	}
	if r.Method != "GET" || r.URL.Path != "/role-aliases/gateways/credentials" || r.Header.Get("x-amzn-iot-thingname") != "pi-roof" || len(r.TLS.PeerCertificates) == 0 {
		http.Error(w, `{"message":"Access Denied"}`, http.StatusForbidden)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"credentials": map[string]any{
		"accessKeyId": fmt.Sprintf("ASIA%d", s.requests), "secretAccessKey": "secret", "sessionToken": "token",
		"expiration": now.Add(s.lifetime).UTC().Format(time.RFC3339),
	}})
}

func (s *provider) set(change func(*provider)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *provider) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func serve(t *testing.T, certs *mqtttest.Certs) (*provider, Options) {
	t.Helper()
	s := &provider{lifetime: time.Hour}
	server := httptest.NewUnstartedServer(s)
	pair, err := tls.LoadX509KeyPair(certs.ServerCertFile, certs.ServerKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: certs.CA, ClientAuth: tls.RequireAndVerifyClientCert}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return s, Options{
		Endpoint: strings.TrimPrefix(server.URL, "https://"), RoleAlias: "gateways", Thing: "pi-roof",
		Cert: certs.ClientCertFile, Key: certs.ClientKeyFile, CA: certs.CAFile,
	}
}

func newProvider(t *testing.T, o Options) *Provider {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// key retrieves and returns the access key id, or the error's text.
func key(t *testing.T, p *Provider) string {
	t.Helper()
	creds, err := p.Retrieve(t.Context())
	if err != nil {
		return err.Error()
	}
	if creds.SecretAccessKey != "secret" || creds.SessionToken != "token" || !creds.CanExpire {
		t.Errorf("%+v", creds)
	}
	return creds.AccessKeyID
}

func TestCredentialsAreFetchedOnceAndRenewedBeforeTheyEnd(t *testing.T) {
	s, o := serve(t, mqtttest.NewCerts(t))
	p := newProvider(t, o)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := key(t, p); got != "ASIA1" {
				t.Error(got)
			}
		})
	}
	all.Wait()
	if got := time.Until(p.creds.Expires); got < 59*time.Minute || got > time.Hour+2*time.Second {
		t.Errorf("good for %v", got)
	}
	p.fetched, p.creds.Expires = time.Now().Add(-56*time.Minute), time.Now().Add(4*time.Minute) // as if most of the hour were over
	if got := key(t, p); got != "ASIA2" || s.count() != 2 {
		t.Errorf("%s after %d requests", got, s.count())
	}
}

func TestOldCredentialsServeWhileTheProviderIsAway(t *testing.T) {
	s, o := serve(t, mqtttest.NewCerts(t))
	p := newProvider(t, o)
	key(t, p)
	s.set(func(s *provider) {
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "down", http.StatusInternalServerError)
			return true
		}
	})
	p.fetched, p.creds.Expires = time.Now().Add(-59*time.Minute), time.Now().Add(time.Minute)
	for i := range 20 {
		if got := key(t, p); got != "ASIA1" {
			t.Fatal(got)
		}
		if i == 0 {
			if !p.until.After(p.fetched.Add(time.Minute)) {
				t.Errorf("no pause: until %v", p.until)
			}
			p.until = time.Now().Add(time.Hour) // it lasts as long as the test
		}
	}
	if n := s.count(); n != 2 {
		t.Errorf("%d requests: tries have pauses", n)
	}
	p.creds.Expires = time.Now()
	if got := key(t, p); !strings.Contains(got, "500 Internal Server Error: down") || !strings.Contains(got, "role alias gateways") {
		t.Error(got)
	}
	s.set(func(s *provider) { s.answer = nil })
	p.until = time.Now()
	if got := key(t, p); got != "ASIA3" {
		t.Error(got)
	}
}

func TestAWrongClockDoesNotMatter(t *testing.T) {
	for _, ahead := range []time.Duration{-30 * time.Hour, 30 * time.Hour} {
		s, o := serve(t, mqtttest.NewCerts(t))
		s.clock = ahead
		p := newProvider(t, o)
		if got := key(t, p) + key(t, p); got != "ASIA1ASIA1" {
			t.Error(got)
		}
		if got := time.Until(p.creds.Expires); got < 59*time.Minute || got > time.Hour+2*time.Second {
			t.Errorf("good for %v", got)
		}
	}
}

func TestInvalidCredentialsAreForgotten(t *testing.T) {
	_, o := serve(t, mqtttest.NewCerts(t))
	p := newProvider(t, o)
	key(t, p)
	p.fetched = time.Now().Add(time.Minute) // however long this machine takes for the next line
	p.Invalidate()
	if got := key(t, p); got != "ASIA1" {
		t.Errorf("%s: they came this second, the complaint is about older ones", got)
	}
	p.fetched = time.Now().Add(-time.Minute)
	p.Invalidate()
	if got := key(t, p); got != "ASIA2" {
		t.Error(got)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	for want, answer := range map[string]func(w http.ResponseWriter){
		"allow iot:AssumeRoleWithCertificate": func(w http.ResponseWriter) { http.Error(w, `{"message":"Access Denied"}`, http.StatusForbidden) },
		"make the role alias": func(w http.ResponseWriter) {
			http.Error(w, `{"message":"Role alias does not exist"}`, http.StatusNotFound)
		},
		"429 Too Many Requests: slow":          func(w http.ResponseWriter) { http.Error(w, `{"message":"slow"}`, http.StatusTooManyRequests) },
		"is not that of a credentials provide": func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"holds no credentials":                 func(w http.ResponseWriter) { fmt.Fprint(w, `{"credentials":{"accessKeyId":"A"}}`) },
		"have ended already": func(w http.ResponseWriter) {
			fmt.Fprint(w, `{"credentials":{"accessKeyId":"A","secretAccessKey":"B","sessionToken":"C","expiration":"2018-01-18T09:18:06Z"}}`)
		},
	} {
		s, o := serve(t, certs)
		s.answer = func(w http.ResponseWriter, _ *http.Request) bool { answer(w); return true }
		if got := key(t, newProvider(t, o)); !strings.Contains(got, want) {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
	_, o := serve(t, certs)
	other := mqtttest.NewCerts(t)
	stranger := o
	stranger.Cert, stranger.Key = other.ClientCertFile, other.ClientKeyFile
	if got := key(t, newProvider(t, stranger)); !strings.Contains(got, "check that the certificate is registered") {
		t.Error(got)
	}
	for want, change := range map[string]func(*Options){
		"role alias": func(o *Options) { o.RoleAlias = "a/b" }, `endpoint "https:`: func(o *Options) { o.Endpoint = "https://a" },
		"CA file": func(o *Options) { o.CA = "/none" }, "certificate /none": func(o *Options) { o.Cert = "/none" },
	} {
		bad := o
		change(&bad)
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"credentials":{"accessKeyId":"A","secretAccessKey":"B","sessionToken":"C","expiration":"2030-01-18T09:18:06Z"}}`, "Sun, 22 Nov 2026 12:00:00 GMT")
	f.Add(`{"credentials":null}`, "")
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text, date string) {
		c, err := parse([]byte(text), http.Header{"Date": {date}}, now)
		if err == nil && (!c.HasKeys() || !c.Expires.After(now)) {
			t.Fatalf("%+v", c)
		}
	})
}
