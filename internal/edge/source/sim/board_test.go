package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var frames = regexp.MustCompile(`\{[^{}]*\}`)

func newBoard(t testing.TB, o Options) *Board {
	t.Helper()
	b, err := NewBoard(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readFrame(t *testing.T, line io.Reader) string {
	t.Helper()
	var frame []byte
	for one := make([]byte, 1); len(frame) < 100; {
		if _, err := line.Read(one); err != nil {
			t.Fatalf("after %q: %v", frame, err)
		}
		if frame = append(frame, one...); one[0] == '}' {
			return string(frame)
		}
	}
	t.Fatalf("no frame in %q", frame)
	return ""
}

func TestBoardTalksAndObeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, Options{ID: "7", Period: 10 * time.Second, Series: NewCounter(1, 0)})
		here, there := net.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, there) }()
		begin := time.Now()
		want := func(frame string, at time.Duration) {
			t.Helper()
			if got := readFrame(t, here); got != frame || time.Since(begin) != at {
				t.Errorf("%s after %v, want %s after %v", got, time.Since(begin), frame, at)
			}
		}
		want("{7:1:21.5:40:10}", 0)
		want("{7:2:21.5:40:10}", 10*time.Second)
		time.Sleep(time.Second)
		io.WriteString(here, "noise{rate:0}{rate:x}{rate:5")
		io.WriteString(here, "}")
		want("{7:3:21.5:40:5}", 11*time.Second)
		want("{7:4:21.5:40:5}", 16*time.Second)
		io.WriteString(here, "{rate:0.5}{reset:1}{rate:100000}{rate:NaN}")
		want("{7:5:21.5:40:0.5}", 16*time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopped with %v", err)
		}
		if b.Frames() != 5 || b.Period() != 500*time.Millisecond {
			t.Errorf("%d frames, period %v", b.Frames(), b.Period())
		}
	})
}

func TestBoardGoesOnOnTheNextLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, Options{Series: NewCounter(1, 0)})
		for i := 1; i <= 3; i++ {
			here, there := net.Pipe()
			done := make(chan error, 1)
			go func() { done <- b.Run(t.Context(), there) }()
			if got, want := readFrame(t, here), fmt.Sprintf("{1:%d:21.5:40:2}", i); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			here.Close()
			if err := <-done; err == nil || !strings.Contains(err.Error(), "line of board 1 ended") {
				t.Errorf("line %d: %v", i, err)
			}
		}
	})
}

func TestSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoard(t, Options{Period: time.Hour, Speed: 3600, Series: NewCounter(1, 0)})
		here, there := net.Pipe()
		go b.Run(t.Context(), there)
		defer here.Close()
		readFrame(t, here)
		begin := time.Now()
		if got := readFrame(t, here); got != "{1:2:21.5:40:3600}" || time.Since(begin) != time.Second {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
	})
}

func TestWalkLooksLikeAir(t *testing.T) {
	series := func(seed uint64, id string) (all []Values) {
		w := newWalk(seeded(Options{Seed: seed, ID: id}, 1))
		for range 2000 {
			v, err := w.Next()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		return all
	}
	first := series(1, "1")
	if !slices.Equal(first, series(1, "1")) {
		t.Error("the same seed gave other values")
	}
	if slices.Equal(first, series(1, "2")) || slices.Equal(first, series(2, "1")) {
		t.Error("another board or seed gave the same values")
	}
	last := 0.0
	for i, v := range first {
		temp, err := strconv.ParseFloat(v.Temp, 64)
		dust, err2 := strconv.ParseFloat(v.Dust, 64)
		humid, err3 := strconv.ParseFloat(v.Humid, 64)
		if err != nil || err2 != nil || err3 != nil || temp < -10 || temp > 45 || dust < 1 || dust > 400 || humid < 5 || humid > 98 {
			t.Fatalf("%+v", v)
		}
		if i > 0 && (temp-last > 1 || last-temp > 1) {
			t.Errorf("the temperature jumped from %v to %v", last, temp)
		}
		last = temp
	}
}

// TestFaults checks that faults happen at the given rate, that the stream holds
// every frame that no fault damaged, and that some are damaged.
func TestFaults(t *testing.T) {
	f := faults{rate: 0.5, rng: rand.New(rand.NewPCG(3, 3))}
	var stream []byte
	untouched, writes := 0, 0
	const n = 4000
	for i := range n {
		frame := fmt.Sprintf("{1:%d:21.5:40:2}", 100000+i)
		pieces := f.apply(frame)
		if len(pieces) == 1 && string(pieces[0]) == frame {
			untouched++
		}
		writes += len(pieces)
		stream = append(stream, bytes.Join(pieces, nil)...)
	}
	stream = append(stream, bytes.Join(f.rest(), nil)...)
	if untouched < n*4/10 || untouched > n*6/10 {
		t.Errorf("%d of %d frames alone and whole", untouched, n)
	}
	found := map[string]bool{}
	for _, m := range frames.FindAll(stream, -1) {
		found[string(m)] = true
	}
	whole := 0
	for i := range n {
		if found[fmt.Sprintf("{1:%d:21.5:40:2}", 100000+i)] {
			whole++
		}
	}
	// Half of the kinds leave the frame whole.
	if whole < n*70/100 || whole > n*80/100 {
		t.Errorf("%d of %d frames arrive whole", whole, n)
	}
	if writes == n {
		t.Error("no frame was split or merged")
	}
	none := faults{rng: rand.New(rand.NewPCG(3, 3))}
	if p := none.apply("{1}"); len(p) != 1 || string(p[0]) != "{1}" {
		t.Errorf("without faults: %q", p)
	}
}

func TestNewBoardRefuses(t *testing.T) {
	for want, o := range map[string]Options{
		"period": {Period: -1}, "at most 24h": {Period: 25 * time.Hour}, "speed": {Speed: -1}, "fault rate": {Faults: 1.1}, "fault rate -": {Faults: -0.1},
	} {
		if _, err := NewBoard(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %s", o, err, want)
		}
	}
	for _, n := range []int{0, -1, 1001} {
		if _, err := Sources(n, Options{}); err == nil {
			t.Errorf("%d boards were made", n)
		}
	}
	if _, err := Sources(2, Options{Series: NewCounter(1, 0)}); err == nil {
		t.Error("two boards share a series")
	}
}

// gated is a series whose second value waits for the gate.
type gated struct {
	Series
	given int
	gate  <-chan struct{}
}

func (g *gated) Next() (Values, error) {
	if g.given++; g.given == 2 {
		<-g.gate
	}
	return g.Series.Next()
}

func TestServeOverTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	b := newBoard(t, Options{Period: time.Millisecond, Series: &gated{Series: NewCounter(1, 30), gate: gate}})
	done := make(chan error, 1)
	go func() { done <- b.Serve(t.Context(), ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got := readFrame(t, conn); got != "{1:1:21.5:40:0.001}" {
		t.Error(got)
	}
	conn.Close()
	if conn, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	close(gate)
	rest, err := io.ReadAll(conn)
	if err != nil || !bytes.HasSuffix(rest, []byte("{1:30:21.5:40:0.001}")) {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

func TestServeStops(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- newBoard(t, Options{}).Serve(ctx, ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	readFrame(t, conn)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
}

func FuzzCommands(f *testing.F) {
	f.Add([]byte("{rate:5}"))
	f.Add([]byte("{{rate:1e2}}{rate:" + strings.Repeat("0", 40) + "1}"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var whole, pieces commands
		want := whole.feed(p)
		var got []time.Duration
		for i := range p {
			got = append(got, pieces.feed(p[i:i+1])...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v in one piece, %v in many", want, got)
		}
		for _, d := range got {
			if d <= 0 || d > maxPeriod {
				t.Fatalf("period %v", d)
			}
		}
	})
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Next() (Values, error) { return Values{}, &RecordingError{File: "f", Err: errBroken} }

func TestServeReportsABrokenRecording(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			io.Copy(io.Discard, conn)
		}
	}()
	if err := newBoard(t, Options{Series: broken{}}).Serve(t.Context(), ln); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
}
