package edge

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"mote/internal/edge/source/sim"
	"mote/internal/edge/source/tcp"
	"mote/internal/edge/spool"
	"mote/internal/watch"
)

// numbers returns the sequence numbers in the spool, by board.
func numbers(t *testing.T, m *memory) map[string][]int {
	t.Helper()
	out := map[string][]int{}
	for _, r := range m.readings(t) {
		if len(r.Fields) != 3 || r.Fields[0].Name != "dust" {
			continue // a damaged frame that still fits the pattern
		}
		if n, err := strconv.Atoi(r.Fields[0].Text); err == nil {
			out[r.ID] = append(out[r.ID], n)
		}
	}
	return out
}

func counted(t *testing.T, id string, count uint64, faults float64) *sim.Source {
	t.Helper()
	s, err := sim.NewSource(sim.Options{ID: id, Period: time.Millisecond, Series: sim.NewCounter(1000, count), Faults: faults, Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryFrameOfRealTerminalsArrivesOnceAndInOrder runs boards behind real
// pseudo-terminals, read as serial ports.
func TestEveryFrameOfRealTerminalsArrivesOnceAndInOrder(t *testing.T) {
	const n = 400
	m := &memory{}
	f := format(t, seedPattern)
	one, two := counted(t, "1", n, 0), counted(t, "2", n, 0)
	g, stop := start(t, Options{Lines: []Line{{Source: one, Format: f}, {Source: two, Format: f}}, Spool: m})
	var s Status
	alive := map[string]bool{}
	watch.Until(t, "all frames", func() bool {
		s = g.Status()
		for _, b := range s.Boards {
			alive[b.ID] = alive[b.ID] || b.Alive
		}
		return s.Sources[0].Frames+s.Sources[1].Frames >= 2*n
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	want := make([]int, n)
	for i := range want {
		want[i] = 1000 + i
	}
	for id, got := range numbers(t, m) {
		if !slices.Equal(got, want) {
			t.Errorf("board %s: %v", id, got)
		}
	}
	for _, src := range s.Sources {
		if src.Rejects != 0 || src.Skipped != 0 || src.Frames != n || src.Lost != 0 {
			t.Errorf("%+v", src)
		}
	}
	if len(s.Boards) != 2 || s.Boards[0].Rate != time.Millisecond || !alive["1"] || !alive["2"] {
		t.Errorf("%+v, alive %v", s.Boards, alive)
	}
}

// counting is an uplink that delivers to a list.
type counting struct{ got []uint64 }

func (*counting) Name() string { return "list" }

func (c *counting) Run(ctx context.Context, q spoolQueue) error {
	for {
		seq, _, err := q.Next(ctx)
		if err != nil {
			return err
		}
		c.got = append(c.got, seq)
		q.Ack(seq)
	}
}

type spoolQueue interface {
	Next(ctx context.Context) (seq uint64, record []byte, err error)
	Ack(seq uint64)
}

// TestThroughTheRealSpool: what the boards said before the stop is delivered
// before the stop is over, and is on disk.
func TestThroughTheRealSpool(t *testing.T) {
	const n = 200
	dir, up := t.TempDir(), &counting{}
	sp, err := spool.Open(dir, spool.Options{Readers: []string{up.Name()}})
	if err != nil {
		t.Fatal(err)
	}
	f := format(t, seedPattern)
	g, stop := start(t, Options{
		Lines: []Line{{Source: counted(t, "1", n, 0), Format: f}, {Source: counted(t, "2", n, 0), Format: f}},
		Spool: sp, Uplinks: []Uplink{Deliver[spoolQueue](up, sp.Reader(up.Name()))}, Drain: watch.Patience,
	})
	watch.Until(t, "all frames", func() bool { return g.Status().Spool.Appended == 2*n })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if waiting := sp.Stats().Readers[0].Waiting; waiting != 0 || len(up.got) != 2*n || !slices.IsSorted(up.got) {
		t.Errorf("%d delivered, %d waiting", len(up.got), waiting)
	}
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
}

// TestFaultyTerminals: a line full of faults gives the frames that arrived
// whole, in order, and refuses the rest.
func TestFaultyTerminals(t *testing.T) {
	const n = 500
	m, src := &memory{}, counted(t, "1", n, 0.4)
	g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, seedPattern)}}, Spool: m})
	<-src.Board().Over()
	// Of the 40 % with a fault, half are whole; some garbled ones still fit.
	watch.Until(t, "most frames, and refusals", func() bool {
		whole := map[int]bool{}
		for _, k := range numbers(t, m)["1"] {
			if k >= 1000 && k < 1000+n {
				whole[k] = true
			}
		}
		s := g.Status().Sources[0]
		return len(whole) >= n*70/100 && s.Rejects > 0 && s.Skipped > 0
	})
	stop()
	if s := g.Status().Sources[0]; s.Dials != 1 {
		t.Errorf("%+v", s)
	}
}

// TestBridgeThatComesAndGoes runs a board behind TCP that hangs up on the
// gateway again and again.
func TestBridgeThatComesAndGoes(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	src, err := tcp.New(tcp.Options{Address: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{}
	g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Spool: m})
	for i := range 4 {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "{1:%d}{1:", i)
		watch.Until(t, "the frame", func() bool { return m.Stats().Appended == uint64(i+1) })
		conn.Close()
	}
	watch.Until(t, "the last hang-up", func() bool { return g.Status().Sources[0].Rejects == 4 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	for i, r := range m.readings(t) {
		if r.Fields[0].Text != strconv.Itoa(i) {
			t.Errorf("reading %d: %+v", i, r)
		}
	}
}
