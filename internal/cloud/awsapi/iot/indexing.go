package iot

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/registry"
)

// Modes of the index (AWS IoT API reference, "ThingIndexingConfiguration").
const (
	modeOff       = "OFF"
	modeOn        = "ON"
	modeStatus    = "STATUS"
	modeRegistry  = "REGISTRY"
	modeAndShadow = "REGISTRY_AND_SHADOW"
)

// thingIndexing is a ThingIndexingConfiguration of the API.
type thingIndexing struct {
	Mode          string           `json:"thingIndexingMode"`
	Connectivity  string           `json:"thingConnectivityIndexingMode,omitempty"`
	Defender      string           `json:"deviceDefenderIndexingMode,omitempty"`
	NamedShadows  string           `json:"namedShadowIndexingMode,omitempty"`
	ManagedFields []registry.Field `json:"managedFields,omitempty"`
	CustomFields  []registry.Field `json:"customFields,omitempty"`
	Filter        indexingFilter   `json:"filter"`
}

type indexingFilter struct {
	NamedShadows []string         `json:"namedShadowNames,omitempty"`
	Geo          []any            `json:"geoLocations,omitempty"`
	Connectivity map[string][]any `json:"connectivity,omitempty"`
}

// groupIndexing is a ThingGroupIndexingConfiguration of the API.
type groupIndexing struct {
	Mode          string           `json:"thingGroupIndexingMode"`
	ManagedFields []registry.Field `json:"managedFields,omitempty"`
	CustomFields  []registry.Field `json:"customFields,omitempty"`
}

// onOff says a mode that is the one or OFF.
func onOff(on bool, mode string) string {
	if on {
		return mode
	}
	return modeOff
}

func getIndexingConfiguration(h *Handler, _ *call) (any, error) {
	x := h.reg.Indexing()
	things := thingIndexing{
		Mode: cmp.Or(x.Things, modeOff), Connectivity: onOff(x.Connectivity, modeStatus), Defender: modeOff, NamedShadows: onOff(len(x.Shadows) > 0, modeOn),
		ManagedFields: managedFields(x), CustomFields: x.ThingFields, Filter: indexingFilter{NamedShadows: x.Shadows},
	}
	groups := groupIndexing{Mode: onOff(x.Groups, modeOn), CustomFields: x.GroupFields}
	if x.Groups {
		groups.ManagedFields = fields("thingGroupName thingGroupId description parentGroupNames", "version", "")
	}
	return map[string]any{"thingIndexingConfiguration": things, "thingGroupIndexingConfiguration": groups}, nil
}

// managedFields are those that need no custom field to be found.
func managedFields(x registry.Indexing) (out []registry.Field) {
	if x.Things == "" {
		return nil
	}
	out = fields("thingName thingId thingTypeName thingGroupNames registry.thingTypeName registry.thingGroupNames", "registry.version", "")
	if x.Things == modeAndShadow {
		out = append(out, fields("", "shadow.version", "shadow.hasDelta")...)
	}
	if len(x.Shadows) > 0 {
		out = append(out, fields("", "shadow.name.*.version", "shadow.name.*.hasDelta")...)
	}
	if x.Connectivity {
		out = append(out, fields("", "connectivity.timestamp", "connectivity.connected")...)
	}
	return out
}

func fields(texts, numbers, booleans string) (out []registry.Field) {
	for _, of := range []struct{ names, kind string }{{texts, "String"}, {numbers, "Number"}, {booleans, "Boolean"}} {
		for name := range strings.FieldsSeq(of.names) {
			out = append(out, registry.Field{Name: name, Type: of.kind})
		}
	}
	return out
}

func updateIndexingConfiguration(h *Handler, c *call) (any, error) {
	var in struct {
		Things *thingIndexing `json:"thingIndexingConfiguration"`
		Groups *groupIndexing `json:"thingGroupIndexingConfiguration"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	return nil, h.reg.UpdateIndexing(func(x *registry.Indexing) error {
		if in.Things != nil {
			if err := in.Things.check(); err != nil {
				return err
			}
			in.Things.apply(x)
		}
		if in.Groups == nil {
			return nil
		}
		if err := checkMode("thingGroupIndexingMode", in.Groups.Mode, modeOff, modeOn); err != nil {
			return err
		}
		x.Groups, x.GroupFields = in.Groups.Mode == modeOn, in.Groups.CustomFields
		return checkFields(x.GroupFields)
	})
}

func (t *thingIndexing) apply(x *registry.Indexing) {
	x.Things, x.Connectivity, x.Shadows, x.ThingFields = "", t.Connectivity == modeStatus, nil, t.CustomFields
	if t.Mode != modeOff {
		x.Things = t.Mode
	}
	if t.NamedShadows == modeOn {
		x.Shadows = t.Filter.NamedShadows
	}
}

func checkMode(member, mode string, allowed ...string) error {
	if slices.Contains(allowed, mode) {
		return nil
	}
	return badRequest("%s is %.40q: it must be one of %s", member, mode, strings.TrimSpace(strings.Join(allowed, " ")))
}

// maxCustomFields is how many fields may be typed (AWS IoT Device Management
// quotas, "Maximum number of custom fields").
const maxCustomFields = 5

func checkFields(list []registry.Field) error {
	if len(list) > maxCustomFields {
		return badRequest("there are %d customFields, the limit is %d", len(list), maxCustomFields)
	}
	for _, f := range list {
		if f.Name == "" || len(f.Name) > 1024 || !slices.Contains([]string{"String", "Number", "Boolean"}, f.Type) {
			return badRequest("the custom field %.100q of the type %.40q is not valid: it must have a name and be a String, a Number or a Boolean", f.Name, f.Type)
		}
	}
	return nil
}

// check refuses what cannot be, and what this server cannot do.
func (t *thingIndexing) check() error {
	for _, m := range []struct {
		name, mode string
		allowed    []string
	}{
		{"thingIndexingMode", t.Mode, []string{modeOff, modeRegistry, modeAndShadow}},
		{"thingConnectivityIndexingMode", t.Connectivity, []string{"", modeOff, modeStatus}},
		{"namedShadowIndexingMode", t.NamedShadows, []string{"", modeOff, modeOn}},
		{"deviceDefenderIndexingMode", t.Defender, []string{"", modeOff}}, // there is no Device Defender here
	} {
		if err := checkMode(m.name, m.mode, m.allowed...); err != nil {
			return err
		}
	}
	switch {
	case t.Mode == modeOff && (t.Connectivity == modeStatus || t.NamedShadows == modeOn):
		return badRequest("thingIndexingMode is OFF: connectivity and named shadows can be indexed with things only")
	case t.NamedShadows == modeOn && len(t.Filter.NamedShadows) == 0:
		return badRequest("namedShadowIndexingMode is ON: filter must have namedShadowNames, the shadows to index")
	case t.NamedShadows != modeOn && len(t.Filter.NamedShadows) > 0:
		return badRequest("filter has namedShadowNames: namedShadowIndexingMode must be ON")
	case len(t.Filter.NamedShadows) > maxNamedShadows:
		return badRequest("filter has %d namedShadowNames, the limit is %d", len(t.Filter.NamedShadows), maxNamedShadows)
	case len(t.Filter.Geo) > 0:
		return badRequest("filter.geoLocations are not supported: leave them out")
	case len(t.Filter.Connectivity) > 0:
		return badRequest("filter.connectivity is not supported: leave it out")
	}
	return checkFields(t.CustomFields)
}

// maxNamedShadows is how many named shadows of a thing are indexed (AWS IoT
// Device Management quotas, "Maximum number of named shadow names").
const maxNamedShadows = 10

// The names of the indexes.
const (
	thingsIndex = "AWS_Things"
	groupsIndex = "AWS_ThingGroups"
)

// schema describes what an index has; false when the index does not exist,
// since nobody turned it on.
func schema(x registry.Indexing, index string) (string, bool) {
	switch {
	case index == groupsIndex && x.Groups:
		return modeRegistry, true
	case index == thingsIndex && x.Things != "":
		if x.Connectivity {
			return x.Things + "_AND_CONNECTIVITY_STATUS", true
		}
		return x.Things, true
	}
	return "", false
}

func noIndex(name string) error {
	return awsapi.Errorf(http.StatusNotFound, "ResourceNotFoundException", "Index %.128s does not exist: update-indexing-configuration turns AWS_Things and AWS_ThingGroups on", name)
}

func listIndices(h *Handler, _ *call) (any, error) {
	names, x := []string{}, h.reg.Indexing()
	for _, index := range []string{thingsIndex, groupsIndex} {
		if _, ok := schema(x, index); ok {
			names = append(names, index)
		}
	}
	return map[string]any{"indexNames": names}, nil
}

func describeIndex(h *Handler, c *call) (any, error) {
	name := c.label("indexName")
	s, ok := schema(h.reg.Indexing(), name)
	if !ok {
		return nil, noIndex(name)
	}
	return map[string]string{"indexName": name, "indexStatus": "ACTIVE", "schema": s}, nil
}
