package sim

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"

	"mote/internal/edge/source/serial"
)

// maxBoards bounds how many boards one line of the configuration can make.
const maxBoards = 1000

// Source is a simulated board behind a pseudo-terminal, reached as a serial
// port. Each connection gets a terminal of its own; the board goes on where it
// was.
type Source struct{ board *Board }

// NewSource makes a board and the way to it.
func NewSource(o Options) (*Source, error) {
	b, err := NewBoard(o)
	if err != nil {
		return nil, err
	}
	return &Source{board: b}, nil
}

// Sources makes n boards, with the ids 1 to n, each behind its own terminal.
func Sources(n int, o Options) ([]*Source, error) {
	if n < 1 || n > maxBoards {
		return nil, fmt.Errorf("%d simulated boards; there can be 1 to %d", n, maxBoards)
	}
	if n > 1 && o.Series != nil {
		return nil, fmt.Errorf("one series for %d boards; make each board with a series of its own", n)
	}
	all := make([]*Source, n)
	for i := range all {
		o.ID = strconv.Itoa(i + 1)
		s, err := NewSource(o)
		if err != nil {
			return nil, err
		}
		all[i] = s
	}
	return all, nil
}

// Board returns the board.
func (s *Source) Board() *Board { return s.board }

// Name returns "sim/" and the board's id.
func (s *Source) Name() string { return "sim/" + s.board.id }

// Dial opens a terminal, lets the board talk on it, and opens its other side as
// a serial port.
func (s *Source) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.board.isOver() {
		return nil, ErrOver
	}
	t, err := OpenTerminal()
	if err != nil {
		return nil, err
	}
	port, err := serial.Open(t.Path(), 115200)
	if err != nil {
		t.Close()
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	c := &hosted{Conn: port, end: end}
	c.running.Go(func() { _ = s.board.Run(life, t) }) // what broke the line shows on the port too
	return c, nil
}

// hosted is a port whose board lives as long as it is open.
type hosted struct {
	net.Conn
	end     context.CancelFunc
	running sync.WaitGroup
}

// Close closes the port and waits until the board is silent.
func (c *hosted) Close() error {
	err := c.Conn.Close()
	c.end()
	c.running.Wait()
	return err
}
