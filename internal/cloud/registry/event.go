package registry

import (
	"encoding/json"
	"maps"
	"slices"
)

// EventType is what an [Event] is about (AWS IoT API, "UpdateEventConfigurations").
type EventType string

// The types of events that the registry tells of.
const (
	ThingEvents       EventType = "THING"
	GroupEvents       EventType = "THING_GROUP"
	TypeEvents        EventType = "THING_TYPE"
	MembershipEvents  EventType = "THING_GROUP_MEMBERSHIP"
	HierarchyEvents   EventType = "THING_GROUP_HIERARCHY"
	AssociationEvents EventType = "THING_TYPE_ASSOCIATION"
)

// EventTypes are all of them.
var EventTypes = []EventType{ThingEvents, GroupEvents, TypeEvents, MembershipEvents, HierarchyEvents, AssociationEvents}

// EventTopics are the topics of events, with "+" for each name and for what
// happened.
var EventTopics = []string{
	"$aws/events/thing/+/+", "$aws/events/thingGroup/+/+", "$aws/events/thingType/+/+",
	"$aws/events/thingGroupMembership/thingGroup/+/thing/+/+",
	"$aws/events/thingGroupHierarchy/thingGroup/+/childThingGroup/+/+",
	"$aws/events/thingTypeAssociation/thing/+/thingType/+/+",
}

// Event tells subscribers of a change (AWS IoT developer guide, "Registry
// events").
type Event struct {
	Topic   string
	Payload []byte // JSON
}

// OnEvents has f called with the events of each change that is on disk, in the
// order of the changes. f must not wait, nor call the registry.
func (r *Registry) OnEvents(f func([]Event)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell = f
}

// Events returns the types of events that are turned on, sorted.
func (r *Registry) Events() []EventType {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.telling))
}

// SetEvents turns types of events on and off; those not named stay as they are.
func (r *Registry) SetEvents(on map[EventType]bool) error {
	return r.change(func(t *tx) error {
		next := maps.Clone(r.telling)
		for kind, is := range on {
			if !slices.Contains(EventTypes, kind) {
				return errorf(InvalidRequest, "there are no events of the type %s", kind)
			}
			if next[kind] = true; !is {
				delete(next, kind)
			}
		}
		t.then(func() { r.telling = next })
		return t.set(kindEvents, "", slices.Sorted(maps.Keys(next)))
	})
}

func (r *Registry) loadEvents(_ string, data []byte) error {
	var kinds []EventType
	err := json.Unmarshal(data, &kinds)
	for _, kind := range kinds {
		r.telling[kind] = true
	}
	return err
}

// Operations in events, with the last level of their topics.
var operations = map[string]string{"created": "CREATED", "updated": "UPDATED", "deleted": "DELETED", "added": "ADDED", "removed": "REMOVED"}

// event adds an event to a change: topic is what follows "$aws/events/", but
// for the last level; writeMu is held.
func (r *Registry) event(t *tx, kind EventType, topic, last string, members map[string]any) error {
	if !r.telling[kind] {
		return nil
	}
	members["eventType"], members["eventId"], members["timestamp"] = string(kind)+"_EVENT", newUUID(), now().UnixMilli()
	members["operation"], members["accountId"] = operations[last], r.account
	payload, err := json.Marshal(members)
	t.events = append(t.events, Event{"$aws/events/" + topic + "/" + last, payload})
	return err
}

func (r *Registry) thingEvent(t *tx, last string, x *Thing) error {
	members := map[string]any{"thingId": x.ID, "thingName": x.Name, "versionNumber": x.Version, "thingTypeName": nil, "attributes": x.Attributes}
	if x.Type != "" {
		members["thingTypeName"] = x.Type
	}
	if x.Attributes == nil {
		members["attributes"] = map[string]string{}
	}
	return r.event(t, ThingEvents, "thing/"+x.Name, last, members)
}

// retyped tells that a thing has another type than before; old may be nil.
func (r *Registry) retyped(t *tx, old, x *Thing) error {
	had := ""
	if old != nil {
		had = old.Type
	}
	if had == x.Type {
		return nil
	}
	for _, c := range []struct{ name, last string }{{had, "removed"}, {x.Type, "added"}} {
		if c.name == "" {
			continue
		}
		err := r.event(t, AssociationEvents, "thingTypeAssociation/thing/"+x.Name+"/thingType/"+c.name, c.last,
			map[string]any{"thingId": x.ID, "thingName": x.Name, "thingTypeName": c.name})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) typeEvent(t *tx, last string, x *ThingType) error {
	members := map[string]any{
		"thingTypeId": x.ID, "thingTypeName": x.Name, "isDeprecated": x.Deprecated != nil, "deprecationDate": nil,
		"searchableAttributes": append([]string{}, x.Searchable...), "description": x.Description,
	}
	if x.Deprecated != nil {
		members["deprecationDate"] = x.Deprecated
	}
	return r.event(t, TypeEvents, "thingType/"+x.Name, last, members)
}

func (r *Registry) groupEvent(t *tx, last string, g *ThingGroup) error {
	path := []map[string]string{}
	for _, name := range slices.Backward(r.ancestors(g)) {
		path = append(path, map[string]string{"groupArn": r.ARN(groupPrefix + name), "groupId": r.groups.items[name].ID})
	}
	members := map[string]any{
		"thingGroupId": g.ID, "thingGroupName": g.Name, "versionNumber": g.Version, "parentGroupName": nil, "parentGroupId": nil,
		"description": g.Description, "rootToParentThingGroups": path, "attributes": g.Attributes, "dynamicGroupMappingId": nil,
	}
	if g.Parent != "" {
		members["parentGroupName"], members["parentGroupId"] = g.Parent, r.groups.items[g.Parent].ID
	}
	if err := r.event(t, GroupEvents, "thingGroup/"+g.Name, last, members); err != nil || g.Parent == "" || last == "updated" {
		return err
	}
	part := map[string]string{"created": "added", "deleted": "removed"}[last]
	return r.event(t, HierarchyEvents, "thingGroupHierarchy/thingGroup/"+g.Parent+"/childThingGroup/"+g.Name, part,
		map[string]any{"thingGroupId": r.groups.items[g.Parent].ID, "thingGroupName": g.Parent, "childGroupId": g.ID, "childGroupName": g.Name})
}

// memberEvents tells that a thing came into groups, or left them.
func (r *Registry) memberEvents(t *tx, last, thing, thingID string, groups []string) error {
	for _, name := range groups {
		id := r.groups.items[name].ID
		err := r.event(t, MembershipEvents, "thingGroupMembership/thingGroup/"+name+"/thing/"+thing, last, map[string]any{
			"groupArn": r.ARN(groupPrefix + name), "groupId": id, "thingArn": r.ARN("thing/" + thing), "thingId": thingID, "membershipId": thingID + "/" + id,
		})
		if err != nil {
			return err
		}
	}
	return nil
}
