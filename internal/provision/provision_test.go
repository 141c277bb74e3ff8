package provision_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"

	"mote/internal/cloud"
	"mote/internal/config"
	"mote/internal/provision"
)

const described = `
[[policy]]
name = "gateway"
document = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}'
[[thing]]
name = "pi-roof"
policy = "gateway"
attributes = { room = "roof" }
[[table]]
name = "air"
hash = "id"
range = "time"
[[rule]]
name = "store_air"
sql = "SELECT * FROM 'sensors/+/air'"
table = "air"
[[rule]]
name = "copy"
sql = "SELECT temp FROM 'sensors/+/air'"
actions = '[{"republish":{"roleArn":"arn:aws:iam::1:role/r","topic":"copy/${topic(2)}","qos":1}}]'
[[route]]
path = "/prod/dust"
auth = "api-key"
[[route]]
path = "/test/a/b"
auth = "iam"
`

// target is a running cloud to provision.
type target struct {
	t    *testing.T
	dir  string
	opts provision.Options
	log  *bytes.Buffer
}

func newTarget(t *testing.T) *target {
	t.Helper()
	dir := t.TempDir()
	c, err := cloud.Start(cloud.Options{Data: filepath.Join(dir, "data"), MQTT: cloud.Off, HTTPS: cloud.Off, HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	cfg, err := awsconfig.LoadDefaultConfig(context.Background(),
		awsconfig.WithSharedCredentialsFiles([]string{filepath.Join(dir, "data", "credentials")}),
		awsconfig.WithSharedConfigFiles([]string{filepath.Join(dir, "data", "config")}),
		awsconfig.WithSharedConfigProfile("default"), awsconfig.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.BaseEndpoint = aws.String(c.Endpoints().HTTP)
	log := &bytes.Buffer{}
	return &target{t, dir, provision.Options{
		AWS: cfg, ThingsDir: filepath.Join(dir, "things"), APIKeys: filepath.Join(dir, "api-key"),
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}, log}
}

// apply provisions text and returns what was made and changed.
func (g *target) apply(text string) (string, error) {
	g.t.Helper()
	f, err := config.Parse("mote.toml", g.dir, []byte(text))
	if err != nil {
		g.t.Fatal(err)
	}
	g.log.Reset()
	err = provision.Apply(context.Background(), f, g.opts)
	var did []string
	for _, m := range regexp.MustCompile(`msg=(\S+) kind=("[^"]*"|\S+)`).FindAllStringSubmatch(g.log.String(), -1) {
		did = append(did, m[1]+" "+strings.Trim(m[2], `"`))
	}
	return strings.Join(did, ", "), err
}

func (g *target) mustApply(text, want string) {
	g.t.Helper()
	if got, err := g.apply(text); err != nil || got != want {
		g.t.Errorf("did %q, err %v; want %q", got, err, want)
	}
}

func TestApplyMakesWhatIsMissingAndLeavesTheRest(t *testing.T) {
	g := newTarget(t)
	g.mustApply(described, "made policy, made thing, made certificate, made table, made rule, made rule, made rest api, made route, made route, made api key, made usage plan")
	for _, file := range []string{"things/pi-roof/cert.pem", "things/pi-roof/key.pem", "api-key"} {
		if info, err := os.Stat(filepath.Join(g.dir, file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want mode 0600", file, info, err)
		}
	}
	g.mustApply(described, "")
}

func TestApplyChangesWhatIsOtherwise(t *testing.T) {
	g := newTarget(t)
	if _, err := g.apply(described); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(described, `SELECT temp`, `SELECT dust`, 1)
	g.mustApply(text, "changed rule")
	text = strings.Replace(text, `auth = "iam"`, `auth = "none"`, 1)
	g.mustApply(text, "made route")
	for i := range 7 { // a policy has at most five versions
		text = regexp.MustCompile(`iot:[A-Za-z*]+`).ReplaceAllString(text, []string{"iot:Publish", "iot:Connect"}[i%2])
		g.mustApply(text, "changed policy")
	}
	g.mustApply(text, "")
}

func TestApplyRefusesWhatCannotBeChanged(t *testing.T) {
	g := newTarget(t)
	if _, err := g.apply(described); err != nil {
		t.Fatal(err)
	}
	_, err := g.apply(strings.Replace(described, `hash = "id"`, `hash = "board"`, 1))
	if want := `table air: it exists with the keys hash "id" and range "time"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if err := os.Remove(filepath.Join(g.dir, "things/pi-roof/key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err = g.apply(described); err == nil || !strings.Contains(err.Error(), "there is a certificate but no key beside it") {
		t.Errorf("got %v", err)
	}
}

func TestApplyNamesWhatFailed(t *testing.T) {
	g := newTarget(t)
	_, err := g.apply(strings.Replace(described, "SELECT temp FROM", "SELECT temp FORM", 1))
	if err == nil || !strings.Contains(err.Error(), "rule copy: ") || !strings.Contains(fmt.Sprint(err), "SqlParseException") {
		t.Errorf("got %v", err)
	}
}
