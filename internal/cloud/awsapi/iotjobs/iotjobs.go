// Package iotjobs speaks the wire of the AWS IoT jobs data plane (service
// iot-jobs-data, 2017-09-29; AWS IoT API reference): what devices that have no
// MQTT ask of their jobs, and report. The engine does the work.
package iotjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/jobs"
	"mote/internal/sigv4"
)

// Jobs are the jobs as devices see them. A call returns when what it did, or
// shows, is on disk. Errors are *[jobs.Error], or say why it could not be done
// for now.
type Jobs interface {
	GetPending(ctx context.Context, thing string) (jobs.Pending, error)
	StartNext(ctx context.Context, thing string, payload []byte) (*jobs.Data, error)
	Describe(ctx context.Context, thing, job string, payload []byte) (*jobs.Data, error)
	UpdateExecution(ctx context.Context, thing, job string, payload []byte) (jobs.Updated, error)
}

// Service is the jobs data plane; it implements [awsapi.Service].
type Service struct {
	jobs Jobs
	log  *slog.Logger
	mux  awsapi.Mux
}

var _ awsapi.Service = (*Service)(nil)

// New returns the service over j; log may be nil.
func New(j Jobs, log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{jobs: j, log: log}
	s.mux.Handle(http.MethodGet, "/things/{thing}/jobs", s.handler("GetPendingJobExecutions", s.pending))
	s.mux.Handle(http.MethodPut, "/things/{thing}/jobs/{job}", s.handler("StartNextPendingJobExecution", s.startNext))
	s.mux.Handle(http.MethodGet, "/things/{thing}/jobs/{job}", s.handler("DescribeJobExecution", s.describe))
	s.mux.Handle(http.MethodPost, "/things/{thing}/jobs/{job}", s.handler("UpdateJobExecution", s.update))
	return s
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, allowed := s.mux.Find(r)
	if h == nil {
		awsapi.WriteError(w, awsapi.NoOperation("jobs data plane", r, allowed))
		return
	}
	h(w, r)
}

// Refuse implements awsapi.Service.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, e *sigv4.Error) {
	awsapi.RefuseJSON(w, e)
}

// handler serves one operation, which a device that brought its certificate
// needs the policy action of that name for, on its thing (AWS IoT developer
// guide, "AWS IoT Core policy actions").
func (s *Service) handler(name string, op func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if caller := awsapi.Caller(r.Context()); caller.May != nil {
			if err := caller.May("iot:"+name, "thing/"+r.PathValue("thing")); err != nil {
				awsapi.WriteError(w, awsapi.Errorf(http.StatusForbidden, "ForbiddenException", "%v", err))
				return
			}
		}
		body, err := op(r)
		if err != nil {
			awsapi.WriteError(w, s.wireError(r, err))
			return
		}
		awsapi.WriteJSON(w, body)
	}
}

// codes are the exceptions of the data plane by the codes of jobs.
var codes = map[jobs.Code]struct {
	name   string
	status int
}{
	jobs.InvalidRequest:         {"InvalidRequestException", 400},
	jobs.InvalidJSON:            {"InvalidRequestException", 400},
	jobs.ResourceNotFound:       {"ResourceNotFoundException", 404},
	jobs.InvalidStateTransition: {"InvalidStateTransitionException", 409},
	jobs.VersionMismatch:        {"InvalidStateTransitionException", 409}, // the model of this API has no other
	jobs.TerminalStateReached:   {"TerminalStateException", 410},
	jobs.RequestThrottled:       {"ThrottlingException", 429},
}

func (s *Service) wireError(r *http.Request, err error) error {
	if e, ok := errors.AsType[*awsapi.Error](err); ok {
		return e
	}
	e, ok := errors.AsType[*jobs.Error](err)
	if !ok {
		s.log.Warn("a device's call about jobs was not stored, its sender is asked to send it again", "method", r.Method, "path", fmt.Sprintf("%.256s", r.URL.EscapedPath()), "err", err)
		return awsapi.Errorf(http.StatusServiceUnavailable, "ServiceUnavailableException", "nothing was changed, send it again later: %v", err)
	}
	out := awsapi.Errorf(codes[e.Code].status, codes[e.Code].name, "%s", e.Message)
	if e.State != nil {
		out.Extra = map[string]any{"executionState": e.State}
	}
	return out
}

func (s *Service) pending(r *http.Request) (any, error) {
	return s.jobs.GetPending(r.Context(), r.PathValue("thing"))
}

// execution is what a device gets of one: over HTTP its document is a string.
type execution struct {
	*jobs.Data
	JobDocument string `json:"jobDocument,omitempty"`
}

func answer(d *jobs.Data, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, nil
	}
	return map[string]any{"execution": execution{d, string(d.JobDocument)}}, nil
}

func (s *Service) startNext(r *http.Request) (any, error) {
	if job := r.PathValue("job"); job != "$next" {
		return nil, awsapi.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowedException", "PUT is for the job $next, not for %.80q: report on it with POST", job)
	}
	payload, err := awsapi.Body(r)
	if err != nil {
		return nil, err
	}
	return answer(s.jobs.StartNext(r.Context(), r.PathValue("thing"), payload))
}

// describe hands the members of the query on as those of the MQTT request.
func (s *Service) describe(r *http.Request) (any, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, awsapi.Errorf(http.StatusBadRequest, "InvalidRequestException", "the query is malformed: %v", err)
	}
	members := map[string]any{}
	if v := query.Get("executionNumber"); v != "" {
		members["executionNumber"] = v
	}
	if v := query.Get("includeJobDocument"); v != "" {
		members["includeJobDocument"] = v
		if b, err := strconv.ParseBool(v); err == nil {
			members["includeJobDocument"] = b
		}
	}
	payload, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	return answer(s.jobs.Describe(r.Context(), r.PathValue("thing"), r.PathValue("job"), payload))
}

func (s *Service) update(r *http.Request) (any, error) {
	payload, err := awsapi.Body(r)
	if err != nil {
		return nil, err
	}
	u, err := s.jobs.UpdateExecution(r.Context(), r.PathValue("thing"), r.PathValue("job"), payload)
	if err != nil {
		return nil, err
	}
	return struct {
		State    *jobs.State `json:"executionState,omitempty"`
		Document string      `json:"jobDocument,omitempty"`
	}{u.State, string(u.JobDocument)}, nil
}
