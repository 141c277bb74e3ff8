// Package weather tries gateway and cloud over a network that loses, delays,
// doubles and reorders packets: in a virtual machine, since the kernel's netem
// (tc-netem(8)) is a module that few machines have loaded.
//
// [mote/test/weather/guest] is what runs inside.
package weather

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mote/test/machine"
)

// what is not tested without the machine.
const what = "NETWORKS THAT LOSE AND DELAY ARE"

func TestRealKernel(t *testing.T) {
	machine.Slow(t, what)
	mote := filepath.Join(t.TempDir(), "mote")
	build := exec.Command("go", "build", "-tags", "nethttpomithttp2", "-ldflags", "-s -w", "-o", mote, "mote/cmd/mote")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	machine.Guest{
		What:     what,
		Modules:  []string{"veth", "sch_netem"},
		Programs: []string{"/sbin/ip", "/sbin/tc"},
		Files:    map[string]string{"/bin/mote": mote},
		Memory:   768,
	}.Run(t)
}
