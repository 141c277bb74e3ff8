package spool

import (
	"hash/crc32"
	"io"
	"math"
)

// readBytes is how much a walker reads at once; a larger record makes it read
// that record's length.
const readBytes = 32 << 10

// record is one record as it lies in a segment.
type record struct {
	seq     uint64
	acks    bool   // the data is ack states, and seq that of the next record
	off     int64  // where it begins
	skipped int64  // bytes before it that hold no record, and should
	data    []byte // valid until the walker's next step
}

// walker finds the records of one segment, in order, in bounded memory. It
// starts again at the next aligned place after bytes that are no record, so a
// bad record costs itself only.
type walker struct {
	file  io.ReaderAt
	seed  uint32
	base  uint64
	limit uint64 // data records from this sequence on are not the segment's
	end   int64  // bytes from here on are not looked at
	off   int64  // where the next record is looked for
	next  uint64 // no data record below this sequence comes
	whole int64  // end of the last record found
	bad   int64  // where the last read error was, not before off

	buf   []byte // bytes of the file from bufAt on
	bufAt int64
}

func newWalker(file io.ReaderAt, h *header, end int64, limit uint64, buf []byte) *walker {
	return &walker{file: file, seed: h.seed(), base: h.base, limit: limit, end: end,
		off: headBytes, next: h.base, whole: headBytes, buf: buf[:0]}
}

// step returns the next record, or io.EOF when there is none before end, or
// the error of the file; skipBlock goes on after that.
func (w *walker) step() (record, error) {
	for w.off+recordHead <= w.end {
		head, err := w.view(recordHead)
		if err != nil {
			return record{}, err
		}
		n, ok := w.plausible(head)
		if !ok {
			w.skip()
			continue
		}
		b, err := w.view(n)
		if err != nil {
			return record{}, err
		}
		if le.Uint32(b) != crc32.Update(w.seed, castagnoli, b[4:]) {
			w.skip()
			continue
		}
		return w.found(b), nil
	}
	return record{}, io.EOF
}

// plausible reports whether a record with this head can lie here, and its
// length without padding. It spares the checksum over what cannot be one.
func (w *walker) plausible(head []byte) (int, bool) {
	word := le.Uint32(head[4:])
	n, typ, delta := int(word&0xFFFFFF), byte(word>>24), int64(le.Uint32(head[8:]))
	if n == 0 || n > MaxRecord || w.off+recordHead+int64(n) > w.end {
		return 0, false
	}
	if delta > (w.off-headBytes)/recordLeast { // more records than fit before it
		return 0, false
	}
	seq := w.base + uint64(delta)
	known := typ == typeAcks || typ == typeData && seq < w.limit
	return recordHead + n, known && seq >= w.next
}

// found takes the whole record b at w.off.
func (w *walker) found(b []byte) record {
	r := record{
		seq:     w.base + uint64(le.Uint32(b[8:])),
		acks:    b[7] == typeAcks,
		off:     w.off,
		skipped: w.off - w.whole,
		data:    b[recordHead:],
	}
	if !r.acks {
		w.next = r.seq + 1
	}
	w.off += recordBytes(len(r.data))
	w.whole = w.off
	return r
}

// skip goes to the next aligned place, over zeros at one go.
func (w *walker) skip() {
	w.off += recordAlign
	for at := int(w.off - w.bufAt); at+8 <= len(w.buf) && le.Uint64(w.buf[at:]) == 0; at += 4 {
		w.off += recordAlign
	}
}

// skipBlock goes past the block that could not be read.
func (w *walker) skipBlock() {
	w.off = (w.bad/blockBytes + 1) * blockBytes
}

// view returns the n bytes at w.off.
func (w *walker) view(n int) ([]byte, error) {
	if at := w.off - w.bufAt; at >= 0 && at+int64(n) <= int64(len(w.buf)) {
		return w.buf[at : at+int64(n)], nil
	}
	size := int(min(int64(max(n, readBytes)), w.end-w.off))
	if cap(w.buf) < size {
		w.buf = make([]byte, 0, max(size, min(readBytes, size*2)))
	}
	got, err := w.file.ReadAt(w.buf[:size], w.off)
	if got < n && n < size && err != nil && err != io.EOF { // perhaps only what lies behind is bad
		got, err = w.file.ReadAt(w.buf[:n], w.off)
	}
	w.buf, w.bufAt = w.buf[:got], w.off
	if got >= n {
		return w.buf[:n], nil
	}
	if err == nil || err == io.EOF { // the file was cut
		w.end = w.off + int64(got)
		return nil, io.EOF
	}
	w.bad = w.off + int64(got)
	return nil, err
}

// summary is what one walk over a whole segment tells.
type summary struct {
	last       uint64 // of the last data record, base-1 when there is none
	records    int64
	bytes      int64 // of the records' data
	end        int64 // after the last record
	acks       []ackState
	spans      []span // damage, the first maxSpans
	damaged    int64  // bytes of all damage
	unreadable int64  // blocks that the disk refused
}

// span is a piece of a segment that should hold records and does not.
type span struct{ from, to int64 }

const maxSpans = 16

func (m *summary) damage(from, to int64) {
	m.damaged += to - from
	if len(m.spans) < maxSpans {
		m.spans = append(m.spans, span{from, to})
	}
}

// survey walks the whole segment.
func (w *walker) survey() summary {
	m := summary{last: w.base - 1, end: headBytes}
	for {
		r, err := w.step()
		if err == io.EOF {
			break
		}
		if err != nil {
			m.unreadable++
			w.skipBlock()
			continue
		}
		if r.skipped > 0 {
			m.damage(r.off-r.skipped, r.off)
		}
		m.end = w.off
		if r.acks {
			if acks, ok := parseAckRecord(r.data); ok {
				m.acks = append(m.acks[:0], acks...)
			}
			continue
		}
		m.last = r.seq
		m.records++
		m.bytes += int64(len(r.data))
	}
	if w.limit != math.MaxUint64 && m.last+1 < w.limit && m.end < w.end {
		m.damage(m.end, w.end)
	}
	return m
}
