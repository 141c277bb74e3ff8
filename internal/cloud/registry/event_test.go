package registry

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// told collects the events of a registry.
type told struct {
	topics []string
	last   map[string]any
}

func (o *told) take(events []Event) {
	for _, e := range events {
		o.topics = append(o.topics, strings.TrimPrefix(e.Topic, "$aws/events/"))
		o.last = nil
		_ = json.Unmarshal(e.Payload, &o.last)
	}
}

// want checks what was told since the last call.
func (o *told) want(t *testing.T, topics ...string) {
	t.Helper()
	if !slices.Equal(o.topics, topics) {
		t.Errorf("told\n %s\nwant\n %s", strings.Join(o.topics, "\n "), strings.Join(topics, "\n "))
	}
	o.topics = nil
}

func TestEvents(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	o := &told{}
	r.OnEvents(o.take)
	must(r.CreateThing("quiet", nil))(t)
	o.want(t) // nothing is turned on
	refused(t, r.SetEvents(map[EventType]bool{"JOB": true}), InvalidRequest, "type JOB")
	on := map[EventType]bool{}
	for _, kind := range EventTypes {
		on[kind] = true
	}
	ok(t, r.SetEvents(on))
	ok(t, st.Close())
	r, _ = open(t, dir) // it is kept
	r.OnEvents(o.take)

	must(r.CreateThingType(ThingType{Name: "board"}, nil))(t)
	must(r.CreateThingType(ThingType{Name: "boat"}, nil))(t)
	o.want(t, "thingType/board/created", "thingType/boat/created")
	pi := must(r.RegisterThing("pi", ThingSpec{Type: "board", Attributes: map[string]string{"a": "b"}}))(t)
	o.want(t, "thing/pi/created", "thingTypeAssociation/thing/pi/thingType/board/added")
	must(r.RegisterThing("pi", ThingSpec{Type: "board", Attributes: map[string]string{"a": "b"}}))(t)
	o.want(t) // it was there
	ok(t, r.UpdateThing("pi", ThingUpdate{Type: "boat"}))
	o.want(t, "thing/pi/updated", "thingTypeAssociation/thing/pi/thingType/board/removed", "thingTypeAssociation/thing/pi/thingType/boat/added")
	ok(t, r.UpdateThing("pi", ThingUpdate{Attributes: map[string]string{"a": "c"}}))
	o.want(t, "thing/pi/updated")
	attributes, _ := o.last["attributes"].(map[string]any)
	if o.last["eventType"] != "THING_EVENT" || o.last["operation"] != "UPDATED" || o.last["accountId"] != r.Account() || o.last["thingId"] != pi.ID ||
		o.last["thingTypeName"] != "boat" || o.last["versionNumber"] != 3.0 || attributes["a"] != "c" || o.last["eventId"] == "" || o.last["timestamp"] == 0.0 {
		t.Errorf("event %v", o.last)
	}
	refused(t, r.UpdateThing("pi", ThingUpdate{Expected: 9}), VersionConflict, "9")
	o.want(t) // nothing was changed

	house := must(r.CreateThingGroup(ThingGroup{Name: "house"}, nil))(t)
	roof := must(r.CreateThingGroup(ThingGroup{Name: "roof", Parent: "house"}, nil))(t)
	o.want(t, "thingGroup/house/created", "thingGroup/roof/created", "thingGroupHierarchy/thingGroup/house/childThingGroup/roof/added")
	if o.last["thingGroupId"] != house.ID || o.last["childGroupId"] != roof.ID || o.last["operation"] != "ADDED" {
		t.Errorf("event %v", o.last)
	}
	must(r.UpdateThingGroup("roof", GroupUpdate{Description: "d"}))(t)
	o.want(t, "thingGroup/roof/updated")
	if path, _ := o.last["rootToParentThingGroups"].([]any); len(path) != 1 || o.last["parentGroupId"] != house.ID || o.last["versionNumber"] != 2.0 {
		t.Errorf("event %v", o.last)
	}
	ok(t, r.ChangeGroups("pi", []string{"roof"}, nil))
	o.want(t, "thingGroupMembership/thingGroup/roof/thing/pi/added")
	if o.last["groupId"] != roof.ID || o.last["thingArn"] != r.ARN("thing/pi") {
		t.Errorf("event %v", o.last)
	}
	ok(t, r.ChangeGroups("pi", nil, []string{"roof"}))
	o.want(t, "thingGroupMembership/thingGroup/roof/thing/pi/removed")
	ok(t, r.ChangeGroups("pi", []string{"roof"}, nil))
	ok(t, r.ChangeGroups("quiet", []string{"roof"}, nil))
	o.topics = nil
	ok(t, r.DeleteThing("quiet", 0))
	o.want(t, "thingGroupMembership/thingGroup/roof/thing/quiet/removed", "thing/quiet/deleted")
	ok(t, r.DeleteThingGroup("roof", 0))
	o.want(t, "thingGroupMembership/thingGroup/roof/thing/pi/removed", "thingGroup/roof/deleted", "thingGroupHierarchy/thingGroup/house/childThingGroup/roof/removed")
	ok(t, r.DeprecateThingType("board", false))
	o.want(t, "thingType/board/updated")
	if o.last["isDeprecated"] != true || o.last["deprecationDate"] == nil {
		t.Errorf("event %v", o.last)
	}
	ok(t, r.DeleteThingType("board"))
	o.want(t, "thingType/board/deleted")

	ok(t, r.SetEvents(map[EventType]bool{ThingEvents: false}))
	ok(t, r.DeleteThing("pi", 0))
	o.want(t)
	if kinds := r.Events(); len(kinds) != len(EventTypes)-1 || slices.Contains(kinds, ThingEvents) {
		t.Errorf("turned on are %v", kinds)
	}
}
