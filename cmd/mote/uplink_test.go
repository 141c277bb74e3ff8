package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mote/internal/config"
)

// clearAWS takes away what the environment of the test says about AWS.
func clearAWS(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	return dir
}

func TestCredentialsOfTheDefaultChain(t *testing.T) {
	dir := clearAWS(t)
	for file, text := range map[string]string{
		"credentials": "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = s\n[roof]\naws_access_key_id = AKIDROOF\naws_secret_access_key = s\n",
		"config":      "[default]\nregion = eu-west-1\n[profile roof]\nregion = eu-west-3\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantCredentials(t, config.Credentials{}, "AKIDDEFAULT", "eu-west-1")
	wantCredentials(t, config.Credentials{Profile: "roof"}, "AKIDROOF", "eu-west-3")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	wantCredentials(t, config.Credentials{}, "AKIDENV", "eu-west-1")
}

func wantCredentials(t *testing.T, c config.Credentials, key, region string) {
	t.Helper()
	provider, got, err := credentials(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := provider.Retrieve(t.Context())
	if err != nil || creds.AccessKeyID != key || got != region {
		t.Errorf("%+v: key %s in %q, %v; want %s in %q", c, creds.AccessKeyID, got, err, key, region)
	}
}

// The machine's role, from a metadata service as an EC2 instance has it.
func TestCredentialsOfTheMachinesRole(t *testing.T) {
	clearAWS(t)
	const base = "/latest/meta-data/iam/security-credentials"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			fmt.Fprint(w, "token")
		case base, base + "/":
			fmt.Fprint(w, "gateway")
		case base + "/gateway":
			fmt.Fprintf(w, `{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAROLE","SecretAccessKey":"s","Token":"t","Expiration":%q}`,
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		default:
			http.NotFound(w, r)
		}
	}))
	defer s.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", s.URL)
	wantCredentials(t, config.Credentials{}, "ASIAROLE", "")
}

func TestRegionOfTheCredentialsProvider(t *testing.T) {
	for endpoint, want := range map[string]string{
		"c1a2.credentials.iot.eu-west-1.amazonaws.com": "eu-west-1", "c1.credentials.iot.cn-north-1.amazonaws.com.cn:443": "cn-north-1",
		"localhost:8443": "", "a.b.c.d.e.f": "",
	} {
		if got := regionOfProvider(endpoint); got != want {
			t.Errorf("%s: %q, want %q", endpoint, got, want)
		}
	}
}

func TestATrialLeavesTheCertificateToTheGateway(t *testing.T) {
	dir := t.TempDir()
	u := &config.UplinkIoT{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), Topic: "t", Renew: config.Renew{Template: "roofs"}}
	for _, file := range []string{u.Cert, u.Key} {
		if err := os.WriteFile(file, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	apart, err := certificateApart(u, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if apart.Renew.Template != "" || filepath.Dir(apart.Cert) == dir || filepath.Dir(apart.Key) == dir || apart.Topic != "t" || u.Renew.Template == "" {
		t.Errorf("the trial would change certificates, or the gateway's configuration: %+v", apart)
	}
	if data, err := os.ReadFile(apart.Key); err != nil || string(data) != u.Key {
		t.Errorf("the trial has another key: %q, %v", data, err)
	}
}
