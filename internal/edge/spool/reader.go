package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Record is one record and its sequence.
type Record struct {
	Seq  uint64
	Data []byte // the caller's own
}

const (
	batchBytes = 256 << 10        // data that one Batch or Poll returns at most, and one record
	arenaBytes = 16 << 10         // data is copied into pieces of this size
	readPause  = time.Second      // between tries to read a failing disk
	badAfter   = 30 * time.Second // a block that fails so long, while its neighbour reads, is given up
)

// Reader is one consumer's place in the spool. One goroutine at a time calls
// Next, Batch or Poll (further ones wait); Ack and Rewind may come from any.
type Reader struct {
	s       *Spool
	name    string
	refused error // set on a reader that is not configured
	wake    chan struct{}

	progress         // what is delivered; guarded by s.mu
	change   uint64  // counts the changes of progress; guarded by s.mu
	saved    uint64  // change as it is on disk; guarded by s.mu
	cursor   uint64  // the next sequence to hand out, or one before it; guarded by s.mu
	bound    uint64  // nothing from it on is handed out; guarded by s.mu
	tail     *Reader // reads the live lane, see [Live]; guarded by s.mu
	seen     uint64  // the highest sequence handed out; guarded by s.mu
	dropped  uint64  // guarded by s.mu

	mu       sync.Mutex // guards the fields below; taken before s.mu
	walk     *walker
	seg      *segment // that walk is on
	file     File     // of seg
	badAt    int64    // where reading fails
	badSince time.Time
}

// Name returns the reader's name.
func (r *Reader) Name() string { return r.name }

// Next returns the next record and its sequence, waiting for one. After a read
// error of the disk it waits and tries again, so that no record is passed over.
func (r *Reader) Next(ctx context.Context) (seq uint64, record []byte, err error) {
	var one [1]Record
	got, err := r.Batch(ctx, one[:0], 1)
	if err != nil {
		return 0, nil, err
	}
	return got[0].Seq, got[0].Data, nil
}

// Batch waits until there is a record, then appends what is ready to dst, at
// most limit records (at least one).
func (r *Reader) Batch(ctx context.Context, dst []Record, limit int) ([]Record, error) {
	limit = max(limit, 1)
	for {
		if err := ctx.Err(); err != nil {
			return dst, err
		}
		got, err := r.Poll(dst, limit)
		if errors.Is(err, ErrClosed) || r.refused != nil || len(got) > len(dst) {
			return got, err
		}
		if err := r.wait(ctx, err); err != nil {
			return dst, err
		}
	}
}

// wait returns when there may be more, or after a pause when reading failed.
func (r *Reader) wait(ctx context.Context, failed error) error {
	wake, again := r.wake, (<-chan time.Time)(nil)
	if failed != nil {
		wake, again = nil, time.After(readPause)
	}
	select {
	case <-wake:
	case <-again:
	case <-r.s.stop:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Poll appends what is ready to dst, at most limit records and not more than
// fits in memory well; it does not wait for more. An error means that the disk
// could not be read: nothing was passed over, and a later call tries again.
func (r *Reader) Poll(dst []Record, limit int) ([]Record, error) {
	if r.refused != nil {
		return dst, r.refused
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left, bytes := limit, 0
	for left > 0 && bytes < batchBytes {
		p, err := r.plan()
		if err != nil || p.seg == nil {
			return dst, err
		}
		n := len(dst)
		dst, err = r.fromSegment(p, dst, left)
		for _, rec := range dst[n:] {
			left--
			bytes += len(rec.Data)
		}
		if err != nil && len(dst) == n {
			return dst, err
		}
		if err != nil {
			return dst, nil // the next call meets the error again
		}
	}
	return dst, nil
}

// plan is where a reader reads next, as it was at one moment.
type plan struct {
	seg    *segment // nil: nothing to read
	cursor uint64
	stop   uint64 // the first sequence behind cursor that is not to be read, at most cap
	end    int64
	cap    uint64
}

func (r *Reader) plan() (plan, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return plan{}, fmt.Errorf("spool %s: %w", s.dir, ErrClosed)
	}
	var stop uint64
	r.cursor, stop = r.open(r.cursor)
	if stop = min(stop, r.bound, s.next); r.cursor >= stop {
		return plan{}, nil
	}
	seg := s.find(r.cursor)
	if seg == nil { // damage took the records up to next
		s.stats.lost += stop - r.cursor
		r.cursor = stop
		return plan{}, nil
	}
	return plan{seg: seg, cursor: r.cursor, stop: min(stop, seg.cap), end: seg.end, cap: seg.cap}, nil
}

// fromSegment appends up to limit records of p's segment to dst and moves the
// cursor. It appends nothing when the segment or the cursor was taken away
// meanwhile.
func (r *Reader) fromSegment(p plan, dst []Record, limit int) ([]Record, error) {
	if err := r.position(p); err != nil {
		return dst, r.lostFile(p, err)
	}
	n := len(dst)
	cursor, lost := p.cursor, uint64(0)
	var arena []byte
	var failed error
	for bytes := 0; len(dst)-n < limit && bytes < batchBytes; {
		rec, err := r.step(p)
		if err == io.EOF || err == nil && !rec.acks && rec.seq >= p.stop {
			lost += p.stop - cursor
			cursor = p.stop
			break
		}
		if failed = err; err != nil {
			break
		}
		if rec.acks || rec.seq < p.cursor {
			continue
		}
		lost += rec.seq - cursor
		cursor = rec.seq + 1
		bytes += len(rec.data)
		var own []byte
		arena, own = keep(arena, rec.data, limit == 1)
		dst = append(dst, Record{rec.seq, own})
		if cursor == p.stop {
			break
		}
	}
	if !r.move(p, cursor, lost) {
		r.drop()
		return dst[:n], nil
	}
	return dst, failed
}

// keep copies data into the arena, a new one when it is full.
func keep(arena, data []byte, alone bool) (grown, own []byte) {
	if len(data) > cap(arena)-len(arena) {
		size := max(arenaBytes, len(data))
		if alone {
			size = len(data)
		}
		arena = make([]byte, 0, size)
	}
	at := len(arena)
	arena = append(arena, data...)
	return arena, arena[at:len(arena):len(arena)]
}

// move sets the cursor, unless someone else did or the segment is gone.
func (r *Reader) move(p plan, cursor, lost uint64) bool {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.seg.gone || r.cursor != p.cursor {
		return false
	}
	r.cursor = cursor
	r.seen = max(r.seen, cursor-1)
	if lost > 0 {
		s.stats.lost += lost
		s.log.Error("records are damaged on disk and were skipped", "reader", r.name, "file", p.seg.name, "records", lost)
	}
	return true
}

// position puts the walker on p's segment, at or before its cursor.
func (r *Reader) position(p plan) error {
	if r.seg != p.seg {
		r.drop()
		if err := r.s.present(); err != nil {
			return err
		}
		file, err := r.s.fs.Open(r.s.path(p.seg.name), false)
		if err != nil {
			return err
		}
		r.seg, r.file = p.seg, file
	}
	switch {
	case r.walk == nil || r.walk.next > p.cursor:
		var buf []byte
		if r.walk != nil {
			buf = r.walk.buf
		}
		r.walk = newWalker(r.file, &p.seg.head, p.end, p.cap, buf)
	default:
		r.walk.end, r.walk.limit = p.end, p.cap
	}
	return nil
}

// drop leaves the segment.
func (r *Reader) drop() {
	if r.file != nil {
		_ = r.file.Close() // only read
	}
	r.file, r.seg, r.walk, r.badSince = nil, nil, nil, time.Time{}
}

// step is the walker's, with patience for a disk that fails: a block is given
// up only when it failed for badAfter and the disk reads what comes after it.
func (r *Reader) step(p plan) (record, error) {
	for {
		rec, err := r.walk.step()
		if err == nil || err == io.EOF {
			return rec, err
		}
		now := time.Now()
		if r.badSince.IsZero() || r.badAt != r.walk.bad {
			r.badAt, r.badSince = r.walk.bad, now
		}
		err = r.readFailed(p.seg.name, err)
		if errors.Is(err, ErrAway) || now.Sub(r.badSince) < badAfter || !r.readsBeyond(p) {
			return rec, err
		}
		r.s.log.Error("block of the spool cannot be read and is given up", "file", p.seg.name, "offset", r.walk.bad)
		r.walk.skipBlock()
	}
}

// readsBeyond reports whether the disk reads any of the blocks behind the
// failing one, as far as a record can reach, or at the segment's end the header.
// A device that is gone reads nothing, whatever of it is still in memory.
func (r *Reader) readsBeyond(p plan) bool {
	r.file.Uncache()
	next := (r.walk.bad/blockBytes + 1) * blockBytes
	if next >= p.end {
		return r.reads(0)
	}
	for end := min(p.end, next+MaxRecord+blockBytes); next < end; next += blockBytes {
		if r.reads(next) {
			return true
		}
	}
	return false
}

func (r *Reader) reads(off int64) bool {
	var b [1]byte
	n, _ := r.file.ReadAt(b[:], off)
	return n == 1
}

func (r *Reader) readFailed(name string, err error) error {
	s := r.s
	if away := s.present(); away != nil {
		err = away
	} else {
		err = s.explain("read "+name, err)
	}
	s.mu.Lock()
	s.stats.readErrors++
	s.stats.lastError = err.Error()
	s.mu.Unlock()
	return err
}

// lostFile handles a segment that could not be opened: when its file is gone
// though the spool did not free it, somebody deleted it, and waiting would not
// bring it back.
func (r *Reader) lostFile(p plan, err error) error {
	if !gone(err) || r.s.present() != nil {
		return r.readFailed(p.seg.name, err)
	}
	r.move(p, p.stop, p.stop-p.cursor)
	return nil
}

// Ack says that everything up to and including seq is delivered. It is saved
// with the next append or within a second; until then a crash makes the
// records come again. Sequences that were not handed out yet do not count.
func (r *Reader) Ack(seq uint64) {
	if r.refused != nil {
		return
	}
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	seq = min(seq, r.seen)
	if seq <= r.acked || s.closed {
		return
	}
	r.advance(seq)
	r.cursor = max(r.cursor, seq+1)
	r.acknowledged()
}

// acknowledged notes that the progress has changed. The caller holds s.mu.
func (r *Reader) acknowledged() {
	r.change++
	r.s.release()
	r.s.wantFlush()
}

// Rewind makes the next record the one behind the last acknowledged.
func (r *Reader) Rewind() {
	if r.refused != nil {
		return
	}
	r.s.mu.Lock()
	r.cursor = r.acked + 1
	r.s.mu.Unlock()
	r.notify()
}

func (r *Reader) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *Reader) close() {
	r.mu.Lock()
	r.drop()
	r.mu.Unlock()
	r.s.mu.Lock()
	tail := r.tail
	r.s.mu.Unlock()
	if tail != nil {
		tail.close()
	}
}

func (s *Spool) wakeReaders() {
	for _, r := range s.readers {
		r.notify()
	}
}
