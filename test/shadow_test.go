package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listener is a mosquitto_sub that prints "topic payload".
type listener struct {
	t     *testing.T
	lines chan string
}

// subscribe starts mosquitto_sub and returns when it is subscribed.
func (h *host) subscribe(d device, id string, topics ...string) *listener {
	h.t.Helper()
	args := h.mosquitto(d, "-i", id, "-q", "1", "-d", "-F", "MESSAGE %t %p")
	for _, topic := range topics {
		args = append(args, "-t", topic)
	}
	cmd := exec.CommandContext(h.t.Context(), "stdbuf", append([]string{"-oL", tool(h.t, "mosquitto_sub")}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	l := &listener{t: h.t, lines: make(chan string, 100)}
	h.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ready := make(chan bool, 1)
	go func() { // ends with the program's output
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			if m, ok := strings.CutPrefix(s.Text(), "MESSAGE "); ok {
				l.lines <- m
			} else if strings.HasPrefix(s.Text(), "Subscribed") {
				ready <- true
			}
		}
	}()
	select {
	case <-ready:
	case <-time.After(20 * patience * time.Second):
		h.t.Fatal("mosquitto_sub did not subscribe within 20 s")
	}
	return l
}

// next returns the payload of the next message, which must be on topic.
func (l *listener) next(topic string) map[string]any {
	l.t.Helper()
	select {
	case line := <-l.lines:
		got, payload, _ := strings.Cut(line, " ")
		var m map[string]any
		if err := json.Unmarshal([]byte(payload), &m); got != topic || err != nil {
			l.t.Fatalf("got %q (%v), want a document on %s", line, err, topic)
		}
		return m
	case <-time.After(20 * patience * time.Second):
		l.t.Fatalf("nothing on %s within 20 s", topic)
		return nil
	}
}

func (h *host) publish(d device, id, topic, payload string) {
	h.t.Helper()
	h.mustRun(tool(h.t, "mosquitto_pub"), h.mosquitto(d, "-i", id, "-q", "1", "-t", topic, "-m", payload)...)
}

// TestShadowOverMQTT is a device with its certificate, another one that may
// only read, and a rule that stores what is accepted.
func TestShadowOverMQTT(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	cli := awsCLIs(t)[0]
	d := h.makeDevice(cli, "lamp", allowAll)
	aws := func(args ...string) string {
		t.Helper()
		return h.mustRun(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json"}, args...)...)
	}
	aws("dynamodb", "create-table", "--table-name", "seen", "--billing-mode", "PAY_PER_REQUEST",
		"--attribute-definitions", "AttributeName=thing,AttributeType=S", "AttributeName=version,AttributeType=N",
		"--key-schema", "AttributeName=thing,KeyType=HASH", "AttributeName=version,KeyType=RANGE")
	aws("iot", "create-topic-rule", "--rule-name", "seen", "--topic-rule-payload",
		`{"sql":"SELECT topic(3) AS thing, current.version AS version, get_thing_shadow(topic(3), 'arn:aws:iam::1:role/r').version AS seen FROM '$aws/things/+/shadow/update/documents'","awsIotSqlVersion":"2016-03-23","actions":[{"dynamoDBv2":{"roleArn":"arn:aws:iam::1:role/r","putItem":{"tableName":"seen"}}}]}`)
	const p = "$aws/things/lamp/shadow/"
	l := h.subscribe(d, "watcher", "$aws/things/+/shadow/#")
	everything := h.subscribe(d, "everything", "#")

	h.publish(d, "lamp", p+"update", `{"state":{"desired":{"on":true},"reported":{"on":false}},"clientToken":"x"}`)
	l.next(p + "update") // other subscribers see the request, too
	if m := l.next(p + "update/accepted"); m["version"] != 1.0 || m["clientToken"] != "x" {
		t.Errorf("accepted %v", m)
	}
	if m := l.next(p + "update/documents"); m["current"].(map[string]any)["version"] != 1.0 {
		t.Errorf("documents %v", m)
	}
	if m := l.next(p + "update/delta"); fmt.Sprint(m["state"]) != "map[on:true]" {
		t.Errorf("delta %v", m)
	}
	// The rule's row was on disk before the publisher's PUBACK.
	if got := aws("dynamodb", "get-item", "--table-name", "seen", "--key", `{"thing":{"S":"lamp"},"version":{"N":"1"}}`); !strings.Contains(strings.Join(strings.Fields(got), ""), `"seen":{"N":"1"}`) {
		t.Errorf("the rule on documents stored %s", got)
	}
	h.publish(d, "lamp", p+"name/n/get", "")
	select {
	case line := <-l.lines:
		if line != p+"name/n/get " {
			t.Errorf("got %q", line)
		}
	case <-time.After(20 * patience * time.Second):
		t.Fatal("no get")
	}
	if m := l.next(p + "name/n/get/rejected"); m["code"] != 404.0 || m["message"] != "No shadow exists with name: 'n'" {
		t.Errorf("rejected %v", m)
	}
	aws("iot-data", "publish", "--topic", "plain", "--payload", "e30=")
	everything.next("plain") // and nothing of $aws/… before it

	// What HTTP changes is told to subscribers.
	out := filepath.Join(t.TempDir(), "out")
	aws("iot-data", "update-thing-shadow", "--thing-name", "lamp", "--cli-binary-format", "raw-in-base64-out", "--payload", `{"state":{"reported":{"on":true}}}`, out)
	if m := l.next(p + "update/accepted"); m["version"] != 2.0 {
		t.Errorf("accepted %v", m)
	}
	l.next(p + "update/documents")

	// Killed at any time, the next start knows what was acknowledged.
	h.publish(d, "lamp", p+"update", `{"state":{"reported":{"n":1}},"version":2}`)
	h.kill()
	h = startHost(t, h.data, "cloud")
	aws("iot-data", "get-thing-shadow", "--thing-name", "lamp", out)
	if got, err := os.ReadFile(out); err != nil || !strings.Contains(string(got), `"reported":{"on":true,"n":1}`) || !strings.Contains(string(got), `"version":3`) {
		t.Errorf("after the kill: %s %v", got, err)
	}

	// A policy decides, and nobody publishes in the service's name.
	reader := h.makeDevice(cli, "reader", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect","iot:Subscribe","iot:Receive"],"Resource":"*"},
		{"Effect":"Allow","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/$aws/things/lamp/shadow/get"}]}`)
	for _, c := range []struct {
		d             device
		topic, filter string
	}{{d, p + "update/accepted", ""}, {d, "$aws/things/lamp/jobs/notify", ""}, {reader, p + "update", ""}, {d, "", "$aws/#"}, {d, "", "$SYS/#"}} {
		tool, args := "mosquitto_pub", []string{"-i", "refused", "-q", "1", "-t", c.topic, "-m", `{"state":{}}`}
		if c.filter != "" {
			tool, args = "mosquitto_sub", []string{"-i", "refused", "-E", "-t", c.filter, "-V", "mqttv5"}
		}
		if got, err := exec.CommandContext(t.Context(), tool, h.mosquitto(c.d, args...)...).CombinedOutput(); err == nil && !strings.Contains(string(got), "denied") {
			t.Errorf("%s %s%s was not refused: %s", tool, c.topic, c.filter, got)
		}
	}
	h.publish(reader, "reader", p+"get", "")
}

// TestShadowOverHTTP goes through all operations with the AWS command lines.
func TestShadowOverHTTP(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	out := filepath.Join(t.TempDir(), "out")
	for i, cli := range awsCLIs(t) {
		thing := fmt.Sprintf("thing:%d", i)
		data := func(args ...string) string {
			t.Helper()
			return h.mustRun(cli, append([]string{"--endpoint-url", h.ep.HTTP, "--output", "json", "iot-data"}, args...)...)
		}
		payload := filepath.Join(t.TempDir(), "payload")
		if err := os.WriteFile(payload, []byte(`{"state":{"desired":{"x":1.10}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		update := []string{"update-thing-shadow", "--thing-name", thing, "--payload", "fileb://" + payload}
		for _, name := range []string{"b", "$a:1", "c"} {
			data(append(update, "--shadow-name", name, out)...)
		}
		data(append(update, out)...)
		if got, err := os.ReadFile(out); err != nil || !strings.Contains(string(got), `{"state":{"desired":{"x":1.10}},"metadata":{"desired":{"x":{"timestamp":`) {
			t.Errorf("update: %s %v", got, err)
		}
		if got := data("list-named-shadows-for-thing", "--thing-name", thing, "--page-size", "2"); !strings.Contains(strings.Join(strings.Fields(got), ""), `"results":["$a:1","b"],"nextToken":`) {
			t.Errorf("list: %s", got)
		}
		data("get-thing-shadow", "--thing-name", thing, "--shadow-name", "$a:1", out)
		if got, err := os.ReadFile(out); err != nil || !strings.Contains(string(got), `"delta":{"x":1.10}`) {
			t.Errorf("get: %s %v", got, err)
		}
		data("delete-thing-shadow", "--thing-name", thing, "--shadow-name", "b", out)
		if got := data("list-named-shadows-for-thing", "--thing-name", thing); !strings.Contains(strings.Join(strings.Fields(got), ""), `"results":["$a:1","c"]`) {
			t.Errorf("list: %s", got)
		}
	}
	t.Logf("boto3 %s", h.mustRun("/usr/bin/python3", "-c", shadowScript, h.ep.HTTP))
}

const shadowScript = `
import boto3, json, sys
c = boto3.client("iot-data", endpoint_url=sys.argv[1])
def refused(code, status, message, f, **kw):
    try:
        f(**kw)
    except c.exceptions.ClientError as e:
        got = (e.response["Error"]["Code"], e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Message"])
        assert got == (code, status, message), got
    else:
        assert False, "not refused"
def update(doc, **kw):
    return json.loads(c.update_thing_shadow(thingName="py", payload=doc if isinstance(doc, (bytes, str)) else json.dumps(doc), **kw)["payload"].read())
refused("ResourceNotFoundException", 404, "No shadow exists with name: 'py'", c.get_thing_shadow, thingName="py")
refused("ResourceNotFoundException", 404, "No shadow exists with name: 'py~n'", c.get_thing_shadow, thingName="py", shadowName="n")
refused("ResourceNotFoundException", 404, "No shadow exists with name: 'py'", c.delete_thing_shadow, thingName="py")
assert update({"state": {"desired": {"led": "on"}}, "clientToken": "t"})["clientToken"] == "t"
got = json.loads(c.get_thing_shadow(thingName="py")["payload"].read())
assert got["state"] == {"desired": {"led": "on"}, "delta": {"led": "on"}} and got["version"] == 1, got
refused("ConflictException", 409, "Version conflict", update, doc={"state": {}, "version": 7})
refused("InvalidRequestException", 400, "Missing required node: state", update, doc={})
refused("InvalidRequestException", 400, "Invalid JSON", update, doc="{")
refused("UnsupportedDocumentEncodingException", 415, "Unsupported documented encoding; supported encoding is UTF-8", update, doc=b'{"state":{"desired":{"a":"\xff"}}}')
refused("RequestEntityTooLargeException", 413, "The payload exceeds the maximum size allowed", update, doc={"state": {"desired": {"a": "x" * 8192}}})
refused("RequestEntityTooLargeException", 413, "The payload exceeds the maximum size allowed", update, doc=" " * 40000)
assert json.loads(c.delete_thing_shadow(thingName="py")["payload"].read())["version"] == 1
assert update({"state": {"reported": {"led": "off"}}})["version"] == 2
print(boto3.__version__)
`

// TestShadowSurvivesKill kills the cloud while a client sends updates as fast
// as it can: what was acknowledged is there, in order, and counted once.
func TestShadowSurvivesKill(t *testing.T) {
	h := startHost(t, t.TempDir(), "cloud")
	d := h.makeDevice(awsCLIs(t)[0], "lamp", allowAll)
	var updates strings.Builder
	for n := range 20000 {
		fmt.Fprintf(&updates, `{"state":{"reported":{"n":%d}}}`+"\n", n+1)
	}
	pub := exec.CommandContext(t.Context(), "stdbuf", append([]string{"-oL", tool(t, "mosquitto_pub")},
		h.mosquitto(d, "-i", "lamp", "-q", "1", "-d", "-l", "-t", "$aws/things/lamp/shadow/update")...)...)
	pub.Stdin = strings.NewReader(updates.String())
	out, err := pub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := pub.Start(); err != nil {
		t.Fatal(err)
	}
	acked := 0
	for s := bufio.NewScanner(out); s.Scan(); {
		if strings.Contains(s.Text(), "received PUBACK") {
			if acked++; acked == 1500 {
				h.kill()
				_ = pub.Process.Signal(os.Interrupt) // else it would connect again, and again
			}
		}
	}
	_ = pub.Wait()
	if acked < 1500 {
		t.Fatalf("only %d updates were acknowledged", acked)
	}
	h = startHost(t, h.data, "cloud")
	file := filepath.Join(t.TempDir(), "out")
	h.mustRun(awsCLIs(t)[0], "--endpoint-url", h.ep.HTTP, "iot-data", "get-thing-shadow", "--thing-name", "lamp", file)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		State   struct{ Reported struct{ N int } }
		Version int
	}
	if err := json.Unmarshal(data, &got); err != nil || got.State.Reported.N < acked || got.Version != got.State.Reported.N {
		t.Errorf("%d updates were acknowledged, the shadow is %s (%v)", acked, data, err)
	}
	t.Logf("%d acknowledged, %d stored", acked, got.Version)
}
