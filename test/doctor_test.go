package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

type checkResult struct{ Level, Check, Text, Remedy string }

// doctor runs mote doctor on a gateway with that uplink and returns its results
// by check.
func (s *site) doctor(uplink string, args ...string) map[string]checkResult {
	s.t.Helper()
	conf := filepath.Join(s.t.TempDir(), "mote.toml")
	text := "[gateway]\nname = \"gateway\"\n[[source]]\nsim = 1\n" + uplink
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	out, err := exec.Command(binary, append([]string{"doctor", "--json", "--config", conf}, args...)...).Output()
	var list []checkResult
	if err := json.Unmarshal(out, &list); err != nil {
		s.t.Fatalf("%v in %s", err, out)
	}
	results, failed := map[string]checkResult{}, false
	for _, r := range list {
		results[r.Check] = r
		failed = failed || r.Level == "fail"
	}
	if failed != (err != nil) {
		s.t.Errorf("it ended with %v after\n%s", err, out)
	}
	return results
}

// TestDoctorNamesWhatTheServerRefuses has one thing wrong at a time, and looks
// for the check that finds it and for its remedy.
func TestDoctorNamesWhatTheServerRefuses(t *testing.T) {
	s := &site{t: t, cloud: onlyAPIs(t)}
	s.data = s.cloud.data
	s.withKeys()
	mqtt, web := s.cloud.ep.MQTT, strings.TrimPrefix(s.cloud.ep.HTTP, "http://")
	iotUp := s.iotUplink(mqtt)
	rest := func(path, auth string) string {
		return fmt.Sprintf("[uplink.rest]\nurl = \"http://%s%s\"\nauth = %q\napi_key_file = %q\nregion = \"us-east-1\"\n", web, path, auth, s.cloud.ep.APIKeyFile)
	}
	wrongKey := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(wrongKey, []byte("no-such-key-of-forty-characters-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	off := s.inactive(t)
	wrongSecret := map[string]string{"AWS_ACCESS_KEY_ID": s.accessKey(t), "AWS_SECRET_ACCESS_KEY": "wrong"}
	for _, c := range []struct {
		name, uplink string
		env          map[string]string
		check, level string
		text, remedy string
	}{
		{"mqtt", iotUp, nil, "uplink.iot publish", "ok", "took a test reading", ""},
		{"version 3.1.1", iotUp + "mqtt = \"3.1.1\"\n", nil, "uplink.iot publish", "ok", "took a test reading", ""},
		{"client id", iotUp + "client_id = \"stranger\"\n", nil, "uplink.iot policy", "fail", "stranger", "client/stranger"},
		{"client id in version 3.1.1", iotUp + "client_id = \"stranger\"\nmqtt = \"3.1.1\"\n", nil, "uplink.iot policy", "fail", "stranger", "client/stranger"},
		{"topic", iotUp + "topic = \"secret/{id}\"\n", nil, "uplink.iot publish", "fail", "does not take a reading", "topic/secret/*"},
		{"topic in version 3.1.1", iotUp + "topic = \"secret/{id}\"\nmqtt = \"3.1.1\"\n", nil, "uplink.iot publish", "fail", "does not take a reading", "topic/secret/*"},
		{"inactive certificate", off, nil, "uplink.iot policy", "fail", "active", "activate the certificate"},
		{"not TLS", s.iotUplink(web), nil, "uplink.iot tls", "fail", "does not speak TLS", "8883"},
		{"nobody there", s.iotUplink("127.0.0.1:1"), nil, "uplink.iot network", "fail", "nothing listens", "start what should listen"},
		{"no such name", s.iotUplink("mote.invalid:8883"), nil, "uplink.iot network", "fail", "mote.invalid", "name"},
		{"api key", rest("/prod/dust", "api-key"), nil, "uplink.rest publish", "ok", "took a test reading", ""},
		{"signature", rest("/prod/both", "iam+api-key"), nil, "uplink.rest publish", "ok", "took a test reading", ""},
		{"wrong api key", strings.Replace(rest("/prod/dust", "api-key"), s.cloud.ep.APIKeyFile, wrongKey, 1), nil, "uplink.rest publish", "fail", "check the API key", "[uplink.rest]"},
		{"wrong secret", rest("/prod/both", "iam+api-key"), wrongSecret, "uplink.rest publish", "fail", "secret access key and the region", "[uplink.rest]"},
		{"no such route", rest("/prod/none", "api-key"), nil, "uplink.rest publish", "fail", "there is no such route", "[uplink.rest]"},
		{"no credentials", rest("/prod/both", "iam+api-key"), map[string]string{"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true"}, "uplink.rest credentials", "fail", "", "AWS_ACCESS_KEY_ID"},
		{"table", s.tableUplink(web), nil, "uplink.dynamodb publish", "ok", "took a test reading", ""},
		{"no such table", strings.Replace(s.tableUplink(web), "air", "water", 1), nil, "uplink.dynamodb publish", "fail", "make table water", "[uplink.dynamodb]"},
		{"wrong secret of a table", s.tableUplink(web), wrongSecret, "uplink.dynamodb publish", "fail", "secret access key", "[uplink.dynamodb]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			results := s.doctor(c.uplink, "--publish")
			r := results[c.check]
			if r.Level != c.level || !strings.Contains(r.Text, c.text) || !strings.Contains(r.Remedy, c.remedy) {
				t.Errorf("%s is %+v, want %s, %q, remedy %q; all: %v", c.check, r, c.level, c.text, c.remedy, results)
			}
		})
	}
	if n := len(s.cloud.query("doctor")); n != 5 {
		t.Errorf("%d test readings are in the table, want those of the 5 that succeed", n)
	}
	for check, r := range s.doctor(iotUp + rest("/prod/both", "iam+api-key") + s.tableUplink(web)) {
		if want := map[bool]string{true: "skip", false: "ok"}[strings.HasSuffix(check, " publish")]; r.Level != want && !strings.HasPrefix(check, "clock") {
			t.Errorf("without --publish, %s is %+v", check, r)
		}
	}
	if n := len(s.cloud.query("doctor")); n != 5 {
		t.Errorf("%d test readings are in the table after a run that was not asked for one", n)
	}
}

// inactive is the uplink with a certificate that was switched off.
func (s *site) inactive(t *testing.T) (uplink string) {
	t.Helper()
	api := iot.NewFromConfig(s.cloud.aws())
	id, cert, key := s.certificate(api)
	if _, err := api.UpdateCertificate(context.Background(), &iot.UpdateCertificateInput{CertificateId: &id, NewStatus: iottypes.CertificateStatusInactive}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	uplink = s.iotUplink(s.cloud.ep.MQTT)
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		uplink = strings.Replace(uplink, filepath.Join(s.data, "things/gateway", name), filepath.Join(dir, name), 1)
	}
	return uplink
}

// accessKey is the id of the cloud's own access key.
func (s *site) accessKey(t *testing.T) string {
	t.Helper()
	creds, err := s.cloud.aws().Credentials.Retrieve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return creds.AccessKeyID
}
