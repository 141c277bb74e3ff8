// Package spool is the durable queue between the sources and the uplinks of a
// gateway: a log of records on disk that several named readers consume, each
// at its own pace. FORMAT.md describes every byte and every system call.
//
// What it promises. When [Spool.Append] returns nil, the records are on the
// device (fdatasync) and every configured reader gets them once per run, in
// order, with exactly the appended bytes, until it has acknowledged them with
// [Reader.Ack]. After a crash a reader starts behind the last acknowledgement
// that was saved: what it acknowledged in the last second may come again. When
// Append returns an error, none of its records is delivered in this run; after
// a crash they may be, because the disk can have kept them. No byte that was
// not appended is ever delivered, whatever the disk did to the files; a damaged
// record is skipped, counted and logged, and costs only itself.
//
// What it leaves to others: what a record means, time and retries.
//
// Durable path: concurrent Append calls are encoded into one buffer, one
// pwrite(2) and one fdatasync(2) at the end of the active segment. Segments are
// recycled, and new ones are zeroed a little ahead of small commits, so that
// these overwrite blocks that are written already and the file system has
// nothing of its own to write; large commits are worth its journal.
package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"
)

// Policy says what Append does when the spool has MaxBytes on disk and no
// segment is free.
type Policy int

// The policies.
const (
	// DropOldest gives up the oldest segment, even records that no reader has
	// acknowledged; they are counted for each reader that misses them.
	DropOldest Policy = iota
	// Block makes Append wait until a reader's acks free a segment.
	Block
)

// String returns the policy as mote.toml spells it.
func (p Policy) String() string {
	if p == Block {
		return "block"
	}
	return "drop-oldest"
}

// Limits of the options.
const (
	DefaultMaxBytes     = 1 << 30
	DefaultSegmentBytes = 1 << 20
	MinSegmentBytes     = 128 << 10
	MaxSegmentBytes     = 4 << 20
)

// Options configure a spool. The zero value of each field is usable, but a
// spool without readers keeps everything until MaxBytes.
type Options struct {
	MaxBytes     int64        // on disk; default 1 GiB, at least two segments
	Full         Policy       // default DropOldest
	SegmentBytes int64        // a multiple of 4096; default 1 MiB, or a quarter of a small MaxBytes
	FS           FS           // default OS
	Log          *slog.Logger // default: discard
	// Readers names everyone who must acknowledge a record before it may go.
	// A name that the spool does not know yet starts at the oldest record that
	// a known one still needs; a known name that is missing here is forgotten
	// with the first write.
	Readers []string
}

// Errors that callers act on.
var (
	ErrClosed = errors.New("spool is closed")
	// ErrTooLarge refuses an Append that can never fit.
	ErrTooLarge = errors.New("too large for the spool")
	// ErrEmpty refuses a record without bytes.
	ErrEmpty = errors.New("empty record refused")
)

const (
	lockName  = "lock"
	newName   = "new.tmp"
	segSuffix = ".seg"

	ackDelay   = 700 * time.Millisecond // until acks that no append carried are written
	retryPause = 200 * time.Millisecond // after a segment could not be made, the same error is answered
	spareLeast = 8                      // free segment files kept for reuse, or
	spareShare = 16                     // that part of the limit, where it is more
)

// Spool is an open spool. Its methods are safe for concurrent use.
type Spool struct {
	dir  string
	opts Options
	fs   FS
	log  *slog.Logger

	// lead holds the token of the one goroutine that may write.
	lead chan struct{}
	w    writer // guarded by lead

	readers []*Reader // fixed after Open

	mu      sync.Mutex // guards the fields below, and those of segments and readers that say so
	pending []*request // waiting for a leader
	segs    []*segment // oldest first
	spares  []spare    // free files, the first to be reused first
	total   int64      // bytes of all segment files, free ones too
	next    uint64     // sequence of the next record; everything below is durable
	room    chan struct{}
	closed  bool
	lock    Lock
	away    error // why the directory is not in its place; nil when it is
	stats   counters

	flush   chan struct{}  // an ack wants to be saved
	lost    chan struct{}  // away was set
	stop    chan struct{}  // closed by Close
	running sync.WaitGroup // the flusher and the finder
}

// counters is the part of Stats that is only counted.
type counters struct {
	appended, lost, writeErrors, readErrors, deviceBytes uint64
	lastError                                            string
}

// segment is one use of one segment file.
type segment struct {
	name string
	head header
	end  int64  // bytes before it are durable; guarded by mu
	made int64  // blocks before it have been written, once at least; guarded by mu
	cap  uint64 // its records are below this sequence; guarded by mu
	open bool   // it is the active one; guarded by mu
	gone bool   // its file is free or reused; guarded by mu
}

// spare is a segment file that holds nothing anyone waits for.
type spare struct {
	name string
	size int64
	made int64 // see segment; the size when nobody knows
}

// Open opens the spool in dir, making the directory when it is missing. It
// writes nothing but the lock file: a full disk does not keep a gateway from
// delivering what it has.
func Open(dir string, opts Options) (*Spool, error) {
	opts, err := opts.check()
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", dir, err)
	}
	s := &Spool{
		dir: dir, opts: opts, fs: opts.FS, log: opts.Log.With("spool", dir),
		lead: make(chan struct{}, 1), room: make(chan struct{}), flush: make(chan struct{}, 1),
		lost: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	s.w.pause = retryPause
	if err := s.fs.MkdirAll(dir); err != nil {
		return nil, s.explain("make directory", err)
	}
	if s.lock, err = s.fs.Lock(filepath.Join(dir, lockName)); err != nil {
		return nil, s.explain("open", err)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(s.explain("open", err), s.lock.Close())
	}
	s.running.Go(s.flusher)
	s.running.Go(s.finder)
	return s, nil
}

// check fills defaults and refuses what cannot work.
func (o Options) check() (Options, error) {
	if o.FS == nil {
		o.FS = OS{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.SegmentBytes == 0 {
		quarter := o.MaxBytes / 4 / blockBytes * blockBytes
		o.SegmentBytes = min(DefaultSegmentBytes, max(quarter, MinSegmentBytes))
	}
	if o.SegmentBytes < MinSegmentBytes || o.SegmentBytes > MaxSegmentBytes || o.SegmentBytes%blockBytes != 0 {
		return o, fmt.Errorf("segments of %d bytes: want a multiple of %d from %d to %d", o.SegmentBytes, blockBytes, MinSegmentBytes, MaxSegmentBytes)
	}
	if o.MaxBytes < 2*o.SegmentBytes {
		return o, fmt.Errorf("at most %d bytes: want at least two segments, %d bytes", o.MaxBytes, 2*o.SegmentBytes)
	}
	return o, o.checkReaders()
}

func (o Options) checkReaders() error {
	if len(o.Readers) > maxReaders {
		return fmt.Errorf("%d readers: want at most %d", len(o.Readers), maxReaders)
	}
	seen := map[string]bool{}
	for _, name := range o.Readers {
		if err := checkReaderName(name); err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("reader %q is named twice", name)
		}
		seen[name] = true
	}
	return nil
}

// Close saves the acks, ends every waiting Append and Next with [ErrClosed]
// and gives the lock back. It returns the error that kept acks from being
// saved; those records will be delivered again.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.room) // waiting appends find out
	s.mu.Unlock()
	close(s.stop)
	s.running.Wait()
	s.lead <- struct{}{}
	s.commitPending()
	err := s.saveAcks()
	s.w.closeActive()
	<-s.lead
	for _, r := range s.readers {
		r.close()
	}
	return errors.Join(err, s.lock.Close())
}

// flusher saves acks that no append carries.
func (s *Spool) flusher() {
	failing := false
	for {
		select {
		case <-s.stop:
			return
		case <-s.flush:
		}
		select {
		case <-s.stop:
			return
		case <-time.After(ackDelay):
		}
		s.lead <- struct{}{}
		err := s.saveAcks()
		<-s.lead
		if err != nil {
			s.wantFlush()
			if !failing {
				s.log.Warn("acks are not saved yet", "err", err)
			}
		}
		failing = err != nil
	}
}

func (s *Spool) wantFlush() {
	select {
	case s.flush <- struct{}{}:
	default:
	}
}

// Reader returns the reader called name, one of Options.Readers; the methods
// of any other refuse.
func (s *Spool) Reader(name string) *Reader {
	for _, r := range s.readers {
		if r.name == name {
			return r
		}
	}
	return &Reader{s: s, name: name, refused: fmt.Errorf("spool %s has no reader %q: name it in Options.Readers", s.dir, name)}
}

// Append writes records, each 1 to [MaxRecord] bytes, and returns the sequence
// of the last one when all of them are on the device. Records of one call are
// delivered all or none in this run; together they must fit into one segment.
// Concurrent calls share writes. The slices are not kept. ctx ends the waiting
// for a turn or for room, not a write that has begun.
func (s *Spool) Append(ctx context.Context, records ...[]byte) (last uint64, err error) {
	req := &request{records: records, done: make(chan struct{})}
	if req.size, err = s.measure(records); err != nil || len(records) == 0 {
		return 0, err
	}
	for {
		room, err := s.appendOnce(ctx, req)
		if room == nil {
			return req.last, err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return 0, fmt.Errorf("spool %s is full and waits for acks: %w", s.dir, ctx.Err())
		}
		req.done = make(chan struct{})
	}
}

// measure returns the room that records take in a segment.
func (s *Spool) measure(records [][]byte) (int64, error) {
	size := int64(0)
	for _, r := range records {
		if len(r) == 0 {
			return 0, fmt.Errorf("spool %s: %w", s.dir, ErrEmpty)
		}
		if len(r) > MaxRecord {
			return 0, fmt.Errorf("spool %s: %w: a record of %d bytes, at most %d", s.dir, ErrTooLarge, len(r), MaxRecord)
		}
		size += recordBytes(len(r))
	}
	if room := s.opts.SegmentBytes - headBytes; size > room {
		return 0, fmt.Errorf("spool %s: %w: %d records of %d bytes at once, at most %d: append fewer", s.dir, ErrTooLarge, len(records), size, room)
	}
	return size, nil
}

// ReaderStats is the state of one reader.
type ReaderStats struct {
	Name    string
	Acked   uint64        // sequence; everything up to it is delivered
	Waiting uint64        // records not acknowledged yet
	Dropped uint64        // records this run dropped before the reader acknowledged them
	Age     time.Duration // of the oldest waiting record, at most: since its segment was begun; 0 when none waits
}

// Stats is a snapshot of a spool. Counts are of this run.
type Stats struct {
	Readers     []ReaderStats
	Segments    int    // files that hold records
	Bytes       int64  // of all segment files on disk, free ones too
	MaxBytes    int64  // the limit of Bytes
	Appended    uint64 // records
	Lost        uint64 // records that a reader skipped because they are damaged
	WriteErrors uint64
	ReadErrors  uint64
	DeviceBytes uint64 // written, in whole 4 KiB blocks, zeroing included
	LastError   string // the latest write or read error, or ""
}

// Stats returns a snapshot.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.stats
	out := Stats{
		Segments: len(s.segs), Bytes: s.total, MaxBytes: s.opts.MaxBytes, Appended: c.appended, Lost: c.lost,
		WriteErrors: c.writeErrors, ReadErrors: c.readErrors, DeviceBytes: c.deviceBytes, LastError: c.lastError,
	}
	for _, r := range s.readers {
		rs := ReaderStats{Name: r.name, Acked: r.acked, Waiting: r.missing(0, s.next), Dropped: r.dropped}
		if seg := s.find(r.acked + 1); rs.Waiting > 0 && seg != nil {
			rs.Age = max(0, time.Since(time.UnixMilli(seg.head.created)))
		}
		out.Readers = append(out.Readers, rs)
	}
	return out
}
