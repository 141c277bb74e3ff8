package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"mote/internal/edge/source/rfcomm"
	"mote/internal/edge/source/sim"
)

// simCmd simulates boards for a gateway, this machine's or another's.
type simCmd struct {
	Boards   int               `help:"Number of boards, with the ids 1, 2, …" default:"1"`
	ID       string            `help:"Id of the only board." default:"1"`
	TCP      string            `name:"tcp" help:"Serve on this TCP address instead of a pseudo-terminal; further boards take the next ports." placeholder:"HOST:PORT"`
	RFCOMM   int               `name:"rfcomm" help:"Serve on this RFCOMM channel; further boards take the next channels." placeholder:"CHANNEL"`
	Adapter  string            `help:"Bluetooth adapter to serve on (with --rfcomm)." placeholder:"ADDRESS"`
	Period   time.Duration     `help:"Time between two frames of a board." default:"2s"`
	Speed    float64           `help:"Send so many times faster than the period says." default:"1"`
	Faults   float64           `help:"Share of frames that something happens to, 0 to 1." default:"0"`
	Seed     uint64            `help:"Seed of values and faults; 0: a new one." default:"0"`
	Numbered bool              `help:"Number the frames in the field dust."`
	Replay   string            `help:"Play a recording: a CSV file with a header line." type:"path" placeholder:"FILE.csv"`
	Map      map[string]string `help:"Columns of the recording, for example dust=pm2.5,temp=TEMP,humid=40." placeholder:"FIELD=COLUMN,…"`
	Loop     bool              `help:"Begin the recording again at its end."`
}

// Run serves until Ctrl-C. A board whose recording is over stays on its line in
// silence, as hardware would; on TCP and RFCOMM it hangs up.
func (c simCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	boards, closeAll, err := c.boards()
	defer closeAll()
	if err != nil {
		return err
	}
	lines, err := c.listen(boards, s.stdout)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, b := range boards {
		group.Go(func() error { return lines[i](ctx) })
		group.Go(func() error {
			select {
			case <-b.Over():
				fmt.Fprintf(s.stderr, "board %s: the recording is over after %d frames\n", b.ID(), b.Frames())
			case <-ctx.Done():
			}
			return nil
		})
	}
	stopProgress := showProgress(s.stderr, func() string {
		var frames int64
		for _, b := range boards {
			frames += b.Frames()
		}
		return strconv.FormatInt(frames, 10) + " frames sent"
	})
	defer stopProgress()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (c simCmd) check() error {
	switch {
	case c.Boards < 1 || c.Boards > 1000:
		return usagef("--boards %d: want 1 to 1000", c.Boards)
	case c.Boards > 1 && c.ID != "1":
		return usagef("--id is for one board; with --boards the ids are 1, 2, …")
	case c.TCP != "" && c.RFCOMM != 0:
		return usagef("--tcp and --rfcomm are two ways to serve: choose one")
	case len(c.Map) > 0 && c.Replay == "":
		return usagef("--map names the columns of a recording: give it with --replay")
	case c.Replay != "" && c.Numbered:
		return usagef("--replay and --numbered are two series: choose one")
	}
	return nil
}

// boards makes the boards; closeAll closes their recordings.
func (c simCmd) boards() (boards []*sim.Board, closeAll func(), err error) {
	var open []io.Closer
	closeAll = func() {
		for _, r := range open {
			_ = r.Close()
		}
	}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	for i := range c.Boards {
		o := sim.Options{ID: c.ID, Period: c.Period, Speed: c.Speed, Seed: c.Seed, Faults: c.Faults}
		if c.Boards > 1 {
			o.ID = strconv.Itoa(i + 1)
		}
		switch {
		case c.Replay != "":
			r, err := sim.OpenReplay(c.Replay, sim.ReplayOptions{Map: c.Map, Loop: c.Loop})
			if err != nil {
				return nil, closeAll, err
			}
			open = append(open, r)
			o.Series = r
		case c.Numbered:
			o.Series = sim.NewCounter(0, 0)
		}
		b, err := sim.NewBoard(o)
		if err != nil {
			return nil, closeAll, usageError{err}
		}
		boards = append(boards, b)
	}
	return boards, closeAll, nil
}

// listen opens a line for each board, prints where it is, and returns what
// runs the board on it.
func (c simCmd) listen(boards []*sim.Board, out io.Writer) ([]func(context.Context) error, error) {
	var lines []func(context.Context) error
	for i, b := range boards {
		where, run, err := c.line(i, b)
		if err != nil {
			return nil, err
		}
		lines = append(lines, run)
		if _, err := fmt.Fprintf(out, "board %s: %s\n", b.ID(), where); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func (c simCmd) line(i int, b *sim.Board) (where string, run func(context.Context) error, err error) {
	switch {
	case c.TCP != "":
		addr, err := nextPort(c.TCP, i)
		if err != nil {
			return "", nil, err
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return "", nil, err
		}
		return fmt.Sprintf("tcp = %q", l.Addr()), func(ctx context.Context) error { return b.Serve(ctx, l) }, nil
	case c.RFCOMM != 0:
		l, err := rfcomm.Listen(c.Adapter, c.RFCOMM+i)
		if err != nil {
			return "", nil, err
		}
		return fmt.Sprintf("RFCOMM channel %d", c.RFCOMM+i), func(ctx context.Context) error { return b.Serve(ctx, l) }, nil
	}
	t, err := sim.OpenTerminal()
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("serial = %q", t.Path()), func(ctx context.Context) error {
		if t.AwaitOpen(ctx) != nil {
			return t.Close()
		}
		return b.Run(ctx, t)
	}, nil
}

// nextPort is addr with i added to its port; port 0 stays a free one.
func nextPort(addr string, i int) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", usagef("--tcp %q: want HOST:PORT", addr)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n+i > 65535 {
		return "", usagef("--tcp %q: bad port", addr)
	}
	if n > 0 {
		n += i
	}
	return net.JoinHostPort(host, strconv.Itoa(n)), nil
}
