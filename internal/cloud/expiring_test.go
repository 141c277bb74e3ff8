package cloud

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/registry"
)

// TestLookAtCertificates lets the time go by: the server certificate is renewed
// while it is served, and a device's certificate is warned of.
func TestLookAtCertificates(t *testing.T) {
	const day = 24 * time.Hour
	c := start(t, t.TempDir())
	id := shortLived(t, c.registry, 400*day)
	log := &bytes.Buffer{}
	own := &Cloud{registry: c.registry, serverCert: c.serverCert, log: slog.New(slog.NewTextHandler(log, nil))}
	begin, warned := time.Now(), time.Time{}
	look := func(days int) string {
		log.Reset()
		own.lookAtCertificates(begin.Add(time.Duration(days)*day+time.Minute), &warned)
		return log.String()
	}
	first, _ := c.serverCert.get(nil)
	if text := look(300); text != "" || c.serverCert.current.Load() != first || len(own.expiringNow()) != 0 {
		t.Errorf("something happened before its time: %q", text)
	}
	if text := look(368); c.serverCert.current.Load() == first || strings.Count(text, "was renewed") != 1 {
		t.Errorf("not renewed: %q", text)
	}
	if d := connect(t, c, "dev", admin(t, c)); d == nil {
		t.Error("nobody can connect after the renewal")
	}
	for days, want := range map[int]string{371: "within_days=30", 394: "within_days=7", 399: "within a day", 401: "has expired"} {
		warned = time.Time{}
		if text := look(days); !strings.Contains(text, id) || !strings.Contains(text, want) {
			t.Errorf("after %d days: %q, want %s", days, text, want)
		}
	}
	if list := own.expiringNow(); len(list) != 1 || list[0].ID != id || list[0].Name != "old-board" {
		t.Errorf("the console has %v", list)
	}
	look(401)
	if text := look(401); strings.Contains(text, id) {
		t.Errorf("said twice on one day: %q", text)
	}
	if err := c.registry.UpdateCertificate(id, registry.Inactive); err != nil {
		t.Fatal(err)
	}
	if text := look(403); strings.Contains(text, id) {
		t.Errorf("deactivated: %q", text)
	}
}

// shortLived registers a certificate of a thing that ends after d.
func shortLived(t *testing.T, reg *registry.Registry, d time.Duration) string {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old"}, NotBefore: time.Now(), NotAfter: time.Now().Add(d)}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issue(t, cert, cert, key, key)})
	c, err := reg.RegisterCertificateWithoutCA(string(text), registry.Active)
	if err == nil {
		_, err = reg.CreateThing("old-board", nil)
	}
	if err == nil {
		err = reg.AttachThingPrincipal("old-board", c.ID, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}
