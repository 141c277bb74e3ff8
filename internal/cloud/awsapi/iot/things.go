package iot

import (
	"encoding/json"

	"mote/internal/cloud/registry"
)

// attributePayload is an AttributePayload of the API.
type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge,omitempty"`
}

// change is what a payload changes: nothing when there is none.
func (p *attributePayload) change() (attributes map[string]string, merge bool) {
	switch {
	case p == nil:
		return nil, false
	case p.Attributes == nil:
		return map[string]string{}, p.Merge
	}
	return p.Attributes, p.Merge
}

func createThing(h *Handler, c *call) (any, error) {
	var in struct {
		ThingTypeName    string           `json:"thingTypeName"`
		BillingGroupName string           `json:"billingGroupName"`
		AttributePayload attributePayload `json:"attributePayload"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	t, err := h.reg.RegisterThing(c.label("thingName"), registry.ThingSpec{
		Attributes: in.AttributePayload.Attributes, Type: in.ThingTypeName, Billing: in.BillingGroupName,
	})
	if err != nil {
		return nil, err
	}
	return map[string]string{"thingName": t.Name, "thingArn": h.reg.ARN("thing/" + t.Name), "thingId": t.ID}, nil
}

// thingJSON is a thing in answers.
type thingJSON struct {
	DefaultClientID string            `json:"defaultClientId,omitempty"` // not in lists
	ThingName       string            `json:"thingName"`
	ThingID         string            `json:"thingId,omitempty"` // not in lists
	ThingARN        string            `json:"thingArn"`
	ThingTypeName   string            `json:"thingTypeName,omitempty"`
	Attributes      map[string]string `json:"attributes"`
	Version         int64             `json:"version"`
	Billing         string            `json:"billingGroupName,omitempty"` // not in lists
}

func (h *Handler) thing(t registry.Thing) thingJSON {
	out := thingJSON{ThingName: t.Name, ThingARN: h.reg.ARN("thing/" + t.Name), ThingTypeName: t.Type, Attributes: t.Attributes, Version: t.Version}
	if out.Attributes == nil {
		out.Attributes = map[string]string{}
	}
	return out
}

func describeThing(h *Handler, c *call) (any, error) {
	t, err := h.reg.Thing(c.label("thingName"))
	if err != nil {
		return nil, err
	}
	return h.described(t), nil
}

func (h *Handler) described(t registry.Thing) thingJSON {
	out := h.thing(t)
	out.DefaultClientID, out.ThingID, out.Billing = t.Name, t.ID, t.Billing
	return out
}

// RegistryData answers the function get_registry_data of rules: what
// DescribeThing or ListThingGroupsForThing says of a thing (AWS IoT SQL
// reference, "get_registry_data"). It returns false when there is no such
// thing, and for other APIs.
func (h *Handler) RegistryData(api, thing string) ([]byte, bool) {
	t, err := h.reg.Thing(thing)
	if err != nil {
		return nil, false
	}
	var answer any
	switch api {
	case "DescribeThing":
		answer = h.described(t)
	case "ListThingGroupsForThing":
		names, _, err := h.reg.GroupsOfThing(thing, registry.Page{})
		if err != nil {
			return nil, false
		}
		answer = h.groupPage(names, "")
	default:
		return nil, false
	}
	data, err := json.Marshal(answer)
	return data, err == nil
}

func listThings(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	f := registry.ThingFilter{AttributeName: c.query.Get("attributeName"), AttributeValue: c.query.Get("attributeValue"), Type: c.query.Get("thingTypeName")}
	if f.Prefix, err = c.flag("usePrefixAttributeValue", false); err != nil {
		return nil, err
	}
	things, next, err := h.reg.Things(f, p)
	return pageOf("things", each(things, h.thing), nextToken, next), err
}

func updateThing(h *Handler, c *call) (any, error) {
	var in struct {
		ThingTypeName    string            `json:"thingTypeName"`
		RemoveThingType  bool              `json:"removeThingType"`
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  int64             `json:"expectedVersion"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	u := registry.ThingUpdate{Expected: in.ExpectedVersion, Type: in.ThingTypeName, RemoveType: in.RemoveThingType}
	u.Attributes, u.Merge = in.AttributePayload.change()
	return nil, h.reg.UpdateThing(c.label("thingName"), u)
}

func deleteThing(h *Handler, c *call) (any, error) {
	expected, err := c.number("expectedVersion")
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DeleteThing(c.label("thingName"), expected)
}

// Kinds of attachment of a certificate to a thing.
const (
	exclusiveThing    = "EXCLUSIVE_THING"
	nonExclusiveThing = "NON_EXCLUSIVE_THING"
)

// principalType reads thingPrincipalType of the query; it may be "".
func (c *call) principalType() (string, error) {
	kind := c.query.Get("thingPrincipalType")
	if kind != "" && kind != exclusiveThing && kind != nonExclusiveThing {
		return "", badRequest("the query parameter thingPrincipalType is %q: it must be %s or %s", kind, exclusiveThing, nonExclusiveThing)
	}
	return kind, nil
}

const principalHeader = "x-amzn-principal"

// principal is the id of the certificate that the request names in its header.
func (h *Handler) principal(c *call) (string, error) {
	return h.certificate("the header "+principalHeader, c.header(principalHeader))
}

func attachThingPrincipal(h *Handler, c *call) (any, error) {
	kind, err := c.principalType()
	if err != nil {
		return nil, err
	}
	id, err := h.principal(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.AttachThingPrincipal(c.label("thingName"), id, kind == exclusiveThing)
}

func detachThingPrincipal(h *Handler, c *call) (any, error) {
	id, err := h.principal(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DetachThingPrincipal(c.label("thingName"), id)
}

func listThingPrincipals(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	ids, next, err := h.reg.ThingPrincipals(c.label("thingName"), p)
	return pageOf("principals", h.arns(ids), nextToken, next), err
}

func listPrincipalThings(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	id, err := h.principal(c)
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.PrincipalThings(id, p)
	return pageOf("things", append([]string{}, names...), nextToken, next), err
}

// attachmentJSON is one attachment in the lists of version 2.
type attachmentJSON struct {
	Principal string `json:"principal,omitempty"`
	ThingName string `json:"thingName,omitempty"`
	Type      string `json:"thingPrincipalType"`
}

// attachment names the kind of an attachment; false when want is another kind.
func (h *Handler) attachment(thing, id, want string) (string, bool) {
	kind := nonExclusiveThing
	if h.reg.Exclusive(thing, id) {
		kind = exclusiveThing
	}
	return kind, want == "" || want == kind
}

func listThingPrincipalsV2(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	want, err := c.principalType()
	if err != nil {
		return nil, err
	}
	ids, next, err := h.reg.ThingPrincipals(c.label("thingName"), p)
	objects := []attachmentJSON{}
	for _, id := range ids {
		if kind, ok := h.attachment(c.label("thingName"), id, want); ok {
			objects = append(objects, attachmentJSON{Principal: h.reg.ARN("cert/" + id), Type: kind})
		}
	}
	return pageOf("thingPrincipalObjects", objects, nextToken, next), err
}

func listPrincipalThingsV2(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	want, err := c.principalType()
	if err != nil {
		return nil, err
	}
	id, err := h.principal(c)
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.PrincipalThings(id, p)
	objects := []attachmentJSON{}
	for _, name := range names {
		if kind, ok := h.attachment(name, id, want); ok {
			objects = append(objects, attachmentJSON{ThingName: name, Type: kind})
		}
	}
	return pageOf("principalThingObjects", objects, nextToken, next), err
}
