package spool

import (
	"io"
	"math"
	"testing"
)

// memReader is a segment image in memory.
type memReader []byte

func (m memReader) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(b, m[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func sampleSegment() []byte {
	h := header{size: 4 * headBytes, generation: 3, base: 7, salt: 5, acks: []ackState{{name: "iot", progress: progress{6, []seqs{{9, 12}, {20, 20}}}}, {name: "rest", progress: progress{acked: 2}}}}
	b := appendHeader(nil, &h)
	b = appendRecord(b, h.seed(), typeData, 0, []byte(`{"id":"1","dust":35.2}`))
	b = appendAckRecord(b, h.seed(), 1, h.acks)
	b = appendRecord(b, h.seed(), typeData, 1, []byte("x"))
	return append(b, make([]byte, 4*headBytes-len(b))...)
}

// FuzzSegment: any bytes can lie in a segment file. Headers parse or not,
// records are inside the file, in order, and below the cap.
func FuzzSegment(f *testing.F) {
	good := sampleSegment()
	f.Add(good, uint64(math.MaxUint64), false)
	f.Add(good[:headBytes+50], uint64(8), true)
	f.Add(good[:blockBytes], uint64(0), true)
	f.Fuzz(func(t *testing.T, data []byte, limit uint64, force bool) {
		h, ok, err := parseHeader(data)
		if ok && err == nil && len(h.acks) > maxReaders {
			t.Fatalf("%d readers", len(h.acks))
		}
		if !ok && !force {
			return
		}
		h.base = max(h.base, 1)
		w := newWalker(memReader(data), &h, int64(len(data)), limit, nil)
		next, at := h.base, int64(headBytes)
		for {
			rec, err := w.step()
			if err != nil {
				break
			}
			if rec.off < at || rec.off+int64(len(rec.data)) > int64(len(data)) || len(rec.data) == 0 || len(rec.data) > MaxRecord {
				t.Fatalf("record %+v after %d in %d bytes", rec, at, len(data))
			}
			at = rec.off + recordBytes(len(rec.data))
			if rec.acks {
				parseAckRecord(rec.data)
				continue
			}
			if rec.seq < next || rec.seq >= limit {
				t.Fatalf("sequence %d, want %d to %d", rec.seq, next, limit)
			}
			next = rec.seq + 1
		}
	})
}

// FuzzHeader puts the checksum right, so that the fields behind it are reached.
func FuzzHeader(f *testing.F) {
	f.Add(sampleSegment()[:headCRC])
	f.Fuzz(func(t *testing.T, data []byte) {
		b := make([]byte, blockBytes)
		copy(b[:headCRC], data)
		le.PutUint32(b[headCRC:], crcOf(b[:headCRC]))
		h, ok, err := parseHeader(b)
		if !ok || err != nil {
			return
		}
		again, ok, err := parseHeader(appendHeader(nil, &h))
		if !ok || err != nil || again.base != h.base || again.seed() != h.seed() || len(again.acks) != len(h.acks) {
			t.Fatalf("%+v became %+v, %v, %v", h, again, ok, err)
		}
	})
}

// FuzzOpen opens a spool over a directory with arbitrary segment files, uses it
// and finds what it appended.
func FuzzOpen(f *testing.F) {
	f.Add(sampleSegment(), sampleSegment()[:9000])
	f.Fuzz(func(t *testing.T, one, two []byte) {
		fsys := newMemFS(1)
		for name, data := range map[string][]byte{"spool/0000000000000001.seg": one, "spool/zz.seg": two} {
			fsys.disk[name] = &memFile{data: data, dirty: map[int][]byte{}, doomed: map[int]bool{}}
		}
		s, err := Open("spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes})
		if err != nil {
			return
		}
		defer s.Close()
		drain(t, s.Reader("iot"))
		add(t, s, "mine")
		wantTexts(t, s.Reader("iot"), "mine")
	})
}
