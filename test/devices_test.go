package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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
	"github.com/coder/websocket"

	"mote/internal/sigv4"
	"mote/internal/watch"
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
	maps.Copy(args, more)
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
			f(&deviceHost{&host{process: &running, data: h.data, ep: h.ep}, h.device, h.accessKey, h.secret})
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
	run("JavaScript v2 services", func(h *deviceHost) {
		iot := func(args ...string) {
			h.mustRun("/usr/bin/aws", append([]string{"--endpoint-url", h.ep.HTTP, "iot"}, args...)...)
		}
		iot("create-job", "--job-id", "one", "--targets", "arn:aws:iot:us-east-1:000000000001:thing/dev1", "--document", "{}")
		iot("create-provisioning-template", "--template-name", "fleet", "--enabled", "--provisioning-role-arn", "arn:aws:iam::000000000001:role/x", "--template-body", fleetTemplate)
		h.node("services.js", h.arguments("mqtts", map[string]any{"template": "fleet"}))
	})
	for _, version := range []string{"4", "5"} {
		run("MQTT.js "+version, func(h *deviceHost) {
			h.node("mqttjs.js", h.signedURL(h.secret, time.Now()), h.ep.CA, version)
		})
	}
}

const fleetTemplate = `{"Parameters": {"SerialNumber": {"Type": "String"}}, "Resources": {
	"certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
	"thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["", ["sensor-", {"Ref": "SerialNumber"}]]}}}}}`

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

// curl calls as a device: with its certificate, unsigned. It returns the body
// and, behind it, the status.
func (h *deviceHost) curl(args ...string) string {
	h.t.Helper()
	out, err := h.run(tool(h.t, "curl"), append([]string{"-s", "--tlsv1.2", "--cacert", h.ep.CA, "--cert", h.cert, "--key", h.key, "-w", " %{http_code}"}, args...)...)
	if err != nil {
		h.t.Error(err)
	}
	return out
}

const publishOnOwn = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":["iot:Connect","iot:Publish","iot:RetainPublish"],"Resource":["arn:aws:iot:*:*:client/*","arn:aws:iot:*:*:topic/own/*"]},
	{"Effect":"Deny","Action":"iot:RetainPublish","Resource":"arn:aws:iot:*:*:topic/own/brief"},
	{"Effect":"Allow","Action":["iot:GetThingShadow","iot:UpdateThingShadow"],"Resource":["arn:aws:iot:*:*:thing/dev1","arn:aws:iot:*:*:thing/dev1/extra"]}]}`

// TestDevicesCallWithTheirCertificate publishes by the line that AWS's guide
// has for curl, and judges it by the policies.
func TestDevicesCallWithTheirCertificate(t *testing.T) {
	h := startDeviceHost(t, publishOnOwn)
	at := h.ep.HTTPS
	for _, c := range []struct {
		path, body, want string
		more             []string
	}{
		{"/topics/own/t?qos=1", "hello", `"message":"OK"`, nil},
		{"/topics/own/t?qos=1", "hello", `"message":"OK"`, []string{"--http1.1"}},
		{"/topics/own/t?qos=1", "hello", `"message":"OK"`, []string{"--no-alpn"}},
		{"/topics/own%2Fkept?qos=1&retain=true&contentType=text%2Fplain&messageExpiry=600", "kept", `"message":"OK"`,
			[]string{"-H", "x-amz-mqtt5-user-properties: W3siYSI6IjEifV0=", "-H", "x-amz-mqtt5-payload-format-indicator: UTF8_DATA"}},
		{"/topics/own/brief?retain=true", "x", `"message":"Forbidden"`, nil},
		{"/topics/others/t?qos=1", "x", `"message":"Forbidden"`, nil},
		{"/topics/own/t?qos=2", "x", `InvalidRequest`, []string{"-i"}},
		{"/topics/own/t", strings.Repeat("x", 128<<10+1), ` 413`, nil},
		{"/things/dev1/shadow", `{"state":{"reported":{"a":1}}}`, `"reported":{"a":1}`, nil},
		{"/things/dev1/shadow?name=extra", `{"state":{"reported":{"a":2}}}`, `"version":1`, nil},
		{"/things/dev1/shadow?name=other", `{"state":{"reported":{"a":2}}}`, `"message":"Forbidden"`, nil},
		{"/things/dev2/shadow", `{"state":{"reported":{"a":1}}}`, `"message":"Forbidden"`, nil},
	} {
		body := filepath.Join(t.TempDir(), "body")
		if err := os.WriteFile(body, []byte(c.body), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := h.curl(append(c.more, "--data-binary", "@"+body, at+c.path)...); !strings.Contains(out, c.want) {
			t.Errorf("%s %v: %s", c.path, c.more, out)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{at + "/things/dev1/shadow"}, `"a":1`},
		{[]string{"-X", "DELETE", at + "/things/dev1/shadow"}, " 403"},
		{[]string{"-X", "DELETE", at + "/connections/x"}, " 403"},
		{[]string{at + "/things"}, " 403"}, // the control plane wants a signature
		{[]string{at + "/retainedMessage/own%2Fkept"}, " 403"},
	} {
		if out := h.curl(c.args...); !strings.Contains(out, c.want) {
			t.Errorf("%v: %s", c.args, out)
		}
	}
	kept := h.mustRun(tool(t, "curl"), "-s", "--aws-sigv4", "aws:amz:us-east-1:iotdata", "--user", h.accessKey+":"+h.secret, h.ep.HTTP+"/retainedMessage/own%2Fkept")
	if !strings.Contains(kept, `"payload":"a2VwdA=="`) || !strings.Contains(kept, `"userProperties":"W3siYSI6IjEifV0="`) {
		t.Errorf("the retained message: %s", kept)
	}
	h.waitForLog("iot:Publish", "topic/others/t", "iot:RetainPublish", "topic/own/brief")
	h.mustRun("/usr/bin/aws", "--endpoint-url", h.ep.HTTP, "iot", "update-certificate", "--certificate-id", h.arn[strings.LastIndex(h.arn, "/")+1:], "--new-status", "INACTIVE")
	if out := h.curl("-d", "x", at+"/topics/own/t"); !strings.Contains(out, "INACTIVE") || !strings.HasSuffix(out, " 403") {
		t.Errorf("an inactive certificate: %s", out)
	}
}

// tlsClient speaks to the HTTPS port with an ALPN protocol.
func (h *deviceHost) tlsClient(protocols ...string) (*tls.Conn, error) {
	h.t.Helper()
	pair, err := tls.LoadX509KeyPair(h.cert, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	pem, err := os.ReadFile(h.ep.CA)
	if err != nil {
		h.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := tls.Dial("tcp", strings.TrimPrefix(h.ep.HTTPS, "https://"), &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, NextProtos: protocols})
	if err == nil {
		h.t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * patience * time.Second))
	}
	return c, err
}

func TestProtocolsOfTheHTTPSPort(t *testing.T) {
	h := startDeviceHost(t, allowAll)
	c, err := h.tlsClient("x-amzn-http-ca")
	if err != nil {
		t.Fatal(err)
	}
	if p := c.ConnectionState().NegotiatedProtocol; p != "x-amzn-http-ca" {
		t.Errorf("protocol %q", p)
	}
	in := bufio.NewReader(c)
	for i := range 3 { // on one connection
		fmt.Fprintf(c, "POST /topics/a/%d?qos=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", i)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || !strings.Contains(string(body), `"message":"OK"`) {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if _, err := h.tlsClient("mqtt"); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("a custom authorizer: %v", err)
	}
	h.waitForLog("custom authorizer")
	c, err = h.tlsClient("http/1.1") // Go's TLS is not asked for a certificate
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 403 {
		t.Errorf("without a certificate: %v %v", resp, err)
	}
	h.waitForLog("x-amzn-http-ca")
}

// webSocket dials a URL as MQTT clients do.
func (h *deviceHost) webSocket(url string) (*websocket.Conn, *http.Response, error) {
	h.t.Helper()
	pem, err := os.ReadFile(h.ep.CA)
	if err != nil {
		h.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*patience*time.Second)
	defer cancel()
	return websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{"Origin": {"https://example.org"}}})
}

func TestWebSocketSignatures(t *testing.T) {
	h := startDeviceHost(t, allowAll)
	now := time.Now()
	good := h.signedURL(h.secret, now)
	for name, c := range map[string]struct{ url, body, logged string }{
		"unsigned":        {strings.Replace(h.ep.HTTPS, "https", "wss", 1) + "/mqtt", "Missing Authentication Token", "MissingAuthenticationToken"},
		"wrong secret":    {h.signedURL("wrong", now), "signature we calculated does not match", "InvalidSignature"},
		"expired":         {h.signedURL(h.secret, now.Add(-10*time.Minute)), "Signature expired", "was valid for 5m0s"},
		"from the future": {h.signedURL(h.secret, now.Add(20*time.Minute)), "Signature not yet current", "clock is"},
		"unknown key":     {strings.Replace(good, h.accessKey, "AKIAAAAAAAAAAAAAAAAA", 1), "security token", "not known here"},
		"another path":    {strings.Replace(good, "X-Amz-Expires=300", "X-Amz-Expires=3000", 1), "signature we calculated", "InvalidSignature"},
		"another service": {strings.Replace(good, "iotdevicegateway", "dynamodb", 1), "correct service", "signs for service"},
	} {
		_, resp, err := h.webSocket(c.url)
		if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %v %v", name, resp, err)
			continue
		}
		if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), c.body) {
			t.Errorf("%s: %s", name, body)
		}
		h.waitForLog(c.logged)
	}
	if strings.Contains(h.out.String(), h.secret) {
		t.Error("the secret is in the log")
	}
	conn, _, err := h.webSocket(good) // of another origin: the signature alone counts
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("text: %v", err)
	}
	h.waitForLog("text frame")
}

// TestConnectionsAreDeleted ends connections with the AWS command line.
func TestConnectionsAreDeleted(t *testing.T) {
	cli := tool(t, "aws")
	h := startDeviceHost(t, allowAll)
	aws := func(args ...string) (string, error) {
		return h.run(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json", "iot-data"}, args...)...)
	}
	if _, err := aws("delete-connection", "help"); err != nil && strings.Contains(err.Error(), "Invalid choice") {
		t.Skip("this AWS command line has no delete-connection")
	}
	if _, err := aws("delete-connection", "--client-id", "away"); err == nil || !strings.Contains(err.Error(), "ResourceNotFoundException") {
		t.Errorf("an unknown client: %v", err)
	}
	follow := func(args ...string) *watch.Log { // what mosquitto_sub prints, as it prints it
		out := &watch.Log{}
		cmd := exec.Command(tool(t, "stdbuf"), append([]string{"-oL", tool(t, "mosquitto_sub")}, h.mosquitto(h.device, append(args, "-V", "mqttv5", "-d")...)...)...)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		watch.Until(t, "Subscribed", func() bool { return out.Count("Subscribed") > 0 })
		return out
	}
	seen := follow("-i", "watch", "-t", "wills/+")
	for name, args := range map[string][]string{"loud": nil, "quiet": {"--prevent-will-message", "--clean-session"}} {
		out := follow("-i", name, "-t", "a", "--will-topic", "wills/"+name, "--will-payload", "gone")
		if _, err := aws(append([]string{"delete-connection", "--client-id", name}, args...)...); err != nil {
			t.Error(err)
		}
		watch.Until(t, "DISCONNECT", func() bool { return out.Count("DISCONNECT") > 0 })
	}
	watch.Until(t, "'wills/loud'", func() bool { return seen.Count("'wills/loud'") > 0 })
	h.mustRun(tool(t, "mosquitto_pub"), h.mosquitto(h.device, "-i", "end", "-q", "1", "-t", "wills/end", "-m", "x")...)
	watch.Until(t, "'wills/end'", func() bool { return seen.Count("'wills/end'") > 0 })
	if got := seen.String(); strings.Contains(got, "'wills/quiet'") {
		t.Errorf("the wills: %s", got)
	}
}

// TestPythonSDKHandshake connects as the AWS IoT device SDK for Python, version
// 1, does: a key of 128 bytes, the sub-protocol mqttv3.1, the service iotdata,
// a host without port, and a session token behind the signature.
func TestPythonSDKHandshake(t *testing.T) {
	h := startDeviceHost(t, allowAll)
	c, err := h.tlsClient()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest("GET", "https://localhost/mqtt?X-Amz-Expires=86400", nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, _, err := sigv4.Presign(t.Context(), r, nil, aws.Credentials{AccessKeyID: h.accessKey, SecretAccessKey: h.secret}, "iotdata", "us-east-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{200}, 128))
	fmt.Fprintf(c, "GET %s&X-Amz-Security-Token=a%%2Bb/c%%3D HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Protocol: mqttv3.1\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nsec-websocket-key: %s\r\n\r\n",
		strings.TrimPrefix(signed, "https://localhost"), key)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if resp.StatusCode != 101 || resp.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) ||
		resp.Header.Get("Sec-WebSocket-Protocol") != "mqttv3.1" || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	connect := "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04dev1" // MQTT 3.1.1, section 3.1; in two frames, masked with zeros
	for _, part := range []string{connect[:7], connect[7:]} {
		frame := append([]byte{0x82, 0x80 | byte(len(part)), 0, 0, 0, 0}, part...)
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	connack := make([]byte, 6)
	if _, err := io.ReadFull(in, connack); err != nil || string(connack) != "\x82\x04\x20\x02\x00\x00" {
		t.Errorf("CONNACK %q %v", connack, err)
	}
}
