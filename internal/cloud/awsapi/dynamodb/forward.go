package dynamodb

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/table/remote"
	"mote/internal/sigv4"
)

// Cluster performs calls elsewhere; *remote.Cluster is one.
type Cluster interface {
	// Call performs an operation. An error means that there is no answer; its
	// text is for the caller.
	Call(ctx context.Context, operation string, body []byte) (remote.Answer, error)
}

// Forward serves the DynamoDB API with the answers of a cluster. Callers are
// mote's own: their signatures are verified before it, and the cluster gets its
// client's.
type Forward struct {
	own     *Handler // for what is answered here
	cluster Cluster
}

var _ awsapi.Service = (*Forward)(nil)

// NewForward returns a handler that forwards calls to the cluster.
func NewForward(c Cluster, o Options) *Forward { return &Forward{New(nil, o), c} }

// maxOperation is how long the name of an operation may be, in bytes.
const maxOperation = 64

// ServeHTTP forwards one call. Bodies are bounded as they are for the embedded
// engine, and are the cluster's to check.
func (f *Forward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.own.answerPlain(w, r) {
		return
	}
	name := target(r)
	if !isOperation(name) {
		e := &wireError{status: http.StatusBadRequest, space: coral, code: "UnknownOperationException"}
		if strings.HasPrefix(name, streamsPrefix) {
			e.message = "calls of DynamoDB Streams are not forwarded: ask the cluster that has the tables"
		}
		f.own.refuse(w, r, e)
		return
	}
	if slices.Contains(r.Header.Values("Via"), remote.Via) {
		f.own.refuse(w, r, &wireError{status: http.StatusServiceUnavailable, space: service, code: "ServiceUnavailable",
			message: "the call comes from a mote and would be forwarded again: dynamodb in [cloud.table] must be the URL of a cluster, not of a mote that has one itself"})
		return
	}
	body, ok := f.own.body(w, r)
	if !ok {
		return
	}
	if err := authorize(r, name, body); err != nil {
		f.own.refuse(w, r, err)
		return
	}
	answer, err := f.cluster.Call(r.Context(), name, body)
	if err != nil {
		f.unavailable(w, r, err)
		return
	}
	respond(w, r, answer.Status, answer.Body)
}

// isOperation says whether name can be the name of an operation.
func isOperation(name string) bool {
	other := strings.IndexFunc(name, func(c rune) bool { return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') })
	return name != "" && len(name) <= maxOperation && other < 0
}

// unavailable answers a call to which the cluster gave no answer.
func (f *Forward) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	f.own.log.Warn("a call could not be forwarded to the tables' cluster", "operation", target(r), "err", err)
	message := "the tables' cluster gave no answer"
	if e, ok := errors.AsType[*remote.UnavailableError](err); ok {
		message = e.Error()
	}
	f.own.refuse(w, r, &wireError{status: http.StatusServiceUnavailable, space: service, code: "ServiceUnavailable", message: message})
}

// Refuse answers a request whose signature was refused.
func (f *Forward) Refuse(w http.ResponseWriter, r *http.Request, e *sigv4.Error) {
	if f.own.answerPlain(w, r) {
		return
	}
	f.own.refuse(w, r, &wireError{status: e.StatusOr(http.StatusBadRequest), space: coral, code: e.Code, message: e.Message})
}
