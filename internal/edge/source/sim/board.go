// Package sim is boards without hardware: it writes the frames that the dust
// sketch writes, on a pseudo-terminal, a TCP port or a Bluetooth channel, and
// takes the sketch's commands.
//
// A [Board] makes the frames; what they say comes from a [Series]: a random
// walk, a counter, or a recording. A [Source] is a board behind a terminal of
// its own, opened as a serial port, so that every byte takes the path of real
// hardware. Faults are made on purpose, at a given rate, from a seed.
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultPeriod is the time between two frames of a board.
const DefaultPeriod = 2 * time.Second

// maxPeriod is the longest period that a board takes as a command.
const maxPeriod = 24 * time.Hour

// ErrOver is returned by a dial to a board whose series has no more values.
var ErrOver = errors.New("the board has nothing more to say: its series is over")

// Options describe a board.
type Options struct {
	ID     string        // "" means "1"
	Period time.Duration // between two frames; 0 means DefaultPeriod
	Speed  float64       // frames come so many times faster than Period says; 0 means 1
	Seed   uint64        // of values and faults; boards with other ids differ all the same
	Faults float64       // share of frames that something happens to, 0 to 1
	Series Series        // nil means a random walk
}

// Values are what a frame says besides id and rate, as text.
type Values struct{ Dust, Temp, Humid string }

// Series gives a board its values, one frame after another. Next returns io.EOF
// at the end. One goroutine at a time calls it.
type Series interface{ Next() (Values, error) }

// Board is one simulated board. It talks on one line at a time and goes on
// where it was on the next.
type Board struct {
	id     string
	speed  float64
	period atomic.Int64 // nanoseconds
	frames atomic.Int64
	over   chan struct{} // closed once the last frame of the series is written
	finish func()        // closes over, once

	line   sync.Mutex // held while the board talks; guards what follows
	series Series
	faults faults
}

// NewBoard checks the options.
func NewBoard(o Options) (*Board, error) {
	if o.ID == "" {
		o.ID = "1"
	}
	if o.Period == 0 {
		o.Period = DefaultPeriod
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	switch {
	case o.Period < 0 || o.Period > maxPeriod:
		return nil, fmt.Errorf("period %v of the simulated board; it must be more than 0 and at most %v", o.Period, maxPeriod)
	case !(o.Speed > 0 && o.Speed <= 1e9):
		return nil, fmt.Errorf("speed %v of the simulated board; it must be more than 0 and at most 1e9", o.Speed)
	case !(o.Faults >= 0 && o.Faults <= 1):
		return nil, fmt.Errorf("fault rate %v of the simulated board; it must be between 0 and 1", o.Faults)
	}
	if o.Series == nil {
		o.Series = newWalk(seeded(o, 1))
	}
	b := &Board{id: o.ID, speed: o.Speed, series: o.Series, faults: faults{rate: o.Faults, rng: seeded(o, 2)}}
	b.over = make(chan struct{})
	b.finish = sync.OnceFunc(func() { close(b.over) })
	b.period.Store(int64(o.Period))
	return b, nil
}

// seeded returns a generator of its own for each board and purpose.
func seeded(o Options, purpose uint64) *rand.Rand {
	h := o.Seed
	for _, c := range []byte(o.ID) { // FNV-1a's step
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(h, purpose))
}

// ID returns the board's id.
func (b *Board) ID() string { return b.id }

// Frames returns how many frames the board has made so far.
func (b *Board) Frames() int64 { return b.frames.Load() }

// Over is closed once the last frame of the board's series is written. A
// random walk has no last frame.
func (b *Board) Over() <-chan struct{} { return b.over }

func (b *Board) isOver() bool {
	select {
	case <-b.over:
		return true
	default:
		return false
	}
}

// Period returns the time between two frames as the board reports it.
func (b *Board) Period() time.Duration { return time.Duration(b.period.Load()) }

// pause is the time between two frames as it passes here.
func (b *Board) pause() time.Duration {
	return max(time.Duration(float64(b.Period())/b.speed), time.Microsecond)
}

// Run writes frames to line and takes commands from it, the first frame at
// once, until ctx ends, which returns nil, or the line or the series breaks,
// which returns why. When the series is over the board stays on the line in
// silence, as hardware would: a hang-up could overtake its last frames. Run
// closes line at the end.
func (b *Board) Run(ctx context.Context, line io.ReadWriteCloser) error {
	b.line.Lock()
	defer b.line.Unlock()
	onLine, hangUp := context.WithCancelCause(ctx)
	closeLine := sync.OnceFunc(func() { line.Close() })
	stop := context.AfterFunc(onLine, closeLine)
	defer stop()

	changed := make(chan struct{}, 1)
	var hearing sync.WaitGroup
	hearing.Go(func() { hangUp(b.hear(line, changed)) })
	err := b.talk(onLine, line, changed)
	if onLine.Err() != nil {
		err = context.Cause(onLine)
	}
	hangUp(nil)
	closeLine()
	hearing.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// talk sends frames until ctx ends or something breaks.
func (b *Board) talk(ctx context.Context, line io.Writer, changed <-chan struct{}) error {
	tick := time.NewTicker(b.pause())
	defer tick.Stop()
	for {
		if err := b.send(line); err != nil {
			return err
		}
		if b.isOver() {
			<-ctx.Done()
			return nil
		}
		select {
		case <-tick.C:
		case <-changed: // answered by a frame at once, which confirms the new rate
			tick.Reset(b.pause())
		case <-ctx.Done():
			return nil
		}
	}
}

// send makes the next frame and writes what the faults leave of it.
func (b *Board) send(line io.Writer) error {
	if b.isOver() {
		return nil
	}
	v, err := b.series.Next()
	if errors.Is(err, io.EOF) {
		err = writeAll(line, b.faults.rest())
		b.finish()
		return err
	} else if err != nil {
		return err
	}
	b.frames.Add(1)
	return writeAll(line, b.faults.apply(b.Frame(v)))
}

func writeAll(line io.Writer, pieces [][]byte) error {
	for i, p := range pieces {
		if i > 0 {
			time.Sleep(splitPause)
		}
		if _, err := line.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Frame returns the frame that says v, without faults:
// {id:dust:temp:humid:rate}.
func (b *Board) Frame(v Values) string {
	rate := strconv.FormatFloat(b.Period().Seconds(), 'f', -1, 64)
	return "{" + b.id + ":" + v.Dust + ":" + v.Temp + ":" + v.Humid + ":" + rate + "}"
}

// hear takes commands until the line breaks.
func (b *Board) hear(line io.Reader, changed chan<- struct{}) error {
	var c commands
	buf := make([]byte, 256)
	for {
		n, err := line.Read(buf)
		for _, period := range c.feed(buf[:n]) {
			b.period.Store(int64(period))
			select {
			case changed <- struct{}{}:
			default: // one is on its way, and will say this rate
			}
		}
		if err != nil {
			return fmt.Errorf("the line of board %s ended: %w", b.id, err)
		}
	}
}

// Serve lets the board talk to one connection of ln after another until ctx
// ends or the series is over, which both return nil, or a recording cannot be
// read. It closes ln.
func (b *Board) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closeListener := sync.OnceFunc(func() { ln.Close() })
	stop := context.AfterFunc(ctx, closeListener)
	defer stop()
	defer closeListener()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-b.over:
			cancel()
		case <-ctx.Done():
		}
	})
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		err = b.Run(ctx, conn)
		if bad := (*RecordingError)(nil); errors.As(err, &bad) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// commands finds {rate:N} in what a gateway writes. N is in seconds. What is
// not a command is passed over.
type commands struct {
	buf  [32]byte
	n    int
	open bool
}

func (c *commands) feed(p []byte) (periods []time.Duration) {
	for _, ch := range p {
		switch {
		case ch == '{':
			c.open, c.n = true, 0
		case !c.open:
		case ch == '}':
			c.open = false
			if d, ok := rateCommand(string(c.buf[:c.n])); ok {
				periods = append(periods, d)
			}
		case c.n == len(c.buf):
			c.open = false
		default:
			c.buf[c.n] = ch
			c.n++
		}
	}
	return periods
}

func rateCommand(body string) (time.Duration, bool) {
	const name = "rate:"
	if len(body) < len(name) || body[:len(name)] != name {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(body[len(name):], 64)
	if err != nil || !(seconds >= 0.001 && seconds <= maxPeriod.Seconds()) {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
