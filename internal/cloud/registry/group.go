package registry

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// ThingGroup is a static thing group (AWS IoT developer guide, "Static thing
// groups").
type ThingGroup struct {
	Name        string            `json:"name"`
	ID          string            `json:"id"` // UUID
	Parent      string            `json:"parent,omitempty"`
	Description string            `json:"description,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Version     int64             `json:"version"` // 1 at creation
	Created     time.Time         `json:"created"`
}

// Limits of thing groups (AWS IoT quotas, "AWS IoT Core thing group").
const (
	maxGroupDepth    = 7
	maxChildGroups   = 100
	maxGroupsOfThing = 10
	maxGroupPolicies = 2
)

func (r *Registry) loadGroup(_ string, data []byte) error {
	g := new(ThingGroup)
	if err := json.Unmarshal(data, g); err != nil {
		return err
	}
	r.placeGroup(g)
	return nil
}

// placeGroup puts a group in its place; mu is held.
func (r *Registry) placeGroup(g *ThingGroup) {
	r.groups.put(g.Name, g)
	if g.Parent != "" {
		r.children.add(g.Parent, g.Name)
	}
}

// group finds a group; mu or writeMu is held.
func (r *Registry) group(name string) (*ThingGroup, error) {
	return r.groups.find("Thing group", name)
}

// ancestors returns the names of the groups that a group is in, its parent
// first; mu or writeMu is held.
func (r *Registry) ancestors(g *ThingGroup) (names []string) {
	for g.Parent != "" {
		names = append(names, g.Parent)
		g = r.groups.items[g.Parent]
	}
	return names
}

// CreateThingGroup makes a group from the name, parent and properties of g.
// When it is there and is the same, it is returned as it is.
func (r *Registry) CreateThingGroup(g ThingGroup, tags map[string]string) (ThingGroup, error) {
	g.Attributes = withoutEmpty(g.Attributes)
	if err := g.check(); err != nil {
		return ThingGroup{}, err
	}
	err := r.change(func(t *tx) error {
		if old, ok := r.groups.get(g.Name); ok {
			same := old.Parent == g.Parent && old.Description == g.Description && maps.Equal(old.Attributes, g.Attributes)
			if g = *old; !same {
				return r.exists("thinggroup/"+g.Name, "Thing group %s already exists in account with different properties", g.Name)
			}
			return nil
		}
		if err := r.checkParent(g.Parent); err != nil {
			return err
		}
		g.ID, g.Version, g.Created = newUUID(), 1, now()
		kept := g
		if err := r.newTags(t, "thinggroup/"+g.Name, tags); err != nil {
			return err
		}
		return r.putGroup(t, "created", &kept)
	})
	return g, err
}

func (g *ThingGroup) check() error {
	if !thingNameForm.MatchString(g.Name) {
		return errorf(InvalidRequest, "the thing group name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9, colon, underscore and hyphen", short(g.Name))
	}
	if err := checkDescription(g.Description); err != nil {
		return err
	}
	return checkAttributes(g.Attributes)
}

// checkParent says whether a further group can be in the group parent.
func (r *Registry) checkParent(parent string) error {
	if parent == "" {
		return nil
	}
	g, err := r.group(parent)
	switch {
	case err != nil:
		return err
	case len(r.ancestors(g))+2 > maxGroupDepth:
		return errorf(InvalidRequest, "a group in the thing group %s would be on level %d, there can be %d", parent, len(r.ancestors(g))+2, maxGroupDepth)
	case len(r.children.right(parent)) >= maxChildGroups:
		return errorf(InvalidRequest, "the thing group %s has %d groups in it already, which is the limit", parent, maxChildGroups)
	}
	return nil
}

func (r *Registry) putGroup(t *tx, last string, g *ThingGroup) error {
	t.then(func() { r.placeGroup(g) })
	if err := t.set(kindGroup, g.Name, g); err != nil {
		return err
	}
	return r.groupEvent(t, last, g)
}

// ThingGroup returns a group and the names of the groups that it is in, from
// the root to its parent. Its attributes are not to be changed.
func (r *Registry) ThingGroup(name string) (ThingGroup, []string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g, err := r.group(name)
	if err != nil {
		return ThingGroup{}, nil, err
	}
	path := r.ancestors(g)
	slices.Reverse(path)
	return *g, path, nil
}

// GroupFilter narrows a list of groups.
type GroupFilter struct {
	Parent    string // only groups in this one; "": all
	Prefix    string // how the name begins
	Recursive bool   // also groups in groups
}

// ThingGroups lists the names of groups, sorted.
func (r *Registry) ThingGroups(f GroupFilter, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys := r.groups.keys
	if f.Parent != "" {
		if _, err := r.group(f.Parent); err != nil {
			return nil, "", err
		}
		keys = r.children.right(f.Parent)
		if f.Recursive {
			keys = r.below(f.Parent)[1:]
			slices.Sort(keys)
		}
	}
	return Cut(keys, p, func(name string) bool {
		root := f.Parent == "" && r.groups.items[name].Parent == ""
		return strings.HasPrefix(name, f.Prefix) && (f.Recursive || f.Parent != "" || root)
	})
}

// below returns a group and all groups in it, itself first; mu is held.
func (r *Registry) below(name string) []string {
	out := []string{name}
	for i := 0; i < len(out); i++ {
		out = append(out, r.children.right(out[i])...)
	}
	return out
}

// GroupUpdate says what to change of a group.
type GroupUpdate struct {
	Description string            // "": leave it
	Attributes  map[string]string // nil: leave them; an empty value removes the attribute
	Merge       bool              // keep the attributes that are not named
	Expected    int64             // version that the group must have; 0: any
}

// UpdateThingGroup changes a group and returns its new version.
func (r *Registry) UpdateThingGroup(name string, u GroupUpdate) (version int64, err error) {
	err = r.change(func(t *tx) error {
		old, err := r.group(name)
		if err != nil {
			return err
		}
		if err := checkExpected("thing group", name, old.Version, u.Expected); err != nil {
			return err
		}
		g := *old
		g.Version++
		g.Attributes = merged(old.Attributes, u.Attributes, u.Merge)
		if u.Description != "" {
			g.Description = u.Description
		}
		if err := g.check(); err != nil {
			return err
		}
		version = g.Version
		return r.putGroup(t, "updated", &g)
	})
	return version, err
}

// DeleteThingGroup removes a group that has no groups in it, with its
// memberships and policy attachments; expected is as in [GroupUpdate]. A group
// that does not exist is no error (AWS IoT API, "DeleteThingGroup").
func (r *Registry) DeleteThingGroup(name string, expected int64) error {
	return r.change(func(t *tx) error {
		g, ok := r.groups.get(name)
		if !ok {
			return nil
		}
		if err := checkExpected("thing group", name, g.Version, expected); err != nil {
			return err
		}
		if len(r.children.right(name)) > 0 {
			return errorf(InvalidRequest, "Cannot delete thing group : %s when there are still child groups attached to it.", name)
		}
		t.judges = len(r.members.right(name)) > 0
		t.delete(kindGroup, name)
		for _, thing := range r.members.right(name) {
			t.delete(kindMember, pair(name, thing))
		}
		for _, p := range r.attached.left(groupTarget(name)) {
			t.delete(kindAttached, pair(p, groupTarget(name)))
		}
		r.noTags(t, "thinggroup/"+name)
		t.then(func() {
			r.groups.drop(name)
			r.children.drop(g.Parent, name)
			r.members.dropLeft(name)
			r.attached.dropRight(groupTarget(name))
		})
		for _, thing := range r.members.right(name) {
			if err := r.memberEvents(t, "removed", thing, r.things.items[thing].ID, []string{name}); err != nil {
				return err
			}
		}
		return r.groupEvent(t, "deleted", g)
	})
}

// checkExpected refuses a change of another version than the caller knows.
func checkExpected(what, name string, version, expected int64) error {
	if expected != 0 && expected != version {
		return errorf(VersionConflict, "The version for %s %s does not match the expected version: it is %d, expected was %d", what, name, version, expected)
	}
	return nil
}
