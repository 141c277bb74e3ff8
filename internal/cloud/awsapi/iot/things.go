package iot

import (
	"encoding/json"

	"mote/internal/cloud/registry"
)

// attributePayload is an AttributePayload of the API.
type attributePayload struct {
	Attributes map[string]string `json:"attributes"`
	Merge      bool              `json:"merge"`
}

// groupings are the members of requests that name what this server has not.
type groupings struct {
	ThingTypeName    string `json:"thingTypeName"`
	BillingGroupName string `json:"billingGroupName"`
}

// check answers as for any other type or group that does not exist.
func (g groupings) check() error {
	if g.ThingTypeName != "" {
		return &registry.Error{Code: registry.NotFound, Msg: "Thing type " + g.ThingTypeName + " does not exist: this server has no thing types, leave thingTypeName out"}
	}
	if g.BillingGroupName != "" {
		return &registry.Error{Code: registry.NotFound, Msg: "Billing group " + g.BillingGroupName + " does not exist: this server has no billing groups, leave billingGroupName out"}
	}
	return nil
}

func createThing(h *Handler, c *call) (any, error) {
	var in struct {
		groupings
		AttributePayload attributePayload `json:"attributePayload"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	t, err := h.reg.CreateThing(c.label("thingName"), in.AttributePayload.Attributes)
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
	Attributes      map[string]string `json:"attributes"`
	Version         int64             `json:"version"`
}

func (h *Handler) thing(t registry.Thing) thingJSON {
	out := thingJSON{ThingName: t.Name, ThingARN: h.reg.ARN("thing/" + t.Name), Attributes: t.Attributes, Version: t.Version}
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
	out.DefaultClientID, out.ThingID = t.Name, t.ID
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
		answer = struct {
			ThingGroups []struct{} `json:"thingGroups"`
		}{[]struct{}{}} // no thing is in a group
	default:
		return nil, false
	}
	data, err := json.Marshal(answer)
	return data, err == nil
}

func listThings(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	f := registry.ThingFilter{AttributeName: c.query.Get("attributeName"), AttributeValue: c.query.Get("attributeValue")}
	if f.Prefix, err = c.flag("usePrefixAttributeValue", false); err != nil {
		return nil, err
	}
	out := struct {
		Things    []thingJSON `json:"things"`
		NextToken string      `json:"nextToken,omitempty"`
	}{Things: []thingJSON{}}
	if c.query.Get("thingTypeName") != "" {
		return out, nil // nothing has a type
	}
	things, next, err := h.reg.Things(f, p)
	for _, t := range things {
		out.Things = append(out.Things, h.thing(t))
	}
	out.NextToken = next
	return out, err
}

func updateThing(h *Handler, c *call) (any, error) {
	var in struct {
		groupings
		AttributePayload *attributePayload `json:"attributePayload"`
		ExpectedVersion  int64             `json:"expectedVersion"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	u := registry.ThingUpdate{Expected: in.ExpectedVersion}
	if p := in.AttributePayload; p != nil {
		if u.Attributes, u.Merge = p.Attributes, p.Merge; u.Attributes == nil {
			u.Attributes = map[string]string{}
		}
	}
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

func attachThingPrincipal(h *Handler, c *call) (any, error) {
	kind, err := c.principalType()
	if err != nil {
		return nil, err
	}
	id, err := h.certificate("the header "+principalHeader, c.header(principalHeader))
	if err != nil {
		return nil, err
	}
	return nil, h.reg.AttachThingPrincipal(c.label("thingName"), id, kind == exclusiveThing)
}

func detachThingPrincipal(h *Handler, c *call) (any, error) {
	id, err := h.certificate("the header "+principalHeader, c.header(principalHeader))
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
	return struct {
		Principals []string `json:"principals"`
		NextToken  string   `json:"nextToken,omitempty"`
	}{h.arns(ids), next}, err
}

func listPrincipalThings(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	id, err := h.certificate("the header "+principalHeader, c.header(principalHeader))
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.PrincipalThings(id, p)
	return struct {
		Things    []string `json:"things"`
		NextToken string   `json:"nextToken,omitempty"`
	}{append([]string{}, names...), next}, err
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
	out := struct {
		Objects   []attachmentJSON `json:"thingPrincipalObjects"`
		NextToken string           `json:"nextToken,omitempty"`
	}{[]attachmentJSON{}, next}
	for _, id := range ids {
		if kind, ok := h.attachment(c.label("thingName"), id, want); ok {
			out.Objects = append(out.Objects, attachmentJSON{Principal: h.reg.ARN("cert/" + id), Type: kind})
		}
	}
	return out, err
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
	id, err := h.certificate("the header "+principalHeader, c.header(principalHeader))
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.PrincipalThings(id, p)
	out := struct {
		Objects   []attachmentJSON `json:"principalThingObjects"`
		NextToken string           `json:"nextToken,omitempty"`
	}{[]attachmentJSON{}, next}
	for _, name := range names {
		if kind, ok := h.attachment(name, id, want); ok {
			out.Objects = append(out.Objects, attachmentJSON{ThingName: name, Type: kind})
		}
	}
	return out, err
}
