package apigateway

import (
	"net/http"
	"slices"

	"mote/internal/cloud/rest"
)

func (s *Service) handleAPIs() {
	s.handle("POST", "/restapis", http.StatusCreated, s.createRestAPI)
	s.handle("GET", "/restapis", http.StatusOK, func(r *http.Request) (any, error) { return paged(r, s.e.APIs()) })
	s.handle("GET", "/restapis/{api}", http.StatusOK, func(r *http.Request) (any, error) { return s.e.API(r.PathValue("api")) })
	s.handle("DELETE", "/restapis/{api}", http.StatusAccepted, func(r *http.Request) (any, error) { return nil, s.e.DeleteAPI(r.PathValue("api")) })
	s.handle("GET", "/restapis/{api}/resources", http.StatusOK, s.getResources)
	s.handle("GET", "/restapis/{api}/resources/{resource}", http.StatusOK, s.getResource)
	s.handle("POST", "/restapis/{api}/resources/{resource}", http.StatusCreated, s.createResource)
	s.handle("DELETE", "/restapis/{api}/resources/{resource}", http.StatusAccepted, func(r *http.Request) (any, error) {
		return nil, s.e.DeleteResource(r.PathValue("api"), r.PathValue("resource"))
	})
}

func (s *Service) createRestAPI(r *http.Request) (any, error) {
	var a rest.API
	if err := decode(r, &a, "cloneFrom", "policy", "minimumCompressionSize", "disableExecuteApiEndpoint"); err != nil {
		return nil, err
	}
	return s.e.CreateAPI(a)
}

// resource is a resource on the wire: its methods are shown in full only when
// that is asked for with embed=methods.
type resource struct {
	ID       string         `json:"id"`
	ParentID string         `json:"parentId,omitempty"`
	PathPart string         `json:"pathPart,omitempty"`
	Path     string         `json:"path"`
	Methods  map[string]any `json:"resourceMethods,omitempty"`
}

func shown(r *http.Request, res rest.Resource) resource {
	out := resource{res.ID, res.ParentID, res.PathPart, res.Path, map[string]any{}}
	full := slices.Contains(r.URL.Query()["embed"], "methods")
	for name, m := range res.Methods {
		if out.Methods[name] = struct{}{}; full {
			out.Methods[name] = m
		}
	}
	return out
}

func (s *Service) getResources(r *http.Request) (any, error) {
	all, err := s.e.Resources(r.PathValue("api"))
	if err != nil {
		return nil, err
	}
	out := make([]resource, len(all))
	for i, res := range all {
		out[i] = shown(r, res)
	}
	return paged(r, out)
}

func (s *Service) getResource(r *http.Request) (any, error) {
	res, err := s.e.Resource(r.PathValue("api"), r.PathValue("resource"))
	return shown(r, res), err
}

func (s *Service) createResource(r *http.Request) (any, error) {
	var body struct {
		PathPart string `json:"pathPart"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	return s.e.CreateResource(r.PathValue("api"), r.PathValue("resource"), body.PathPart)
}
