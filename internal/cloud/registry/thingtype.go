package registry

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ThingType is a kind of things (AWS IoT developer guide, "Thing types").
type ThingType struct {
	Name        string        `json:"name"`
	ID          string        `json:"id"` // UUID
	Description string        `json:"description,omitempty"`
	Searchable  []string      `json:"searchable,omitempty"` // attribute names
	Propagating []Propagating `json:"propagating,omitempty"`
	Created     time.Time     `json:"created"`
	Deprecated  *time.Time    `json:"deprecated,omitempty"` // since when; nil: it is not
}

// Propagating says which attribute becomes which MQTT 5 user property (AWS IoT
// API, "PropagatingAttribute"). It is kept and told, and has no effect here.
type Propagating struct {
	UserProperty string `json:"user_property"`
	Thing        string `json:"thing,omitempty"`      // name of a thing attribute
	Connection   string `json:"connection,omitempty"` // name of a property of the connection
}

// Limits of thing types (AWS IoT API, "ThingTypeProperties").
const (
	maxSearchable  = 3
	maxPropagating = 10
	maxDescription = 2028 // bytes
)

var (
	propertyKeyForm       = form{regexp.MustCompile(`^[a-zA-Z0-9:$.]+$`), 128}
	connectionForm        = form{regexp.MustCompile(`^[a-zA-Z0-9_.,@/:#-]+$`), 128}
	typeNameForm          = thingNameForm
	errTypeName           = "the thing type name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9, colon, underscore and hyphen"
	deprecatedTypeMessage = "Can not create new thing with deprecated thing type:%s"
)

func (r *Registry) loadType(id string, data []byte) error {
	t := new(ThingType)
	if err := json.Unmarshal(data, t); err != nil {
		return err
	}
	r.types.put(id, t)
	r.typeOrder = append(r.typeOrder, orderKey(t.Created, id))
	return nil
}

// check refuses what a thing type cannot be.
func (t *ThingType) check() error {
	if !typeNameForm.MatchString(t.Name) {
		return errorf(InvalidRequest, errTypeName, short(t.Name))
	}
	if err := checkDescription(t.Description); err != nil {
		return err
	}
	if n := len(t.Searchable); n > maxSearchable {
		return errorf(InvalidRequest, "the thing type has %d searchable attributes, the limit is %d", n, maxSearchable)
	}
	for _, name := range t.Searchable {
		if !attributeNameForm.MatchString(name) {
			return errorf(InvalidRequest, "the searchable attribute %q is not valid: it must be the name of a thing attribute", short(name))
		}
	}
	if n := len(t.Propagating); n > maxPropagating {
		return errorf(InvalidRequest, "the thing type has %d propagating attributes, the limit is %d", n, maxPropagating)
	}
	for _, p := range t.Propagating {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

func (p Propagating) check() error {
	switch {
	case !propertyKeyForm.MatchString(p.UserProperty):
		return errorf(InvalidRequest, "the user property key %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9 and :$.", short(p.UserProperty))
	case (p.Thing == "") == (p.Connection == ""):
		return errorf(InvalidRequest, "the propagating attribute %q must have either thingAttribute or connectionAttribute", p.UserProperty)
	case p.Thing != "" && !attributeNameForm.MatchString(p.Thing):
		return errorf(InvalidRequest, "the propagating attribute %q names %q, which cannot be a thing attribute", p.UserProperty, short(p.Thing))
	case p.Connection != "" && !connectionForm.MatchString(p.Connection):
		return errorf(InvalidRequest, "the propagating attribute %q names %q, which cannot be a property of a connection", p.UserProperty, short(p.Connection))
	}
	return nil
}

func checkDescription(text string) error {
	if len(text) > maxDescription {
		return errorf(InvalidRequest, "the description has %d bytes, the limit is %d", len(text), maxDescription)
	}
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return errorf(InvalidRequest, "the description has a control character: only printable text and spaces may be in it")
		}
	}
	return nil
}

// CreateThingType makes a thing type from the name and the properties of t.
// When it is there and is the same, it is returned as it is.
func (r *Registry) CreateThingType(t ThingType, tags map[string]string) (ThingType, error) {
	if err := t.check(); err != nil {
		return ThingType{}, err
	}
	err := r.change(func(x *tx) error {
		if old, ok := r.types.get(t.Name); ok {
			same := sameType(*old, t)
			if t = *old; !same {
				return r.exists("thingtype/"+t.Name, "Thing type %s already exists in account with different properties", t.Name)
			}
			return nil
		}
		t.ID, t.Created, t.Deprecated = newUUID(), r.created(), nil
		kept := t
		x.then(func() { r.typeOrder = insert(r.typeOrder, orderKey(kept.Created, kept.Name)) })
		if err := r.newTags(x, "thingtype/"+t.Name, tags); err != nil {
			return err
		}
		return r.putType(x, "created", &kept)
	})
	return t, err
}

// sameType says whether two types have the same properties; the order of
// searchable attributes is none of them.
func sameType(a, b ThingType) bool {
	return a.Description == b.Description && slices.Equal(distinct(a.Searchable), distinct(b.Searchable)) && slices.Equal(a.Propagating, b.Propagating)
}

func (r *Registry) putType(x *tx, last string, t *ThingType) error {
	x.then(func() { r.types.put(t.Name, t) })
	if err := x.set(kindType, t.Name, t); err != nil {
		return err
	}
	return r.typeEvent(x, last, t)
}

// thingType finds a thing type; mu or writeMu is held.
func (r *Registry) thingType(name string) (*ThingType, error) {
	return r.types.find("Thing type", name)
}

// usableType refuses a type that no thing may be given; writeMu is held.
func (r *Registry) usableType(name string) error {
	t, err := r.thingType(name)
	if err == nil && t.Deprecated != nil {
		return errorf(InvalidRequest, deprecatedTypeMessage, name)
	}
	return err
}

// ThingType returns a thing type; its lists are not to be changed.
func (r *Registry) ThingType(name string) (ThingType, error) {
	return copyOf(r, name, r.thingType)
}

// ThingTypes lists the thing types whose names begin with prefix, by creation.
func (r *Registry) ThingTypes(prefix string, p Page) ([]ThingType, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys, next, err := Cut(r.typeOrder, p, func(key string) bool { return strings.HasPrefix(orderID(key), prefix) })
	return copies(&r.types, orderIDs(keys)), next, err
}

// changeType changes a copy of a thing type and puts it in place.
func (r *Registry) changeType(name string, f func(t *ThingType) error) error {
	return r.change(func(x *tx) error {
		old, err := r.thingType(name)
		if err != nil {
			return err
		}
		t := *old
		if err := f(&t); err != nil {
			return err
		}
		if err := t.check(); err != nil {
			return err
		}
		return r.putType(x, "updated", &t)
	})
}

// UpdateThingType replaces those properties of a type that have a value in
// change.
func (r *Registry) UpdateThingType(name string, change ThingType) error {
	return r.changeType(name, func(t *ThingType) error {
		if t.Deprecated != nil {
			return errorf(InvalidRequest, "the thing type %s is deprecated: undo that before it is changed", name)
		}
		if change.Description != "" {
			t.Description = change.Description
		}
		if change.Searchable != nil {
			t.Searchable = change.Searchable
		}
		if change.Propagating != nil {
			t.Propagating = change.Propagating
		}
		return nil
	})
}

// DeprecateThingType says that no further thing can have the type, or, with
// undo, that they can again.
func (r *Registry) DeprecateThingType(name string, undo bool) error {
	return r.changeType(name, func(t *ThingType) error {
		if undo {
			t.Deprecated = nil
		} else if t.Deprecated == nil {
			at := now()
			t.Deprecated = &at
		}
		return nil
	})
}

// DeleteThingType removes a type that is deprecated and that no thing has. On
// AWS one has to wait for five minutes between the two; here nobody can have
// missed that the type is deprecated, so that there is nothing to wait for.
func (r *Registry) DeleteThingType(name string) error {
	return r.change(func(x *tx) error {
		t, err := r.thingType(name)
		switch {
		case err != nil:
			return err
		case t.Deprecated == nil:
			return errorf(InvalidRequest, "Thing type %s is not deprecated: deprecate it first", name)
		case len(r.typed.right(name)) > 0:
			return errorf(InvalidRequest, "Cannot delete thing type %s: %d things have it, %s among them", name, len(r.typed.right(name)), r.typed.right(name)[0])
		}
		x.delete(kindType, name)
		r.noTags(x, "thingtype/"+name)
		x.then(func() {
			r.types.drop(name)
			r.typeOrder = remove(r.typeOrder, orderKey(t.Created, name))
		})
		return r.typeEvent(x, "deleted", t)
	})
}
