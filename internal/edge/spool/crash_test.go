package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
)

// model is what a spool under test must still know. Every record has bytes of
// its own, which begin with its number.
type model struct {
	t      *testing.T
	rnd    *rand.Rand
	fsys   *memFS
	opts   Options
	s      *Spool
	number int
	bytes  map[int][]byte // everything ever passed to Append
	must   []int          // Append returned nil, in order
	failed map[int]bool   // Append returned an error in this run
	places map[string]*place

	dropped int
}

// place is one reader's view of the current run.
type place struct {
	stream  []Record // what this run delivers, as far as it is known
	cursor  int      // in stream
	acked   int      // stream[:acked] is acknowledged
	ackedNo int      // the highest acknowledged number of all runs
}

func newModel(t *testing.T, seed uint64, opts Options) *model {
	m := &model{t: t, rnd: rand.New(rand.NewPCG(seed, 3)), fsys: newMemFS(seed), opts: opts, bytes: map[int][]byte{}, places: map[string]*place{}}
	m.opts.FS = m.fsys
	m.fsys.shortWrites, m.fsys.noAllocate = true, seed%3 == 2
	for _, name := range opts.Readers {
		m.places[name] = &place{ackedNo: -1}
	}
	m.open()
	return m
}

// open opens the spool and learns from each reader what survived.
func (m *model) open() {
	var err error
	if m.s, err = Open("spool", m.opts); err != nil {
		m.t.Fatal(err)
	}
	m.s.w.pause = 0
	m.failed = map[int]bool{}
	for name, p := range m.places {
		*p = place{stream: drain(m.t, m.s.Reader(name)), ackedNo: p.ackedNo}
		m.checkRecovered(name, p)
		m.s.Reader(name).Rewind()
	}
}

// checkRecovered: bytes exact, in order, and nothing missing that was durable
// and not acknowledged.
func (m *model) checkRecovered(name string, p *place) {
	last, have := -1, map[int]bool{}
	for _, rec := range p.stream {
		n := m.numberOf(rec.Data)
		if n <= last {
			m.t.Fatalf("reader %s: record %d after %d", name, n, last)
		}
		last, have[n] = n, true
	}
	for _, n := range m.must {
		if n > p.ackedNo && !have[n] {
			m.t.Fatalf("reader %s: record %d was durable and is lost (acknowledged up to %d)", name, n, p.ackedNo)
		}
	}
}

// numberOf returns the number of a record after comparing every byte of it.
func (m *model) numberOf(data []byte) int {
	var n int
	if _, err := fmt.Sscanf(string(data[:min(10, len(data))]), "%d ", &n); err != nil || !bytes.Equal(m.bytes[n], data) {
		m.t.Fatalf("delivered %.60q, which was never appended", data)
	}
	return n
}

func (m *model) record() []byte {
	size := m.rnd.IntN(300)
	switch m.rnd.IntN(20) {
	case 0:
		size = m.rnd.IntN(MaxRecord - 20)
	case 1, 2, 3:
		size = m.rnd.IntN(5000)
	}
	data := fmt.Appendf(nil, "%d ", m.number)
	for len(data) < size {
		data = append(data, byte(m.rnd.Uint32()))
	}
	m.bytes[m.number] = data
	m.number++
	return data
}

func (m *model) append() {
	first := m.number
	var records [][]byte
	for range 1 + m.rnd.IntN(m.rnd.IntN(12)+1) {
		if size, _ := m.s.measure(append(records, make([]byte, MaxRecord))); size == 0 {
			break
		}
		records = append(records, m.record())
	}
	last, err := m.s.Append(context.Background(), records...)
	for i := range records {
		if err != nil {
			m.failed[first+i] = true
			continue
		}
		m.must = append(m.must, first+i)
		for _, p := range m.places {
			p.stream = append(p.stream, Record{last - uint64(len(records)-1-i), m.bytes[first+i]})
		}
	}
	m.noteDrops()
	if err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) && !errors.Is(err, errDying) {
		m.t.Fatal(err)
	}
}

// noteDrops takes what a full spool gave up as acknowledged.
func (m *model) noteDrops() {
	for _, st := range m.s.Stats().Readers {
		p := m.places[st.Name]
		for p.acked < len(p.stream) && p.stream[p.acked].Seq <= st.Acked {
			p.ackedNo = max(p.ackedNo, m.numberOf(p.stream[p.acked].Data))
			p.acked++
			m.dropped++
		}
		p.cursor = max(p.cursor, p.acked)
	}
}

// read checks that a reader gets exactly the next records.
func (m *model) read(name string) {
	p, r := m.places[name], m.s.Reader(name)
	got, err := r.Poll(nil, 1+m.rnd.IntN(30))
	if err != nil {
		m.t.Fatal(err)
	}
	for i, rec := range got {
		if p.cursor == len(p.stream) {
			m.t.Fatalf("reader %s: %.30q after the last record (failed: %v)", name, rec.Data, m.failed)
		}
		if want := p.stream[p.cursor]; rec.Seq != want.Seq || !bytes.Equal(rec.Data, want.Data) {
			m.t.Fatalf("reader %s, %d of %d: got %d %.30q, want %d %.30q", name, i, len(got), rec.Seq, rec.Data, want.Seq, want.Data)
		}
		p.cursor++
	}
	if len(got) == 0 && p.cursor < len(p.stream) {
		m.t.Fatalf("reader %s: nothing ready, want record %d", name, p.stream[p.cursor].Seq)
	}
}

func (m *model) ack(name string) {
	p := m.places[name]
	if p.cursor == p.acked {
		return
	}
	p.acked += m.rnd.IntN(p.cursor - p.acked + 1)
	if p.acked > 0 {
		m.s.Reader(name).Ack(p.stream[p.acked-1].Seq)
		p.ackedNo = max(p.ackedNo, m.numberOf(p.stream[p.acked-1].Data))
	}
}

func (m *model) rewind(name string) {
	m.s.Reader(name).Rewind()
	m.places[name].cursor = m.places[name].acked
}

var errDying = errors.New("power is failing")

// faults makes the disk fail now and then, and die at a random operation.
func (m *model) faults() {
	deadline := m.rnd.IntN(400)
	if m.rnd.IntN(3) == 0 {
		deadline = 1 << 30
	}
	rate := []int{0, 0, 3, 20}[m.rnd.IntN(4)]
	kind := []error{syscall.EIO, syscall.ENOSPC}[m.rnd.IntN(2)]
	rnd := rand.New(rand.NewPCG(m.rnd.Uint64(), 1))
	m.fsys.setFail(func(op, _ string) error {
		if op == "read" || op == "open" {
			return nil
		}
		if deadline--; deadline <= 0 {
			return errDying
		}
		if rnd.IntN(100) < rate {
			return kind
		}
		return nil
	})
}

// run does random things until the power goes.
func (m *model) run() {
	names := m.opts.Readers
	m.faults()
	for range 20 + m.rnd.IntN(150) {
		name := names[m.rnd.IntN(len(names))]
		switch m.rnd.IntN(8) {
		case 0, 1, 2:
			m.append()
		case 3, 4:
			m.read(name)
		case 5, 6:
			m.ack(name)
		case 7:
			m.rewind(name)
		}
	}
	clean := m.rnd.IntN(4) == 0
	if clean {
		_ = m.s.Close()
	}
	m.fsys.setFail(nil)
	m.fsys.crash()
	if !clean {
		_ = m.s.Close()
	}
}

// TestCrashes lets many random histories of appends, acks, disk errors and
// power cuts pass, and holds the spool against the model after each. The
// environment variable MOTE_TORTURE makes them many.
func TestCrashes(t *testing.T) {
	histories := 24
	switch {
	case os.Getenv("MOTE_TORTURE") != "":
		histories = 600
	case testing.Short():
		histories = 8
	}
	for seed := range uint64(histories) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			opts := Options{Readers: []string{"iot", "rest"}, SegmentBytes: MinSegmentBytes, MaxBytes: 512 << 20}
			if seed%4 == 3 {
				opts.MaxBytes = 4 * MinSegmentBytes
			}
			m := newModel(t, seed, opts)
			for range 8 {
				m.run()
				m.open()
			}
			if len(m.must) < 20 {
				t.Fatalf("only %d records became durable: the test tests nothing", len(m.must))
			}
			if (m.dropped > 0) != (seed%4 == 3) {
				t.Logf("%d records were dropped", m.dropped)
			}
			m.append() // removals that a power cut undid are made again
			if st := m.s.Stats(); st.Bytes > st.MaxBytes {
				t.Errorf("%d bytes on disk, limit %d", st.Bytes, st.MaxBytes)
			}
			_ = m.s.Close()
		})
	}
}

// TestDiskErrors: each kind of error at each kind of operation is reported with
// its reason, nothing acknowledged suffers, and the spool goes on when the disk
// does.
func TestDiskErrors(t *testing.T) {
	for _, kind := range []struct {
		err  error
		hint string
	}{
		{syscall.ENOSPC, "free space on that disk"}, {syscall.EIO, "the disk fails"}, {syscall.EROFS, "mount it writable"},
	} {
		for _, op := range []string{"write", "sync", "create", "rename", "syncdir", "open"} {
			t.Run(fmt.Sprint(kind.err, " at ", op), func(t *testing.T) {
				fsys := newMemFS(5)
				fsys.shortWrites = true
				s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 4 * MinSegmentBytes, Full: Block})
				s.w.pause = 0
				add(t, s, "before")
				fsys.setFail(func(o, _ string) error {
					if o == op {
						return kind.err
					}
					return nil
				})
				var err error
				stored := []string{"before"}
				for i := 0; i < 300 && err == nil; i++ { // some operations only happen at a new segment
					text := numbered(i)
					if _, err = s.Append(t.Context(), []byte(text)); err == nil {
						stored = append(stored, text)
					}
				}
				if !errors.Is(err, kind.err) || !strings.Contains(err.Error(), kind.hint) {
					t.Fatalf("error %v", err)
				}
				for range 3 {
					if _, err := s.Append(t.Context(), []byte(numbered(0))); err == nil {
						stored = append(stored, numbered(0)) // fits where the disk still works
					}
				}
				if s.Stats().WriteErrors == 0 || s.Stats().LastError == "" {
					t.Errorf("%+v", s.Stats())
				}
				fsys.setFail(nil)
				add(t, s, "after")
				wantTexts(t, s.Reader("iot"), append(stored, "after")...)
				fsys.crash()
				_ = s.Close()
				s = open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 4 * MinSegmentBytes})
				wantTexts(t, s.Reader("iot"), append(stored, "after")...)
			})
		}
	}
}

// TestFailingDiskCostsOneSegment: a full spool on a failing disk must not give
// up one more segment at every try.
func TestFailingDiskCostsOneSegment(t *testing.T) {
	fsys := newMemFS(9)
	s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 5 * MinSegmentBytes})
	s.w.pause = 0
	fill(t, s, 0, 5*120)
	dropped := s.Stats().Readers[0].Dropped
	fsys.setFail(func(op, _ string) error {
		if op == "write" {
			return syscall.EIO
		}
		return nil
	})
	for range 20 {
		if _, err := s.Append(t.Context(), []byte("x")); err == nil {
			t.Fatal("append on a failing disk")
		}
	}
	if more := s.Stats().Readers[0].Dropped - dropped; more > 2*120 {
		t.Errorf("a failing disk cost %d waiting records", more)
	}
}

// TestPauseAfterFailure: a full disk is not asked for a new segment at every
// append.
func TestPauseAfterFailure(t *testing.T) {
	fsys := newMemFS(9)
	tries := 0
	fsys.setFail(func(op, _ string) error {
		if op == "create" {
			tries++
			return syscall.ENOSPC
		}
		return nil
	})
	s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}})
	s.w.pause = 1 << 40
	for range 10 {
		if _, err := s.Append(t.Context(), []byte("x")); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	if tries != 1 {
		t.Errorf("%d tries", tries)
	}
}
