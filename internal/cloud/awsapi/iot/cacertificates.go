package iot

import (
	"mote/internal/cloud/registry"
)

func getRegistrationCode(h *Handler, _ *call) (any, error) {
	code, err := h.reg.RegistrationCode()
	return map[string]any{"registrationCode": code}, err
}

func deleteRegistrationCode(h *Handler, _ *call) (any, error) {
	return nil, h.reg.DeleteRegistrationCode()
}

func registerCACertificate(h *Handler, c *call) (any, error) {
	active, err := c.flag("setAsActive", false)
	if err != nil {
		return nil, err
	}
	auto, err := c.flag("allowAutoRegistration", false)
	if err != nil {
		return nil, err
	}
	var in struct {
		PEM          string                       `json:"caCertificate"`
		Verification string                       `json:"verificationCertificate"`
		Config       *registry.RegistrationConfig `json:"registrationConfig"`
		Mode         registry.Mode                `json:"certificateMode"`
		Tags         []tag                        `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := h.checkRegistration(in.Config); err != nil {
		return nil, err
	}
	ca, err := h.reg.RegisterCA(registry.NewCA{
		PEM: in.PEM, Verification: in.Verification, Mode: in.Mode, Active: active, Auto: auto, Config: in.Config, Tags: tagMap(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return map[string]any{"certificateArn": h.reg.ARN("cacert/" + ca.ID), "certificateId": ca.ID}, nil
}

// checkRegistration says why a CA cannot have such a registrationConfig.
func (h *Handler) checkRegistration(config *registry.RegistrationConfig) error {
	if config == nil {
		return nil
	}
	if err := h.provisioning.CheckConfig(config); err != nil {
		return badRequest("registrationConfig: %v", err)
	}
	return nil
}

type caJSON struct {
	ARN             string          `json:"certificateArn"`
	ID              string          `json:"certificateId"`
	Status          registry.Status `json:"status"`
	CreationDate    epoch           `json:"creationDate"`
	PEM             string          `json:"certificatePem,omitempty"`
	OwnedBy         string          `json:"ownedBy,omitempty"`
	Auto            string          `json:"autoRegistrationStatus,omitempty"`
	LastModified    *epoch          `json:"lastModifiedDate,omitempty"`
	CustomerVersion int             `json:"customerVersion,omitempty"`
	GenerationID    string          `json:"generationId,omitempty"`
	Validity        *validity       `json:"validity,omitempty"`
	Mode            registry.Mode   `json:"certificateMode,omitempty"`
}

// caJSON is a CA as lists have it.
func (h *Handler) caJSON(ca registry.CA) caJSON {
	return caJSON{ARN: h.reg.ARN("cacert/" + ca.ID), ID: ca.ID, Status: ca.Status, CreationDate: epoch(ca.Created)}
}

// The states of automatic registration.
const (
	autoOn  = "ENABLE"
	autoOff = "DISABLE"
)

func describeCACertificate(h *Handler, c *call) (any, error) {
	ca, err := h.reg.CACertificate(c.label("caCertificateId"))
	if err != nil {
		return nil, err
	}
	modified := epoch(ca.Modified)
	out := h.caJSON(ca)
	out.PEM, out.OwnedBy, out.Auto, out.LastModified = ca.PEM, h.reg.Account(), autoOff, &modified
	if ca.Auto {
		out.Auto = autoOn
	}
	out.CustomerVersion, out.GenerationID, out.Mode = ca.CustomerVersion, ca.GenerationID, ca.Mode
	out.Validity = &validity{epoch(ca.NotBefore), epoch(ca.NotAfter)}
	body := map[string]any{"certificateDescription": out}
	if ca.Config != nil {
		body["registrationConfig"] = ca.Config
	}
	return body, nil
}

func listCACertificates(h *Handler, c *call) (any, error) {
	p, err := c.pageByTime()
	if err != nil {
		return nil, err
	}
	cas, next, err := h.reg.CACertificates(c.query.Get("templateName"), p)
	return pageOf("certificates", each(cas, h.caJSON), nextMarker, next), err
}

func updateCACertificate(h *Handler, c *call) (any, error) {
	var in struct {
		Config *registry.RegistrationConfig `json:"registrationConfig"`
		Remove bool                         `json:"removeAutoRegistration"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := h.checkRegistration(in.Config); err != nil {
		return nil, err
	}
	u := registry.CAUpdate{Status: registry.Status(c.query.Get("newStatus")), Config: in.Config, RemoveConfig: in.Remove}
	switch auto := c.query.Get("newAutoRegistrationStatus"); auto {
	case "":
	case autoOn, autoOff:
		on := auto == autoOn
		u.Auto = &on
	default:
		return nil, badRequest("newAutoRegistrationStatus is %.40q: it must be ENABLE or DISABLE", auto)
	}
	return nil, h.reg.UpdateCA(c.label("caCertificateId"), u)
}

func deleteCACertificate(h *Handler, c *call) (any, error) {
	return nil, h.reg.DeleteCA(c.label("caCertificateId"))
}
