package edge

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/watch"
)

// hearing collects what a board is told.
func hearing(end net.Conn) (heard func() string) {
	var text atomic.Value
	text.Store("")
	go func() { // ends with the line
		buf := make([]byte, 64)
		for {
			n, err := end.Read(buf)
			if err != nil {
				return
			}
			text.Store(text.Load().(string) + string(buf[:n]))
		}
	}()
	return func() string {
		synctest.Wait()
		return text.Load().(string)
	}
}

func TestABoardIsToldItsRateOnItsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newPipes("a"), newPipes("b")
		f := format(t, "{id:n:rate}")
		var saw []string
		g, stop := start(t, Options{
			Lines: []Line{{Source: a, Format: f}, {Source: b, Format: f}}, Spool: &memory{},
			Seen: func(board string, rate time.Duration) { saw = append(saw, board+" "+rate.String()) },
		})
		enda, endb := <-a.ends, <-b.ends
		heara, hearb := hearing(enda), hearing(endb)
		if g.Command("1", time.Second) {
			t.Error("a board that was never seen can be told nothing")
		}
		say(t, enda, "{1:5:7}{3:5:}")
		say(t, endb, "{2:5:0.5}")
		if got := strings.Join(saw, ", "); got != "1 7s, 3 0s, 2 500ms" {
			t.Errorf("seen: %s", got)
		}
		if !g.Command("1", 10*time.Second) || heara() != "{rate:10}" || hearb() != "" {
			t.Errorf("board 1 heard %q, board 2 %q", heara(), hearb())
		}
		if !g.Command("2", 250*time.Millisecond) || hearb() != "{rate:0.25}" {
			t.Errorf("board 2 heard %q", hearb())
		}
		time.Sleep(time.Second)
		say(t, endb, "{1:6:7}") // board 1 was moved to the other line
		if !g.Command("1", time.Minute) || hearb() != "{rate:0.25}{rate:60}" {
			t.Errorf("line b heard %q", hearb())
		}
		endb.Close()
		synctest.Wait()
		if g.Command("1", time.Second) {
			t.Error("a line that is down takes no commands")
		}
		stop()
		if g.Command("2", time.Second) {
			t.Error("a gateway that stopped takes no commands")
		}
	})
}

// TestBoardsBehindABrokerAreTold: beside their messages, also while the spool
// takes nothing; what a source cannot tell is logged once.
func TestBoardsBehindABrokerAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := &memory{}, &watch.Log{}
		src := &letters{in: make(chan []frame.Message, 10), asked: make(chan int, 100), told: make(chan string, 10), m: m}
		dumb := &letters{name: "dumb", in: make(chan []frame.Message, 10), asked: make(chan int, 100), m: m}
		f, err := frame.JSONLines(frame.Options{Addressed: true})
		if err != nil {
			t.Fatal(err)
		}
		var saw []string
		g, stop := start(t, Options{
			Lines: []Line{{Source: src, Format: f}, {Source: dumb, Format: f}}, Spool: m, Log: log.Logger(),
			Seen: func(board string, rate time.Duration) { saw = append(saw, board+" "+rate.String()) },
		})
		src.in <- []frame.Message{{Board: "a", Data: []byte(`{"n":1,"rate":7}`)}}
		synctest.Wait()
		dumb.in <- []frame.Message{{Board: "b", Data: []byte(`{"n":1}`)}}
		synctest.Wait()
		gate := make(chan struct{})
		m.set(func(m *memory) { m.gate = gate })
		src.in <- []frame.Message{{Board: "a", Data: []byte(`{"n":2,"rate":10}`)}}
		synctest.Wait()
		if !g.Command("a", 10*time.Second) {
			t.Error("a board behind a broker took no command")
		}
		if got := <-src.told; got != "a 10s" {
			t.Errorf("told %q", got)
		}
		close(gate)
		synctest.Wait()
		if got := strings.Join(saw, ", "); got != "a 7s, b 0s, a 10s" {
			t.Errorf("seen: %s", got)
		}
		for range 3 {
			g.Command("b", time.Second)
			synctest.Wait()
		}
		if n := log.Count("board could not be told its rate"); n != 1 {
			t.Errorf("%d log lines about a board that can be told nothing", n)
		}
		close(src.in)
		synctest.Wait()
		if g.Command("a", time.Second) {
			t.Error("a broker that went away took a command")
		}
		stop()
	})
}

// TestABoardThatDoesNotReadDelaysNothing: a command that nobody reads is given
// up, the latest one is written when the board reads again, and frames go on.
func TestABoardThatDoesNotReadDelaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, m, log := newPipes("a"), &memory{}, &watch.Log{}
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: format(t, "{id:n}")}}, Spool: m, Log: log.Logger()})
		end := <-src.ends
		say(t, end, "{1:1}")
		g.Command("1", time.Second)
		synctest.Wait()
		for i := range 5 {
			g.Command("1", time.Duration(i+2)*time.Second)
		}
		say(t, end, "{1:2}")
		if n := len(m.records); n != 2 {
			t.Errorf("%d readings", n)
		}
		time.Sleep(commandTimeout + time.Millisecond)
		synctest.Wait()
		if n := log.Count("board could not be told its rate"); n != 1 {
			t.Errorf("%d log lines about it", n)
		}
		buf := make([]byte, 100)
		n, err := io.ReadFull(end, buf[:len("{rate:6}")])
		if err != nil || string(buf[:n]) != "{rate:6}" {
			t.Errorf("heard %q, %v", buf[:n], err)
		}
		stop()
	})
}
