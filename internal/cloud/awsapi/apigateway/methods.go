package apigateway

import (
	"net/http"

	"mote/internal/cloud/rest"
)

const methodPath = "/restapis/{api}/resources/{resource}/methods/{method}"

// on calls f with the labels of a method's path.
func on[T any](r *http.Request, f func(api, resource, method string) (T, error)) (any, error) {
	return f(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"))
}

func (s *Service) handleMethods() {
	s.handle("PUT", methodPath, http.StatusCreated, s.putMethod)
	s.handle("GET", methodPath, http.StatusOK, func(r *http.Request) (any, error) { return on(r, s.e.Method) })
	s.handle("DELETE", methodPath, http.StatusNoContent, func(r *http.Request) (any, error) {
		return nil, s.e.DeleteMethod(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"))
	})
	s.handle("PUT", methodPath+"/responses/{status}", http.StatusCreated, s.putMethodResponse)
	s.handle("GET", methodPath+"/responses/{status}", http.StatusOK, s.getMethodResponse)
	s.handle("PUT", methodPath+"/integration", http.StatusCreated, s.putIntegration)
	s.handle("GET", methodPath+"/integration", http.StatusOK, func(r *http.Request) (any, error) { return on(r, s.e.Integration) })
	s.handle("DELETE", methodPath+"/integration", http.StatusNoContent, func(r *http.Request) (any, error) {
		return nil, s.e.DeleteIntegration(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"))
	})
	s.handle("PUT", methodPath+"/integration/responses/{status}", http.StatusCreated, s.putIntegrationResponse)
	s.handle("GET", methodPath+"/integration/responses/{status}", http.StatusOK, s.getIntegrationResponse)
}

func (s *Service) putMethod(r *http.Request) (any, error) {
	var m rest.Method
	if err := decode(r, &m, "authorizerId", "requestValidatorId", "authorizationScopes", "requestModels"); err != nil {
		return nil, err
	}
	m.HTTPMethod, m.Responses, m.Integration = r.PathValue("method"), nil, nil
	return s.e.PutMethod(r.PathValue("api"), r.PathValue("resource"), m)
}

func (s *Service) putMethodResponse(r *http.Request) (any, error) {
	var body rest.MethodResponse
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	body.StatusCode = r.PathValue("status")
	return body, s.e.PutMethodResponse(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"), body)
}

func (s *Service) getMethodResponse(r *http.Request) (any, error) {
	m, err := s.e.Method(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"))
	if err != nil {
		return nil, err
	}
	if out, ok := m.Responses[r.PathValue("status")]; ok {
		return out, nil
	}
	return nil, &rest.Error{Code: rest.CodeNotFound, Message: "Invalid Response status code specified"}
}

func (s *Service) putIntegration(r *http.Request) (any, error) {
	var in rest.Integration
	if err := decode(r, &in, "connectionId", "contentHandling", "cacheKeyParameters", "tlsConfig", "integrationTarget"); err != nil {
		return nil, err
	}
	in.Responses = nil
	return s.e.PutIntegration(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"), in)
}

func (s *Service) putIntegrationResponse(r *http.Request) (any, error) {
	var body rest.IntegrationResponse
	if err := decode(r, &body, "contentHandling"); err != nil {
		return nil, err
	}
	body.StatusCode = r.PathValue("status")
	return body, s.e.PutIntegrationResponse(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"), body)
}

func (s *Service) getIntegrationResponse(r *http.Request) (any, error) {
	in, err := s.e.Integration(r.PathValue("api"), r.PathValue("resource"), r.PathValue("method"))
	if err != nil {
		return nil, err
	}
	if out, ok := in.Responses[r.PathValue("status")]; ok {
		return out, nil
	}
	return nil, &rest.Error{Code: rest.CodeNotFound, Message: "Invalid Response status code specified"}
}
