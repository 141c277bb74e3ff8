package iotcore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/mqtttest"
)

// fleet is a server of fleet provisioning that answers functions.
type fleet struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	ends   time.Time // of what it signs
	signed int
	active []string // tokens, in the order in which they came
	lost   string   // the answer on a topic with this in it gets lost
	refuse string   // code of the refusal of tokens
}

var errLost = errors.New("the answer is lost")

func newFleet(t *testing.T) *fleet {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{t: t, key: key, ends: time.Now().Add(24 * time.Hour)}
}

// issue makes a certificate for a public key.
func (f *fleet) issue(public any, from, until time.Time) []byte {
	f.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(f.signed + 1)), Subject: pkix.Name{CommonName: "pi"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der)
}

// ask is an asking.
func (f *fleet) ask(topic string, in, out any) error {
	switch in := in.(type) {
	case map[string]string:
		block, _ := pem.Decode([]byte(in["certificateSigningRequest"]))
		request, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || request.CheckSignature() != nil || topic != signTopic {
			f.t.Fatalf("%s: %v", topic, err)
		}
		f.signed++
		*out.(*issued) = issued{string(f.issue(request.PublicKey, time.Now(), f.ends)), strings.Repeat("t", f.signed)}
	case map[string]any:
		if f.refuse != "" {
			return &refusedError{Status: 400, Code: f.refuse}
		}
		f.active = append(f.active, in["certificateOwnershipToken"].(string))
	}
	if f.lost != "" && strings.Contains(topic, f.lost) {
		return errLost
	}
	return nil
}

// roof is a gateway's certificate that ends in an hour, in files.
func (f *fleet) roof() (*renewal, *x509.Certificate) {
	f.t.Helper()
	dir := f.t.TempDir()
	files := Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	der, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	place(f.t, files.Key, pemOf("PRIVATE KEY", der))
	place(f.t, files.Cert, f.issue(f.key.Public(), time.Now().Add(-24*time.Hour), time.Now().Add(time.Hour)))
	return f.start(files), f.leaf(files)
}

// start makes what is known of a renewal anew, as after a kill.
func (f *fleet) start(files Files) *renewal {
	return newRenewal(Options{ClientID: "pi", Files: files, Renewal: Renewal{Template: "roofs"}}, slog.New(slog.DiscardHandler))
}

func (f *fleet) leaf(files Files) *x509.Certificate {
	f.t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		f.t.Fatal(err)
	}
	return pair.Leaf
}

// wantNew says that a new certificate lies beside the old one, which still has
// its key, and that nothing of the renewal is left.
func (f *fleet) wantNew(files Files) {
	f.t.Helper()
	f.leaf(files)
	next, ok := files.next()
	if !ok || next.Key == files.Key {
		f.t.Fatalf("no new certificate with a key: %+v", next)
	}
	f.leaf(next)
	for _, path := range []string{next.Key, next.Cert} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			f.t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Dir(files.Cert) + "/*" + RenewalSuffix); len(left) > 0 {
		f.t.Errorf("left over: %v", left)
	}
}

func TestARenewalGoesOnAfterEveryLoss(t *testing.T) {
	for _, c := range []struct {
		lost   string
		signed int // requests in all
	}{{"", 1}, {"create-from-csr", 2}, {"provision", 1}} {
		f := newFleet(t)
		r, leaf := f.roof()
		f.lost = c.lost
		if err := r.renew(f.ask, leaf, time.Now()); (c.lost != "") != errors.Is(err, errLost) {
			t.Fatalf("with the answer of %q lost: %v", c.lost, err)
		}
		f.lost = ""
		if c.lost != "" {
			if _, ok := r.files.next(); ok {
				t.Fatalf("with the answer of %q lost there is a new certificate", c.lost)
			}
			if err := f.start(r.files).renew(f.ask, leaf, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		f.wantNew(r.files)
		if f.signed != c.signed || f.active[0] != f.active[len(f.active)-1] {
			t.Errorf("with the answer of %q lost: %d signed, activated %v", c.lost, f.signed, f.active)
		}
	}
}

func TestAKillWhileTheFilesAreHandedOver(t *testing.T) {
	for steps := range 5 {
		f := newFleet(t)
		r, leaf := f.roof()
		f.lost = "provision"
		if err := r.renew(f.ask, leaf, time.Now()); !errors.Is(err, errLost) {
			t.Fatal(err)
		}
		f.lost = ""
		got, active := r.resume(time.Now())
		if got == nil || active {
			t.Fatal("nothing was kept of the answer")
		}
		all := r.files.renewed([]byte(got.Certificate))
		if len(all) != 4 {
			t.Fatalf("%d steps: test each of them", len(all))
		}
		if err := perform(all[:steps]); err != nil {
			t.Fatal(err)
		}
		f.leaf(r.files) // the old pair works at any moment
		again := f.start(r.files)
		if _, there := r.files.next(); !there {
			if err := again.renew(f.ask, leaf, time.Now()); err != nil {
				t.Fatalf("after %d steps: %v", steps, err)
			}
			f.wantNew(r.files)
		}
		if f.signed != 1 {
			t.Errorf("after %d steps another certificate was asked for", steps)
		}
		if err := perform(r.files.adoption(Files{Cert: r.files.Cert + NextSuffix, Key: r.files.Key + NextSuffix})); err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		if !f.leaf(r.files).NotAfter.After(leaf.NotAfter) {
			t.Errorf("after %d steps the old certificate is in use", steps)
		}
		if got, _ := again.resume(time.Now()); got != nil {
			t.Errorf("after %d steps the renewal goes on for ever", steps)
		}
	}
}

func TestWhatARenewalRefuses(t *testing.T) {
	f := newFleet(t)
	r, leaf := f.roof()
	f.ends = leaf.NotAfter
	if err := r.renew(f.ask, leaf, time.Now()); err == nil || !strings.Contains(err.Error(), "not after the one in use") {
		t.Errorf("a certificate that ends no later: %v", err)
	}
	f.ends = time.Now().Add(24 * time.Hour)
	f.refuse = "InvalidCertificateOwnershipToken"
	if err := r.renew(f.ask, leaf, time.Now()); err == nil {
		t.Error("a refused token is no error")
	}
	if got, _ := r.resume(time.Now()); got != nil {
		t.Error("a refused token is kept")
	}
	f.refuse = "AccessDenied"
	if err := r.renew(f.ask, leaf, time.Now()); err == nil {
		t.Error("a refused request is no error")
	}
	if got, _ := r.resume(time.Now()); got == nil {
		t.Error("a token is lost that is still good")
	}
	if got, _ := r.resume(time.Now().Add(tokenLife)); got != nil {
		t.Error("a token is used that has ended")
	}
	place(t, r.files.Key+NextSuffix, []byte("a key of somebody"))
	if err := r.renew(f.ask, leaf, time.Now().Add(tokenLife)); err == nil || !strings.Contains(err.Error(), "lies there without a certificate") {
		t.Errorf("beside a key that somebody put there: %v", err)
	}
	if data := read(t, r.files.Key+NextSuffix); !bytes.Equal(data, []byte("a key of somebody")) {
		t.Error("somebody's key was overwritten")
	}
}

func TestWhenACertificateIsRenewed(t *testing.T) {
	day := 24 * time.Hour
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ life, before, at time.Duration }{
		{365 * day, 30 * day, 335 * day},
		{30 * day, 30 * day, 20 * day}, // not at once, and again and again
		{30 * day, day, 29 * day},
	} {
		if at := renewalAt(&x509.Certificate{NotBefore: from, NotAfter: from.Add(c.life)}, c.before); at.Sub(from) != c.at {
			t.Errorf("%v before the end of %v: after %v", c.before, c.life, at.Sub(from))
		}
	}
	f := newFleet(t)
	r, _ := f.roof()
	place(t, r.files.Cert+RefusedSuffix, nil)
	if now := time.Now(); !r.refusedLately(now) || r.refusedLately(now.Add(leastBetween+time.Minute)) {
		t.Error("a certificate that did not work is not waited for")
	}
	r.renewedAt = from
	for life, wait := range map[time.Duration]time.Duration{365 * day: day, 3 * time.Hour: time.Hour} {
		leaf := &x509.Certificate{NotBefore: from, NotAfter: from.Add(life)}
		if !r.renewedLately(leaf, from.Add(wait-time.Second)) || r.renewedLately(leaf, from.Add(wait)) {
			t.Errorf("a certificate of %v that is always due is not renewed each %v", life, wait)
		}
	}
}

// TestAServerThatShutsOnARenewal is one as AWS IoT Core, which ends the connection
// of a client that may not subscribe: it is told, asked rarely, and gets readings.
func TestAServerThatShutsOnARenewal(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	d := startDoor(t, certs, "old")
	p := newPi(t, certs, d.l.Addr().String(), issue(t, certs, "old", time.Now().Add(30*time.Minute)))
	p.template = "roofs"
	stop := p.start()
	p.feed("why the certificate was not renewed", func() bool { return p.log.Count("the certificate could not be renewed") > 0 })
	before := d.count("old")
	p.feed("deliveries after it", func() bool { return d.count("old") > before+20 })
	p.q.WaitEmpty(t)
	stop()
	if p.log.Count("could not be renewed") != 1 || p.log.Count("allow iot:Subscribe") != 1 {
		t.Error(p.log)
	}
}

func TestARenewalNeedsAFileForTheKey(t *testing.T) {
	o := Options{Endpoint: "a", ClientID: "pi", Files: Files{Cert: "both.pem", Key: "both.pem"}, Renewal: Renewal{Template: "roofs"}}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "a file of its own") {
		t.Errorf("certificate and key in one file: %v", err)
	}
}

func TestALongClientIDIsCutInTheRequest(t *testing.T) {
	for id, want := range map[string]string{"pi": "pi", strings.Repeat("ü", 64) + "x": strings.Repeat("ü", 64)} {
		if r := newRenewal(Options{ClientID: id, Renewal: Renewal{Template: "roofs"}}, nil); r.subject != want {
			t.Errorf("the request for %q is of %q", id, r.subject)
		}
	}
}

func FuzzRenewalAnswer(f *testing.F) {
	for _, s := range []string{`{"certificatePem":"x","certificateOwnershipToken":"t"}`, `{"statusCode":400,"errorCode":"InvalidParameters","errorMessage":"m"}`, `[]`, ``, `{"statusCode":"x"}`} {
		f.Add(true, []byte(s))
		f.Add(false, []byte(s))
	}
	f.Fuzz(func(t *testing.T, accepted bool, data []byte) {
		topic := signTopic + "/rejected"
		if accepted {
			topic = signTopic + "/accepted"
		}
		got := &issued{}
		read, err := readAnswer(&mqtt.Publish{Topic: topic, Payload: data}, signTopic, got)
		if !read || !accepted && err == nil {
			t.Errorf("%q: %v, %v", data, read, err)
		}
		r := &renewal{files: Files{Key: filepath.Join(t.TempDir(), "key.pem")}}
		if err == nil && r.check(got, &x509.Certificate{}) == nil {
			t.Errorf("%q fits no key, and passes", data)
		}
	})
}
