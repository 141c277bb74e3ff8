// Package arch holds the test that keeps the picture of ARCHITECTURE.md true.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport lists, for every package of the module, which packages of the
// module it may import; an entry that ends in "/..." allows the tree. A
// package that is not listed fails the test: place it first.
var mayImport = map[string][]string{
	"cmd/mote": {"..."},

	// shared by both halves: only downwards
	"internal/command":       {"internal/typo"},
	"internal/parquet":       {},
	"internal/reading":       {},
	"internal/sigv4":         {},
	"internal/config":        {"internal/typo"},
	"internal/endpoints":     {},
	"internal/iotsql":        {},
	"internal/iotsql/eval":   {"internal/iotsql"},
	"internal/mqtt":          {},
	"internal/pageguard":     {},
	"internal/mqtt/client":   {"internal/mqtt"},
	"internal/mqtt/mqtttest": {"internal/watch"},
	"internal/provision":     {"internal/config"},
	"internal/watch":         {},
	"internal/typo":          {},
	"internal/arch":          {},

	// the edge: never the cloud
	"internal/edge":                   {"internal/reading", "internal/edge/frame", "internal/edge/spool"},
	"internal/edge/doctor":            {"internal/config", "internal/mqtt", "internal/mqtt/client"},
	"internal/edge/monitor":           {"internal/pageguard", "internal/reading", "internal/edge", "internal/edge/uplink"},
	"internal/edge/frame":             {"internal/reading"},
	"internal/edge/clock":             {"internal/edge/spool", "internal/reading"},
	"internal/edge/control":           {"internal/mqtt", "internal/mqtt/client"},
	"internal/edge/source/mqtt":       {"internal/edge/frame", "internal/mqtt", "internal/mqtt/client"},
	"internal/edge/bluetooth":         {"internal/edge/bluetooth/dbus"},
	"internal/edge/bluetooth/dbus":    {},
	"internal/edge/source/rfcomm":     {},
	"internal/edge/source/serial":     {},
	"internal/edge/source/tcp":        {},
	"internal/edge/source/sim":        {"internal/edge/source/serial"},
	"internal/edge/spool":             {},
	"internal/edge/uplink":            {},
	"internal/edge/uplink/uplinktest": {"internal/edge/uplink", "internal/watch"},
	"internal/edge/uplink/iotcore":    {"internal/edge/uplink", "internal/mqtt", "internal/mqtt/client", "internal/reading"},
	"internal/edge/uplink/web":        {"internal/edge/uplink", "internal/sigv4"},
	"internal/edge/uplink/rest":       {"internal/edge/uplink", "internal/edge/uplink/web", "internal/reading"},
	"internal/edge/uplink/dynamodb":   {"internal/edge/uplink", "internal/edge/uplink/web", "internal/reading"},
	"internal/edge/uplink/rolealias":  {"internal/edge/uplink", "internal/edge/uplink/web"},
	"internal/edge/uplink/failover":   {"internal/edge/uplink"},

	// the cloud: never the edge
	"internal/cloud":                   {"internal/cloud/...", "internal/endpoints", "internal/mqtt", "internal/sigv4"},
	"internal/cloud/message":           {},
	"internal/cloud/websocket":         {},
	"internal/cloud/refusal":           {},
	"internal/cloud/store":             {},
	"internal/cloud/record":            {},
	"internal/cloud/throttle":          {},
	"internal/cloud/store/storetest":   {"internal/cloud/store"},
	"internal/cloud/policy":            {},
	"internal/cloud/table":             {"internal/cloud/store"},
	"internal/cloud/partiql":           {},
	"internal/cloud/search":            {},
	"internal/cloud/table/wire":        {"internal/cloud/table"},
	"internal/cloud/table/remote":      {"internal/cloud/table", "internal/cloud/table/wire", "internal/cloud/outbox"},
	"internal/cloud/table/tabletest":   {"internal/watch"},
	"internal/cloud/outbox":            {"internal/cloud/record", "internal/cloud/store", "internal/cloud/throttle"},
	"internal/cloud/backup":            {"internal/cloud/store", "internal/cloud/table", "internal/cloud/outbox", "internal/cloud/registry"},
	"internal/cloud/sink":              {"internal/cloud/outbox", "internal/cloud/record"},
	"internal/cloud/destination":       {"internal/cloud/store"},
	"internal/cloud/shadow":            {"internal/cloud/record", "internal/cloud/store", "internal/cloud/message", "internal/mqtt"},
	"internal/cloud/jobs":              {"internal/cloud/store", "internal/cloud/message", "internal/mqtt"},
	"internal/cloud/registry":          {"internal/cloud/store", "internal/cloud/policy"},
	"internal/cloud/provisioning":      {"internal/cloud/store", "internal/cloud/message", "internal/cloud/registry", "internal/mqtt"},
	"internal/cloud/credentials":       {"internal/cloud/awsapi", "internal/cloud/policy", "internal/cloud/refusal", "internal/cloud/registry", "internal/sigv4"},
	"internal/cloud/rules":             {"internal/cloud/store", "internal/cloud/throttle", "internal/cloud/message", "internal/cloud/table", "internal/cloud/table/remote", "internal/cloud/outbox", "internal/cloud/sink", "internal/iotsql", "internal/iotsql/eval", "internal/mqtt"},
	"internal/cloud/crowd":             {},
	"internal/cloud/broker":            {"internal/cloud/crowd", "internal/cloud/record", "internal/cloud/store", "internal/cloud/message", "internal/cloud/refusal", "internal/cloud/policy", "internal/mqtt"},
	"internal/cloud/rest":              {"internal/cloud/store", "internal/cloud/message", "internal/cloud/refusal", "internal/cloud/table", "internal/sigv4"},
	"internal/cloud/awsapi":            {"internal/cloud/refusal", "internal/sigv4"},
	"internal/cloud/awsapi/iot":        {"internal/cloud/provisioning", "internal/cloud/awsapi", "internal/cloud/registry", "internal/cloud/policy", "internal/cloud/rules", "internal/cloud/search", "internal/cloud/destination", "internal/cloud/jobs", "internal/cloud/store", "internal/mqtt", "internal/sigv4"},
	"internal/cloud/awsapi/iotdata":    {"internal/cloud/awsapi", "internal/cloud/message", "internal/cloud/shadow", "internal/mqtt", "internal/sigv4"},
	"internal/cloud/awsapi/iotjobs":    {"internal/cloud/awsapi", "internal/cloud/jobs", "internal/sigv4"},
	"internal/cloud/awsapi/dynamodb":   {"internal/cloud/awsapi", "internal/cloud/partiql", "internal/cloud/table", "internal/cloud/table/wire", "internal/cloud/table/remote", "internal/cloud/store", "internal/sigv4"},
	"internal/cloud/awsapi/apigateway": {"internal/cloud/awsapi", "internal/cloud/rest", "internal/sigv4"},
	"internal/cloud/console":           {"internal/pageguard", "internal/cloud/message", "internal/cloud/refusal", "internal/cloud/table"},

	"bench": {"..."},
	"test":  {"..."},

	"test/network":         {},
	"test/machine":         {},
	"test/machine/inside":  {},
	"test/systemd":         {},
	"test/systemd/guest":   {},
	"test/weather":         {},
	"test/weather/guest":   {},
	"test/bluetooth":       {},
	"test/bluetooth/guest": {},
	"test/bluetooth/radio": {},
}

func TestImports(t *testing.T) {
	const module = "mote/"
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "mote/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, ok := mayImport[name]
		if !ok {
			t.Errorf("package %s has no place in the picture: add it to mayImport, on its layer", name)
			continue
		}
		for _, imp := range p.Imports {
			if sub, own := strings.CutPrefix(imp, module); own && !permits(allowed, sub) {
				t.Errorf("%s imports %s, which is not below it", name, sub)
			}
		}
	}
	if seen < 3 {
		t.Fatalf("go list found %d packages: the test looks at nothing", seen)
	}
}

// TestGatewayBuild holds the gateway-only build to what a gateway needs.
func TestGatewayBuild(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", "gateway", "mote/cmd/mote").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "mote/internal/edge") {
		t.Fatal("the gateway-only build has no gateway: the test looks at nothing")
	}
	for _, dep := range deps {
		for _, cloud := range []string{"mote/internal/cloud", "mote/internal/provision", "mote/internal/iotsql", "mote/internal/parquet", "github.com/cockroachdb"} {
			if dep == cloud || strings.HasPrefix(dep, cloud+"/") {
				t.Errorf("the gateway-only build imports %s", dep)
			}
		}
	}
}

func permits(allowed []string, pkg string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		tree, ok := strings.CutSuffix(a, "...")
		return a == pkg || ok && strings.HasPrefix(pkg+"/", tree)
	})
}

func TestPermits(t *testing.T) {
	for _, c := range []struct {
		allowed, pkg string
		want         bool
	}{
		{"internal/mqtt", "internal/mqtt", true},
		{"internal/mqtt", "internal/mqtt/client", false},
		{"internal/cloud/...", "internal/cloud/store", true},
		{"internal/cloud/...", "internal/edge", false},
		{"...", "internal/edge", true},
	} {
		if got := permits([]string{c.allowed}, c.pkg); got != c.want {
			t.Errorf("permits(%q, %q) = %v", c.allowed, c.pkg, got)
		}
	}
}
