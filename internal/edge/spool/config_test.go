package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"mote/internal/watch"
)

// TestMemoryDoesNotGrowWithWhatWaits: of a segment that waits, little more than
// its place is kept, whatever is in it.
func TestMemoryDoesNotGrowWithWhatWaits(t *testing.T) {
	few, many := 50, 550
	heap := func(segments int) int64 {
		dir := t.TempDir()
		backlog(t, dir, segments)
		before := heapInUse()
		s := open(t, dir, Options{Readers: []string{"iot", "rest"}, MaxBytes: 1 << 40})
		if st := s.Stats(); st.Segments != segments || st.Readers[0].Waiting < uint64(segments) {
			t.Fatalf("%+v", st)
		}
		got, err := s.Reader("iot").Poll(nil, 1)
		if err != nil || len(got) != 1 {
			t.Fatalf("%d records, %v", len(got), err)
		}
		used := heapInUse() - before
		runtime.KeepAlive(s)
		return used
	}
	each := float64(heap(many)-heap(few)) / float64(many-few)
	t.Logf("%.0f bytes for each segment that waits", each)
	if each > 300 { // ten million readings are about 1,000 segments
		t.Errorf("%.0f bytes for each segment that waits", each)
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what the first one has freed is swept now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// backlog makes a spool of so many segments with one record each, and with acks
// as they are when two readers have delivered new records before old ones.
func backlog(t *testing.T, dir string, segments int) {
	t.Helper()
	for i := range uint64(segments) {
		h := header{size: MinSegmentBytes, generation: i + 1, base: i + 1, salt: i}
		for _, name := range []string{"iot", "rest"} {
			a := ackState{name: name}
			for k := range uint64(maxRanges) {
				a.ranges = append(a.ranges, seqs{1 << 40 * (k + 1), 1<<40*(k+1) + 1})
			}
			h.acks = append(h.acks, a)
		}
		if i == uint64(segments)-1 {
			h.acks[0].ranges, h.acks[1].ranges = nil, nil
		}
		data := appendRecord(appendHeader(nil, &h), h.seed(), typeData, 0, []byte(fmt.Sprint("record ", i)))
		name := filepath.Join(dir, segmentName(i+1))
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, MinSegmentBytes); err != nil {
			t.Fatal(err)
		}
	}
}

// TestASmallerLimit: what waits above it is given up for new records, and
// counted, or keeps them from coming, as the policy says; and both is told at
// the start.
func TestASmallerLimit(t *testing.T) {
	for _, full := range []Policy{DropOldest, Block} {
		t.Run(full.String(), func(t *testing.T) {
			log := &watch.Log{}
			opts := Options{FS: newMemFS(3), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 64 * MinSegmentBytes, Full: full, Log: log.Logger()}
			s := open(t, "spool", opts)
			fill(t, s, 0, 2000)
			_ = s.Close()
			opts.MaxBytes = 4 * MinSegmentBytes
			s = open(t, "spool", opts)
			if !strings.Contains(log.String(), "more waits than the spool may hold") {
				t.Errorf("the start does not tell:\n%s", log)
			}
			if full == Block {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				if _, err := s.Append(ctx, []byte("new")); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("append above the limit: %v", err)
				}
				got := drain(t, s.Reader("iot"))
				if len(got) != 2000 {
					t.Errorf("%d of 2000 records", len(got))
				}
				s.Reader("iot").Ack(2000)
				add(t, s, "new")
				wantTexts(t, s.Reader("iot"), "new")
			} else {
				add(t, s, "new")
				st := s.Stats()
				got := drain(t, s.Reader("iot"))
				if n := uint64(len(got)); n+st.Readers[0].Dropped != 2001 || n < 300 || string(got[n-1].Data) != "new" {
					t.Errorf("%d records, %d dropped", n, st.Readers[0].Dropped)
				}
				if n := log.Count("dropped the oldest"); n != 1 {
					t.Errorf("told %d times", n)
				}
			}
			if st := s.Stats(); st.Bytes > opts.MaxBytes {
				t.Errorf("it takes %d bytes of %d", st.Bytes, opts.MaxBytes)
			}
		})
	}
}

// TestAReaderTakesThePlaceOfAnother: an uplink of another kind goes on exactly
// where the one before was, also behind a live lane, and one that is added
// begins with what another still needs.
func TestAReaderTakesThePlaceOfAnother(t *testing.T) {
	log := &watch.Log{}
	opts := Options{FS: newMemFS(4), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, Log: log.Logger()}
	s := open(t, "spool", opts)
	fillNumbers(t, s, 1, 1001)
	live := s.Reader("iot").Live()
	done := map[int]bool{}
	for range 100 {
		number, n := next(t, live)
		live.Ack(number)
		done[n] = true
	}
	_ = s.Close()

	opts.Readers = []string{"rest"}
	s = open(t, "spool", opts)
	for _, want := range []string{"a reader is no longer configured", "reader=iot waiting=900", "a reader is new", "reader=rest waiting=900"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	fillNumbers(t, s, 1001, 1002)
	got := drain(t, s.Reader("rest"))
	for _, rec := range got {
		if done[int(rec.Seq)] {
			t.Fatalf("%d was delivered before", rec.Seq)
		}
	}
	if len(got) != 901 {
		t.Errorf("%d records for the uplink of another kind", len(got))
	}
	s.Reader("rest").Ack(500)
	_ = s.Close()

	opts.Readers = []string{"rest", "dynamodb"}
	s = open(t, "spool", opts)
	if got := drain(t, s.Reader("dynamodb")); len(got) == 0 || got[0].Seq != 501 {
		t.Errorf("the one that was added begins with %.1v", got)
	}
	if log.Count("no longer configured") != 1 {
		t.Errorf("a reader that was forgotten is told again:\n%s", log)
	}
}

// TestLeft counts what waits in a spool that nobody has open, and changes
// nothing.
func TestLeft(t *testing.T) {
	dir := t.TempDir()
	if n, err := Left(dir); n != 0 || err != nil {
		t.Errorf("an empty directory: %d, %v", n, err)
	}
	s := open(t, dir, Options{Readers: []string{"iot", "rest"}, SegmentBytes: MinSegmentBytes})
	fillNumbers(t, s, 0, 200)
	drain(t, s.Reader("iot"))
	drain(t, s.Reader("rest"))
	s.Reader("iot").Ack(150)
	s.Reader("rest").Ack(199)
	if _, err := Left(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a spool in use: %v", err)
	}
	_ = s.Close()
	if n, err := Left(dir); n != 50 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := Left(filepath.Join(dir, "none")); n != 0 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %d, %v", n, err)
	}
}

// TestFilesOfAnOutageServeTheNext, as far as a share of the limit: more are
// given back to the disk.
func TestFilesOfAnOutageServeTheNext(t *testing.T) {
	large := strings.Repeat("x", 50<<10)
	for limit, most := range map[int64]int{20 * spareShare * MinSegmentBytes: 20, 40 * MinSegmentBytes: spareLeast} {
		fsys := newMemFS(5)
		s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: limit})
		for outage := range 2 {
			files := len(fsys.segmentFiles())
			for range 26 * 2 { // segments of two records
				add(t, s, large)
			}
			if kept := files - 1; outage > 0 && (kept < most-1 || kept > most+1) {
				t.Errorf("limit %d: %d free files were kept, want %d", limit, kept, most)
			}
			all := drain(t, s.Reader("iot"))
			s.Reader("iot").Ack(all[len(all)-1].Seq)
			add(t, s, large, large) // a segment more, with which files go
			all = drain(t, s.Reader("iot"))
			s.Reader("iot").Ack(all[len(all)-1].Seq)
		}
	}
}
