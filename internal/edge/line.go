package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/edge/spool"
	"mote/internal/reading"
)

const (
	readBuffer = 16 << 10 // bytes of one read, whose frames go to the spool together
	maxBatch   = 64 << 10 // bytes of readings in one Append

	// A connection that gave a frame, or lived this long, was a good one: the
	// next attempts begin quickly again.
	goodAge = time.Minute

	// What a silent line is given when nothing is configured: silentRates
	// times the slowest rate reported, at least leastSilence, and firstSilence
	// while no rate is known. Each silent connection in a row doubles it up to
	// mostSilence: opening a serial port restarts many boards, so a board that
	// is slower than it seems must get its turn to speak.
	silentRates  = 5
	leastSilence = 30 * time.Second
	firstSilence = 2 * time.Minute
	mostSilence  = 2 * time.Hour

	mostRejects    = 1000             // refused frames in a second
	rejectLogPause = 30 * time.Second // between two log lines about refused frames
	spoolLogAfter  = 5 * time.Second  // of waiting for the spool
)

// line is one source under supervision.
type line struct {
	Line
	gateway *Gateway
	name    string
	log     *slog.Logger
	span    // its stop is guarded by gateway.mu

	// owned by the goroutine in run
	silent   int // connections in a row that ended by silence
	batch    batch
	rejected int64 // refused frames since the last log line about them
	noise    int   // refused frames since quietAt
	quietAt  time.Time
	loggedAt time.Time
	oddAt    time.Time // of the last log line about implausible values

	mu       sync.Mutex
	status   SourceStatus      // guarded by mu
	boards   map[string]*board // guarded by mu; bounded by MaxBoards
	reject   frame.Reject      // guarded by mu; the last
	rejectAt time.Time         // guarded by mu; zero while there is none
	asked    time.Time         // guarded by mu: when the Append in progress began, or zero

	mute bool // owned by the goroutine in speak: that the source takes no commands was logged

	commands  map[string]time.Duration // guarded by mu: rates to be told, by board; nil while the line is down
	commanded chan struct{}            // has room for one: there is something in commands
}

// board is what a line knows of one board.
type board struct {
	last   reading.Reading // the last that is durable
	seen   time.Time       // when it was complete
	rate   time.Duration   // 0 while unknown
	frames int64

	sent map[string]sent // by what frames are of, see frame.Frame.Value; at most mostSent
}

// sent is the last reading that was not thinned out.
type sent struct {
	values []reading.Field
	at     time.Time
}

// batch collects the readings of one read.
type batch struct {
	readings []reading.Reading
	records  [][]byte          // of the readings
	thinned  []reading.Reading // that are not to be sent
	untimed  bool              // the records are to be held until the clock is set
	bytes    int
}

func newLine(g *Gateway, o Line) *line {
	if o.MaxBoards <= 0 {
		o.MaxBoards = DefaultMaxBoards
	}
	name := o.Source.Name()
	return &line{
		Line: o, gateway: g, name: name, log: g.log.With("source", name), boards: map[string]*board{},
		status: SourceStatus{Name: name, State: Connecting}, commanded: make(chan struct{}, 1),
		span: span{gone: make(chan struct{})},
	}
}

func (l *line) life() *span { return &l.span }

// run keeps the line connected until ctx ends. What has been read by then is
// still appended, while appending lives. fail ends the whole gateway.
func (l *line) run(ctx, appending context.Context, fail context.CancelCauseFunc) {
	again := backoff{first: 250 * time.Millisecond, most: 30 * time.Second}
	for ctx.Err() == nil {
		l.dialling()
		conn, err := l.Source.Dial(ctx)
		if err == nil {
			l.connected()
			begun, frames := time.Now(), l.frames()
			err = l.follow(ctx, appending, conn)
			if l.frames() > frames || time.Since(begun) > goodAge {
				again.reset()
			}
		}
		if errors.Is(err, spool.ErrClosed) {
			fail(err)
		}
		if ctx.Err() != nil {
			break
		}
		l.down(err)
		again.wait(ctx)
	}
	l.stopped()
}

// follow reads conn until it breaks, falls silent or ctx ends. It closes conn.
func (l *line) follow(ctx, appending context.Context, conn net.Conn) (err error) {
	if m, ok := conn.(Messenger); ok {
		return l.followMessages(ctx, appending, conn, m)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	end := l.obey(ctx, conn, func(ctx context.Context, _ string, rate time.Duration) error { return write(ctx, conn, rate) })
	scanner, skipped := l.Format.NewScanner(), int64(0)
	count := func(n int) {
		l.count(n, scanner.Skipped()-skipped)
		skipped = scanner.Skipped()
	}
	defer func() {
		stop()
		end()
		scanner.End(l.refuse)
		count(0)
	}()
	buf := make([]byte, readBuffer)
	for {
		patience := l.patience()
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if ctx.Err() != nil { // its end may have come before the deadline just set
			return ctx.Err()
		}
		n, err := conn.Read(buf)
		if n > 0 {
			l.silent = 0
			err := l.take(appending, func(take func(frame.Frame)) { scanner.Feed(buf[:n], take, l.refuse) })
			count(n)
			if err != nil {
				return err
			}
			l.calm(ctx)
		}
		if err != nil {
			return l.ended(err, patience)
		}
	}
}

// ended says why a connection ended.
func (l *line) ended(err error, patience time.Duration) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		l.silent++
		return fmt.Errorf("no byte came for %v; the line is opened again", patience)
	case err == io.EOF:
		return errors.New("the other side closed the connection")
	}
	return err
}

// take turns the frames that feed gives into readings that are durable when it
// returns.
func (l *line) take(appending context.Context, feed func(take func(frame.Frame))) error {
	now := time.Now()
	var failed error
	feed(func(fr frame.Frame) {
		if !l.admit(fr) {
			return
		}
		l.odd(fr)
		if !l.wanted(fr, now) {
			l.batch.thinned = append(l.batch.thinned, fr.Reading(now))
			return
		}
		r, record, untimed := l.gateway.read(fr, now)
		if len(record) > spool.MaxRecord {
			l.refuse(frame.Reject{Reason: fmt.Errorf("its reading has %d bytes; the spool takes %d", len(record), spool.MaxRecord), Length: len(record), Data: []byte(fr.ID)})
			return
		}
		if (l.batch.bytes+len(record) > maxBatch || l.batch.untimed != untimed) && failed == nil {
			failed = l.append(appending, now)
		}
		l.batch.untimed = untimed
		l.batch.add(r, record)
	})
	if failed != nil {
		l.lost(failed)
		return failed
	}
	return l.append(appending, now)
}

func (b *batch) add(r reading.Reading, record []byte) {
	b.readings = append(b.readings, r)
	b.records = append(b.records, record)
	b.bytes += len(record)
}

// admit reports whether the frame's board is known or there is room for it.
func (l *line) admit(fr frame.Frame) bool {
	l.mu.Lock()
	full := l.boards[fr.ID] == nil && len(l.boards) >= l.MaxBoards
	if !full && l.boards[fr.ID] == nil {
		l.boards[fr.ID] = &board{}
	}
	l.mu.Unlock()
	if full {
		l.refuse(frame.Reject{Reason: fmt.Errorf("the line already has %d boards, the most it may have; is it noisy?", l.MaxBoards), Length: len(fr.ID), Data: []byte(fr.ID)})
	}
	return !full
}

// append makes the batch durable. It tries until that is done or ctx ends: the
// line is not read meanwhile, and nothing that was read is given up.
func (l *line) append(ctx context.Context, seen time.Time) error {
	if len(l.batch.records) == 0 {
		l.appended(seen)
		return nil
	}
	l.asking(time.Now())
	defer l.asking(time.Time{})
	slow := time.AfterFunc(spoolLogAfter, func() {
		l.log.Warn("spool takes nothing; the line is not read meanwhile")
	})
	defer func() {
		if !slow.Stop() && ctx.Err() == nil {
			l.log.Info("spool takes readings again")
		}
	}()
	again := backoff{first: 100 * time.Millisecond, most: 5 * time.Second}
	logged := ""
	for {
		err := l.keep(ctx)
		switch {
		case err == nil:
			l.appended(seen)
			return nil
		case errors.Is(err, spool.ErrClosed) || ctx.Err() != nil:
			l.lost(err)
			return err
		case errors.Is(err, spool.ErrTooLarge):
			l.lost(err) // trying again cannot help; the next batch may be smaller
			return nil
		}
		if err.Error() != logged {
			logged = err.Error()
			l.log.Error("spool failed; trying again", "error", err)
		}
		if !again.wait(ctx) {
			l.lost(err)
			return err
		}
	}
}

// keep makes the batch durable, in the spool or with the clock.
func (l *line) keep(ctx context.Context) error {
	if l.batch.untimed {
		return l.gateway.clock.Hold(ctx, l.batch.records...)
	}
	_, err := l.gateway.spool.Append(ctx, l.batch.records...)
	return err
}

// lost gives up the batch, which could not be made durable.
func (l *line) lost(err error) {
	if len(l.batch.records) == 0 {
		return
	}
	l.mu.Lock()
	l.status.Lost += int64(len(l.batch.records))
	l.mu.Unlock()
	l.log.Error("readings lost: the spool did not take them", "readings", len(l.batch.records), "error", err)
	l.batch = batch{}
}

// appended notes readings that are durable.
func (l *line) appended(seen time.Time) {
	done, thinned := l.batch.readings, l.batch.thinned
	l.batch = batch{} // its memory is not used again: a status may show the readings
	l.note(done, seen)
	l.noteThinned(thinned, seen)
	if l.gateway.seen == nil {
		return
	}
	for _, r := range slices.Concat(done, thinned) {
		every, _ := rate(r.Rate)
		l.gateway.seen(r.ID, every)
	}
}

// note keeps what the readings tell of their boards.
func (l *line) note(readings []reading.Reading, seen time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Frames += int64(len(readings))
	for _, r := range readings {
		l.boards[r.ID].last = r
		l.boards[r.ID].spoke(r, seen)
	}
}

// spoke notes that a board sent a frame.
func (b *board) spoke(r reading.Reading, seen time.Time) {
	b.seen = seen
	b.frames++
	if rate, ok := rate(r.Rate); ok {
		b.rate = rate
	}
}

// refuse counts a piece that is not a frame. The log shows the latest, at most
// every half minute.
func (l *line) refuse(r frame.Reject) {
	now := time.Now()
	l.mu.Lock()
	l.status.Rejects++
	l.reject, l.rejectAt = r, now // put into words when somebody looks
	l.mu.Unlock()
	l.rejected++
	l.noise++
	if !l.loggedAt.IsZero() && now.Sub(l.loggedAt) < rejectLogPause {
		return
	}
	l.log.Warn("frame refused", "reason", r.Reason, "text", r.Text(), "hex", r.Hex(), "bytes", r.Length, "refused_since_last_line", l.rejected)
	l.loggedAt, l.rejected = now, 0
}

// calm pauses a line that sends little but noise: it may have so many frames
// refused in a second, and costs no more. What it sends meanwhile waits, or is
// lost at its own end.
func (l *line) calm(ctx context.Context) {
	now := time.Now()
	if now.Sub(l.quietAt) >= time.Second {
		l.noise, l.quietAt = 0, now
	}
	if l.noise > mostRejects {
		sleep(ctx, l.quietAt.Add(time.Second).Sub(now))
	}
}

// patience is how long the line may be silent now.
func (l *line) patience() time.Duration {
	if l.Silence > 0 {
		return l.Silence
	}
	slowest := time.Duration(0)
	l.mu.Lock()
	for _, b := range l.boards {
		if b.alive(time.Now()) {
			slowest = max(slowest, b.rate)
		}
	}
	l.mu.Unlock()
	base := max(silentRates*slowest, leastSilence)
	if slowest == 0 {
		base = firstSilence
	}
	for range l.silent {
		if base >= mostSilence {
			break
		}
		base *= 2
	}
	return base
}

func (l *line) count(n int, skipped int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Bytes += int64(n)
	l.status.Skipped += skipped
}

func (l *line) frames() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.Frames
}

func (l *line) asking(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = since
}

// dialling, connected, down and stopped keep the state; a state that stays the
// same is logged once.
func (l *line) dialling() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Dials++
	if l.status.State == Connecting && l.status.Since.IsZero() {
		l.status.Since = time.Now()
	}
}

func (l *line) connected() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.State, l.status.Since = Connected, time.Now()
	l.log.Info("line is open")
}

func (l *line) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := err.Error()
	if l.status.State == Down && l.status.LastError == text {
		return
	}
	if l.status.State != Down {
		l.status.State, l.status.Since = Down, time.Now()
	}
	l.status.LastError = text
	l.log.Warn("line is down; it is dialled again", "error", text)
}

func (l *line) stopped() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.State, l.status.Since = Stopped, time.Now()
}
