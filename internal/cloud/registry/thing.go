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
}

// maxAttributes is how many attributes a thing without a type may have (AWS
// IoT quotas, "AWS IoT Core thing").
const maxAttributes = 3

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

func checkAttributes(attributes map[string]string) error {
	if len(attributes) > maxAttributes {
		return errorf(InvalidRequest, "the thing has %d attributes, a thing without a thing type can have %d", len(attributes), maxAttributes)
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

func (r *Registry) loadThing(id string, data []byte) error {
	t := new(Thing)
	if err := json.Unmarshal(data, t); err != nil {
		return err
	}
	r.things.put(id, t)
	return nil
}

// CreateThing registers a thing. When it is there with the same attributes, it
// is returned as it is.
func (r *Registry) CreateThing(name string, attributes map[string]string) (Thing, error) {
	attributes = withoutEmpty(attributes)
	if err := checkThingName(name); err != nil {
		return Thing{}, err
	}
	if err := checkAttributes(attributes); err != nil {
		return Thing{}, err
	}
	var out Thing
	err := r.change(func(t *tx) error {
		if old, ok := r.things.get(name); ok {
			if out = *old; maps.Equal(old.Attributes, attributes) {
				return nil
			}
			e := errorf(Exists, "Thing %s already exists in account with different attributes", name)
			e.ResourceID, e.ResourceARN = name, r.ARN("thing/"+name)
			return e
		}
		thing := &Thing{Name: name, ID: newUUID(), Attributes: attributes, Version: 1, Created: now()}
		out = *thing
		t.then(func() { r.things.put(name, thing) })
		return t.set(kindThing, name, thing)
	})
	return out, err
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
	r.mu.RLock()
	defer r.mu.RUnlock()
	t, err := r.thing(name)
	if err != nil {
		return Thing{}, err
	}
	return *t, nil
}

// thing finds a thing; mu or writeMu is held.
func (r *Registry) thing(name string) (*Thing, error) {
	t, ok := r.things.get(name)
	if !ok {
		return nil, errorf(NotFound, "Thing %s does not exist", short(name))
	}
	return t, nil
}

// ThingUpdate says what to change of a thing.
type ThingUpdate struct {
	Attributes map[string]string // nil: leave them; an empty value removes the attribute
	Merge      bool              // keep the attributes that are not named
	Expected   int64             // version that the thing must have; 0: any
}

// UpdateThing changes a thing and makes its version grow.
func (r *Registry) UpdateThing(name string, u ThingUpdate) error {
	return r.change(func(t *tx) error {
		old, err := r.thing(name)
		if err != nil {
			return err
		}
		if err := checkVersion(old, u.Expected); err != nil {
			return err
		}
		thing := *old
		thing.Version++
		if u.Attributes != nil {
			all := map[string]string{}
			if u.Merge {
				maps.Copy(all, old.Attributes)
			}
			maps.Copy(all, u.Attributes)
			thing.Attributes = withoutEmpty(all)
		}
		if err := checkAttributes(thing.Attributes); err != nil {
			return err
		}
		t.judges = len(r.principals.right(name)) > 0
		t.then(func() { r.things.put(name, &thing) })
		return t.set(kindThing, name, &thing)
	})
}

func checkVersion(t *Thing, expected int64) error {
	if expected != 0 && expected != t.Version {
		return errorf(VersionConflict, "The version for thing %s does not match the expected version: it is %d, expected was %d", t.Name, t.Version, expected)
	}
	return nil
}

// DeleteThing removes a thing; expected is as in [ThingUpdate]. A thing that
// does not exist is no error (AWS IoT API, "DeleteThing").
func (r *Registry) DeleteThing(name string, expected int64) error {
	return r.change(func(t *tx) error {
		old, ok := r.things.get(name)
		if !ok {
			return nil
		}
		if err := checkVersion(old, expected); err != nil {
			return err
		}
		if len(r.principals.right(name)) > 0 {
			return errorf(InvalidRequest, "Cannot delete. Thing %s is still attached to one or more principals", name)
		}
		t.delete(kindThing, name)
		t.then(func() { r.things.drop(name) })
		return nil
	})
}

// ThingFilter narrows a list of things; "" means any.
type ThingFilter struct {
	AttributeName, AttributeValue string
	Prefix                        bool // AttributeValue is how the value begins
}

func (f ThingFilter) fits(t *Thing) bool {
	if f.AttributeName == "" {
		return true
	}
	v, ok := t.Attributes[f.AttributeName]
	if f.Prefix {
		return ok && strings.HasPrefix(v, f.AttributeValue)
	}
	return ok && (f.AttributeValue == "" || v == f.AttributeValue)
}

// Things lists things by name, and the token of the next page.
func (r *Registry) Things(f ThingFilter, p Page) ([]Thing, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names, next, err := Cut(r.things.keys, p, func(name string) bool { return f.fits(r.things.items[name]) })
	if err != nil {
		return nil, "", err
	}
	out := make([]Thing, len(names))
	for i, name := range names {
		out[i] = *r.things.items[name]
	}
	return out, next, nil
}
