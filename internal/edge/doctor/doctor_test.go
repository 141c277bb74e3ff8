package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mote/internal/config"
	"mote/internal/watch"
)

// gatewayFile is a configuration with a spool in a directory of its own.
func gatewayFile(t *testing.T) *config.File {
	t.Helper()
	return &config.File{Gateway: &config.Gateway{Name: "roof", Thing: "off", Spool: config.Spool{Dir: filepath.Join(t.TempDir(), "spool"), MaxBytes: 4 << 20}}}
}

// find returns the result of one check.
func find(t *testing.T, results []Result, check string) Result {
	t.Helper()
	for _, r := range results {
		if r.Check == check {
			return r
		}
	}
	t.Fatalf("there is no check %q in %+v", check, results)
	return Result{}
}

func examine(t *testing.T, f *config.File, now time.Time) []Result {
	t.Helper()
	return Examine(t.Context(), f, Options{Timeout: watch.Patience, Now: func() time.Time { return now }})
}

func want(t *testing.T, r Result, level Level, text string) {
	t.Helper()
	if r.Level != level || !strings.Contains(r.Text, text) || (level == Fail || level == Warn) && r.Remedy == "" {
		t.Errorf("%s: %s %q (remedy %q), want %s with %q", r.Check, r.Level, r.Text, r.Remedy, level, text)
	}
}

func TestTLSFaultsAreToldApart(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	leaf := server.Certificate()
	for name, c := range map[string]struct {
		url, ca string
		now     time.Time
		level   Level
		text    string
	}{
		"well":        {server.URL, ca, time.Now(), OK, "certificate of"},
		"unknown CA":  {server.URL, "", time.Now(), Fail, "comes from no CA that is trusted here"},
		"other name":  {"https://localhost:" + port, ca, time.Now(), Fail, "not for this name"},
		"clock back":  {server.URL, ca, leaf.NotBefore.Add(-time.Hour), Fail, "the clock is wrong"},
		"clock ahead": {server.URL, ca, leaf.NotAfter.Add(time.Hour), Fail, "ended on"},
	} {
		t.Run(name, func(t *testing.T) {
			f := gatewayFile(t)
			f.Uplink.REST = &config.UplinkREST{URL: c.url + "/prod/dust", Auth: "none", CA: c.ca}
			results := examine(t, f, c.now)
			want(t, find(t, results, "uplink.rest tls"), c.level, c.text)
			want(t, find(t, results, "uplink.rest network"), OK, "answers")
			if Healthy(results) != (c.level == OK) {
				t.Errorf("%+v", results)
			}
		})
	}
}

func TestTheClockIsComparedWithTheServers(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	for off, level := range map[time.Duration]Level{0: OK, time.Minute: Warn, -10 * time.Minute: Fail} {
		f := gatewayFile(t)
		f.Uplink.REST = &config.UplinkREST{URL: server.URL, Auth: "none"}
		now := func() time.Time { return time.Now().Add(off) }
		want(t, find(t, Examine(t.Context(), f, Options{Timeout: watch.Patience, Now: now}), "clock against the server"), level, "it differs by")
	}
	f := gatewayFile(t)
	want(t, find(t, examine(t, f, time.Unix(0, 0)), "clock"), Fail, "1970-01-01")
}

func TestLinesThatAreNotThere(t *testing.T) {
	f := gatewayFile(t)
	plain := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f.Sources = []config.Source{{Serial: "/dev/none"}, {Serial: plain}, {Serial: "/dev/null"}, {TCP: "127.0.0.1:1"}}
	results := examine(t, f, time.Now())
	want(t, find(t, results, "source /dev/none"), Fail, "no such device")
	want(t, find(t, results, "source "+plain), Fail, "it is no device")
	want(t, find(t, results, "source /dev/null"), OK, "may read and write")
	want(t, find(t, results, "source 127.0.0.1:1"), Fail, "nothing listens")
}

func TestNothingIsChangedAndARunningGatewayIsSeen(t *testing.T) {
	f := gatewayFile(t)
	dir := f.Gateway.Spool.Dir
	want(t, find(t, examine(t, f, time.Now()), "disk"), OK, "MiB left")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the spool's directory was made: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	f.Sources = []config.Source{{TCP: "127.0.0.1:1"}}
	results := examine(t, f, time.Now())
	want(t, find(t, results, "gateway"), OK, "is running")
	want(t, find(t, results, "source 127.0.0.1:1"), Skip, "running gateway has this line")
}

func TestWhatAnotherConfigurationLeavesIsTold(t *testing.T) {
	f := gatewayFile(t)
	dir := f.Gateway.Spool.Dir
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "0000000000000001.seg"), make([]byte, 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Gateway.Spool.MaxBytes = 4 << 20
	want(t, find(t, examine(t, f, time.Now()), "spool"), Warn, "takes 5 MiB and spool.max is 4 MiB")
	f.Gateway.Spool.MaxBytes = 8 << 20
	results := Examine(t.Context(), f, Options{Left: []Left{{Dir: "/old", Readings: 7}}})
	want(t, find(t, results, "spool"), Warn, "7 readings are left in /old")
}

// pair writes a certificate and its key, and returns their files.
func pair(t *testing.T, from, until time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "roof"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCertificates(t *testing.T) {
	now := time.Now()
	cert, key := pair(t, now.Add(-time.Hour), now.Add(365*24*time.Hour))
	_, other := pair(t, now, now)
	for _, c := range []struct {
		key   string
		now   time.Time
		level Level
		text  string
	}{
		{key, now, OK, "belongs to its key"},
		{key, now.Add(350 * 24 * time.Hour), Warn, "ends on"},
		{key, now.Add(400 * 24 * time.Hour), Fail, "ended on"},
		{key, now.Add(-48 * time.Hour), Fail, "is valid from"},
		{other, now, Fail, "does not match"},
	} {
		f := gatewayFile(t)
		f.Uplink.IoT = &config.UplinkIoT{Endpoint: "127.0.0.1:1", Cert: cert, Key: c.key, ClientID: "roof"}
		want(t, find(t, examine(t, f, c.now), "uplink.iot certificate"), c.level, c.text)
	}
}

// Only the certificate of the uplink is renewed by itself, wherever it serves.
func TestACertificateThatIsRenewedMayEndSoon(t *testing.T) {
	now := time.Now()
	cert, key := pair(t, now.Add(-time.Hour), now.Add(20*24*time.Hour))
	other, otherKey := pair(t, now.Add(-time.Hour), now.Add(20*24*time.Hour))
	f := gatewayFile(t)
	f.Uplink.IoT = &config.UplinkIoT{Endpoint: "127.0.0.1:1", Cert: cert, Key: key, ClientID: "roof", Renew: config.Renew{Template: "roofs", BeforeEnd: 10 * 24 * time.Hour}}
	f.Uplink.DynamoDB = &config.UplinkDynamoDB{Table: "air", Credentials: config.Credentials{RoleAlias: "a", Endpoint: "127.0.0.1:1", Cert: cert, Key: key}}
	credentials := map[string]func(context.Context) (string, error){"dynamodb": func(context.Context) (string, error) { return "", errors.New("none found") }}
	const check = "uplink.dynamodb credentials certificate"
	results := Examine(t.Context(), f, Options{Timeout: watch.Patience, Credentials: credentials})
	want(t, find(t, results, "uplink.iot certificate"), OK, "is valid until")
	want(t, find(t, results, check), OK, "is valid until")
	f.Uplink.DynamoDB.Credentials.Cert, f.Uplink.DynamoDB.Credentials.Key = other, otherKey
	want(t, find(t, Examine(t.Context(), f, Options{Timeout: watch.Patience, Credentials: credentials}), check), Warn, "ends on")
}

func TestCredentialsThatAreNotThere(t *testing.T) {
	f := gatewayFile(t)
	f.Uplink.REST = &config.UplinkREST{URL: "http://127.0.0.1:1", Auth: "iam"}
	results := Examine(t.Context(), f, Options{Credentials: map[string]func(context.Context) (string, error){
		"rest": func(context.Context) (string, error) { return "", errors.New("none found") },
	}})
	want(t, find(t, results, "uplink.rest credentials"), Fail, "none found")
}

func TestGroupName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "group")
	if err := os.WriteFile(file, []byte("root:x:0:\ndialout:x:20:pi\nbroken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, b := groupName(file, 20), groupName(file, 7); a != "dialout" || b != "7" {
		t.Errorf("%q %q", a, b)
	}
}
