package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// simulate starts mote sim and returns what it says to put into a [[source]].
func simulate(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	p := start(t, append([]string{"sim"}, args...)...)
	line := regexp.MustCompile(`(?m)^board \S+: (\S+ = ".*")$`)
	waitFor(t, "line of the simulated board", 10*time.Second, func() error {
		if !line.MatchString(p.out.String()) {
			return fmt.Errorf("%q", p.out)
		}
		return nil
	})
	return p, line.FindStringSubmatch(p.out.String())[1]
}

// gatewayOn runs mote gateway with one source and one uplink.
func gatewayOn(t *testing.T, source, uplink string) *process {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "mote.toml")
	text := "[gateway]\nname = \"gateway\"\n[[source]]\n" + source + "\n" + uplink
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "gateway", "--config", conf)
}

// onlyAPIs starts what mote up makes, without its boards.
func onlyAPIs(t *testing.T) *host {
	t.Helper()
	config := restConfig(t)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	boards := regexp.MustCompile(`(?s)\[gateway\].*?\n(\[\[policy\]\])`)
	if err := os.WriteFile(config, boards.ReplaceAll(text, []byte("$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	return startHost(t, t.TempDir(), "up", "--config", config)
}

func TestTheRESTRoadOfTheGateway(t *testing.T) {
	h := onlyAPIs(t)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(h.data, "credentials"))
	t.Setenv("AWS_REGION", h.ep.Region)
	for path, auth := range map[string]string{"/prod/dust": "api-key", "/prod/both": "iam+api-key"} {
		t.Run(auth, func(t *testing.T) {
			id := "rest-" + path[len("/prod/"):]
			_, source := simulate(t, "--tcp", "127.0.0.1:0", "--id", id, "--period", "50ms", "--numbered")
			g := gatewayOn(t, source, fmt.Sprintf("[uplink.rest]\nurl = %q\nauth = %q\napi_key_file = %q\n", h.ep.HTTP+path, auth, h.ep.APIKeyFile))
			waitFor(t, "rows of "+id, 20*time.Second, func() error {
				if n := len(h.query(id)); n < 20 {
					return fmt.Errorf("%d rows\n%s", n, g.out)
				}
				return nil
			})
			for i, row := range h.query(id)[:20] {
				if text(row["dust"]) != fmt.Sprint(i) {
					t.Errorf("row %d has dust %s", i, text(row["dust"]))
				}
			}
			wantStop(t, g)
		})
	}
}

func TestSimReplaysARecordingOverAPseudoTerminal(t *testing.T) {
	h := onlyAPIs(t)
	csv := filepath.Join(t.TempDir(), "air.csv")
	if err := os.WriteFile(csv, []byte("No,pm2.5,TEMP\n1,12,-3.5\n2,,1\n3,14,0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, source := simulate(t, "--id", "beijing", "--period", "100ms", "--replay", csv, "--map", "dust=pm2.5,temp=TEMP,humid=40")
	dir := filepath.Join(h.data, "things", "gateway")
	g := gatewayOn(t, source, fmt.Sprintf("[uplink.iot]\nendpoint = %q\ncert = %q\nkey = %q\nca = %q\n",
		h.ep.MQTT, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), h.ep.CA))
	waitFor(t, "rows", 20*time.Second, func() error {
		if n := len(h.query("beijing")); n < 2 {
			return fmt.Errorf("%d rows\n%s", n, g.out)
		}
		return nil
	})
	rows := h.query("beijing")
	for i, want := range []map[string]string{{"dust": "12", "temp": "-3.5", "humid": "40"}, {"dust": "14", "temp": "0", "humid": "40"}} {
		for field, value := range want {
			if got := text(rows[i][field]); got != value {
				t.Errorf("row %d: %s is %s, want %s", i, field, got, value)
			}
		}
	}
}

func TestFaultyLinesLoseOnlyWhatTheySpoil(t *testing.T) {
	h := onlyAPIs(t)
	_, source := simulate(t, "--tcp", "127.0.0.1:0", "--id", "noisy", "--period", "10ms", "--numbered", "--faults", "0.3", "--seed", "7")
	dir := filepath.Join(h.data, "things", "gateway")
	gatewayOn(t, source, fmt.Sprintf("[uplink.iot]\nendpoint = %q\ncert = %q\nkey = %q\nca = %q\nmqtt = \"3.1.1\"\n",
		h.ep.MQTT, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), h.ep.CA))
	waitFor(t, "rows", 20*time.Second, func() error {
		if n := len(h.query("noisy")); n < 100 {
			return fmt.Errorf("%d rows", n)
		}
		return nil
	})
}
