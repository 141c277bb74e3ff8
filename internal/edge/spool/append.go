package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	groupBytes = 512 << 10 // what one commit gathers, unless one Append is larger
	keepBytes  = 256 << 10 // a larger encode buffer is given back

	// The first write of a block that was only reserved costs the file system an
	// entry in its journal, 12 KiB with ext4. Small commits would pay it each time,
	// and get zeros written ahead of them; those of largeCommit bytes pay less for
	// the journal than for zeros.
	largeCommit = 12 << 10
	aheadBytes  = 128 << 10
)

// request is one Append that waits.
type request struct {
	records [][]byte
	size    int64 // room in a segment

	done chan struct{} // closed when the fields below are set
	last uint64
	err  error
	room <-chan struct{} // when the spool is full: closed when that may have changed
}

func (r *request) resolve(last uint64, err error) {
	r.last, r.err = last, err
	close(r.done)
}

// writer is what the leader owns.
type writer struct {
	active *segment // nil before the first write and after an error
	file   File     // of active
	off    int64    // where the next record goes
	gen    uint64   // the highest generation used
	buf    []byte
	newest header   // generation and salt of the last segment that was begun
	doomed []uint64 // salts of later ones whose first commit failed

	pause    time.Duration // after failure, the same error is answered
	failed   error         // why no segment could be made
	failedAt time.Time
}

func (w *writer) closeActive() {
	if w.file != nil {
		_ = w.file.Close() // everything that counts was synced
	}
	w.active, w.file = nil, nil
}

// appendOnce queues req and returns its outcome; a room channel means that the
// spool is full until it closes.
func (s *Spool) appendOnce(ctx context.Context, req *request) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.enqueue(req); err != nil {
		return nil, err
	}
	select {
	case s.lead <- struct{}{}:
		s.commitPending()
		<-s.lead
	case <-req.done:
	case <-ctx.Done():
		if s.withdraw(req) {
			return nil, ctx.Err()
		}
	}
	<-req.done
	return req.room, req.err
}

func (s *Spool) enqueue(req *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("spool %s: %w", s.dir, ErrClosed)
	}
	req.room = nil
	s.pending = append(s.pending, req)
	return nil
}

// withdraw takes req back when no leader has it yet.
func (s *Spool) withdraw(req *request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.pending {
		if r == req {
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			return true
		}
	}
	return false
}

// commitPending writes every waiting request. The caller leads.
func (s *Spool) commitPending() {
	s.mu.Lock()
	reqs := s.pending
	s.pending = nil
	s.mu.Unlock()
	for len(reqs) > 0 {
		reqs = reqs[s.commitSome(reqs):]
	}
}

// commitSome resolves one or more of reqs and returns how many.
func (s *Spool) commitSome(reqs []*request) int {
	t, room, err := s.place(reqs[0].size, s.opts.Full == DropOldest)
	if room != nil {
		reqs[0].room = room
		reqs[0].resolve(0, nil)
		return 1
	}
	n := len(reqs)
	if err == nil {
		n = fitting(reqs, t.room())
		if err = s.commit(t, reqs[:n]); err == nil {
			return n
		}
		n = len(reqs)
	}
	for _, r := range reqs[:n] {
		r.resolve(0, err)
	}
	return n
}

// fitting returns how many of reqs, at least one, go into one commit.
func fitting(reqs []*request, room int64) int {
	n, size := 1, reqs[0].size
	for n < len(reqs) && size+reqs[n].size <= min(room, groupBytes) {
		size += reqs[n].size
		n++
	}
	return n
}

// target is where a commit goes: the active segment, or a fresh one whose
// header is not written yet.
type target struct {
	seg   *segment
	file  File
	off   int64
	made  int64 // blocks before it have been written, once at least
	fresh bool
}

func (t target) room() int64 {
	if t.fresh {
		return t.seg.head.size - headBytes
	}
	return t.seg.head.size - t.off
}

// place returns a target with room for size bytes, or the channel to wait on
// when the spool is full and the oldest records may not be given up for it.
func (s *Spool) place(size int64, mayDrop bool) (target, <-chan struct{}, error) {
	w := &s.w
	if err := s.present(); err != nil {
		return target{}, nil, err
	}
	if a := w.active; a != nil && w.off+size <= a.head.size {
		return target{seg: a, file: w.file, off: w.off, made: a.made}, nil, nil
	}
	if w.failed != nil && time.Since(w.failedAt) < w.pause {
		return target{}, nil, w.failed
	}
	t, room, err := s.freshSegment(mayDrop)
	w.failed, w.failedAt = err, time.Now()
	return t, room, err
}

// commit makes reqs durable at t, with the acks that are not saved yet, and
// resolves them. On an error it resolves nothing and gives t up.
func (s *Spool) commit(t target, reqs []*request) error {
	buf, acks := s.encode(t, reqs)
	made, err := t.write(buf)
	if err != nil {
		err = s.writeFailed(t, err)
	} else {
		s.publish(t, int64(len(buf)), made, reqs, acks)
	}
	if s.w.buf = buf[:0]; cap(buf) > keepBytes {
		s.w.buf = nil
	}
	return err
}

// write makes buf durable and returns how far blocks have been written now.
func (t target) write(buf []byte) (made int64, err error) {
	end := t.off + int64(len(buf))
	if end <= t.made {
		return t.made, writeSync(t.file, buf, t.off)
	}
	zeros := roundUp(end, blockBytes) // the file system fills the last block
	if made = zeros; len(buf) < largeCommit {
		made = min(roundUp(end, aheadBytes), t.seg.head.size)
	}
	if err := writeZeros(t.file, zeros, made); err != nil {
		return t.made, err
	}
	for off := t.off; off < end; { // by blocks, for the reason that writeZeros has
		n := min(roundUp(off+1, blockBytes), end) - off
		if _, err := t.file.WriteAt(buf[off-t.off:off-t.off+n], off); err != nil {
			return t.made, err
		}
		off += n
	}
	return made, t.file.Datasync()
}

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

func writeSync(f File, buf []byte, off int64) error {
	n, err := f.WriteAt(buf, off)
	if err == nil && n < len(buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return err
	}
	return f.Datasync()
}

// encode returns the bytes of a commit and the ack states in it, nil when it
// holds none.
func (s *Spool) encode(t target, reqs []*request) ([]byte, []ackState) {
	buf, seed := s.w.buf[:0], t.seg.head.seed()
	s.mu.Lock()
	acks := s.ackStates(t.fresh)
	delta := uint32(s.next - t.seg.head.base)
	s.mu.Unlock()
	size := int64(0)
	for _, r := range reqs {
		size += r.size
	}
	switch {
	case t.fresh:
		head := t.seg.head // segments that wait need no acks in memory
		head.acks = acks
		buf = appendHeader(buf, &head)
	case acks == nil || ackRecordBytes(acks)+size > t.room():
		acks = nil
	default:
		buf = appendAckRecord(buf, seed, delta, acks)
	}
	for _, r := range reqs {
		for _, data := range r.records {
			buf = appendRecord(buf, seed, typeData, delta, data)
			delta++
		}
	}
	return buf, acks
}

// ackStates returns the acks of all readers, or nil when all are saved and
// always is false. The caller holds mu.
func (s *Spool) ackStates(always bool) (acks []ackState) {
	for _, r := range s.readers {
		always = always || r.change != r.saved
	}
	if !always {
		return nil
	}
	for _, r := range s.readers {
		kept := r.ranges[:min(len(r.ranges), rangesOf(len(s.readers)))] // what is forgotten comes again
		acks = append(acks, ackState{r.name, progress{r.acked, slices.Clone(kept)}, r.change})
	}
	return acks
}

func ackRecordBytes(acks []ackState) int64 {
	n := 1
	for _, a := range acks {
		n += 1 + len(a.name) + 8 + 1 + 16*len(a.ranges)
	}
	return recordBytes(n)
}

// publish makes a commit of n bytes visible to the readers; blocks have been
// written up to made.
func (s *Spool) publish(t target, n, made int64, reqs []*request, acks []ackState) {
	s.mu.Lock()
	if t.fresh {
		s.activate(t)
	}
	s.w.off = t.off + n
	t.seg.end, t.seg.made = s.w.off, made
	for _, r := range reqs {
		s.next += uint64(len(r.records))
		s.stats.appended += uint64(len(r.records))
		r.last = s.next - 1
	}
	t.seg.cap = s.next
	s.stats.deviceBytes += uint64(blocks(t.off, t.off+n))
	if zeroed := made - roundUp(t.off+n, blockBytes); made > t.made && zeroed > 0 {
		s.stats.deviceBytes += uint64(zeroed)
	}
	for i, a := range acks {
		s.readers[i].saved = a.change
	}
	s.release()
	s.mu.Unlock()
	for _, r := range reqs {
		r.resolve(r.last, nil)
	}
	if len(reqs) > 0 {
		s.wakeReaders()
	}
}

// blocks returns the bytes of the whole blocks that touch from to to.
func blocks(from, to int64) int64 {
	return roundUp(to, blockBytes) - from/blockBytes*blockBytes
}

// activate makes t's segment the one that is written. The caller holds mu.
func (s *Spool) activate(t target) {
	s.seal()
	t.seg.open = true
	s.w.newest, s.w.doomed = t.seg.head, nil
	s.segs = append(s.segs, t.seg)
	s.w.active, s.w.file = t.seg, t.file
}

// seal ends the active segment at what is durable. The caller holds mu.
func (s *Spool) seal() {
	if s.w.active != nil {
		s.w.active.open = false
		s.w.closeActive()
	}
}

// writeFailed gives up the target after a failed write or sync: what the
// device holds now is unknown, and a later sync would not tell, so the place
// is never written again. The durable part of the segment stays. A fresh
// segment's header may have reached the device, and caps the active segment
// after a crash, so that one ends too.
func (s *Spool) writeFailed(t target, err error) error {
	err = s.explain("write "+t.seg.name, err)
	s.mu.Lock()
	s.stats.writeErrors++
	s.stats.lastError = err.Error()
	s.seal()
	s.release()
	s.mu.Unlock()
	if t.fresh {
		s.w.doom(t.seg.head.salt)
		s.discard(t)
	}
	return err
}

// saveAcks writes the acks that are not saved yet. It gives up no record for
// them: forgotten acks only make records come again. The caller leads.
func (s *Spool) saveAcks() error {
	s.mu.Lock()
	acks := s.ackStates(false)
	s.mu.Unlock()
	if acks == nil {
		return nil
	}
	t, room, err := s.place(ackRecordBytes(acks), false)
	if room != nil {
		return fmt.Errorf("spool %s is full: the latest acks are saved when they free a segment; what they cover would be sent again after a restart", s.dir)
	}
	if err != nil {
		return err
	}
	return s.commit(t, nil)
}

// explain says what happened to which spool, and what a person can do.
func (s *Spool) explain(doing string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = "; free space on that disk: the spool goes on by itself"
	case errors.Is(err, syscall.EROFS):
		hint = "; the disk is read-only, perhaps after an error: see the kernel log and mount it writable"
	case errors.Is(err, syscall.EIO):
		hint = "; the disk fails: see the kernel log, check the card or its cable"
	case errors.Is(err, ErrLocked):
		hint = "; stop the other gateway or give this one another directory"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		hint = "; make the directory writable for this user"
	}
	return fmt.Errorf("spool %s: %s: %w%s", filepath.Clean(s.dir), doing, err, hint)
}
