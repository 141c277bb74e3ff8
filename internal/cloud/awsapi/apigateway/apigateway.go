// Package apigateway speaks the wire of API Gateway's control plane (REST-JSON,
// 2015-07-09) over the REST engine: what it takes to make a route, its keys and
// usage plans, to look at them and to take them away. Members of a request that
// would change what a route does and are not offered here are refused by name.
package apigateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/rest"
	"mote/internal/sigv4"
)

// Service is the control plane; it implements [awsapi.Service].
type Service struct {
	e   *rest.Engine
	log *slog.Logger
	mux awsapi.Mux
}

// New returns the service over e; a nil log discards.
func New(e *rest.Engine, log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{e: e, log: log}
	s.handleAPIs()
	s.handleMethods()
	s.handleStages()
	s.handleKeys()
	return s
}

// operation answers with a body, or an error.
type operation func(r *http.Request) (any, error)

// handle registers an operation with its status of success.
func (s *Service) handle(method, pattern string, status int, op operation) {
	s.mux.Handle(method, pattern, func(w http.ResponseWriter, r *http.Request) {
		body, err := op(r)
		switch {
		case err != nil:
			s.fail(w, r, err)
		case status == http.StatusNoContent:
			w.Header().Set("x-amzn-RequestId", awsapi.NewRequestID())
			w.WriteHeader(status)
		default:
			awsapi.WriteJSONStatus(w, status, body)
		}
	})
}

// statuses are the HTTP statuses of the engine's refusals.
var statuses = map[string]int{rest.CodeBadRequest: 400, rest.CodeNotFound: 404, rest.CodeConflict: 409, rest.CodeLimit: 429}

func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*rest.Error](err); ok {
		err = awsapi.Errorf(statuses[e.Code], e.Code, "%s", e.Message)
	}
	if !awsapi.WriteError(w, err) {
		s.log.Error("API Gateway call failed", "method", r.Method, "path", fmt.Sprintf("%.256s", r.URL.EscapedPath()), "err", err)
	}
}

// ServeHTTP implements http.Handler.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, _ := s.mux.Find(r); h != nil {
		h(w, r)
		return
	}
	awsapi.WriteError(w, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException", "API Gateway's %s %.128q is not offered here", r.Method, r.URL.EscapedPath()))
}

// Refuse implements awsapi.Service.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, e *sigv4.Error) {
	awsapi.RefuseJSON(w, e)
}

func badRequest(format string, args ...any) error {
	return awsapi.Errorf(http.StatusBadRequest, rest.CodeBadRequest, format, args...)
}

// input is the body of a request, member by member.
type input map[string]json.RawMessage

// decode reads the body of r into v. The members named in refused may only be
// absent, null, false or empty.
func decode(r *http.Request, v any, refused ...string) error {
	body, err := awsapi.Body(r)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	var members input
	if err := json.Unmarshal(body, &members); err != nil {
		return badRequest("Unable to parse request body: it must be a JSON object")
	}
	for _, name := range refused {
		if v, ok := members[name]; ok && !slices.Contains([]string{"null", "false", `""`, "{}", "[]"}, string(v)) {
			return badRequest("%s is not offered here: leave it out", name)
		}
	}
	if err := json.Unmarshal(body, v); err != nil {
		return badRequest("Invalid request body: %v", err)
	}
	return nil
}

// page is one page of a list.
type page[T any] struct {
	Item     []T    `json:"item"`
	Position string `json:"position,omitempty"`
}

// paged cuts a list by the query's limit and position.
func paged[T any](r *http.Request, all []T) (any, error) {
	query := r.URL.Query()
	limit, from := 25, 0
	var err error
	if v := query.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 {
			return nil, badRequest("limit must be a number from 1 to 500, not %.32q", v)
		}
		limit = min(limit, 500)
	}
	if v := query.Get("position"); v != "" {
		if from, err = strconv.Atoi(v); err != nil || from < 0 {
			return nil, badRequest("Invalid position parameter specified")
		}
	}
	from = min(from, len(all))
	to := min(from+limit, len(all))
	p := page[T]{Item: append([]T{}, all[from:to]...)}
	if to < len(all) {
		p.Position = strconv.Itoa(to)
	}
	return p, nil
}

// patch is one change of an Update operation (RFC 6902, as far as AWS goes).
type patch struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value string `json:"value"`
}

func patches(r *http.Request) ([]patch, error) {
	var body struct {
		PatchOperations []patch `json:"patchOperations"`
	}
	err := decode(r, &body)
	return body.PatchOperations, err
}

func badPatch(p patch, offered string) error {
	return badRequest("Invalid patch operation %.32q on %.128q: offered are %s", p.Op, p.Path, offered)
}
