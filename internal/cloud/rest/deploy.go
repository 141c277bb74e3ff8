package rest

import (
	"cmp"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// Deploy freezes the resources of an API. With a stage name the stage serves
// them from then on; it is made when it is not there. Deployments that no
// stage serves are kept for a way back, the newest 20.
func (e *Engine) Deploy(apiID string, stage Stage, description string) (Deployment, error) {
	var made Deployment
	err := e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		resources, err := r.frozen()
		if err != nil {
			return err
		}
		made = Deployment{ID: newID(6, idLetters), Description: description, CreatedDate: d.now}
		r.Deployments = append(r.Deployments, &deploymentRecord{made, resources})
		if stage.Name != "" {
			stage.DeploymentID = made.ID
			if err := d.setStage(r, stage, true); err != nil {
				return err
			}
		}
		r.pruneDeployments()
		return nil
	})
	return made, err
}

// frozen returns the resources that have methods, checked. They are shared
// with the working copy, which never changes in place: see edit.
func (r *apiRecord) frozen() ([]*Resource, error) {
	var out []*Resource
	for _, res := range r.Resources {
		if len(res.Methods) == 0 {
			continue
		}
		for _, m := range res.Methods {
			if m.Integration == nil {
				return nil, badRequest("No integration defined for method")
			}
		}
		out = append(out, res)
	}
	if len(out) == 0 {
		return nil, badRequest("The REST API doesn't contain any methods")
	}
	slices.SortFunc(out, func(a, b *Resource) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func (r *apiRecord) pruneDeployments() {
	excess := -maxDeployments
	for _, one := range r.Deployments {
		if !r.serves(one.ID) {
			excess++
		}
	}
	r.Deployments = slices.DeleteFunc(r.Deployments, func(one *deploymentRecord) bool {
		if excess > 0 && !r.serves(one.ID) {
			excess--
			return true
		}
		return false
	})
}

func (r *apiRecord) serves(deploymentID string) bool {
	for _, s := range r.Stages {
		if s.DeploymentID == deploymentID {
			return true
		}
	}
	return false
}

func (r *apiRecord) deployment(id string) (*deploymentRecord, error) {
	for _, one := range r.Deployments {
		if one.ID == id {
			return one, nil
		}
	}
	return nil, notFound("Invalid Deployment identifier specified")
}

// Deployments returns the deployments of an API, the newest first.
func (e *Engine) Deployments(apiID string) ([]Deployment, error) {
	r, err := e.record(apiID)
	if err != nil {
		return nil, err
	}
	var out []Deployment
	for _, one := range slices.Backward(r.Deployments) {
		out = append(out, one.Deployment)
	}
	return out, nil
}

// DeleteDeployment deletes a deployment that no stage serves.
func (e *Engine) DeleteDeployment(apiID, id string) error {
	return e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		if _, err := r.deployment(id); err != nil {
			return err
		}
		if r.serves(id) {
			return badRequest("Active stages pointing to this deployment must be moved or deleted")
		}
		r.Deployments = slices.DeleteFunc(r.Deployments, func(one *deploymentRecord) bool { return one.ID == id })
		return nil
	})
}

var stageName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)

// setStage makes a stage, or moves it to another deployment when it may.
func (d *draft) setStage(r *apiRecord, s Stage, mayExist bool) error {
	if !stageName.MatchString(s.Name) {
		return badRequest("Stage name only allows a-zA-Z0-9_-")
	}
	if _, err := r.deployment(s.DeploymentID); err != nil {
		return err
	}
	s.CreatedDate, s.LastUpdatedDate = d.now, d.now
	if old, ok := r.Stages[s.Name]; ok {
		if !mayExist {
			return conflict("Stage already exists")
		}
		moved := *old
		moved.DeploymentID, moved.LastUpdatedDate = s.DeploymentID, d.now
		moved.Description = cmp.Or(s.Description, old.Description)
		if s.Variables != nil {
			moved.Variables = s.Variables
		}
		s = moved
	} else if len(r.Stages) >= maxStages {
		return limitExceeded("the API already has %d stages", maxStages)
	}
	if r.Stages == nil {
		r.Stages = map[string]*Stage{}
	}
	r.Stages[s.Name] = &s
	return nil
}

// CreateStage makes a stage that serves a deployment.
func (e *Engine) CreateStage(apiID string, s Stage) (Stage, error) {
	err := e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		return d.setStage(r, s, false)
	})
	if err != nil {
		return Stage{}, err
	}
	return e.Stage(apiID, s.Name)
}

// MoveStage lets a stage serve another deployment.
func (e *Engine) MoveStage(apiID, name, deploymentID string) (Stage, error) {
	err := e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		if _, ok := r.Stages[name]; !ok {
			return noStage()
		}
		return d.setStage(r, Stage{Name: name, DeploymentID: deploymentID}, true)
	})
	if err != nil {
		return Stage{}, err
	}
	return e.Stage(apiID, name)
}

func noStage() error { return notFound("Invalid stage identifier specified") }

// Stages returns the stages of an API by name; with a deployment id, those
// that serve it.
func (e *Engine) Stages(apiID, deploymentID string) ([]Stage, error) {
	r, err := e.record(apiID)
	if err != nil {
		return nil, err
	}
	var out []Stage
	for _, s := range r.Stages {
		if deploymentID == "" || s.DeploymentID == deploymentID {
			out = append(out, *s)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Stage returns one stage of an API.
func (e *Engine) Stage(apiID, name string) (Stage, error) {
	r, err := e.record(apiID)
	if err != nil {
		return Stage{}, err
	}
	s, ok := r.Stages[name]
	if !ok {
		return Stage{}, noStage()
	}
	return *s, nil
}

// DeleteStage stops serving a stage and takes it out of the usage plans.
func (e *Engine) DeleteStage(apiID, name string) error {
	return e.change(func(d *draft) error {
		r, err := d.api(apiID)
		if err != nil {
			return err
		}
		if _, ok := r.Stages[name]; !ok {
			return noStage()
		}
		delete(r.Stages, name)
		return d.forgetStages(func(s PlanStage) bool { return s == PlanStage{apiID, name} })
	})
}
