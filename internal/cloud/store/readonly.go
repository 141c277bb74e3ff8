package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// LockFile is the file of a store that its process holds a lock on. It is the
// one file that a copy of a store does not need.
const LockFile = "LOCK"

// IsStore says whether dir has files of a store, whole or not.
func IsStore(dir string) bool {
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		name := e.Name()
		return strings.HasPrefix(name, "marker.") || strings.HasPrefix(name, "MANIFEST-") || strings.HasSuffix(name, ".sst")
	})
}

// Lock keeps every other process from opening the store in dir until the
// returned closer is closed. It returns ErrInUse when one has it open.
func Lock(dir string) (io.Closer, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	l, err := pebble.LockDirectory(dir, vfs.Default)
	if isHeld(err) {
		return nil, inUse(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock store %s: %w", dir, err)
	}
	return l, nil
}

// isHeld says whether err is that of a lock that somebody has.
func isHeld(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "lock held by current process") || // Pebble has no error value for it
		errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES))
}

func inUse(dir string) error {
	return fmt.Errorf("%s: %w: stop it first, or choose another directory with --data", filepath.Dir(dir), ErrInUse)
}

// Frozen is a store that is only read. Its methods are safe for concurrent use.
type Frozen struct {
	db    *pebble.DB
	cache *pebble.Cache
	dir   string
}

// unlocked is a file system on which a store can be opened without a lock, and
// so without writing anything.
type unlocked struct{ vfs.FS }

func (unlocked) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// OpenReadOnly opens the store in dir and changes nothing in it. Nobody may
// write to it meanwhile: it is a checkpoint or a backup, or the caller has it
// from [Lock].
func OpenReadOnly(dir string) (*Frozen, error) {
	if err := checkManifest(dir); err != nil {
		return nil, err
	}
	f := &Frozen{cache: pebble.NewCache(8 << 20), dir: dir}
	opts := &pebble.Options{
		FS:       unlocked{vfs.Default},
		ReadOnly: true,
		Cache:    f.cache,
		// What is damaged comes back as an error of the read that met it.
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
		MaxOpenFiles:  256,
		Logger:        pebbleLog{slog.New(slog.DiscardHandler), func(err error) { panic(err) }},
	}
	err := f.Guard(func() (err error) {
		f.db, err = pebble.Open(dir, opts)
		return err
	})
	if err != nil {
		f.cache.Unref()
		return nil, explain(dir, err)
	}
	v, found, err := f.Get(formatKey)
	switch {
	case err != nil:
	case !found:
		err = fmt.Errorf("%s is no store of mote: it has no format version", dir)
	case string(v) != formatVersion:
		err = fmt.Errorf("the store has format %q, this mote reads %q: use the mote that wrote it", v, formatVersion)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Guard runs do and turns a panic, which is how Pebble reports some kinds of
// damage, into an error.
func (f *Frozen) Guard(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged: %v", r)
		}
	}()
	return do()
}

// Get implements Reader.
func (f *Frozen) Get(key []byte) (value []byte, found bool, err error) { return get(f.db, key) }

// Iterator implements Reader.
func (f *Frozen) Iterator(lower, upper []byte) (*pebble.Iterator, error) {
	return f.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
}

// Close closes the store.
func (f *Frozen) Close() error {
	err := f.db.Close()
	f.cache.Unref()
	return err
}

// CheckFiles reads every block of every table file and compares its checksum,
// also those that no key leads to any more, and returns the names of the
// damaged files with what is wrong. read is told the bytes as they are read.
func (f *Frozen) CheckFiles(ctx context.Context, read func(bytes int64)) (damaged map[string]error, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	used, err := f.files()
	if err != nil {
		return nil, err
	}
	damaged = map[string]error{}
	for _, e := range entries {
		if !slices.Contains(used, e.Name()) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		path := filepath.Join(f.dir, e.Name())
		if err := f.Guard(func() error { return checkFile(ctx, path) }); err != nil {
			damaged[e.Name()] = err
		}
		if info, err := e.Info(); err == nil {
			read(info.Size())
		}
	}
	return damaged, nil
}

// files are the names of the table files that the store consists of.
func (f *Frozen) files() (names []string, err error) {
	levels, err := f.db.SSTables()
	if err != nil {
		return nil, err
	}
	for _, level := range levels {
		for _, t := range level {
			names = append(names, fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum)))
		}
	}
	return names, nil
}

func checkFile(ctx context.Context, path string) error {
	file, err := vfs.Default.Open(path)
	if err != nil {
		return err
	}
	r, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	table, err := sstable.NewReader(ctx, r, sstable.ReaderOptions{})
	if err != nil {
		return errors.Join(err, r.Close())
	}
	return errors.Join(table.ValidateBlockChecksums(), table.Close())
}
