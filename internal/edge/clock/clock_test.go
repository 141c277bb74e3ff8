package clock

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/reading"
	"mote/internal/watch"
)

// machine is one whose clocks the test holds.
type machine struct {
	mu      sync.Mutex
	boot    string
	wall    time.Time
	up      time.Duration
	awaited bool
}

// never is what a Raspberry Pi says that nobody told the time.
var never = time.Date(1970, 1, 1, 0, 0, 5, 0, time.UTC)

func booted(id string) *machine {
	return &machine{boot: fmt.Sprintf("%-36s", id), wall: never, up: 5 * time.Second}
}

func (m *machine) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall, m.up = m.wall.Add(d), m.up+d
}

func (m *machine) set(t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = t
}

func (m *machine) machine() Machine {
	get := func(f func()) { m.mu.Lock(); defer m.mu.Unlock(); f() }
	return Machine{
		Boot:    m.boot,
		Now:     func() (t time.Time) { get(func() { t = m.wall }); return },
		Uptime:  func() (d time.Duration) { get(func() { d = m.up }); return },
		Awaited: func() (b bool) { get(func() { b = m.awaited }); return },
	}
}

// gateway is a clock with what it moved.
type gateway struct {
	*Clock
	t    *testing.T
	mu   sync.Mutex
	got  []string // guarded by mu
	fail error    // guarded by mu; what moving answers
	stop func()
}

func open(t *testing.T, dir string, m *machine) *gateway {
	t.Helper()
	c, err := Open(Options{Dir: dir, Machine: m.machine()})
	if err != nil {
		t.Fatal(err)
	}
	c.look = 5 * time.Millisecond
	g := &gateway{Clock: c, t: t}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx, g.move) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) move(_ context.Context, records ...[]byte) (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return 0, g.fail
	}
	for _, r := range records {
		g.got = append(g.got, string(r))
	}
	return uint64(len(g.got)), nil
}

func (g *gateway) moved() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.got)
}

// keep holds a reading of board 1.
func (g *gateway) keep(n int) {
	g.t.Helper()
	r := reading.Reading{ID: "1", Fields: []reading.Field{reading.Value("n", fmt.Sprint(n), false)}}
	if err := g.Hold(g.t.Context(), g.Untimed(r)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) wait(what string, ok func() bool) {
	g.t.Helper()
	if !watch.Soon(ok) {
		g.t.Fatalf("never: %s; moved %q, held %d", what, g.moved(), g.Held())
	}
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestReadingsGetTheirTimeWhenTheClockIsSet(t *testing.T) {
	m, dir := booted("a"), t.TempDir()
	g := open(t, dir, m)
	if g.Set() {
		t.Fatal("1970 is believed")
	}
	g.keep(0)
	g.keep(1) // in the same millisecond
	m.pass(10 * time.Second)
	g.keep(2)
	m.pass(time.Minute)
	if g.Held() != 3 || len(g.moved()) != 0 {
		t.Fatalf("held %d, moved %q", g.Held(), g.moved())
	}
	m.set(noon)
	g.wait("all moved", func() bool { return g.Held() == 0 })
	want := []string{
		`{"time":"2026-11-22T11:58:50.000Z","id":"1","n":0}`,
		`{"time":"2026-11-22T11:58:50.001001Z","id":"1","n":1}`,
		`{"time":"2026-11-22T11:59:00.000Z","id":"1","n":2}`,
	}
	if got := g.moved(); !slices.Equal(got, want) || !g.Set() {
		t.Errorf("%q\nwant %q", got, want)
	}
	g.keep(3) // a line that had looked before
	g.wait("the late one", func() bool { return len(g.moved()) == 4 })
	if at := g.Stamp("1", m.machine().Now()); !at.After(noon) {
		t.Errorf("stamped %v", at)
	}
}

func TestTheTimeIsTheSameAfterARestart(t *testing.T) {
	m, dir := booted("a"), t.TempDir()
	g := open(t, dir, m)
	g.keep(0)
	g.stop()
	m.pass(time.Second)
	g = open(t, dir, m)
	g.keep(1)
	g.mu.Lock()
	g.fail = errors.New("the disk is full")
	g.mu.Unlock()
	m.set(noon)
	g.wait("set", g.Set)
	g.stop()
	m.set(noon.Add(-7 * time.Minute)) // and again by somebody, wrongly
	g = open(t, dir, m)
	g.wait("all moved", func() bool { return g.Held() == 0 })
	want := []string{`{"time":"2026-11-22T11:59:59.000Z","id":"1","n":0}`, `{"time":"2026-11-22T12:00:00.000Z","id":"1","n":1}`}
	if got := g.moved(); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// TestAPowerCutWhileReadingsAreMovedChangesNoTime copies what is on disk at each
// step of moving, as a machine finds it that loses its power there, and goes on
// from the copy: in the same boot, and in the next one.
func TestAPowerCutWhileReadingsAreMovedChangesNoTime(t *testing.T) {
	m, dir := booted("a"), t.TempDir()
	g := open(t, dir, m)
	const count = 3 * moveBatch
	for n := range count {
		g.keep(n)
		if n%5 == 0 {
			m.pass(time.Millisecond)
		}
	}
	g.stop()
	var copies []string
	c, err := Open(Options{Dir: dir, Machine: m.machine()})
	if err != nil {
		t.Fatal(err)
	}
	c.look = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var first []string
	m.set(noon)
	c.Run(ctx, func(_ context.Context, records ...[]byte) (uint64, error) {
		copies = append(copies, clone(t, dir))
		for _, r := range records {
			first = append(first, string(r))
		}
		if len(first) == count {
			cancel()
		}
		return 0, nil
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if len(copies) < 3 || len(set(first)) != count {
		t.Fatalf("%d steps, %d times", len(copies), len(set(first)))
	}
	for i, copied := range copies {
		next := m
		if i%2 == 1 {
			next = booted("b")
			next.set(noon.Add(time.Hour))
		} else {
			m.set(noon.Add(3 * time.Second)) // the clock went on being corrected
		}
		g := open(t, copied, next)
		g.wait("all moved", func() bool { return g.Held() == 0 })
		again := g.moved()
		if len(again) == 0 || !slices.Equal(again, first[len(first)-len(again):]) {
			t.Errorf("after step %d other readings or times came: %d, the first %.200q", i, len(again), again)
		}
		g.stop()
	}
}

func set(records []string) map[string]bool {
	times := map[string]bool{}
	for _, r := range records {
		at, _, _ := strings.Cut(r, `","id"`)
		times[at] = true
	}
	return times
}

func clone(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestBootsWhoseClockWasNeverSetAreEstimated(t *testing.T) {
	dir := t.TempDir()
	for i, id := range []string{"a", "b"} {
		m := booted(id)
		g := open(t, dir, m)
		for n := range 3 {
			g.keep(10*i + n)
			m.pass(time.Minute)
		}
		g.stop()
	}
	m := booted("c")
	g := open(t, dir, m)
	g.keep(20)
	m.pass(55 * time.Second)
	m.set(noon)
	g.wait("all moved", func() bool { return g.Held() == 0 })
	want := []string{
		`{"time":"2026-11-22T11:54:53.000500Z","id":"1","n":0,"time_uncertain":"true"}`,
		`{"time":"2026-11-22T11:55:53.000500Z","id":"1","n":1,"time_uncertain":"true"}`,
		`{"time":"2026-11-22T11:56:53.000500Z","id":"1","n":2,"time_uncertain":"true"}`,
		`{"time":"2026-11-22T11:56:59.000500Z","id":"1","n":10,"time_uncertain":"true"}`,
		`{"time":"2026-11-22T11:57:59.000500Z","id":"1","n":11,"time_uncertain":"true"}`,
		`{"time":"2026-11-22T11:58:59.000500Z","id":"1","n":12,"time_uncertain":"true"}`,
		`{"time":"2026-11-22T11:59:05.000Z","id":"1","n":20}`,
	}
	if got := g.moved(); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// TestNoTimeIsGivenTwiceOverRestarts sets the clock back while the program is
// not running, after a stop in order and after a crash. Each start begins with a
// random sequence number, and with a reading in every millisecond those of two
// starts meet once in 500 times: a fault would make times meet every time.
func TestNoTimeIsGivenTwiceOverRestarts(t *testing.T) {
	for _, crash := range []bool{false, true} {
		var twice error
		for range 4 {
			if twice = restarts(t, crash); twice == nil {
				break
			}
		}
		if twice != nil {
			t.Errorf("crash %v, %v", crash, twice)
		}
	}
}

func restarts(t *testing.T, crash bool) error {
	dir, m := t.TempDir(), booted("a")
	seen := map[time.Time]bool{}
	for i, start := range []time.Time{noon, noon.Add(-3 * time.Second), noon.Add(-5 * time.Second)} {
		if i == 2 {
			m = booted("b")
		}
		m.set(start)
		g := open(t, dir, m)
		if !g.Set() {
			t.Fatal("not set")
		}
		for range 8000 {
			at := g.Stamp("1", m.machine().Now())
			if seen[at] {
				return fmt.Errorf("start %d: %v was given out twice", i, at)
			}
			seen[at] = true
			m.pass(time.Millisecond)
		}
		if crash {
			dir = clone(t, dir)
		}
		g.stop()
	}
	return nil
}

func TestRestartsWithAGoodClockKeepTimesPlain(t *testing.T) {
	m, dir := booted("a"), t.TempDir()
	m.set(noon)
	for range 3 {
		g := open(t, dir, m)
		m.pass(time.Second)
		now := m.machine().Now()
		if at := g.Stamp("1", now); !at.Equal(now) {
			t.Errorf("%v is stamped %v", now, at)
		}
		g.stop()
		m.pass(time.Second)
	}
}

func TestWhenAClockIsBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		wall    time.Time
		up      time.Duration
		awaited bool
		want    bool
	}{
		"1970":                              {never, time.Hour, false, false},
		"after 1970 for long":               {never.AddDate(1, 0, 0), 365 * 24 * time.Hour, true, false},
		"right, and nobody will set it":     {noon, time.Second, false, true},
		"looks right, but is about to be":   {noon, time.Minute, true, false},
		"looks right, and nothing happened": {noon, patience, true, true},
	} {
		m := &machine{wall: c.wall, up: c.up, awaited: c.awaited}
		if got := m.machine().IsSet(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	this := This()
	if len(this.Boot) != bootBytes || this.Uptime() <= 0 || this.Now().IsZero() {
		t.Errorf("this machine: %+v", this)
	}
	_ = this.Awaited()
}

func TestAStateThatCannotBeReadIsRefused(t *testing.T) {
	for text, want := range map[string]string{`{"version":2}`: "format version 2", `{"version":1`: "is damaged", `{"version":1,"high":"noon"}`: "is damaged"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, stateName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAForeignRecordCostsItselfOnly(t *testing.T) {
	m, dir := booted("a"), t.TempDir()
	g := open(t, dir, m)
	g.keep(0)
	if err := g.Hold(t.Context(), []byte("junk")); err != nil {
		t.Fatal(err)
	}
	g.keep(1)
	m.set(noon)
	g.wait("all moved", func() bool { return g.Held() == 0 })
	if got := g.moved(); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(encode(fmt.Sprintf("%-36s", "a"), reading.Reading{Time: time.Unix(5, 0), ID: "1"}))
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, data []byte) {
		boot, r, err := decode(data)
		if err != nil {
			return
		}
		again, r2, err := decode(encode(boot, r))
		if err != nil || again != boot || r2.ID != r.ID || len(r2.Fields) != len(r.Fields) {
			t.Errorf("%q: %v", data, err)
		}
	})
}

func TestFilesArePrivate(t *testing.T) {
	m, dir := booted("a"), t.TempDir()
	g := open(t, dir, m)
	g.keep(0)
	m.set(noon)
	g.wait("all moved", func() bool { return g.Held() == 0 })
	g.stop()
	modes := map[string]os.FileMode{}
	for _, name := range []string{stateName, holdDir} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		modes[name] = info.Mode().Perm()
	}
	if !maps.Equal(modes, map[string]os.FileMode{stateName: 0o600, holdDir: 0o700}) {
		t.Errorf("%v", modes)
	}
}
