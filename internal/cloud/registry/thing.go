package registry

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"time"
)

// Thing is a registered device.
type Thing struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"` // UUID
	Attributes map[string]string `json:"attributes,omitempty"`
	Version    int64             `json:"version"` // 1 at creation
	Created    time.Time         `json:"created"`
	Type       string            `json:"type,omitempty"`    // name of its thing type
	Billing    string            `json:"billing,omitempty"` // name of its billing group
}

// Limits of attributes (AWS IoT quotas, "AWS IoT Core thing").
const (
	maxUntyped    = 3  // of a thing without a type
	maxAttributes = 50 // of a thing with a type, and of a thing group
)

// Forms of names and values (AWS IoT API reference, CreateThing).
var (
	thingNameForm      = form{regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`), 128}
	attributeNameForm  = form{regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#-]+$`), 128}
	attributeValueForm = form{regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#=\[\]-]*$`), 800}
)

// form is what a name or value may look like. The length stands beside the
// expression, since one that counts, such as {0,800}, takes a megabyte.
type form struct {
	chars *regexp.Regexp
	most  int // bytes
}

// MatchString says whether s has the form.
func (f form) MatchString(s string) bool { return len(s) <= f.most && f.chars.MatchString(s) }

func checkThingName(name string) error {
	if !thingNameForm.MatchString(name) {
		return errorf(InvalidRequest, "the thing name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9, colon, underscore and hyphen", short(name))
	}
	return nil
}

// check refuses what a thing cannot be.
func (t *Thing) check() error {
	if n := len(t.Attributes); t.Type == "" && n > maxUntyped {
		return errorf(InvalidRequest, "the thing has %d attributes, a thing without a thing type can have %d: give it a type, or fewer", n, maxUntyped)
	}
	return checkAttributes(t.Attributes)
}

func checkAttributes(attributes map[string]string) error {
	if n := len(attributes); n > maxAttributes {
		return errorf(InvalidRequest, "there are %d attributes, the limit is %d", n, maxAttributes)
	}
	for name, value := range attributes {
		if !attributeNameForm.MatchString(name) {
			return errorf(InvalidRequest, "the attribute name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9 and _.,@/:#-", short(name))
		}
		if !attributeValueForm.MatchString(value) {
			return errorf(InvalidRequest, "the value of attribute %q is not valid: it must have at most 800 characters of a-z, A-Z, 0-9 and _.,@/:#=[]-", name)
		}
	}
	return nil
}

func (r *Registry) loadThing(_ string, data []byte) error {
	t := new(Thing)
	if err := json.Unmarshal(data, t); err != nil {
		return err
	}
	r.putThing(t)
	r.thingOrder = append(r.thingOrder, orderKey(t.Created, t.Name))
	return nil
}

// addThing puts a new thing in place; mu is held.
func (r *Registry) addThing(t *Thing) {
	r.putThing(t)
	r.thingOrder = insert(r.thingOrder, orderKey(t.Created, t.Name))
}

// putThing puts a thing in place of the one of its name; mu is held.
func (r *Registry) putThing(t *Thing) {
	r.ungroup(t.Name)
	r.things.put(t.Name, t)
	if t.Type != "" {
		r.typed.add(t.Type, t.Name)
	}
	if t.Billing != "" {
		r.billed.add(t.Billing, t.Name)
	}
}

// ungroup forgets the type and the billing group of a thing; mu is held.
func (r *Registry) ungroup(name string) {
	if old, ok := r.things.get(name); ok {
		r.typed.drop(old.Type, name)
		r.billed.drop(old.Billing, name)
	}
}

// ThingSpec says what a new thing is.
type ThingSpec struct {
	Attributes map[string]string
	Type       string // name of a thing type, or ""
	Billing    string // name of a billing group, or ""
}

// CreateThing registers a thing without a type; see [Registry.RegisterThing].
func (r *Registry) CreateThing(name string, attributes map[string]string) (Thing, error) {
	return r.RegisterThing(name, ThingSpec{Attributes: attributes})
}

// RegisterThing registers a thing. When it is there and is the same, it is
// returned as it is.
func (r *Registry) RegisterThing(name string, s ThingSpec) (Thing, error) {
	s.Attributes = withoutEmpty(s.Attributes)
	if err := checkThingName(name); err != nil {
		return Thing{}, err
	}
	var out Thing
	err := r.change(func(t *tx) error {
		if old, ok := r.things.get(name); ok {
			out = *old
			return r.same(old, s)
		}
		thing := &Thing{Name: name, ID: newUUID(), Attributes: s.Attributes, Type: s.Type, Billing: s.Billing, Version: 1, Created: r.created()}
		if err := r.fits(thing); err != nil {
			return err
		}
		out = *thing
		return r.newThing(t, thing)
	})
	return out, err
}

// newThing writes a thing that is not there yet.
func (r *Registry) newThing(t *tx, thing *Thing) error {
	t.then(func() { r.addThing(thing) })
	if err := t.set(kindThing, thing.Name, thing); err != nil {
		return err
	}
	if err := r.thingEvent(t, "created", thing); err != nil {
		return err
	}
	return r.retyped(t, nil, thing)
}

// same refuses to register a thing that is there as another one.
func (r *Registry) same(old *Thing, s ThingSpec) error {
	const text = "Thing %s already exists in account with different %s"
	switch {
	case !maps.Equal(old.Attributes, s.Attributes):
		return r.exists("thing/"+old.Name, text, old.Name, "attributes")
	case old.Type != s.Type:
		return r.exists("thing/"+old.Name, text, old.Name, "thing type")
	case old.Billing != s.Billing:
		return r.exists("thing/"+old.Name, text, old.Name, "billing group")
	}
	return nil
}

// fits checks a new thing, its type and its billing group; writeMu is held.
func (r *Registry) fits(t *Thing) error {
	if err := t.check(); err != nil {
		return err
	}
	if t.Type != "" {
		if err := r.usableType(t.Type); err != nil {
			return err
		}
	}
	if t.Billing != "" {
		_, err := r.billingGroup(t.Billing)
		return err
	}
	return nil
}

// withoutEmpty returns a copy without empty values: to set one means to remove
// the attribute.
func withoutEmpty(attributes map[string]string) map[string]string {
	out := maps.Clone(attributes)
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

// Thing returns a thing; its attributes are not to be changed.
func (r *Registry) Thing(name string) (Thing, error) {
	return copyOf(r, name, r.thing)
}

// thing finds a thing; mu or writeMu is held.
func (r *Registry) thing(name string) (*Thing, error) {
	return r.things.find("Thing", name)
}

// ThingUpdate says what to change of a thing.
type ThingUpdate struct {
	Attributes map[string]string // nil: leave them; an empty value removes the attribute
	Merge      bool              // keep the attributes that are not named
	Expected   int64             // version that the thing must have; 0: any
	Type       string            // name of its new type; "": leave it
	RemoveType bool
}

// UpdateThing changes a thing and makes its version grow.
func (r *Registry) UpdateThing(name string, u ThingUpdate) error {
	return r.change(func(t *tx) error {
		old, err := r.thing(name)
		if err != nil {
			return err
		}
		if err := checkExpected("thing", name, old.Version, u.Expected); err != nil {
			return err
		}
		thing := *old
		if err := r.updateType(&thing, u); err != nil {
			return err
		}
		thing.Attributes = merged(old.Attributes, u.Attributes, u.Merge)
		if err := thing.check(); err != nil {
			return err
		}
		return r.writeThing(t, &thing)
	})
}

// writeThing puts a changed thing in place, as its next version.
func (r *Registry) writeThing(t *tx, thing *Thing) error {
	thing.Version++
	t.judges = t.judges || len(r.principals.right(thing.Name)) > 0
	t.then(func() { r.putThing(thing) })
	if err := t.set(kindThing, thing.Name, thing); err != nil {
		return err
	}
	if err := r.thingEvent(t, "updated", thing); err != nil {
		return err
	}
	return r.retyped(t, r.things.items[thing.Name], thing)
}

func (r *Registry) updateType(t *Thing, u ThingUpdate) error {
	switch {
	case u.RemoveType && u.Type != "":
		return errorf(InvalidRequest, "removeThingType stands beside thingTypeName: only one of the two may be there")
	case u.RemoveType:
		t.Type = ""
	case u.Type != "" && u.Type != t.Type:
		t.Type = u.Type
		return r.usableType(u.Type)
	}
	return nil
}

// merged returns attributes as an AttributePayload of the API changes them.
func merged(old, change map[string]string, merge bool) map[string]string {
	if change == nil {
		return old
	}
	all := map[string]string{}
	if merge {
		maps.Copy(all, old)
	}
	maps.Copy(all, change)
	return withoutEmpty(all)
}

// DeleteThing removes a thing; expected is as in [ThingUpdate]. A thing that
// does not exist is no error (AWS IoT API, "DeleteThing").
func (r *Registry) DeleteThing(name string, expected int64) error {
	return r.change(func(t *tx) error {
		old, ok := r.things.get(name)
		if !ok {
			return nil
		}
		if err := checkExpected("thing", name, old.Version, expected); err != nil {
			return err
		}
		if len(r.principals.right(name)) > 0 {
			return errorf(InvalidRequest, "Cannot delete. Thing %s is still attached to one or more principals", name)
		}
		t.delete(kindThing, name)
		for _, g := range r.members.left(name) {
			t.delete(kindMember, pair(g, name))
		}
		t.then(func() {
			r.ungroup(name)
			r.things.drop(name)
			r.thingOrder = remove(r.thingOrder, orderKey(old.Created, name))
			r.members.dropRight(name)
		})
		if err := r.memberEvents(t, "removed", name, old.ID, r.members.left(name)); err != nil {
			return err
		}
		return r.thingEvent(t, "deleted", old)
	})
}

// ThingFilter narrows a list of things; "" means any.
type ThingFilter struct {
	AttributeName, AttributeValue string
	Prefix                        bool // AttributeValue is how the value begins
	Type                          string
}

func (f ThingFilter) fits(t *Thing) bool {
	if f.Type != "" && t.Type != f.Type {
		return false
	}
	if f.AttributeName == "" {
		return true
	}
	v, ok := t.Attributes[f.AttributeName]
	if f.Prefix {
		return ok && strings.HasPrefix(v, f.AttributeValue)
	}
	return ok && (f.AttributeValue == "" || v == f.AttributeValue)
}

// Things lists things by creation, and the token of the next page.
func (r *Registry) Things(f ThingFilter, p Page) ([]Thing, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys, next, err := Cut(r.thingOrder, p, func(key string) bool { return f.fits(r.things.items[orderID(key)]) })
	return copies(&r.things, orderIDs(keys)), next, err
}
