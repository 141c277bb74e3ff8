package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// BillingGroup is a billing group: a name for things whose costs belong
// together (AWS IoT developer guide, "Tagging your AWS IoT resources"). Here
// nothing costs; it is kept and told.
type BillingGroup struct {
	Name        string    `json:"name"`
	ID          string    `json:"id"` // UUID
	Description string    `json:"description,omitempty"`
	Version     int64     `json:"version"` // 1 at creation
	Created     time.Time `json:"created"`
}

func (r *Registry) loadBilling(id string, data []byte) error {
	g := new(BillingGroup)
	if err := json.Unmarshal(data, g); err != nil {
		return err
	}
	r.billing.put(id, g)
	return nil
}

// billingGroup finds a billing group; mu or writeMu is held.
func (r *Registry) billingGroup(name string) (*BillingGroup, error) {
	return r.billing.find("Billing group", name)
}

// CreateBillingGroup makes a billing group. When it is there and is the same,
// it is returned as it is.
func (r *Registry) CreateBillingGroup(name, description string, tags map[string]string) (BillingGroup, error) {
	if !thingNameForm.MatchString(name) {
		return BillingGroup{}, errorf(InvalidRequest, "the billing group name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9, colon, underscore and hyphen", short(name))
	}
	if err := checkDescription(description); err != nil {
		return BillingGroup{}, err
	}
	var out BillingGroup
	err := r.change(func(t *tx) error {
		if old, ok := r.billing.get(name); ok {
			if out = *old; old.Description != description {
				return r.exists("billinggroup/"+name, "Billing group %s already exists in account with different properties", name)
			}
			return nil
		}
		g := &BillingGroup{Name: name, ID: newUUID(), Description: description, Version: 1, Created: now()}
		out = *g
		if err := r.newTags(t, "billinggroup/"+name, tags); err != nil {
			return err
		}
		return r.putBilling(t, g)
	})
	return out, err
}

func (r *Registry) putBilling(t *tx, g *BillingGroup) error {
	t.then(func() { r.billing.put(g.Name, g) })
	return t.set(kindBilling, g.Name, g)
}

// BillingGroup returns a billing group.
func (r *Registry) BillingGroup(name string) (BillingGroup, error) {
	return copyOf(r, name, r.billingGroup)
}

// BillingGroups lists the names that begin with prefix.
func (r *Registry) BillingGroups(prefix string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Cut(r.billing.keys, p, func(name string) bool { return strings.HasPrefix(name, prefix) })
}

// UpdateBillingGroup sets the description and returns the new version; expected
// is the version that the group must have, 0 for any.
func (r *Registry) UpdateBillingGroup(name, description string, expected int64) (version int64, err error) {
	if err := checkDescription(description); err != nil {
		return 0, err
	}
	err = r.change(func(t *tx) error {
		old, err := r.billingGroup(name)
		if err != nil {
			return err
		}
		if err := checkExpected("billing group", name, old.Version, expected); err != nil {
			return err
		}
		g := *old
		g.Version++
		g.Description, version = description, g.Version
		return r.putBilling(t, &g)
	})
	return version, err
}

// DeleteBillingGroup removes a billing group; its things are in none then.
func (r *Registry) DeleteBillingGroup(name string, expected int64) error {
	return r.change(func(t *tx) error {
		g, err := r.billingGroup(name)
		if err != nil {
			return err
		}
		if err := checkExpected("billing group", name, g.Version, expected); err != nil {
			return err
		}
		for _, thing := range slices.Clone(r.billed.right(name)) {
			if err := r.setBilling(t, thing, ""); err != nil {
				return err
			}
		}
		t.delete(kindBilling, name)
		r.noTags(t, "billinggroup/"+name)
		t.then(func() { r.billing.drop(name) })
		return nil
	})
}

// setBilling puts a thing into a billing group, or into none; writeMu is held.
func (r *Registry) setBilling(t *tx, thing, group string) error {
	changed := *r.things.items[thing]
	changed.Billing = group
	t.then(func() { r.putThing(&changed) })
	return t.set(kindThing, thing, &changed)
}

// AddToBilling puts a thing into a billing group. A thing can be in one only
// (AWS IoT API, "AddThingToBillingGroup").
func (r *Registry) AddToBilling(group, thing string) error {
	return r.change(func(t *tx) error {
		x, err := r.inBilling(group, thing)
		switch {
		case err != nil || x.Billing == group:
			return err
		case x.Billing != "":
			return errorf(InvalidRequest, "thing %s is in the billing group %s: remove it there first", thing, x.Billing)
		}
		return r.setBilling(t, thing, group)
	})
}

// RemoveFromBilling takes a thing out of a billing group; that it is not in it
// is no error.
func (r *Registry) RemoveFromBilling(group, thing string) error {
	return r.change(func(t *tx) error {
		x, err := r.inBilling(group, thing)
		if err != nil || x.Billing != group {
			return err
		}
		return r.setBilling(t, thing, "")
	})
}

func (r *Registry) inBilling(group, thing string) (*Thing, error) {
	if _, err := r.billingGroup(group); err != nil {
		return nil, err
	}
	return r.thing(thing)
}

// ThingsInBilling lists the names of the things of a billing group.
func (r *Registry) ThingsInBilling(group string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.billingGroup(group); err != nil {
		return nil, "", err
	}
	return Cut(r.billed.right(group), p, nil)
}
