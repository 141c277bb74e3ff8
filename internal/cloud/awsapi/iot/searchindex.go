package iot

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/search"
)

// Fleet tells what the registry does not know of a thing.
type Fleet interface {
	// Shadow returns the document of a shadow as a get would answer it; the
	// classic one has the name "". It returns false when there is none.
	Shadow(thing, name string) ([]byte, bool)
	// Connection says whether the MQTT client is connected, and since when it is
	// or is not: the zero time when that is not known any more.
	Connection(clientID string) (connected bool, since time.Time)
}

// maxHits is the most that one call of SearchIndex returns (AWS IoT API
// reference).
const maxHits = 100

func searchIndex(h *Handler, c *call) (any, error) {
	var in struct {
		Index   string `json:"indexName"`
		Query   string `json:"queryString"`
		Version string `json:"queryVersion"`
		Token   string `json:"nextToken"`
		Max     *int   `json:"maxResults"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	page := registry.Page{Token: in.Token, Max: maxHits}
	switch {
	case in.Version != "" && in.Version != "2017-09-30":
		return nil, badRequest("the queryVersion %.40q does not exist: it must be 2017-09-30", in.Version)
	case in.Max != nil && (*in.Max < 1 || *in.Max > maxHits):
		return nil, badRequest("maxResults is %d: it must be from 1 to %d", *in.Max, maxHits)
	case in.Max != nil:
		page.Limit = *in.Max
	}
	x, index := h.reg.Indexing(), cmp.Or(in.Index, thingsIndex)
	if _, ok := schema(x, index); !ok {
		return nil, noIndex(index)
	}
	if h.fleet == nil {
		x.Connectivity, x.Shadows = false, nil
	}
	q, err := search.Parse(in.Query)
	if err != nil {
		return nil, invalidQuery(in.Query, err)
	}
	if index == groupsIndex {
		return h.searchGroups(q, in.Query, page)
	}
	return h.searchThings(x, q, in.Query, page)
}

func invalidQuery(query string, err error) error {
	return awsapi.Errorf(400, "InvalidQueryException", "%v, query string: %.1000s", err, query)
}

// hits are what SearchIndex answers.
type hits struct {
	Things []thingHit `json:"things"`
	Groups []groupHit `json:"thingGroups"`
	Token  string     `json:"nextToken,omitempty"`
}

func (h *Handler) searchThings(x registry.Indexing, q *search.Query, text string, page registry.Page) (any, error) {
	for _, f := range q.Fields() {
		if err := checkThingField(x, f); err != nil {
			return nil, invalidQuery(text, err)
		}
	}
	things := h.reg.AllThings()
	names := make([]string, len(things))
	found := map[string]*thingDocument{}
	for i, t := range things {
		names[i] = t.Name
	}
	names, next, err := registry.Cut(names, page, func(name string) bool {
		i, _ := slices.BinarySearchFunc(things, name, func(t *registry.Thing, name string) int { return strings.Compare(t.Name, name) })
		d := &thingDocument{h: h, x: x, thing: things[i]}
		if found[name] = nil; !q.Match(d) {
			delete(found, name)
			return false
		}
		found[name] = d
		return true
	})
	out := hits{[]thingHit{}, []groupHit{}, next}
	for _, name := range names {
		out.Things = append(out.Things, found[name].hit())
	}
	return out, err
}

// checkThingField refuses a field that the index does not have.
func checkThingField(x registry.Indexing, field string) error {
	top, rest, _ := strings.Cut(field, ".")
	shadows := x.Things == modeAndShadow
	switch {
	case slices.Contains([]string{"thingName", "thingId", "thingTypeName", "thingGroupNames",
		"registry.version", "registry.thingTypeName", "registry.thingGroupNames"}, field), top == "attributes" && rest != "":
		return nil
	case top == "connectivity" && (rest == "connected" || rest == "timestamp"):
		if x.Connectivity {
			return nil
		}
		return errors.New("the field " + field + " is not indexed: turn thingConnectivityIndexingMode on")
	case top != "shadow":
	case strings.HasPrefix(rest, "name."):
		name, part, _ := strings.Cut(rest[len("name."):], ".")
		if !slices.Contains(x.Shadows, name) {
			return errors.New("the field " + field + " is not indexed: name the shadow in filter.namedShadowNames")
		}
		if shadowField(part) {
			return nil
		}
	case shadowField(rest):
		if shadows {
			return nil
		}
		return errors.New("the field " + field + " is not indexed: thingIndexingMode must be REGISTRY_AND_SHADOW")
	}
	return errors.New("there is no field " + field)
}

// shadowField says whether a shadow can have the field.
func shadowField(field string) bool {
	part, path, _ := strings.Cut(field, ".")
	return field == "hasDelta" || field == "version" || (part == "desired" || part == "reported") && path != ""
}

// shadowJSON is a shadow as SearchIndex shows it.
type shadowJSON struct {
	Desired  map[string]any         `json:"desired,omitempty"`
	Reported map[string]any         `json:"reported,omitempty"`
	HasDelta *bool                  `json:"hasDelta,omitempty"`
	Version  float64                `json:"version,omitempty"`
	Named    map[string]*shadowJSON `json:"name,omitempty"`
}

// thingDocument is a thing as a query sees it.
type thingDocument struct {
	h       *Handler
	x       registry.Indexing
	thing   *registry.Thing
	shadows map[string]*shadowJSON // by name, those that were asked for; nil: there is none
}

var _ search.Document = (*thingDocument)(nil)

// Values implements search.Document.
func (d *thingDocument) Values(field string) []any {
	top, rest, _ := strings.Cut(field, ".")
	switch top {
	case "thingName":
		return []any{d.thing.Name}
	case "thingId":
		return []any{d.thing.ID}
	case "attributes":
		if v, ok := d.thing.Attributes[rest]; ok {
			return []any{v}
		}
	case "connectivity":
		return d.connectivity(rest)
	case "shadow":
		if named, ok := strings.CutPrefix(rest, "name."); ok {
			name, part, _ := strings.Cut(named, ".")
			return d.shadow(name).values(part)
		}
		return d.shadow("").values(rest)
	}
	switch strings.TrimPrefix(field, "registry.") {
	case "version":
		return []any{float64(d.thing.Version)}
	case "thingTypeName":
		if d.thing.Type != "" {
			return []any{d.thing.Type}
		}
	case "thingGroupNames":
		return anys(d.groups())
	}
	return nil
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// All implements search.Document.
func (d *thingDocument) All() []any {
	out := []any{d.thing.Name, d.thing.ID}
	if d.thing.Type != "" {
		out = append(out, d.thing.Type)
	}
	for _, v := range d.thing.Attributes {
		out = append(out, v)
	}
	out = append(out, anys(d.groups())...)
	if d.x.Things == modeAndShadow {
		out = append(out, d.shadow("").all()...)
	}
	for _, name := range d.x.Shadows {
		out = append(out, d.shadow(name).all()...)
	}
	return out
}

// groups are the names of the thing groups of a thing, and of its billing group
// (AWS IoT API reference, "ThingDocument").
func (d *thingDocument) groups() []string {
	names, _, err := d.h.reg.GroupsOfThing(d.thing.Name, registry.Page{})
	if err != nil { // it is gone
		names = nil
	}
	if d.thing.Billing != "" {
		names = append(slices.Clone(names), d.thing.Billing)
	}
	return names
}

func (d *thingDocument) connectivity(field string) []any {
	connected, since := d.h.fleet.Connection(d.thing.Name)
	switch {
	case field == "connected":
		return []any{connected}
	case !since.IsZero():
		return []any{float64(since.UnixMilli())}
	}
	return nil
}

// shadow reads a shadow, once.
func (d *thingDocument) shadow(name string) *shadowJSON {
	if s, ok := d.shadows[name]; ok {
		return s
	}
	if d.shadows == nil {
		d.shadows = map[string]*shadowJSON{}
	}
	d.shadows[name] = nil
	if d.h.fleet == nil {
		return nil
	}
	data, ok := d.h.fleet.Shadow(d.thing.Name, name)
	if !ok {
		return nil
	}
	var doc struct {
		State struct {
			Desired, Reported, Delta map[string]any
		}
		Version float64
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		d.h.log.Error("a shadow cannot be searched", "thing", d.thing.Name, "shadow", name, "err", err)
		return nil
	}
	delta := doc.State.Delta != nil
	d.shadows[name] = &shadowJSON{Desired: doc.State.Desired, Reported: doc.State.Reported, HasDelta: &delta, Version: doc.Version}
	return d.shadows[name]
}

// values are those of a field of a shadow.
func (s *shadowJSON) values(field string) []any {
	if s == nil {
		return nil
	}
	part, path, _ := strings.Cut(field, ".")
	switch {
	case field == "hasDelta":
		return []any{*s.HasDelta}
	case field == "version":
		return []any{s.Version}
	case part == "desired":
		return valuesAt(s.Desired, path)
	case part == "reported":
		return valuesAt(s.Reported, path)
	}
	return nil
}

// valuesAt returns the values at a path; names may have dots in them.
func valuesAt(object map[string]any, path string) []any {
	if v, ok := object[path]; ok {
		return leaves(v)
	}
	for i := range path {
		if path[i] != '.' {
			continue
		}
		if inner, ok := object[path[:i]].(map[string]any); ok {
			if found := valuesAt(inner, path[i+1:]); found != nil {
				return found
			}
		}
	}
	return nil
}

// leaves are the texts, numbers and booleans in v.
func leaves(v any) (out []any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			out = append(out, leaves(x)...)
		}
	case map[string]any:
		for _, x := range v {
			out = append(out, leaves(x)...)
		}
	case nil:
	default:
		return []any{v}
	}
	return out
}

func (s *shadowJSON) all() []any {
	if s == nil {
		return nil
	}
	return append(leaves(s.Desired), leaves(s.Reported)...)
}

// thingHit is a ThingDocument of the API.
type thingHit struct {
	Name         string            `json:"thingName"`
	ID           string            `json:"thingId"`
	Type         string            `json:"thingTypeName,omitempty"`
	Groups       []string          `json:"thingGroupNames"`
	Attributes   map[string]string `json:"attributes,omitempty"`
	Shadow       string            `json:"shadow,omitempty"`
	Connectivity *connectivityJSON `json:"connectivity,omitempty"`
}

type connectivityJSON struct {
	Connected bool  `json:"connected"`
	Timestamp int64 `json:"timestamp,omitempty"` // milliseconds since 1970
}

func (d *thingDocument) hit() thingHit {
	t := d.thing
	out := thingHit{Name: t.Name, ID: t.ID, Type: t.Type, Groups: append([]string{}, d.groups()...), Attributes: t.Attributes, Shadow: d.shadowText()}
	if d.x.Connectivity {
		connected, since := d.h.fleet.Connection(t.Name)
		out.Connectivity = &connectivityJSON{Connected: connected}
		if !since.IsZero() {
			out.Connectivity.Timestamp = since.UnixMilli()
		}
	}
	return out
}

// shadowText is the JSON of the indexed shadows in a string, as the API has it.
func (d *thingDocument) shadowText() string {
	var out shadowJSON
	if s := d.shadow(""); s != nil && d.x.Things == modeAndShadow {
		out = *s
	}
	for _, name := range d.x.Shadows {
		if s := d.shadow(name); s != nil {
			if out.Named == nil {
				out.Named = map[string]*shadowJSON{}
			}
			out.Named[name] = s
		}
	}
	if out.HasDelta == nil && out.Named == nil {
		return ""
	}
	data, err := json.Marshal(out)
	if err != nil { // it came from JSON
		return ""
	}
	return string(data)
}

// groupHit is a ThingGroupDocument of the API.
type groupHit struct {
	Name        string            `json:"thingGroupName"`
	ID          string            `json:"thingGroupId"`
	Description string            `json:"thingGroupDescription,omitempty"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Parents     []string          `json:"parentGroupNames"`
}

// groupDocument is a thing group as a query sees it.
type groupDocument struct {
	group   *registry.ThingGroup
	parents func() []string
}

var _ search.Document = groupDocument{}

// Values implements search.Document.
func (d groupDocument) Values(field string) []any {
	if name, ok := strings.CutPrefix(field, "attributes."); ok {
		if v, ok := d.group.Attributes[name]; ok {
			return []any{v}
		}
		return nil
	}
	switch field {
	case "thingGroupName":
		return []any{d.group.Name}
	case "thingGroupId":
		return []any{d.group.ID}
	case "description":
		return []any{d.group.Description}
	case "version":
		return []any{float64(d.group.Version)}
	}
	return anys(d.parents())
}

// All implements search.Document.
func (d groupDocument) All() []any {
	out := append([]any{d.group.Name, d.group.ID, d.group.Description}, anys(d.parents())...)
	for _, v := range d.group.Attributes {
		out = append(out, v)
	}
	return out
}

func (h *Handler) searchGroups(q *search.Query, text string, page registry.Page) (any, error) {
	for _, f := range q.Fields() {
		if !slices.Contains([]string{"thingGroupName", "thingGroupId", "description", "version", "parentGroupNames"}, f) && !strings.HasPrefix(f, "attributes.") {
			return nil, invalidQuery(text, errors.New("there is no field "+f))
		}
	}
	groups := map[string]*registry.ThingGroup{}
	var names []string
	for _, g := range h.reg.AllGroups() {
		groups[g.Name] = g
		names = append(names, g.Name)
	}
	names, next, err := registry.Cut(names, page, func(name string) bool {
		return q.Match(groupDocument{groups[name], func() []string { return parents(groups, groups[name]) }})
	})
	out := hits{[]thingHit{}, []groupHit{}, next}
	for _, name := range names {
		g := groups[name]
		out.Groups = append(out.Groups, groupHit{g.Name, g.ID, g.Description, g.Attributes, parents(groups, g)})
	}
	return out, err
}

// parents are the names of the groups that a group is in, its own parent first.
func parents(groups map[string]*registry.ThingGroup, g *registry.ThingGroup) []string {
	out := []string{}
	for parent := groups[g.Parent]; parent != nil; parent = groups[parent.Parent] {
		out = append(out, parent.Name)
	}
	return out
}
