// Package clock gives readings their time on machines whose clock cannot be
// trusted from the start, such as a Raspberry Pi, which has no clock chip.
//
// While nobody has set the wall clock, readings are kept in a small spool of
// their own, with the id of the boot and the time since it. When the clock is
// set, the time at which the machine was booted is fixed, written down, and
// added; then the readings go on into the gateway's spool as if nothing had
// been. What is in that spool always has its final time.
//
// What it promises. A reading that [Clock.Hold] took is not lost by a crash,
// and gets the same time however often the machine fails while it is moved: its
// identity is made from what is on disk alone. Readings of a boot that ended
// before its clock was set are placed before the boot in which it was, in their
// order, as late as they can have been, and say so with the field
// time_uncertain. No time is given out twice for a board, also when the clock
// was set back across a restart.
//
// FORMAT.md describes what is on disk.
package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/edge/spool"
	"mote/internal/reading"
)

// Options say where readings wait and how the machine's clocks are read.
type Options struct {
	Dir      string       // of the gateway's spool
	MaxBytes int64        // of the readings that wait for the time; 0 means 16 MiB
	Full     spool.Policy // what happens when there are more
	Machine  Machine      // the zero value means [This]
	Log      *slog.Logger // default: discard
}

const (
	holdDir    = "untimed" // in Options.Dir
	readerName = "clock"
	maxHold    = 16 << 20
	minHold    = 2 * spool.MinSegmentBytes
	look       = time.Second // between looks whether the clock is set
	reserve    = time.Hour   // how far ahead of the clock the mark on disk is
	moveBatch  = 256         // readings moved with one append

	// guard is longer than a burst of readings can run ahead of the clock.
	guard = 100 * time.Millisecond
)

// Clock is a gateway's clock. Its methods are safe for concurrent use.
type Clock struct {
	o    Options
	log  *slog.Logger
	look time.Duration
	set  atomic.Bool
	wall reading.Clock // gives out times by the wall clock
	boot reading.Clock // gives out times since the boot

	mu    sync.Mutex
	state state         // guarded by mu; as it is on disk
	hold  *spool.Spool  // guarded by mu; nil until something is held
	ready chan struct{} // closed when hold is open
}

// Open reads what is known of earlier boots. Options.Dir exists. A disk that
// takes nothing is no error.
func Open(o Options) (*Clock, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Machine.Now == nil {
		o.Machine = This()
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = maxHold
	}
	o.MaxBytes = max(o.MaxBytes, minHold)
	c := &Clock{o: o, log: o.Log, look: look, ready: make(chan struct{})}
	var err error
	if c.state, err = load(o.Dir); err != nil {
		return nil, err
	}
	if exists(filepath.Join(o.Dir, holdDir)) {
		if _, err := c.holding(); err != nil {
			return nil, err
		}
		if c.Held() == 0 { // nothing can come again: only this boot matters now
			c.state.prune(o.Machine.Boot)
		}
	}
	c.begin()
	return c, nil
}

// begin finds out whether the clock is set.
func (c *Clock) begin() {
	now, up := c.o.Machine.Now(), c.o.Machine.Uptime()
	floor := c.state.High
	switch b := c.state.find(c.o.Machine.Boot); {
	case b != nil:
		c.set.Store(true)
		if now.Sub(b.wall(up)) > -time.Second && !c.state.High.After(now.Add(reserve)) {
			floor = now.Add(guard) // it was not set back since
		}
	case c.o.Machine.IsSet():
		if err := c.fix(); err == nil {
			return
		}
		c.set.Store(c.Held() == 0) // a full disk keeps nothing from being delivered; Run tries again
	}
	c.wall.After(floor)
}

// holding returns the spool of readings without a time, opening it when it is
// not.
func (c *Clock) holding() (*spool.Spool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold != nil {
		return c.hold, nil
	}
	s, err := spool.Open(filepath.Join(c.o.Dir, holdDir), spool.Options{
		MaxBytes: c.o.MaxBytes, SegmentBytes: spool.MinSegmentBytes, Full: c.o.Full, Readers: []string{readerName}, Log: c.log,
	})
	if err != nil {
		return nil, err
	}
	c.hold = s
	close(c.ready)
	return s, nil
}

// Close gives the files back. Run has returned before.
func (c *Clock) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if c.set.Load() {
		c.state.High = later(c.o.Machine.Now().UTC(), c.wall.High()).Add(guard).Truncate(time.Millisecond)
		err = c.state.save(c.o.Dir)
	}
	if c.hold != nil {
		err = errors.Join(err, c.hold.Close())
	}
	return err
}

// Set reports whether the wall clock is to be believed. Once it is, it stays so.
func (c *Clock) Set() bool { return c.set.Load() }

// Held is how many readings wait for the time.
func (c *Clock) Held() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hold == nil {
		return 0
	}
	return c.hold.Stats().Readers[0].Waiting
}

// Stamp gives a reading of board id, complete at now, its time by the wall
// clock, which is set.
func (c *Clock) Stamp(id string, now time.Time) time.Time { return c.wall.Stamp(id, now) }

// Own gives a reading its time by the board's own clock; see
// [reading.Clock.Own].
func (c *Clock) Own(id string, t time.Time, fields []reading.Field) time.Time {
	return c.wall.Own(id, t, fields)
}

// Untimed returns r, complete just now, as a record for Hold. Its identity is
// fixed by that.
func (c *Clock) Untimed(r reading.Reading) []byte {
	r.Time = c.boot.Stamp(r.ID, time.Unix(0, int64(c.o.Machine.Uptime())))
	return encode(c.o.Machine.Boot, r)
}

// Hold makes records of Untimed durable. Its errors are those of a spool.
func (c *Clock) Hold(ctx context.Context, records ...[]byte) error {
	s, err := c.holding()
	if err != nil {
		return err
	}
	_, err = s.Append(ctx, records...)
	return err
}

// Run waits until the clock is set, and moves what is held with move into the
// gateway's spool, until ctx ends.
func (c *Clock) Run(ctx context.Context, move func(ctx context.Context, records ...[]byte) (uint64, error)) {
	if !c.await(ctx) {
		return
	}
	var marking sync.WaitGroup
	marking.Go(func() { c.mark(ctx) })
	defer marking.Wait()
	select {
	case <-ctx.Done():
		return
	case <-c.ready:
	}
	for ctx.Err() == nil {
		err := c.moveAll(ctx, move)
		if ctx.Err() != nil || errors.Is(err, spool.ErrClosed) {
			return
		}
		c.log.Error("readings that waited for the time cannot go on yet", "error", err)
		sleep(ctx, c.look)
	}
}

// await returns when the clock is set; false when ctx ended before.
func (c *Clock) await(ctx context.Context) bool {
	told, failed := false, ""
	for ctx.Err() == nil {
		if !c.set.Load() && c.o.Machine.IsSet() {
			if err := c.fix(); err != nil && err.Error() != failed {
				failed = err.Error()
				c.log.Error("the clock is set, but that cannot be written down", "error", err)
			}
		}
		if c.set.Load() {
			if told {
				c.log.Info("clock is set; readings get their times")
			}
			return true
		}
		if !told {
			told = true
			c.log.Warn("clock is not set yet; readings are kept until it is", "clock_says", c.o.Machine.Now().UTC().Format(time.RFC3339))
		}
		sleep(ctx, c.look)
	}
	return false
}

// fix writes down when this boot was. Only then the clock counts as set.
func (c *Clock) fix() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, up := c.o.Machine.Now().UTC(), c.o.Machine.Uptime()
	next := c.state.clone()
	b := boot{ID: c.o.Machine.Boot, At: now.Add(-up).Truncate(time.Millisecond)}
	b.Apart = !b.At.After(next.High)
	next.Boots = append(next.Boots, b)
	next.High = later(next.High, now.Add(reserve))
	if err := next.save(c.o.Dir); err != nil {
		return err
	}
	c.wall.After(later(c.state.High, now.Add(guard)))
	c.state = next
	c.set.Store(true)
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// mark keeps the mark on disk ahead of the times given out.
func (c *Clock) mark(ctx context.Context) {
	for {
		c.mu.Lock()
		if now := c.o.Machine.Now().UTC(); c.state.High.Before(now.Add(reserve / 4)) {
			next := c.state.clone()
			next.High = now.Add(reserve).Truncate(time.Millisecond)
			if err := next.save(c.o.Dir); err != nil {
				c.log.Error("time mark cannot be written", "error", err)
			} else {
				c.state = next
			}
		}
		c.mu.Unlock()
		if !sleep(ctx, reserve/8) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// moveAll places the boots that ended before their clock was set, and moves
// readings until something fails.
func (c *Clock) moveAll(ctx context.Context, move func(ctx context.Context, records ...[]byte) (uint64, error)) error {
	c.mu.Lock()
	r := c.hold.Reader(readerName)
	c.mu.Unlock()
	r.Rewind()
	if err := c.placeBoots(r); err != nil {
		return err
	}
	r.Rewind()
	var batch []spool.Record
	for {
		var err error
		if batch, err = r.Batch(ctx, batch[:0], moveBatch); err != nil {
			return err
		}
		records := c.timed(batch)
		if len(records) > 0 {
			if _, err := move(ctx, records...); err != nil {
				return fmt.Errorf("the gateway's spool: %w", err)
			}
		}
		r.Ack(batch[len(batch)-1].Seq)
	}
}

// timed returns records with their final times. One that cannot be read is
// logged, and left out.
func (c *Clock) timed(batch []spool.Record) [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([][]byte, 0, len(batch))
	for _, rec := range batch {
		id, r, err := decode(rec.Data)
		b := c.state.find(id)
		if err != nil || b == nil {
			c.log.Error("a reading that waited for the time cannot be read", "sequence", rec.Seq, "error", err, "record", fmt.Sprintf("%.300q", rec.Data))
			continue
		}
		out = append(out, b.final(r).AppendJSON(nil))
	}
	return out
}

// placeBoots looks through what is held for boots whose clock was never set,
// places each before the one after it, and writes that down.
func (c *Clock) placeBoots(r *spool.Reader) error {
	ended, err := ends(r)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next, changed := c.state.clone(), false
	after := c.o.Machine.Now().UTC().Add(-c.o.Machine.Uptime())
	if b := next.find(c.o.Machine.Boot); b != nil {
		after = b.At
	}
	for i := len(ended) - 1; i >= 0; i-- {
		b := next.find(ended[i].id)
		if b == nil {
			at := after.Add(-ended[i].up - time.Second).Truncate(time.Millisecond)
			b = &boot{ID: ended[i].id, At: at, Apart: true, Uncertain: true}
			next.Boots, changed = append(next.Boots, *b), true
			c.log.Warn("readings of a start whose clock was never set get estimated times", "boot", b.ID, "started_about", at.Format(time.RFC3339))
		}
		after = b.At
	}
	if !changed {
		return nil
	}
	if err := next.save(c.o.Dir); err != nil {
		return err
	}
	c.state = next
	return nil
}

// end is how long after its boot the last reading of a boot was.
type end struct {
	id string
	up time.Duration
}

// ends reads all that waits, and returns the boots in their order.
func ends(r *spool.Reader) (out []end, err error) {
	var batch []spool.Record
	for {
		if batch, err = r.Poll(batch[:0], moveBatch); err != nil || len(batch) == 0 {
			return out, err
		}
		for _, rec := range batch {
			id, reading, err := decode(rec.Data)
			if err != nil {
				continue // timed tells it
			}
			if len(out) == 0 || out[len(out)-1].id != id {
				out = append(out, end{id: id})
			}
			last := &out[len(out)-1]
			last.up = max(last.up, time.Duration(reading.Time.UnixNano()))
		}
	}
}
