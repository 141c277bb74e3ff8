package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// gatewayOnly builds the gateway-only program once, stripped as make gateway
// does.
var gatewayOnly = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "mote-gateway")
	build := exec.Command("go", "build", "-tags", "gateway", "-trimpath", "-ldflags", "-s -w", "-o", path, "mote/cmd/mote")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "go build -tags gateway: " + string(out), Err: err}
	}
	return path, nil
})

func TestTheGatewayOnlyBuildIsSmallAndKnowsNoCloud(t *testing.T) {
	path, err := gatewayOnly()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size(); size > 15_000_000 {
		t.Errorf("it has %d bytes, want at most 15 MB", size)
	}
	if out, err := exec.Command(path, "version").Output(); err != nil || !strings.Contains(string(out), "gateway only") {
		t.Errorf("version: %s, %v", out, err)
	}
	for _, verb := range []string{"cloud", "up", "query", "backup"} {
		out, err := exec.Command(path, verb).CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "unexpected argument "+verb) {
			t.Errorf("mote %s: %v, %s", verb, err, out)
		}
	}
}
