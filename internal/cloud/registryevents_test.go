package cloud

import (
	"log/slog"
	"testing"

	"mote/internal/cloud/registry"
)

// TestRegistryEvents: who listens hears of a thing that is made, in order.
func TestRegistryEvents(t *testing.T) {
	c := start(t, t.TempDir())
	watcher := connect(t, c, "watcher", admin(t, c))
	watcher.subscribe("$aws/events/thing/#", "$aws/events/thingGroupMembership/thingGroup/+/thing/pi/+")
	if err := c.registry.SetEvents(map[registry.EventType]bool{registry.ThingEvents: true, registry.MembershipEvents: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.registry.CreateThing("pi", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.registry.CreateThingGroup(registry.ThingGroup{Name: "roof"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.registry.ChangeGroups("pi", []string{"roof"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.registry.DeleteThing("pi", 0); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"thing/pi/created", "thingGroupMembership/thingGroup/roof/thing/pi/added", "thingGroupMembership/thingGroup/roof/thing/pi/removed", "thing/pi/deleted"} {
		if event := watcher.receive("$aws/events/" + want); event["accountId"] != c.Account() {
			t.Errorf("%s: %v", want, event)
		}
	}
}

// TestRegistryEventsBounded: a registry that nobody keeps up with waits for
// nobody.
func TestRegistryEventsBounded(t *testing.T) {
	e := newRegistryEvents(slog.New(slog.DiscardHandler))
	for range maxEvents + 5 {
		e.take([]registry.Event{{Topic: "t"}})
	}
	e.take([]registry.Event{{Topic: "t"}, {Topic: "t"}})
	if len(e.waiting) != maxEvents || e.dropped != 7 {
		t.Errorf("%d wait, %d were dropped", len(e.waiting), e.dropped)
	}
	if err := e.CheckTopic("$aws/events/thing/a/created", true); err == nil {
		t.Error("a client may publish an event")
	}
	for _, filter := range []string{"$aws/#", "$aws/+/thing/#", "$aws/+/+/+/created"} {
		if e.CheckFilter(filter) == nil {
			t.Errorf("%s reaches beyond events and is taken", filter)
		}
	}
	if e.CheckFilter("$aws/events/thingType/+/created") != nil || e.CheckFilter("$aws/events/job/#") == nil {
		t.Error("the filters of events are others")
	}
}
