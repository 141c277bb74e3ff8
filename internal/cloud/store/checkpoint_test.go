package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func fill(t *testing.T, s *Store, from, to int) {
	t.Helper()
	for i := from; i < to; i += 50 {
		b := s.NewBatch()
		for k := i; k < min(i+50, to); k++ {
			b.Set(fmt.Appendf(nil, "i%06d", k), make([]byte, 2000))
		}
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
}

func keys(t *testing.T, r Reader) (n int) {
	t.Helper()
	it, err := r.Iterator([]byte("i"), []byte("j"))
	if err != nil {
		t.Fatal(err)
	}
	for it.First(); it.Valid(); it.Next() {
		n++
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		t.Fatal(err)
	}
	return n
}

func openReadOnly(t *testing.T, dir string) *Frozen {
	t.Helper()
	f, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestCheckpointHoldsWhatWasAcknowledged(t *testing.T) {
	root := t.TempDir()
	s := open(t, filepath.Join(root, "store"), Options{MemTable: 256 << 10, MinFree: 1})
	fill(t, s, 0, 1000)
	var acked atomic.Int64
	quit := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 1000; ; i++ {
			select {
			case <-quit:
				return
			default:
			}
			b := s.NewBatch()
			b.Set(fmt.Appendf(nil, "i%06d", i), make([]byte, 2000))
			if s.Commit(b) == nil {
				acked.Add(1)
			}
		}
	})
	for acked.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	before := int(1000 + acked.Load())
	dir := filepath.Join(root, "copy")
	if err := s.Checkpoint(dir); err != nil {
		t.Fatal(err)
	}
	close(quit)
	writer.Wait()
	after := int(1001 + acked.Load())
	f := openReadOnly(t, dir)
	if n := keys(t, f); n < before || n > after {
		t.Errorf("%d keys, want %d to %d", n, before, after)
	}
	damaged, err := f.CheckFiles(context.Background(), func(int64) {})
	if len(damaged) != 0 || err != nil {
		t.Errorf("damaged: %v, %v", damaged, err)
	}
	if err := s.Checkpoint(dir); err == nil {
		t.Error("a checkpoint over another one is made")
	}
	if n := keys(t, f); n < before {
		t.Errorf("the second checkpoint took the first one: %d keys", n)
	}
}

func TestCheckpointLeavesTheReserve(t *testing.T) {
	root := t.TempDir()
	s := open(t, filepath.Join(root, "store"), Options{MinFree: 1 << 60})
	dir := filepath.Join(root, "copy")
	if err := s.Checkpoint(dir); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(dir); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// names are the files of a directory with their sizes.
func names(t *testing.T, dir string) (all string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all += fmt.Sprint(e.Name(), " ", info.Size(), "\n")
	}
	return all
}

func TestReadingChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{MemTable: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 500)
	if _, err := Lock(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("lock of an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("open of a locked store: %v", err)
	}
	was := names(t, dir)
	f, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := keys(t, f); n != 500 {
		t.Errorf("%d keys", n)
	}
	if err := errors.Join(f.Close(), lock.Close()); err != nil {
		t.Error(err)
	}
	if now := names(t, dir); now != was {
		t.Errorf("before:\n%s after:\n%s", was, now)
	}
	if _, err := OpenReadOnly(t.TempDir()); err == nil {
		t.Error("an empty directory is a store")
	}
}

func TestADamagedFileIsNamed(t *testing.T) {
	for _, where := range []float64{0.1, 0.5, 0.9} {
		dir := t.TempDir()
		s := open(t, dir, Options{MemTable: 256 << 10})
		fill(t, s, 0, 1000)
		if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
		if len(files) == 0 {
			t.Fatal("no table files")
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		data[int(where*float64(len(data)))] ^= 0x40
		if err := os.WriteFile(files[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
		f := openReadOnly(t, dir)
		damaged, err := f.CheckFiles(context.Background(), func(int64) {})
		if err != nil || len(damaged) != 1 || damaged[filepath.Base(files[0])] == nil {
			t.Errorf("damage at %v: %v, %v", where, damaged, err)
		}
	}
}

func TestRemovingGoesOnBelowTheReserve(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	set := func() error {
		b := s.NewBatch()
		b.Set([]byte("ia"), []byte("1"))
		return s.Commit(b)
	}
	remove := func() error {
		b := s.NewBatch()
		b.Delete([]byte("ia"))
		b.DeleteRange([]byte("ib"), []byte("ic"))
		return s.Commit(b)
	}
	free, err := Free(s.reserve.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.reserve.minFree = free + free/2
	s.reserve.look()
	if err := set(); !errors.Is(err, ErrFull) {
		t.Errorf("write below the reserve: %v", err)
	}
	if err := remove(); err != nil {
		t.Errorf("removal below the reserve: %v", err)
	}
	note := func(sets bool) error {
		b := s.NewBatch()
		b.Delete([]byte("ia"))
		if b.Note([]byte("ea"), []byte("ia went")); sets {
			b.Set([]byte("ib"), nil)
		}
		return s.Commit(b)
	}
	if err := note(false); err != nil {
		t.Errorf("removal with a note of it below the reserve: %v", err)
	}
	if value, found, err := s.Get([]byte("ea")); string(value) != "ia went" || !found || err != nil {
		t.Errorf("the note is %q, %v, %v", value, found, err)
	}
	if err := note(true); !errors.Is(err, ErrFull) {
		t.Errorf("write with a note below the reserve: %v", err)
	}
	s.reserve.minFree = 3 * free
	s.reserve.look()
	if err := remove(); !errors.Is(err, ErrFull) {
		t.Errorf("removal below half of the reserve: %v", err)
	}
	if err := note(false); !errors.Is(err, ErrFull) {
		t.Errorf("removal with a note of it below half of the reserve: %v", err)
	}
	s.reserve.minFree = 1
	s.reserve.look()
	if err := errors.Join(set(), remove()); err != nil {
		t.Error(err)
	}
}
