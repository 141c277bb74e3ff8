package iot

import (
	"cmp"
	"errors"
	"strconv"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/provisioning"
	"mote/internal/cloud/registry"
)

func registerThing(h *Handler, c *call) (any, error) {
	var in struct {
		Body       string            `json:"templateBody"`
		Parameters map[string]string `json:"parameters"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	made, err := h.provisioning.Register(in.Body, in.Parameters)
	var refused *provisioning.Error
	var exists *registry.Error
	switch {
	case errors.As(err, &refused):
		return nil, badRequest("%s", refused.Message)
	case errors.As(err, &exists) && exists.Code != registry.Unavailable:
		return nil, awsapi.Errorf(400, "ResourceRegistrationFailureException", "%s", exists.Msg)
	case err != nil:
		return nil, err
	}
	cert := made.Certificate
	if cert.PEM == "" {
		if cert, err = h.reg.Certificate(cert.ID); err != nil {
			return nil, err
		}
	}
	return map[string]any{"certificatePem": cert.PEM, "resourceArns": made.ARNs}, nil
}

// hook is a ProvisioningHook of the API.
type hook struct {
	Target string `json:"targetArn"`
}

// check refuses hooks: a function that decides about a device is not asked here,
// and a device must not get through without it.
func (p *hook) check() error {
	if p == nil {
		return nil
	}
	return badRequest("preProvisioningHook is not supported: no function is asked before a device is provisioned; leave it out, and keep the claim certificate to devices that you trust")
}

func (h *Handler) templateARN(name string) string { return h.reg.ARN("provisioningtemplate/" + name) }

// checkTemplate says why body cannot be that of a template of this type.
func checkTemplate(body string, kind registry.TemplateType) error {
	t, err := provisioning.Parse(body)
	if err != nil {
		return badRequest("The template body is invalid: %v", err)
	}
	if !t.Claimed() {
		return badRequest("the certificate of a template of the type %s needs a CertificateId: {\"Ref\": \"AWS::IoT::Certificate::Id\"}", kind)
	}
	return nil
}

func createProvisioningTemplate(h *Handler, c *call) (any, error) {
	var in struct {
		Name        string                `json:"templateName"`
		Description string                `json:"description"`
		Body        string                `json:"templateBody"`
		Enabled     bool                  `json:"enabled"`
		Role        string                `json:"provisioningRoleArn"`
		Hook        *hook                 `json:"preProvisioningHook"`
		Tags        []tag                 `json:"tags"`
		Type        registry.TemplateType `json:"type"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := in.Hook.check(); err != nil {
		return nil, err
	}
	if err := checkTemplate(in.Body, cmp.Or(in.Type, registry.FleetProvisioning)); err != nil {
		return nil, err
	}
	t, err := h.reg.CreateTemplate(registry.Template{
		Name: in.Name, Description: in.Description, Enabled: in.Enabled, Role: in.Role, Type: in.Type,
	}, in.Body, tagMap(in.Tags))
	if err != nil {
		return nil, err
	}
	return map[string]any{"templateArn": h.templateARN(t.Name), "templateName": t.Name, "defaultVersionId": t.Default}, nil
}

type templateJSON struct {
	ARN          string                `json:"templateArn"`
	Name         string                `json:"templateName"`
	Description  string                `json:"description,omitempty"` // not in lists
	Created      epoch                 `json:"creationDate"`
	Modified     epoch                 `json:"lastModifiedDate"`
	Enabled      bool                  `json:"enabled"`
	Type         registry.TemplateType `json:"type"`
	Default      int                   `json:"defaultVersionId,omitempty"`
	Body         string                `json:"templateBody,omitempty"`
	Provisioning string                `json:"provisioningRoleArn,omitempty"`
}

// templateJSON is a template as lists have it.
func (h *Handler) templateJSON(t registry.Template) templateJSON {
	return templateJSON{
		ARN: h.templateARN(t.Name), Name: t.Name, Created: epoch(t.Created), Modified: epoch(t.Modified), Enabled: t.Enabled, Type: t.Type,
	}
}

func describeProvisioningTemplate(h *Handler, c *call) (any, error) {
	t, err := h.reg.Template(c.label("templateName"))
	if err != nil {
		return nil, err
	}
	out := h.templateJSON(t)
	out.Description, out.Default, out.Body, out.Provisioning = t.Description, t.Default, t.Body(), t.Role
	return out, nil
}

func listProvisioningTemplates(h *Handler, c *call) (any, error) {
	p, err := c.page()
	if err != nil {
		return nil, err
	}
	templates, next, err := h.reg.Templates(p)
	return pageOf("templates", each(templates, h.templateJSON), nextToken, next), err
}

func updateProvisioningTemplate(h *Handler, c *call) (any, error) {
	var in struct {
		Description *string `json:"description"`
		Enabled     *bool   `json:"enabled"`
		Default     *int    `json:"defaultVersionId"`
		Role        *string `json:"provisioningRoleArn"`
		Hook        *hook   `json:"preProvisioningHook"`
		// removePreProvisioningHook is obeyed: there never is one.
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := in.Hook.check(); err != nil {
		return nil, err
	}
	return nil, h.reg.UpdateTemplate(c.label("templateName"), registry.TemplateUpdate{Description: in.Description, Role: in.Role, Enabled: in.Enabled, Default: in.Default})
}

func deleteProvisioningTemplate(h *Handler, c *call) (any, error) {
	return nil, h.reg.DeleteTemplate(c.label("templateName"))
}

func createProvisioningTemplateVersion(h *Handler, c *call) (any, error) {
	standard, err := c.flag("setAsDefault", false)
	if err != nil {
		return nil, err
	}
	var in struct {
		Body string `json:"templateBody"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	t, err := h.reg.Template(c.label("templateName"))
	if err != nil {
		return nil, err
	}
	if err := checkTemplate(in.Body, t.Type); err != nil {
		return nil, err
	}
	v, err := h.reg.AddTemplateVersion(t.Name, in.Body, standard)
	if err != nil {
		return nil, err
	}
	return map[string]any{"templateArn": h.templateARN(t.Name), "templateName": t.Name, "versionId": v.ID, "isDefaultVersion": standard}, nil
}

// templateVersion reads the labels of an operation on one version.
func (h *Handler) templateVersion(c *call) (registry.Template, registry.TemplateVersion, error) {
	var none registry.TemplateVersion
	id, err := strconv.Atoi(c.label("versionId"))
	if err != nil {
		return registry.Template{}, none, badRequest("the version %.20q is not a number", c.label("versionId"))
	}
	t, err := h.reg.Template(c.label("templateName"))
	if err != nil {
		return t, none, err
	}
	v, err := t.Version(id)
	return t, v, err
}

func versionJSON(t registry.Template, v registry.TemplateVersion) map[string]any {
	return map[string]any{"versionId": v.ID, "creationDate": epoch(v.Created), "isDefaultVersion": v.ID == t.Default}
}

func describeProvisioningTemplateVersion(h *Handler, c *call) (any, error) {
	t, v, err := h.templateVersion(c)
	if err != nil {
		return nil, err
	}
	out := versionJSON(t, v)
	out["templateBody"] = v.Body
	return out, nil
}

// listProvisioningTemplateVersions answers them all: there are five at most.
func listProvisioningTemplateVersions(h *Handler, c *call) (any, error) {
	t, err := h.reg.Template(c.label("templateName"))
	if err != nil {
		return nil, err
	}
	version := func(v registry.TemplateVersion) map[string]any { return versionJSON(t, v) }
	return map[string]any{"versions": each(t.Versions, version)}, nil
}

func deleteProvisioningTemplateVersion(h *Handler, c *call) (any, error) {
	t, v, err := h.templateVersion(c)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DeleteTemplateVersion(t.Name, v.ID)
}

func createProvisioningClaim(h *Handler, c *call) (any, error) {
	t, err := h.reg.Template(c.label("templateName"))
	if err != nil {
		return nil, err
	}
	if t.Type != registry.FleetProvisioning || !t.Enabled {
		return nil, badRequest("provisioning template %s is of the type %s and enabled is %t: a claim needs FLEET_PROVISIONING and true", t.Name, t.Type, t.Enabled)
	}
	claim, err := h.reg.CreateClaim(provisioning.ClaimPolicy(t.Name, h.reg.ARN))
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"certificateId": claim.Certificate.ID, "certificatePem": claim.Certificate.PEM, "expiration": epoch(claim.Expires),
		"keyPair": keyPair{claim.Keys.Public, claim.Keys.Private},
	}, nil
}
