package rules

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/sink"
	"mote/internal/cloud/store"
	"mote/internal/iotsql/eval"
)

// Outbox takes the actions that are too slow for a message's acknowledgement.
type Outbox interface {
	// Add adds the entry to b, or adds nothing and says why.
	Add(b *store.Batch, e *outbox.Entry) error
	// Status says what waits, by rule.
	Status() outbox.Status
}

// request is what an action sends through the outbox; it is one of package sink,
// or a write to the tables' cluster.
type request interface {
	Check() error
	Lane() string
	Encode() []byte
}

// outgoing is one request with what the outbox has to know of it.
type outgoing struct {
	kind    string // of package sink, or remote.Kind
	action  string // as failedAction names it
	target  string
	request request
	batch   *outbox.Batching // nil: not batched
	across  bool             // batched with messages of other topics
	keep    bool             // not given up while the destination is away
}

// lane is the lane of the request: messages of other topics are in other
// batches, unless the rule says that they are not (AWS IoT API, BatchConfig).
func (o *outgoing) lane(topic string) string {
	if o.batch == nil || o.across {
		return o.request.Lane()
	}
	return o.request.Lane() + " " + topic
}

// sender is an action that goes through the outbox.
type sender interface{ sends() }

// httpAction is the action http (AWS IoT developer guide, "HTTP").
type httpAction struct {
	url     *eval.Template
	confirm *eval.Template // nil: the rule names none
	headers []pair
	sign    *sink.SigV4
	batch   *outbox.Batching // nil: enableBatching is not set
	across  bool
}

// Bounds of the action http (AWS IoT API, HttpAction, BatchConfig).
const (
	maxHeaders       = 100
	minBatchOpen     = 5 // ms
	maxBatchOpen     = 200
	defaultBatchOpen = 20
	minBatchSize     = 2
	maxBatchSize     = 10
	minBatchBytes    = 100
	maxBatchBytes    = 128 << 10
	defaultBytes     = 5 << 10
)

func (f *fields) http() action {
	a := &httpAction{url: f.required("url"), headers: f.pairs("headers", maxHeaders), sign: f.signature()}
	a.confirm = f.confirmation(a.url, f.text("confirmationUrl"))
	f.checkHeaders(a.headers)
	a.batch, a.across = f.batching()
	if !f.flag("enableBatching") {
		a.batch = nil
	}
	return a
}

// confirmation checks the URLs of the action against each other (AWS IoT API,
// HttpAction: a url with templates needs a confirmationUrl, which is a prefix
// of the url). It returns the confirmationUrl, nil when there is none.
func (f *fields) confirmation(t *eval.Template, confirm string) (prefix *eval.Template) {
	if t == nil {
		return nil
	}
	if confirm != "" {
		prefix = f.compile("confirmationUrl", confirm)
	}
	text, constant := t.Constant()
	switch {
	case constant:
		if _, err := sink.CheckURL(text); err != nil {
			f.fail("url: %v", err)
		}
		if confirm != "" && !strings.Contains(confirm, "${") && within(text, confirm) != nil {
			f.fail("confirmationUrl %.80q: it must be the beginning of the url", confirm)
		}
	case confirm == "":
		f.fail("confirmationUrl is required, since the url has substitution templates")
	case !strings.Contains(confirm, "${"):
		if _, err := sink.CheckURL(confirm); err != nil {
			f.fail("confirmationUrl: %v", err)
		}
	}
	return prefix
}

// within says why a URL that a message made is not at or below the
// confirmationUrl of its rule, or nil: values of messages must not choose the
// host, also where hosts need no confirmation.
func within(text, confirm string) error {
	u, err := url.Parse(text)
	if err != nil {
		return nil // Check says what is wrong with it
	}
	c, err := url.Parse(confirm)
	if err != nil || u.Scheme != c.Scheme || !strings.EqualFold(u.Host, c.Host) || !strings.HasPrefix(text, confirm) {
		return fmt.Errorf("the url %.200q does not begin with the confirmationUrl %.200q: the message put it elsewhere", withoutQuery(text), withoutQuery(confirm))
	}
	return nil
}

func (f *fields) checkHeaders(headers []pair) {
	for _, h := range headers {
		if h.key == nil || h.value == nil {
			continue
		}
		key, constant := h.key.Constant()
		if !constant {
			f.fail("headers: the key of a header cannot hold a substitution template")
			return
		}
		value, _ := h.value.Constant()
		if err := sink.CheckHeader(key, value); err != nil {
			f.fail("headers: %v", err)
		}
	}
}

// signature reads auth; nil is none.
func (f *fields) signature() *sink.SigV4 {
	auth := f.sub("auth")
	if auth == nil {
		return nil
	}
	defer f.merge(auth)
	v4 := auth.sub("sigv4")
	if v4 == nil {
		auth.fail("sigv4 is required")
		return nil
	}
	defer auth.merge(v4)
	v4.role()
	s := &sink.SigV4{Region: v4.text("signingRegion"), Service: v4.text("serviceName")}
	if s.Region == "" || s.Service == "" {
		v4.fail("signingRegion and serviceName are required")
	}
	return s
}

func (f *fields) batching() (b *outbox.Batching, across bool) {
	config := f.sub("batchConfig")
	if config == nil {
		config = &fields{rule: f.rule}
	}
	b = &outbox.Batching{
		MaxOpen:  time.Duration(config.number("maxBatchOpenMs", minBatchOpen, maxBatchOpen, defaultBatchOpen)) * time.Millisecond,
		MaxSize:  config.number("maxBatchSize", minBatchSize, maxBatchSize, maxBatchSize),
		MaxBytes: config.number("maxBatchSizeBytes", minBatchBytes, maxBatchBytes, defaultBytes),
	}
	across = config.flag("batchAcrossTopics")
	f.merge(config)
	return b, across
}

func (a *httpAction) sends() {}

func (a *httpAction) name() string { return "HttpAction" }

func (a *httpAction) run(x *execution, r eval.Result) (string, error) {
	h := &sink.HTTP{URL: a.url.Text(&x.msg), SigV4: a.sign}
	target := withoutQuery(h.URL)
	if a.confirm != nil {
		if err := within(h.URL, a.confirm.Text(&x.msg)); err != nil {
			return target, err
		}
	}
	body, binary, err := resultBody(r)
	if err != nil {
		return target, err
	}
	h.Body, h.Binary = body, binary
	for _, p := range a.headers {
		h.Headers = append(h.Headers, sink.Header{Key: p.key.Text(&x.msg), Value: p.value.Text(&x.msg)})
	}
	o := &outgoing{kind: sink.KindHTTP, action: a.name(), target: target, request: h, across: a.across}
	if a.batch != nil && !binary { // what is not JSON cannot be in the JSON array that a batch is
		batch := *a.batch
		batch.Weight = len(body)
		o.batch = &batch
	}
	return target, x.do.send(o)
}

// withoutQuery is a URL for error messages: a query may hold secrets.
func withoutQuery(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		u.User = nil
		text = u.String()
	}
	text, _, _ = strings.Cut(text, "?")
	return text
}

// resultBody is a result as a body, and whether that is something else than JSON.
func resultBody(r eval.Result) ([]byte, bool, error) {
	_, binary := r.Binary()
	body, err := r.AppendPayload(nil)
	return body, binary, err
}

// objectAction is the action s3 (AWS IoT developer guide, "S3").
type objectAction struct{ bucket, key *eval.Template }

// cannedACLs are those of the AWS IoT API, CannedAccessControlList. Files have
// no such access lists; a rule that names one is kept as it is.
var cannedACLs = []string{
	"private", "public-read", "public-read-write", "aws-exec-read", "authenticated-read", "bucket-owner-read",
	"bucket-owner-full-control", "log-delivery-write",
}

func (f *fields) s3() action {
	f.role()
	f.oneOf("cannedAcl", cannedACLs...)
	a := &objectAction{bucket: f.required("bucketName"), key: f.required("key")}
	f.checkConstants(&sink.S3{Bucket: "bucket", Key: "key"}, func(r request) {
		s := r.(*sink.S3)
		setConstant(&s.Bucket, a.bucket)
		setConstant(&s.Key, a.key)
	})
	return a
}

// checkConstants refuses what no message can make right: it checks a request
// in which set has put the constant members of the action.
func (f *fields) checkConstants(r request, set func(request)) {
	set(r)
	if err := r.Check(); err != nil {
		f.fail("%v", err)
	}
}

func setConstant(dst *string, t *eval.Template) {
	if t == nil {
		return
	}
	if text, constant := t.Constant(); constant {
		*dst = text
	}
}

func (a *objectAction) sends() {}

func (a *objectAction) name() string { return "S3Action" }

func (a *objectAction) run(x *execution, r eval.Result) (string, error) {
	s := &sink.S3{Bucket: a.bucket.Text(&x.msg), Key: a.key.Text(&x.msg)}
	var err error
	if s.Body, _, err = resultBody(r); err != nil {
		return s.Bucket, err
	}
	return s.Bucket, x.do.send(&outgoing{kind: sink.KindS3, action: a.name(), target: s.Bucket, request: s})
}

// functionAction is the action lambda (AWS IoT developer guide, "Lambda").
type functionAction struct{ function *eval.Template }

func (f *fields) lambda() action {
	a := &functionAction{function: f.required("functionArn")}
	f.checkConstants(&sink.Lambda{Function: "f"}, func(r request) { setConstant(&r.(*sink.Lambda).Function, a.function) })
	return a
}

func (a *functionAction) sends() {}

func (a *functionAction) name() string { return "LambdaAction" }

func (a *functionAction) run(x *execution, r eval.Result) (string, error) {
	l := &sink.Lambda{Function: a.function.Text(&x.msg)}
	body, binary, err := resultBody(r)
	if err != nil {
		return l.Function, err
	}
	if binary {
		return l.Function, errors.New("the result of the statement is not JSON, and a function takes only JSON: use encode(*, 'base64')")
	}
	l.Payload = body
	return l.Function, x.do.send(&outgoing{kind: sink.KindLambda, action: a.name(), target: l.Function, request: l})
}

// send implements effects: it adds the request to the outbox, in the message's
// batch.
func (x *execution) send(o *outgoing) error {
	if err := o.request.Check(); err != nil {
		return err
	}
	if x.engine.opt.Outbox == nil {
		return errNoOutbox
	}
	context, err := x.origin(o).encode()
	if err != nil {
		return fmt.Errorf("keep the message for the error action: %w", err)
	}
	e := &outbox.Entry{
		Kind: o.kind, Lane: o.lane(x.in.Topic), Rule: x.rule.rule.Name, Data: o.request.Encode(), Context: context,
		HasErrorAction: x.rule.errorAction != nil && !x.failing, Keep: o.keep, Batch: o.batch,
	}
	if err := x.engine.opt.Outbox.Add(x.batch, e); err != nil {
		return err
	}
	x.sent++
	return nil
}

var errNoOutbox = errors.New("this server has no outbox, so it sends nothing")

// ConfirmationURLs returns the URLs that have to confirm that they want what the
// rule's http actions send: each one's confirmationUrl, or its url; none that
// has substitution templates, since there are destinations for each of its
// values then (AWS IoT API, HttpAction).
func (p Payload) ConfirmationURLs() []string {
	var out []string
	for _, raw := range append(slices.Clone(p.Actions), p.ErrorAction) {
		var a struct {
			HTTP *struct {
				URL          string `json:"url"`
				Confirmation string `json:"confirmationUrl"`
			} `json:"http"`
		}
		if json.Unmarshal(raw, &a) != nil || a.HTTP == nil {
			continue
		}
		text := cmp.Or(a.HTTP.Confirmation, a.HTTP.URL)
		if !strings.Contains(text, "${") && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}
