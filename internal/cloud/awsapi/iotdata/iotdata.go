// Package iotdata speaks the wire of the AWS IoT data plane (service iotdata,
// 2015-05-28; AWS IoT API reference): publishing over HTTP, reading retained
// messages, device shadows, and ending connections. It serves who signed and,
// as far as their policies allow, devices with a certificate. Others do the work, behind the interfaces that
// are declared here.
package iotdata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/message"
	"mote/internal/sigv4"
)

// Publisher publishes one message. It returns when every effect of the message
// is durable, or could not be made so: then Outcome.Unavailable or the error is
// set and the message may be sent again, unless the error has a method
// Invalid() that returns true.
type Publisher interface {
	Publish(ctx context.Context, m *message.Message) (message.Outcome, error)
}

// Retained reads the retained messages.
type Retained interface {
	// Retained returns the retained message of topic, and whether there is one.
	Retained(topic string) (*message.Message, bool, error)
	// RetainedAfter returns up to limit retained messages whose topics come
	// after the given one in byte order.
	RetainedAfter(topic string, limit int) ([]*message.Message, error)
}

// Config is what the service works on.
type Config struct {
	Publisher Publisher
	Retained  Retained // nil: those operations are answered as not offered
	Shadows   Shadows  // nil: as above
	// Connections ends connections; nil: that is not offered.
	Connections Connections
	Log         *slog.Logger     // nil: discard
	Now         func() time.Time // nil: time.Now
}

// Service is the data plane; it implements [awsapi.Service].
type Service struct {
	c   Config
	mux awsapi.Mux
}

// New returns the service over c.
func New(c Config) *Service {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Service{c: c}
	s.mux.Handle(http.MethodPost, "/topics/{topic+}", s.handler(s.publish))
	s.handleConnections()
	if c.Retained != nil {
		s.mux.Handle(http.MethodGet, "/retainedMessage", s.handler(s.listRetained))
		s.mux.Handle(http.MethodGet, "/retainedMessage/{topic+}", s.handler(s.getRetained))
	}
	if c.Shadows != nil {
		s.handleShadows()
	}
	return s
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, allowed := s.mux.Find(r)
	if h == nil {
		s.fail(w, r, awsapi.NewRequestID(), awsapi.NoOperation("data plane", r, allowed))
		return
	}
	h(w, r)
}

// document is JSON that is sent as it is, byte for byte.
type document []byte

// operation answers with a body, or an error.
type operation func(r *http.Request, requestID string) (any, error)

func (s *Service) handler(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := awsapi.NewRequestID()
		body, err := op(r, id)
		if err != nil {
			s.fail(w, r, id, err)
			return
		}
		w.Header().Set("x-amzn-RequestId", id)
		if d, ok := body.(document); ok {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(d) // a client that is gone needs no answer
			return
		}
		awsapi.WriteJSON(w, body)
	}
}

// fail answers with the error form of the data plane, which has a traceId.
func (s *Service) fail(w http.ResponseWriter, r *http.Request, id string, err error) {
	e, known := errors.AsType[*awsapi.Error](err)
	if !known {
		s.c.Log.Error("data plane call failed", "method", r.Method, "path", fmt.Sprintf("%.256s", r.URL.EscapedPath()), "request_id", id, "err", err)
		e = awsapi.Errorf(http.StatusInternalServerError, "InternalFailureException", "internal failure, see the server's log")
	}
	w.Header().Set("x-amzn-RequestId", id)
	awsapi.WriteError(w, &awsapi.Error{Code: e.Code, Status: e.Status, Message: e.Message, Extra: map[string]any{"traceId": id}})
}

// Refuse implements awsapi.Service: the data plane answers every refused
// signature as ForbiddenException.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, e *sigv4.Error) {
	refused := &awsapi.Error{Code: e.Code, Status: e.StatusOr(http.StatusForbidden), Message: e.Message}
	if refused.Status == http.StatusForbidden {
		refused.Code = "ForbiddenException"
	}
	if e.Code == sigv4.CodeMissingToken {
		refused.Message = "Missing Authentication Token"
	}
	s.fail(w, r, awsapi.NewRequestID(), refused)
}

// may refuses a device whose policies do not allow action on resource (AWS IoT
// developer guide, "Policy actions"). The reason is in the refusal log; the
// device reads what AWS would tell it.
func may(r *http.Request, action, resource string) error {
	caller := awsapi.Caller(r.Context())
	if caller.May == nil || caller.May(action, resource) == nil {
		return nil
	}
	return awsapi.Errorf(http.StatusForbidden, "ForbiddenException", "Forbidden")
}

func invalid(format string, args ...any) *awsapi.Error {
	return awsapi.Errorf(http.StatusBadRequest, "InvalidRequestException", format, args...)
}
