package sink

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"mote/internal/cloud/record"
)

// HTTP is the action http: a POST of the statement's result (AWS IoT developer
// guide, "HTTP").
type HTTP struct {
	URL     string // http or https
	Headers []Header
	SigV4   *SigV4 // nil: not signed
	Body    []byte
	Binary  bool // the body is not JSON: its default type is application/octet-stream, and it is never batched
}

// Header is one header of an HTTP action.
type Header struct{ Key, Value string }

// SigV4 says for what a request is signed.
type SigV4 struct{ Region, Service string }

// Bounds of an HTTP action. AWS allows 100 headers (AWS IoT API, HttpAction).
const (
	maxURL         = 2000
	maxHeaders     = 100
	maxHeaderKey   = 256
	maxHeaderBytes = 16 << 10 // all headers together
)

// Check says why the request can never be made, or nil.
func (h *HTTP) Check() error {
	if _, err := CheckURL(h.URL); err != nil {
		return err
	}
	if len(h.Headers) > maxHeaders {
		return fmt.Errorf("http: %d headers: at most %d are allowed", len(h.Headers), maxHeaders)
	}
	total := 0
	for _, one := range h.Headers {
		if err := CheckHeader(one.Key, one.Value); err != nil {
			return err
		}
		total += len(one.Key) + len(one.Value)
	}
	if total > maxHeaderBytes {
		return fmt.Errorf("http: the headers have %d bytes: at most %d are allowed", total, maxHeaderBytes)
	}
	if s := h.SigV4; s != nil && (s.Region == "" || s.Service == "") {
		return errors.New("http: a signature needs signingRegion and serviceName")
	}
	return nil
}

// CheckURL parses the URL of a request that mote makes, and says why it makes
// no such request. The error repeats nothing of a URL that holds a password.
func CheckURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("http: the URL has %d bytes: at most %d are allowed", len(raw), maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("http: not a URL: %w", err)
	}
	switch {
	case u.User != nil:
		return nil, errors.New("http: the URL holds a user name or password: send credentials in a header, or sign with sigv4")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("http: the URL %.100q is not an http or https URL", raw)
	case u.Hostname() == "":
		return nil, fmt.Errorf("http: the URL %.100q names no host", raw)
	case u.Fragment != "" || u.RawFragment != "":
		return nil, fmt.Errorf("http: the URL %.100q has a fragment, which is not sent: write a # of the path or query as %%23", raw)
	}
	return u, nil
}

// refusedHeaders are about the connection, or are set by mote itself (RFC 9110,
// 7.6.1 and 7.2; RFC 9112, 6).
var refusedHeaders = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Transfer-Encoding": true, "Te": true,
	"Trailer": true, "Upgrade": true, "Content-Length": true, "Host": true, "Proxy-Authorization": true,
	"Proxy-Authenticate": true, "Expect": true, "Http2-Settings": true, "Accept-Encoding": true, "Content-Encoding": true,
	IDHeader: true, "X-Amz-Date": true, "X-Amz-Content-Sha256": true, "X-Amz-Security-Token": true,
}

// CheckHeader says why a rule may not set a header.
func CheckHeader(key, value string) error {
	switch {
	case len(key) > maxHeaderKey:
		return fmt.Errorf("http: the header %.40q… has a name of %d bytes: at most %d are allowed", key, len(key), maxHeaderKey)
	case !isToken(key):
		return fmt.Errorf("http: the header name %.100q is not one: letters, digits and !#$%%&'*+-.^_`|~ are allowed", key)
	case refusedHeaders[textproto.CanonicalMIMEHeaderKey(key)]:
		return fmt.Errorf("http: a rule cannot set the header %s: it is part of how the request is sent", http.CanonicalHeaderKey(key))
	case !isFieldValue(value):
		return fmt.Errorf("http: the value of the header %s has a line break or another control character", key)
	}
	return nil
}

// isToken says whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue says whether s has no control character but tabs (RFC 9110, 5.5).
func isFieldValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// Lane returns the destination: the URL without its query, which may hold
// secrets and values of the message. A caller that batches by topic, as AWS does
// unless batchAcrossTopics is set, appends the topic.
func (h *HTTP) Lane() string {
	s, _, _ := strings.Cut(h.URL, "?")
	return s
}

// Flags of an encoded HTTP action.
const (
	flagBinary = 1 << iota
	flagSigned
)

// Encode returns the request for outbox.Entry.Data.
func (h *HTTP) Encode() []byte {
	flags := byte(0)
	if h.Binary {
		flags |= flagBinary
	}
	if h.SigV4 != nil {
		flags |= flagSigned
	}
	dst := make([]byte, 0, len(h.URL)+len(h.Body)+64*(len(h.Headers)+1))
	dst = record.AppendText(append(dst, encodingVersion, flags), h.URL)
	dst = append(dst, byte(len(h.Headers)))
	for _, one := range h.Headers {
		dst = record.AppendText(record.AppendText(dst, one.Key), one.Value)
	}
	if h.SigV4 != nil {
		dst = record.AppendText(record.AppendText(dst, h.SigV4.Region), h.SigV4.Service)
	}
	return append(dst, h.Body...)
}

// DecodeHTTP reads an encoded request and checks it. The body is part of data.
func DecodeHTTP(data []byte) (*HTTP, error) {
	f := newFields(data)
	flags := f.Byte()
	h := &HTTP{URL: f.text(), Binary: flags&flagBinary != 0}
	n := int(f.Byte())
	if n > maxHeaders || flags&^(flagBinary|flagSigned) != 0 {
		return nil, errEncoding
	}
	for range n {
		h.Headers = append(h.Headers, Header{f.text(), f.text()})
	}
	if flags&flagSigned != 0 {
		h.SigV4 = &SigV4{f.text(), f.text()}
	}
	h.Body = f.rest()
	if err := f.err(); err != nil {
		return nil, err
	}
	return h, h.Check()
}

// IDHeader carries the ids of the entries that a request performs, separated by
// commas. They are the same when the request is repeated, so a receiver that
// keeps the last ones can drop what it has already.
const IDHeader = "X-Mote-Message-Id"
