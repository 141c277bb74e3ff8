package registry

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"time"
)

// RegisterCertificate registers a device certificate that a registered CA
// signed, or the root CA of this account; ca is that CA in PEM, and may be ""
// when only one fits (AWS IoT API reference, RegisterCertificate).
func (r *Registry) RegisterCertificate(text, ca string, status Status) (Certificate, error) {
	cert, status, err := checkDevice(text, status)
	if err != nil {
		return Certificate{}, err
	}
	var c Certificate
	err = r.change(func(t *tx) error {
		if c = newCertificate(cert, status); ca == "" && cert.CheckSignatureFrom(r.ca.cert) == nil { // it was issued here, and deleted
			return r.addCertificate(t, c)
		}
		issuer, err := r.findIssuer(cert, ca)
		if err != nil {
			return err
		}
		if issuer.Status != Active {
			return errorf(CertificateState, "CA certificate %s is %s: activate it with update-ca-certificate --new-status ACTIVE", issuer.ID, issuer.Status)
		}
		c.CA, c.Mode = issuer.ID, issuer.Mode
		return r.addCertificate(t, c)
	})
	return c, err
}

// RegisterCertificateWithoutCA registers a device certificate whoever signed
// it (AWS IoT API reference, RegisterCertificateWithoutCA).
func (r *Registry) RegisterCertificateWithoutCA(text string, status Status) (Certificate, error) {
	cert, status, err := checkDevice(text, status)
	if err != nil {
		return Certificate{}, err
	}
	c := newCertificate(cert, status)
	c.Mode = ModeSNIOnly
	return c, r.change(func(t *tx) error { return r.addCertificate(t, c) })
}

// checkDevice reads a device certificate that is to be registered with status,
// or with Inactive when that is "".
func checkDevice(text string, status Status) (*x509.Certificate, Status, error) {
	if status == "" {
		status = Inactive
	}
	if status != Active && status != Inactive && status != Revoked {
		return nil, "", errorf(InvalidRequest, "a certificate cannot be registered with the status %q: use ACTIVE, INACTIVE or REVOKED", short(string(status)))
	}
	cert, err := readCertificate("certificate", text)
	if err != nil {
		return nil, "", err
	}
	if err := checkPublicKey(cert.PublicKey); err != nil {
		return nil, "", errorf(CertificateValidation, "the certificate: %v", err)
	}
	if cert.BasicConstraintsValid && cert.IsCA {
		return nil, "", errorf(CertificateValidation, "the certificate is one of a CA: register it with register-ca-certificate")
	}
	return cert, status, checkValidity("certificate", cert)
}

// findIssuer finds the registered CA that signed cert; text is the CA in PEM,
// or "". writeMu is held.
func (r *Registry) findIssuer(cert *x509.Certificate, text string) (*CA, error) {
	if text != "" {
		ca, err := readCertificate("CA certificate", text)
		if err != nil {
			return nil, err
		}
		known, ok := r.authorities.get(fingerprint(ca))
		if !ok {
			return nil, errorf(CertificateValidation, "the CA %q is not registered: register it with register-ca-certificate, or the certificate with register-certificate-without-ca", short(ca.Subject.String()))
		}
		return known, checkSignedBy("certificate", cert, known.cert)
	}
	var found *CA
	for _, ca := range r.authorities.items {
		if !signed(cert, ca) {
			continue
		}
		if found != nil {
			return nil, errorf(CertificateConflict, "several registered CAs have the key that signed the certificate: send the right one in caCertificatePem")
		}
		found = ca
	}
	if found == nil {
		return nil, errorf(CertificateValidation, "the certificate was issued by %q, which is no registered CA: register the CA with register-ca-certificate, or the certificate with register-certificate-without-ca", short(cert.Issuer.String()))
	}
	return found, nil
}

func signed(cert *x509.Certificate, ca *CA) bool {
	return bytes.Equal(cert.RawIssuer, ca.cert.RawSubject) && cert.CheckSignatureFrom(ca.cert) == nil
}

// issuerOf returns an active registered CA that signed cert; auto asks for one
// with automatic registration.
func (r *Registry) issuerOf(cert *x509.Certificate, auto bool) (CA, bool) {
	r.mu.RLock()
	candidates := make([]*CA, 0, 1)
	for _, ca := range r.authorities.items {
		if ca.Status == Active && (ca.Auto || !auto) && bytes.Equal(cert.RawIssuer, ca.cert.RawSubject) {
			candidates = append(candidates, ca)
		}
	}
	r.mu.RUnlock()
	for _, ca := range candidates {
		if signed(cert, ca) {
			return *ca, true
		}
	}
	return CA{}, false
}

// OnRegistered has f called when a device brought a certificate of a CA with
// automatic registration along: just after it was registered as
// [PendingActivation], and again when the device comes back while it still is,
// at most twice a minute, so that a call that a crash swallowed is made up for
// (AWS IoT developer guide, "Register a client certificate when the client
// connects (just-in-time registration)"). f runs in the handshake, without a lock held.
func (r *Registry) OnRegistered(f func(Certificate, CA)) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.registered = f
}

// announceEvery is the least time between two calls for one certificate.
const announceEvery = 30 * time.Second

// registerJustInTime registers the certificate of a device that connects. The
// handshake has not yet shown that the device has the key; that the CA signed
// the certificate is what counts, and it is not active yet.
func (r *Registry) registerJustInTime(cert *x509.Certificate, ca CA) error {
	if _, _, err := checkDevice(string(pemOf("CERTIFICATE", cert.Raw)), ""); err != nil {
		return err
	}
	c := newCertificate(cert, PendingActivation)
	c.CA, c.Mode = ca.ID, ca.Mode
	err := r.change(func(t *tx) error { return r.addCertificate(t, c) })
	var known *Error
	if err != nil && (!errors.As(err, &known) || known.Code != Exists) { // another connection was first
		return fmt.Errorf("certificate %s cannot be registered: %w", c.ID, err)
	}
	r.announce(c)
	return fmt.Errorf("certificate %s of CA %s was unknown and is now registered as PENDING_ACTIVATION: activate it, then connect again", c.ID, ca.ID)
}

// announce calls what OnRegistered was given, unless it did so just now.
func (r *Registry) announce(c Certificate) {
	r.mu.RLock()
	ca, ok := r.authorities.get(c.CA)
	r.mu.RUnlock()
	if !ok || ca.Status != Active || !ca.Auto {
		return
	}
	at := time.Now()
	r.hookMu.Lock()
	f := r.registered
	last, again := r.announced[c.ID]
	if f == nil || again && at.Sub(last) < announceEvery {
		r.hookMu.Unlock()
		return
	}
	maps.DeleteFunc(r.announced, func(_ string, last time.Time) bool { return at.Sub(last) >= announceEvery })
	r.announced[c.ID] = at
	r.hookMu.Unlock()
	f(c, *ca)
}
