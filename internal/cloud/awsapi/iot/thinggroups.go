package iot

import (
	"strings"

	"mote/internal/cloud/registry"
)

// groupName is a GroupNameAndArn of the API.
type groupName struct {
	Name string `json:"groupName"`
	ARN  string `json:"groupArn"`
}

// What stands before the name in the ARN of a resource.
const (
	thingARN        = "thing/"
	groupARN        = "thinggroup/"
	billingGroupARN = "billinggroup/"
)

func (h *Handler) groups(prefix string, names []string) []groupName {
	return each(names, func(n string) groupName { return groupName{n, h.reg.ARN(prefix + n)} })
}

// groupPage answers the operations that list thing groups.
func (h *Handler) groupPage(names []string, next string) map[string]any {
	return pageOf("thingGroups", h.groups(groupARN, names), nextToken, next)
}

// groupProperties are ThingGroupProperties of the API.
type groupProperties struct {
	Description string            `json:"thingGroupDescription,omitempty"`
	Payload     *attributePayload `json:"attributePayload,omitempty"`
}

func createThingGroup(h *Handler, c *call) (any, error) {
	var in struct {
		Parent     string          `json:"parentGroupName"`
		Properties groupProperties `json:"thingGroupProperties"`
		Tags       []tag           `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	attributes, _ := in.Properties.Payload.change()
	g, err := h.reg.CreateThingGroup(registry.ThingGroup{
		Name: c.label("thingGroupName"), Parent: in.Parent, Description: in.Properties.Description, Attributes: attributes,
	}, tagMap(in.Tags))
	if err != nil {
		return nil, err
	}
	return map[string]string{"thingGroupName": g.Name, "thingGroupArn": h.reg.ARN(groupARN + g.Name), "thingGroupId": g.ID}, nil
}

// groupJSON is the answer of DescribeThingGroup.
type groupJSON struct {
	Name       string          `json:"thingGroupName"`
	ID         string          `json:"thingGroupId"`
	ARN        string          `json:"thingGroupArn"`
	Version    int64           `json:"version"`
	Properties groupProperties `json:"thingGroupProperties"`
	Metadata   struct {
		Parent  string      `json:"parentGroupName,omitempty"`
		Path    []groupName `json:"rootToParentThingGroups,omitempty"`
		Created epoch       `json:"creationDate"`
	} `json:"thingGroupMetadata"`
}

func describeThingGroup(h *Handler, c *call) (any, error) {
	g, path, err := h.reg.ThingGroup(c.label("thingGroupName"))
	if err != nil {
		return nil, err
	}
	out := groupJSON{
		Name: g.Name, ID: g.ID, ARN: h.reg.ARN(groupARN + g.Name), Version: g.Version,
		Properties: groupProperties{Description: g.Description},
	}
	if len(g.Attributes) > 0 {
		out.Properties.Payload = &attributePayload{Attributes: g.Attributes}
	}
	out.Metadata.Parent, out.Metadata.Path, out.Metadata.Created = g.Parent, h.groups(groupARN, path), epoch(g.Created)
	return out, nil
}

func listThingGroups(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	f := registry.GroupFilter{Parent: c.query.Get("parentGroup"), Prefix: c.query.Get("namePrefixFilter")}
	if f.Recursive, err = c.flag("recursive", true); err != nil {
		return nil, err
	}
	names, next, err := h.reg.ThingGroups(f, p)
	return h.groupPage(names, next), err
}

func updateThingGroup(h *Handler, c *call) (any, error) {
	var in struct {
		Properties *groupProperties `json:"thingGroupProperties"`
		Expected   int64            `json:"expectedVersion"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if in.Properties == nil {
		return nil, badRequest("thingGroupProperties is missing")
	}
	u := registry.GroupUpdate{Description: in.Properties.Description, Expected: in.Expected}
	u.Attributes, u.Merge = in.Properties.Payload.change()
	version, err := h.reg.UpdateThingGroup(c.label("thingGroupName"), u)
	return map[string]int64{"version": version}, err
}

func deleteThingGroup(h *Handler, c *call) (any, error) {
	expected, err := c.number("expectedVersion")
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DeleteThingGroup(c.label("thingGroupName"), expected)
}

// named returns the name that a request gives as itself, as an ARN, or as both.
func (h *Handler) named(what, prefix, name, arn string) (string, error) {
	if arn == "" {
		if name == "" {
			return "", badRequest("%sName is missing, and so is %sArn: give one of them", what, what)
		}
		return name, nil
	}
	of, ok := strings.CutPrefix(arn, h.reg.ARN(prefix))
	switch {
	case !ok || of == "":
		return "", badRequest("%sArn is %.300q: it must look like %s<name>", what, arn, h.reg.ARN(prefix))
	case name != "" && name != of:
		return "", badRequest("%sName is %.150q but %sArn names %.150q: give one of them", what, name, what, of)
	}
	return of, nil
}

// membership is the body of operations on a thing and a group.
type membership struct {
	GroupName   string `json:"thingGroupName"`
	GroupARN    string `json:"thingGroupArn"`
	BillingName string `json:"billingGroupName"`
	BillingARN  string `json:"billingGroupArn"`
	ThingName   string `json:"thingName"`
	ThingARN    string `json:"thingArn"`
}

func (h *Handler) membership(c *call) (group, thing string, err error) {
	var in membership
	if err := c.body(&in); err != nil {
		return "", "", err
	}
	if group, err = h.named("thingGroup", groupARN, in.GroupName, in.GroupARN); err != nil {
		return "", "", err
	}
	thing, err = h.named("thing", thingARN, in.ThingName, in.ThingARN)
	return group, thing, err
}

// addThingToThingGroup needs no look at overrideDynamicGroups: no group is
// dynamic.
func addThingToThingGroup(h *Handler, c *call) (any, error) {
	group, thing, err := h.membership(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.ChangeGroups(thing, []string{group}, nil)
}

func removeThingFromThingGroup(h *Handler, c *call) (any, error) {
	group, thing, err := h.membership(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.ChangeGroups(thing, nil, []string{group})
}

func updateThingGroupsForThing(h *Handler, c *call) (any, error) {
	var in struct {
		Thing string   `json:"thingName"`
		Add   []string `json:"thingGroupsToAdd"`
		Drop  []string `json:"thingGroupsToRemove"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if in.Thing == "" {
		return nil, badRequest("thingName is missing")
	}
	return nil, h.reg.ChangeGroups(in.Thing, in.Add, in.Drop)
}

func listThingGroupsForThing(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.GroupsOfThing(c.label("thingName"), p)
	return h.groupPage(names, next), err
}

func listThingsInThingGroup(h *Handler, c *call) (any, error) {
	p, err := c.pageOfThings()
	if err != nil {
		return nil, err
	}
	recursive, err := c.flag("recursive", false)
	if err != nil {
		return nil, err
	}
	names, next, err := h.reg.ThingsInGroup(c.label("thingGroupName"), recursive, p)
	return pageOf("things", append([]string{}, names...), nextToken, next), err
}
