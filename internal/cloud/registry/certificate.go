package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Status is the state of a certificate. Only Active ones may connect.
type Status string

// The states that a certificate can be in, or be put in.
const (
	Active   Status = "ACTIVE"
	Inactive Status = "INACTIVE"
	Revoked  Status = "REVOKED"
	// PendingActivation is a certificate that was made for provisioning, or that
	// a device of a registered CA brought along; nobody can ask for it.
	PendingActivation Status = "PENDING_ACTIVATION"
)

// Certificate is a registered client certificate.
type Certificate struct {
	ID              string    `json:"id"` // lower-case hex SHA-256 of the DER certificate
	Status          Status    `json:"status"`
	Created         time.Time `json:"created"`
	Modified        time.Time `json:"modified"`
	NotBefore       time.Time `json:"not_before"`
	NotAfter        time.Time `json:"not_after"`
	CustomerVersion int       `json:"customer_version"` // grows with each change
	GenerationID    string    `json:"generation_id"`
	CA              string    `json:"ca,omitempty"`   // id of the registered CA that signed it; "": none
	Mode            Mode      `json:"mode,omitempty"` // "" is ModeDefault
	PEM             string    `json:"-"`              // a record of its own; "" in lists
}

// Parse reads the certificate itself; c is not of a list.
func (c *Certificate) Parse() (*x509.Certificate, error) {
	return readCertificate("certificate", c.PEM)
}

// KeyPair is a new key pair in PEM. It is not kept anywhere.
type KeyPair struct{ Public, Private string }

var certificateIDForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// orderKey sorts by creation; the id makes it unique.
func orderKey(created time.Time, id string) string {
	return fmt.Sprintf("%020d%s", created.UnixMilli(), id)
}

// orderID is the id in an orderKey.
func orderID(key string) string { return key[20:] }

func orderIDs(keys []string) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = orderID(k)
	}
	return ids
}

func (r *Registry) loadCertificate(id string, data []byte) error {
	c := new(Certificate)
	if err := json.Unmarshal(data, c); err != nil {
		return err
	}
	r.certificates.put(id, c)
	r.certOrder = append(r.certOrder, orderKey(c.Created, id))
	return nil
}

// deviceSubject is the subject of certificates whose key was made here, as on AWS.
var deviceSubject = pkix.Name{CommonName: "AWS IoT Certificate"}

// CreateKeysAndCertificate makes an RSA 2048 key pair and a certificate for
// it (AWS IoT API reference,
// CreateKeysAndCertificate).
func (r *Registry) CreateKeysAndCertificate(active bool) (Certificate, KeyPair, error) {
	key, keys, err := newKeyPair()
	if err != nil {
		return Certificate{}, KeyPair{}, err
	}
	c, err := r.issue(deviceSubject, key.Public(), active)
	return c, keys, err
}

// pairPEM is a key pair in PEM.
func pairPEM(key *rsa.PrivateKey) (KeyPair, error) {
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	return KeyPair{
		Public:  string(pemOf("PUBLIC KEY", pub)),
		Private: string(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))),
	}, err
}

// maxCSR is the greatest size of a certificate signing request in bytes (API
// model).
const maxCSR = 4096

// CreateCertificateFromCSR issues a certificate for the key and the subject of
// a certificate signing request in PEM.
func (r *Registry) CreateCertificateFromCSR(csr string, active bool) (Certificate, error) {
	req, err := readCSR(csr)
	if err != nil {
		return Certificate{}, err
	}
	return r.issueRaw(req.RawSubject, pkix.Name{}, req.PublicKey, active)
}

// readCSR reads a certificate signing request in PEM that its key signed.
func readCSR(csr string) (*x509.CertificateRequest, error) {
	if len(csr) > maxCSR {
		return nil, errorf(InvalidRequest, "the certificate signing request has %d bytes, the limit is %d", len(csr), maxCSR)
	}
	block, _ := pem.Decode([]byte(csr))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, errorf(InvalidRequest, "the certificate signing request is not PEM with the type CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errorf(InvalidRequest, "the certificate signing request cannot be read: %v", err)
	}
	if err := checkPublicKey(req.PublicKey); err != nil {
		return nil, err
	}
	if err := req.CheckSignature(); err != nil {
		return nil, errorf(InvalidRequest, "the certificate signing request is not signed with its key: %v", err)
	}
	return req, nil
}

func checkPublicKey(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 8192 {
			return errorf(InvalidRequest, "the RSA key has %d bits: use one of 2048 to 8192", n)
		}
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
			return nil
		}
	}
	return errorf(InvalidRequest, "the type of the key is not supported: use RSA of at least 2048 bits, or ECDSA on P-256, P-384 or P-521")
}

func (r *Registry) issue(subject pkix.Name, pub any, active bool) (Certificate, error) {
	return r.issueRaw(nil, subject, pub, active)
}

// issueRaw issues and registers a client certificate; raw is the subject as it
// stands in a signing request, or nil.
func (r *Registry) issueRaw(raw []byte, subject pkix.Name, pub any, active bool) (Certificate, error) {
	cert, err := r.sign(raw, subject, pub, farFuture)
	if err != nil {
		return Certificate{}, err
	}
	c := newCertificate(cert, Inactive)
	if active {
		c.Status = Active
	}
	return c, r.change(func(t *tx) error { return r.addCertificate(t, c) })
}

// sign issues a client certificate.
func (r *Registry) sign(raw []byte, subject pkix.Name, pub any, until time.Time) (*x509.Certificate, error) {
	return r.ca.issue(&x509.Certificate{
		RawSubject: raw, Subject: subject, NotAfter: until,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, pub)
}

// newCertificate is what is kept of a certificate that is registered now.
func newCertificate(cert *x509.Certificate, status Status) Certificate {
	at := now()
	return Certificate{
		ID: fingerprint(cert), Status: status, Created: at, Modified: at, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		CustomerVersion: 1, GenerationID: newUUID(), PEM: string(pemOf("CERTIFICATE", cert.Raw)),
	}
}

// addCertificate registers c with its PEM.
func (r *Registry) addCertificate(t *tx, c Certificate) error {
	if _, ok := r.certificates.get(c.ID); ok {
		e := errorf(Exists, "The certificate is already provisioned or registered: %s", c.ID)
		e.ResourceID, e.ResourceARN = c.ID, r.ARN("cert/"+c.ID)
		return e
	}
	t.judges = true
	t.b.Set(key(kindCertPEM, c.ID), []byte(c.PEM))
	c.PEM = ""
	t.then(func() {
		r.certificates.put(c.ID, &c)
		r.certOrder = insert(r.certOrder, orderKey(c.Created, c.ID))
	})
	return t.set(kindCert, c.ID, &c)
}

// fingerprint is the certificate id, as on AWS: the SHA-256 of the DER, in hex.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Certificate returns a certificate with its PEM.
func (r *Registry) Certificate(id string) (Certificate, error) {
	r.mu.RLock()
	found, err := r.certificate(id)
	r.mu.RUnlock()
	if err != nil {
		return Certificate{}, err
	}
	out := *found
	data, ok, err := r.st.Get(key(kindCertPEM, id))
	if err == nil && !ok {
		err = errorf(NotFound, "Certificate %s does not exist", id) // deleted just now
	}
	out.PEM = string(data)
	return out, err
}

// certificate finds a certificate; mu or writeMu is held.
func (r *Registry) certificate(id string) (*Certificate, error) {
	if !certificateIDForm.MatchString(id) {
		return nil, errorf(InvalidRequest, "the certificate id %q is not valid: it must be 64 hexadecimal digits in lower case", short(id))
	}
	return r.certificates.find("Certificate", id)
}

// Certificates lists certificates by creation, and the token of the next page.
func (r *Registry) Certificates(p Page) ([]Certificate, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.listCertificates(p, nil)
}

// listCertificates lists those that keep accepts by their orderKey; mu is held.
func (r *Registry) listCertificates(p Page, keep func(string) bool) ([]Certificate, string, error) {
	keys, next, err := Cut(r.certOrder, p, keep)
	return copies(&r.certificates, orderIDs(keys)), next, err
}

// UpdateCertificate puts a certificate into another state. The other states of
// the API are for its own use (AWS IoT API reference, UpdateCertificate).
func (r *Registry) UpdateCertificate(id string, status Status) error {
	if status != Active && status != Inactive && status != Revoked {
		return errorf(InvalidRequest, "a certificate cannot be put into the status %q: use ACTIVE, INACTIVE or REVOKED", short(string(status)))
	}
	return r.change(func(t *tx) error {
		old, err := r.certificate(id)
		if err != nil || old.Status == status {
			return err
		}
		c := *old
		c.Status, c.Modified = status, now()
		c.CustomerVersion++
		t.judges = true
		t.then(func() { r.certificates.put(id, &c) })
		return t.set(kindCert, id, &c)
	})
}

// CertificatesByCA lists, as [Registry.Certificates] does, those that a
// registered CA signed.
func (r *Registry) CertificatesByCA(ca string, p Page) ([]Certificate, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.authorityByID(ca); err != nil {
		return nil, "", err
	}
	return r.listCertificates(p, func(key string) bool { return r.certificates.items[orderID(key)].CA == ca })
}

// DeleteCertificate removes a certificate that is not active and not attached
// to a thing; with force also from the policies attached to it.
func (r *Registry) DeleteCertificate(id string, force bool) error {
	return r.change(func(t *tx) error {
		c, err := r.certificate(id)
		if err != nil {
			return err
		}
		policies := slices.Clone(r.attached.left(id))
		switch {
		case c.Status == Active:
			return errorf(CertificateState, "Certificate must be deactivated (not ACTIVE) before deletion.")
		case len(r.principals.left(id)) > 0:
			return errorf(DeleteConflict, "Things must be detached before deletion (arn: %s)", r.ARN("cert/"+id))
		case len(policies) > 0 && !force:
			return errorf(DeleteConflict, "Certificate policies must be detached before deletion (arn: %s)", r.ARN("cert/"+id))
		}
		r.dropCertificate(t, c, policies)
		return nil
	})
}

// dropCertificate removes a certificate, and takes the policies from it.
func (r *Registry) dropCertificate(t *tx, c *Certificate, policies []string) {
	t.judges = true
	t.delete(kindCert, c.ID)
	t.delete(kindCertPEM, c.ID)
	for _, name := range policies {
		t.delete(kindAttached, pair(name, c.ID))
	}
	t.then(func() {
		r.certificates.drop(c.ID)
		r.certOrder = remove(r.certOrder, orderKey(c.Created, c.ID))
		for _, name := range policies {
			r.attached.drop(name, c.ID)
		}
	})
}

// VerifyCertificate says whether a client with this certificate may connect,
// and its id. The error says why not, and what to do. A certificate is known
// by its SHA-256, so that a known one needs no check of its signature. One that
// is unknown and comes from a CA with automatic registration is registered on
// the way, see [Registry.OnRegistered].
func (r *Registry) VerifyCertificate(cert *x509.Certificate) (certificateID string, err error) {
	if cert == nil {
		return "", errors.New("the client sent no certificate: it must connect with one that is registered here")
	}
	id := fingerprint(cert)
	r.mu.RLock()
	known, ok := r.certificates.get(id)
	r.mu.RUnlock()
	at := time.Now()
	switch {
	case !ok:
		return id, r.unknown(cert, id)
	case known.Status == PendingActivation:
		r.announce(*known)
		return id, fmt.Errorf("certificate %s is PENDING_ACTIVATION: activate it with update-certificate --new-status ACTIVE, or have it provisioned", id)
	case known.Status != Active:
		return id, fmt.Errorf("certificate %s is %s: activate it with update-certificate --new-status ACTIVE", id, known.Status)
	case at.Before(cert.NotBefore):
		return id, fmt.Errorf("certificate %s is not valid before %s: set the clock of this machine", id, cert.NotBefore.Format(time.RFC3339))
	case at.After(cert.NotAfter):
		return id, fmt.Errorf("certificate %s expired at %s: make a new one", id, cert.NotAfter.Format(time.RFC3339))
	}
	return id, nil
}

// unknown says why a certificate is not registered.
func (r *Registry) unknown(cert *x509.Certificate, id string) error {
	if cert.CheckSignatureFrom(r.ca.cert) == nil {
		return fmt.Errorf("certificate %s was issued here but is not registered any more: make a new one", id)
	}
	if ca, found := r.issuerOf(cert, true); found {
		return r.registerJustInTime(cert, ca)
	}
	issuer := short(strings.ToValidUTF8(cert.Issuer.String(), "?"))
	return fmt.Errorf("certificate %s was issued by %q, not by the root CA of this account: use one that create-keys-and-certificate made here, or register it with register-certificate or register-certificate-without-ca", id, issuer)
}
