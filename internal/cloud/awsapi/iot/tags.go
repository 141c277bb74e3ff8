package iot

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"mote/internal/cloud/rules"
)

// endpointTypes are the types of DescribeEndpoint (AWS IoT API
// reference). One host serves them all here.
var endpointTypes = []string{"", "iot:Data", "iot:Data-ATS", "iot:CredentialProvider", "iot:Jobs"}

func describeEndpoint(h *Handler, c *call) (any, error) {
	if kind := c.query.Get("endpointType"); !slices.Contains(endpointTypes, kind) {
		return nil, badRequest("the endpoint type %q is not valid: it must be one of%s", kind, strings.Join(endpointTypes, " "))
	}
	return map[string]string{"endpointAddress": h.endpoint}, nil
}

// tag is a Tag of the API.
type tag struct{ Key, Value string }

func tagMap(tags []tag) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		out[t.Key] = t.Value
	}
	return out
}

// taggable returns the resource of an ARN, for example "policy/a", when it can
// have tags (AWS IoT API, "TagResource") and exists.
func (h *Handler) taggable(arn string) (string, error) {
	resource, ours := strings.CutPrefix(arn, h.reg.ARN(""))
	kind, name, _ := strings.Cut(resource, "/")
	var err error
	switch {
	case !ours || name == "":
		err = badRequest("%.300q cannot have tags: it must be the ARN of a resource of this account and region", arn)
	case kind == "provisioningtemplate":
		_, err = h.reg.Template(name)
	case kind == "cacert":
		_, err = h.reg.CACertificate(name)
	case kind == "rolealias":
		_, err = h.reg.RoleAlias(name)
	case kind == "policy":
		_, err = h.reg.Policy(name)
	case kind == "thingtype":
		_, err = h.reg.ThingType(name)
	case kind == "thinggroup":
		_, _, err = h.reg.ThingGroup(name)
	case kind == "billinggroup":
		_, err = h.reg.BillingGroup(name)
	case kind == "rule":
		if _, err = h.rules.Get(name); errors.Is(err, rules.ErrNotFound) {
			err = notFound("Rule %s does not exist", name)
		}
	case kind == "job" && h.jobs != nil:
		_, err = h.jobs.Job(name)
		err = h.jobError(err)
	case kind == "jobtemplate" && h.jobs != nil:
		_, err = h.jobs.Template(name)
		err = h.jobError(err)
	default:
		err = badRequest("%.300q cannot have tags: policies, role aliases, rules, CA certificates, provisioning templates, jobs, job templates, thing types, thing groups and billing groups can", arn)
	}
	return resource, err
}

func tagResource(h *Handler, c *call) (any, error) {
	var in struct {
		ARN  string `json:"resourceArn"`
		Tags []tag  `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	resource, err := h.taggable(in.ARN)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.SetTags(resource, tagMap(in.Tags), nil)
}

func untagResource(h *Handler, c *call) (any, error) {
	var in struct {
		ARN  string   `json:"resourceArn"`
		Keys []string `json:"tagKeys"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	resource, err := h.taggable(in.ARN)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.SetTags(resource, nil, in.Keys)
}

func listTagsForResource(h *Handler, c *call) (any, error) {
	resource, err := h.taggable(c.query.Get("resourceArn"))
	if err != nil {
		return nil, err
	}
	out := []tag{}
	tags := h.reg.Tags(resource)
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tag{key, tags[key]})
	}
	return map[string]any{"tags": out}, nil
}
