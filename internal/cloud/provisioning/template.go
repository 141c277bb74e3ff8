package provisioning

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// maxBody is the greatest size of a template in bytes (API model, TemplateBody).
const maxBody = 10240

// Template is a provisioning template: which thing, certificate and policies a
// device gets (AWS IoT developer guide, "Provisioning templates").
type Template struct {
	parameters  map[string]parameter
	mappings    map[string]any
	thing       *resource
	certificate *resource
	policies    []*resource // by logical name
	device      map[string]any
}

type parameter struct{ standard *string }

// resource is one entry of Resources.
type resource struct {
	name       string // logical
	properties map[string]any
	override   map[string]string
}

// The types of resources.
const (
	typeThing       = "AWS::IoT::Thing"
	typeCertificate = "AWS::IoT::Certificate"
	typePolicy      = "AWS::IoT::Policy"
)

// properties are what a resource of each type may have.
var properties = map[string][]string{
	typeThing:       {"ThingName", "AttributePayload", "ThingTypeName", "ThingGroups", "BillingGroup"},
	typeCertificate: {"CertificateId", "CertificateSigningRequest", "CertificatePem", "CACertificatePem", "Status", "ThingPrincipalType"},
	typePolicy:      {"PolicyName", "PolicyDocument"},
}

// What happens to something that is there already (OverrideSettings).
const (
	overrideNothing = "DO_NOTHING"
	overrideReplace = "REPLACE"
	overrideFail    = "FAIL"
	overrideMerge   = "MERGE"
)

// overrides are the OverrideSettings of each type with their values.
var overrides = map[string]map[string][]string{
	typeThing: {
		"AttributePayload": {overrideNothing, overrideReplace, overrideFail, overrideMerge},
		"ThingTypeName":    {overrideNothing, overrideReplace, overrideFail},
		"ThingGroups":      {overrideNothing, overrideReplace, overrideFail, overrideMerge},
	},
	typeCertificate: {"Status": {overrideNothing, overrideReplace, overrideFail}},
}

// Parse reads a template and checks all of it that does not depend on values.
func Parse(body string) (*Template, error) {
	if body == "" || len(body) > maxBody {
		return nil, fmt.Errorf("the template body has %d bytes: it must have 1 to %d", len(body), maxBody)
	}
	var in struct {
		Parameters          map[string]map[string]any
		Mappings            map[string]any
		Resources           map[string]map[string]any
		DeviceConfiguration map[string]any
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(&in); err != nil {
		return nil, fmt.Errorf("the template body cannot be read: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("the template body has something behind its JSON object")
	}
	t := &Template{parameters: map[string]parameter{}, mappings: in.Mappings, device: in.DeviceConfiguration}
	for name, p := range in.Parameters {
		if err := t.addParameter(name, p); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.Resources)) {
		if err := t.addResource(name, in.Resources[name]); err != nil {
			return nil, fmt.Errorf("resource %.100s: %w", name, err)
		}
	}
	if t.certificate == nil {
		return nil, &Error{Status: 400, Code: codePayload, Message: "Template must have certificate resource."} // as AWS says it
	}
	return t, t.check(t.device)
}

func (t *Template) addParameter(name string, p map[string]any) error {
	out := parameter{}
	for key, value := range p {
		text, ok := value.(string)
		switch {
		case key == "Type" && text == "String":
		case key == "Default" && ok:
			out.standard = &text
		default:
			return fmt.Errorf("parameter %.100s: %.50s is %.50v: a parameter has the Type String and perhaps a Default, which is text", name, key, value)
		}
	}
	t.parameters[name] = out
	return nil
}

func (t *Template) addResource(name string, in map[string]any) error {
	kind, _ := in["Type"].(string)
	allowed := properties[kind]
	if allowed == nil {
		return fmt.Errorf("the type %.100v does not exist: use %s, %s or %s", in["Type"], typeThing, typeCertificate, typePolicy)
	}
	r := &resource{name: name, override: map[string]string{}}
	for key, value := range in {
		members, ok := value.(map[string]any)
		switch {
		case key == "Type":
		case key == "Properties" && ok:
			r.properties = members
		case key == "OverrideSettings" && ok:
			if err := r.setOverrides(kind, members); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%.100s does not belong here, or is not an object: a resource has Type, Properties and OverrideSettings", key)
		}
	}
	for key, value := range r.properties {
		if !slices.Contains(allowed, key) {
			return fmt.Errorf("%s has no property %.100s: it has %s", kind, key, strings.Join(allowed, ", "))
		}
		if err := t.check(value); err != nil {
			return fmt.Errorf("property %s: %w", key, err)
		}
	}
	return t.place(kind, r)
}

// place keeps a resource: a device gets one thing and one certificate.
func (t *Template) place(kind string, r *resource) error {
	has := func(name string) bool { _, ok := r.properties[name]; return ok }
	switch kind {
	case typeThing:
		if t.thing != nil || !has("ThingName") {
			return fmt.Errorf("a template makes one thing, which needs a ThingName")
		}
		t.thing = r
	case typeCertificate:
		if t.certificate != nil || btoi(has("CertificateId"))+btoi(has("CertificateSigningRequest"))+btoi(has("CertificatePem")) != 1 {
			return fmt.Errorf("a template has one certificate, by CertificateId, CertificateSigningRequest or CertificatePem")
		}
		t.certificate = r
	case typePolicy:
		if has("PolicyName") == has("PolicyDocument") {
			return fmt.Errorf("a policy is given by its PolicyName or its PolicyDocument, one of both")
		}
		t.policies = append(t.policies, r)
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *resource) setOverrides(kind string, members map[string]any) error {
	for key, value := range members {
		text, _ := value.(string)
		if !slices.Contains(overrides[kind][key], text) {
			return fmt.Errorf("OverrideSettings cannot have %.50s set to %.50v: %s has %v", key, value, kind, overrides[kind])
		}
		r.override[key] = text
	}
	return nil
}

// Claimed says whether the template's certificate is one that exists already:
// what a device or a CA brings along, and a claim asks for.
func (t *Template) Claimed() bool { return t.certificate.properties["CertificateId"] != nil }

// text is v as a policy document or the like: text as it is, anything else as JSON.
func text(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
