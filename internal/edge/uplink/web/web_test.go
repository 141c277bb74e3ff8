package web

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"mote/internal/watch"
)

// TestErrorsThatComeFromTheClockSaySo: a certificate that is not valid yet, or
// no longer.
func TestErrorsThatComeFromTheClockSaySo(t *testing.T) {
	u := &url.URL{Scheme: "https", Host: "api.example", Path: "/prod/dust", RawQuery: "secret=1"}
	now := time.Now()
	for want, invalid := range map[string]x509.CertificateInvalidError{
		": set the clock":        {Reason: x509.Expired, Cert: &x509.Certificate{NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)}},
		"the server needs a new": {Reason: x509.Expired, Cert: &x509.Certificate{NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)}},
	} {
		err := NoAnswer(&url.Error{Err: fmt.Errorf("tls: %w", invalid)}, "POST", u, time.Second)
		if today := time.Now(); today.UTC().Day() != now.UTC().Day() {
			now = today // it was midnight meanwhile
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "this machine's clock says "+now.UTC().Format("2006-01-02")) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v; want it to say %s", err, want)
		}
	}
	if err := NoAnswer(errors.New("refused"), "POST", u, time.Second); strings.Contains(err.Error(), "clock") {
		t.Errorf("%v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0,
		"4294967295":                    MostRetryAfter,
		"Sun, 22 Nov 2026 12:01:00 GMT": time.Minute,
		"Sun, 22 Nov 2026 11:00:00 GMT": 0,
		"Tue, 22 Nov 2044 12:00:00 GMT": MostRetryAfter,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	skewed := http.Header{"Retry-After": {"Sun, 22 Nov 2026 12:01:00 GMT"}, "Date": {"Sun, 22 Nov 2026 12:00:30 GMT"}}
	if got := RetryAfter(skewed, now.Add(-time.Hour)); got != 30*time.Second {
		t.Errorf("with the server's date: %v", got)
	}
}

// What a request without an answer says about the network, it says about all
// connections.
func TestAFailedRequestClosesTheConnectionsThatWait(t *testing.T) {
	var closed atomic.Int64
	both := make(chan struct{}, 2)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			panic(http.ErrAbortHandler)
		}
		for both <- struct{}{}; len(both) < 2; { // so that there are two connections
			time.Sleep(time.Millisecond)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c, err := Client("", 2, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	post := func(path string) error {
		resp, err := c.Post(s.URL+path, "", nil)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	var two errgroup.Group
	two.Go(func() error { return post("/") })
	two.Go(func() error { return post("/") })
	if err := two.Wait(); err != nil || closed.Load() != 0 {
		t.Fatal(err, closed.Load())
	}
	if err := post("/gone"); err == nil {
		t.Error("no error")
	}
	watch.Until(t, "both connections are closed", func() bool { return closed.Load() == 2 })
}
