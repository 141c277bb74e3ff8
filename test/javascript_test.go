package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestJavaScriptSDK runs the real work of testdata/dynamodb.mjs with AWS's SDK
// for JavaScript.
func TestJavaScriptSDK(t *testing.T) {
	t.Parallel()
	modules, err := filepath.Abs(filepath.Join("..", ".cache", "aws-sdk-js", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(modules, "@aws-sdk", "client-dynamodb-streams")); err != nil {
		t.Skipf("AWS's SDK for JavaScript is not there, test/install-tools installs it: %v", err)
	}
	dir := t.TempDir() // the script finds its modules beside itself
	script, err := os.ReadFile(filepath.Join("testdata", "dynamodb.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "dynamodb.mjs")
	if err := os.WriteFile(path, script, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	h := startHost(t, t.TempDir(), "cloud")
	node := exec.CommandContext(t.Context(), tool(t, "node"), path)
	node.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+h.ep.HTTP, "AWS_REGION="+h.ep.Region,
		"AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(h.data, "credentials"), "AWS_CONFIG_FILE="+filepath.Join(h.data, "config"),
		"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_PROFILE=default")
	out, err := node.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("%v: %s", err, out)
	}
	wantStop(t, h.process)
	if out, status := verify(t, h.data); status != 0 {
		t.Errorf("mote verify: %s", out)
	}
}
