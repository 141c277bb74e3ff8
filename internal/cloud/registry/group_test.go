package registry

import (
	"fmt"
	"slices"
	"testing"

	"mote/internal/cloud/policy"
)

const publishAllowed = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"*"}}`

// mayPublish asks the registry as the broker does.
func mayPublish(r *Registry, client, certificate string) bool {
	return r.Judge(&policy.Subject{ClientID: client, CertificateID: certificate}).Decide("iot:Publish", r.ARN("topic/a")).Allowed
}

// grouped makes a certificate of thing "pi" in group "sub" of group "top", and
// the policy "p", attached to nothing.
func grouped(t *testing.T, r *Registry) (certificate string) {
	t.Helper()
	c, _ := newCert(t, r, true)
	_, err := r.CreateThing("pi", nil)
	ok(t, err)
	_, err = r.CreatePolicy("p", publishAllowed, nil)
	ok(t, err)
	for _, g := range []ThingGroup{{Name: "top"}, {Name: "sub", Parent: "top"}} {
		_, err = r.CreateThingGroup(g, nil)
		ok(t, err)
	}
	ok(t, r.AttachThingPrincipal("pi", c.ID, false))
	ok(t, r.ChangeGroups("pi", []string{"sub"}, nil))
	return c.ID
}

// TestGroupPoliciesJudge changes what a group gives a thing: each change must
// be seen by the next judge, and make the epoch grow.
func TestGroupPoliciesJudge(t *testing.T) {
	r, _ := open(t, t.TempDir())
	cert := grouped(t, r)
	for _, s := range []struct {
		name   string
		change func() error
		want   bool
	}{
		{"attach to the group above", func() error { return r.AttachPolicy("p", "thinggroup/top") }, true},
		{"detach", func() error { return r.DetachPolicy("p", "thinggroup/top") }, false},
		{"attach to the group", func() error { return r.AttachPolicy("p", "thinggroup/sub") }, true},
		{"leave the group", func() error { return r.ChangeGroups("pi", nil, []string{"sub"}) }, false},
		{"come back", func() error { return r.ChangeGroups("pi", []string{"sub"}, nil) }, true},
		{"detach the thing", func() error { return r.DetachThingPrincipal("pi", cert) }, false},
		{"attach the thing", func() error { return r.AttachThingPrincipal("pi", cert, false) }, true},
		{"delete the group", func() error { return r.DeleteThingGroup("sub", 0) }, false},
	} {
		epoch := r.Epoch()
		ok(t, s.change())
		if got := mayPublish(r, "another", cert); got != s.want || r.Epoch() == epoch {
			t.Errorf("%s: may publish %v, want %v; the epoch went from %d to %d", s.name, got, s.want, epoch, r.Epoch())
		}
	}
	if targets, _, err := r.PolicyTargets("p", Page{}); err != nil || len(targets) != 0 {
		t.Errorf("a deleted group still has the policy: %v, %v", targets, err)
	}
}

// TestGroupsAreKept opens the store again.
func TestGroupsAreKept(t *testing.T) {
	r, st := open(t, t.TempDir())
	cert := grouped(t, r)
	ok(t, r.AttachPolicy("p", "thinggroup/top"))
	_, err := r.CreateThingType(ThingType{Name: "board", Searchable: []string{"room"}}, map[string]string{"a": "b"})
	ok(t, err)
	_, err = r.CreateBillingGroup("money", "d", nil)
	ok(t, err)
	ok(t, r.UpdateThing("pi", ThingUpdate{Type: "board"}))
	ok(t, r.AddToBilling("money", "pi"))
	ok(t, r.DeprecateThingType("board", false))

	r = must(Open(st, Options{}))(t)
	if !mayPublish(r, "pi", cert) {
		t.Error("the policy of the group is lost")
	}
	s := policy.Subject{ClientID: "pi", CertificateID: cert}
	if r.Judge(&s); s.Thing == nil || s.Thing.TypeName != "board" {
		t.Errorf("the thing of the connection is %+v", s.Thing)
	}
	if typ, err := r.ThingType("board"); err != nil || typ.Deprecated == nil || !slices.Equal(typ.Searchable, []string{"room"}) {
		t.Errorf("%+v, %v", typ, err)
	}
	if things, _, err := r.ThingsInBilling("money", Page{}); err != nil || !slices.Equal(things, []string{"pi"}) {
		t.Errorf("%v, %v", things, err)
	}
	if things, _, err := r.ThingsInGroup("top", true, Page{}); err != nil || !slices.Equal(things, []string{"pi"}) {
		t.Errorf("%v, %v", things, err)
	}
	if groups, _, err := r.ThingGroups(GroupFilter{Parent: "top"}, Page{}); err != nil || !slices.Equal(groups, []string{"sub"}) {
		t.Errorf("%v, %v", groups, err)
	}
	refused(t, r.DeleteThingType("board"), InvalidRequest, "pi among them")
	ok(t, r.DetachThingPrincipal("pi", cert))
	ok(t, r.DeleteThing("pi", 0))
	if things, _, _ := r.ThingsInGroup("top", true, Page{}); len(things) != 0 {
		t.Errorf("a deleted thing is in a group: %v", things)
	}
}

func TestDeleteThingType(t *testing.T) {
	r, _ := open(t, t.TempDir())
	_, err := r.CreateThingType(ThingType{Name: "board"}, nil)
	ok(t, err)
	_, err = r.RegisterThing("pi", ThingSpec{Type: "board"})
	ok(t, err)
	refused(t, r.DeleteThingType("board"), InvalidRequest, "is not deprecated")
	ok(t, r.DeprecateThingType("board", false))
	refused(t, r.DeleteThingType("board"), InvalidRequest, "pi among them")
	ok(t, r.UpdateThing("pi", ThingUpdate{RemoveType: true}))
	ok(t, r.DeleteThingType("board"))
	_, err = r.ThingType("board")
	refused(t, err, NotFound, "Thing type board")
}

// TestOrderOfCreation makes things and types faster than the clock ticks: lists
// have them in that order, page by page, also after a restart.
func TestOrderOfCreation(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	var want []string
	for i := range 30 {
		name := fmt.Sprint(i)
		want = append(want, name)
		_, err := r.CreateThingType(ThingType{Name: name}, nil)
		ok(t, err)
		_, err = r.CreateThing(name, nil)
		ok(t, err)
	}
	ok(t, r.DeleteThing("7", 0))
	_, err := r.CreateThing("7", nil)
	ok(t, err)
	ok(t, r.UpdateThing("9", ThingUpdate{Attributes: map[string]string{"a": "b"}}))
	things := append(slices.DeleteFunc(slices.Clone(want), func(s string) bool { return s == "7" }), "7")
	check := func() {
		t.Helper()
		var got, types []string
		for token, more := "", true; more; more = token != "" {
			page, next, err := r.Things(ThingFilter{}, Page{Limit: 7, Token: token})
			ok(t, err)
			for _, x := range page {
				got = append(got, x.Name)
			}
			token = next
		}
		list, _, err := r.ThingTypes("", Page{})
		ok(t, err)
		for _, x := range list {
			types = append(types, x.Name)
		}
		if !slices.Equal(got, things) || !slices.Equal(types, want) {
			t.Errorf("things %v, types %v", got, types)
		}
	}
	check()
	ok(t, st.Close())
	r, _ = open(t, dir)
	check()
}

func TestGroupLimits(t *testing.T) {
	r, _ := open(t, t.TempDir())
	parent := ""
	for i := range maxGroupDepth {
		name := fmt.Sprint("level", i+1)
		_, err := r.CreateThingGroup(ThingGroup{Name: name, Parent: parent}, nil)
		ok(t, err)
		parent = name
	}
	_, err := r.CreateThingGroup(ThingGroup{Name: "deep", Parent: parent}, nil)
	refused(t, err, InvalidRequest, "would be on level 8")
	_, err = r.CreateThing("pi", nil)
	ok(t, err)
	var groups []string
	for i := range maxGroupsOfThing + 1 {
		groups = append(groups, fmt.Sprint("g", i))
		_, err := r.CreateThingGroup(ThingGroup{Name: groups[i]}, nil)
		ok(t, err)
	}
	refused(t, r.ChangeGroups("pi", groups, nil), InvalidRequest, "the limit is 10")
	ok(t, r.ChangeGroups("pi", groups[1:], nil))
	ok(t, r.ChangeGroups("pi", groups[:1], groups[1:2]))
	refused(t, r.ChangeGroups("pi", groups[1:2], nil), InvalidRequest, "the limit is 10")
}

// TestExclusiveThingIsTheConnections: a certificate that belongs to one thing
// alone stands for it under any client id.
func TestExclusiveThingIsTheConnections(t *testing.T) {
	r, _ := open(t, t.TempDir())
	cert := grouped(t, r)
	for _, c := range []struct {
		exclusive bool
		client    string
		want      bool
	}{{false, "pi", true}, {false, "x", false}, {true, "pi", true}, {true, "x", true}} {
		ok(t, r.AttachThingPrincipal("pi", cert, c.exclusive))
		s := policy.Subject{ClientID: c.client, CertificateID: cert}
		r.Judge(&s)
		if got := s.Thing != nil && s.Thing.Name == "pi"; got != c.want {
			t.Errorf("exclusive %v, client id %s: the connection has a thing: %v", c.exclusive, c.client, got)
		}
	}
}
