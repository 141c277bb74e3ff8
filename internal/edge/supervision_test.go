package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/watch"
)

// TestABadBoardNeverDelaysAnother has beside a good board one that accepts and
// never sends, one that floods, one that never reads what it is told, and one
// that is not there.
func TestABadBoardNeverDelaysAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, log := &memory{}, &watch.Log{}
		good, mute, flood, deaf, absent := newPipes("good"), newPipes("mute"), newPipes("flood"), newPipes("deaf"), newPipes("absent")
		absent.errs = []error{errAbsent}
		f := format(t, "{id:n:rate}")
		var lines []Line
		for _, src := range []*pipes{mute, flood, deaf, absent, good} {
			lines = append(lines, Line{Source: src, Format: f})
		}
		g, stop := start(t, Options{Lines: lines, Spool: m, Log: log.Logger()})
		line, never := <-good.ends, <-deaf.ends
		say(t, never, "{deaf:1:60}")
		go func() { // as fast as it is read, for the whole time
			end := <-flood.ends
			noise := []byte(strings.Repeat("{}", 4000))
			for {
				if _, err := end.Write(noise); err != nil {
					return
				}
			}
		}()
		if !g.Command("deaf", time.Second) {
			t.Error("the deaf board's line is open, but takes no command")
		}
		for i := range 300 {
			say(t, line, fmt.Sprintf("{good:%d:10}", i))
			if got := texts(t, m, "n"); got[len(got)-1] != fmt.Sprintf("good=%d", i) {
				t.Fatalf("reading %d is not there at once: %q", i, got[len(got)-1])
			}
			time.Sleep(time.Second)
		}
		for _, s := range g.Status().Sources {
			switch s.Name {
			case "flood":
				// what one read brings comes on top of what a second may have
				if most := int64(300 * (mostRejects + readBuffer/2)); s.Rejects == 0 || s.Rejects > most {
					t.Errorf("%d refused frames in 300 s, want at most %d", s.Rejects, most)
				}
			case "mute":
				if s.Dials < 2 || !strings.Contains(s.LastError, "no byte came") {
					t.Errorf("the mute board's line: %+v", s)
				}
			case "absent":
				if s.Dials < 10 || s.Dials > 40 {
					t.Errorf("the absent board was dialled %d times in 300 s", s.Dials)
				}
			case "good":
				if s.Dials != 1 || s.Frames != 300 {
					t.Errorf("the good board's line: %+v", s)
				}
			}
		}
		if n := log.Count("frame refused"); n > 11 {
			t.Errorf("%d log lines about refused frames in five minutes", n)
		}
		if log.Count("could not be told") != 1 {
			t.Error("nobody says that the deaf board does not read")
		}
		stop()
	})
}

// letters is a source of messages; the test holds the sender's end.
type letters struct {
	net.Conn // not used
	name     string
	in       chan []frame.Message
	told     chan string // commands; nil: none are taken
	asked    chan int    // how many messages are durable, at each call
	m        *memory
	closed   bool
}

func (l *letters) Name() string                           { return "broker " + l.name }
func (l *letters) Dial(context.Context) (net.Conn, error) { return l, nil }
func (l *letters) Close() error                           { l.closed = true; return nil }
func (l *letters) Messages(ctx context.Context) ([]frame.Message, error) {
	l.asked <- int(l.m.Stats().Appended)
	select {
	case m, ok := <-l.in:
		if !ok {
			return nil, errors.New("the broker went away")
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Tell takes no commands unless told has room for them.
func (l *letters) Tell(ctx context.Context, board string, rate time.Duration) error {
	select {
	case l.told <- board + " " + rate.String():
		return nil
	default:
		return errors.ErrUnsupported
	}
}

// TestMessagesAreDurableBeforeTheNext: the call for more says so.
func TestMessagesAreDurableBeforeTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		src := &letters{in: make(chan []frame.Message, 10), asked: make(chan int, 100), m: m}
		f, err := frame.JSONLines(frame.Options{Addressed: true})
		if err != nil {
			t.Fatal(err)
		}
		src.in <- []frame.Message{{Board: "a", Data: []byte(`{"n":1}`)}, {Board: "b", Data: []byte(`{"n":2}`)}, {Board: "a", Data: []byte("junk")}}
		src.in <- []frame.Message{{Board: "a", Data: []byte(`{"n":3}`)}}
		close(src.in)
		g, stop := start(t, Options{Lines: []Line{{Source: src, Format: f}}, Spool: m})
		synctest.Wait()
		if got := texts(t, m, "n"); !slices.Equal(got, []string{"a=1", "b=2", "a=3"}) {
			t.Errorf("%q", got)
		}
		if a, b, c := <-src.asked, <-src.asked, <-src.asked; a != 0 || b != 2 || c != 3 {
			t.Errorf("%d, %d, %d readings were durable when more was asked for", a, b, c)
		}
		s := g.Status().Sources[0]
		if s.State != Down || s.LastError != "the broker went away" || s.Rejects != 1 || s.Bytes != 25 || !src.closed {
			t.Errorf("%+v", s)
		}
		if g.Command("a", time.Second) {
			t.Error("a board behind a broker took a command")
		}
		stop()
	})
}
