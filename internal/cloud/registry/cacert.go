package registry

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"time"
)

// Mode says how devices with a certificate connect (AWS IoT API reference,
// RegisterCACertificate). Here both modes work with and without a server name;
// the mode decides how ownership of a CA is shown.
type Mode string

// The modes of certificates.
const (
	ModeDefault Mode = "DEFAULT"
	ModeSNIOnly Mode = "SNI_ONLY"
)

// RegistrationConfig says what is made for a device that brings a certificate
// of the CA along: one of both templates.
type RegistrationConfig struct {
	TemplateBody string `json:"templateBody,omitempty"`
	RoleARN      string `json:"roleArn,omitempty"`
	TemplateName string `json:"templateName,omitempty"`
}

// CA is a registered certificate authority of the account's owner.
type CA struct {
	ID              string              `json:"id"` // lower-case hex SHA-256 of the DER certificate
	Status          Status              `json:"status"`
	Auto            bool                `json:"auto"` // register its unknown certificates when they connect
	Mode            Mode                `json:"mode"`
	Created         time.Time           `json:"created"`
	Modified        time.Time           `json:"modified"`
	NotBefore       time.Time           `json:"not_before"`
	NotAfter        time.Time           `json:"not_after"`
	CustomerVersion int                 `json:"customer_version"`
	GenerationID    string              `json:"generation_id"`
	Config          *RegistrationConfig `json:"config,omitempty"`
	PEM             string              `json:"pem"`

	cert *x509.Certificate
}

// maxSameSubject is how many registered CAs may have one subject (AWS IoT
// quotas, "Maximum number of CA certificates with the same subject field").
const maxSameSubject = 10

func (r *Registry) loadCA(id string, data []byte) error {
	ca := new(CA)
	if err := json.Unmarshal(data, ca); err != nil {
		return err
	}
	cert, err := readCertificate("CA certificate", ca.PEM)
	if err != nil {
		return err
	}
	ca.cert = cert
	r.authorities.put(id, ca)
	r.caOrder = append(r.caOrder, orderKey(ca.Created, id))
	return nil
}

// codeRecord is the one record of kindRegCode.
type codeRecord struct {
	Code string `json:"code"`
}

func (r *Registry) loadRegistrationCode(_ string, data []byte) error {
	var rec codeRecord
	err := json.Unmarshal(data, &rec)
	r.code = rec.Code
	return err
}

// RegistrationCode returns the code that the verification certificate of a CA
// has as its common name: 64 hexadecimal digits. It makes one when there is none.
func (r *Registry) RegistrationCode() (string, error) {
	var code string
	err := r.change(func(t *tx) error {
		if code = r.code; code != "" {
			return nil
		}
		var b [32]byte
		rand.Read(b[:])
		code = hex.EncodeToString(b[:])
		t.then(func() { r.code = code })
		return t.set(kindRegCode, "", codeRecord{code})
	})
	return code, err
}

// DeleteRegistrationCode forgets the code; the next one is another.
func (r *Registry) DeleteRegistrationCode() error {
	return r.change(func(t *tx) error {
		if r.code == "" {
			return errorf(NotFound, "there is no registration code: get-registration-code makes one")
		}
		t.delete(kindRegCode, "")
		t.then(func() { r.code = "" })
		return nil
	})
}

// NewCA is a CA to register.
type NewCA struct {
	PEM          string
	Verification string // certificate in PEM, signed by the CA; "" with ModeSNIOnly
	Mode         Mode   // "" is ModeDefault
	Active, Auto bool
	Config       *RegistrationConfig
	Tags         map[string]string
}

// RegisterCA registers a certificate authority whose key the caller has, as
// the verification certificate shows (AWS IoT API reference,
// RegisterCACertificate).
func (r *Registry) RegisterCA(n NewCA) (CA, error) {
	cert, err := readCertificate("CA certificate", n.PEM)
	if err != nil {
		return CA{}, err
	}
	if err := checkAuthority(cert); err != nil {
		return CA{}, err
	}
	if n.Mode == "" {
		n.Mode = ModeDefault
	}
	at := now()
	ca := &CA{
		ID: fingerprint(cert), Status: Inactive, Auto: n.Auto, Mode: n.Mode, Created: at, Modified: at, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		CustomerVersion: 1, GenerationID: newUUID(), Config: n.Config, PEM: string(pemOf("CERTIFICATE", cert.Raw)), cert: cert,
	}
	if n.Active {
		ca.Status = Active
	}
	err = r.change(func(t *tx) error {
		if err := r.checkNewCA(ca, n); err != nil {
			return err
		}
		t.then(func() {
			r.authorities.put(ca.ID, ca)
			r.caOrder = insert(r.caOrder, orderKey(ca.Created, ca.ID))
		})
		if len(n.Tags) > 0 {
			if err := r.putTags(t, "cacert/"+ca.ID, n.Tags); err != nil {
				return err
			}
		}
		return t.set(kindCA, ca.ID, ca)
	})
	if err != nil {
		return CA{}, err
	}
	return *ca, nil
}

// checkNewCA says why a CA cannot be registered; writeMu is held.
func (r *Registry) checkNewCA(ca *CA, n NewCA) error {
	if _, ok := r.authorities.get(ca.ID); ok {
		e := errorf(Exists, "The CA certificate is already registered: %s", ca.ID)
		e.ResourceID, e.ResourceARN = ca.ID, r.ARN("cacert/"+ca.ID)
		return e
	}
	same := 0
	for _, other := range r.authorities.items {
		if bytes.Equal(other.cert.RawSubject, ca.cert.RawSubject) {
			same++
		}
	}
	if same >= maxSameSubject {
		return errorf(LimitExceeded, "%d CA certificates have the subject %q already, which is the limit: delete one, or give the new one another subject",
			same, short(ca.cert.Subject.String()))
	}
	switch n.Mode {
	case ModeSNIOnly:
		if n.Verification != "" {
			return errorf(InvalidRequest, "a CA certificate with the mode SNI_ONLY takes no verification certificate: leave it out")
		}
		return nil
	case ModeDefault:
		return r.checkVerification(ca.cert, n.Verification)
	}
	return errorf(InvalidRequest, "the certificate mode %q does not exist: use DEFAULT or SNI_ONLY", short(string(n.Mode)))
}

// checkVerification says whether text is a certificate that the holder of the
// CA's key signed for the registration code; writeMu is held.
func (r *Registry) checkVerification(ca *x509.Certificate, text string) error {
	if text == "" {
		return errorf(InvalidRequest, "the verification certificate is missing: sign one with the key of the CA, with the registration code (get-registration-code) as its common name")
	}
	cert, err := readCertificate("verification certificate", text)
	if err != nil {
		return err
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return errorf(CertificateValidation, "the verification certificate: %v", err)
	}
	if err := checkSignedBy("verification certificate", cert, ca); err != nil {
		return err
	}
	if r.code == "" || subtle.ConstantTimeCompare([]byte(cert.Subject.CommonName), []byte(r.code)) != 1 {
		return errorf(RegistrationCodeValidation, "the common name of the verification certificate is %q, not the registration code: ask for it with get-registration-code",
			short(cert.Subject.CommonName))
	}
	return checkValidity("verification certificate", cert)
}

// checkAuthority says why a certificate is none of a CA.
func checkAuthority(cert *x509.Certificate) error {
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return errorf(CertificateValidation, "the CA certificate is not one of a CA: it needs the basic constraint CA:TRUE")
	}
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return errorf(CertificateValidation, "the CA certificate may not sign certificates: its key usage needs keyCertSign")
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return errorf(CertificateValidation, "the CA certificate: %v", err)
	}
	return checkValidity("CA certificate", cert)
}

// maxCertificate is the greatest size of a certificate in PEM in bytes (API
// model, CertificatePem).
const maxCertificate = 65536

// readCertificate reads one certificate in PEM; what says which it is.
func readCertificate(what, text string) (*x509.Certificate, error) {
	if len(text) == 0 || len(text) > maxCertificate {
		return nil, errorf(InvalidRequest, "the %s has %d bytes: it must have 1 to %d", what, len(text), maxCertificate)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errorf(CertificateValidation, "the %s is not PEM with the type CERTIFICATE", what)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errorf(CertificateValidation, "the %s cannot be read: %v", what, err)
	}
	return cert, nil
}

func checkValidity(what string, cert *x509.Certificate) error {
	at := time.Now()
	switch {
	case at.Before(cert.NotBefore):
		return errorf(CertificateValidation, "the %s is not valid before %s: set the clock of the machine that made it, or of this one", what, cert.NotBefore.UTC().Format(time.RFC3339))
	case at.After(cert.NotAfter):
		return errorf(CertificateValidation, "the %s expired at %s: make a new one", what, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkSignedBy(what string, cert, ca *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, ca.RawSubject) {
		return errorf(CertificateValidation, "the %s was issued by %q, not by the CA %q", what, short(cert.Issuer.String()), short(ca.Subject.String()))
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return errorf(CertificateValidation, "the %s is not signed by the CA: %v", what, err)
	}
	return nil
}

// CACertificate returns a registered CA.
func (r *Registry) CACertificate(id string) (CA, error) {
	return copyOf(r, id, r.authorityByID)
}

// authorityByID finds a registered CA; mu or writeMu is held.
func (r *Registry) authorityByID(id string) (*CA, error) {
	if !certificateIDForm.MatchString(id) {
		return nil, errorf(InvalidRequest, "the id %q of the CA certificate is not valid: it must be 64 hexadecimal digits in lower case", short(id))
	}
	return r.authorities.find("CA certificate", id)
}

// CACertificates lists the registered CAs by creation; template is the name of
// their provisioning template, "": any.
func (r *Registry) CACertificates(template string, p Page) ([]CA, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys, next, err := Cut(r.caOrder, p, func(key string) bool {
		config := r.authorities.items[orderID(key)].Config
		return template == "" || config != nil && config.TemplateName == template
	})
	return copies(&r.authorities, orderIDs(keys)), next, err
}

// CAUpdate says what to change of a CA.
type CAUpdate struct {
	Status       Status              // "": leave it
	Auto         *bool               // nil: leave it
	Config       *RegistrationConfig // nil: leave it
	RemoveConfig bool                // and have its certificates not registered by themselves; Config comes after it
}

// UpdateCA changes a registered CA. Certificates that it signed stay as they
// are (AWS IoT API reference, UpdateCACertificate).
func (r *Registry) UpdateCA(id string, u CAUpdate) error {
	if u.Status != "" && u.Status != Active && u.Status != Inactive {
		return errorf(InvalidRequest, "a CA certificate cannot be put into the status %q: use ACTIVE or INACTIVE", short(string(u.Status)))
	}
	return r.change(func(t *tx) error {
		old, err := r.authorityByID(id)
		if err != nil {
			return err
		}
		ca := *old
		if u.Status != "" {
			ca.Status = u.Status
		}
		if u.RemoveConfig {
			ca.Config, ca.Auto = nil, false
		}
		if u.Auto != nil {
			ca.Auto = *u.Auto
		}
		if u.Config != nil {
			ca.Config = u.Config
		}
		ca.Modified = now()
		ca.CustomerVersion++
		t.then(func() { r.authorities.put(id, &ca) })
		return t.set(kindCA, id, &ca)
	})
}

// DeleteCA removes a CA that is not active. Certificates that it signed stay.
func (r *Registry) DeleteCA(id string) error {
	return r.change(func(t *tx) error {
		ca, err := r.authorityByID(id)
		if err != nil {
			return err
		}
		if ca.Status == Active {
			return errorf(CertificateState, "CA certificate %s is ACTIVE: deactivate it with update-ca-certificate --new-status INACTIVE before deletion", id)
		}
		t.delete(kindCA, id)
		t.delete(kindTags, "cacert/"+id)
		t.then(func() {
			r.authorities.drop(id)
			r.caOrder = remove(r.caOrder, orderKey(ca.Created, id))
			delete(r.tags, "cacert/"+id)
		})
		return nil
	})
}
