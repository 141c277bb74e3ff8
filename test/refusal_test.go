package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func do(t *testing.T, req *http.Request) string {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

// strangerDevice is a certificate of a CA that the cloud does not know.
func strangerDevice(t *testing.T) device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	d := device{cert: filepath.Join(t.TempDir(), "cert.pem"), key: filepath.Join(t.TempDir(), "key.pem")}
	for path, block := range map[string]*pem.Block{d.cert: {Type: "CERTIFICATE", Bytes: der}, d.key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestRefusalsSayWhy(t *testing.T) {
	h := startHost(t, t.TempDir(), "up")
	cli := "/usr/bin/aws"
	narrow := `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:*:*:client/dev1"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/mine/*"}]}`
	d := h.makeDevice(cli, "dev1", narrow)
	pub := tool(t, "mosquitto_pub")
	publish := func(d device, version, id, topic string) error {
		_, err := h.run(pub, h.mosquitto(d, "-V", version, "-i", id, "-q", "1", "-t", topic, "-m", "x")...)
		return err
	}
	if err := publish(d, "mqttv5", "dev1", "mine/a"); err != nil {
		t.Fatalf("what is allowed: %v", err)
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		if err := publish(d, version, "dev2", "mine/a"); err == nil {
			t.Errorf("%s: another client id got in", version)
		}
		if err := publish(strangerDevice(t), version, "dev1", "mine/a"); err == nil {
			t.Errorf("%s: a certificate of another CA got in", version)
		}
	}
	// mosquitto_pub of 3.1.1 tries again for ever when it is cut off; 5 gets a PUBACK with a reason.
	out, err := h.run(pub, h.mosquitto(d, "-V", "mqttv5", "-i", "dev1", "-q", "1", "-t", "other/a", "-m", "x", "-d")...)
	if err == nil && !strings.Contains(out, "Not authorized") && !strings.Contains(out, "135") {
		t.Errorf("a denied topic was taken: %s", out)
	}
	h.mustRun(cli, "--endpoint-url", h.ep.HTTP, "iot", "update-certificate", "--certificate-id", d.arn[strings.LastIndexByte(d.arn, '/')+1:], "--new-status", "INACTIVE")
	if err := publish(d, "mqttv5", "dev1", "mine/a"); err == nil {
		t.Error("a deactivated certificate got in")
	}
	h.waitForLog("client/dev2", "topic/other/a", "INACTIVE", "iot:Connect", "iot:Publish")
	checkConsoleShows(t, h, "client/dev2", "topic/other/a", "INACTIVE")
}

// waitForLog waits until the log names everything; a client may learn of its
// refusal a moment before the log does.
func (h *host) waitForLog(wants ...string) {
	h.t.Helper()
	waitFor(h.t, "log line", 10*time.Second, func() error {
		for _, want := range wants {
			if !strings.Contains(h.out.String(), want) {
				return fmt.Errorf("the log does not name %q", want)
			}
		}
		return nil
	})
}

// checkConsoleShows looks for refusals in what the console's page loads.
func checkConsoleShows(t *testing.T, h *host, wants ...string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, h.ep.HTTP+"/console/api/refusals", nil)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "list of refusals of the console", 10*time.Second, func() error {
		got := do(t, req)
		if !strings.HasPrefix(got, "200 ") || !json.Valid([]byte(got[4:])) {
			t.Fatalf("refusals of the console: %s", got)
		}
		for _, want := range wants {
			if !strings.Contains(got, want) {
				return fmt.Errorf("it does not name %q: %s", want, got)
			}
		}
		return nil
	})
}
