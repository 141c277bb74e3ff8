package awsapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"mote/internal/cloud/refusal"
	"mote/internal/sigv4"
)

// Routes is the REST engine as the front sees it: it authenticates by itself,
// since each route says how.
type Routes interface {
	http.Handler
	HasStage(name string) bool // whether a deployed stage has the name; called for every request
}

// Config is what a front serves. A nil service is answered as not offered.
type Config struct {
	IoT, IoTData, JobsData, DynamoDB, APIGateway Service

	Rest    Routes       // nil: no routes
	Console http.Handler // nil: no console; gets /console/… and, from browsers, /
	// MQTT serves MQTT over WebSocket, on /mqtt, for who signed; nil: it is not
	// offered. It gets the writer to take over its connection.
	MQTT http.Handler
	// Devices knows who sends the requests to the data plane that have no
	// signature but a client certificate; nil: nobody may do so. The error is
	// for the device and for the log.
	Devices func(r *http.Request) (Identity, error)
	// Credentials gives devices temporary access keys for their certificate; nil:
	// not offered. Sessions knows those keys.
	Credentials Service
	Sessions    sigv4.Sessions

	Confirm http.Handler // nil: none; gets unsigned GET /confirmdestination/{token}: the token is the credential

	Keys     sigv4.Keys
	Account  string // 12 digits
	Region   string // named in answers; clients may sign for any region
	Refusals *refusal.Log
	Log      *slog.Logger     // nil: discard
	Now      func() time.Time // nil: time.Now
}

// Front is the handler of the whole origin.
type Front struct {
	c        Config
	services map[target]offer
}

// offer is one service with what the front enforces for it.
type offer struct {
	service Service
	name    string
	scopes  []string     // accepted in the credential scope
	maxBody int64        // bytes
	devices bool         // a client certificate will do in place of a signature
	judged  bool         // it asks Identity.May, so that temporary access keys may call it
	next    http.Handler // that gets the authenticated requests; nil: service, which answers the others anyway
}

// bodyTimeout is how long a client may take to send its body.
const bodyTimeout = 30 * time.Second

// limitBody begins the time in which the body of r has to arrive. Without it a
// client that announces a body and sends none would hold its connection for
// ever, also when it is refused unread: net/http reads what is left of a body
// before it answers, and ReadHeaderTimeout does not cover that.
func limitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 { // or unknown
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer has deadlines; then the server's own limits hold
	}
}

// NewFront returns the handler for c.
func NewFront(c Config) *Front {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	f := &Front{c: c}
	f.services = map[target]offer{
		// The control plane's largest member is a rule's SQL of 256 KB.
		toIoT:      {c.IoT, "IoT", []string{"iot", "execute-api"}, 1 << 20, false, false, nil},
		toIoTData:  {c.IoTData, "IoT data plane", []string{"iotdata", "iotdevicegateway"}, 128 << 10, true, true, nil}, // "AWS IoT Core endpoints and quotas": payload 128 KB
		toMQTT:     {c.IoTData, "MQTT over WebSocket", []string{"iotdevicegateway", "iotdata"}, 0, false, false, c.MQTT},
		toJobsData: {c.JobsData, "IoT jobs data plane", []string{"iot-jobs-data"}, 64 << 10, true, true, nil},
		// Its answers are for a certificate: nothing that is signed comes here.
		toCredentials: {c.Credentials, "IoT credentials provider", nil, 1 << 10, true, false, nil},
		// DynamoDB: 16 MB a request (BatchWriteItem).
		toDynamoDB:   {c.DynamoDB, "DynamoDB", []string{"dynamodb"}, 16 << 20, false, true, nil},
		toAPIGateway: {c.APIGateway, "API Gateway", []string{"apigateway"}, 1 << 20, false, false, nil},
		toSTS:        {sts{c.Account}, "STS", []string{"sts"}, 64 << 10, false, true, nil},
	}
	return f
}

// Server returns an HTTP server for h with the limits that a public listener
// needs: header bytes and time, idle time. The caller serves and shuts it down.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10, // API Gateway allows 10240
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// answerTimeout is how long a request may take from its first line to the last
// byte of its answer: body and service have their own limits, the rest is for a
// slow network.
const answerTimeout = 3 * time.Minute

// limitAnswer begins the time of an answer: a client that never reads would
// hold its connection for ever. The console streams without end.
func limitAnswer(w http.ResponseWriter, t target) {
	var until time.Time
	if t != toConsole {
		until = time.Now().Add(answerTimeout)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(until) // not every writer has deadlines
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limitBody(w, r)
	t, scope := dispatch(r, f.hasStage)
	limitAnswer(w, t)
	switch t {
	case toConsole:
		if f.c.Console == nil {
			f.notFound(w, r, "there is no console here")
			return
		}
		f.c.Console.ServeHTTP(w, r) // streams: it gets the writer as it is
	case toHealth:
		f.health(w)
	case toRest:
		f.rest(w, r)
	case toUnknown:
		f.unknown(w, r, scope)
	default:
		if f.c.Confirm != nil && scope == "" && r.Method == http.MethodGet && segments(r.URL.EscapedPath())[0] == "confirmdestination" {
			f.confirm(w, r)
			return
		}
		f.call(w, r, f.services[t])
	}
}

// confirm serves the URL in a confirmation request of a destination, which
// people and web services open without a signature.
func (f *Front) confirm(w http.ResponseWriter, r *http.Request) {
	w, rescue := f.guard(w, r)
	defer rescue()
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10) // it has none, by rights
	f.c.Confirm.ServeHTTP(w, r)
}

func (f *Front) hasStage(name string) bool { return f.c.Rest != nil && f.c.Rest.HasStage(name) }

// call authenticates r and hands it to the service.
func (f *Front) call(w http.ResponseWriter, r *http.Request, o offer) {
	if o.service == nil {
		f.notOffered(w, r, o.name)
		return
	}
	w, rescue := f.guard(w, r)
	defer rescue()
	id, refused := f.identify(w, r, o)
	if refused != nil {
		f.refuse(r, o, refused)
		o.service.Refuse(w, r, refused)
		return
	}
	id.SourceIP = SourceIP(r)
	next := http.Handler(o.service)
	if o.next != nil {
		next = o.next
	}
	next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), id)))
}

// identify finds out who calls: by signature, or by client certificate.
func (f *Front) identify(w http.ResponseWriter, r *http.Request, o offer) (Identity, *sigv4.Error) {
	if o.devices && f.c.Devices != nil && !sigv4.Signed(r) && r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return f.device(w, r, o)
	}
	id, refused := f.authenticate(w, r, o)
	if refused != nil && refused.Code == sigv4.CodeMissingToken && o.devices {
		refused.Diagnosis += "; or bring the certificate of a thing, over TLS with the ALPN protocol x-amzn-http-ca or http/1.1 (curl --cert C --key K)"
	}
	caller := Identity{AccessKeyID: id.AccessKeyID, Region: id.Region, Service: id.Service, Session: id.Session}
	if refused != nil || id.Session == nil {
		return caller, refused
	}
	if !o.judged {
		return caller, denied(id.Session, r.Method+" "+short(r.URL.EscapedPath()), o.name,
			"temporary access keys are for the data planes, DynamoDB and REST routes: sign calls of "+o.name+" with an access key of the account")
	}
	caller.May = f.may(r, id.Session)
	return caller, nil
}

// denied refuses what a session may not do (IAM user guide, "Troubleshoot
// access denied error messages").
func denied(s *sigv4.Session, action, resource, why string) *sigv4.Error {
	return &sigv4.Error{Code: sigv4.CodeDenied, Diagnosis: why,
		Message: "User: " + s.Principal + " is not authorized to perform: " + action + " on resource: " + resource + " because no identity-based policy allows the action"}
}

// may asks a session, and records its refusals.
func (f *Front) may(r *http.Request, s *sigv4.Session) func(action, resource string) error {
	return func(action, resource string) error {
		err := s.May(action, resource, SourceIP(r))
		if err != nil {
			f.c.Refusals.Add(refusal.Refusal{Where: "api", Action: action, Resource: short(resource), Principal: s.Principal, SourceIP: SourceIP(r), Reason: err.Error()})
		}
		return err
	}
}

// device is identify for a request with a client certificate. Its body is
// read when the certificate is known.
func (f *Front) device(w http.ResponseWriter, r *http.Request, o offer) (Identity, *sigv4.Error) {
	id, err := f.c.Devices(r)
	if err != nil {
		return Identity{}, &sigv4.Error{Code: "ForbiddenException", Message: err.Error(), Diagnosis: err.Error()}
	}
	body, refused := readBody(w, r, o.maxBody)
	SetBody(r, body)
	return id, refused
}

// authenticate checks the signature. The body is read, into r, only for
// callers with a known key.
func (f *Front) authenticate(w http.ResponseWriter, r *http.Request, o offer) (sigv4.Identity, *sigv4.Error) {
	claim, refused := sigv4.Examine(r, f.c.Keys, sigv4.Options{Services: o.scopes, Sessions: f.c.Sessions, Now: f.c.Now})
	if refused != nil {
		return sigv4.Identity{}, refused
	}
	body, refused := readBody(w, r, o.maxBody)
	if refused != nil {
		return sigv4.Identity{}, refused
	}
	id, refused := claim.Verify(r, body)
	SetBody(r, body)
	return id, refused
}

// readBody reads the body with a limit in size and time.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, *sigv4.Error) {
	tooLarge := &sigv4.Error{Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge,
		Message:   fmt.Sprintf("Request body exceeds %d bytes.", limit),
		Diagnosis: fmt.Sprintf("the request body is larger than %d bytes, the limit of this service", limit)}
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	limitBody(w, r)
	body, err := readAll(http.MaxBytesReader(w, r.Body, limit), r.ContentLength)
	if err == nil {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // the service may take its time; a failed read keeps the deadline for what is left
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	return nil, &sigv4.Error{Code: "RequestTimeoutException", Status: http.StatusRequestTimeout, Message: "The request body could not be read.",
		Diagnosis: "the request body did not arrive whole: " + err.Error()}
}

// readAll is io.ReadAll with room made for what a client announces, of which
// much is believed only when it comes.
func readAll(from io.Reader, announced int64) ([]byte, error) {
	const believed = 64 << 10
	var to bytes.Buffer
	to.Grow(int(min(max(announced, 0), believed)) + bytes.MinRead)
	_, err := to.ReadFrom(from)
	return to.Bytes(), err
}

// refuse records a refusal.
func (f *Front) refuse(r *http.Request, o offer, e *sigv4.Error) {
	keyID, _ := sigv4.Claimed(r)
	f.c.Refusals.Add(refusal.Refusal{Where: "api", Action: r.Method + " " + short(r.URL.EscapedPath()), Resource: o.name,
		Principal: keyID, SourceIP: SourceIP(r), Reason: e.Code + ": " + e.Diagnosis})
}

func (f *Front) rest(w http.ResponseWriter, r *http.Request) {
	if f.c.Rest == nil {
		f.notFound(w, r, "no REST routes are configured here")
		return
	}
	w, rescue := f.guard(w, r)
	defer rescue()
	f.c.Rest.ServeHTTP(w, r)
}

// health answers as DynamoDB's endpoint does, which tools poll until it is up.
func (f *Front) health(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "healthy: dynamodb.%s.amazonaws.com ", f.c.Region)
}

func (f *Front) unknown(w http.ResponseWriter, r *http.Request, scope string) {
	switch {
	case scope != "":
		f.notOffered(w, r, fmt.Sprintf("%.64q", scope))
	default:
		f.notFound(w, r, "no operation has this method and path: sign the request, so that its service is known")
	}
}

func (f *Front) notOffered(w http.ResponseWriter, r *http.Request, name string) {
	f.c.Log.Debug("service not offered", "service", name, "method", r.Method, "path", short(r.URL.Path))
	WriteError(w, Errorf(http.StatusNotImplemented, "NotImplementedException",
		"the service %s is not offered here; offered are iot, iot-data, iot-jobs-data, dynamodb, apigateway, execute-api and sts", name))
}

func (f *Front) notFound(w http.ResponseWriter, r *http.Request, why string) {
	WriteError(w, Errorf(http.StatusNotFound, "UnknownOperationException", "%s %s: %s", r.Method, short(r.URL.EscapedPath()), why))
}

// tracked remembers whether an answer was begun.
type tracked struct {
	http.ResponseWriter
	begun bool
}

func (t *tracked) WriteHeader(status int) { t.begun = true; t.ResponseWriter.WriteHeader(status) }

func (t *tracked) Write(b []byte) (int, error) { t.begun = true; return t.ResponseWriter.Write(b) }

// Unwrap is for http.ResponseController.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// guard returns a writer for a handler and a function to defer, which turns a
// panic of the handler into a logged failure of its own request: status 500,
// or a cut connection when the answer was begun.
func (f *Front) guard(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, func()) {
	t := &tracked{ResponseWriter: w}
	return t, func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler { // the handler's way to cut its connection
			panic(p)
		}
		f.c.Log.Error("a handler panicked", "method", r.Method, "path", short(r.URL.Path), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if t.begun {
			panic(http.ErrAbortHandler)
		}
		WriteError(t, Errorf(http.StatusInternalServerError, "InternalFailureException", "internal failure, see the server's log"))
	}
}

// SourceIP returns the address of the client without its port.
func SourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// short bounds what of a stranger's text goes into a log line.
func short(s string) string {
	if len(s) > 256 {
		return s[:256] + "…"
	}
	return s
}
