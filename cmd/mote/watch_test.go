package main

import (
	"strings"
	"testing"

	"mote/internal/edge"
	"mote/internal/edge/monitor"
	"mote/internal/edge/spool"
	"mote/internal/edge/uplink"
)

func TestStatusLineTellsTheBacklog(t *testing.T) {
	for _, c := range []struct {
		waiting, untimed uint64
		set              bool
		want             string
	}{
		{0, 0, true, "1 of 2 sources open, 1 of 1 uplink connected, nothing waits"},
		{100, 0, true, "nothing waits"},
		{149, 0, true, "about 100 readings wait"},
		{12_345, 0, true, "about 12300 readings wait"},
		{1_234_567, 0, true, "about 1235 thousand readings wait"},
		{149, 3, true, "about 100 readings wait"},
		{149, 3, false, "readings wait for the clock to be set"},
	} {
		s := monitor.Snapshot{Delivery: map[string]uplink.Status{"iot": {Connected: true}}}
		s.Sources = []edge.SourceStatus{{State: edge.Connected}, {State: edge.Down}}
		s.Uplinks = []edge.UplinkStatus{{Name: "iot"}}
		s.Spool.Readers = []spool.ReaderStats{{Name: "iot", Waiting: c.waiting}}
		s.ClockSet, s.Untimed = c.set, c.untimed
		if got := statusLine(s); !strings.HasSuffix(got, c.want) {
			t.Errorf("%d waiting, %d untimed: %q, want %q", c.waiting, c.untimed, got, c.want)
		}
	}
}
