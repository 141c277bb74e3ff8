package spool

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sort"
	"time"
)

func segmentName(generation uint64) string {
	return fmt.Sprintf("%016x%s", generation, segSuffix)
}

func (s *Spool) path(name string) string { return filepath.Join(s.dir, name) }

// freshSegment takes a free file, or makes one, names it for the next
// generation and opens it. Its header is written with the first commit. room
// is set instead when the spool is full and must wait, unless mayDrop.
func (s *Spool) freshSegment(mayDrop bool) (t target, room <-chan struct{}, err error) {
	s.w.gen++
	name := segmentName(s.w.gen)
	sp, room, err := s.takeSpare(name, mayDrop)
	if room != nil || err != nil {
		return t, room, err
	}
	t.seg = &segment{name: name, head: header{
		size: sp.size, generation: s.w.gen, salt: newSalt(), created: time.Now().UnixMilli(),
	}}
	t.fresh, t.made = true, sp.made
	s.mu.Lock()
	t.seg.head.base, t.seg.cap = s.next, s.next
	s.mu.Unlock()
	if t.file, err = s.fs.Open(s.path(name), true); err != nil {
		return t, nil, s.writeFailed(t, err)
	}
	return t, nil, nil
}

// newSalt cannot fail: crypto/rand ends the process when the kernel has no
// randomness.
func newSalt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// takeSpare leaves a file of the configured size under name, durably.
func (s *Spool) takeSpare(name string, mayDrop bool) (spare, <-chan struct{}, error) {
	sp, room, err := s.pickSpare(mayDrop)
	if err != nil || room != nil {
		return sp, room, err
	}
	if sp.name == "" {
		sp, err = s.create(name)
		return sp, nil, err
	}
	err = s.fs.Rename(s.path(sp.name), s.path(name))
	if gone(err) && s.present() == nil { // somebody deleted it
		s.forget(sp)
		return s.takeSpare(name, mayDrop)
	}
	if err == nil {
		sp.name = name
		err = s.fs.SyncDir(s.dir)
	}
	if err != nil {
		s.putBack(sp)
		return sp, nil, s.countError("reuse "+sp.name, err)
	}
	return sp, nil, nil
}

// putBack returns a spare that could not be used.
func (s *Spool) putBack(sp spare) {
	s.mu.Lock()
	s.spares = append([]spare{sp}, s.spares...)
	s.mu.Unlock()
}

// pickSpare takes a free file of the configured size out of the list; an empty
// name means that a new one may be made. It removes files that are free but
// too many or of another size, and in a full spool gives up the oldest segment,
// if it may, or returns the channel to wait on.
func (s *Spool) pickSpare(mayDrop bool) (spare, <-chan struct{}, error) {
	for {
		s.mu.Lock()
		if len(s.spares) == 0 {
			decided, room, err := s.makeRoom(mayDrop)
			s.mu.Unlock()
			if decided {
				return spare{}, room, err
			}
			continue
		}
		sp := s.spares[0]
		s.spares = s.spares[1:]
		usable := sp.size == s.opts.SegmentBytes && s.total <= s.opts.MaxBytes && len(s.spares) < s.spareLimit()
		s.mu.Unlock()
		if usable {
			return sp, nil, nil
		}
		if err := s.remove(sp); err != nil {
			s.putBack(sp)
			return spare{}, nil, s.countError("remove "+sp.name, err)
		}
	}
}

// spareLimit is how many free files are kept: those that an outage has made serve
// the next one, which then costs no new blocks.
func (s *Spool) spareLimit() int {
	return max(spareLeast, int(s.opts.MaxBytes/s.opts.SegmentBytes/spareShare))
}

// makeRoom decides what to do when there is no spare: make a file, wait on
// room, or, undecided, look again because it freed one. The caller holds mu.
func (s *Spool) makeRoom(mayDrop bool) (decided bool, room <-chan struct{}, err error) {
	if s.total+s.opts.SegmentBytes <= s.opts.MaxBytes {
		return true, nil, nil
	}
	if len(s.segs) == 0 {
		return true, nil, fmt.Errorf("spool %s: its %d bytes are taken by files that cannot be read: move them away and start again", s.dir, s.opts.MaxBytes)
	}
	if s.segs[0].open { // full, and the only one: it can only go when it is ended
		s.seal()
		s.release()
		return false, nil, nil
	}
	if !mayDrop {
		return true, s.room, nil
	}
	s.dropOldest()
	return false, nil, nil
}

// create makes a file of the configured size, which reads as zeros, under name.
func (s *Spool) create(name string) (spare, error) {
	made, err := s.reserve(s.path(newName))
	if err == nil {
		err = s.fs.Rename(s.path(newName), s.path(name))
	}
	if err != nil {
		_ = s.fs.Remove(s.path(newName)) // the next try begins with that too
		return spare{}, s.countError("make "+name, err)
	}
	sp := spare{name: name, size: s.opts.SegmentBytes, made: made}
	s.mu.Lock()
	s.total += sp.size
	s.stats.deviceBytes += uint64(made)
	s.mu.Unlock()
	if err := s.fs.SyncDir(s.dir); err != nil {
		s.putBack(sp)
		return spare{}, s.countError("make "+name, err)
	}
	return sp, nil
}

var zeros [blockBytes]byte

// reserve makes a file with all its blocks, so that a full disk is met here and
// not in the middle of a segment. Where blocks cannot be had without, it writes
// zeros into them; made is how far.
func (s *Spool) reserve(path string) (made int64, err error) {
	if err := s.fs.Remove(path); err != nil && !gone(err) {
		return 0, err
	}
	f, err := s.fs.Create(path)
	if err != nil {
		return 0, err
	}
	if err = f.Allocate(s.opts.SegmentBytes); errors.Is(err, errors.ErrUnsupported) {
		made = s.opts.SegmentBytes
		err = writeZeros(f, 0, made)
	}
	if err == nil {
		err = f.Datasync()
	}
	return made, errors.Join(err, f.Close())
}

// writeZeros writes block by block, so that later writes of a block do not drag
// larger pieces of the page cache to the device.
func writeZeros(f File, from, to int64) error {
	for off := from; off < to; off += blockBytes {
		if _, err := f.WriteAt(zeros[:], off); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes a file that was taken out of the spares.
func (s *Spool) remove(sp spare) error {
	if err := s.fs.Remove(s.path(sp.name)); err != nil && !gone(err) {
		return err
	}
	s.forget(sp)
	return nil
}

// forget leaves a file that is not there out of the account.
func (s *Spool) forget(sp spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total -= sp.size
}

// discard deletes the file of a segment whose first commit failed: its blocks
// may be bad, and in a full spool the next try must not cost another segment.
func (s *Spool) discard(t target) {
	if t.file != nil {
		_ = t.file.Close()
	}
	sp := spare{name: t.seg.name, size: t.seg.head.size, made: t.made}
	if s.remove(sp) != nil {
		s.putBack(sp)
	}
}

// countError explains and counts a write error.
func (s *Spool) countError(doing string, err error) error {
	err = s.explain(doing, err)
	s.mu.Lock()
	s.stats.writeErrors++
	s.stats.lastError = err.Error()
	s.mu.Unlock()
	return err
}

// dropOldest gives up the first segment for the readers that still need it, and
// as many more as are above the limit since that was made smaller. The caller
// holds mu.
func (s *Spool) dropOldest() {
	n := 1
	for over := s.total - s.opts.MaxBytes; over > 0 && n < len(s.segs) && !s.segs[n].open; n++ {
		over -= s.segs[n-1].head.size
	}
	first, end := s.segs[0].head.base, s.segs[n-1].cap
	for _, r := range s.readers {
		from := max(r.acked+1, first)
		if from >= end {
			continue
		}
		r.dropped += r.missing(from, end)
		s.log.Warn("spool is full: dropped the oldest records", "reader", r.name, "from", from, "to", end-1, "max_bytes", s.opts.MaxBytes)
		r.advance(end - 1)
		r.change++
		r.seen = max(r.seen, r.acked)
		r.cursor = max(r.cursor, end)
		if r.tail != nil {
			r.tail.cursor = max(r.tail.cursor, end)
		}
	}
	for range n {
		s.retire()
	}
}

// release frees the segments that every reader has acknowledged. The caller
// holds mu.
func (s *Spool) release() {
	freed := false
	for len(s.segs) > 0 && !s.segs[0].open && s.acknowledged(s.segs[0].cap) {
		s.retire()
		freed = true
	}
	if freed && !s.closed {
		close(s.room)
		s.room = make(chan struct{})
	}
}

// acknowledged reports whether every reader has everything below seq.
func (s *Spool) acknowledged(seq uint64) bool {
	for _, r := range s.readers {
		if r.acked+1 < seq {
			return false
		}
	}
	return len(s.readers) > 0
}

// retire makes the first segment a spare. The caller holds mu.
func (s *Spool) retire() {
	seg := s.segs[0]
	seg.gone = true
	s.segs[0] = nil
	s.segs = s.segs[1:]
	s.spares = append(s.spares, spare{name: seg.name, size: seg.head.size, made: seg.made})
}

// find returns the first segment that can hold seq or a later record, nil when
// there is none. The caller holds mu.
func (s *Spool) find(seq uint64) *segment {
	i := sort.Search(len(s.segs), func(i int) bool { return s.segs[i].cap > seq })
	if i == len(s.segs) {
		return nil
	}
	return s.segs[i]
}

// noCap is the cap of a segment without successor.
const noCap = math.MaxUint64
