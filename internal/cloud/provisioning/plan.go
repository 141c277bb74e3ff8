package provisioning

import (
	"errors"
	"fmt"
	"strings"

	"mote/internal/cloud/registry"
)

// certificateParams begins the names of the parameters that are filled in from
// the certificate (AWS IoT developer guide, "Provisioning templates"). They
// need not be declared.
const (
	certificateParams = "AWS::IoT::Certificate::"
	certificateID     = certificateParams + "Id"
)

// maxParam is the greatest size of a parameter's value in bytes: that of a
// certificate signing request.
const maxParam = 4096

// plan is what a template makes of its parameters.
type plan struct {
	registry.Provision
	device map[string]any // DeviceConfiguration, nil when there is none
}

func (t *Template) plan(params map[string]string) (plan, error) {
	for name, value := range params {
		if len(value) > maxParam && name != "CertificatePem" {
			return plan{}, fmt.Errorf("the parameter %.100s has %d bytes, the most are %d", name, len(value), maxParam)
		}
	}
	v := values{t, params}
	p := plan{}
	if err := p.setCertificate(v, t.certificate); err != nil {
		return p, fmt.Errorf("resource %s: %w", t.certificate.name, err)
	}
	if t.thing != nil {
		if err := p.setThing(v, t.thing); err != nil {
			return p, fmt.Errorf("resource %s: %w", t.thing.name, err)
		}
	}
	for _, r := range t.policies {
		if err := p.addPolicy(v, r); err != nil {
			return p, fmt.Errorf("resource %s: %w", r.name, err)
		}
	}
	if t.device == nil {
		return p, nil
	}
	device, err := v.eval(t.device)
	if err != nil {
		return p, fmt.Errorf("DeviceConfiguration: %w", err)
	}
	p.device, _ = device.(map[string]any)
	return p, nil
}

// property evaluates a property to a text; "" when the resource has none.
func (v values) property(r *resource, name string) (string, error) {
	in, ok := r.properties[name]
	if !ok {
		return "", nil
	}
	out, err := v.string(in)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

// read evaluates properties into texts, in the order of the pairs.
func (v values) read(r *resource, pairs map[string]*string) error {
	for name, into := range pairs {
		out, err := v.property(r, name)
		if err != nil {
			return err
		}
		*into = out
	}
	return nil
}

func (p *plan) setCertificate(v values, r *resource) error {
	var status string
	err := v.read(r, map[string]*string{
		"CertificateId": &p.Certificate, "CertificateSigningRequest": &p.CSR, "CertificatePem": &p.PEM, "CACertificatePem": &p.CAPEM, "Status": &status,
	})
	p.Status = registry.Active
	if status != "" {
		p.Status = registry.Status(strings.ToUpper(status)) // AWS's own examples write Active
	}
	p.StatusOverride = registry.Override(r.override["Status"])
	return err
}

func (p *plan) setThing(v values, r *resource) error {
	p.Thing = &registry.ProvisionThing{
		Override:     registry.Override(r.override["AttributePayload"]),
		TypeOverride: registry.Override(r.override["ThingTypeName"]), GroupsOverride: registry.Override(r.override["ThingGroups"]),
	}
	err := v.read(r, map[string]*string{"ThingName": &p.Thing.Name, "ThingTypeName": &p.Thing.Type, "BillingGroup": &p.Thing.Billing})
	if err != nil {
		return err
	}
	kind, err := v.property(v.t.certificate, "ThingPrincipalType")
	switch {
	case err != nil:
		return err
	case kind == "EXCLUSIVE_THING":
		p.Thing.Exclusive = true
	case kind != "" && kind != "NON_EXCLUSIVE_THING":
		return fmt.Errorf("the ThingPrincipalType %.50q does not exist: use EXCLUSIVE_THING or NON_EXCLUSIVE_THING", kind)
	}
	if err := p.setGroups(v, r); err != nil {
		return err
	}
	return p.setAttributes(v, r)
}

func (p *plan) setGroups(v values, r *resource) error {
	in, ok := r.properties["ThingGroups"]
	if !ok {
		return nil
	}
	out, err := v.eval(in)
	if err != nil {
		return fmt.Errorf("ThingGroups: %w", err)
	}
	list, ok := out.([]any)
	if !ok {
		return errors.New("ThingGroups is not a list")
	}
	for _, one := range list {
		name, err := scalar(one)
		if err != nil {
			return fmt.Errorf("ThingGroups: %w", err)
		}
		p.Thing.Groups = append(p.Thing.Groups, name)
	}
	return nil
}

func (p *plan) setAttributes(v values, r *resource) error {
	payload, ok := r.properties["AttributePayload"]
	if !ok {
		return nil
	}
	out, err := v.eval(payload)
	if err != nil {
		return fmt.Errorf("AttributePayload: %w", err)
	}
	attributes, ok := out.(map[string]any)
	if !ok {
		return errors.New("AttributePayload is not an object")
	}
	p.Thing.Attributes = map[string]string{}
	for key, value := range attributes {
		if p.Thing.Attributes[key], err = scalar(value); err != nil {
			return fmt.Errorf("the attribute %.100s: %w", key, err)
		}
	}
	return nil
}

func (p *plan) addPolicy(v values, r *resource) error {
	name, err := v.property(r, "PolicyName")
	if err != nil {
		return err
	}
	one := registry.ProvisionPolicy{Name: name}
	if in, ok := r.properties["PolicyDocument"]; ok {
		out, err := v.eval(in)
		if err != nil {
			return fmt.Errorf("PolicyDocument: %w", err)
		}
		if one.Document, err = text(out); err != nil {
			return err
		}
	}
	p.Policies = append(p.Policies, one)
	return nil
}
