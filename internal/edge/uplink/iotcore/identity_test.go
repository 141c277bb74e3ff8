package iotcore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mote/internal/mqtt/mqtttest"
)

func TestFilesAreExplained(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	otherCert, otherKey := certs.Issue(t, "other", time.Now().Add(time.Hour))
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := Files{certs.ClientCertFile, certs.ClientKeyFile, certs.CAFile}
	junk := write("junk.pem", "hello")
	broken := write("broken.pem", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n")
	locked := write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, c := range []struct {
		files Files
		want  []string
	}{
		{Files{"", good.Key, good.CA}, []string{"no certificate file"}},
		{Files{"/none.pem", good.Key, good.CA}, []string{"/none.pem", "does not exist"}},
		{Files{good.Cert, "/none.pem", good.CA}, []string{"key file /none.pem", "does not exist"}},
		{Files{good.Cert, good.Key, "/none.pem"}, []string{"CA file /none.pem", "does not exist"}},
		{Files{t.TempDir(), good.Key, good.CA}, []string{"not a PEM file"}},
		{Files{junk, good.Key, good.CA}, []string{junk, "no PEM block"}},
		{Files{broken, good.Key, good.CA}, []string{broken, good.Key}},
		{Files{good.Key, good.Cert, good.CA}, []string{"swapped"}},
		{Files{good.Cert, otherCert, good.CA}, []string{otherCert, "holds a certificate"}},
		{Files{good.Cert, otherKey, good.CA}, []string{otherKey, "does not belong to", good.Cert}},
		{Files{good.Cert, locked, good.CA}, []string{locked, "password"}},
		{Files{good.Cert, good.Key, good.Key}, []string{good.Key, "AmazonRootCA1"}},
	} {
		_, err := New(Options{Endpoint: "localhost", ClientID: "pi", Files: c.files})
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want %q", c.files, err, want)
			}
		}
	}
	if _, err := New(Options{Endpoint: "localhost", ClientID: "pi", Files: Files{good.Cert, good.Key, ""}}); err != nil {
		t.Errorf("without a CA file those of the system are used: %v", err)
	}
}

func TestExpiryIsToldWithTheFile(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	u, err := New(Options{Endpoint: "localhost", ClientID: "pi", Files: Files{certs.ClientCertFile, certs.ClientKeyFile, certs.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Check(time.Now()); err != nil {
		t.Error(err)
	}
	if err := u.Check(time.Now().Add(3 * time.Hour)); err == nil || !strings.Contains(err.Error(), certs.ClientCertFile+" expired on") {
		t.Error(err)
	}
	if err := u.Check(time.Unix(0, 0)); err == nil || !strings.Contains(err.Error(), "check this machine's clock") {
		t.Error(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	files := Files{certs.ClientCertFile, certs.ClientKeyFile, certs.CAFile}
	for want, o := range map[string]Options{
		`endpoint ""`:          {ClientID: "a"},
		"without a scheme":     {Endpoint: "mqtts://a", ClientID: "a"},
		"want host":            {Endpoint: "a/b", ClientID: "a"},
		`client id ""`:         {Endpoint: "a"},
		`client id "$a"`:       {Endpoint: "a", ClientID: "$a"},
		"version level 3":      {Endpoint: "a", ClientID: "a", Version: 3},
		"between { and }":      {Endpoint: "a", ClientID: "a", Topic: "x/{"},
		"AWS IoT Core takes":   {Endpoint: "x-ats.iot.eu-west-1.amazonaws.com", ClientID: "a", Topic: "1/2/3/4/5/6/7/8/9"},
		"takes at most 256 by": {Endpoint: "x-ats.iot.eu-west-1.amazonaws.com", ClientID: "a", Topic: strings.Repeat("x", 300)},
	} {
		o.Files = files
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	for endpoint, want := range map[string]string{"a": "a:8883", "a:443": "a:443", "[::1]:8883": "[::1]:8883", "[::1]": "[::1]:8883", "::1": "[::1]:8883"} {
		if got, err := address(endpoint); err != nil || got != want {
			t.Errorf("%q: %q, %v", endpoint, got, err)
		}
	}
	cfg, err := files.load("a:443")
	if err != nil || len(cfg.NextProtos) != 1 || cfg.NextProtos[0] != "x-amzn-mqtt-ca" || cfg.ServerName != "a" {
		t.Errorf("port 443: %+v, %v", cfg, err)
	}
	if cfg, _ := files.load("a:8883"); cfg.NextProtos != nil {
		t.Error("ALPN on port 8883")
	}
}
