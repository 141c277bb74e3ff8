package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"mote/internal/watch"
)

// fullFS has no space for files whose names end in suffix while full is set.
type fullFS struct {
	vfs.FS
	suffix  string
	full    atomic.Bool
	creates atomic.Int64 // of such files
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

func (f *fullFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	if err == nil && strings.HasSuffix(name, f.suffix) {
		f.creates.Add(1)
		return fullFile{file, f}, nil
	}
	return file, err
}

func (f fullFile) Write(p []byte) (int, error) {
	if f.fs.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

func TestAFailedLogStopsTheStoreAndAcknowledgesNothing(t *testing.T) {
	for name, handler := range map[string]func(func()){
		"plain": func(f func()) { f() },
		"inside a handler that recovers": func(f func()) {
			defer func() { _ = recover() }()
			f()
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := &fullFS{FS: vfs.Default, suffix: ".log"}
			fatal := make(chan error, 100)
			s, err := Open(t.TempDir(), Options{fs: fs, Fatal: func(err error) { fatal <- err; select {} }})
			if err != nil {
				t.Fatal(err)
			}
			fs.full.Store(true)
			var acked atomic.Int64
			for i := range 4 {
				go handler(func() {
					for n := range 100 {
						b := s.NewBatch()
						b.Set(fmt.Appendf(nil, "i%d-%d", i, n), make([]byte, 10<<10))
						if s.Commit(b) == nil {
							acked.Add(1)
						}
					}
				})
			}
			select {
			case err := <-fatal:
				if !strings.Contains(err.Error(), "no space left") {
					t.Errorf("stopped by %v", err)
				}
			case <-time.After(watch.Patience):
				t.Fatal("the log cannot be written, and the store goes on")
			}
			time.Sleep(50 * time.Millisecond)
			if n := acked.Load(); n != 0 {
				t.Errorf("%d commits were acknowledged", n)
			}
		})
	}
}

func TestTablesThatCannotBeWrittenAreTriedAgainSlowly(t *testing.T) {
	fs := &fullFS{FS: vfs.Default, suffix: ".sst"}
	log := &watch.Log{}
	s := open(t, t.TempDir(), Options{fs: fs, Log: log.Logger()})
	b := s.NewBatch()
	b.Set([]byte("ia"), []byte("1"))
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	fs.full.Store(true)
	fs.creates.Store(0)
	begin := time.Now()
	flushed, err := s.db.AsyncFlush()
	if err != nil {
		t.Fatal(err)
	}
	watch.Until(t, "a table is tried", func() bool { return fs.creates.Load() > 0 })
	time.Sleep(300 * time.Millisecond)
	n := fs.creates.Load()
	if took := time.Since(begin); n > 3+3*int64(took/flushPause) {
		t.Errorf("tried %d times in %v", n, took)
	}
	if v, ok, err := s.Get([]byte("ia")); string(v) != "1" || !ok || err != nil {
		t.Errorf("read %q %v %v meanwhile", v, ok, err)
	}
	fs.full.Store(false)
	select {
	case <-flushed:
	case <-time.After(watch.Patience):
		t.Error("the store does not go on when there is space again")
	}
	if n := log.Count("it tries again"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log)
	}
}

func TestOpenNeedsRoom(t *testing.T) {
	_, err := Open(t.TempDir(), Options{MemTable: 1 << 60})
	if err == nil || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("got %v", err)
	}
}
