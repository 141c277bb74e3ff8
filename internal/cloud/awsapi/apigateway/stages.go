package apigateway

import (
	"net/http"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/rest"
)

func (s *Service) handleStages() {
	s.handle("POST", "/restapis/{api}/deployments", http.StatusCreated, s.createDeployment)
	s.handle("GET", "/restapis/{api}/deployments", http.StatusOK, s.getDeployments)
	s.handle("GET", "/restapis/{api}/deployments/{deployment}", http.StatusOK, s.getDeployment)
	s.handle("DELETE", "/restapis/{api}/deployments/{deployment}", http.StatusAccepted, func(r *http.Request) (any, error) {
		return nil, s.e.DeleteDeployment(r.PathValue("api"), r.PathValue("deployment"))
	})
	s.handle("POST", "/restapis/{api}/stages", http.StatusCreated, s.createStage)
	s.handle("GET", "/restapis/{api}/stages", http.StatusOK, s.getStages)
	s.handle("GET", "/restapis/{api}/stages/{stage}", http.StatusOK, func(r *http.Request) (any, error) {
		return s.e.Stage(r.PathValue("api"), r.PathValue("stage"))
	})
	s.handle("PATCH", "/restapis/{api}/stages/{stage}", http.StatusOK, s.updateStage)
	s.handle("DELETE", "/restapis/{api}/stages/{stage}", http.StatusAccepted, func(r *http.Request) (any, error) {
		return nil, s.e.DeleteStage(r.PathValue("api"), r.PathValue("stage"))
	})
}

// unoffered are the members of stages that would change what they do.
var unoffered = []string{"cacheClusterEnabled", "canarySettings", "tracingEnabled"}

// freeName refuses a stage whose name begins paths of this origin's own APIs:
// on AWS they have other host names, here the path has to tell them apart.
func freeName(stage string) error {
	if stage != "" && awsapi.Reserved(stage) {
		return badRequest("stage name %q is also the path of an AWS API on this origin: choose another", stage)
	}
	return nil
}

func (s *Service) createDeployment(r *http.Request) (any, error) {
	var body struct {
		StageName        string            `json:"stageName"`
		StageDescription string            `json:"stageDescription"`
		Description      string            `json:"description"`
		Variables        map[string]string `json:"variables"`
	}
	if err := decode(r, &body, unoffered...); err != nil {
		return nil, err
	}
	if err := freeName(body.StageName); err != nil {
		return nil, err
	}
	return s.e.Deploy(r.PathValue("api"), rest.Stage{Name: body.StageName, Description: body.StageDescription, Variables: body.Variables}, body.Description)
}

func (s *Service) getDeployments(r *http.Request) (any, error) {
	all, err := s.e.Deployments(r.PathValue("api"))
	if err != nil {
		return nil, err
	}
	return paged(r, all)
}

func (s *Service) getDeployment(r *http.Request) (any, error) {
	all, err := s.e.Deployments(r.PathValue("api"))
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.ID == r.PathValue("deployment") {
			return d, nil
		}
	}
	return nil, &rest.Error{Code: rest.CodeNotFound, Message: "Invalid Deployment identifier specified"}
}

func (s *Service) createStage(r *http.Request) (any, error) {
	var stage rest.Stage
	if err := decode(r, &stage, unoffered...); err != nil {
		return nil, err
	}
	if err := freeName(stage.Name); err != nil {
		return nil, err
	}
	return s.e.CreateStage(r.PathValue("api"), stage)
}

func (s *Service) getStages(r *http.Request) (any, error) {
	all, err := s.e.Stages(r.PathValue("api"), r.URL.Query().Get("deploymentId"))
	if err != nil {
		return nil, err
	}
	return page[rest.Stage]{Item: append([]rest.Stage{}, all...)}, nil
}

func (s *Service) updateStage(r *http.Request) (any, error) {
	list, err := patches(r)
	if err != nil {
		return nil, err
	}
	var out any
	for _, p := range list {
		if p.Op != "replace" || p.Path != "/deploymentId" {
			return nil, badPatch(p, "replace of /deploymentId")
		}
		if out, err = s.e.MoveStage(r.PathValue("api"), r.PathValue("stage"), p.Value); err != nil {
			return nil, err
		}
	}
	if out == nil {
		return s.e.Stage(r.PathValue("api"), r.PathValue("stage"))
	}
	return out, nil
}
