package registry

import (
	"fmt"
	"slices"
	"strings"
)

func (r *Registry) loadMember(id string, _ []byte) error {
	group, thing, ok := strings.Cut(id, "\x00")
	if !ok {
		return fmt.Errorf("its key has no two parts")
	}
	r.members.add(group, thing)
	return nil
}

// ChangeGroups puts a thing into groups and takes it out of others. That it is
// in one already, or not in one, is no error. A thing can be in ten groups, but
// not in two of one hierarchy (AWS IoT developer guide, "Static thing groups").
func (r *Registry) ChangeGroups(thing string, add, drop []string) error {
	return r.change(func(t *tx) error {
		x, err := r.thing(thing)
		if err != nil {
			return err
		}
		for _, name := range slices.Concat(add, drop) {
			if _, err := r.group(name); err != nil {
				return err
			}
		}
		had := r.members.left(thing)
		gone := without(distinct(drop), add)
		gone = slices.DeleteFunc(gone, func(g string) bool { return !slices.Contains(had, g) })
		fresh := without(distinct(add), had)
		if err := r.checkGroups(thing, without(had, gone), fresh); err != nil {
			return err
		}
		return r.putMembers(t, thing, x.ID, fresh, gone)
	})
}

func distinct(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}

func without(list, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(drop, s) })
}

// checkGroups says whether a thing that stays in some groups can be in others
// too; writeMu is held.
func (r *Registry) checkGroups(thing string, stays, add []string) error {
	all := distinct(slices.Concat(stays, add))
	if len(add) > 0 && len(all) > maxGroupsOfThing {
		return errorf(InvalidRequest, "thing %s would be in %d thing groups, the limit is %d", thing, len(all), maxGroupsOfThing)
	}
	roots := map[string]string{}
	for _, name := range all {
		root := r.root(name)
		if other, taken := roots[root]; taken && len(add) > 0 {
			return errorf(InvalidRequest, "thing %s cannot be in the thing groups %s and %s: they are in one hierarchy, below %s", thing, other, name, root)
		}
		roots[root] = name
	}
	return nil
}

// root returns the group at the top of a group's hierarchy.
func (r *Registry) root(name string) string {
	for {
		g, ok := r.groups.get(name)
		if !ok || g.Parent == "" {
			return name
		}
		name = g.Parent
	}
}

// putMembers puts the thing with that id into groups, and takes it out of others.
func (r *Registry) putMembers(t *tx, thing, id string, add, drop []string) error {
	for _, g := range drop {
		t.delete(kindMember, pair(g, thing))
	}
	for _, g := range add {
		if err := t.set(kindMember, pair(g, thing), struct{}{}); err != nil {
			return err
		}
	}
	t.judges = len(r.principals.right(thing)) > 0
	t.then(func() {
		for _, g := range drop {
			r.members.drop(g, thing)
		}
		for _, g := range add {
			r.members.add(g, thing)
		}
	})
	if err := r.memberEvents(t, "removed", thing, id, drop); err != nil {
		return err
	}
	return r.memberEvents(t, "added", thing, id, add)
}

// GroupsOfThing lists the names of the groups that a thing is directly in.
func (r *Registry) GroupsOfThing(thing string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.thing(thing); err != nil {
		return nil, "", err
	}
	return Cut(r.members.left(thing), p, nil)
}

// ThingsInGroup lists the names of the things in a group, and, when recursive
// is set, in the groups in it.
func (r *Registry) ThingsInGroup(group string, recursive bool, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.group(group); err != nil {
		return nil, "", err
	}
	things := r.members.right(group)
	if recursive {
		var all []string
		for _, g := range r.below(group) {
			all = append(all, r.members.right(g)...)
		}
		things = distinct(all)
	}
	return Cut(things, p, nil)
}
