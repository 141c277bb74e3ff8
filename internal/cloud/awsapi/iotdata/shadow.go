package iotdata

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/shadow"
)

// Shadows are the device shadows. A call returns when what it did, or shows,
// is on disk. The error is *[shadow.Error], or says why it could not be done
// for now.
type Shadows interface {
	GetShadow(ctx context.Context, n shadow.Name) (document []byte, err error)
	UpdateShadow(ctx context.Context, n shadow.Name, payload []byte) (accepted []byte, err error)
	DeleteShadow(ctx context.Context, n shadow.Name) (accepted []byte, err error)
	// NamedShadows returns up to limit names of a thing's named shadows that
	// come after the given one, in byte order; more says that there are others.
	NamedShadows(thing, after string, limit int) (names []string, more bool, err error)
}

// handleShadows registers the operations (AWS IoT developer guide, "Device
// Shadow REST API").
func (s *Service) handleShadows() {
	const path = "/things/{thing}/shadow"
	s.mux.Handle(http.MethodGet, path, s.handler(s.getShadow))
	s.mux.Handle(http.MethodPost, path, s.handler(s.updateShadow))
	s.mux.Handle(http.MethodDelete, path, s.handler(s.deleteShadow))
	s.mux.Handle(http.MethodGet, "/api/things/shadow/ListNamedShadowsForThing/{thing}", s.handler(s.listShadows))
}

// shadowName is the shadow that a request is about, if the caller may do
// action with it.
func shadowName(r *http.Request, action string) (n shadow.Name, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return n, invalid("the query is malformed: %v", err)
	}
	if n = (shadow.Name{Thing: r.PathValue("thing"), Shadow: query.Get("name")}); query.Has("name") && n.Shadow == "" {
		return n, invalid("the shadow name is empty: leave out name to mean the classic shadow")
	}
	resource := "thing/" + n.Thing
	if n.Shadow != "" {
		resource += "/" + n.Shadow
	}
	return n, may(r, action, resource)
}

func (s *Service) getShadow(r *http.Request, _ string) (any, error) {
	n, err := shadowName(r, "iot:GetThingShadow")
	if err != nil {
		return nil, err
	}
	body, err := s.c.Shadows.GetShadow(r.Context(), n)
	return document(body), s.shadowError(n, err)
}

func (s *Service) updateShadow(r *http.Request, _ string) (any, error) {
	n, err := shadowName(r, "iot:UpdateThingShadow")
	if err != nil {
		return nil, err
	}
	payload, err := awsapi.Body(r)
	if err != nil {
		return nil, err
	}
	body, err := s.c.Shadows.UpdateShadow(r.Context(), n, payload)
	return document(body), s.shadowError(n, err)
}

func (s *Service) deleteShadow(r *http.Request, _ string) (any, error) {
	n, err := shadowName(r, "iot:DeleteThingShadow")
	if err != nil {
		return nil, err
	}
	body, err := s.c.Shadows.DeleteShadow(r.Context(), n)
	return document(body), s.shadowError(n, err)
}

// shadowCodes are the exceptions of the data plane by the codes of shadows.
var shadowCodes = map[int]string{
	http.StatusBadRequest:            "InvalidRequestException",
	http.StatusUnauthorized:          "UnauthorizedException",
	http.StatusForbidden:             "ForbiddenException",
	http.StatusNotFound:              "ResourceNotFoundException",
	http.StatusConflict:              "ConflictException",
	http.StatusRequestEntityTooLarge: "RequestEntityTooLargeException",
	http.StatusUnsupportedMediaType:  "UnsupportedDocumentEncodingException",
	http.StatusTooManyRequests:       "ThrottlingException",
	http.StatusInternalServerError:   "InternalFailureException",
}

// shadowError is err in the form of the data plane.
func (s *Service) shadowError(n shadow.Name, err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*shadow.Error](err); ok {
		return awsapi.Errorf(refused.Code, shadowCodes[refused.Code], "%s", n.Spoken(refused))
	}
	s.c.Log.Warn("a shadow was not stored, its sender is asked to send it again", "thing", n.Thing, "shadow", n.Shadow, "err", err)
	return awsapi.Errorf(http.StatusServiceUnavailable, "ServiceUnavailableException", "the shadow was not stored, send it again later: %v", err)
}

// shadowPage answers ListNamedShadowsForThing.
type shadowPage struct {
	Results   []string `json:"results"`
	NextToken string   `json:"nextToken,omitempty"`
	Timestamp int64    `json:"timestamp"` // seconds since 1970
}

// Sizes of a page (AWS IoT API reference, ListNamedShadowsForThing).
const (
	defaultShadowPage = 25
	maxShadowPage     = 100
)

func (s *Service) listShadows(r *http.Request, _ string) (any, error) {
	if err := may(r, "iot:ListNamedShadowsForThing", "thing/"+r.PathValue("thing")); err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is malformed: %v", err)
	}
	limit := defaultShadowPage
	if v := query.Get("pageSize"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > maxShadowPage {
			return nil, invalid("pageSize must be from 1 to %d, not %.32q", maxShadowPage, v)
		}
	}
	after, err := base64.RawURLEncoding.DecodeString(query.Get("nextToken"))
	if err != nil {
		return nil, invalid("nextToken is not one of this server")
	}
	n := shadow.Name{Thing: r.PathValue("thing"), Shadow: string(after)}
	names, more, err := s.c.Shadows.NamedShadows(n.Thing, n.Shadow, limit)
	if err != nil {
		return nil, s.shadowError(n, err)
	}
	page := shadowPage{Results: append([]string{}, names...), Timestamp: s.c.Now().Unix()}
	if more {
		page.NextToken = base64.RawURLEncoding.EncodeToString([]byte(names[len(names)-1]))
	}
	return page, nil
}
