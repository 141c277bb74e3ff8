package spool

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"
)

// image is a spool directory with one recycled segment, whose end still holds
// the bytes of an earlier life.
type image struct {
	fsys   *memFS
	name   string
	good   []byte
	texts  []string // appended, one commit each but the last, which has three
	starts []int    // where each record begins
	end    int      // of the last record
	opts   Options
}

func newImage(t *testing.T) *image {
	im := &image{fsys: newMemFS(4)}
	im.opts = Options{FS: im.fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes}
	s := open(t, "spool", im.opts)
	for i := range 3 * 110 {
		fill(t, s, i, 1)
	}
	drain(t, s.Reader("iot"))
	s.Reader("iot").Ack(3 * 110)
	_ = s.Close()
	s = open(t, "spool", im.opts)
	for i := range 6 {
		im.texts = append(im.texts, fmt.Sprintf(`{"id":"%d","dust":%d.5}`, i, i))
		add(t, s, im.texts[i])
	}
	im.texts = append(im.texts, "first of three", "second of three", "third of three")
	add(t, s, im.texts[6:]...)
	im.name, im.end = s.path(s.w.active.name), int(s.w.off)
	_ = s.Close()
	im.good = slices.Clone(im.fsys.disk[im.name].data[:headBytes+8192]) // enough of the stale bytes
	at := im.end
	for _, text := range slices.Backward(im.texts) {
		at -= int(recordBytes(len(text)))
		im.starts = append([]int{at}, im.starts...)
	}
	if bytes.Equal(im.good[im.end:], make([]byte, len(im.good)-im.end)) {
		t.Fatal("the segment was never used before: the test tests less than it should")
	}
	return im
}

// deliveries opens the spool with the segment as data and returns what the
// reader gets.
func (im *image) deliveries(t *testing.T, data []byte) []string {
	f := im.fsys.disk[im.name]
	f.data, f.durable = data, nil
	s, err := Open("spool", im.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return texts(drain(t, s.Reader("iot")))
}

// TestTail damages the last segment at every byte offset in every way.
func TestTail(t *testing.T) {
	im := newImage(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	if got := im.deliveries(t, slices.Clone(im.good)); !slices.Equal(got, im.texts) {
		t.Fatalf("undamaged: %q", got)
	}
	ways := map[string]func(d []byte, at int) []byte{
		"cut":     func(d []byte, at int) []byte { return d[:at] },
		"zeroed":  func(d []byte, at int) []byte { clear(d[at:]); return d },
		"garbled": func(d []byte, at int) []byte { noise(d[at:], rnd); return d },
		"hole":    func(d []byte, at int) []byte { clear(d[at:min(at+64, len(d))]); return d },
		"flipped": func(d []byte, at int) []byte { d[at] ^= 1 << rnd.IntN(8); return d },
		"changed": func(d []byte, at int) []byte { d[at] ^= byte(1 + rnd.IntN(255)); return d },
	}
	for way, damage := range ways {
		for at := im.starts[0]; at < im.end+40; at++ {
			got := im.deliveries(t, damage(slices.Clone(im.good), at))
			intact := im.intact(way, at)
			if !isSubset(got, im.texts) {
				t.Fatalf("%s at %d: delivered %q", way, at, got)
			}
			for _, text := range intact {
				if !slices.Contains(got, text) {
					t.Fatalf("%s at %d: lost %q, got %q", way, at, text, got)
				}
			}
		}
	}
}

// intact returns the records that damage at one place does not touch.
func (im *image) intact(way string, at int) (out []string) {
	last := map[string]int{"flipped": at, "changed": at, "hole": at + 63}[way]
	if last == 0 {
		last = len(im.good)
	}
	for i, text := range im.texts {
		from, to := im.starts[i], im.starts[i]+recordHead+len(text)
		if to <= at || from > last {
			out = append(out, text)
		}
	}
	return out
}

func noise(b []byte, rnd *rand.Rand) {
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
}

// isSubset: got in the order of all, each once.
func isSubset(got, all []string) bool {
	for _, text := range all {
		if len(got) > 0 && got[0] == text {
			got = got[1:]
		}
	}
	return len(got) == 0
}

// TestHeader: one damaged byte in a header costs nothing, a header that is gone
// altogether costs its segment, and the spool opens always.
func TestHeader(t *testing.T) {
	im := newImage(t)
	for at := 0; at < headBytes; at++ {
		if in := at % blockBytes; in > 80 && in < headCRC-3 {
			at += min(50, headCRC-1-in) // zeros without meaning
		}
		data := slices.Clone(im.good)
		data[at] ^= 0x10
		if got := im.deliveries(t, data); !slices.Equal(got, im.texts) {
			t.Fatalf("flip at %d: %q", at, got)
		}
	}
	for _, size := range []int{0, 1, 47, blockBytes - 1, blockBytes, headBytes - 1, headBytes, headBytes + 5} {
		for _, got := range im.deliveries(t, slices.Clone(im.good[:size])) {
			t.Errorf("cut at %d: delivered %q", size, got)
		}
	}
	data := slices.Clone(im.good)
	clear(data[:headBytes])
	if got := im.deliveries(t, data); len(got) > 0 {
		t.Errorf("without header: %q", got)
	}
}

// TestForeignVersion is refused and left untouched.
func TestForeignVersion(t *testing.T) {
	im := newImage(t)
	data := slices.Clone(im.good)
	for c := range 2 {
		copyOf := data[c*blockBytes : (c+1)*blockBytes]
		copyOf[8] = 9
		le.PutUint32(copyOf[headCRC:], crcOf(copyOf[:headCRC]))
	}
	im.fsys.disk[im.name].data = data
	if _, err := Open("spool", im.opts); err == nil {
		t.Fatal("a segment of version 9 was opened")
	}
	im.deliveries(t, slices.Clone(im.good)) // the lock was given back
}

// TestDamageInTheMiddle of an older segment costs only the records it hits, and
// the reader says how many.
func TestDamageInTheMiddle(t *testing.T) {
	fsys := newMemFS(4)
	opts := Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes}
	s := open(t, "spool", opts)
	fill(t, s, 0, 300)
	_ = s.Close()
	f := fsys.disk[fsys.segmentFiles()[0]]
	noise(f.data[40000:43000], rand.New(rand.NewPCG(2, 2)))
	s = open(t, "spool", opts)
	got := texts(drain(t, s.Reader("iot")))
	lost := int(s.Stats().Lost)
	if lost < 3 || lost > 5 || len(got) != 300-lost {
		t.Errorf("lost %d, got %d", lost, len(got))
	}
	for i, text := range got {
		if i > 0 && text <= got[i-1] || text != numbered(atoi(text)) {
			t.Fatalf("delivered %.20q", text)
		}
	}
}

// TestNothingOfAFailedAppendAfterRestart: the successor's base ends a segment
// whose last write failed but reached the disk.
func TestNothingOfAFailedAppendAfterRestart(t *testing.T) {
	fsys := newMemFS(4)
	opts := Options{FS: fsys, Readers: []string{"iot"}}
	s := open(t, "spool", opts)
	s.w.pause = 0
	add(t, s, "a")
	reached := s.path(s.w.active.name)
	fsys.setFail(func(op, _ string) error {
		if op == "sync" {
			return fmt.Errorf("sync: %w", errDying)
		}
		return nil
	})
	if _, err := s.Append(t.Context(), []byte("failed")); err == nil {
		t.Fatal("append succeeded")
	}
	fsys.setFail(nil)
	if !bytes.Contains(fsys.disk[reached].data, []byte("failed")) {
		t.Fatal("the failed record did not reach the file: the test tests nothing")
	}
	add(t, s, "b")
	wantTexts(t, s.Reader("iot"), "a", "b")
	_ = s.Close()
	s = open(t, "spool", opts)
	wantTexts(t, s.Reader("iot"), "a", "b")
}

func atoi(text string) (n int) {
	_, _ = fmt.Sscanf(text, "%d", &n)
	return n
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// TestHeaderOfAFailedSegmentTakesNothing: a large append fails in a fresh
// segment whose header reaches the device and whose removal does not; smaller
// records that would still have fitted before it are not cut off by it.
func TestHeaderOfAFailedSegmentTakesNothing(t *testing.T) {
	fsys := newMemFS(4)
	opts := Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes}
	s := open(t, "spool", opts)
	s.w.pause = 0
	fill(t, s, 0, 80)
	fsys.setFail(func(op, name string) error {
		if name == segmentName(2) && (op == "remove" || op == "sync") {
			return fmt.Errorf("%s: %w", op, errDying)
		}
		return nil
	})
	if _, err := s.Append(t.Context(), make([]byte, MaxRecord)); err == nil {
		t.Fatal("append succeeded")
	}
	fsys.setFail(nil)
	f := fsys.disk[s.path(segmentName(2))]
	f.durable = slices.Clone(f.data) // the device had it all
	add(t, s, "small")
	fsys.crash()
	_ = s.Close()
	s = open(t, "spool", opts)
	if got := drain(t, s.Reader("iot")); len(got) != 81 || string(got[80].Data) != "small" {
		t.Fatalf("%d delivered, last %.20q", len(got), got[len(got)-1].Data)
	}
}
