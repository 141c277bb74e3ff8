package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// owner is somebody who has a CA.
type owner struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func (o owner) pem() string { return string(pemOf("CERTIFICATE", o.cert.Raw)) }

func newOwner(t testing.TB, name string, change func(*x509.Certificate)) owner {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	o := owner{key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, o.key.Public(), o.key))(t)
	o.cert = must(x509.ParseCertificate(der))(t)
	return o
}

// sign returns a certificate in PEM that the owner's CA signed, and parsed.
func (o owner) sign(t testing.TB, name string, change func(*x509.Certificate)) (string, *x509.Certificate) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(template)
	}
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	der := must(x509.CreateCertificate(rand.Reader, template, o.cert, key.Public(), o.key))(t)
	return string(pemOf("CERTIFICATE", der)), must(x509.ParseCertificate(der))(t)
}

func (o owner) register(t testing.TB, r *Registry, n NewCA) CA {
	t.Helper()
	code := must(r.RegistrationCode())(t)
	n.PEM = o.pem()
	n.Verification, _ = o.sign(t, code, nil)
	return must(r.RegisterCA(n))(t)
}

func TestRegisterCA(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	o := newOwner(t, "factory", nil)
	refused(t, r.DeleteRegistrationCode(), NotFound, "get-registration-code")
	text, _ := o.sign(t, strings.Repeat("0", 64), nil)
	_, err := r.RegisterCA(NewCA{PEM: o.pem(), Verification: text})
	refused(t, err, RegistrationCodeValidation, "get-registration-code")
	code := must(r.RegistrationCode())(t)
	if again := must(r.RegistrationCode())(t); again != code || len(code) != 64 {
		t.Errorf("codes %q and %q", code, again)
	}
	for _, c := range []struct {
		name string
		n    NewCA
		code Code
		text string
	}{
		{"no PEM", NewCA{PEM: "x"}, CertificateValidation, "PEM"},
		{"too long", NewCA{PEM: strings.Repeat("x", 65537)}, InvalidRequest, "65537"},
		{"no verification", NewCA{PEM: o.pem()}, InvalidRequest, "verification"},
		{"wrong name", NewCA{PEM: o.pem(), Verification: text}, RegistrationCodeValidation, "00000"},
		{"not a CA", NewCA{PEM: text}, CertificateValidation, "CA:TRUE"},
		{"mode", NewCA{PEM: o.pem(), Mode: "X"}, InvalidRequest, "SNI_ONLY"},
		{"SNI with verification", NewCA{PEM: o.pem(), Mode: ModeSNIOnly, Verification: text}, InvalidRequest, "leave it out"},
	} {
		_, err := r.RegisterCA(c.n)
		t.Run(c.name, func(t *testing.T) { refused(t, err, c.code, c.text) })
	}
	stranger := newOwner(t, "factory", nil) // the same name, another key
	text, _ = stranger.sign(t, code, nil)
	_, err = r.RegisterCA(NewCA{PEM: o.pem(), Verification: text})
	refused(t, err, CertificateValidation, "not signed by the CA")
	old := newOwner(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	text, _ = old.sign(t, code, nil)
	_, err = r.RegisterCA(NewCA{PEM: old.pem(), Verification: text})
	refused(t, err, CertificateValidation, "expired")

	ca := o.register(t, r, NewCA{Active: true, Tags: map[string]string{"a": "b"}, Config: &RegistrationConfig{TemplateName: "t"}})
	_, err = r.RegisterCA(NewCA{PEM: o.pem(), Verification: text})
	refused(t, err, Exists, ca.ID)
	sni := must(r.RegisterCA(NewCA{PEM: stranger.pem(), Mode: ModeSNIOnly}))(t)
	ok(t, st.Close())

	r, _ = open(t, dir)
	if got := must(r.CACertificate(ca.ID))(t); got.Status != Active || got.Auto || got.PEM != o.pem() || got.Config.TemplateName != "t" || r.Tags("cacert/" + ca.ID)["a"] != "b" {
		t.Errorf("reopened: %+v", got)
	}
	if again := must(r.RegistrationCode())(t); again != code {
		t.Error("the registration code is another one after a restart")
	}
	refused(t, r.DeleteCA(ca.ID), CertificateState, "INACTIVE")
	refused(t, r.UpdateCA(ca.ID, CAUpdate{Status: Revoked}), InvalidRequest, "REVOKED")
	on := true
	ok(t, r.UpdateCA(ca.ID, CAUpdate{Status: Inactive, Auto: &on, RemoveConfig: true}))
	if got := must(r.CACertificate(ca.ID))(t); got.Status != Inactive || !got.Auto || got.Config != nil || got.CustomerVersion != 2 {
		t.Errorf("updated: %+v", got)
	}
	ok(t, r.DeleteCA(ca.ID))
	if list, _, err := r.CACertificates("", Page{}); err != nil || len(list) != 1 || list[0].ID != sni.ID || len(r.Tags("cacert/"+ca.ID)) != 0 {
		t.Errorf("list %v, err %v", list, err)
	}
}

func TestRegisterCertificate(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	o := newOwner(t, "factory", nil)
	text, cert := o.sign(t, "board", nil)
	_, err := r.RegisterCertificate(text, "", Active)
	refused(t, err, CertificateValidation, "no registered CA")
	_, err = r.RegisterCertificate(text, o.pem(), Active)
	refused(t, err, CertificateValidation, "not registered")
	ca := o.register(t, r, NewCA{})
	_, err = r.RegisterCertificate(text, "", Active)
	refused(t, err, CertificateState, "activate")
	ok(t, r.UpdateCA(ca.ID, CAUpdate{Status: Active}))
	_, err = r.RegisterCertificate(text, "", PendingActivation)
	refused(t, err, InvalidRequest, "PENDING_ACTIVATION")
	got := must(r.RegisterCertificate(text, "", Active))(t)
	if got.ID != fingerprint(cert) || got.CA != ca.ID || got.Status != Active || got.PEM != text {
		t.Errorf("registered %+v", got)
	}
	_, err = r.RegisterCertificate(text, o.pem(), Active)
	refused(t, err, Exists, got.ID)
	if _, err := r.VerifyCertificate(cert); err != nil {
		t.Errorf("a registered certificate is refused: %v", err)
	}
	_, err = r.RegisterCertificate(o.pem(), "", Active)
	refused(t, err, CertificateValidation, "one of a CA")
	expired, _ := o.sign(t, "old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	_, err = r.RegisterCertificate(expired, "", Active)
	refused(t, err, CertificateValidation, "expired")

	alone := newOwner(t, "nobody knows it", nil)
	text, cert = alone.sign(t, "board", nil)
	free := must(r.RegisterCertificateWithoutCA(text, ""))(t)
	if free.Status != Inactive || free.Mode != ModeSNIOnly || free.CA != "" {
		t.Errorf("without CA: %+v", free)
	}
	if _, err := r.VerifyCertificate(cert); err == nil || !strings.Contains(err.Error(), "INACTIVE") {
		t.Errorf("inactive: %v", err)
	}
	ok(t, st.Close())
	r, _ = open(t, dir)
	if list, _, err := r.CertificatesByCA(ca.ID, Page{}); err != nil || len(list) != 1 || list[0].ID != got.ID {
		t.Errorf("by CA: %v, %v", list, err)
	}
	_, _, err = r.CertificatesByCA(strings.Repeat("0", 64), Page{})
	refused(t, err, NotFound, "does not exist")
}

// TestRegisterOwn registers certificates again that were made here.
func TestRegisterOwn(t *testing.T) {
	r, _ := open(t, t.TempDir())
	made, _, err := r.CreateKeysAndCertificate(false)
	ok(t, err)
	for _, register := range []func() (Certificate, error){
		func() (Certificate, error) { return r.RegisterCertificate(made.PEM, "", Revoked) },
		func() (Certificate, error) { return r.RegisterCertificateWithoutCA(made.PEM, Revoked) },
	} {
		_, err := register()
		refused(t, err, Exists, "already provisioned or registered")
		ok(t, r.DeleteCertificate(made.ID, false))
		got := must(register())(t)
		if got.ID != made.ID || got.Status != Revoked || got.CA != "" || got.PEM != made.PEM {
			t.Errorf("registered %+v", got)
		}
	}
}

// TestSmallKeys: certificates with keys that AWS does not take.
func TestSmallKeys(t *testing.T) {
	r, _ := open(t, t.TempDir())
	o := newOwner(t, "factory", nil)
	small := must(rsa.GenerateKey(rand.Reader, 1024))(t)
	template := &x509.Certificate{SerialNumber: newSerial(), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, o.cert, small.Public(), o.key))(t)
	_, err := r.RegisterCertificateWithoutCA(string(pemOf("CERTIFICATE", der)), Active)
	refused(t, err, CertificateValidation, "1024 bits")
}

// TestConflictingCAs: two registered certificates of one CA key.
func TestConflictingCAs(t *testing.T) {
	r, _ := open(t, t.TempDir())
	o := newOwner(t, "factory", nil)
	o.register(t, r, NewCA{Active: true})
	template := *o.cert
	template.SerialNumber = big.NewInt(2)
	der := must(x509.CreateCertificate(rand.Reader, &template, &template, o.key.Public(), o.key))(t)
	other := owner{o.key, must(x509.ParseCertificate(der))(t)}
	second := other.register(t, r, NewCA{Active: true})
	text, _ := o.sign(t, "board", nil)
	_, err := r.RegisterCertificate(text, "", Active)
	refused(t, err, CertificateConflict, "caCertificatePem")
	if got := must(r.RegisterCertificate(text, other.pem(), Active))(t); got.CA != second.ID {
		t.Errorf("registered with CA %s", got.CA)
	}
}

func TestJustInTimeRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := open(t, t.TempDir())
		o := newOwner(t, "factory", nil)
		ca := o.register(t, r, NewCA{Active: true, Auto: true})
		var mu sync.Mutex
		var told []Certificate
		r.OnRegistered(func(c Certificate, by CA) {
			mu.Lock()
			defer mu.Unlock()
			if by.ID != ca.ID {
				t.Errorf("told of CA %s", by.ID)
			}
			told = append(told, c)
		})
		_, cert := o.sign(t, "board", nil)
		var all sync.WaitGroup
		for range 4 { // as often as impatient devices do
			all.Go(func() {
				if _, err := r.VerifyCertificate(cert); err == nil || !strings.Contains(err.Error(), "PENDING_ACTIVATION") {
					t.Errorf("an unknown certificate: %v", err)
				}
			})
		}
		all.Wait()
		id := fingerprint(cert)
		if len(told) != 1 || told[0].ID != id || told[0].Status != PendingActivation {
			t.Fatalf("told %v", told)
		}
		time.Sleep(announceEvery)
		_, _ = r.VerifyCertificate(cert)
		if len(told) != 2 {
			t.Errorf("told %d times when the device came back", len(told))
		}
		ok(t, r.UpdateCertificate(id, Active))
		if _, err := r.VerifyCertificate(cert); err != nil {
			t.Errorf("activated: %v", err)
		}
		if _, cert := newOwner(t, "factory", nil).sign(t, "forged", nil); cert != nil {
			if _, err := r.VerifyCertificate(cert); err == nil || strings.Contains(err.Error(), "PENDING") {
				t.Errorf("a certificate of another CA with the same name: %v", err)
			}
		}
		off := false
		ok(t, r.UpdateCA(ca.ID, CAUpdate{Auto: &off}))
		_, cert = o.sign(t, "late", nil)
		if _, err := r.VerifyCertificate(cert); err == nil || strings.Contains(err.Error(), "PENDING") {
			t.Errorf("automatic registration is off: %v", err)
		}
		if n := len(told); n != 2 {
			t.Errorf("told %d times", n)
		}
	})
}
