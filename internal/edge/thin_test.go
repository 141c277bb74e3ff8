package edge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/watch"
)

func texts(t *testing.T, m *memory, name string) (out []string) {
	t.Helper()
	for _, r := range m.readings(t) {
		for _, f := range r.Fields {
			if f.Name == name {
				out = append(out, r.ID+"="+f.Text)
			}
		}
	}
	return out
}

// TestEveryThinsOutEachBoardAlone: the first frame of each minute of each board
// becomes a reading; the others still say that the board is alive, and its rate.
func TestEveryThinsOutEachBoardAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src := &memory{}, newPipes("a")
		seen := 0
		g, stop := start(t, Options{
			Lines: []Line{{Source: src, Format: format(t, "{id:n:rate}"), Every: time.Minute, Silence: time.Hour}}, Spool: m,
			Seen: func(string, time.Duration) { seen++ },
		})
		line := <-src.ends
		for i := range 19 { // every 10 s, for three minutes
			say(t, line, fmt.Sprintf("{1:%d:%d}", i, 10+i))
			if i == 3 {
				say(t, line, "{2:0:60}")
			}
			time.Sleep(10 * time.Second)
		}
		if got, want := texts(t, m, "n"), []string{"1=0", "2=0", "1=6", "1=12", "1=18"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		s := g.Status()
		if s.Sources[0].Frames != 5 || s.Sources[0].Thinned != 15 || s.Boards[0].Frames != 19 || s.Boards[0].Rate != 28*time.Second || seen != 20 {
			t.Errorf("%+v, seen %d", s, seen)
		}
		time.Sleep(170 * time.Second)
		say(t, line, "{2:1:60}")
		for i := range 3 { // a little early each time
			time.Sleep(57 * time.Second)
			say(t, line, fmt.Sprintf("{2:%d:60}", i+2))
		}
		if got := texts(t, m, "n"); len(got) != 9 {
			t.Errorf("a board that sends each minute lost readings: %q", got)
		}
		stop()
	})
}

func TestDeadbandSendsChangesAndAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src := &memory{}, newPipes("a")
		f, err := frame.Compile("{id:temp}", frame.Options{Values: []frame.Value{{Name: "temp", Deadband: "0.5", Round: -1}}})
		if err != nil {
			t.Fatal(err)
		}
		_, stop := start(t, Options{Lines: []Line{{Source: src, Format: f, Heartbeat: 10 * time.Minute, Silence: time.Hour}}, Spool: m})
		line := <-src.ends
		for _, temp := range []string{"21.0", "21.4", "21.5", "21.6", "21.2", "21.0"} { // creeps up, and back
			say(t, line, "{1:"+temp+"}{2:5}")
			time.Sleep(time.Minute)
		}
		time.Sleep(4 * time.Minute)
		say(t, line, "{1:21.0}{2:5}")
		time.Sleep(3 * time.Minute)
		say(t, line, "{1:21.0}{2:5}")
		if got, want := texts(t, m, "temp"), []string{"1=21.0", "2=5", "1=21.6", "1=21.0", "2=5"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		stop()
	})
}

// TestBareValuesAreThinnedOutEachAlone: by every and by dead-band, in a bounded
// number of names, and what is no value makes no reading.
func TestBareValuesAreThinnedOutEachAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		src := &letters{in: make(chan []frame.Message, 10), asked: make(chan int, 1000), m: m}
		f, err := frame.Bare("", frame.Options{Addressed: true, Values: []frame.Value{{Name: "temp", Deadband: "0.5", Round: -1}}})
		if err != nil {
			t.Fatal(err)
		}
		var rates []time.Duration
		g, stop := start(t, Options{
			Lines: []Line{{Source: src, Format: f, Every: time.Minute, Heartbeat: 10 * time.Minute}}, Spool: m,
			Seen: func(_ string, rate time.Duration) { rates = append(rates, rate) },
		})
		send := func(name, value string) {
			src.in <- []frame.Message{{Board: "a", Name: name, Data: []byte(value)}}
			synctest.Wait()
		}
		for i, temp := range []string{"21.0", "21.2", "21.4", "21.6", "21.5"} {
			send("temp", temp)
			send("humid", "40")
			if i%3 == 0 {
				send("temp", "99") // too soon after one that became a reading
			}
			send("temp", "nan")
			time.Sleep(time.Minute)
		}
		if got := append(texts(t, m, "temp"), texts(t, m, "humid")...); !slices.Equal(got, []string{"a=21.0", "a=21.6", "a=40"}) {
			t.Errorf("%q", got)
		}
		rates = nil
		send("rate", "30")
		s := g.Status()
		if !slices.Equal(rates, []time.Duration{30 * time.Second}) || len(m.records) != 3 || s.Boards[0].Rate != 30*time.Second || s.Sources[0].Rejects != 5 {
			t.Errorf("%v, %d readings, %+v", rates, len(m.records), s)
		}
		for i := range 10 * mostSent {
			send(fmt.Sprint("n", i), "1")
		}
		if n := len(g.lines[0].boards["a"].sent); n == 0 || n > mostSent {
			t.Errorf("%d values are remembered, want at most %d", n, mostSent)
		}
		stop()
	})
}

func TestImplausibleValuesAreCountedAndShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src, log := &memory{}, newPipes("a"), &watch.Log{}
		f, err := frame.Compile("{id:temp:dust}", frame.Options{Values: []frame.Value{{Name: "temp", Min: "-40", Max: "85", Round: -1}}})
		if err != nil {
			t.Fatal(err)
		}
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: f}}, Spool: m, Log: log.Logger()})
		line := <-src.ends
		say(t, line, strings.Repeat("{1:-127:5}", 50)+"{1:20:6}")
		s := g.Status().Sources[0]
		if s.Odd != 50 || !strings.Contains(s.LastOdd, "-127, is below -40") || s.Frames != 51 || log.Count("value left out") != 1 {
			t.Errorf("%+v, %d log lines", s, log.Count("value left out"))
		}
		if got := texts(t, m, "temp"); !slices.Equal(got, []string{"1=20"}) {
			t.Errorf("%q", got)
		}
		stop()
	})
}

// TestABoardsOwnClockIsItsTime: also when it sends late or again.
func TestABoardsOwnClockIsItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(2*365*24*time.Hour + 1500*time.Millisecond) // the bubble's clock begins in 2000
		m, src := &memory{}, newPipes("a")
		f, err := frame.JSONLines(frame.Options{Time: "ts", Text: []string{"n"}})
		if err != nil {
			t.Fatal(err)
		}
		_, stop := start(t, Options{Lines: []Line{{Source: src, Format: f}}, Spool: m})
		line := <-src.ends
		for _, text := range []string{
			`"ts":1001000002,"n":"b"`, `"ts":1001000001,"n":"a"`, `"ts":1001000001,"n":"a"`, `"ts":1001000001,"n":"c"`, `"ts":7,"n":"unset"`, `"ts":4001000000,"n":"far ahead"`,
		} {
			say(t, line, `{"id":"1",`+text+"}\n")
		}
		var got []string
		for _, r := range m.readings(t) {
			got = append(got, r.Time.Format("2006-01-02T15:04:05.000000")+" "+r.Fields[0].Text)
		}
		want := []string{
			"2001-09-20T15:33:22.000000 b", "2001-09-20T15:33:21.000000 a", "2001-09-20T15:33:21.000000 a", "2001-09-20T15:33:21.000001 c",
			"2001-12-31T00:00:01.500000 unset", "2001-12-31T00:00:01.501001 far ahead",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
		stop()
	})
}
