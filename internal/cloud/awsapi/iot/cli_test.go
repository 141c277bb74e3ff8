package iot

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCLI runs each AWS CLI that is installed: the steps of every tutorial, and
// statements of rules.
func TestCLI(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"aws", "/usr/bin/aws"} {
		python := interpreter(name)
		if python == "" || seen[python] {
			continue
		}
		seen[python] = true
		t.Run(strings.ReplaceAll(python, "/", "_"), func(t *testing.T) {
			aws := startCLI(t, python)
			t.Run("tutorials", func(t *testing.T) { testTutorials(t, aws) })
			t.Run("jobs", func(t *testing.T) { testJobs(t, aws) })
			t.Run("groups", func(t *testing.T) { testGroups(t, aws) })
			t.Run("statements", func(t *testing.T) { testStatements(t, aws) })
			t.Run("certificates", func(t *testing.T) { testCertificates(t, aws) })
			t.Run("provisioning", func(t *testing.T) { testProvisioning(t, aws) })
			t.Run("role aliases", func(t *testing.T) { testRoleAliases(t, aws) })
		})
	}
	if len(seen) == 0 {
		t.Skip("no AWS CLI that runs on Python is installed")
	}
}

// interpreter finds the Python that a CLI runs on, "" when there is none.
func interpreter(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	if strings.Contains(path, "/.pyenv/shims/") { // a shell script that finds the real one
		out, err := exec.Command("pyenv", "which", name).Output()
		if err != nil {
			return ""
		}
		path = strings.TrimSpace(string(out))
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	python, ok := strings.CutPrefix(strings.TrimSpace(line), "#!")
	if err != nil || !ok || !strings.Contains(python, "python") {
		return ""
	}
	return python
}

// cliLoop runs one CLI command per line of its input. One process for all of
// them, because the CLI needs a second to start.
const cliLoop = `
import contextlib, io, json, sys
from awscli.clidriver import create_clidriver
driver = create_clidriver()
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = driver.main(json.loads(line))
        except SystemExit as e:
            code = e.code
    print(json.dumps({"code": code, "out": out.getvalue()}), flush=True)
`

// cli is a running cliLoop.
type cli struct {
	url string
	in  io.Writer
	out *json.Decoder
}

func startCLI(t *testing.T, python string) *cli {
	t.Helper()
	none := filepath.Join(t.TempDir(), "none")
	cmd := exec.Command(python, "-c", cliLoop)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_DEFAULT_REGION=us-east-1", "AWS_PAGER=",
		"AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none, "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return &cli{in: in, out: json.NewDecoder(out)}
}

// run runs one command of "aws iot"; want is part of what it prints.
func (c *cli) run(t *testing.T, want string, args ...string) map[string]any {
	t.Helper()
	out := map[string]any{}
	_ = json.Unmarshal([]byte(c.output(t, want, args...)), &out) // empty for operations without answer
	return out
}

// output is run, and returns all that the command prints. It must fail when
// want is the name of an exception.
func (c *cli) output(t *testing.T, want string, args ...string) string {
	t.Helper()
	line, err := json.Marshal(append([]string{"--endpoint-url", c.url, "--output", "json", "iot"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Code int
		Out  string
	}
	if err := c.out.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(answer.Out, want) || (answer.Code == 0) == strings.Contains(want, "Exception") {
		t.Fatalf("aws iot %s: status %d\n%s\nwant %s", strings.Join(args, " "), answer.Code, answer.Out, want)
	}
	return answer.Out
}

// testGroups is the example of the developer guide, "Static thing groups".
func testGroups(t *testing.T, aws *cli) {
	srv, _, _ := newServer(t, t.TempDir())
	aws.url = srv.URL
	aws.run(t, "thingtype/LightBulb", "create-thing-type", "--thing-type-name", "LightBulb", "--thing-type-properties", "thingTypeDescription=light bulb type, searchableAttributes=wattage,model")
	aws.run(t, "", "create-thing", "--thing-name", "MyLightBulb", "--thing-type-name", "LightBulb", "--attribute-payload", `{"attributes": {"wattage":"75", "model":"123"}}`)
	aws.run(t, "thinggroup/LightBulbs", "create-thing-group", "--thing-group-name", "LightBulbs")
	red := aws.run(t, "thinggroup/RedLights", "create-thing-group", "--thing-group-name", "RedLights", "--parent-group-name", "LightBulbs", "--tags", "Key=a,Value=b")
	arn, _ := red["thingGroupArn"].(string)
	aws.run(t, "", "add-thing-to-thing-group", "--thing-name", "MyLightBulb", "--thing-group-name", "RedLights")
	aws.run(t, "MyLightBulb", "list-things-in-thing-group", "--thing-group-name", "LightBulbs", "--recursive")
	aws.run(t, "RedLights", "list-thing-groups", "--parent-group", "LightBulbs")
	aws.run(t, "rootToParentThingGroups", "describe-thing-group", "--thing-group-name", "RedLights")
	aws.run(t, `"version": 2`, "update-thing-group", "--thing-group-name", "LightBulbs", "--thing-group-properties", `{"thingGroupDescription":"d","attributePayload":{"attributes":{"Owner":"150"}}}`)
	aws.run(t, "", "create-policy", "--policy-name", "p", "--policy-document", strings.ReplaceAll(allowAll, `\`, ""))
	aws.run(t, "", "attach-policy", "--policy-name", "p", "--target", arn)
	aws.run(t, `"policyName": "p"`, "get-effective-policies", "--thing-name", "MyLightBulb")
	aws.run(t, `"Value": "b"`, "list-tags-for-resource", "--resource-arn", arn)
	aws.output(t, "InvalidRequestException", "delete-thing-group", "--thing-group-name", "LightBulbs")
	aws.run(t, "", "deprecate-thing-type", "--thing-type-name", "LightBulb")
	aws.output(t, "InvalidRequestException", "delete-thing-type", "--thing-type-name", "LightBulb")
	aws.run(t, "", "remove-thing-from-thing-group", "--thing-name", "MyLightBulb", "--thing-group-name", "RedLights")
	aws.run(t, "", "create-billing-group", "--billing-group-name", "b")
	aws.run(t, "", "add-thing-to-billing-group", "--billing-group-name", "b", "--thing-name", "MyLightBulb")
	aws.run(t, "MyLightBulb", "list-things-in-billing-group", "--billing-group-name", "b")
	aws.output(t, "ResourceNotFoundException", "search-index", "--query-string", "a")
	aws.run(t, "", "update-indexing-configuration", "--thing-indexing-configuration", "thingIndexingMode=REGISTRY")
	aws.run(t, `"thingTypeName": "LightBulb"`, "search-index", "--query-string", "thingName:my* AND thingTypeName:lightbulb")
	aws.run(t, `"schema": "REGISTRY"`, "describe-index", "--index-name", "AWS_Things")
	aws.output(t, "NotImplementedException", "create-dynamic-thing-group", "--thing-group-name", "a", "--query-string", "a")
}

func testTutorials(t *testing.T, aws *cli) {
	srv, _, _ := newServer(t, t.TempDir())
	aws.url = srv.URL
	aws.run(t, `"thingName": "pi-roof"`, "create-thing", "--thing-name", "pi-roof", "--attribute-payload", "attributes={room=attic}")
	pem := filepath.Join(t.TempDir(), "c.pem")
	keys := aws.run(t, "PRIVATE KEY", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", pem)
	if text, err := os.ReadFile(pem); err != nil || string(text) != keys["certificatePem"] {
		t.Errorf("the certificate file has %q, err %v", text, err)
	}
	arn, _ := keys["certificateArn"].(string)
	aws.run(t, `"policyVersionId": "1"`, "create-policy", "--policy-name", "gateway", "--policy-document", strings.ReplaceAll(allowAll, `\`, ""))
	aws.run(t, "", "attach-policy", "--policy-name", "gateway", "--target", arn)
	aws.run(t, `"policyName": "gateway"`, "list-attached-policies", "--target", arn)
	aws.run(t, "", "attach-thing-principal", "--thing-name", "pi-roof", "--principal", arn)
	aws.run(t, arn, "list-thing-principals", "--thing-name", "pi-roof")
	aws.run(t, "pi-roof", "list-principal-things", "--principal", arn)
	aws.run(t, "", "create-topic-rule", "--rule-name", "store_air", "--topic-rule-payload", `{"sql":"SELECT * FROM 'sensors/+/air'",
		"actions":[{"dynamoDBv2":{"roleArn":"arn:aws:iam::1:role/x","putItem":{"tableName":"air"}}}],
		"errorAction":{"republish":{"roleArn":"arn:aws:iam::1:role/x","topic":"errors"}}}`)
	got := aws.run(t, `"tableName": "air"`, "get-topic-rule", "--rule-name", "store_air")
	if r, _ := got["rule"].(map[string]any); r["awsIotSqlVersion"] != "2015-10-08" || r["ruleDisabled"] != false || r["errorAction"] == nil || r["createdAt"] == nil {
		t.Errorf("%v", got)
	}
	testDestinations(t, aws)
	aws.run(t, "mote.example", "describe-endpoint", "--endpoint-type", "iot:Data-ATS")
	aws.run(t, "CertificateStateException", "delete-certificate", "--certificate-id", arn[len(arn)-64:])
	aws.run(t, "ACTIVE", "describe-certificate", "--certificate-id", arn[len(arn)-64:])
	for i := range 3 {
		aws.run(t, "", "create-thing", "--thing-name", "board-"+string(rune('a'+i)))
	}
	if things, _ := aws.run(t, "board-c", "list-things", "--page-size", "2")["things"].([]any); len(things) != 4 {
		t.Errorf("the CLI's own paging found %d things", len(things))
	}
}
