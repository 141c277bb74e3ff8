package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/watch"
)

func open(t testing.TB, dir string, opts Options) *Spool {
	t.Helper()
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func add(t testing.TB, s *Spool, records ...string) uint64 {
	t.Helper()
	var data [][]byte
	for _, r := range records {
		data = append(data, []byte(r))
	}
	last, err := s.Append(t.Context(), data...)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// drain polls until nothing is ready.
func drain(t testing.TB, r *Reader) (out []Record) {
	t.Helper()
	for {
		n := len(out)
		var err error
		if out, err = r.Poll(out, 100); err != nil {
			t.Fatal(err)
		}
		if len(out) == n {
			return out
		}
	}
}

func texts(records []Record) (out []string) {
	for _, r := range records {
		out = append(out, string(r.Data))
	}
	return out
}

func wantTexts(t testing.TB, r *Reader, want ...string) {
	t.Helper()
	if got := texts(drain(t, r)); !slices.Equal(got, want) {
		t.Fatalf("reader %s got %.200q, want %.200q", r.name, got, want)
	}
}

func TestAppendNextAck(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "spool")
	s := open(t, dir, Options{Readers: []string{"iot", "rest"}})
	if last := add(t, s, "a", "b", "c"); last != 3 {
		t.Fatalf("last sequence %d", last)
	}
	iot, rest := s.Reader("iot"), s.Reader("rest")
	seq, data, err := iot.Next(t.Context())
	if seq != 1 || string(data) != "a" || err != nil {
		t.Fatal(seq, data, err)
	}
	wantTexts(t, iot, "b", "c")
	iot.Ack(2)
	iot.Rewind()
	wantTexts(t, iot, "c")
	wantTexts(t, rest, "a", "b", "c")
	add(t, s, "d")
	wantTexts(t, iot, "d")
	iot.Ack(99) // counts up to what was handed out
	st := s.Stats()
	if st.Readers[0].Waiting != 0 || st.Readers[1].Waiting != 4 || st.Appended != 4 || st.Bytes != DefaultSegmentBytes {
		t.Fatalf("%+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir, Options{Readers: []string{"iot", "rest", "late"}})
	wantTexts(t, s.Reader("iot"))
	wantTexts(t, s.Reader("rest"), "a", "b", "c", "d")
	wantTexts(t, s.Reader("late"), "a", "b", "c", "d")
	if last := add(t, s, "e"); last != 5 {
		t.Fatalf("last sequence %d after reopening", last)
	}
	wantTexts(t, s.Reader("iot"), "e")
}

func TestRefusals(t *testing.T) {
	s := open(t, t.TempDir(), Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes})
	for name, c := range map[string]struct {
		records [][]byte
		want    error
	}{
		"empty record": {[][]byte{[]byte("x"), nil}, ErrEmpty},
		"large record": {[][]byte{make([]byte, MaxRecord+1)}, ErrTooLarge},
		"large batch":  {[][]byte{make([]byte, MaxRecord), make([]byte, MaxRecord)}, ErrTooLarge},
	} {
		if _, err := s.Append(t.Context(), c.records...); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if seq, err := s.Append(t.Context()); seq != 0 || err != nil {
		t.Errorf("append of nothing: %d, %v", seq, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Append(ctx, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, _, err := s.Reader("who").Next(t.Context()); err == nil || !strings.Contains(err.Error(), `no reader "who"`) {
		t.Errorf("unknown reader: %v", err)
	}
	if drain(t, s.Reader("iot")) != nil {
		t.Error("something refused was delivered")
	}
	largest := bytes.Repeat([]byte{0xA1}, MaxRecord)
	if _, err := s.Append(t.Context(), largest); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, s.Reader("iot")); len(got) != 1 || !bytes.Equal(got[0].Data, largest) {
		t.Error("the largest record did not come back")
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{SegmentBytes: 100}, {SegmentBytes: MinSegmentBytes + 1}, {SegmentBytes: 8 << 20}, {MaxBytes: 1000},
		{SegmentBytes: 1 << 20, MaxBytes: 1 << 20}, {Readers: []string{"a", "a"}}, {Readers: []string{""}},
		{Readers: []string{"a b"}}, {Readers: []string{strings.Repeat("x", 65)}}, {Readers: make([]string, 40)},
	} {
		if s, err := Open(t.TempDir(), o); err == nil {
			_ = s.Close()
			t.Errorf("%+v was accepted", o)
		}
	}
	s := open(t, t.TempDir(), Options{MaxBytes: 300 << 10})
	if s.opts.SegmentBytes != MinSegmentBytes {
		t.Errorf("segments of %d bytes", s.opts.SegmentBytes)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "stop the other gateway") {
		t.Fatalf("second open: %v", err)
	}
	_ = s.Close()
	open(t, dir, Options{})
}

func TestClosed(t *testing.T) {
	s := open(t, t.TempDir(), Options{Readers: []string{"iot"}})
	waiting := make(chan error)
	go func() {
		_, _, err := s.Reader("iot").Next(context.Background())
		waiting <- err
	}()
	_ = s.Close()
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("next: %v", err)
	}
	if _, err := s.Append(t.Context(), []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// fill appends numbered records of about 1 kB until total bytes of data.
func fill(t testing.TB, s *Spool, from, count int) {
	t.Helper()
	for i := from; i < from+count; i++ {
		add(t, s, numbered(i))
	}
}

func numbered(i int) string { return fmt.Sprintf("%06d %s", i, strings.Repeat("x", 1000)) }

func TestRecycling(t *testing.T) {
	s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"a", "b"}, SegmentBytes: MinSegmentBytes})
	for i := range 1500 {
		fill(t, s, i, 1)
		for _, r := range s.readers {
			if got := drain(t, r); len(got) != 1 || string(got[0].Data) != numbered(i) {
				t.Fatalf("record %d: %.50q", i, texts(got))
			}
			r.Ack(uint64(i + 1))
		}
	}
	if st := s.Stats(); st.Bytes > 3*MinSegmentBytes || st.Lost != 0 {
		t.Errorf("after 1.5 MB through acked segments: %+v", st)
	}
	if s.w.gen < 10 {
		t.Errorf("only %d generations", s.w.gen)
	}
}

func TestDropOldest(t *testing.T) {
	s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"fast", "slow"}, SegmentBytes: MinSegmentBytes, MaxBytes: 3 * MinSegmentBytes})
	fast, slow := s.Reader("fast"), s.Reader("slow")
	drain(t, slow)
	for i := range 1000 {
		fill(t, s, i, 1)
		if i == 50 {
			if _, err := slow.Poll(nil, 20); err != nil {
				t.Fatal(err)
			}
		}
		drain(t, fast)
		fast.Ack(uint64(i + 1))
	}
	st := s.Stats()
	if st.Bytes > st.MaxBytes {
		t.Errorf("%d bytes on disk, limit %d", st.Bytes, st.MaxBytes)
	}
	got := drain(t, slow)
	if st.Readers[0].Dropped != 0 || st.Readers[1].Dropped == 0 || int(st.Readers[1].Dropped)+len(got) != 1000 {
		t.Errorf("%d delivered, %+v", len(got), st)
	}
	for i, rec := range got {
		if want := numbered(int(st.Readers[1].Dropped) + i); string(rec.Data) != want {
			t.Fatalf("got %.20q, want %.20q", rec.Data, want)
		}
	}
}

func TestBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 2 * MinSegmentBytes, Full: Block})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		n := 0
		for ; ; n++ {
			short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
			_, err := s.Append(short, []byte(numbered(n)))
			stop()
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is full") {
					t.Fatal(err)
				}
				break
			}
		}
		if n < 200 || n > 300 {
			t.Fatalf("blocked after %d records", n)
		}
		results := make(chan error, 3)
		for i := range 3 {
			go func() {
				_, err := s.Append(ctx, []byte(fmt.Sprint("waiting ", i)))
				results <- err
			}()
		}
		iot := s.Reader("iot")
		for i := range n {
			seq, data, err := iot.Next(ctx)
			if err != nil || string(data) != numbered(i) {
				t.Fatalf("%.20q, %v", data, err)
			}
			iot.Ack(seq)
		}
		for range 3 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if _, data, err := iot.Next(ctx); err != nil || !strings.HasPrefix(string(data), "waiting") {
				t.Fatalf("%.20q, %v", data, err)
			}
		}
	})
}

func TestConcurrentAppendsShareSyncs(t *testing.T) {
	fsys := newMemFS(1)
	s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}})
	add(t, s, "first")
	fsys.gate(true) // syncs wait
	const callers = 50
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { add(t, s, fmt.Sprint("r", i)) })
		if i == 0 { // the first has the disk to itself
			watch.Until(t, "its sync", func() bool { return fsys.gated.Load() == 1 })
		}
	}
	awaitPending(t, s, callers-1)
	before := fsys.syncs.Load()
	fsys.gate(false)
	wg.Wait()
	if n := fsys.syncs.Load() - before; n > 2 {
		t.Errorf("%d syncs for %d callers", n, callers)
	}
	if got := drain(t, s.Reader("iot")); len(got) != callers+1 {
		t.Errorf("%d delivered", len(got))
	}
}

// awaitPending waits until that many appends wait for a leader.
func awaitPending(t *testing.T, s *Spool, n int) {
	t.Helper()
	watch.Until(t, fmt.Sprint(n, " that wait"), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.pending) == n
	})
}

func TestWithdrawnWhileWaiting(t *testing.T) {
	fsys := newMemFS(1)
	s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}})
	add(t, s, "first")
	fsys.gate(true)
	var wg sync.WaitGroup
	wg.Go(func() { add(t, s, "second") })
	watch.Until(t, "its sync", func() bool { return fsys.gated.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	third := make(chan error, 1)
	go func() {
		_, err := s.Append(ctx, []byte("third"))
		third <- err
	}()
	awaitPending(t, s, 1)
	cancel()
	if err := <-third; !errors.Is(err, context.Canceled) {
		t.Errorf("third: %v", err)
	}
	fsys.gate(false)
	wg.Wait()
	wantTexts(t, s.Reader("iot"), "first", "second")
}

func TestAcksAreSavedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newMemFS(1)
		opts := Options{FS: fsys, Readers: []string{"iot"}}
		s := open(t, "spool", opts)
		add(t, s, "a", "b")
		drain(t, s.Reader("iot"))
		s.Reader("iot").Ack(1)
		time.Sleep(time.Second)
		synctest.Wait()
		fsys.crash()
		_ = s.Close()
		s = open(t, "spool", opts)
		wantTexts(t, s.Reader("iot"), "b")
	})
}

func TestAckRidesOnAppend(t *testing.T) {
	fsys := newMemFS(1)
	opts := Options{FS: fsys, Readers: []string{"iot"}}
	s := open(t, "spool", opts)
	add(t, s, "a", "b")
	drain(t, s.Reader("iot"))
	s.Reader("iot").Ack(1)
	add(t, s, "c")
	fsys.crash()
	_ = s.Close()
	s = open(t, "spool", opts)
	wantTexts(t, s.Reader("iot"), "b", "c")
}

func TestReaderRemovedAndAddedAgain(t *testing.T) {
	dir := t.TempDir()
	opts := func(names ...string) Options { return Options{Readers: names, SegmentBytes: MinSegmentBytes} }
	s := open(t, dir, opts("a", "b"))
	fill(t, s, 0, 300)
	drain(t, s.Reader("b"))
	s.Reader("b").Ack(290)
	_ = s.Close()

	s = open(t, dir, opts("a")) // b holds nothing now
	drain(t, s.Reader("a"))
	s.Reader("a").Ack(280)
	fill(t, s, 300, 1)
	if st := s.Stats(); st.Segments > 2 {
		t.Errorf("%d segments are held", st.Segments)
	}
	_ = s.Close()

	s = open(t, dir, opts("a", "b"))
	got := drain(t, s.Reader("b"))
	if first := got[0].Seq; first == 1 || first > 281 || len(got) != 301-int(first)+1 {
		t.Errorf("b was given %d records from %d", len(got), first)
	}
	_ = s.Close()
	s = open(t, dir, opts("a", "b"))
	if again := drain(t, s.Reader("b")); len(again) != len(got) {
		t.Errorf("the forgotten ack of b came back: %d records, want %d", len(again), len(got))
	}
}

func TestWaitingNextWakes(t *testing.T) {
	s := open(t, t.TempDir(), Options{Readers: []string{"iot"}})
	got := make(chan string)
	go func() {
		for range 3 {
			_, data, err := s.Reader("iot").Next(context.Background())
			got <- fmt.Sprint(string(data), err)
		}
	}()
	for _, text := range []string{"a", "b", "c"} {
		add(t, s, text)
		if g := <-got; g != text+"<nil>" {
			t.Fatal(g)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, _, err := s.Reader("iot").Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	s.Reader("iot").Rewind()
	if _, data, err := s.Reader("iot").Next(t.Context()); err != nil || string(data) != "a" {
		t.Fatalf("%q, %v", data, err)
	}
}

// TestReadersRaceWithEverything: appends, reading, acks, rewinds and drops at
// once; what a reader gets is in order from wherever it was rewound to, and in
// the end everything was delivered or counted as dropped.
func TestReadersRaceWithEverything(t *testing.T) {
	const records = 3000
	s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"a", "b"}, SegmentBytes: MinSegmentBytes, MaxBytes: 3 * MinSegmentBytes})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < records; i += 3 {
			add(t, s, numbered(i), numbered(i+1), numbered(i+2))
		}
	})
	stop := make(chan struct{})
	var rewinds sync.WaitGroup
	rewinds.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				s.Reader("a").Rewind()
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	for _, r := range s.readers {
		wg.Go(func() {
			seen := map[uint64]bool{}
			for last := uint64(0); last < records; {
				seq, data, err := r.Next(t.Context())
				if err != nil || string(data) != numbered(int(seq-1)) {
					t.Errorf("%d %.20q %v", seq, data, err)
					return
				}
				last, seen[seq] = seq, true
				if seq%5 == 0 {
					r.Ack(seq)
				}
			}
			for _, st := range s.Stats().Readers {
				if missing := records - len(seen); st.Name == r.name && missing > int(st.Dropped) {
					t.Errorf("reader %s missed %d, dropped %d", r.name, missing, st.Dropped)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	rewinds.Wait()
	if st := s.Stats(); st.Lost > 0 || st.ReadErrors > 0 {
		t.Errorf("%+v", st)
	}
}

// TestUnreadableBlock: a reader waits for a disk that fails, passes nothing over
// while it does, and gives a block up only when its neighbours can be read.
func TestUnreadableBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := newMemFS(1)
		s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes})
		fill(t, s, 0, 100)
		fsys.setFail(func(op, _ string) error {
			if op == "read" {
				return syscall.EIO
			}
			return nil
		})
		r := s.Reader("iot")
		if _, err := r.Poll(nil, 1); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if _, _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("all blocks fail: %v", err)
		}
		bad := int64(10 * blockBytes)
		fsys.setFail(nil)
		fsys.setBad(bad, bad+blockBytes)
		began := time.Now()
		var got []string
		for len(got) == 0 || got[len(got)-1] != numbered(99) {
			_, data, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(data))
		}
		if lost := s.Stats().Lost; lost < 4 || lost > 6 || len(got) != 100-int(lost) || got[0] != numbered(0) || time.Since(began) < badAfter {
			t.Errorf("lost %d after %v, first %.10q", lost, time.Since(began), got[0])
		}
	})
}

// TestNothingIsDroppedForAcks: a full spool does not give up a segment to save
// an ack that rides on no append.
func TestNothingIsDroppedForAcks(t *testing.T) {
	opts := Options{FS: newMemFS(1), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 2 * MinSegmentBytes}
	s := open(t, "spool", opts)
	fill(t, s, 0, 240)
	_ = s.Close()
	for range 2 { // every run that writes begins a segment
		s = open(t, "spool", opts)
		if got := drain(t, s.Reader("iot")); len(got) != 240 {
			t.Fatalf("%d records", len(got))
		}
		s.Reader("iot").Ack(1)
		if err := s.Close(); err == nil || !strings.Contains(err.Error(), "sent again after a restart") {
			t.Errorf("close: %v", err)
		}
	}
	s = open(t, "spool", opts)
	drain(t, s.Reader("iot"))
	s.Reader("iot").Ack(200) // frees the first segment
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, "spool", opts)
	if got := drain(t, s.Reader("iot")); len(got) != 40 {
		t.Errorf("%d records are left", len(got))
	}
}
