package edge

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"mote/internal/edge/frame"
	"mote/internal/reading"
)

// unset is a clock that is set when the test says so.
type unset struct {
	wallClock
	mu   sync.Mutex
	on   bool
	held [][]byte
}

func (u *unset) Set() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.on
}

func (u *unset) Untimed(r reading.Reading) []byte {
	return append([]byte("untimed "), r.AppendJSON(nil)...)
}

func (u *unset) Hold(_ context.Context, records ...[]byte) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.held = append(u.held, records...)
	return nil
}

func (u *unset) Held() uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return uint64(len(u.held))
}

// TestReadingsWithoutATimeAreHeld: and those of a board with a clock of its own
// go on, in the same bytes.
func TestReadingsWithoutATimeAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src, clock := &memory{}, newPipes("a"), &unset{}
		f, err := frame.Compile("{id:n:ts}", frame.Options{Time: "ts"})
		if err != nil {
			t.Fatal(err)
		}
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: f}}, Spool: m, Clock: clock})
		line := <-src.ends
		say(t, line, "{1:1:0}{1:2:0}{2:3:1763805600}{1:4:0}")
		if got := texts(t, m, "n"); !slices.Equal(got, []string{"2=3"}) || clock.Held() != 3 {
			t.Errorf("%q went on, %d are held", got, clock.Held())
		}
		if s := g.Status(); s.ClockSet || s.Untimed != 3 || s.Sources[0].Frames != 4 {
			t.Errorf("%+v", s)
		}
		clock.mu.Lock()
		clock.on = true
		clock.mu.Unlock()
		say(t, line, "{1:5:0}")
		if got := texts(t, m, "n"); !slices.Equal(got, []string{"2=3", "1=5"}) || !g.Status().ClockSet {
			t.Errorf("%q", got)
		}
		stop()
	})
}
