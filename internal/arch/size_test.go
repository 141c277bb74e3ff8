package arch

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheLinkerDropsMethods holds the program's size: one reachable call of
// reflect's Method, Methods or MethodByName with a name that the linker does
// not know makes it keep every exported method of every type, the AWS clients'
// among them.
func TestTheLinkerDropsMethods(t *testing.T) {
	if testing.Short() {
		t.Skip("links the whole program")
	}
	build := exec.Command("go", "build", "-ldflags=-dumpdep", "-o", filepath.Join(t.TempDir(), "mote"), "mote/cmd/mote")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%.2000s", err, out)
	}
	edges := 0
	for line := range strings.Lines(string(out)) {
		from, _, ok := strings.Cut(line, " -> ")
		if ok {
			edges++
		}
		if strings.HasSuffix(from, " <ReflectMethod>") {
			t.Errorf("%s calls methods by names that the linker does not know: find who needs it with -ldflags=-dumpdep", from)
		}
	}
	if edges < 1000 {
		t.Fatalf("the linker printed %d dependencies: the test looks at nothing", edges)
	}
}
