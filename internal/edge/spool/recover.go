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
		s.total += seg.head.size
		s.w.gen = max(s.w.gen, seg.head.generation, generationOf(seg.name))
		s.next = max(s.next, seg.head.base)
	}
	acks := s.recoverNewest()
	s.capAtNext(acks)
	s.placeReaders(acks)
	s.release()
	return nil
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
// their ack, new ones at the oldest record that the known ones still kept.
func (s *Spool) placeReaders(acks []ackState) {
	first := s.next
	if len(s.segs) > 0 {
		first = s.segs[0].head.base
	}
	oldest := s.oldestKept(acks)
	for _, name := range s.opts.Readers {
		r := &Reader{s: s, name: name, bound: noCap, wake: make(chan struct{}, 1)}
		known := false
		for _, a := range acks {
			if a.name == name {
				known = true
				r.progress = progress{a.acked, slices.Clone(a.ranges)}
				r.advance(first - 1)
				r.saved = a.acked
			}
		}
		if !known {
			r.acked = oldest - 1
		}
		r.change = r.acked // a counter from here on: the same as saved when nothing changed
		r.seen, r.cursor = r.acked, r.acked+1
		s.readers = append(s.readers, r)
	}
}

// oldestKept returns the first sequence of the first segment that not all
// known readers have acknowledged.
func (s *Spool) oldestKept(acks []ackState) uint64 {
	for _, seg := range s.segs {
		for _, a := range acks {
			if a.acked+1 < seg.cap {
				return seg.head.base
			}
		}
		if len(acks) == 0 {
			return seg.head.base
		}
	}
	return s.next
}
