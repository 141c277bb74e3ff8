package registry

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/policy"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
)

func open(t testing.TB, dir string) (*Registry, *store.Store) {
	t.Helper()
	st := storetest.Open(t, dir)
	r, err := Open(st, Options{HashIterations: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return r, st
}

func must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that err is a failure with that code and part of its text.
func refused(t testing.TB, err error, code Code, text string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Msg, text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}

// newCert registers a certificate for an ECDSA key, which is quick to make.
func newCert(t testing.TB, r *Registry, active bool) (Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	c, err := r.CreateCertificateFromCSR(newCSR(t, key), active)
	ok(t, err)
	return c, key
}

func newCSR(t testing.TB, key any) string {
	t.Helper()
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "board 1"}}, key))(t)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func parse(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", text)
	}
	return must(x509.ParseCertificate(block.Bytes))(t)
}

const allowAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

func TestAccountAndKeysSurviveReopen(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	if r.Account() != "000000000001" || r.ARN("topic/a") != "arn:aws:iot:us-east-1:000000000001:topic/a" {
		t.Errorf("account %s, ARN %s", r.Account(), r.ARN("topic/a"))
	}
	id, secret, err := r.CreateAccessKey()
	ok(t, err)
	if len(id) != 20 || !strings.HasPrefix(id, "AKIA") || len(secret) != 40 {
		t.Errorf("access key %q with a secret of %d characters", id, len(secret))
	}
	ca := string(r.CAPEM())
	ok(t, st.Close())

	r, st = open(t, dir)
	if got, found := r.AccessKey(id); got != secret || !found {
		t.Error("the access key is lost")
	}
	if string(r.CAPEM()) != ca {
		t.Error("the root CA is another one")
	}
	ok(t, r.DeleteAccessKey(id))
	if _, found := r.AccessKey(id); found || len(r.AccessKeys()) != 0 {
		t.Error("the access key is still there")
	}
	if _, err := Open(st, Options{Account: "123456789012"}); err == nil || !strings.Contains(err.Error(), "belongs to account 000000000001") {
		t.Errorf("another account: %v", err)
	}
	for _, o := range []Options{{Account: "12"}, {Region: "US East"}} {
		if _, err := Open(st, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestServerCertificate(t *testing.T) {
	r, _ := open(t, t.TempDir())
	cert := must(r.ServerCertificate([]string{"localhost", "127.0.0.1", "[::1]", "pi.local"}))(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CAPEM())
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "pi.local"} {
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if days := time.Until(cert.Leaf.NotAfter).Hours() / 24; days < 396 || days > 398 {
		t.Errorf("valid for %.0f days", days)
	}
	for _, bad := range [][]string{nil, {""}, {"a b"}, {"ok", strings.Repeat("x", 254)}} {
		if _, err := r.ServerCertificate(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestHandshake connects with an issued certificate, as a broker will.
func TestHandshake(t *testing.T) {
	r, _ := open(t, t.TempDir())
	c, keys, err := r.CreateKeysAndCertificate(true)
	ok(t, err)
	client := must(tls.X509KeyPair([]byte(c.PEM), []byte(keys.Private)))(t)
	server := must(r.ServerCertificate([]string{"localhost"}))(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.CAPEM())
	handshake := func() error {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		s := tls.Server(b, &tls.Config{
			Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12,
			VerifyConnection: func(cs tls.ConnectionState) error {
				_, err := r.VerifyCertificate(cs.PeerCertificates[0])
				return err
			},
		})
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		err := tls.Client(a, &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{client}}).Handshake()
		return errors.Join(err, <-done)
	}
	if err := handshake(); err != nil {
		t.Error(err)
	}
	ok(t, r.UpdateCertificate(c.ID, Inactive))
	if err := handshake(); err == nil || !strings.Contains(err.Error(), "is INACTIVE") {
		t.Errorf("got %v", err)
	}
}

func TestIssuedCertificate(t *testing.T) {
	r, _ := open(t, t.TempDir())
	c, keys, err := r.CreateKeysAndCertificate(true)
	ok(t, err)
	x := parse(t, c.PEM)
	if x.Subject.String() != "CN=AWS IoT Certificate" || !x.NotAfter.Equal(farFuture) || x.IsCA || !x.BasicConstraintsValid ||
		x.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(x.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("subject %s, until %s, CA %v, usage %v %v", x.Subject, x.NotAfter, x.IsCA, x.KeyUsage, x.ExtKeyUsage)
	}
	pub, isRSA := x.PublicKey.(*rsa.PublicKey)
	if !isRSA || pub.N.BitLen() != 2048 {
		t.Errorf("key %T", x.PublicKey)
	}
	private, _ := pem.Decode([]byte(keys.Private))
	key := must(x509.ParsePKCS1PrivateKey(private.Bytes))(t)
	public, _ := pem.Decode([]byte(keys.Public))
	if got := must(x509.ParsePKIXPublicKey(public.Bytes))(t); !key.PublicKey.Equal(got) || !key.PublicKey.Equal(pub) {
		t.Error("the keys and the certificate do not belong together")
	}
	if fingerprint(x) != c.ID || c.Status != Active {
		t.Errorf("%+v", c)
	}
}

func TestCSR(t *testing.T) {
	r, _ := open(t, t.TempDir())
	c, key := newCert(t, r, false)
	x := parse(t, c.PEM)
	if x.Subject.CommonName != "board 1" || !key.PublicKey.Equal(x.PublicKey) || c.Status != Inactive {
		t.Errorf("subject %s, status %s", x.Subject, c.Status)
	}
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))(t)
	if _, err := r.CreateCertificateFromCSR(newCSR(t, p384), true); err != nil {
		t.Error(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t)
	good := newCSR(t, key)
	block, _ := pem.Decode([]byte(good))
	block.Bytes[len(block.Bytes)-1] ^= 1
	for text, csr := range map[string]string{
		"not PEM":         "hello",
		"bytes, the limi": good + strings.Repeat("\n", maxCSR),
		"type of the key": newCSR(t, ed),
		"use RSA":         newCSR(t, p224),
		"not signed":      string(pem.EncodeToMemory(block)),
		"cannot be read":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte{1}})),
	} {
		_, err := r.CreateCertificateFromCSR(csr, true)
		refused(t, err, InvalidRequest, text)
	}
}

func TestVerifyCertificate(t *testing.T) {
	r, _ := open(t, t.TempDir())
	other, _ := open(t, t.TempDir())
	c, _ := newCert(t, r, true)
	x := parse(t, c.PEM)
	want := func(cert *x509.Certificate, text string) {
		t.Helper()
		id, err := r.VerifyCertificate(cert)
		if text == "" && (err != nil || id != c.ID) || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("got %s %v, want %q", id, err, text)
		}
	}
	want(x, "")
	want(nil, "sent no certificate")
	stranger, _ := newCert(t, other, true)
	want(parse(t, stranger.PEM), `issued by "CN=mote root CA", not by the root CA of this account`)
	early, late := *x, *x
	early.NotBefore, late.NotAfter = time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	want(&early, "set the clock")
	want(&late, "expired at")
	ok(t, r.UpdateCertificate(c.ID, Revoked))
	want(x, "is REVOKED: activate it")
	ok(t, r.DeleteCertificate(c.ID, false))
	want(x, "was issued here but is not registered any more")
	forged := &x509.Certificate{SerialNumber: big.NewInt(1), Issuer: r.ca.cert.Subject, RawIssuer: r.ca.cert.RawSubject, Raw: []byte{1}}
	want(forged, "not by the root CA")
}

func TestThings(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	room := map[string]string{"room": "kitchen"}
	a := must(r.CreateThing("a", room))(t)
	if a.Version != 1 || len(a.ID) != 36 {
		t.Errorf("%+v", a)
	}
	again := must(r.CreateThing("a", map[string]string{"room": "kitchen", "gone": ""}))(t)
	if again.ID != a.ID {
		t.Error("the same thing was made twice")
	}
	_, err := r.CreateThing("a", nil)
	refused(t, err, Exists, "Thing a already exists in account with different attributes")
	var e *Error
	if errors.As(err, &e); e.ResourceARN != "arn:aws:iot:us-east-1:000000000001:thing/a" || e.ResourceID != "a" {
		t.Errorf("%+v", e)
	}
	ok(t, r.UpdateThing("a", ThingUpdate{Attributes: map[string]string{"floor": "1"}, Merge: true, Expected: 1}))
	refused(t, r.UpdateThing("a", ThingUpdate{Expected: 1}), VersionConflict, "it is 2, expected was 1")
	if got := must(r.Thing("a"))(t); got.Version != 2 || !maps.Equal(got.Attributes, map[string]string{"room": "kitchen", "floor": "1"}) {
		t.Errorf("merged: %+v", got)
	}
	ok(t, r.UpdateThing("a", ThingUpdate{Attributes: map[string]string{"room": ""}, Merge: true}))
	ok(t, r.UpdateThing("a", ThingUpdate{}))
	if got := must(r.Thing("a"))(t); got.Version != 4 || !maps.Equal(got.Attributes, map[string]string{"floor": "1"}) {
		t.Errorf("removed: %+v", got)
	}
	ok(t, r.UpdateThing("a", ThingUpdate{Attributes: room}))
	ok(t, st.Close())

	r, _ = open(t, dir)
	if got := must(r.Thing("a"))(t); got.Version != 5 || !maps.Equal(got.Attributes, room) || got.ID != a.ID {
		t.Errorf("reopened: %+v", got)
	}
	refused(t, r.DeleteThing("a", 4), VersionConflict, "expected was 4")
	ok(t, r.DeleteThing("a", 5))
	ok(t, r.DeleteThing("a", 5))
	_, err = r.Thing("a")
	refused(t, err, NotFound, "Thing a does not exist")
	refused(t, r.UpdateThing("a", ThingUpdate{}), NotFound, "Thing a")
}

func TestThingLimits(t *testing.T) {
	r, _ := open(t, t.TempDir())
	long := strings.Repeat("x", 129)
	for _, name := range []string{"", "a b", "a/b", "é", long} {
		_, err := r.CreateThing(name, nil)
		refused(t, err, InvalidRequest, "thing name")
	}
	for text, attributes := range map[string]map[string]string{
		"attribute name":          {"a b": "c"},
		"value of attribute":      {"a": "b c"},
		`value of attribute "lo"`: {"lo": strings.Repeat("x", 801)},
		"has 4 attributes":        {"a": "1", "b": "1", "c": "1", "d": "1"},
	} {
		_, err := r.CreateThing("t", attributes)
		refused(t, err, InvalidRequest, text)
	}
	must(r.CreateThing(strings.Repeat("x", 128), map[string]string{long[:128]: strings.Repeat("[", 800)}))(t)
}

func TestPaging(t *testing.T) {
	r, _ := open(t, t.TempDir())
	for i := range 7 {
		must(r.CreateThing(fmt.Sprintf("t%d", i), map[string]string{"odd": fmt.Sprint(i % 2)}))(t)
	}
	list := func(f ThingFilter, p Page) (names []string) {
		t.Helper()
		for range 10 {
			things, next, err := r.Things(f, p)
			ok(t, err)
			if len(things) > p.Limit {
				t.Fatalf("a page of %d", len(things))
			}
			for _, x := range things {
				names = append(names, x.Name)
			}
			if p.Token = next; next == "" {
				return names
			}
			ok(t, r.DeleteThing("t2", 0)) // a token survives that its entry is deleted
		}
		t.Fatal("the list does not end")
		return nil
	}
	if got := list(ThingFilter{AttributeName: "odd", AttributeValue: "1"}, Page{Limit: 3}); !slices.Equal(got, []string{"t1", "t3", "t5"}) {
		t.Errorf("filtered: %v", got)
	}
	if got := list(ThingFilter{}, Page{Limit: 3}); !slices.Equal(got, []string{"t0", "t1", "t2", "t3", "t4", "t5", "t6"}) {
		t.Errorf("all: %v", got)
	}
	if got := list(ThingFilter{AttributeName: "odd", Prefix: true}, Page{Limit: 250}); len(got) != 6 {
		t.Errorf("prefix: %v", got)
	}
	for _, p := range []Page{{Limit: -1}, {Limit: 251}, {Token: "!"}, {Token: "eHg"}} {
		_, _, err := r.Things(ThingFilter{}, p)
		refused(t, err, InvalidRequest, "")
	}
}

func TestCertificateLifecycle(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	a, _ := newCert(t, r, true)
	time.Sleep(2 * time.Millisecond) // lists are in the order of creation, in milliseconds
	b, _ := newCert(t, r, true)
	must(r.CreateThing("t", nil))(t)
	must(r.CreatePolicy("p", allowAll, nil))(t)
	ok(t, r.AttachPolicy("p", a.ID))
	ok(t, r.AttachPolicy("p", a.ID))
	ok(t, r.AttachThingPrincipal("t", a.ID, false))
	refused(t, r.DeleteThing("t", 0), InvalidRequest, "Cannot delete. Thing t is still attached to one or more principals")
	refused(t, r.DeletePolicy("p"), DeleteConflict, "attached to one or more principals (name=p)")
	refused(t, r.DeleteCertificate(a.ID, true), CertificateState, "not ACTIVE")
	ok(t, r.UpdateCertificate(a.ID, Inactive))
	refused(t, r.DeleteCertificate(a.ID, true), DeleteConflict, "Things must be detached")
	ok(t, st.Close())

	r, st = open(t, dir)
	got := must(r.Certificate(a.ID))(t)
	if got.Status != Inactive || got.CustomerVersion != 2 || got.PEM != a.PEM || !got.Created.Equal(a.Created) {
		t.Errorf("reopened: %+v", got)
	}
	for descending, want := range map[bool][]string{false: {a.ID, b.ID}, true: {b.ID, a.ID}} {
		first, token, err := r.Certificates(Page{Limit: 1, Descending: descending})
		ok(t, err)
		second, end, err := r.Certificates(Page{Limit: 1, Token: token, Descending: descending})
		ok(t, err)
		if first[0].ID != want[0] || second[0].ID != want[1] || end != "" {
			t.Errorf("descending %v: %v %v", descending, first, second)
		}
	}
	ok(t, r.DetachThingPrincipal("t", a.ID))
	refused(t, r.DeleteCertificate(a.ID, false), DeleteConflict, "policies must be detached")
	ok(t, r.DeleteCertificate(a.ID, true))
	_, err := r.Certificate(a.ID)
	refused(t, err, NotFound, "does not exist")
	_, err = r.Certificate("xyz")
	refused(t, err, InvalidRequest, "64 hexadecimal")
	refused(t, r.UpdateCertificate(b.ID, "PENDING_TRANSFER"), InvalidRequest, "cannot be put into")
	ok(t, st.Close())

	r, _ = open(t, dir)
	if targets, _, err := r.PolicyTargets("p", Page{}); err != nil || len(targets) != 0 {
		t.Errorf("the policy is still attached to %v, err %v", targets, err)
	}
	ok(t, r.DeletePolicy("p"))
}

func TestPolicyVersions(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	_, err := r.CreatePolicy("p", `{"Version":"2012-10-17"}`, nil)
	refused(t, err, MalformedPolicy, "Policy document is Malformed: line 1, column 1: has no Statement")
	_, err = r.CreatePolicy("a b", allowAll, nil)
	refused(t, err, InvalidRequest, "policy name")
	must(r.CreatePolicy("p", allowAll, map[string]string{"team": "air"}))(t)
	_, err = r.CreatePolicy("p", allowAll, nil)
	refused(t, err, Exists, "name already exists (name=p)")
	for i := 2; i <= 5; i++ {
		v := must(r.CreatePolicyVersion("p", strings.Replace(allowAll, "iot:*", fmt.Sprintf("iot:v%d", i), 1), i == 3))(t)
		if v.ID != i {
			t.Errorf("version %d has id %d", i, v.ID)
		}
	}
	_, err = r.CreatePolicyVersion("p", allowAll, false)
	refused(t, err, VersionsLimit, "The policy p already has the maximum number of versions (5)")
	refused(t, r.DeletePolicyVersion("p", 3), InvalidRequest, "default version")
	refused(t, r.DeletePolicyVersion("p", 9), NotFound, "version 9")
	refused(t, r.SetDefaultPolicyVersion("p", 9), NotFound, "version 9")
	ok(t, r.DeletePolicyVersion("p", 5))
	if v := must(r.CreatePolicyVersion("p", allowAll, false))(t); v.ID != 6 {
		t.Errorf("an id was used twice: %d", v.ID)
	}
	refused(t, r.DeletePolicy("p"), DeleteConflict, "one or more policy versions")
	ok(t, st.Close())

	r, _ = open(t, dir)
	p := must(r.Policy("p"))(t)
	if p.Default != 3 || len(p.Versions) != 5 || p.Last != 6 || !maps.Equal(r.Tags("policy/p"), map[string]string{"team": "air"}) {
		t.Errorf("reopened: %+v, tags %v", p, r.Tags("policy/p"))
	}
	for _, v := range p.Versions {
		if v.ID != 3 {
			ok(t, r.DeletePolicyVersion("p", v.ID))
		}
	}
	ok(t, r.DeletePolicy("p"))
	if tags := r.Tags("policy/p"); len(tags) != 0 {
		t.Errorf("tags outlive the policy: %v", tags)
	}
}

func TestJudgeFollowsChanges(t *testing.T) {
	r, _ := open(t, t.TempDir())
	c, _ := newCert(t, r, true)
	must(r.CreateThing("pi", map[string]string{"room": "attic"}))(t)
	doc := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}-${iot:Connection.Thing.Attributes[room]}"}}`
	must(r.CreatePolicy("p", doc, nil))(t)
	allowed := func() bool {
		s := &policy.Subject{CertificateID: c.ID, ClientID: "pi"}
		return r.Judge(s).Decide("iot:Connect", r.ARN("client/pi-attic")).Allowed
	}
	calls := 0
	r.OnChange(func() { calls++ })
	steps := []struct {
		name    string
		do      func() error
		allowed bool
		changes bool
	}{
		{"nothing is attached", func() error { return nil }, false, false},
		{"attach the policy", func() error { return r.AttachPolicy("p", c.ID) }, false, true},
		{"attach it again", func() error { return r.AttachPolicy("p", c.ID) }, false, false},
		{"attach the thing", func() error { return r.AttachThingPrincipal("pi", c.ID, false) }, true, true},
		{"another thing", func() error { _, err := r.CreateThing("x", nil); return err }, true, false},
		{"another attribute", func() error {
			return r.UpdateThing("pi", ThingUpdate{Attributes: map[string]string{"room": "cellar"}})
		}, false, true},
		{"a version that is not the default", func() error { _, err := r.CreatePolicyVersion("p", allowAll, false); return err }, false, false},
		{"make it the default", func() error { return r.SetDefaultPolicyVersion("p", 2) }, true, true},
		{"tags", func() error { return r.SetTags("policy/p", map[string]string{"a": "b"}, nil) }, true, false},
		{"detach the policy", func() error { return r.DetachPolicy("p", c.ID) }, false, true},
		{"deactivate", func() error { return r.UpdateCertificate(c.ID, Inactive) }, false, true},
	}
	for _, s := range steps {
		epoch, before := r.Epoch(), calls
		ok(t, s.do())
		if got := allowed(); got != s.allowed {
			t.Errorf("%s: allowed %v", s.name, got)
		}
		if got := r.Epoch() != epoch; got != s.changes || (calls != before) != s.changes {
			t.Errorf("%s: epoch changed %v, %d calls", s.name, got, calls-before)
		}
	}
}

func TestAttachments(t *testing.T) {
	dir := t.TempDir()
	r, st := open(t, dir)
	a, _ := newCert(t, r, true)
	b, _ := newCert(t, r, true)
	must(r.CreateThing("t1", nil))(t)
	must(r.CreateThing("t2", nil))(t)
	must(r.CreatePolicy("p", allowAll, nil))(t)
	unknown := strings.Repeat("0", 64)
	refused(t, r.AttachPolicy("q", a.ID), NotFound, "Policy q")
	refused(t, r.AttachPolicy("p", unknown), NotFound, "Certificate 000")
	refused(t, r.AttachThingPrincipal("t9", a.ID, false), NotFound, "Thing t9")
	refused(t, r.AttachThingPrincipal("t1", unknown, false), NotFound, "Certificate 000")
	ok(t, r.DetachPolicy("p", a.ID))
	ok(t, r.DetachThingPrincipal("t1", a.ID))
	ok(t, r.AttachThingPrincipal("t1", a.ID, true))
	refused(t, r.AttachThingPrincipal("t2", a.ID, false), InvalidRequest, "belongs to thing t1 alone")
	ok(t, r.AttachThingPrincipal("t1", b.ID, false))
	ok(t, r.AttachThingPrincipal("t2", b.ID, false))
	refused(t, r.AttachThingPrincipal("t2", b.ID, true), InvalidRequest, "it is attached to t1")
	ok(t, st.Close())

	r, _ = open(t, dir)
	if !r.Exclusive("t1", a.ID) || r.Exclusive("t1", b.ID) {
		t.Error("who is exclusive was not kept")
	}
	certs, _, err := r.ThingPrincipals("t1", Page{})
	ok(t, err)
	things, _, err := r.PrincipalThings(b.ID, Page{})
	ok(t, err)
	if want := slices.Sorted(slices.Values([]string{a.ID, b.ID})); !slices.Equal(certs, want) || !slices.Equal(things, []string{"t1", "t2"}) {
		t.Errorf("principals %v, things %v", certs, things)
	}
	for i := range maxPolicies {
		name := fmt.Sprintf("p%d", i)
		must(r.CreatePolicy(name, allowAll, nil))(t)
		ok(t, r.AttachPolicy(name, a.ID))
	}
	refused(t, r.AttachPolicy("p", a.ID), LimitExceeded, "has 10 policies already")
	if id, err := r.CertificateID(r.ARN("cert/" + a.ID)); err != nil || id != a.ID {
		t.Errorf("%s %v", id, err)
	}
	for _, arn := range []string{"", a.ID, "arn:aws:iot:eu-west-1:000000000001:cert/" + a.ID, r.ARN("cert/1")} {
		_, err := r.CertificateID(arn)
		refused(t, err, InvalidRequest, "is not the ARN of a certificate")
	}
}

func TestConcurrentUse(t *testing.T) {
	r, _ := open(t, t.TempDir())
	c, _ := newCert(t, r, true)
	x := parse(t, c.PEM)
	must(r.CreatePolicy("p", allowAll, nil))(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20 {
				name := fmt.Sprintf("t%d-%d", g, i)
				if _, err := r.CreateThing(name, nil); err != nil {
					t.Error(err)
				}
				_ = r.AttachThingPrincipal(name, c.ID, false)
				_ = r.AttachPolicy("p", c.ID)
				_ = r.DetachPolicy("p", c.ID)
			}
		})
		wg.Go(func() {
			for range 200 {
				_, err := r.VerifyCertificate(x)
				if err != nil {
					t.Error(err)
				}
				r.Judge(&policy.Subject{CertificateID: c.ID, ClientID: "t0-0"}).Decide("iot:Connect", r.ARN("client/t0-0"))
				_, _, _ = r.Things(ThingFilter{}, Page{Limit: 5})
			}
		})
	}
	wg.Wait()
	if things, _, _ := r.Things(ThingFilter{}, Page{}); len(things) != 80 {
		t.Errorf("%d things", len(things))
	}
}

func TestTagLimits(t *testing.T) {
	r, _ := open(t, t.TempDir())
	many := map[string]string{}
	for i := range maxTags + 1 {
		many[fmt.Sprint(i)] = ""
	}
	for text, tags := range map[string]map[string]string{
		"50 tags": many, "tag key": {"": "x"}, "reserved": {"aws:x": "y"}, "value of tag": {"a": strings.Repeat("x", 257)},
	} {
		refused(t, r.SetTags("rule/r", tags, nil), InvalidRequest, text)
	}
	ok(t, r.SetTags("rule/r", map[string]string{"a": "1", "b": "2"}, nil))
	ok(t, r.SetTags("rule/r", map[string]string{"c": "3"}, []string{"a"}))
	if got := r.Tags("rule/r"); !maps.Equal(got, map[string]string{"b": "2", "c": "3"}) {
		t.Errorf("%v", got)
	}
	ok(t, r.DropTags("rule/r"))
	if got := r.Tags("rule/r"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestKeysAreNotKept looks for private keys in what the store holds.
func TestKeysAreNotKept(t *testing.T) {
	r, st := open(t, t.TempDir())
	_, keys, err := r.CreateKeysAndCertificate(true)
	ok(t, err)
	block, _ := pem.Decode([]byte(keys.Private))
	it := must(st.Iterator([]byte{0}, []byte{255}))(t)
	defer it.Close()
	n := 0
	for it.First(); it.Valid(); it.Next() {
		n++
		if strings.Contains(string(it.Value()), "PRIVATE") || strings.Contains(string(it.Value()), string(block.Bytes[100:150])) {
			t.Errorf("record %q holds a private key", it.Key())
		}
	}
	if n < 4 {
		t.Errorf("looked at %d records only", n)
	}
}
