package outbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/cloud/store"
	"mote/internal/watch"
)

func TestEntriesOfALaneAreDeliveredInOrderAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := startBox(t, t.TempDir(), with(r))
		var want []string
		for i := range 300 { // more than a window
			b.add(entry("a", i))
			want = append(want, fmt.Sprint(i))
		}
		synctest.Wait()
		if got := r.data(); !slices.Equal(got, want) {
			t.Errorf("delivered %v", got)
		}
		sleep(time.Second)
		if s := b.Status(); b.stored() != 0 || s.Waiting != 0 || s.Bytes != 0 || s.Delivered != 300 || len(b.lanes) != 0 {
			t.Errorf("stored %d, lanes %d, status %+v", b.stored(), len(b.lanes), s)
		}
		b.close()
	})
}

func TestNothingOfARefusedBatchStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := startBox(t, t.TempDir(), with(r))
		discarded := b.st.NewBatch()
		refused := b.st.NewBatch()
		for _, batch := range []*store.Batch{discarded, refused} {
			if err := b.Add(batch, entry("a", "x")); err != nil {
				t.Fatal(err)
			}
		}
		discarded.Discard()
		no := errors.New("no")
		refused.BeforeApply(func() error { return no })
		if err := b.st.Commit(refused); !errors.Is(err, no) {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := b.Status(); s.Waiting != 0 || s.Bytes != 0 || len(b.lanes) != 0 || len(r.data()) != 0 {
			t.Errorf("status %+v, lanes %d, delivered %v", s, len(b.lanes), r.data())
		}
		b.close()
	})
}

// A batch that was filled first may be committed last: its entry has the lower
// sequence, and comes when the worker is past it.
func TestABatchThatIsCommittedLateIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		b := startBox(t, t.TempDir(), with(r))
		late := b.st.NewBatch()
		if err := b.Add(late, entry("a", "late")); err != nil {
			t.Fatal(err)
		}
		b.add(entry("a", "early"))
		synctest.Wait()
		if err := b.st.Commit(late); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		if got := r.data(); !slices.Equal(got, []string{"early", "late"}) || b.stored() != 0 {
			t.Errorf("delivered %v, stored %d", got, b.stored())
		}
		b.close()
	})
}

func TestConcurrentPublishersLoseAndRepeatNothing(t *testing.T) {
	r := &recorder{}
	b := startBox(t, t.TempDir(), with(r))
	const publishers, each = 8, 200
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				batch := b.st.NewBatch()
				if err := b.Add(batch, entry(fmt.Sprint(i%3), fmt.Sprintf("%d/%d", p, i))); err != nil {
					t.Error(err)
				}
				if i%10 == 9 {
					b.st.CommitAsync(batch, func(error) {})
				} else if err := b.st.Commit(batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	watch.Until(t, "all are delivered and removed", func() bool { return b.Status().Waiting == 0 })
	seen := map[string]int{}
	last := map[string]int{}
	for _, d := range r.data() {
		seen[d]++
		var p, i int
		if _, err := fmt.Sscanf(d, "%d/%d", &p, &i); err != nil {
			t.Fatal(err)
		}
		lane := fmt.Sprint(p, " ", i%3)
		if before, ok := last[lane]; ok && i < before {
			t.Errorf("publisher %d: %d after %d in one lane", p, i, before)
		}
		last[lane] = i
	}
	for d, n := range seen {
		if n != 1 {
			t.Errorf("%s was delivered %d times", d, n)
		}
	}
	if len(seen) != publishers*each {
		t.Errorf("%d of %d were delivered", len(seen), publishers*each)
	}
}

func TestWhatWaitsSurvivesARestartWithItsID(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir, with(&recorder{})) // not started
	first := entry("a", "1")
	first.Context, first.HasErrorAction, first.Rule = []byte("context"), true, "rule"
	first.Batch = &Batching{MaxOpen: -1, MaxSize: 3}
	b.add(first, entry("b", "2"))
	b.close()

	r := &recorder{}
	b = startBox(t, dir, with(r))
	watch.Until(t, "both are removed", func() bool { return b.stored() == 0 })
	calls := r.all()
	if len(calls) != 2 {
		t.Fatalf("delivered %v", r.data())
	}
	for _, c := range calls {
		if e := c.entries[0]; string(e.Data) == "1" {
			if e.ID != first.ID || len(e.ID) != 32 || string(e.Context) != "context" || !e.HasErrorAction || e.Rule != "rule" ||
				e.Lane != "a" || e.Batch == nil || e.Batch.MaxSize != 3 || e.Attempt != 1 || !e.Added.Equal(first.Added.Truncate(time.Millisecond)) {
				t.Errorf("came back as %+v", e)
			}
		}
	}
	watch.Until(t, "counted", func() bool { s := b.Status(); return !s.Counting && s.Waiting == 0 && s.Bytes == 0 })
	b.close()
	b = startBox(t, dir, with(r))
	again := entry("a", "3")
	b.add(again)
	if again.ID == first.ID {
		t.Error("an id was used twice")
	}
}

func TestBackOffWithoutErrorActionLasts48Hours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(context.Context, []*Entry) []error { return []error{errors.New("503")} }}
		o := with(r)
		var lost []Failure
		var at time.Time
		o.Failed = func(_ context.Context, b *store.Batch, f []Failure) error {
			lost, at = append(lost, f...), time.Now()
			return nil
		}
		b := startBox(t, t.TempDir(), o)
		begin := time.Now()
		b.add(entry("a", "x"))
		sleep(49 * time.Hour)
		calls := r.all()
		if len(lost) != 1 || lost[0].Err.Error() != "503" || string(lost[0].Entry.Data) != "x" {
			t.Fatalf("lost %+v", lost)
		}
		if age := at.Sub(begin); age < 48*time.Hour || age > 48*time.Hour+7*time.Minute {
			t.Errorf("given up after %v", age)
		}
		for i := 1; i < len(calls); i++ {
			want := min(maxPause, time.Second<<min(i-1, 20))
			if pause := calls[i].at.Sub(calls[i-1].at); pause < want*8/10 || pause > want*12/10 {
				t.Fatalf("pause %d is %v, want about %v", i, pause, want)
			}
			if calls[i].entries[0].Attempt != i+1 || calls[i].entries[0].ID != calls[0].entries[0].ID {
				t.Fatalf("attempt %d: %+v", i, calls[i].entries[0])
			}
		}
		if s := b.Status(); s.Failed != 1 || s.Retries != int64(len(calls)-1) || s.Waiting != 0 || b.stored() != 0 || s.Rules[0].LastError.Text != "503" {
			t.Errorf("status %+v, stored %d", s, b.stored())
		}
		b.close()
	})
}

func TestWithErrorActionAnEntryIsTriedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(context.Context, []*Entry) []error { return []error{errors.New("503")} }}
		o := with(r)
		var lost []string
		o.Failed = func(_ context.Context, b *store.Batch, f []Failure) error {
			lost = append(lost, string(f[0].Entry.Data)+string(f[0].Entry.Context))
			b.Set([]byte("i/error"), f[0].Entry.Data)
			return nil
		}
		b := startBox(t, t.TempDir(), o)
		for _, d := range []string{"1", "2"} {
			e := entry("a", d)
			e.HasErrorAction, e.Context = true, []byte("c")
			b.add(e)
		}
		sleep(time.Minute)
		// The second one was there during the first one's attempts: one of its own is enough.
		if got := r.data(); !slices.Equal(got, []string{"1", "1", "1", "2"}) {
			t.Errorf("delivered %v", got)
		}
		if !slices.Equal(lost, []string{"1c", "2c"}) || b.stored() != 0 {
			t.Errorf("lost %v, stored %d", lost, b.stored())
		}
		if v, found, err := b.st.Get([]byte("i/error")); string(v) != "2" || !found || err != nil {
			t.Errorf("Failed wrote %q %v %v", v, found, err)
		}
		b.close()
	})
}

func TestClassesOfErrors(t *testing.T) {
	for _, c := range []struct {
		name        string
		class       Class
		errorAction bool
		want        int // attempts within a minute, of two entries
	}{
		{"permanent", Permanent, false, 2},
		{"permanent, error action", Permanent, true, 2},
		{"uncertain, error action", Uncertain, true, 2},
		{"uncertain", Uncertain, false, 6}, // 0, 1, 3, 7, 15, 31 s
		{"unreachable, error action", Unreachable, true, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{answer: func(context.Context, []*Entry) []error { return []error{Fail(c.class, errors.New("no"))} }}
				b := startBox(t, t.TempDir(), with(r))
				e1, e2 := entry("a", 1), entry("a", 2)
				e1.HasErrorAction, e2.HasErrorAction = c.errorAction, c.errorAction
				b.add(e1, e2)
				sleep(55 * time.Second)
				if got := r.data(); len(got) != c.want {
					t.Errorf("delivered %v, want %d attempts", got, c.want)
				}
				b.close()
			})
		})
	}
}

func TestADestinationMayAskForAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		r.answer = func(context.Context, []*Entry) []error {
			if len(r.all()) > 1 {
				return nil
			}
			return []error{&Error{Class: Busy, Err: errors.New("503"), After: 40 * time.Second}}
		}
		b := startBox(t, t.TempDir(), with(r))
		b.add(entry("a", 1))
		sleep(39 * time.Second)
		if n := len(r.all()); n != 1 {
			t.Errorf("%d attempts before the pause was over", n)
		}
		sleep(2 * time.Second)
		if n := len(r.all()); n != 2 {
			t.Errorf("%d attempts", n)
		}
		b.close()
	})
}

func TestALaneInTroubleDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(ctx context.Context, e []*Entry) []error {
			if strings.HasPrefix(e[0].Lane, "bad") {
				time.Sleep(30 * time.Second) // a time limit that runs out
				return []error{Fail(Unreachable, errors.New("no answer"))}
			}
			return nil
		}}
		o := with(r)
		o.Workers = 4
		b := startBox(t, t.TempDir(), o)
		for i := range 20 {
			b.add(entry(fmt.Sprint("bad", i), i))
		}
		time.Sleep(time.Hour) // now all of them are known to be in trouble
		for range 20 {
			begin := time.Now()
			before := b.Status().Delivered
			b.add(entry("good", "x"))
			time.Sleep(time.Millisecond)
			if b.Status().Delivered != before+1 {
				t.Errorf("not delivered at once, at %v", time.Since(begin))
			}
			sleep(7 * time.Second)
		}
		s := b.Status()
		if len(s.Rules) != 1 || s.Rules[0].Troubled != 20 || s.Rules[0].Waiting != 20 {
			t.Errorf("status %+v", s)
		}
		b.close()
	})
}

func TestFailedThatFailsIsCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(context.Context, []*Entry) []error { return []error{Fail(Permanent, errors.New("400"))} }}
		o := with(r)
		n := 0
		o.Failed = func(_ context.Context, b *store.Batch, f []Failure) error {
			b.Set([]byte("i/lost"), nil)
			if n++; n < 3 {
				return errors.New("not now")
			}
			return nil
		}
		b := startBox(t, t.TempDir(), o)
		b.add(entry("a", 1))
		synctest.Wait()
		if _, found, _ := b.st.Get([]byte("i/lost")); found || b.stored() != 1 {
			t.Errorf("written %v, stored %d after a Failed that failed", found, b.stored())
		}
		sleep(time.Minute)
		if n != 3 || b.stored() != 0 || b.Status().Failed != 1 {
			t.Errorf("called %d times, stored %d, %+v", n, b.stored(), b.Status())
		}
		b.close()
	})
}

func TestFailedMayAdd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(_ context.Context, e []*Entry) []error {
			if e[0].Lane == "bad" {
				return []error{Fail(Permanent, errors.New("400"))}
			}
			return nil
		}}
		o := with(r)
		var b *box
		o.Failed = func(_ context.Context, batch *store.Batch, f []Failure) error {
			return b.Add(batch, entry("error action", "for "+string(f[0].Entry.Data)))
		}
		b = startBox(t, t.TempDir(), o)
		b.add(entry("bad", 1))
		synctest.Wait()
		if got := r.data(); !slices.Equal(got, []string{"1", "for 1"}) {
			t.Errorf("delivered %v", got)
		}
		b.close()
	})
}

func TestFull(t *testing.T) {
	r := &recorder{}
	for name, o := range map[string]Options{
		"entries": {MaxEntries: 3},
		"bytes":   {MaxBytes: 300},
	} {
		t.Run(name, func(t *testing.T) {
			o.Deliverers = map[string]Deliverer{"test": r}
			b := openBox(t, t.TempDir(), o)
			b.add(entry("a", 1), entry("a", 2), entry("b", 3))
			batch := b.st.NewBatch()
			defer batch.Discard()
			big := entry("a", strings.Repeat("x", 300))
			if err := b.Add(batch, big); !errors.Is(err, ErrFull) || !batch.Empty() {
				t.Errorf("got %v", err)
			}
			if s := b.Status(); s.Refused != 1 || s.Waiting != 3 {
				t.Errorf("status %+v", s)
			}
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			watch.Until(t, "there is room again", func() bool { return b.Status().Waiting == 0 })
			b.add(entry("a", 4))
		})
	}
}

func TestAddRefuses(t *testing.T) {
	b := openBox(t, t.TempDir(), with(&recorder{}))
	for want, e := range map[string]*Entry{
		"kind":           {},
		"no deliverer":   {Kind: "other"},
		"rule":           {Kind: "test", Rule: strings.Repeat("r", maxRule+1)},
		"destination":    {Kind: "test", Lane: strings.Repeat("r", maxLane+1)},
		"the action has": {Kind: "test", Data: make([]byte, maxEntry), Context: []byte{1}},
	} {
		batch := b.st.NewBatch()
		if err := b.Add(batch, e); err == nil || !strings.Contains(err.Error(), want) || !batch.Empty() {
			t.Errorf("got %v, want it to speak of %s", err, want)
		}
		batch.Discard()
	}
	if s := b.Status(); s.Waiting != 0 || s.Bytes != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestTooManyDestinationsShareALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		o := with(r)
		o.MaxLanes = 3
		dir := t.TempDir()
		b := openBox(t, dir, o)
		var want []string
		for i := range 50 {
			e := entry(fmt.Sprint("lane", i), i)
			e.Batch = &Batching{}
			b.add(e)
			want = append(want, fmt.Sprint(i))
		}
		if n := len(b.lanes); n != 4 {
			t.Errorf("%d lanes", n)
		}
		b.close()
		b = startBox(t, dir, o)
		sleep(time.Second)
		got := r.data() // none joined with another destination's
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || b.stored() != 0 {
			t.Errorf("delivered %v, stored %d", got, b.stored())
		}
		b.close()
	})
}

func TestDamagedAndUnknownEntries(t *testing.T) {
	dir := t.TempDir()
	r := &recorder{}
	b := openBox(t, dir, with(r))
	e := entry("a", "good")
	b.add(entry("a", "broken"), entry("a", "newer"), e)
	lane := newLaneID("test", "r", "a")
	newer := appendRecord(nil, &Entry{Kind: "test", Rule: "r", Lane: "a", Added: time.Now(), Data: []byte("newer")}, b.run)
	newer[0] = 2
	batch := b.st.NewBatch()
	batch.Set(appendKey(nil, lane, 1), []byte("\x01garbage"))
	batch.Set(appendKey(nil, lane, 2), newer)
	batch.Set([]byte("oeshort"), []byte("x"))
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	b.close()

	b = startBox(t, dir, with(r))
	watch.Until(t, "the good one is removed", func() bool { return b.stored() == 0 })
	if got := r.data(); !slices.Equal(got, []string{"good"}) || b.Status().Aside != 3 {
		t.Errorf("delivered %v, status %+v", got, b.Status())
	}
	// A mote that reads it performs it.
	newer[0] = recordVersion
	batch = b.st.NewBatch()
	batch.Set(append([]byte("ox"), appendKey(nil, lane, 2)[2:]...), newer)
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	b.close()
	b = startBox(t, dir, with(r))
	watch.Until(t, "the other one is delivered", func() bool { return b.Status().Delivered == 1 })
	if got := r.data(); !slices.Equal(got, []string{"good", "newer"}) || b.Status().Aside != 2 {
		t.Errorf("delivered %v, status %+v", got, b.Status())
	}
	b.close()

	b = startBox(t, dir, Options{})
	if s := b.Status(); s.Aside != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestAnEntryDamagedWhileRunningIsSetAside(t *testing.T) {
	r := &recorder{}
	b := openBox(t, t.TempDir(), with(r))
	b.add(entry("a", 1), entry("a", 2), entry("a", 3))
	batch := b.st.NewBatch()
	batch.Set(appendKey(nil, newLaneID("test", "r", "a"), 2), []byte{recordVersion})
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	watch.Until(t, "the others are delivered", func() bool { return slices.Equal(r.data(), []string{"1", "3"}) })
	if s := b.Status(); s.Aside != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestKindsWithoutDelivererWait(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir, with(&recorder{}))
	b.add(entry("a", 1))
	b.close()
	b = startBox(t, dir, Options{})
	watch.Until(t, "it is counted", func() bool { return !b.Status().Counting })
	if s := b.Status(); s.Waiting != 1 || s.Rules[0].Waiting != 1 || b.stored() != 1 {
		t.Errorf("status %+v, stored %d", s, b.stored())
	}
	b.close()
	r := &recorder{}
	b = startBox(t, dir, with(r))
	watch.Until(t, "it is delivered", func() bool { return len(r.data()) == 1 })
}

func TestCloseWaitsForDeliveriesAndKeepsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(ctx context.Context, e []*Entry) []error {
			time.Sleep(time.Second)
			return nil
		}}
		dir := t.TempDir()
		b := startBox(t, dir, with(r))
		b.add(entry("a", 1), entry("a", 2))
		synctest.Wait()
		b.close()
		if got := r.data(); !slices.Equal(got, []string{"1"}) {
			t.Errorf("delivered %v", got)
		}
		b = openBox(t, dir, with(r))
		if n := b.stored(); n != 1 {
			t.Errorf("stored %d", n)
		}
		b.close()
	})
}

func TestCloseCutsDeliveriesShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(ctx context.Context, e []*Entry) []error {
			<-ctx.Done()
			return []error{ctx.Err()}
		}}
		o := with(r)
		o.Failed = func(context.Context, *store.Batch, []Failure) error {
			t.Error("an interrupted entry was given up")
			return nil
		}
		dir := t.TempDir()
		b := startBox(t, dir, o)
		e := entry("a", 1)
		e.HasErrorAction = true
		b.add(e)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		if err := b.Outbox.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(begin))
		}
		if n := b.stored(); n != 1 {
			t.Errorf("stored %d", n)
		}
		if err := b.st.Close(); err != nil {
			t.Error(err)
		}
		b.st = nil
	})
}

func TestMemoryHoldsAWindowOnly(t *testing.T) {
	release := make(chan struct{})
	var held atomic.Int64
	r := &recorder{answer: func(_ context.Context, e []*Entry) []error {
		held.Add(1)
		<-release
		return nil
	}}
	b := startBox(t, t.TempDir(), with(r))
	batch := b.st.NewBatch()
	for i := range 5000 {
		if err := b.Add(batch, entry("a", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.st.Commit(batch); err != nil {
		t.Fatal(err)
	}
	watch.Until(t, "a delivery runs", func() bool { return held.Load() == 1 })
	b.mu.Lock()
	lanes, size := len(b.lanes), 0
	for _, l := range b.lanes {
		size += len(l.settled) + len(l.fails)
	}
	b.mu.Unlock()
	if lanes != 1 || size != 0 || b.Status().Waiting != 5000 {
		t.Errorf("%d lanes hold %d, %+v", lanes, size, b.Status())
	}
	close(release)
	watch.Until(t, "all are delivered", func() bool { return b.Status().Waiting == 0 })
}

// A rule whose destinations are many, and all dead, leaves workers for the others.
func TestManyNewLanesThatFailDelayNoOtherRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(ctx context.Context, e []*Entry) []error {
			if e[0].Rule == "r" {
				time.Sleep(10 * time.Second)
				return []error{Fail(Unreachable, errors.New("no answer"))}
			}
			return nil
		}}
		b := startBox(t, t.TempDir(), with(r))
		b.add(entry("first", 0))
		sleep(11 * time.Second)
		for i := range 100 {
			b.add(entry(fmt.Sprint(i), i))
		}
		sleep(time.Second)
		other := entry("good", "x")
		other.Rule = "other"
		b.add(other)
		sleep(time.Millisecond)
		if n := b.Status().Delivered; n != 1 {
			t.Errorf("%d were delivered", n)
		}
		b.close()
	})
}

func TestOnAFullDiskNothingIsRepeatedOrLost(t *testing.T) {
	dir := t.TempDir()
	b := openBox(t, dir, Options{Deliverers: map[string]Deliverer{"test": &recorder{}}})
	bad := entry("bad", "bad")
	b.add(entry("a", 1), entry("a", 2), bad)
	damaged := b.st.NewBatch()
	damaged.Set([]byte("oe"), nil)
	if err := b.st.Commit(damaged); err != nil {
		t.Fatal(err)
	}
	b.close()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{answer: func(_ context.Context, e []*Entry) []error {
			if e[0].Lane == "bad" {
				return []error{Fail(Permanent, errors.New("400"))}
			}
			return nil
		}}
		st, err := store.Open(dir, store.Options{MinFree: 1 << 60})
		if err != nil {
			t.Fatal(err)
		}
		ob, err := Open(st, with(r))
		if err != nil {
			t.Fatal(err)
		}
		full := &box{t: t, st: st, Outbox: ob}
		if err := full.Start(); err != nil {
			t.Fatal(err)
		}
		sleep(10 * time.Minute)
		n := map[string]int{}
		for _, d := range r.data() {
			n[d]++
		}
		// The one that cannot be given up is tried again, ever more slowly.
		if n["1"] != 1 || n["2"] != 1 || n["bad"] < 2 || n["bad"] > 12 || full.stored() != 4 || full.Status().Failed != 0 {
			t.Errorf("delivered %v, stored %d, status %+v", n, full.stored(), full.Status())
		}
		full.close()
	})
	r := &recorder{}
	b = startBox(t, dir, with(r))
	watch.Until(t, "all is removed", func() bool { return b.stored() == 0 })
	for _, c := range r.all() {
		if c.entries[0].Lane == "bad" && c.entries[0].ID != bad.ID {
			t.Errorf("id %s, want %s", c.entries[0].ID, bad.ID)
		}
	}
	if len(r.all()) != 3 || b.Status().Aside != 1 {
		t.Errorf("delivered %v, status %+v", r.data(), b.Status())
	}
}

// A copy of the store's files while it is in use is what a crash leaves.
func TestACrashLosesNothing(t *testing.T) {
	refused := func(data string) bool { // for now
		n, _ := strconv.Atoi(data)
		return n%3 == 1 && n >= 200
	}
	dir, copied := t.TempDir(), t.TempDir()
	reached := make(chan struct{})
	var once sync.Once
	r := &recorder{}
	r.answer = func(_ context.Context, e []*Entry) []error {
		if refused(string(e[0].Data)) {
			once.Do(func() { close(reached) })
			return []error{errors.New("503")}
		}
		return nil
	}
	b := startBox(t, dir, with(r))
	ids := map[string]string{}
	for i := range 400 {
		e := entry(fmt.Sprint(i%3), fmt.Sprintf("%04d", i))
		b.add(e)
		ids[string(e.Data)] = e.ID
	}
	<-reached
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	before := r.data()
	after := &recorder{}
	b2 := startBox(t, copied, with(after))
	watch.Until(t, "the rest is delivered", func() bool { return b2.stored() == 0 })
	done := map[string]bool{}
	for _, d := range before {
		done[d] = !refused(d)
	}
	last := map[string]string{}
	for _, c := range after.all() {
		e := c.entries[0]
		if e.ID != ids[string(e.Data)] {
			t.Errorf("%s came back with id %s, had %s", e.Data, e.ID, ids[string(e.Data)])
		}
		if string(e.Data) <= last[e.Lane] {
			t.Errorf("lane %s: %s after %s", e.Lane, e.Data, last[e.Lane])
		}
		last[e.Lane] = string(e.Data)
		done[string(e.Data)] = true
	}
	for d := range ids {
		if !done[d] {
			t.Errorf("%s was lost", d)
		}
	}
}
