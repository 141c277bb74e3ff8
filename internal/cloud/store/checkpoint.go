package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// Checkpoint makes dir, which must not be there, a store of its own that holds
// what this one holds at this moment: every commit whose done function was
// called before, and each commit whole or not at all. It is on disk when
// Checkpoint returns; after an error nothing is left of it. Commits go on
// meanwhile.
//
// Files that never change again are shared by hard links where the file system
// allows it, so a checkpoint beside the store takes little time and space. One
// that would take the disk below its reserve is refused with ErrFull.
func (s *Store) Checkpoint(dir string) error {
	s.commitMu.RLock() // Close waits
	defer s.commitMu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	if err := s.roomFor(dir); err != nil {
		return err
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("checkpoint in %s: %w", dir, err)
	}
	return nil
}

// slack is what a copy takes beyond the sizes of its files: directories, and
// files that grow while it is made.
const slack = 4 << 20

// roomFor refuses a checkpoint in dir for which there is no room.
func (s *Store) roomFor(dir string) error {
	parent := filepath.Dir(dir)
	linked, err := sameDisk(s.reserve.dir, parent)
	if err != nil {
		return err
	}
	need, err := copySize(s.reserve.dir, linked)
	if err != nil {
		return err
	}
	need += slack
	if linked {
		need += s.reserve.minFree
	}
	free, err := Free(parent)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%w: %d MiB free on the disk of %s, a checkpoint needs %d MiB there: free some space and try again", ErrFull, free>>20, parent, (need+1<<20-1)>>20)
	}
	return nil
}

func sameDisk(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Stat(a, &sa); err != nil {
		return false, fmt.Errorf("%s: %w", a, err)
	}
	if err := unix.Stat(b, &sb); err != nil {
		return false, fmt.Errorf("%s: %w", b, err)
	}
	return sa.Dev == sb.Dev, nil
}

// copySize is how many bytes a copy of the store in dir takes; linked says that
// files which never change are shared.
func copySize(dir string, linked bool) (n uint64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a compaction has removed it
		}
		if err != nil {
			return 0, err
		}
		if info.Mode().IsRegular() && !(linked && immutable(e.Name())) {
			n += uint64(info.Size())
		}
	}
	return n, nil
}

// immutable says whether the file of a store with this name never changes once
// it is written, so that a copy may share it by a hard link.
func immutable(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".sst" || ext == ".blob"
}

// Free returns how many bytes are free on the disk of dir.
func Free(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}
