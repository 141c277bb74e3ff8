package rest

import (
	"cmp"
	"crypto/subtle"
	"slices"
	"sort"
)

// CreateKey makes an API key; without a value it gets one of 40 characters.
// A given value has 20 to 128 characters and is no other key's.
func (e *Engine) CreateKey(k Key) (Key, error) {
	if k.Value != "" && (len(k.Value) < 20 || len(k.Value) > 128) {
		return Key{}, badRequest("API Key value should be at least 20 characters and at most 128 characters")
	}
	if len(k.Name) > maxName {
		return Key{}, badRequest("the name of a key has at most %d characters", maxName)
	}
	err := e.change(func(d *draft) error {
		if len(d.keys) >= maxKeys {
			return limitExceeded("there are already %d API keys", maxKeys)
		}
		if k.Value == "" {
			k.Value = newID(40, keyLetters)
		}
		for _, other := range d.keys {
			if subtle.ConstantTimeCompare([]byte(other.Value), []byte(k.Value)) == 1 {
				return conflict("API Key already exists")
			}
		}
		k.ID, k.CreatedDate, k.LastUpdatedDate = newID(10, idLetters), d.now, d.now
		add(d, d.keys, kindKey, k.ID, &k)
		return nil
	})
	return k, err
}

// Keys returns all API keys, the oldest first.
func (e *Engine) Keys() []Key {
	var out []Key
	for _, k := range e.state.Load().keys {
		out = append(out, *k)
	}
	sort.Slice(out, func(i, j int) bool {
		return cmp.Or(cmp.Compare(out[i].CreatedDate, out[j].CreatedDate), cmp.Compare(out[i].ID, out[j].ID)) < 0
	})
	return out
}

// Key returns one API key.
func (e *Engine) Key(id string) (Key, error) {
	k, ok := e.state.Load().keys[id]
	if !ok {
		return Key{}, missing(kindKey, id)
	}
	return *k, nil
}

// UpdateKey changes an API key; its id and value stay.
func (e *Engine) UpdateKey(id string, f func(*Key) error) (Key, error) {
	err := e.change(func(d *draft) error {
		k, err := d.key(id)
		if err != nil {
			return err
		}
		kept := *k
		if err := f(k); err != nil {
			return err
		}
		k.ID, k.Value, k.LastUpdatedDate = kept.ID, kept.Value, d.now
		return nil
	})
	if err != nil {
		return Key{}, err
	}
	return e.Key(id)
}

// DeleteKey deletes an API key and takes it out of its usage plans.
func (e *Engine) DeleteKey(id string) error {
	return e.change(func(d *draft) error {
		if err := remove(d, d.keys, kindKey, id); err != nil {
			return err
		}
		for planID, p := range d.plans {
			if !slices.Contains(p.KeyIDs, id) {
				continue
			}
			p, err := d.plan(planID)
			if err != nil {
				return err
			}
			p.KeyIDs = slices.DeleteFunc(p.KeyIDs, func(k string) bool { return k == id })
		}
		return nil
	})
}

// CreatePlan makes a usage plan.
func (e *Engine) CreatePlan(p Plan) (Plan, error) {
	if err := validName("name of a usage plan", p.Name); err != nil {
		return Plan{}, err
	}
	if err := p.Throttle.valid(); err != nil {
		return Plan{}, err
	}
	err := e.change(func(d *draft) error {
		if len(d.plans) >= maxPlans {
			return limitExceeded("there are already %d usage plans", maxPlans)
		}
		p.ID = newID(6, idLetters)
		stages := p.Stages
		p.Stages = nil
		r := &planRecord{Plan: p}
		for _, s := range stages {
			if err := d.addPlanStage(r, s); err != nil {
				return err
			}
		}
		p = r.Plan
		add(d, d.plans, kindPlan, p.ID, r)
		return nil
	})
	return p, err
}

func (t *Throttle) valid() error {
	if t != nil && (t.BurstLimit < 0 || t.RateLimit < 0 || t.RateLimit > 1e9) {
		return badRequest("the throttle of a usage plan cannot be negative")
	}
	return nil
}

func (d *draft) addPlanStage(p *planRecord, s PlanStage) error {
	r, ok := d.apis[s.APIID]
	if !ok {
		return missing(kindAPI, s.APIID)
	}
	if _, ok := r.Stages[s.Stage]; !ok {
		return notFound("API Stage not found: %.64s:%.128s", s.APIID, s.Stage)
	}
	if slices.Contains(p.Stages, s) {
		return conflict("the usage plan already has the stage %s:%s", s.APIID, s.Stage)
	}
	p.Stages = append(p.Stages, s)
	return nil
}

// forgetStages takes the stages that match out of all usage plans.
func (d *draft) forgetStages(match func(PlanStage) bool) error {
	for id, p := range d.plans {
		if !slices.ContainsFunc(p.Stages, match) {
			continue
		}
		p, err := d.plan(id)
		if err != nil {
			return err
		}
		p.Stages = slices.DeleteFunc(p.Stages, match)
	}
	return nil
}

// Plans returns all usage plans by name; with a key id, those that it is in.
func (e *Engine) Plans(keyID string) []Plan {
	var out []Plan
	for _, p := range e.state.Load().plans {
		if keyID == "" || slices.Contains(p.KeyIDs, keyID) {
			out = append(out, p.Plan)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		return cmp.Or(cmp.Compare(out[i].Name, out[j].Name), cmp.Compare(out[i].ID, out[j].ID)) < 0
	})
	return out
}

// Plan returns one usage plan.
func (e *Engine) Plan(id string) (Plan, error) {
	p, ok := e.state.Load().plans[id]
	if !ok {
		return Plan{}, missing(kindPlan, id)
	}
	return p.Plan, nil
}

// AddPlanStage lets the keys of a plan call one more stage.
func (e *Engine) AddPlanStage(id string, s PlanStage) (Plan, error) {
	return e.editPlan(id, func(d *draft, p *planRecord) error { return d.addPlanStage(p, s) })
}

// RemovePlanStage is the opposite of AddPlanStage.
func (e *Engine) RemovePlanStage(id string, s PlanStage) (Plan, error) {
	return e.editPlan(id, func(_ *draft, p *planRecord) error {
		if !slices.Contains(p.Stages, s) {
			return notFound("API Stage not found: %.64s:%.128s", s.APIID, s.Stage)
		}
		p.Stages = slices.DeleteFunc(p.Stages, func(one PlanStage) bool { return one == s })
		return nil
	})
}

func (e *Engine) editPlan(id string, f func(*draft, *planRecord) error) (Plan, error) {
	err := e.change(func(d *draft) error {
		p, err := d.plan(id)
		if err != nil {
			return err
		}
		return f(d, p)
	})
	if err != nil {
		return Plan{}, err
	}
	return e.Plan(id)
}

// DeletePlan deletes a usage plan that has no stages.
func (e *Engine) DeletePlan(id string) error {
	return e.change(func(d *draft) error {
		if p, ok := d.plans[id]; ok && len(p.Stages) > 0 {
			return badRequest("Cannot delete Usage Plan %s because it still has API stages: remove them first", id)
		}
		return remove(d, d.plans, kindPlan, id)
	})
}

// AddPlanKey puts a key into a plan.
func (e *Engine) AddPlanKey(planID, keyID string) (Key, error) {
	_, err := e.editPlan(planID, func(d *draft, p *planRecord) error {
		if _, ok := d.keys[keyID]; !ok {
			return missing(kindKey, keyID)
		}
		if slices.Contains(p.KeyIDs, keyID) {
			return conflict("Usage Plan %s already has the key %s", planID, keyID)
		}
		p.KeyIDs = append(p.KeyIDs, keyID)
		return nil
	})
	if err != nil {
		return Key{}, err
	}
	return e.Key(keyID)
}

// RemovePlanKey takes a key out of a plan.
func (e *Engine) RemovePlanKey(planID, keyID string) error {
	_, err := e.editPlan(planID, func(_ *draft, p *planRecord) error {
		if !slices.Contains(p.KeyIDs, keyID) {
			return notFound("Invalid API Key identifier specified")
		}
		p.KeyIDs = slices.DeleteFunc(p.KeyIDs, func(k string) bool { return k == keyID })
		return nil
	})
	return err
}

// PlanKeys returns the keys of a plan.
func (e *Engine) PlanKeys(planID string) ([]Key, error) {
	s := e.state.Load()
	p, ok := s.plans[planID]
	if !ok {
		return nil, missing(kindPlan, planID)
	}
	out := make([]Key, 0, len(p.KeyIDs))
	for _, id := range p.KeyIDs {
		if k, ok := s.keys[id]; ok {
			out = append(out, *k)
		}
	}
	return out, nil
}
