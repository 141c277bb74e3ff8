package rest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/refusal"
	"mote/internal/sigv4"
)

// Limits of a request (API Gateway developer guide, "Quotas for configuring and
// running a REST API"). Headers are bounded by the server.
const (
	maxRequestBody = 10 << 20 // bytes; each action takes less, see maxBody
	bodyTimeout    = 30 * time.Second
	actionTimeout  = 29 * time.Second
	retryAfter     = "5" // seconds
)

// call is one request on its way through the pipeline.
type call struct {
	r           *http.Request
	id          string // request id
	now         time.Time
	sourceIP    string
	ep          *endpoint
	parts       []string          // decoded segments after the stage
	labels      map[string]string // values of the path's labels
	accessKeyID string            // of who signed; "" without AWS_IAM
	apiKeyID    string            // "" without API key
	body        []byte
	object      map[string]any // the body, once an action has read it as JSON
	parsed      url.Values
}

func (c *call) query() url.Values {
	if c.parsed == nil {
		c.parsed = c.r.URL.Query()
	}
	return c.parsed
}

// param looks a name up as $input.params does: path, query, header.
func (c *call) param(name string) string {
	if v, ok := c.labels[name]; ok {
		return v
	}
	if c.query().Has(name) {
		return c.query().Get(name)
	}
	return c.r.Header.Get(name)
}

// refused is a request that is turned away: what the client gets, and why for
// the log.
type refused struct {
	reply
	reason string
}

func refuse(status int, errorType, text, reason string) *refused {
	return &refused{failure(status, errorType, text), reason}
}

// HasStage says whether a deployed stage has the name.
func (e *Engine) HasStage(name string) bool {
	_, ok := e.state.Load().routes.stages[name]
	return ok
}

// ServeHTTP serves the deployed routes: POST /{stage}/{path…} and the like, in
// the order of API Gateway: route, signature, API key and usage plan,
// integration.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{r: r, id: newRequestID(), now: e.o.Now(), sourceIP: sourceIP(r)}
	answer, no := e.serve(w, c)
	if no == nil && answer.status >= 400 && answer.status < 500 && answer.errorType != "" {
		no = &refused{answer, answer.errorType + ": " + answer.text}
	}
	if no != nil {
		answer = no.reply
		e.o.Refusals.Add(refusal.Refusal{Where: "rest", Action: r.Method + " " + cut(r.URL.EscapedPath()), Resource: c.resource(),
			Principal: c.principal(), SourceIP: c.sourceIP, Reason: no.reason})
	}
	c.write(w, answer)
}

func (e *Engine) serve(w http.ResponseWriter, c *call) (reply, *refused) {
	s := e.state.Load()
	if no := c.route(e, s.routes); no != nil {
		return reply{}, no
	}
	claim, no := c.examine(e)
	if no != nil {
		return reply{}, no
	}
	if claim == nil { // without a signature the body need not be read to know the caller
		if no := c.checkKey(e, s); no != nil {
			return reply{}, no
		}
	}
	if no := c.readBody(w); no != nil {
		return reply{}, no
	}
	if claim != nil {
		if no := c.verify(e, claim); no != nil {
			return reply{}, no
		}
		if no := c.checkKey(e, s); no != nil {
			return reply{}, no
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), actionTimeout)
	defer cancel()
	return c.ep.action.run(ctx, e, c), nil
}

// route finds the endpoint.
func (c *call) route(e *Engine, t *routeTable) *refused {
	stage, parts, ok := cutStage(c.r.URL.EscapedPath())
	if !ok {
		return refuse(http.StatusBadRequest, "BadRequestException", "Bad Request", "the path is not well escaped")
	}
	tree, why := t.tree(c.r.Host, stage)
	if tree == nil {
		return refuse(http.StatusForbidden, "ForbiddenException", "Forbidden", why)
	}
	ep, values := tree.find(c.r.Method, parts, nil)
	if ep == nil {
		return c.unknownRoute(e, stage)
	}
	c.ep, c.parts, c.labels = ep, parts, make(map[string]string, len(values))
	for i, v := range values {
		c.labels[ep.labels[i]] = v
	}
	return nil
}

// tree returns the routes of a stage: of one API when the host names it as on
// AWS (<id>.execute-api.…), else of all APIs of this origin.
func (t *routeTable) tree(host, stage string) (*node, string) {
	id, rest, _ := strings.Cut(host, ".")
	if !strings.HasPrefix(rest, "execute-api.") {
		if tree := t.stages[stage]; tree != nil {
			return tree, ""
		}
		return nil, fmt.Sprintf("no deployed stage is named %.128q", stage)
	}
	own, ok := t.apis[id]
	if !ok {
		return nil, fmt.Sprintf("the host names the REST API %.64q, which is not here", id)
	}
	if tree := own[stage]; tree != nil {
		return tree, ""
	}
	return nil, fmt.Sprintf("the REST API %s has no stage %.128q", id, stage)
}

// unknownRoute answers for a path or method that no resource has: as AWS does,
// with what it makes of the Authorization header, if there is one.
func (c *call) unknownRoute(e *Engine, stage string) *refused {
	why := fmt.Sprintf("no resource of stage %.128q has this path and method", stage)
	auth := c.r.Header.Get("Authorization")
	if auth != "" && !strings.HasPrefix(auth, "AWS4-HMAC-SHA256") {
		sum := sha256.Sum256([]byte(auth))
		return refuse(http.StatusForbidden, sigv4.CodeIncomplete, "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '"+
			base64.StdEncoding.EncodeToString(sum[:])+"'.", why)
	}
	if auth != "" {
		if _, no := e.examine(c.r); no != nil {
			return refuse(no.StatusOr(http.StatusForbidden), no.Code, no.Message, why+"; "+no.Diagnosis)
		}
	}
	return refuse(http.StatusForbidden, sigv4.CodeMissingToken, "Missing Authentication Token", why)
}

func (e *Engine) examine(r *http.Request) (*sigv4.Claim, *sigv4.Error) {
	return sigv4.Examine(r, e.o.Keys, sigv4.Options{Services: []string{"execute-api"}, Sessions: e.o.Sessions, MaxSkew: sigv4.ExecuteAPIMaxSkew, Now: e.o.Now})
}

// examine begins to check the signature where the method asks for one. Where
// it does not, Authorization is ignored, whatever it holds.
func (c *call) examine(e *Engine) (*sigv4.Claim, *refused) {
	if c.ep.method.AuthorizationType != AuthIAM {
		return nil, nil
	}
	claim, no := e.examine(c.r)
	return claim, signatureRefused(no)
}

func (c *call) verify(e *Engine, claim *sigv4.Claim) *refused {
	id, no := claim.Verify(c.r, c.body)
	c.accessKeyID = id.AccessKeyID
	if no != nil || id.Session == nil {
		return signatureRefused(no)
	}
	return c.mayInvoke(e, id.Session)
}

// mayInvoke refuses a temporary access key whose role may not call the method
// (API Gateway developer guide, "Control access for invoking an API").
func (c *call) mayInvoke(e *Engine, s *sigv4.Session) *refused {
	const action = "execute-api:Invoke"
	path := c.ep.api.ID + "/" + c.ep.stage + "/" + c.r.Method
	for _, part := range c.parts {
		path += "/" + strings.ReplaceAll(part, "/", "%2F") // one segment is not taken for two, which may be another resource
	}
	err := s.May(action, path, c.sourceIP)
	if err == nil {
		return nil
	}
	last := e.o.Account[max(0, len(e.o.Account)-4):]
	text := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: arn:aws:execute-api:%s:********%s:%s", s.Principal, action, e.o.Region, last, path)
	return refuse(http.StatusForbidden, sigv4.CodeDenied, text, err.Error())
}

func signatureRefused(no *sigv4.Error) *refused {
	if no == nil {
		return nil
	}
	text := no.Message
	if no.Code == sigv4.CodeMissingToken {
		text = "Missing Authentication Token"
	}
	return refuse(no.StatusOr(http.StatusForbidden), no.Code, text, no.Code+": "+no.Diagnosis)
}

// checkKey checks the API key where the method requires one, and the throttle
// of its usage plan.
func (c *call) checkKey(e *Engine, s *state) *refused {
	if !c.ep.method.APIKeyRequired {
		return nil
	}
	forbidden := func(why string) *refused {
		return refuse(http.StatusForbidden, "ForbiddenException", "Forbidden", why)
	}
	value := c.r.Header.Get("x-api-key")
	if value == "" {
		return forbidden("this route needs an API key, and the request has no header x-api-key")
	}
	k := s.routes.keys[sha256.Sum256([]byte(value))]
	if k == nil {
		return forbidden("the value of x-api-key is no API key of this server")
	}
	c.apiKeyID = k.ID
	named := fmt.Sprintf("API key %s (%.64s)", k.ID, k.Name)
	if !k.Enabled {
		return forbidden(named + " is switched off: enable it, with aws apigateway update-api-key")
	}
	plan := s.routes.planFor(k.ID, PlanStage{c.ep.api.ID, c.ep.stage})
	if plan == nil {
		return forbidden(fmt.Sprintf("%s is in no usage plan of stage %s of the REST API %s (%.64s): add both to one", named, c.ep.stage, c.ep.api.ID, c.ep.api.Name))
	}
	if t := plan.Throttle; t != nil && !e.buckets.take(plan.ID+" "+k.ID, t, c.now) {
		return refuse(http.StatusTooManyRequests, "TooManyRequestsException", "Too Many Requests",
			fmt.Sprintf("%s is faster than its usage plan %s allows: %g requests per second, bursts of %d", named, plan.Name, t.RateLimit, t.BurstLimit))
	}
	return nil
}

func (t *routeTable) planFor(keyID string, stage PlanStage) *planRecord {
	for _, p := range t.plans[stage] {
		if slices.Contains(p.KeyIDs, keyID) {
			return p
		}
	}
	return nil
}

// readBody reads the body with the limits of the action.
func (c *call) readBody(w http.ResponseWriter) *refused {
	limit := c.ep.action.maxBody()
	tooLong := func() *refused {
		if c.r.ContentLength > maxRequestBody {
			return refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException", "Request Too Long", "the body is larger than 10 MB")
		}
		return refuse(http.StatusRequestEntityTooLarge, "RequestTooLargeException", fmt.Sprintf("Request Too Long: this route takes bodies of at most %d bytes", limit),
			fmt.Sprintf("the body is larger than %d bytes, which is all that this route takes", limit))
	}
	if c.r.ContentLength > int64(limit) {
		return tooLong()
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer has deadlines; then the server's own limits hold
	body, err := io.ReadAll(http.MaxBytesReader(w, c.r.Body, int64(limit)))
	if err == nil { // after a failure the deadline stays, for what net/http reads of the rest
		_ = control.SetReadDeadline(time.Time{})
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLong()
	}
	if err != nil {
		return refuse(http.StatusRequestTimeout, "RequestTimeoutException", "The request body could not be read.", "the body did not arrive whole: "+err.Error())
	}
	c.body = body
	return nil
}

// resource names the route for the refusal log.
func (c *call) resource() string {
	if c.ep == nil {
		return ""
	}
	return c.ep.api.ID + "/" + c.ep.stage + c.ep.path
}

func (c *call) principal() string {
	claimed, _ := sigv4.Claimed(c.r)
	switch {
	case c.accessKeyID != "":
		return c.accessKeyID
	case c.apiKeyID != "":
		return c.apiKeyID
	}
	return claimed
}

// write sends the answer with the headers that API Gateway sets.
func (c *call) write(w http.ResponseWriter, a reply) {
	var random [12]byte
	rand.Read(random[:])
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("x-amzn-RequestId", c.id)
	h.Set("x-amz-apigw-id", base64.RawURLEncoding.EncodeToString(random[:])[:15]+"=")
	if a.errorType != "" {
		h.Set("x-amzn-ErrorType", a.errorType)
	} else {
		h.Set("X-Amzn-Trace-Id", fmt.Sprintf("Root=1-%08x-%x", c.now.Unix(), random[:]))
	}
	if a.retry || a.status == http.StatusTooManyRequests {
		h.Set("Retry-After", retryAfter)
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4, variant 10
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// sourceIP returns the address of the client without its port.
func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// cut bounds what of a stranger's text goes into a message or log line.
func cut(s string) string {
	if len(s) > 256 {
		return s[:256] + "…"
	}
	return s
}
