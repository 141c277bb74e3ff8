package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge/spool"
	"mote/internal/reading"
	"mote/internal/watch"
)

func say(t *testing.T, line io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(line, text); err != nil {
		t.Fatalf("write %q: %v", text, err)
	}
	synctest.Wait()
}

func TestFramesBecomeDurableReadings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src := &memory{}, newPipes("board")
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, seedPattern)}}, Spool: m})
		line := <-src.ends
		time.Sleep(1500 * time.Millisecond)
		at := reading.TimeText(time.Now())
		say(t, line, "noise{1:35.2:21.5:40:7}{2:1:2:3:60}\r\n{1:36:2")
		time.Sleep(time.Second)
		later := reading.TimeText(time.Now())
		say(t, line, "1.5:41:8}{bad}")
		want := []string{
			`{"time":"` + at + `","id":"1","dust":35.2,"temp":21.5,"humid":40}`,
			`{"time":"` + at + `","id":"2","dust":1,"temp":2,"humid":3}`,
			`{"time":"` + later + `","id":"1","dust":36,"temp":21.5,"humid":41}`,
		}
		var got []string
		for _, r := range m.records {
			got = append(got, string(r))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if calls := m.appends(); !slices.Equal(calls, []int{2, 1}) {
			t.Errorf("records of each append: %v; want those of a read together", calls)
		}
		s := g.Status()
		src0 := s.Sources[0]
		if src0.State != Connected || src0.Frames != 3 || src0.Rejects != 1 || src0.Skipped != 7 || src0.Bytes != 58 || src0.Dials != 1 || src0.LastError != "" {
			t.Errorf("source: %+v", src0)
		}
		if r := src0.LastReject; r == nil || r.Text != "{bad}" || r.Hex != "7b 62 61 64 7d" || !strings.Contains(r.Reason, "1 of 5 fields") || r.At.IsZero() {
			t.Errorf("reject: %+v", r)
		}
		if len(s.Boards) != 2 || s.Boards[0].ID != "1" || s.Boards[0].Frames != 2 || s.Boards[0].Rate != 8*time.Second || !s.Boards[0].Alive ||
			s.Boards[0].Last.Fields[0].Text != "36" || s.Boards[0].Source != "board" || s.Boards[1].Rate != time.Minute {
			t.Errorf("boards: %+v", s.Boards)
		}
		if s.Spool.Appended != 3 || s.Started.IsZero() {
			t.Errorf("status: %+v", s)
		}
		time.Sleep(24*time.Second + time.Millisecond) // three times board 1's rate, not yet board 2's
		if s := g.Status(); s.Boards[0].Alive || !s.Boards[1].Alive {
			t.Errorf("alive: %v %v", s.Boards[0].Alive, s.Boards[1].Alive)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if st := g.Status().Sources[0].State; st != Stopped {
			t.Errorf("state %s", st)
		}
	})
}

func TestReadingsOfOneBoardNeverShareATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, a, b := &memory{}, newPipes("a"), newPipes("b")
		f := format(t, "{id:n}")
		_, stop := start(t, Options{Lines: []Line{{Source: a, Format: f}, {Source: b, Format: f}}, Spool: m})
		var burst strings.Builder
		for i := range 2500 {
			fmt.Fprintf(&burst, "{1:%d}", i)
		}
		for _, end := range []io.Writer{<-a.ends, <-b.ends} { // the same board on two lines
			say(t, end, burst.String())
		}
		stop()
		seen := map[time.Time]bool{}
		for _, r := range m.readings(t) {
			if seen[r.Time] {
				t.Fatalf("time %v given twice", r.Time)
			}
			seen[r.Time] = true
		}
		if len(seen) != 5000 {
			t.Errorf("%d readings", len(seen))
		}
	})
}

func TestDownLinesAreDialledAgainAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good, m, log := newPipes("bad"), newPipes("good"), &memory{}, &watch.Log{}
		bad.errs = []error{errAbsent}
		f := format(t, "{id:n}")
		g, stop := start(t, Options{Lines: []Line{{Source: bad, Format: f}, {Source: good, Format: f}}, Spool: m, Log: log.Logger()})
		line := <-good.ends
		for i := range 60 { // the bad one never holds the good one up
			say(t, line, fmt.Sprintf("{1:%d}", i))
			if len(m.appends()) != i+1 {
				t.Fatalf("reading %d is not there at once", i)
			}
			time.Sleep(10 * time.Second)
		}
		s := g.Status().Sources[0]
		// 250 ms doubling to 30 s, each between half of it and all: 20 to 55 in 10 minutes.
		if s.State != Down || s.LastError != errAbsent.Error() || s.Dials < 20 || s.Dials > 55 {
			t.Errorf("%+v", s)
		}
		if n := log.Count("line is down"); n != 1 {
			t.Errorf("%d lines about the same trouble", n)
		}
		bad.mu.Lock()
		bad.errs = nil
		bad.mu.Unlock()
		board := <-bad.ends
		say(t, board, "{2:1}")
		if s := g.Status().Sources[0]; s.State != Connected || s.Frames != 1 || log.Count(`"line is open" source=bad`) != 1 {
			t.Errorf("%+v", s)
		}
		board.Close()
		begin := time.Now()
		<-bad.ends
		if took := time.Since(begin); took > 250*time.Millisecond {
			t.Errorf("after a good connection the next dial came after %v", took)
		}
		if s := g.Status().Sources[0]; !strings.Contains(s.LastError, "closed the connection") {
			t.Errorf("%+v", s)
		}
		stop()
	})
}

func TestSilentLineIsOpenedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		configured time.Duration
		say        string
		want       []time.Duration // that each connection lives
	}{
		"configured": {10 * time.Second, "{1:1:1:1:60}", []time.Duration{10 * time.Second, 10 * time.Second}},
		"rate":       {0, "{1:1:1:1:60}", []time.Duration{5 * time.Minute, 4 * time.Minute, 8 * time.Minute}},
		// Once a board is not alive any more, its rate counts no longer.
		"fast":            {0, "{1:1:1:1:0.5}", []time.Duration{30 * time.Second, 4 * time.Minute}},
		"no rate is said": {0, "{1:1:1:1:}", []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, 64 * time.Minute, 128 * time.Minute, 128 * time.Minute}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newPipes("board")
				g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, seedPattern), Silence: c.configured}}, Spool: &memory{}})
				line := <-src.ends
				say(t, line, c.say)
				for i, want := range c.want {
					begin := time.Now()
					io.Copy(io.Discard, line) // until the gateway hangs up
					if lived := time.Since(begin); lived != want {
						t.Errorf("connection %d lived %v, want %v", i, lived, want)
					}
					line = <-src.ends
					if s := g.Status().Sources[0]; !strings.Contains(s.LastError, "no byte came for") {
						t.Errorf("%+v", s)
					}
				}
				stop()
			})
		})
	}
}

func TestFullSpoolStopsTheReadingAndNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m, src, log := &memory{gate: gate}, newPipes("board"), &watch.Log{}
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Spool: m, Log: log.Logger()})
		line := <-src.ends
		say(t, line, "{1:0}")
		written := make(chan error, 1)
		go func() {
			_, err := io.WriteString(line, "{1:1}{1:2}")
			written <- err
		}()
		time.Sleep(10 * time.Second)
		select {
		case <-written:
			t.Error("the board was read although the spool is full")
		default:
		}
		if s := g.Status().Sources[0]; !s.Waiting || s.Frames != 0 {
			t.Errorf("%+v", s)
		}
		close(gate)
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := g.Status().Sources[0]; s.Waiting || s.Frames != 3 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
		if log.Count("spool takes nothing") != 1 || log.Count("spool takes readings again") != 1 {
			t.Error("the wait was not logged")
		}
		stop()
	})
}

func TestFailingSpoolIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("input/output error")
		m, src, log := &memory{errs: []error{disk, disk, disk}}, newPipes("board"), &watch.Log{}
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Spool: m, Log: log.Logger()})
		line := <-src.ends
		say(t, line, "{1:1}{1:2}")
		time.Sleep(time.Second)
		if got := m.readings(t); len(got) != 2 || log.Count("spool failed") != 1 {
			t.Errorf("%d readings, %d log lines", len(got), log.Count("spool failed"))
		}
		m.set(func(m *memory) { m.errs = []error{fmt.Errorf("record: %w", spool.ErrTooLarge)} })
		say(t, line, "{1:3}")
		say(t, line, "{1:4}")
		if s := g.Status().Sources[0]; s.Lost != 1 || s.Frames != 3 || log.Count("readings lost") != 1 {
			t.Errorf("%+v", s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestClosedSpoolEndsTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src, idle := &memory{errs: []error{spool.ErrClosed}}, newPipes("board"), newPipes("idle")
		f := format(t, "{id:n}")
		g, err := New(Options{Lines: []Line{{Source: src, Format: f}, {Source: idle, Format: f}}, Spool: m})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- g.Run(t.Context()) }()
		say(t, <-src.ends, "{1:1}")
		if err := <-done; !errors.Is(err, spool.ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestANoisyLineCannotMakeBoardsWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src := &memory{}, newPipes("board")
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}"), MaxBoards: 3}}, Spool: m})
		line := <-src.ends
		for i := range 10 {
			say(t, line, fmt.Sprintf("{%d:1}", i))
		}
		say(t, line, "{0:2}")
		s := g.Status()
		if len(s.Boards) != 3 || s.Sources[0].Frames != 4 || s.Sources[0].Rejects != 7 || !strings.Contains(s.Sources[0].LastReject.Reason, "already has 3 boards") || s.Sources[0].LastReject.Text != "9" {
			t.Errorf("%+v %+v", s.Sources[0], s.Sources[0].LastReject)
		}
		stop()
	})
}

func TestRefusedFramesDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, log := newPipes("board"), &watch.Log{}
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Spool: &memory{}, Log: log.Logger()})
		line := <-src.ends
		for range 60 {
			say(t, line, strings.Repeat("{x}", 10))
			time.Sleep(time.Second)
		}
		if n := log.Count("frame refused"); n != 2 {
			t.Errorf("%d lines about %d refused frames in a minute", n, g.Status().Sources[0].Rejects)
		}
		if log.Count("refused_since_last_line=300") != 1 {
			t.Error("the second line does not say how many there were")
		}
		stop()
	})
}

func TestStopInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src := &memory{acked: map[string]uint64{"iot": 0}}, newPipes("board")
		var order []string
		deliver := func(ctx context.Context) error { // one record each 100 ms
			for {
				select {
				case <-time.After(100 * time.Millisecond):
					if s := m.Stats(); s.Readers[0].Waiting > 0 {
						m.ack("iot", s.Readers[0].Acked+1)
					}
				case <-ctx.Done():
					order = append(order, fmt.Sprintf("uplink with %d waiting", m.Stats().Readers[0].Waiting))
					return ctx.Err()
				}
			}
		}
		_, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Uplinks: []Uplink{{Name: "iot", Run: deliver}}, Spool: m})
		say(t, <-src.ends, "{1:1}{1:2}{1:3}")
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < 200*time.Millisecond || took > 400*time.Millisecond {
			t.Errorf("stopped after %v; the three records take 300 ms", took)
		}
		if !slices.Equal(order, []string{"uplink with 0 waiting"}) {
			t.Errorf("%q", order)
		}
	})
}

func TestStopDoesNotWaitForAnUplinkInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m, src := &memory{acked: map[string]uint64{"iot": 0}}, newPipes("board")
		stuck := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Uplinks: []Uplink{{Name: "iot", Run: stuck}}, Spool: m})
		line := <-src.ends
		say(t, line, "{1:1}")
		m.set(func(m *memory) { m.gate = gate }) // and the spool is full
		say(t, line, "{1:2}")
		begin := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != appendGrace+DefaultDrain {
			t.Errorf("stopped after %v", took)
		}
		if s := g.Status().Sources[0]; s.Lost != 1 || s.Frames != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestFailedUplinkIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs, log := 0, &watch.Log{}
		run := func(ctx context.Context) error {
			if runs++; runs < 4 {
				return errors.New("no certificate")
			}
			<-ctx.Done()
			return nil
		}
		g, stop := start(t, Options{Uplinks: []Uplink{{Name: "iot", Run: run}}, Spool: &memory{}, Log: log.Logger()})
		time.Sleep(10 * time.Second)
		if u := g.Status().Uplinks[0]; !u.Running || u.Failures != 3 || u.LastError != "no certificate" || u.Name != "iot" {
			t.Errorf("%+v", u)
		}
		if n := log.Count("uplink failed"); n != 1 {
			t.Errorf("%d lines about the same failure", n)
		}
		stop()
		if g.Status().Uplinks[0].Running {
			t.Error("it runs after the stop")
		}
	})
}

type queue interface{ Ack(uint64) }

type namedUplink struct{ got queue }

func (*namedUplink) Name() string { return "rest" }

func (n *namedUplink) Run(_ context.Context, q queue) error {
	n.got = q
	return nil
}

type place struct{}

func (place) Ack(uint64) {}

func TestDeliver(t *testing.T) {
	n := &namedUplink{}
	u := Deliver[queue](n, place{})
	if err := u.Run(t.Context()); err != nil || u.Name != "rest" || n.got != (place{}) {
		t.Errorf("%+v %v", u, err)
	}
}

func TestNewRefuses(t *testing.T) {
	f, run := format(t, "{id}"), func(context.Context) error { return nil }
	a := newPipes("a")
	for want, o := range map[string]Options{
		"needs a spool":      {},
		"source and a form":  {Spool: &memory{}, Lines: []Line{{Source: a}}},
		"source a is there":  {Spool: &memory{}, Lines: []Line{{Source: a, Format: f}, {Source: a, Format: f}}},
		"uplink needs":       {Spool: &memory{}, Uplinks: []Uplink{{Name: "x"}}},
		"uplink x is there ": {Spool: &memory{}, Uplinks: []Uplink{{Name: "x", Run: run}, {Name: "x", Run: run}}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestRate(t *testing.T) {
	for text, want := range map[string]time.Duration{"7": 7 * time.Second, "0.5": 500 * time.Millisecond, "": 0, "0": 0, "-1": 0, "NaN": 0, "Inf": 0, "1e300": 0, "x": 0, "604801": 0} {
		if got, ok := rate(text); got != want || ok != (want > 0) {
			t.Errorf("rate(%q) = %v, %v", text, got, ok)
		}
	}
}
