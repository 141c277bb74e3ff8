package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"mote/internal/cloud/outbox"
)

// HTTPOptions configure the deliverer of HTTP actions.
type HTTPOptions struct {
	Transport
	// Allow says why no request may go to a URL, or nil. It is asked before each
	// request. An error is permanent, unless it is an outbox.Error that says
	// otherwise. nil allows nothing.
	Allow func(url string) error
	// Credentials are for requests that are signed. nil: those fail.
	Credentials func(ctx context.Context) (aws.Credentials, error)
}

// HTTPDeliverer makes the requests of HTTP actions. Entries that come together
// go as one JSON array, when their URL is the same; the headers are those of
// the last one (AWS IoT developer guide, "Batching HTTP action messages"). A
// body that is not JSON has no place in an array, and goes by itself.
type HTTPDeliverer struct {
	opt    HTTPOptions
	poster *poster
	signer *v4.Signer
}

// NewHTTP returns a deliverer for entries of KindHTTP.
func NewHTTP(o HTTPOptions) *HTTPDeliverer {
	return &HTTPDeliverer{opt: o, poster: newPoster(o.Transport), signer: v4.NewSigner()}
}

// Close closes connections that are not in use.
func (d *HTTPDeliverer) Close() { d.poster.close() }

// Deliver implements outbox.Deliverer.
func (d *HTTPDeliverer) Deliver(ctx context.Context, entries []*outbox.Entry) []error {
	errs := make([]error, len(entries))
	requests := make([]*HTTP, len(entries))
	for i, e := range entries {
		h, err := DecodeHTTP(e.Data)
		if err != nil {
			errs[i] = outbox.Fail(outbox.Permanent, err)
			continue
		}
		h.Binary = h.Binary || e.Batch != nil && !json.Valid(h.Body)
		requests[i] = h
	}
	for i := 0; i < len(entries); {
		n := joined(requests[i:])
		if requests[i] != nil {
			err := d.send(ctx, entries[i:i+n], requests[i:i+n])
			for j := range n {
				errs[i+j] = err
			}
		}
		i += n
	}
	return errs
}

// joined says how many of the requests, from the first on, make one.
func joined(requests []*HTTP) int {
	first := requests[0]
	n := 1
	for first != nil && !first.Binary && n < len(requests) {
		if next := requests[n]; next == nil || next.Binary || next.URL != first.URL {
			break
		}
		n++
	}
	return n
}

func (d *HTTPDeliverer) send(ctx context.Context, entries []*outbox.Entry, requests []*HTTP) error {
	h := requests[len(requests)-1]
	if err := d.allowed(h.URL); err != nil {
		return err
	}
	return d.poster.post(ctx, h.Lane(), func(ctx context.Context) (*http.Request, error) {
		body := h.Body
		if entries[0].Batch != nil && !h.Binary {
			body = array(requests)
		}
		req, err := newPost(ctx, h.URL, body, entries)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", contentType(h.Binary))
		for _, one := range h.Headers {
			if http.CanonicalHeaderKey(one.Key) == "Content-Type" {
				req.Header.Del("Content-Type")
			}
		}
		for _, one := range h.Headers {
			req.Header.Add(one.Key, one.Value)
		}
		return req, d.sign(ctx, req, body, h.SigV4)
	})
}

func (d *HTTPDeliverer) allowed(url string) error {
	if d.opt.Allow == nil {
		return outbox.Fail(outbox.Permanent, errors.New("http: this server allows no destinations"))
	}
	err := d.opt.Allow(url)
	var e *outbox.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return outbox.Fail(outbox.Permanent, err)
}

// array is the body of a batch.
func array(requests []*HTTP) []byte {
	body := []byte("[")
	for i, h := range requests {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, h.Body...)
	}
	return append(body, ']')
}

func contentType(binary bool) string {
	if binary {
		return "application/octet-stream"
	}
	return "application/json"
}

// newPost returns a request that performs entries.
func newPost(ctx context.Context, url string, body []byte, entries []*outbox.Entry) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, outbox.Fail(outbox.Permanent, errors.New("the request cannot be made: its URL or headers are not valid"))
	}
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	req.Header.Set(IDHeader, strings.Join(ids, ","))
	req.Header.Set("User-Agent", "mote")
	return req, nil
}

// sign signs the request with Signature Version 4, if it is to be signed.
func (d *HTTPDeliverer) sign(ctx context.Context, req *http.Request, body []byte, s *SigV4) error {
	if s == nil {
		return nil
	}
	if d.opt.Credentials == nil {
		return outbox.Fail(outbox.Permanent, errors.New("http: this server has no credentials to sign requests with"))
	}
	creds, err := d.opt.Credentials(ctx)
	if err != nil {
		return outbox.Fail(outbox.Busy, fmt.Errorf("http: credentials to sign the request with: %w", err))
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if s.Service == "s3" { // it wants to be told
		req.Header.Set("X-Amz-Content-Sha256", hash)
	}
	if err := d.signer.SignHTTP(ctx, creds, req, hash, s.Service, s.Region, time.Now()); err != nil {
		return outbox.Fail(outbox.Permanent, fmt.Errorf("http: sign the request: %w", err))
	}
	return nil
}
