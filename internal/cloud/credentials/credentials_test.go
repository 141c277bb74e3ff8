package credentials

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/sigv4"
)

const (
	role      = "arn:aws:iam::000000000001:role/gateway"
	assume    = `{"Effect":"Allow","Action":"iot:AssumeRoleWithCertificate","Resource":"arn:aws:iot:us-east-1:000000000001:rolealias/${iot:Connection.Thing.ThingName}-*"}`
	publish   = `{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:000000000001:topic/sensors/*"}`
	documents = `{"Version":"2012-10-17","Statement":[` + assume + "," + publish + `]}`
)

// world is a provider over a registry with the thing pi, its certificate and
// the role aliases pi-a and other.
type world struct {
	*Provider
	t    *testing.T
	st   *store.Store
	cert registry.Certificate
	log  *refusal.Log
	now  time.Time
}

func newWorld(t *testing.T, roles ...Role) *world {
	t.Helper()
	w := &world{t: t, st: storetest.Open(t, t.TempDir()), log: refusal.New(nil), now: time.Now()}
	w.open(roles...)
	var err error
	w.cert, _, err = w.reg.CreateKeysAndCertificate(true)
	must(t, err)
	_, err = w.reg.CreatePolicy("devices", documents, nil)
	must(t, err)
	_, err = w.reg.CreateThing("pi", map[string]string{})
	must(t, err)
	must(t, w.reg.AttachPolicy("devices", w.cert.ID))
	must(t, w.reg.AttachThingPrincipal("pi", w.cert.ID, false))
	for _, name := range []string{"pi-a", "other"} {
		_, err = w.reg.CreateRoleAlias(name, role, 0, nil)
		must(t, err)
	}
	return w
}

// open opens the registry, the first time or again, and a provider over it.
func (w *world) open(roles ...Role) {
	w.t.Helper()
	reg, err := registry.Open(w.st, registry.Options{})
	must(w.t, err)
	w.Provider, err = New(reg, Options{Region: "us-east-1", Roles: roles, Refusals: w.log, Now: func() time.Time { return w.now }})
	must(w.t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get asks for the credentials of an alias as the thing; "" does not say it.
func (w *world) get(alias, thing string) (int, string, accessKey) {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/role-aliases/"+alias+"/credentials", nil)
	r.Header.Set("x-amzn-iot-thingname", thing)
	block, _ := pem.Decode([]byte(w.cert.PEM))
	cert, err := x509.ParseCertificate(block.Bytes)
	must(w.t, err)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r.WithContext(awsapi.WithCaller(r.Context(), awsapi.Identity{CertificateID: w.cert.ID, SourceIP: "127.0.0.1"})))
	var body struct{ Credentials accessKey }
	_ = json.Unmarshal(answer.Body.Bytes(), &body) // a refusal has none
	return answer.Code, answer.Body.String(), body.Credentials
}

// key asks for credentials that must be given.
func (w *world) key() accessKey {
	w.t.Helper()
	status, text, key := w.get("pi-a", "pi")
	if status != http.StatusOK || key.Secret == "" {
		w.t.Fatalf("%d %s", status, text)
	}
	return key
}

func (w *world) want(k accessKey, code, diagnosis string) {
	w.t.Helper()
	s, e := w.Session(k.ID, k.Token)
	switch {
	case code == "" && (e != nil || s.Secret != k.Secret):
		w.t.Errorf("a good key: %v, %v", s, e)
	case code != "" && (e == nil || e.Code != code || !strings.Contains(e.Diagnosis, diagnosis)):
		w.t.Errorf("want %s for %q, got %+v", code, diagnosis, e)
	}
}

func TestWhoGetsCredentials(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		alias, thing string
		status       int
		message      string
		reason       string // in the log
	}{
		{"pi-a", "elsewhere", 403, "Invalid thing name passed", `"elsewhere"`},
		{"pi-a", "", 403, "Access Denied", "no statement allows iot:AssumeRoleWithCertificate"}, // the policy asks for the thing
		{"other", "pi", 403, "Access Denied", "rolealias/other"},
		{"pi-b", "pi", 404, "Role alias does not exist", "pi-b"},
		{"pi-a", "pi", 200, `"accessKeyId":"ASIA`, ""},
	} {
		status, text, key := w.get(c.alias, c.thing)
		if status != c.status || !strings.Contains(text, c.message) || (key.ID != "") != (c.status == 200) {
			t.Errorf("%s as %q: %d %s", c.alias, c.thing, status, text)
		}
		if last, _ := w.log.Recent(1); c.reason != "" && (len(last) == 0 || !strings.Contains(last[0].Reason, c.reason)) {
			t.Errorf("%s as %q: the log says %+v", c.alias, c.thing, last)
		}
	}
	key := w.key()
	if ends, err := time.Parse(time.RFC3339, key.Expiration); err != nil || ends.Sub(w.now).Round(time.Minute) != time.Hour || len(key.Secret) != 40 || len(key.ID) != 20 {
		t.Errorf("%+v: %v", key, err)
	}
}

func TestHowCredentialsEnd(t *testing.T) {
	w := newWorld(t)
	k := w.key()
	w.want(k, "", "")
	w.want(accessKey{ID: k.ID}, sigv4.CodeUnknownKey, "no session token")
	w.want(accessKey{ID: k.ID, Token: w.key().Token}, sigv4.CodeUnknownKey, "not given here")
	w.want(accessKey{ID: k.ID, Token: k.Token[:len(k.Token)-2]}, sigv4.CodeUnknownKey, "not given here")
	w.want(accessKey{ID: k.ID, Token: k.Token + strings.Repeat("A", maxToken)}, sigv4.CodeUnknownKey, "not given here")

	w.open() // again: nothing of a key is kept, and yet it is good
	w.want(k, "", "")

	must(t, w.reg.UpdateCertificate(w.cert.ID, registry.Inactive))
	w.want(k, sigv4.CodeUnknownKey, "INACTIVE")
	must(t, w.reg.UpdateCertificate(w.cert.ID, registry.Active))
	w.want(k, "", "")

	must(t, w.reg.DeleteRoleAlias("pi-a"))
	w.want(k, sigv4.CodeUnknownKey, "does not exist")
	_, err := w.reg.CreateRoleAlias("pi-a", role, 15*time.Minute, nil)
	must(t, err)
	w.want(k, sigv4.CodeUnknownKey, "made again")

	k = w.key()
	w.now = w.now.Add(15*time.Minute - time.Second)
	w.want(k, "", "")
	w.now = w.now.Add(time.Second)
	w.want(k, sigv4.CodeExpired, "ended at")

	other := newWorld(t) // another account's key opens nothing
	other.want(k, sigv4.CodeUnknownKey, "not given here")
}

func TestWhatARoleMayDo(t *testing.T) {
	const told = "arn:aws:iam::000000000001:role/told"
	w := newWorld(t, Role{told, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"dynamodb:Query","Resource":"arn:aws:dynamodb:us-east-1:000000000001:table/${credentials-iot:ThingName}"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:us-east-1:000000000001:topic/all/*"}]}`})
	for _, c := range []struct {
		role, action, resource string
		may                    bool
	}{
		{role, "dynamodb:BatchWriteItem", "table/air", true},
		{role, "dynamodb:Query", "table/air", false},
		{role, "dynamodb:DeleteTable", "table/air", false},
		{role, "execute-api:Invoke", "abc/prod/POST/dust", true},
		{role, "iot:Publish", "topic/sensors/1/air", true},
		{role, "iot:Publish", "topic/all/1", false}, // the certificate may not
		{role, "iot:GetThingShadow", "thing/pi", false},
		{told, "dynamodb:Query", "table/pi", true},
		{told, "dynamodb:Query", "table/air", false},
		{told, "dynamodb:PutItem", "table/pi", false},
		{told, "iot:Publish", "topic/all/1", true},
		{told, "iot:Publish", "topic/sensors/1/air", false},
	} {
		must(t, w.reg.UpdateRoleAlias("pi-a", c.role, 0))
		k := w.key()
		s, e := w.Session(k.ID, k.Token)
		if e != nil {
			t.Fatal(e)
		}
		if err := s.May(c.action, c.resource, "127.0.0.1"); (err == nil) != c.may {
			t.Errorf("%s: %s on %s: %v", c.role, c.action, c.resource, err)
		}
		if want := "arn:aws:sts::000000000001:assumed-role/" + c.role[strings.LastIndex(c.role, "/")+1:] + "/" + w.cert.ID; s.Principal != want {
			t.Errorf("principal %s", s.Principal)
		}
	}
	if _, err := New(w.reg, Options{Roles: []Role{{told, `{"Statement":"x"}`}}}); err == nil || !strings.Contains(err.Error(), told) {
		t.Errorf("a bad policy of a role: %v", err)
	}
}

// TestDeniedByCertificate: what the certificate's policies deny it by what it is,
// they deny its temporary keys.
func TestDeniedByCertificate(t *testing.T) {
	w := newWorld(t)
	_, err := w.reg.CreatePolicy("not", `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iot:Publish","Resource":"*",
		"Condition":{"StringLike":{"iot:Certificate.Issuer.CommonName":"*"}}}]}`, nil)
	must(t, err)
	may := func() error {
		k := w.key()
		s, e := w.Session(k.ID, k.Token)
		if e != nil {
			t.Fatal(e)
		}
		return s.May("iot:Publish", "topic/sensors/1", "127.0.0.1")
	}
	must(t, may())
	must(t, w.reg.AttachPolicy("not", w.cert.ID))
	if err := may(); err == nil || !strings.Contains(err.Error(), `"not" denies`) {
		t.Errorf("denied by its issuer: %v", err)
	}
}

func FuzzSessionToken(f *testing.F) {
	s, err := newSealer(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.seal("ASIAX", contents{Alias: "a", Certificate: "c"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("ASIAX", good)
	f.Add("ASIAX", good[:20])
	f.Add("", "AQ")
	f.Fuzz(func(t *testing.T, id, token string) {
		if c, err := s.open(id, token); err == nil && (id != "ASIAX" || c.Alias != "a") {
			t.Errorf("%q with %q opens as %+v", token, id, c)
		}
	})
}
