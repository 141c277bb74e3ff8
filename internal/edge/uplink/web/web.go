// Package web holds what the uplinks over HTTPS share: which URLs they take, how
// they connect, how requests are signed with Signature Version 4, also when this
// machine's clock is wrong, and how long a server in trouble is left alone.
package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"mote/internal/edge/uplink"
)

// MostRetryAfter bounds what is believed of Retry-After.
const MostRetryAfter = 15 * time.Minute

// ParseURL checks the URL of a server: https, or http to this machine only
// unless allowPlain.
func ParseURL(text string, allowPlain bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("url %q: %w", text, errors.Unwrap(err))
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "":
		return nil, fmt.Errorf("url %q: want https://host/stage/path", text)
	case u.User != nil:
		return nil, fmt.Errorf("url with a user name or password: set an API key or credentials instead")
	case u.Fragment != "":
		return nil, fmt.Errorf("url %q: a fragment (#…) is never sent, remove it", text)
	case u.Scheme == "http" && !allowPlain && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("url %q is not encrypted: use https", text)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Client makes a client with so many connections that follows no redirects: what
// it sends is for one server only. Server certificates come from the CAs in
// caFile; "" means those of the system.
func Client(caFile string, conns int, timeout time.Duration) (*http.Client, error) {
	roots, err := readRoots(caFile)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: Transport{&http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            uplink.Dialer().DialContext,
			TLSHandshakeTimeout:    15 * time.Second,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			MaxConnsPerHost:        conns,
			MaxIdleConnsPerHost:    conns,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Transport is that of [Client]. When a request has no answer, it closes the
// connections that wait: the network has changed or the server is gone, and each
// of them would fail as slowly.
type Transport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(req)
	if err != nil {
		t.CloseIdleConnections()
	}
	return resp, err
}

// readRoots reads the CAs in a PEM file; nil, which stands for those of the system,
// when file is "".
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no certificate in PEM form: give the root that signed the server's certificate", file)
	}
	return roots, nil
}

// NoAnswer tells why a request to u within timeout had no answer. It leaves the
// URL's query out, which may hold what logs should not.
func NoAnswer(err error, method string, u *url.URL, timeout time.Duration) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v: %w", timeout, err)
	}
	return fmt.Errorf("%s %s://%s%s: %w%s", method, u.Scheme, u.Host, u.EscapedPath(), err, datesAdvice(err, time.Now()))
}

// datesAdvice says of a server's certificate that is not valid at now by this
// machine's clock that the clock may be the reason; "" for any other error.
func datesAdvice(err error, now time.Time) string {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired || invalid.Cert == nil {
		return ""
	}
	says, from, to := now.UTC().Format(time.RFC3339), invalid.Cert.NotBefore.UTC(), invalid.Cert.NotAfter.UTC()
	if now.Before(from) {
		return fmt.Sprintf(": this machine's clock says %s and the server's certificate begins on %s: set the clock", says, from.Format(time.RFC3339))
	}
	return fmt.Sprintf(": the server's certificate ended on %s; this machine's clock says %s: if that is right, the server needs a new one", to.Format(time.RFC3339), says)
}

// Said finds the words in an answer, at most 300 bytes of them: the member
// message of a JSON object, as AWS writes it in two spellings, or the text itself.
func Said(text []byte) string {
	var body struct{ Message string } // JSON member names are matched in any case
	said := string(text)
	if json.Unmarshal(text, &body) == nil && body.Message != "" {
		said = body.Message
	}
	said = strings.Join(strings.Fields(strings.ToValidUTF8(said, "\uFFFD")), " ")
	if len(said) > 300 {
		said = strings.ToValidUTF8(said[:300], "") + "…"
	}
	return said
}

// RetryAfter reads Retry-After (RFC 9110 section 10.2.3), seconds or a date,
// bounded by MostRetryAfter. 0 means none.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, MostRetryAfter)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date // so that this machine's clock does not matter
	}
	return min(max(at.Sub(now), 0), MostRetryAfter)
}

// Gate holds all requests back while the server as a whole fails, so that one in
// trouble gets few of them, however much waits.
type Gate struct {
	mu      sync.Mutex
	backoff uplink.Backoff // guarded by mu
	until   time.Time      // guarded by mu; nothing is sent before
	success time.Time      // guarded by mu; the last one
}

// NewGate makes an open gate that closes for pauses of backoff.
func NewGate(backoff uplink.Backoff) *Gate { return &Gate{backoff: backoff} }

// Wait waits until the gate is open; it is false when ctx ended before.
func (g *Gate) Wait(ctx context.Context) bool {
	for {
		g.mu.Lock()
		d := time.Until(g.until)
		g.mu.Unlock()
		if d <= 0 {
			return ctx.Err() == nil
		}
		if !uplink.Sleep(ctx, d) {
			return false
		}
	}
}

// Opened notes a request that succeeded.
func (g *Gate) Opened(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.success = now
	g.backoff.Reset()
}

// Failed closes the gate for a while after a request, begun at start, that
// failed for a reason that is not its own. When another one succeeded since,
// the reason was its own after all; when the gate was closed since, this
// failure is not news.
func (g *Gate) Failed(start, now time.Time, retryAfter time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.success.After(start) || g.until.After(start) {
		return
	}
	g.until = now.Add(max(g.backoff.Next(), retryAfter))
}
