package guest

import (
	"context"
	"testing"

	"mote/internal/edge/source/rfcomm"
	"mote/test/machine/inside"
)

func TestMain(m *testing.M) { inside.Main(m, dialBefore) }

// before are the errors of a dial before the modules that it needs were there.
var before = map[string]error{}

func dialBefore(module string) {
	if module != "bluetooth" && module != "rfcomm" {
		return
	}
	s, err := rfcomm.New(rfcomm.Options{Address: "00:18:E4:00:00:01"})
	if err == nil {
		_, err = s.Dial(context.Background())
	}
	before[module] = err
}
