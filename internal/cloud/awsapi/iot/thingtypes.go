package iot

import (
	"mote/internal/cloud/registry"
)

// typeProperties are ThingTypeProperties of the API.
type typeProperties struct {
	Description string      `json:"thingTypeDescription,omitempty"`
	Searchable  []string    `json:"searchableAttributes"`
	MQTT5       *mqtt5Props `json:"mqtt5Configuration,omitempty"`
}

type mqtt5Props struct {
	Propagating []propagating `json:"propagatingAttributes"`
}

type propagating struct {
	UserPropertyKey string `json:"userPropertyKey"`
	Thing           string `json:"thingAttribute,omitempty"`
	Connection      string `json:"connectionAttribute,omitempty"`
}

// typeRequest is the body of CreateThingType and UpdateThingType.
type typeRequest struct {
	Properties typeProperties `json:"thingTypeProperties"`
	Tags       []tag          `json:"tags"`
}

func (r *typeRequest) thingType(name string) registry.ThingType {
	t := registry.ThingType{Name: name, Description: r.Properties.Description, Searchable: r.Properties.Searchable}
	if m := r.Properties.MQTT5; m != nil {
		t.Propagating = []registry.Propagating{}
		for _, p := range m.Propagating {
			t.Propagating = append(t.Propagating, registry.Propagating{UserProperty: p.UserPropertyKey, Thing: p.Thing, Connection: p.Connection})
		}
	}
	return t
}

func createThingType(h *Handler, c *call) (any, error) {
	var in typeRequest
	if err := c.body(&in); err != nil {
		return nil, err
	}
	t, err := h.reg.CreateThingType(in.thingType(c.label("thingTypeName")), tagMap(in.Tags))
	if err != nil {
		return nil, err
	}
	return map[string]string{"thingTypeName": t.Name, "thingTypeArn": h.reg.ARN("thingtype/" + t.Name), "thingTypeId": t.ID}, nil
}

// typeJSON is a thing type in answers.
type typeJSON struct {
	Name       string         `json:"thingTypeName"`
	ID         string         `json:"thingTypeId,omitempty"` // not in lists
	ARN        string         `json:"thingTypeArn"`
	Properties typeProperties `json:"thingTypeProperties"`
	Metadata   typeMetadata   `json:"thingTypeMetadata"`
}

type typeMetadata struct {
	Deprecated      bool   `json:"deprecated"`
	DeprecationDate *epoch `json:"deprecationDate,omitempty"`
	CreationDate    epoch  `json:"creationDate"`
}

func (h *Handler) thingType(t registry.ThingType) typeJSON {
	out := typeJSON{
		Name: t.Name, ARN: h.reg.ARN("thingtype/" + t.Name),
		Properties: typeProperties{Description: t.Description, Searchable: append([]string{}, t.Searchable...)},
		Metadata:   typeMetadata{Deprecated: t.Deprecated != nil, CreationDate: epoch(t.Created)},
	}
	if t.Deprecated != nil {
		at := epoch(*t.Deprecated)
		out.Metadata.DeprecationDate = &at
	}
	if t.Propagating != nil {
		out.Properties.MQTT5 = &mqtt5Props{Propagating: []propagating{}}
		for _, p := range t.Propagating {
			out.Properties.MQTT5.Propagating = append(out.Properties.MQTT5.Propagating, propagating{p.UserProperty, p.Thing, p.Connection})
		}
	}
	return out
}

func describeThingType(h *Handler, c *call) (any, error) {
	t, err := h.reg.ThingType(c.label("thingTypeName"))
	if err != nil {
		return nil, err
	}
	out := h.thingType(t)
	out.ID = t.ID
	return out, nil
}

func listThingTypes(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	types, next, err := h.reg.ThingTypes(c.query.Get("thingTypeName"), p)
	return pageOf("thingTypes", each(types, h.thingType), nextToken, next), err
}

func updateThingType(h *Handler, c *call) (any, error) {
	var in typeRequest
	if err := c.body(&in); err != nil {
		return nil, err
	}
	name := c.label("thingTypeName")
	return nil, h.reg.UpdateThingType(name, in.thingType(name))
}

func deprecateThingType(h *Handler, c *call) (any, error) {
	var in struct {
		Undo bool `json:"undoDeprecate"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	return nil, h.reg.DeprecateThingType(c.label("thingTypeName"), in.Undo)
}

func deleteThingType(h *Handler, c *call) (any, error) {
	return nil, h.reg.DeleteThingType(c.label("thingTypeName"))
}
