package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is the file system under a spool: the seam through which tests make
// disks fail. Names are paths. [OS] is the real one.
type FS interface {
	// MkdirAll makes dir and its parents, mode 0700.
	MkdirAll(dir string) error
	// ReadDir returns the names of the entries of dir, sorted.
	ReadDir(dir string) ([]string, error)
	// Create makes a new file, mode 0600, for reading and writing; it fails
	// when the name exists.
	Create(name string) (File, error)
	// Open opens an existing file, for writing too when write is set.
	Open(name string, write bool) (File, error)
	// Rename gives a file another name, atomically.
	Rename(from, to string) error
	// Remove deletes a file.
	Remove(name string) error
	// SyncDir makes creations, renames and removals in dir durable.
	SyncDir(dir string) error
	// Lock takes the exclusive lock of the file called name, which it makes
	// when missing, or fails at once with an error that wraps [ErrLocked].
	Lock(name string) (Lock, error)
}

// Lock is a lock that is held until it is closed.
type Lock interface {
	io.Closer
	// Held returns an error when the name leads to another file now, or none.
	Held() error
}

// File is an open file of an [FS].
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the length in bytes.
	Size() (int64, error)
	// Allocate makes an empty file size bytes long and reserves its blocks,
	// which read as zeros, or fails with [errors.ErrUnsupported].
	Allocate(size int64) error
	// Datasync returns when every byte written is on the device.
	Datasync() error
	// Uncache makes the next reads ask the device, not memory.
	Uncache()
}

// ErrLocked says that another process has the spool open.
var ErrLocked = errors.New("spool is in use by another process")

// OS is the operating system's file system.
type OS struct{}

// MkdirAll makes dir and its parents, mode 0700.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

// ReadDir returns the sorted names in dir.
func (OS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// Create makes a new file, mode 0600.
func (OS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open opens an existing file.
func (OS) Open(name string, write bool) (File, error) {
	if write {
		return openOS(name, os.O_RDWR)
	}
	return openOS(name, os.O_RDONLY)
}

// openOS keeps a nil *os.File out of the File interface.
func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename is rename(2).
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove is unlink(2).
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncDir is fsync(2) on the directory.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock is flock(2), which the kernel gives back when the process ends. A
// read-only file system can be locked too when the file exists.
func (OS) Lock(name string) (Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, syscall.EROFS) {
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osLock{f, info}, nil
}

// osLock is a locked file and how it looked then.
type osLock struct {
	*os.File
	info os.FileInfo
}

// Held compares device and inode.
func (l osLock) Held() error {
	now, err := os.Stat(l.Name())
	if err == nil && !os.SameFile(l.info, now) {
		err = errors.New("another directory is in its place")
	}
	return err
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("%w: %s is locked", ErrLocked, f.Name())
		default:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// inUse reports whether a process holds a lock of [OS.Lock], from proc_locks(5):
// asking flock(2) would keep that process's own attempt from succeeding.
func inUse(name string) (bool, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(locks)) {
		f := strings.Fields(line) // number, FLOCK, ADVISORY, WRITE, process, device:inode, …
		if len(f) > 5 && f[1] == "FLOCK" && strings.HasSuffix(f[5], fmt.Sprintf(":%d", st.Ino)) {
			return true, nil
		}
	}
	return false, nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Allocate is fallocate(2), which most file systems do without writing the
// blocks.
func (f osFile) Allocate(size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ENOSYS):
			return errors.ErrUnsupported
		default: // EOPNOTSUPP is errors.ErrUnsupported
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
	}
}

// Uncache makes the next reads ask the device.
func (f osFile) Uncache() {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // at worst it asks the cache, as without
}

func (f osFile) Datasync() error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
