package iot

import (
	"cmp"
	"net/http"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/registry"
)

// newCertificate is the answer to a request for a certificate.
type newCertificate struct {
	ARN     string   `json:"certificateArn"`
	ID      string   `json:"certificateId"`
	PEM     string   `json:"certificatePem"`
	KeyPair *keyPair `json:"keyPair,omitempty"`
}

// keyPair has its members with capital letters, as on AWS.
type keyPair struct {
	PublicKey, PrivateKey string
}

func createKeysAndCertificate(h *Handler, c *call) (any, error) {
	active, err := c.flag("setAsActive", false)
	if err != nil {
		return nil, err
	}
	cert, keys, err := h.reg.CreateKeysAndCertificate(active)
	if err != nil {
		return nil, err
	}
	return newCertificate{h.reg.ARN("cert/" + cert.ID), cert.ID, cert.PEM, &keyPair{keys.Public, keys.Private}}, nil
}

func createCertificateFromCSR(h *Handler, c *call) (any, error) {
	active, err := c.flag("setAsActive", false)
	if err != nil {
		return nil, err
	}
	var in struct {
		CSR string `json:"certificateSigningRequest"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	cert, err := h.reg.CreateCertificateFromCSR(in.CSR, active)
	if err != nil {
		return nil, err
	}
	return newCertificate{h.reg.ARN("cert/" + cert.ID), cert.ID, cert.PEM, nil}, nil
}

type certificateJSON struct {
	ARN             string          `json:"certificateArn"`
	ID              string          `json:"certificateId"`
	Status          registry.Status `json:"status"`
	Mode            string          `json:"certificateMode"`
	CreationDate    epoch           `json:"creationDate"`
	LastModified    *epoch          `json:"lastModifiedDate,omitempty"`
	CA              string          `json:"caCertificateId,omitempty"`
	PEM             string          `json:"certificatePem,omitempty"`
	OwnedBy         string          `json:"ownedBy,omitempty"`
	CustomerVersion int             `json:"customerVersion,omitempty"`
	GenerationID    string          `json:"generationId,omitempty"`
	Validity        *validity       `json:"validity,omitempty"`
}

type validity struct {
	NotBefore epoch `json:"notBefore"`
	NotAfter  epoch `json:"notAfter"`
}

// certificateJSON is a certificate as lists have it.
func (h *Handler) certificateJSON(c registry.Certificate) certificateJSON {
	return certificateJSON{ARN: h.reg.ARN("cert/" + c.ID), ID: c.ID, Status: c.Status, Mode: string(cmp.Or(c.Mode, registry.ModeDefault)), CreationDate: epoch(c.Created)}
}

func describeCertificate(h *Handler, c *call) (any, error) {
	cert, err := h.reg.Certificate(c.label("certificateId"))
	if err != nil {
		return nil, err
	}
	modified := epoch(cert.Modified)
	out := h.certificateJSON(cert)
	out.CA = cert.CA
	out.LastModified, out.PEM, out.OwnedBy = &modified, cert.PEM, h.reg.Account()
	out.CustomerVersion, out.GenerationID = cert.CustomerVersion, cert.GenerationID
	out.Validity = &validity{epoch(cert.NotBefore), epoch(cert.NotAfter)}
	return map[string]any{"certificateDescription": out}, nil
}

func listCertificates(h *Handler, c *call) (any, error) {
	p, err := c.pageByTime()
	if err != nil {
		return nil, err
	}
	return h.certificateList(h.reg.Certificates(p))
}

func listCertificatesByCA(h *Handler, c *call) (any, error) {
	p, err := c.pageByTime()
	if err != nil {
		return nil, err
	}
	return h.certificateList(h.reg.CertificatesByCA(c.label("caCertificateId"), p))
}

func (h *Handler) certificateList(certs []registry.Certificate, next string, err error) (any, error) {
	return pageOf("certificates", each(certs, h.certificateJSON), nextMarker, next), err
}

func updateCertificate(h *Handler, c *call) (any, error) {
	return nil, h.reg.UpdateCertificate(c.label("certificateId"), registry.Status(c.query.Get("newStatus")))
}

func deleteCertificate(h *Handler, c *call) (any, error) {
	force, err := c.flag("forceDelete", false)
	if err != nil {
		return nil, err
	}
	return nil, h.reg.DeleteCertificate(c.label("certificateId"), force)
}

func registerCertificate(h *Handler, c *call) (any, error) {
	active, err := c.flag("setAsActive", false)
	if err != nil {
		return nil, err
	}
	var in struct {
		PEM    string          `json:"certificatePem"`
		CA     string          `json:"caCertificatePem"`
		Status registry.Status `json:"status"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if active && in.Status == "" { // setAsActive is the older way to say it
		in.Status = registry.Active
	}
	cert, err := h.reg.RegisterCertificate(in.PEM, in.CA, in.Status)
	return h.registered(cert, err)
}

func registerCertificateWithoutCA(h *Handler, c *call) (any, error) {
	var in struct {
		PEM    string          `json:"certificatePem"`
		Status registry.Status `json:"status"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	cert, err := h.reg.RegisterCertificateWithoutCA(in.PEM, in.Status)
	return h.registered(cert, err)
}

func (h *Handler) registered(c registry.Certificate, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return map[string]any{"certificateArn": h.reg.ARN("cert/" + c.ID), "certificateId": c.ID}, nil
}

// transferCertificate answers the operations that move a certificate to
// another account: there is one account.
func transferCertificate(h *Handler, c *call) (any, error) {
	if _, err := h.reg.Certificate(c.label("certificateId")); err != nil {
		return nil, err
	}
	return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplementedException",
		"certificates cannot be transferred: this server has one account, %s; register the certificate at the other server with register-certificate-without-ca", h.reg.Account())
}

// listOutgoingCertificates lists what is being transferred: nothing, ever.
func listOutgoingCertificates(*Handler, *call) (any, error) {
	return map[string]any{"outgoingCertificates": []any{}}, nil
}
