package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"mote/internal/cloud/outbox"
)

// Transport says how requests reach their destinations. The zero value is
// ready to use.
type Transport struct {
	// Proxy returns the proxy for a request, nil for none. The default is none;
	// http.ProxyFromEnvironment takes the one of the environment.
	Proxy func(*http.Request) (*url.URL, error)
	// RootCAs are trusted for https; default: those of the system.
	RootCAs *x509.CertPool
	// Control may refuse a connection to an address, as
	// net.Dialer.ControlContext does. nil refuses none.
	Control func(ctx context.Context, network, address string, c syscall.RawConn) error
	// Timeout is for one request, from the name's look-up to the last byte of
	// the answer; default 10 s.
	Timeout time.Duration
}

// maxAnswer is how much of an answer is read (AWS IoT developer guide, "HTTP").
const maxAnswer = 16384

const (
	connectTimeout = 5 * time.Second
	drainFor       = time.Second // for the body of an answer that nobody needs
)

// poster makes POST requests and says what their answers mean to the outbox.
type poster struct {
	client  *http.Client
	timeout time.Duration
}

func newPoster(t Transport) *poster {
	if t.Timeout == 0 {
		t.Timeout = 10 * time.Second
	}
	dialer := &net.Dialer{Timeout: min(connectTimeout, t.Timeout), ControlContext: t.Control}
	return &poster{timeout: t.Timeout, client: &http.Client{
		Transport: &http.Transport{
			Proxy: t.Proxy, DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout,
			TLSClientConfig:    &tls.Config{RootCAs: t.RootCAs, MinVersion: tls.VersionTLS12},
			DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			MaxIdleConns: 64, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// post sends a request made by build. name is for error texts: what was called,
// without anything secret. The error is an outbox.Error.
func (p *poster) post(ctx context.Context, name string, build func(context.Context) (*http.Request, error)) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	var sent, reused atomic.Bool
	req, err := build(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(i httptrace.GotConnInfo) { reused.Store(i.Reused) },
		WroteHeaders: func() { sent.Store(true) },
	}))
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return noAnswer(name, err, sent.Load(), reused.Load())
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 { // done; the rest is only read so that the connection can be used again
		defer time.AfterFunc(drainFor, cancel).Stop()
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	return answer(name, resp, body, err)
}

// noAnswer is the error of a request without answer. Of a connection that was
// used before, the peer's end is no answer to this request: it may have had
// enough of waiting for one.
func noAnswer(name string, err error, sent, reused bool) error {
	var inURL *url.Error
	if errors.As(err, &inURL) { // it repeats the whole URL
		err = inURL.Err
	}
	class := outbox.Unreachable
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("%s gave no answer in time: %w", name, err)
	case !sent:
		err = fmt.Errorf("%s cannot be reached: %w", name, err)
	case reused:
		class, err = outbox.Busy, fmt.Errorf("%s closed the connection: %w", name, err)
	default:
		class, err = outbox.Uncertain, fmt.Errorf("%s closed the connection without an answer: %w", name, err)
	}
	return outbox.Fail(class, err)
}

// answer says what an answer means: 2xx is success, whatever its body; 429 and
// 5xx ask for another attempt; a redirect is not followed; everything else is
// for good.
func answer(name string, resp *http.Response, body []byte, readErr error) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err := fmt.Errorf("%s answered %d %s%s", name, resp.StatusCode, http.StatusText(resp.StatusCode), shown(body))
	switch {
	case resp.StatusCode/100 == 3:
		return outbox.Fail(outbox.Permanent, fmt.Errorf("%w; redirects are not followed: name the URL that it means", err))
	case resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode/100 != 5:
		return outbox.Fail(outbox.Permanent, err)
	case readErr != nil:
		return outbox.Fail(outbox.Uncertain, fmt.Errorf("%w: its answer broke off: %w", err, readErr))
	case len(body) > maxAnswer:
		return outbox.Fail(outbox.Uncertain, fmt.Errorf("%w, of more than %d bytes", err, maxAnswer))
	}
	return &outbox.Error{Class: outbox.Busy, Err: err, After: retryAfter(resp.Header.Get("Retry-After"))}
}

// shown is the beginning of an answer for an error text.
func shown(body []byte) string {
	const most = 200
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), most)]), "")), " ")
	if text == "" {
		return ""
	}
	return ": " + text
}

// retryAfter reads the header Retry-After (RFC 9110, 10.2.3); 0 is none.
func retryAfter(value string) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
