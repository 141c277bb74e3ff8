package test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"mote/internal/sigv4"
)

// deviceHost is a cloud with one device, and its access key.
type deviceHost struct {
	*host
	device
	accessKey, secret string
}

func startDeviceHost(t *testing.T, policy string) *deviceHost {
	t.Helper()
	h := &deviceHost{host: startHost(t, t.TempDir(), "cloud")}
	h.device = h.makeDevice("/usr/bin/aws", "dev1", policy)
	text, err := os.ReadFile(filepath.Join(h.data, "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	for name, into := range map[string]*string{"aws_access_key_id": &h.accessKey, "aws_secret_access_key": &h.secret} {
		found := regexp.MustCompile(name + ` *= *(\S+)`).FindSubmatch(text)
		if found == nil {
			t.Fatalf("no %s in the credentials file", name)
		}
		*into = string(found[1])
	}
	return h
}

// arguments are those of the scripts in testdata/devices.
func (h *deviceHost) arguments(transport string, more map[string]any) string {
	h.t.Helper()
	addr := h.ep.MQTT
	if transport != "mqtts" {
		addr = strings.TrimPrefix(h.ep.HTTPS, "https://")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		h.t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		h.t.Fatal(err)
	}
	args := map[string]any{"transport": transport, "host": host, "port": number, "ca": h.ep.CA, "cert": h.cert, "key": h.key,
		"accessKey": h.accessKey, "secret": h.secret, "thing": "dev1"}
	for name, value := range more {
		args[name] = value
	}
	text, err := json.Marshal(args)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// node runs a script with the packages of .cache/devices.
func (h *deviceHost) node(script string, args ...string) {
	h.t.Helper()
	packages, err := filepath.Abs("../.cache/devices/node_modules")
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := os.Stat(packages); err != nil {
		h.t.Skip("the device SDKs are not installed: run test/install-tools")
	}
	cmd := exec.CommandContext(h.t.Context(), tool(h.t, "node"), append([]string{filepath.Join("testdata/devices", script)}, args...)...)
	cmd.Env = append(h.env(), "NODE_PATH="+packages, "NODE_EXTRA_CA_CERTS="+h.ep.CA)
	h.wantDone(cmd)
}

// wantDone runs a client, which says "done" at its end.
func (h *deviceHost) wantDone(cmd *exec.Cmd) {
	h.t.Helper()
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "done") {
		h.t.Errorf("%v: %v\n%s", cmd.Args, err, out)
	}
	h.t.Logf("%v", time.Since(began))
}

// TestDeviceSDKs has AWS's device SDKs publish, subscribe and change a shadow
// over every transport, with nothing changed but address and certificates.
func TestDeviceSDKs(t *testing.T) {
	h := startDeviceHost(t, allowAll)
	run := func(name string, f func(h *deviceHost)) {
		t.Run(name, func(t *testing.T) {
			running := *h.host.process
			running.t = t
			f(&deviceHost{&host{&running, h.data, h.ep}, h.device, h.accessKey, h.secret})
		})
	}
	for _, transport := range []string{"mqtts", "wss"} {
		run("JavaScript v1 "+transport, func(h *deviceHost) { h.node("sdk1.js", h.arguments(transport, nil)) })
	}
	run("JavaScript v1 wss with a session token", func(h *deviceHost) {
		h.node("sdk1.js", h.arguments("wss", map[string]any{"token": "abc/+=="}))
	})
	for _, transport := range []string{"mqtts", "alpn", "wss"} {
		for _, version := range []int{3, 5} {
			run(fmt.Sprintf("JavaScript v2 %s MQTT %d", transport, version), func(h *deviceHost) {
				h.node("sdk2.js", h.arguments(transport, map[string]any{"version": version, "token": "abc/+=="}))
			})
		}
		run("Python v2 "+transport, func(h *deviceHost) {
			h.wantDone(exec.CommandContext(h.t.Context(), "/usr/bin/python3", "testdata/devices/crt.py", h.arguments(transport, map[string]any{"token": "abc/+=="})))
		})
	}
	for _, version := range []string{"4", "5"} {
		run("MQTT.js "+version, func(h *deviceHost) {
			h.node("mqttjs.js", h.signedURL(h.secret, time.Now()), h.ep.CA, version)
		})
	}
}

// signedURL is where MQTT over WebSocket is, signed at a time.
func (h *deviceHost) signedURL(secret string, at time.Time) string {
	h.t.Helper()
	r, err := http.NewRequest("GET", h.ep.HTTPS+"/mqtt?X-Amz-Expires=300", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	url, _, err := sigv4.Presign(h.t.Context(), r, nil, aws.Credentials{AccessKeyID: h.accessKey, SecretAccessKey: secret}, "iotdevicegateway", "us-east-1", at)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Replace(url, "https:", "wss:", 1)
}
