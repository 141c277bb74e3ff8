package store

import (
	"os"
	"regexp"
	"testing"
)

// TestEverySpaceHasAName: verify and backup take keys of a space without a name
// for damage.
func TestEverySpaceHasAName(t *testing.T) {
	text, err := os.ReadFile("store.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\t(Space\w+) +Space = '(.)'`).FindAllStringSubmatch(string(text), -1)
	if len(found) < 15 {
		t.Fatalf("found %d spaces: the test looks at nothing", len(found))
	}
	for _, m := range found {
		if Space(m[2][0]).Name() == "" {
			t.Errorf("%s has no name: give it one in space.go", m[1])
		}
	}
}
