package outbox

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheReserveIsForKeptEntries fills what entries without Keep may use, and
// then what is left.
func TestTheReserveIsForKeptEntries(t *testing.T) {
	o := with(&recorder{})
	o.MaxEntries, o.Reserve = 10, 40
	b := openBox(t, t.TempDir(), o)
	add := func(keep bool) error {
		batch := b.st.NewBatch()
		e := entry("a", "x")
		e.Keep = keep
		if err := b.Add(batch, e); err != nil {
			batch.Discard()
			return err
		}
		return b.st.Commit(batch)
	}
	for i := range 10 {
		keep := i >= 6
		if err := add(false); (err == nil) != !keep || keep && !errors.Is(err, ErrFull) {
			t.Errorf("entry %d without Keep: %v", i, err)
		}
		if keep {
			if err := add(true); err != nil {
				t.Errorf("entry %d with Keep: %v", i, err)
			}
		}
	}
	if err := add(true); !errors.Is(err, ErrFull) {
		t.Errorf("one more with Keep: %v", err)
	}
	if n := b.stored(); n != 10 {
		t.Errorf("%d are stored", n)
	}
}

// TestAKeptEntryOutlivesItsAge tries an entry with Keep for long after the age
// at which others are given up, also over a restart, until it is done.
func TestAKeptEntryOutlivesItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Bool
		r := &recorder{answer: func(_ context.Context, e []*Entry) []error {
			if !back.Load() {
				return all(len(e), errors.New("503"))
			}
			return nil
		}}
		o := with(r)
		o.MaxAge = time.Hour
		dir := t.TempDir()
		b := startBox(t, dir, o)
		kept, other := entry("kept", 1), entry("other", 2)
		kept.Keep = true
		b.add(kept, other)
		sleep(3 * time.Hour)
		if n := b.stored(); n != 1 {
			t.Errorf("%d are stored after three hours", n)
		}
		b.close()
		b = startBox(t, dir, o)
		sleep(72 * time.Hour)
		if n := b.stored(); n != 1 {
			t.Errorf("%d are stored after three days", n)
		}
		back.Store(true)
		sleep(10 * time.Minute)
		calls := r.all()
		if last := calls[len(calls)-1].entries[0]; b.stored() != 0 || string(last.Data) != "1" || !last.Keep {
			t.Errorf("%d are stored, the last delivered is %+v", b.stored(), last)
		}
		b.close()
	})
}
