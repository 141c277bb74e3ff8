package cloud

import (
	"errors"
	"testing"
)

func TestNamesThatACertificateCannotHoldAreLeftOut(t *testing.T) {
	for name, want := range map[string]bool{"raspberrypi": true, "roof-2.lab": true, "my_pi": true, "(none)": false, "": false, "-": false, "a b": false, "über": false} {
		if _, ok := ownName(name, nil); ok != want {
			t.Errorf("%q: %v", name, ok)
		}
	}
	if _, ok := ownName("roof", errors.New("uname")); ok {
		t.Error("a name that could not be read")
	}
}
