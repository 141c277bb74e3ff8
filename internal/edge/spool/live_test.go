package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgressIsASet holds progress against a set of numbers.
func TestProgressIsASet(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var p progress
		set := [120]bool{0: true}
		for range 40 {
			from := 1 + rnd.Uint64N(100)
			to := from + rnd.Uint64N(12)
			if rnd.IntN(8) == 0 {
				p.advance(to)
				from = 1
			} else {
				p.add(seqs{from, to})
			}
			for n := from; n <= to; n++ {
				set[n] = true
			}
			checkProgress(t, &p, set[:])
		}
	}
}

func checkProgress(t *testing.T, p *progress, set []bool) {
	t.Helper()
	prefix := uint64(slices.Index(set, false)) - 1
	if p.acked != prefix {
		t.Fatalf("%+v: prefix %d, want %d", p, p.acked, prefix)
	}
	for n := range uint64(len(set)) {
		first, until := p.open(n)
		want := n
		for int(want) < len(set) && set[want] {
			want++
		}
		if first != want && int(want) < len(set) {
			t.Fatalf("%+v: open(%d) = %d, want %d", p, n, first, want)
		}
		for m := first; m < min(until, uint64(len(set))); m++ {
			if set[m] {
				t.Fatalf("%+v: open(%d) = %d, %d, and %d is acknowledged", p, n, first, until, m)
			}
		}
	}
	missing := uint64(0)
	for _, acked := range set {
		if !acked {
			missing++
		}
	}
	if got := p.missing(0, uint64(len(set))); got != missing {
		t.Fatalf("%+v: %d missing, want %d", p, got, missing)
	}
}

func asNumber(t testing.TB, data []byte) int {
	t.Helper()
	n, err := strconv.Atoi(string(bytes.TrimSpace(data[:min(len(data), 8)])))
	if err != nil {
		t.Fatalf("%.40q: %v", data, err)
	}
	return n
}

// fillNumbers appends the numbers from up to, not including, to.
func fillNumbers(t testing.TB, s *Spool, from, to int) {
	t.Helper()
	var data [][]byte
	for n := from; n < to; n++ {
		data = append(data, fmt.Appendf(nil, "%8d and what makes a reading as long as a reading is", n))
		if len(data) == 500 || n == to-1 {
			if _, err := s.Append(t.Context(), data...); err != nil {
				t.Fatal(err)
			}
			data = data[:0]
		}
	}
}

func next(t testing.TB, l *Live) (number uint64, n int) {
	t.Helper()
	number, data, err := l.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return number, asNumber(t, data)
}

// TestNewRecordsAreNotStuckBehindABacklog: what is appended while 20,000 wait
// is handed out at once, in order, and the backlog goes on meanwhile.
func TestNewRecordsAreNotStuckBehindABacklog(t *testing.T) {
	const waiting = 20_000
	s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes})
	fillNumbers(t, s, 0, waiting)
	l := s.Reader("iot").Live()
	seen, old, news := map[int]bool{}, -1, waiting+2-liveRecent-1
	take := func() int {
		number, n := next(t, l)
		if seen[n] {
			t.Fatalf("%d twice", n)
		}
		seen[n] = true
		l.Ack(number)
		return n
	}
	last := waiting
	for i := range 1000 {
		for range 2 {
			fillNumbers(t, s, last, last+1)
			last++
		}
		for range 3 { // of which the live lane may have two and a quarter
			if n := take(); n == old+1 {
				old = n
			} else if n == news+1 {
				news = n
			} else {
				t.Fatalf("%d after %d in the backlog and %d in the live lane", n, old, news)
			}
		}
		if i > 300 && news != last-1 {
			t.Fatalf("round %d: the live lane is at %d, the newest is %d", i, news, last-1)
		}
	}
	if old < 600 {
		t.Errorf("the backlog is at %d: the live lane starves it", old)
	}
	if got, want := s.Stats().Readers[0].Waiting, uint64(last-len(seen)); got != want {
		t.Errorf("%d wait, want %d", got, want)
	}
	for len(seen) < last {
		take()
	}
	if st := s.Stats(); st.Readers[0].Waiting != 0 || st.Readers[0].Acked != uint64(last) || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	fillNumbers(t, s, last, last+1)
	if n := take(); n != last {
		t.Errorf("%d, want %d", n, last)
	}
}

// TestRewindKeepsTheLiveLane: after a connection broke, what it left is handed
// out again, and new records still come at once, however often it breaks.
func TestRewindKeepsTheLiveLane(t *testing.T) {
	s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes})
	last := 12_000
	fillNumbers(t, s, 0, last)
	l := s.Reader("iot").Live()
	acked := map[int]bool{}
	for round := range 20 {
		fillNumbers(t, s, last, last+1+round*40)
		last += 1 + round*40
		found := -1
		for i := range 600 {
			number, n := next(t, l)
			if acked[n] {
				t.Fatalf("%d came after it was acknowledged", n)
			}
			if found < 0 && n == last-1 {
				found = i
			}
			if i < 550 {
				l.Ack(number)
				acked[n] = true
			}
		}
		if round <= maxRanges && (found < 0 || found > 500) {
			t.Errorf("round %d: the newest came at place %d", round, found)
		}
		if n := len(s.readers[0].ranges); n > maxRanges {
			t.Fatalf("%d ranges", n)
		}
		l.Rewind()
		if round%3 == 2 { // an outage
			fillNumbers(t, s, last, last+1500)
			last += 1500
		}
	}
	for range last - len(acked) {
		number, n := next(t, l)
		if acked[n] {
			t.Fatalf("%d came after it was acknowledged", n)
		}
		acked[n] = true
		l.Ack(number)
	}
	if st := s.Stats().Readers[0]; st.Waiting != 0 {
		t.Errorf("%+v", st)
	}
}

// TestLiveWaits: a queue that is empty waits for the next record, for Rewind,
// and ends with its context and with the spool.
func TestLiveWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open("spool", Options{FS: newMemFS(1), Readers: []string{"iot"}})
		if err != nil {
			t.Fatal(err)
		}
		l := s.Reader("iot").Live()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		time.AfterFunc(time.Second, func() { add(t, s, "       7") })
		number, n := next(t, l)
		if n != 7 {
			t.Error(n)
		}
		time.AfterFunc(time.Second, l.Rewind)
		again, n := next(t, l)
		if n != 7 || again == number {
			t.Error(n, again)
		}
		l.Ack(number) // of before Rewind
		if st := s.Stats().Readers[0]; st.Waiting != 1 {
			t.Errorf("%+v", st)
		}
		l.Ack(again)
		if st := s.Stats().Readers[0]; st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		time.AfterFunc(time.Second, func() { _ = s.Close() })
		if _, _, err := l.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, _, err := s.Reader("nobody").Live().Next(t.Context()); err == nil {
			t.Error("a queue of nobody")
		}
	})
}

// TestLiveCrashes cuts the power at random moments of a delivery in two lanes:
// what was appended and not acknowledged is always delivered, and what was
// acknowledged and saved long ago does not come again.
func TestLiveCrashes(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			liveHistory(t, seed)
		})
	}
}

func liveHistory(t *testing.T, seed uint64) {
	rnd, fsys := rand.New(rand.NewPCG(seed, 9)), newMemFS(seed)
	opts := Options{FS: fsys, Readers: []string{"iot", "rest"}, SegmentBytes: MinSegmentBytes}
	total, acked, ranged := 0, map[int]bool{}, 0
	for range 8 {
		s, err := Open("spool", opts)
		if err != nil {
			t.Fatal(err)
		}
		ranged += len(s.readers[0].ranges)
		l := s.Reader("iot").Live()
		var open []handed
		for range 30 {
			open = liveStep(t, rnd, s, l, &total, acked, open)
		}
		if rnd.IntN(3) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		fsys.crash()
		_ = s.Close()
	}
	s := open(t, "spool", opts)
	l, got := s.Reader("iot").Live(), map[int]bool{}
	for s.Stats().Readers[0].Waiting > 0 {
		number, n := next(t, l)
		if got[n] {
			t.Fatalf("%d twice in one run", n)
		}
		got[n] = true
		l.Ack(number)
	}
	again := 0
	for n := range total {
		if !got[n] && !acked[n] {
			t.Fatalf("%d of %d is lost", n, total)
		}
		if got[n] && acked[n] {
			again++
		}
	}
	if all := len(drain(t, s.Reader("rest"))); all != total {
		t.Errorf("the other reader got %d of %d", all, total)
	}
	t.Logf("%d records, %d delivered at the end, %d of them again, %d ranges recovered", total, len(got), again, ranged)
	if ranged == 0 {
		t.Error("no range was ever recovered: the test tests nothing")
	}
}

// handed is a record that Live handed out.
type handed struct {
	number uint64
	n      int
}

// liveStep does one random thing; open is what was handed out and neither
// acknowledged nor rewound, which it returns.
func liveStep(t *testing.T, rnd *rand.Rand, s *Spool, l *Live, total *int, acked map[int]bool, open []handed) []handed {
	switch rnd.IntN(6) {
	case 0:
		n := rnd.IntN(400)
		fillNumbers(t, s, *total, *total+n)
		*total += n
		return open
	case 1:
		l.Rewind()
		return nil
	}
	for range rnd.IntN(60) {
		rec, at, err := l.poll()
		if err != nil {
			t.Fatal(err)
		}
		if rec.Seq == 0 { // all was handed out
			break
		}
		number, ok := l.hand(rec.Seq, at)
		if !ok {
			t.Fatal("nobody rewound it")
		}
		open = append(open, handed{number, asNumber(t, rec.Data)})
	}
	if len(open) == 0 {
		return nil
	}
	upTo := rnd.IntN(len(open))
	for _, h := range open[:upTo+1] {
		acked[h.n] = true
	}
	l.Ack(open[upTo].number)
	return open[upTo+1:]
}

// TestAFullSpoolUnderTwoLanes: what a full spool gives up is counted without
// what the live lane had delivered of it.
func TestAFullSpoolUnderTwoLanes(t *testing.T) {
	s := open(t, "spool", Options{FS: newMemFS(1), Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, MaxBytes: 4 * MinSegmentBytes})
	fillNumbers(t, s, 0, 3000)
	l := s.Reader("iot").Live()
	got := map[int]bool{}
	for range 200 {
		number, n := next(t, l)
		got[n] = true
		l.Ack(number)
	}
	fillNumbers(t, s, 3000, 30_000)
	for s.Stats().Readers[0].Waiting > 0 {
		number, n := next(t, l)
		if got[n] {
			t.Fatalf("%d twice", n)
		}
		got[n] = true
		l.Ack(number)
	}
	st := s.Stats()
	if dropped := st.Readers[0].Dropped; dropped == 0 || dropped != uint64(30_000-len(got)) || st.Lost != 0 {
		t.Errorf("%d of 30000 arrived, %d were dropped, %d lost", len(got), dropped, st.Lost)
	}
}

// TestRangesOnDisk: states without ranges, as programs before them wrote,
// parse; ranges survive; those that make no sense are forgotten.
func TestRangesOnDisk(t *testing.T) {
	states := []ackState{{name: "a", progress: progress{5, []seqs{{8, 9}, {12, 40}}}}, {name: "b", progress: progress{acked: 7}}, {name: "c", progress: progress{0, []seqs{{2, 2}}}}}
	old := appendAcks(nil, states)
	got, ok := parseAcks(old, 3)
	if !ok || len(got) != 3 || got[0].acked != 5 || got[0].ranges != nil {
		t.Errorf("%+v, %v", got, ok)
	}
	whole := appendRanges(old, states)
	got, ok = parseAcks(append(whole, 0, 0, 0), 3)
	if !ok || fmt.Sprint(got) != fmt.Sprint(states) {
		t.Errorf("%+v, want %+v", got, states)
	}
	for cut := len(old); cut < len(whole); cut++ {
		if got, ok := parseAcks(whole[:cut], 3); !ok || got[0].acked != 5 || got[2].acked != 0 {
			t.Errorf("cut at %d: %+v, %v", cut, got, ok)
		}
	}
	bad := appendRanges(appendAcks(nil, states[:1]), []ackState{{progress: progress{0, []seqs{{9, 8}}}}})
	if got, ok := parseAcks(bad, 1); !ok || len(got[0].ranges) != 0 {
		t.Errorf("%+v, %v", got, ok)
	}
	full := make([]ackState, maxReaders)
	for i := range full {
		full[i].name = fmt.Sprintf("%064d", i)
		for k := range rangesOf(maxReaders) {
			full[i].ranges = append(full[i].ranges, seqs{uint64(10 * (k + 1)), uint64(10*(k+1) + 3)})
		}
	}
	h := header{size: MinSegmentBytes, generation: 1, base: 1, acks: full}
	for _, n := range []int{maxReaders, manyReaders} {
		h.acks = full[:n]
		if again, ok, err := parseHeader(appendHeader(nil, &h)); !ok || err != nil || fmt.Sprint(again.acks) != fmt.Sprint(full[:n]) {
			t.Errorf("%d readers with all their ranges: %v, %v", n, ok, err)
		}
		for i := range full[:manyReaders] {
			for k := len(full[i].ranges); k < maxRanges; k++ {
				full[i].ranges = append(full[i].ranges, seqs{uint64(10 * (k + 1)), uint64(10*(k+1) + 3)})
			}
		}
	}
}
