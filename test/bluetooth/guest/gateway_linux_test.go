package guest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/edge"
	"mote/internal/edge/frame"
	"mote/internal/edge/source/rfcomm"
	"mote/internal/edge/spool"
	"mote/internal/watch"
)

// firmware is what runs on a board: it sends a frame on every connection and
// again and again, with the rate that it was told last.
type firmware struct {
	id string

	mu   sync.Mutex
	rate string // guarded by mu
}

func (f *firmware) run(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { f.hear(conn) })
		for err == nil {
			f.mu.Lock()
			text := fmt.Sprintf("{%s:35.2:21.5:40:%s}", f.id, f.rate)
			f.mu.Unlock()
			_, err = io.WriteString(conn, text)
			time.Sleep(20 * time.Millisecond)
		}
		conn.Close()
		both.Wait()
	}
}

func (f *firmware) hear(conn net.Conn) {
	var heard strings.Builder
	buf := make([]byte, 64)
	for {
		n, err := conn.Read(buf)
		heard.Write(buf[:n])
		if rate, ok := strings.CutPrefix(heard.String(), "{rate:"); ok && strings.HasSuffix(rate, "}") {
			f.mu.Lock()
			f.rate = strings.TrimSuffix(rate, "}")
			f.mu.Unlock()
			heard.Reset()
		}
		if err != nil {
			return
		}
	}
}

// TestGateway runs a whole gateway on two boards and a third that is away:
// frames go into the spool, commands to the boards, and neither the board that
// is away, nor lost links, nor the adapter going off end that for long.
func TestGateway(t *testing.T) {
	e := theWorld(t)
	e.boards[2].SetAway(true)
	defer e.boards[2].SetAway(false)
	format, err := frame.Compile("{id:dust:temp:humid:rate}", frame.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []edge.Line
	var boards []*firmware
	for i, b := range e.boards {
		f := &firmware{id: fmt.Sprint(i + 1), rate: "1"}
		boards = append(boards, f)
		ln := b.listen(t, 1)
		go f.run(ln)
		lines = append(lines, edge.Line{Source: e.source(t, rfcomm.Options{Address: b.Address.String()}), Format: format, Silence: 3 * time.Second})
	}
	sp, err := spool.Open(t.TempDir(), spool.Options{Readers: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer sp.Close()
	g, err := edge.New(edge.Options{Lines: lines, Spool: sp, Drain: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	flowing(t, g, "1", "2")
	if !g.Command("2", 5*time.Second) {
		t.Error("board 2 takes no command")
	}
	until(t, g, "board 2 confirms its rate", func() bool {
		boards[1].mu.Lock()
		defer boards[1].mu.Unlock()
		return boards[1].rate == "5"
	})
	if g.Command("3", time.Second) {
		t.Error("a board that was never seen takes a command")
	}

	e.air.Lose(e.gateway.Controller, e.boards[0].Controller)
	flowing(t, g, "1", "2")
	e.air.Mute(e.gateway.Controller, e.boards[1].Controller, true)
	until(t, g, "a silent line is given up", func() bool { return strings.Contains(g.Status().Sources[1].LastError, "no byte came for 3s") })
	e.air.Lose(e.gateway.Controller, e.boards[1].Controller) // as its supervision finds out
	flowing(t, g, "1", "2")
	if err := e.power(e.gateway, false); err != nil {
		t.Fatal(err)
	}
	until(t, g, "the adapter is off", func() bool { return strings.Contains(g.Status().Sources[0].LastError, "adapter is down") })
	if err := e.power(e.gateway, true); err != nil {
		t.Fatal(err)
	}
	until(t, g, "the board that is away is told", func() bool {
		last := g.Status().Sources[2].LastError
		return strings.Contains(last, "board does not answer") || strings.Contains(last, "adapter")
	})
	e.boards[2].SetAway(false)
	flowing(t, g, "1", "2", "3")

	records, err := sp.Reader("test").Poll(nil, 1<<20)
	if err != nil || len(records) == 0 || !strings.Contains(string(records[0].Data), `"dust":35.2`) {
		t.Errorf("%d records, the first %+v, %v", len(records), records[:min(1, len(records))], err)
	}
}

// flowing waits until each board has sent five frames more.
func flowing(t *testing.T, g *edge.Gateway, ids ...string) {
	t.Helper()
	count := func() map[string]int64 {
		frames := map[string]int64{}
		for _, b := range g.Status().Boards {
			frames[b.ID] = b.Frames
		}
		return frames
	}
	before := count()
	until(t, g, "frames of "+strings.Join(ids, ", "), func() bool {
		now := count()
		for _, id := range ids {
			if now[id] < before[id]+5 {
				return false
			}
		}
		return true
	})
}

func until(t *testing.T, g *edge.Gateway, what string, ok func() bool) {
	t.Helper()
	if !watch.Soon(ok) {
		t.Fatalf("waited in vain: %s; sources %+v", what, g.Status().Sources)
	}
}
