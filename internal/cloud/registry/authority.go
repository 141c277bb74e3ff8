package registry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"
)

// authority is the account's root CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// authorityRecord is the one record of kindAuthority.
type authorityRecord struct {
	Certificate []byte `json:"certificate"` // DER
	Key         []byte `json:"key"`         // PKCS #8
}

// farFuture is the end of what this CA issues to devices, as on AWS
// as on AWS, and of the CA itself: the last second
// that every X.509 library can tell.
var farFuture = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)

// backdate lets devices whose clock is behind accept a new certificate.
const backdate = 24 * time.Hour

// serverValidity is how long a server certificate is valid; browsers refuse
// longer ones.
const serverValidity = 397 * 24 * time.Hour

func (r *Registry) openAuthority() error {
	var rec authorityRecord
	found, err := r.read(kindAuthority, "", &rec)
	if err != nil {
		return err
	}
	if !found {
		if rec, err = newAuthority(); err != nil {
			return fmt.Errorf("make the root CA: %w", err)
		}
		err = r.change(func(t *tx) error { return t.set(kindAuthority, "", rec) })
		if err != nil {
			return err
		}
	}
	r.ca, err = rec.parse()
	return err
}

func newAuthority() (authorityRecord, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authorityRecord{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "mote root CA"},
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              farFuture,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authorityRecord{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return authorityRecord{cert, der}, err
}

func (rec authorityRecord) parse() (*authority, error) {
	cert, err := x509.ParseCertificate(rec.Certificate)
	if err != nil {
		return nil, fmt.Errorf("root CA certificate: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(rec.Key)
	if err != nil {
		return nil, fmt.Errorf("root CA key: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("root CA key: it is a %T, not ECDSA", key)
	}
	return &authority{cert, ec, pemOf("CERTIFICATE", rec.Certificate)}, nil
}

// newSerial returns a random certificate serial number of 159 bits, never
// negative and never zero (RFC 5280, section 4.1.2.2).
func newSerial() *big.Int {
	var b [20]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// CAPEM returns the root CA's certificate, which devices trust.
func (r *Registry) CAPEM() []byte { return append([]byte{}, r.ca.pem...) }

// ServerCertificate issues a certificate for a listener that is reached by
// hosts: DNS names and IP addresses. It is valid for 397 days: ask for a new
// one at every start.
func (r *Registry) ServerCertificate(hosts []string) (tls.Certificate, error) {
	if len(hosts) == 0 {
		return tls.Certificate{}, errors.New("a server certificate needs at least one host name")
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: hosts[0]},
		NotAfter:    time.Now().Add(serverValidity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(hosts[0]) > 64 { // the upper bound of a common name (RFC 5280, appendix A.1)
		template.Subject.CommonName = "mote"
	}
	for _, h := range hosts {
		if ip, err := netip.ParseAddr(strings.Trim(h, "[]")); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.Unmap().WithZone("").AsSlice())
		} else if err := checkHost(h); err != nil {
			return tls.Certificate{}, err
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := r.ca.issue(template, key.Public())
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("server certificate for %s: %w", strings.Join(hosts, ", "), err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func checkHost(h string) error {
	bad := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._*", c)
	}
	if h == "" || len(h) > 253 || strings.IndexFunc(h, bad) >= 0 {
		return fmt.Errorf("%q is neither a host name nor an IP address", h)
	}
	return nil
}

// issue signs template for the holder of pub; it sets what all certificates
// have in common.
func (a *authority) issue(template *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	template.SerialNumber = newSerial()
	template.NotBefore = time.Now().Add(-backdate)
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, pub, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
