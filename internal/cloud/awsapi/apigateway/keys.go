package apigateway

import (
	"net/http"
	"strings"

	"mote/internal/cloud/rest"
)

func (s *Service) handleKeys() {
	s.handle("POST", "/apikeys", http.StatusCreated, s.createKey)
	s.handle("GET", "/apikeys", http.StatusOK, s.getKeys)
	s.handle("GET", "/apikeys/{key}", http.StatusOK, func(r *http.Request) (any, error) {
		k, err := s.e.Key(r.PathValue("key"))
		return hide(k, r.URL.Query().Get("includeValue") == "true"), err
	})
	s.handle("PATCH", "/apikeys/{key}", http.StatusOK, s.updateKey)
	s.handle("DELETE", "/apikeys/{key}", http.StatusAccepted, func(r *http.Request) (any, error) { return nil, s.e.DeleteKey(r.PathValue("key")) })

	s.handle("POST", "/usageplans", http.StatusCreated, s.createPlan)
	s.handle("GET", "/usageplans", http.StatusOK, func(r *http.Request) (any, error) { return paged(r, s.e.Plans(r.URL.Query().Get("keyId"))) })
	s.handle("GET", "/usageplans/{plan}", http.StatusOK, func(r *http.Request) (any, error) { return s.e.Plan(r.PathValue("plan")) })
	s.handle("PATCH", "/usageplans/{plan}", http.StatusOK, s.updatePlan)
	s.handle("DELETE", "/usageplans/{plan}", http.StatusAccepted, func(r *http.Request) (any, error) { return nil, s.e.DeletePlan(r.PathValue("plan")) })
	s.handle("POST", "/usageplans/{plan}/keys", http.StatusCreated, s.createPlanKey)
	s.handle("GET", "/usageplans/{plan}/keys", http.StatusOK, s.getPlanKeys)
	s.handle("DELETE", "/usageplans/{plan}/keys/{key}", http.StatusAccepted, func(r *http.Request) (any, error) {
		return nil, s.e.RemovePlanKey(r.PathValue("plan"), r.PathValue("key"))
	})
}

// hide takes the value out of a key unless it was asked for.
func hide(k rest.Key, include bool) rest.Key {
	if !include {
		k.Value = ""
	}
	return k
}

func (s *Service) createKey(r *http.Request) (any, error) {
	var k rest.Key
	if err := decode(r, &k, "stageKeys"); err != nil {
		return nil, err
	}
	return s.e.CreateKey(k)
}

func (s *Service) getKeys(r *http.Request) (any, error) {
	query := r.URL.Query()
	var out []rest.Key
	for _, k := range s.e.Keys() {
		if strings.HasPrefix(k.Name, query.Get("nameQuery")) && (query.Get("customerId") == "" || k.CustomerID == query.Get("customerId")) {
			out = append(out, hide(k, query.Get("includeValues") == "true"))
		}
	}
	return paged(r, out)
}

func (s *Service) updateKey(r *http.Request) (any, error) {
	list, err := patches(r)
	if err != nil {
		return nil, err
	}
	k, err := s.e.UpdateKey(r.PathValue("key"), func(k *rest.Key) error {
		for _, p := range list {
			switch p.Op + " " + p.Path {
			case "replace /enabled":
				k.Enabled = p.Value == "true"
			case "replace /name":
				k.Name = p.Value
			case "replace /description":
				k.Description = p.Value
			case "replace /customerId":
				k.CustomerID = p.Value
			default:
				return badPatch(p, "replace of /enabled, /name, /description and /customerId")
			}
		}
		return nil
	})
	return hide(k, false), err
}

func (s *Service) createPlan(r *http.Request) (any, error) {
	var p rest.Plan
	if err := decode(r, &p, "quota"); err != nil {
		return nil, err
	}
	return s.e.CreatePlan(p)
}

func (s *Service) updatePlan(r *http.Request) (any, error) {
	list, err := patches(r)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("plan")
	for _, p := range list {
		api, stage, _ := strings.Cut(p.Value, ":")
		switch p.Op + " " + p.Path {
		case "add /apiStages":
			_, err = s.e.AddPlanStage(id, rest.PlanStage{APIID: api, Stage: stage})
		case "remove /apiStages":
			_, err = s.e.RemovePlanStage(id, rest.PlanStage{APIID: api, Stage: stage})
		default:
			err = badPatch(p, "add and remove of /apiStages with the value API:STAGE")
		}
		if err != nil {
			return nil, err
		}
	}
	return s.e.Plan(id)
}

// planKey is a key as a member of a plan.
type planKey struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

func (s *Service) createPlanKey(r *http.Request) (any, error) {
	var body struct {
		KeyID   string `json:"keyId"`
		KeyType string `json:"keyType"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.KeyType != "API_KEY" {
		return nil, badRequest("keyType must be API_KEY, not %.32q", body.KeyType)
	}
	k, err := s.e.AddPlanKey(r.PathValue("plan"), body.KeyID)
	return planKey{k.ID, "API_KEY", k.Name, k.Value}, err
}

func (s *Service) getPlanKeys(r *http.Request) (any, error) {
	all, err := s.e.PlanKeys(r.PathValue("plan"))
	if err != nil {
		return nil, err
	}
	var out []planKey
	for _, k := range all {
		if strings.HasPrefix(k.Name, r.URL.Query().Get("nameQuery")) {
			out = append(out, planKey{ID: k.ID, Type: "API_KEY", Name: k.Name})
		}
	}
	return paged(r, out)
}
