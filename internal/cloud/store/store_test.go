package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestCommitIsVisibleAndSurvivesReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := s.NewBatch()
	b.Set([]byte("ia"), []byte("1"))
	b.Set([]byte("ib"), []byte("2"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	it, err := s.Iterator([]byte("i"), PrefixEnd([]byte("i")))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var got string
	for it.First(); it.Valid(); it.Next() {
		got += string(it.Key()) + "=" + string(it.Value()) + " "
	}
	if got != "ia=1 ib=2 " {
		t.Errorf("got %q", got)
	}
}

func TestDoneComesInCommitOrder(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	var mu sync.Mutex
	last := map[int]int{}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var own sync.WaitGroup
			for i := range 200 {
				b := s.NewBatch()
				if i%3 != 0 { // an empty batch keeps its place too
					b.Set(fmt.Appendf(nil, "i%d-%d", g, i), []byte("x"))
				}
				own.Add(1)
				s.CommitAsync(b, func(err error) {
					defer own.Done()
					mu.Lock()
					defer mu.Unlock()
					if err != nil || last[g] != i {
						t.Errorf("goroutine %d: commit %d done after %d, err %v", g, i, last[g], err)
					}
					last[g] = i + 1
				})
			}
			own.Wait()
		})
	}
	wg.Wait()
}

func TestFullDiskRefusesWritesAndKeepsReading(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := s.NewBatch()
	b.Set([]byte("ia"), []byte("1"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	s.reserve.minFree = 1 << 60
	s.reserve.look()
	b = s.NewBatch()
	b.Set([]byte("ia"), []byte("2"))
	released, applied := false, true
	b.OnApplied(func() { released, applied = true, b.Applied() })
	if err := s.Commit(b); !errors.Is(err, ErrFull) || !released || applied {
		t.Errorf("err %v, released %v, applied %v", err, released, applied)
	}
	if v, ok, err := s.Get([]byte("ia")); string(v) != "1" || !ok || err != nil {
		t.Errorf("read %q %v %v", v, ok, err)
	}
	s.reserve.minFree = 1
	s.reserve.look()
	b = s.NewBatch()
	b.Set([]byte("ia"), []byte("3"))
	b.OnApplied(func() { applied = b.Applied() })
	if err := s.Commit(b); err != nil || !applied {
		t.Errorf("after space came back: %v, applied %v", err, applied)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v", err)
	}
}

func TestCommitAfterCloseIsRefused(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := s.NewBatch()
	b.Set([]byte("ia"), nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(b); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestBeforeApplyIsolatesReadModifyWrite(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	key := []byte("ia")
	const writers, each = 4, 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				b := s.NewBatch()
				b.BeforeApply(func() error {
					v, _, err := s.Get(key)
					b.Set(key, append(v, '+'))
					return err
				})
				if err := s.Commit(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v, _, err := s.Get(key); len(v) != writers*each || err != nil {
		t.Errorf("%d of %d additions are there, err %v", len(v), writers*each, err)
	}
}

func TestBeforeApplyRefusesTheBatch(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	refused := errors.New("refused")
	b := s.NewBatch()
	b.Set([]byte("ia"), nil)
	b.BeforeApply(func() error { return refused })
	b.BeforeApply(func() error { t.Error("called after a refusal"); return nil })
	if err := s.Commit(b); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if _, found, err := s.Get([]byte("ia")); found || err != nil {
		t.Errorf("found %v, err %v", found, err)
	}
}

func TestPrefixEnd(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "\xff": ""} {
		if got := string(PrefixEnd([]byte(in))); got != want {
			t.Errorf("PrefixEnd(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestBatchReadsItsOwnWrites(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	first := s.NewBatch()
	first.Set([]byte("ia"), []byte("1"))
	first.Set([]byte("ib"), []byte("1"))
	if err := s.Commit(first); err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	want := func(key, value string, found bool) {
		t.Helper()
		got, ok, err := b.Get([]byte(key))
		if err != nil || ok != found || string(got) != value {
			t.Errorf("%s is %q, %v, %v, want %q, %v", key, got, ok, err, value, found)
		}
	}
	want("ia", "1", true)
	b.Delete([]byte("ia"))
	b.Set([]byte("ic"), []byte("2"))
	want("ia", "", false)
	want("ib", "1", true)
	want("ic", "2", true)
	b.Set([]byte("ia"), nil)
	b.Delete([]byte("ic"))
	want("ia", "", true)
	want("ic", "", false)
	want("id", "", false)
	b.Discard()
}
