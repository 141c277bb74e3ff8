package sink

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"mote/internal/cloud/outbox"
)

// LambdaOptions configure the deliverer of Lambda actions.
type LambdaOptions struct {
	Transport
	// Functions are the URLs of functions, by ARN or name. A function is looked
	// up as the rule names it, then by name and version (NAME:VERSION), then by
	// name. A URL with a path is called as it is. To a URL without path, such as
	// http://localhost:3001, the path of AWS Lambda's API is added:
	// /2015-03-31/functions/NAME/invocations.
	Functions map[string]string
}

// LambdaDeliverer calls functions: it sends their payload as a POST with the
// headers of an asynchronous call (AWS Lambda API, Invoke).
type LambdaDeliverer struct {
	functions map[string]*url.URL
	poster    *poster
}

// NewLambda returns a deliverer for entries of KindLambda. The error says which
// URL cannot be used.
func NewLambda(o LambdaOptions) (*LambdaDeliverer, error) {
	d := &LambdaDeliverer{functions: map[string]*url.URL{}, poster: newPoster(o.Transport)}
	for function, raw := range o.Functions {
		if err := (&Lambda{Function: function}).Check(); err != nil {
			return nil, err
		}
		u, err := CheckURL(raw)
		if err != nil {
			return nil, fmt.Errorf("the URL of the function %s: %w", function, err)
		}
		d.functions[function] = u
	}
	return d, nil
}

// Close closes connections that are not in use.
func (d *LambdaDeliverer) Close() { d.poster.close() }

// Deliver implements outbox.Deliverer.
func (d *LambdaDeliverer) Deliver(ctx context.Context, entries []*outbox.Entry) []error {
	errs := make([]error, len(entries))
	for i := range entries {
		errs[i] = d.call(ctx, entries[i:i+1])
	}
	return errs
}

func (d *LambdaDeliverer) call(ctx context.Context, entries []*outbox.Entry) error {
	l, err := DecodeLambda(entries[0].Data)
	if err != nil {
		return outbox.Fail(outbox.Permanent, err)
	}
	target, err := d.target(l.Function)
	if err != nil {
		return outbox.Fail(outbox.Permanent, err)
	}
	return d.poster.post(ctx, "the function "+l.Function, func(ctx context.Context) (*http.Request, error) {
		req, err := newPost(ctx, target, l.Payload, entries)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", contentType(!json.Valid(l.Payload)))
		req.Header.Set("X-Amz-Invocation-Type", "Event")
		return req, nil
	})
}

// target returns the URL of a function.
func (d *LambdaDeliverer) target(function string) (string, error) {
	name, version := functionName(function)
	for _, key := range []string{function, name + ":" + version, name} {
		u := d.functions[key]
		if u == nil {
			continue
		}
		if u.Path != "" && u.Path != "/" {
			return u.String(), nil
		}
		call := *u
		call.Path = "/2015-03-31/functions/" + name + "/invocations"
		if version != "" {
			q := call.Query()
			q.Set("Qualifier", version)
			call.RawQuery = q.Encode()
		}
		return call.String(), nil
	}
	return "", fmt.Errorf("lambda: no URL is set for the function %s: write NAME = \"URL\" under [cloud.lambda] in mote.toml", function)
}
