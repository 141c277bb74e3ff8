package edge

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/watch"
)

func TestReloadTouchesOnlyWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := &memory{}, &watch.Log{}
		stays, leaves, comes := newPipes("stays"), newPipes("leaves"), newPipes("comes")
		f := format(t, "{id:n}")
		keep := Line{Source: stays, Format: f}
		var mu sync.Mutex
		var runs []string // guarded by mu
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			runs = append(runs, what)
		}
		noted := func() string {
			mu.Lock()
			defer mu.Unlock()
			return strings.Join(runs, ", ")
		}
		up := func(key string) Uplink {
			return Uplink{Name: "iot", Key: key, Run: func(ctx context.Context) error {
				note(key + " begins")
				<-ctx.Done()
				time.Sleep(time.Second) // its farewell
				note(key + " ends")
				return nil
			}}
		}
		g, stop := start(t, Options{Lines: []Line{keep, {Source: leaves, Format: f}}, Uplinks: []Uplink{up("old")}, Spool: m, Log: log.Logger()})
		kept, left := <-stays.ends, <-leaves.ends
		say(t, kept, "{1:1}{1:")
		if err := g.Reload([]Line{keep, {Source: comes, Format: f}}, []Uplink{up("new")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := left.Write([]byte("{2:1}")); err == nil {
			t.Error("the line that is not named any more is still read")
		}
		say(t, <-comes.ends, "{3:1}")
		say(t, kept, "2}") // the rest of a frame that began before
		time.Sleep(2 * time.Second)
		if got := noted(); got != "old begins, old ends, new begins" {
			t.Errorf("uplinks: %s", got)
		}
		s := g.Status()
		if len(s.Sources) != 2 || s.Sources[0].Name != "stays" || s.Sources[0].Dials != 1 || s.Sources[0].Frames != 2 || s.Sources[0].Rejects != 0 || s.Sources[1].Frames != 1 {
			t.Errorf("%+v", s.Sources)
		}
		if err := g.Reload([]Line{keep, {Source: comes, Format: f}}, []Uplink{up("new")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if s := g.Status(); s.Sources[1].Dials != 1 || strings.Count(noted(), ",") != 2 {
			t.Errorf("the same again changed something: %+v, %s", s.Sources, noted())
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if got := noted(); !strings.HasSuffix(got, "new ends") {
			t.Errorf("after the stop: %s", got)
		}
	})
}

func TestReloadRefusesAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newPipes("board")
		f := format(t, "{id:n}")
		l := Line{Source: src, Format: f}
		g, stop := start(t, Options{Lines: []Line{l}, Spool: &memory{}})
		conn := <-src.ends
		if err := g.Reload([]Line{l, l}, nil); err == nil || !strings.Contains(err.Error(), "there twice") {
			t.Errorf("%v", err)
		}
		say(t, conn, "{1:1}")
		if s := g.Status(); len(s.Sources) != 1 || s.Sources[0].Frames != 1 {
			t.Errorf("%+v", s.Sources)
		}
		stop()
		if err := g.Reload(nil, nil); err != nil { // after the end it starts nothing
			t.Error(err)
		}
	})
}

// exclusive is a device that one connection at a time can have open.
type exclusive struct {
	*pipes
	open chan struct{}
}

func (e *exclusive) Dial(ctx context.Context) (net.Conn, error) {
	select {
	case e.open <- struct{}{}:
	default:
		return nil, errAbsent
	}
	conn, err := e.pipes.Dial(ctx)
	return &freeing{conn, e.open}, err
}

type freeing struct {
	net.Conn
	open chan struct{}
}

func (f *freeing) Close() error {
	<-f.open
	return f.Conn.Close()
}

func TestANewLineWaitsForTheOldOneOfItsDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := make(chan struct{}, 1)
		old, next := &exclusive{newPipes("old name"), device}, &exclusive{newPipes("new name"), device}
		f, gate := format(t, "{id:n}"), make(chan struct{})
		m := &memory{}
		g, stop := start(t, Options{Lines: []Line{{Source: old, Format: f}}, Spool: m})
		m.set(func(m *memory) { m.gate = gate })
		if _, err := (<-old.ends).Write([]byte("{1:1}")); err != nil {
			t.Fatal(err)
		}
		if err := g.Reload([]Line{{Source: next, Format: f}}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := g.Status(); s.Sources[0].Dials != 0 {
			t.Errorf("dialled while the old line has the device: %+v", s.Sources)
		}
		close(gate)
		m.set(func(m *memory) { m.gate = nil })
		say(t, <-next.ends, "{1:2}")
		if got := m.readings(t); len(got) != 2 {
			t.Errorf("%d readings; the old line's last one must not be lost", len(got))
		}
		if s := g.Status(); s.Sources[0].Dials != 1 {
			t.Errorf("%+v", s.Sources)
		}
		stop()
	})
}
