package spool

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// found is one segment file as a directory scan saw it.
type found struct {
	name string
	size int64
	head header
	ok   bool  // head is valid
	err  error // the file could not be read
}

// scanDir reads the headers of all segment files, valid ones in order of
// generation and each capped by its successors.
func scanDir(fsys FS, dir string, path func(string) string) (segs []*segment, rest []found, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, segSuffix) {
			continue
		}
		f, err := scanFile(fsys, path(name))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		f.name = name
		if !f.ok {
			rest = append(rest, f)
			continue
		}
		f.head.size = f.size // a cut file ends where it ends
		segs = append(segs, &segment{name: name, head: f.head, end: f.size, made: f.size})
	}
	slices.SortStableFunc(segs, func(a, b *segment) int { return cmp.Compare(a.head.generation, b.head.generation) })
	limit := uint64(noCap)
	for _, seg := range slices.Backward(segs) {
		seg.cap = limit
		limit = min(limit, seg.head.base)
	}
	return segs, rest, nil
}

// scanFile reads one header. Only a segment of another format version is an
// error; a file that cannot be read is reported in found.err.
func scanFile(fsys FS, path string) (f found, err error) {
	file, err := fsys.Open(path, false)
	if err != nil {
		return found{err: err}, nil
	}
	defer file.Close()
	if f.size, f.err = file.Size(); f.err != nil {
		return f, nil
	}
	var b [headBytes]byte
	n, readErr := file.ReadAt(b[:], 0)
	f.head, f.ok, err = parseHeader(b[:n])
	if !f.ok && n < headBytes && readErr != io.EOF {
		f.err = readErr
	}
	return f, err
}

// recover builds the state from the directory. It writes nothing.
func (s *Spool) recover() error {
	segs, rest, err := scanDir(s.fs, s.dir, s.path)
	if err != nil {
		return err
	}
	for _, f := range rest {
		s.admitRest(f)
	}
	s.segs, s.next = segs, 1
	for _, seg := range segs {
		s.w.newest = seg.head
		s.total += seg.head.size
		s.w.gen = max(s.w.gen, seg.head.generation, generationOf(seg.name))
		s.next = max(s.next, seg.head.base)
	}
	acks := s.recoverNewest()
	for _, seg := range segs {
		seg.head.acks = nil // only the newest one's count, and they are the readers' now
	}
	s.capAtNext(acks)
	s.placeReaders(acks)
	s.release()
	s.tellChanges(acks)
	return nil
}

// tellChanges logs what another configuration than before means for what waits.
func (s *Spool) tellChanges(acks []ackState) {
	for _, a := range acks {
		if left := a.missing(s.firstKept(), s.next); left > 0 && !slices.Contains(s.opts.Readers, a.name) {
			s.log.Warn("a reader is no longer configured; what waits for it alone is given up with the first new record: to keep it, stop the gateway and configure that uplink again", "reader", a.name, "waiting", left)
		}
	}
	for _, r := range s.readers {
		known := slices.ContainsFunc(acks, func(a ackState) bool { return a.name == r.name })
		if left := r.missing(0, s.next); left > 0 && !known {
			s.log.Info("a reader is new to this spool; it begins with the oldest record that another still needs", "reader", r.name, "waiting", left)
		}
	}
	held := int64(0)
	for _, seg := range s.segs {
		held += seg.head.size
	}
	switch {
	case held <= s.opts.MaxBytes:
	case s.opts.Full == Block:
		s.log.Warn("more waits than the spool may hold; nothing new is taken until enough of it is delivered", "bytes", held, "max_bytes", s.opts.MaxBytes)
	default:
		s.log.Warn("more waits than the spool may hold; the oldest is given up with the first new record: to keep it, stop the gateway and raise the limit", "bytes", held, "max_bytes", s.opts.MaxBytes)
	}
}

// firstKept is the first sequence that is on disk, or the next when none is.
func (s *Spool) firstKept() uint64 {
	if len(s.segs) > 0 {
		return s.segs[0].head.base
	}
	return s.next
}

// admitRest takes a file without a valid header: blank, torn by a crash while
// it was being reused, or damaged. Nothing in it can be told apart from stale
// bytes, so it is free. A file that could not be read is left alone.
func (s *Spool) admitRest(f found) {
	s.total += f.size
	s.w.gen = max(s.w.gen, generationOf(f.name))
	if f.err != nil {
		s.stats.readErrors++
		s.stats.lastError = f.err.Error()
		s.log.Error("segment could not be read, its records are not delivered in this run", "file", f.name, "err", f.err)
		return
	}
	s.spares = append(s.spares, spare{name: f.name, size: f.size, made: f.size})
}

// generationOf returns the generation in a segment's name, 0 when it has none.
func generationOf(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSuffix(name, segSuffix), 16, 64)
	if err != nil || n > maxBase {
		return 0
	}
	return n
}

// recoverNewest walks the last segment for its end and its acks. Earlier ones
// need no walk: their successor's header says both.
func (s *Spool) recoverNewest() []ackState {
	if len(s.segs) == 0 {
		return nil
	}
	seg := s.segs[len(s.segs)-1]
	file, err := s.fs.Open(s.path(seg.name), false)
	if err != nil {
		s.log.Error("newest segment could not be read", "file", seg.name, "err", err)
		return seg.head.acks
	}
	defer file.Close()
	m := newWalker(file, &seg.head, seg.end, math.MaxUint64, nil).survey()
	if m.unreadable > 0 || m.damaged > 0 {
		s.log.Warn("newest segment is damaged", "file", seg.name, "damaged_bytes", m.damaged, "unreadable_blocks", m.unreadable)
	}
	s.next = max(s.next, m.last+1)
	if m.acks != nil {
		return mergeAcks(seg.head.acks, m.acks)
	}
	return seg.head.acks
}

// mergeAcks returns the header's readers at the later of the two states.
func mergeAcks(head, later []ackState) []ackState {
	out := slices.Clone(head)
	for i := range out {
		for _, a := range later {
			if a.name == out[i].name {
				out[i].ranges = slices.Clone(a.ranges)
				out[i].advance(a.acked)
			}
		}
	}
	return out
}

// capAtNext numbers new records behind everything ever acknowledged, even when
// damage took the records themselves, and ends the newest segment there.
func (s *Spool) capAtNext(acks []ackState) {
	for _, a := range acks {
		s.next = max(s.next, a.last()+1)
	}
	for _, seg := range s.segs {
		seg.cap = min(seg.cap, s.next)
	}
}

// placeReaders gives every configured reader its place: known ones behind
// their ack, new ones at the oldest record that a known one still needs.
func (s *Spool) placeReaders(acks []ackState) {
	first, shared := s.firstKept(), sharedProgress(acks)
	for _, name := range s.opts.Readers {
		r := &Reader{s: s, name: name, bound: noCap, wake: make(chan struct{}, 1)}
		had := shared
		for _, a := range acks {
			if a.name == name {
				had = a.progress
				r.saved = a.acked
			}
		}
		r.progress = progress{had.acked, slices.Clone(had.ranges)}
		r.advance(first - 1)
		r.change = r.acked // a counter from here on: the same as saved when nothing changed
		r.seen, r.cursor = r.acked, r.acked+1
		s.readers = append(s.readers, r)
	}
}

// sharedProgress is what all of them have acknowledged: where a new reader
// begins. One that takes the place of the only other one goes on exactly there.
func sharedProgress(acks []ackState) progress {
	if len(acks) == 1 {
		return acks[0].progress
	}
	var p progress
	for i, a := range acks {
		if i == 0 || a.acked < p.acked {
			p.acked = a.acked
		}
	}
	return p
}
