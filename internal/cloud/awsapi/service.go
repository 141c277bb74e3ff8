package awsapi

import (
	"context"
	"net/http"

	"mote/internal/sigv4"
)

// Service is one AWS API behind the [Front]. The front calls it only for
// requests whose signature it has verified, with the whole body in memory:
// r.Body can be read, and [Body] has the bytes. [Caller] says who calls.
type Service interface {
	http.Handler
	// Refuse answers a request whose signature was refused, in the service's
	// own error form. The front has already logged the refusal.
	Refuse(w http.ResponseWriter, r *http.Request, e *sigv4.Error)
}

// Identity is who makes a call.
type Identity struct {
	AccessKeyID string // who signed; "" for a device
	// CertificateID is who a device is that brought its certificate in place of
	// a signature; "" for who signed.
	CertificateID string
	// Session is of who signed with a temporary access key, else nil.
	Session *sigv4.Session
	// May says why a device, or who has a temporary access key, may not do action
	// (for example "iot:Publish") on a resource (an ARN, or what follows the
	// account in it, for example "topic/a"), and records its refusals; nil while
	// it may. It is nil for a permanent access key, which has full rights.
	May func(action, resource string) error

	Region   string // of the credential scope: what the client believes to be its region
	Service  string // of the credential scope, for example "iot"
	SourceIP string // without port
}

type callerKey struct{}

// WithCaller returns ctx with the identity of the caller; the front does it.
func WithCaller(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, callerKey{}, id)
}

// Principal names the caller: a certificate id, or an access key id.
func (id *Identity) Principal() string {
	if id.CertificateID != "" {
		return id.CertificateID
	}
	return id.AccessKeyID
}

// Caller returns who makes the call, the zero Identity outside of one.
func Caller(ctx context.Context) Identity {
	id, _ := ctx.Value(callerKey{}).(Identity)
	return id
}

// RefuseJSON answers a refused signature in the form of the REST-JSON
// services: 403, the code in x-amzn-ErrorType, the text in message
// (Smithy, "AWS restJson1 protocol").
func RefuseJSON(w http.ResponseWriter, e *sigv4.Error) {
	message := e.Message
	if e.Code == sigv4.CodeMissingToken {
		message = "Missing Authentication Token"
	}
	WriteError(w, &Error{Code: e.Code, Status: e.StatusOr(http.StatusForbidden), Message: message})
}
