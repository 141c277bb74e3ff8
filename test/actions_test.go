package test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// actionsToml is a cloud whose rules reach out: %[1]s is the base of a web
// service.
const actionsToml = `
[cloud]
buckets = "files"
[cloud.lambda]
clean = "%[1]s/clean"

[[policy]]
name = "tools"
document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
[[thing]]
name = "tools"
policy = "tools"

[[table]]
name = "kept"
hash = "topic"
hash_type = "S"
[[table]]
name = "failures"
hash = "ruleName"

[[table]]
name = "given-up"
hash = "run"

[[rule]]
name = "everywhere"
sql = "SET @where = topic(2) SELECT *, @where AS place FROM 'reach/+' WHERE n > 0"
actions = '''[
 {"http": {"url": "%[1]s/in/${topic(2)}", "confirmationUrl": "%[1]s/in/", "headers": [{"key": "X-Board", "value": "${clientid()}-${@where}"}]}},
 {"s3": {"bucketName": "readings", "key": "${topic(2)}/${n}.json", "roleArn": "arn:aws:iam::000000000001:role/r"}},
 {"lambda": {"functionArn": "arn:aws:lambda:us-east-1:000000000001:function:clean"}},
 {"dynamoDB": {"tableName": "kept", "hashKeyField": "topic", "hashKeyValue": "${topic()}", "payloadField": "data", "roleArn": "arn:aws:iam::000000000001:role/r"}},
 {"sns": {"targetArn": "arn:aws:sns:us-east-1:000000000001:t", "roleArn": "arn:aws:iam::000000000001:role/r"}}
]'''

[[rule]]
name = "refused"
sql = "SELECT * FROM 'refused'"
actions = '''[{"http": {"url": "%[1]s/refuse"}}, {"http": {"url": "%[1]s/refuse"}}]'''
error_action = '{"dynamoDBv2": {"roleArn": "arn:aws:iam::000000000001:role/r", "putItem": {"tableName": "failures"}}}'

[[rule]]
name = "busy"
sql = "SELECT * FROM 'busy'"
actions = '''[{"http": {"url": "%[1]s/busy/1"}}, {"http": {"url": "%[1]s/busy/2"}}]'''
error_action = '''{"dynamoDB": {"tableName": "given-up", "hashKeyField": "run", "hashKeyValue": "${newuuid()}", "payloadField": "error",
  "roleArn": "arn:aws:iam::000000000001:role/r"}}'''

[[rule]]
name = "changes"
sql = "SELECT n FROM 'change/+'"
actions = '''[{"dynamoDB": {"tableName": "kept", "hashKeyField": "topic", "hashKeyValue": "${k}", "payloadField": "${topic(2)}", "operation": "${op}",
  "roleArn": "arn:aws:iam::000000000001:role/r"}}]'''

[[rule]]
name = "later"
sql = "SELECT * FROM 'later'"
actions = '''[{"http": {"url": "%[1]s/later"}}]'''
`

// service is a web service that notes what it gets.
type service struct {
	mu  sync.Mutex
	got []received // guarded by mu
}

type received struct {
	path, body string
	header     http.Header
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.URL.Path == "/refuse":
		http.Error(w, "no", http.StatusForbidden)
		return
	case strings.HasPrefix(r.URL.Path, "/busy/"):
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, received{r.URL.Path, string(body), r.Header})
}

func (s *service) at(path string) (out []received) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.got {
		if r.path == path {
			out = append(out, r)
		}
	}
	return out
}

// serve runs the service on an address until the test ends.
func (s *service) serve(t *testing.T, l net.Listener) {
	t.Helper()
	server := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

func writeConfig(t *testing.T, base string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mote.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, actionsToml, base), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestActionsReachOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	s.serve(t, l)
	config := writeConfig(t, "http://"+l.Addr().String())
	h := startHost(t, t.TempDir(), "up", "--config", config)
	h.mustRun(binary, "pub", "--data", h.data, "reach/roof", `{"n":7}`)
	h.mustRun(binary, "pub", "--data", h.data, "reach/roof", `{"n":-7}`) // WHERE keeps it out

	const result = `{"n":7,"place":"roof"}`
	waitFor(t, "request", 10*time.Second, func() error {
		if got := s.at("/in/roof"); len(got) != 1 || got[0].body != result || !strings.HasSuffix(got[0].header.Get("X-Board"), "-roof") ||
			got[0].header.Get("Content-Type") != "application/json" {
			return fmt.Errorf("got %v", got)
		}
		if got := s.at("/clean"); len(got) != 1 || got[0].body != result {
			return fmt.Errorf("the function got %v", got)
		}
		data, err := os.ReadFile(filepath.Join(filepath.Dir(config), "files", "readings", "roof", "7.json"))
		if err == nil && string(data) != result {
			err = fmt.Errorf("the object is %s", data)
		}
		return err
	})
	rows := h.rows("kept")
	if len(rows) != 1 || text(rows[0]["topic"]) != "reach/roof" {
		t.Errorf("table: %v", rows)
	}
	if !strings.Contains(h.out.String(), "stored, not executed") {
		t.Error("the log does not say that sns is only stored")
	}
}

// TestRowsAreChanged sees what acknowledged messages with each operation of the
// action dynamoDB made of a table.
func TestRowsAreChanged(t *testing.T) {
	h := startHost(t, t.TempDir(), "up", "--config", writeConfig(t, "http://127.0.0.1:1"))
	for _, m := range []struct{ attribute, payload, want string }{
		{"a", `{"k":"x","op":"UPDATE","n":1}`, "a=1"},
		{"b", `{"k":"x","op":"UPDATE","n":2}`, "a=1 b=2"},
		{"a", `{"k":"x","op":"UPDATE","n":3}`, "a=3 b=2"},
		{"c", `{"k":"x","op":"INSERT","n":4}`, "c=4"},
		{"c", `{"k":"x","op":"DELETE"}`, ""},
	} {
		h.mustRun(binary, "pub", "--data", h.data, "change/"+m.attribute, m.payload)
		var got []string
		for _, row := range h.rows("kept") {
			for _, name := range []string{"a", "b", "c"} {
				if v, ok := row[name].(*types.AttributeValueMemberM); ok {
					got = append(got, name+"="+text(v.Value["n"]))
				}
			}
		}
		if s := strings.Join(got, " "); s != m.want {
			t.Errorf("after %s: %q, want %q", m.payload, s, m.want)
		}
	}
}

// TestErrorActionOfARefusedRequest expects AWS's payload, once for both
// requests that failed.
func TestErrorActionOfARefusedRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	s.serve(t, l)
	h := startHost(t, t.TempDir(), "up", "--config", writeConfig(t, "http://"+l.Addr().String()))
	h.mustRun(binary, "pub", "--data", h.data, "refused", `{"n":1}`)
	waitFor(t, "row of the error action", 15*time.Second, func() error {
		rows := h.rows("failures")
		if len(rows) != 1 {
			return fmt.Errorf("%d rows", len(rows))
		}
		original, _ := base64.StdEncoding.DecodeString(text(rows[0]["base64OriginalPayload"]))
		if text(rows[0]["ruleName"]) != "refused" || text(rows[0]["topic"]) != "refused" || string(original) != `{"n":1}` {
			return fmt.Errorf("row %v", rows[0])
		}
		return nil
	})
}

// TestRequestsSurviveKill publishes while the destination is down, kills the
// cloud, and expects every acknowledged message at the destination once both
// are there again.
func TestRequestsSurviveKill(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close() // the destination is down
	config, data := writeConfig(t, "http://"+addr), t.TempDir()
	const messages = 300
	for round := range 2 {
		h := startHost(t, data, "up", "--config", config)
		var lines strings.Builder
		for i := range messages {
			fmt.Fprintf(&lines, "{\"n\":%d}\n", round*messages+i)
		}
		pub := exec.Command(binary, "pub", "--data", data, "--lines", "later")
		pub.Stdin = strings.NewReader(lines.String())
		if out, err := pub.CombinedOutput(); err != nil {
			t.Fatalf("publish: %v\n%s", err, out)
		}
		h.kill()
	}
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	s := &service{}
	s.serve(t, l)
	startHost(t, data, "up", "--config", config)
	waitFor(t, "all requests", 30*time.Second, func() error {
		seen := map[int]bool{}
		for _, r := range s.at("/later") {
			var m struct{ N int }
			if err := json.Unmarshal([]byte(r.body), &m); err != nil {
				t.Fatalf("body %q: %v", r.body, err)
			}
			seen[m.N] = true
		}
		if len(seen) != 2*messages {
			return fmt.Errorf("%d of %d", len(seen), 2*messages)
		}
		return nil
	})
}

// TestErrorActionsSurviveKill kills the cloud while requests of two actions are
// tried again, and expects the error action once for each message: every run
// makes a row of its own.
func TestErrorActionsSurviveKill(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	(&service{}).serve(t, l)
	config, data := writeConfig(t, "http://"+l.Addr().String()), t.TempDir()
	const messages = 100
	h := startHost(t, data, "up", "--config", config)
	pub := exec.Command(binary, "pub", "--data", data, "--lines", "busy")
	pub.Stdin = strings.NewReader(strings.Repeat("{}\n", messages))
	if out, err := pub.CombinedOutput(); err != nil {
		t.Fatalf("publish: %v\n%s", err, out)
	}
	time.Sleep(3 * time.Second) // about when the first entries are given up
	h.kill()
	h = startHost(t, data, "up", "--config", config)
	waitFor(t, "error action of every message", 30*time.Second, func() error {
		if n := len(h.rows("given-up")); n < messages {
			return fmt.Errorf("%d of %d", n, messages)
		}
		return nil
	})
	time.Sleep(2 * time.Second) // for the other action's failures
	if n := len(h.rows("given-up")); n != messages {
		t.Errorf("the error action ran %d times for %d messages", n, messages)
	}
}
