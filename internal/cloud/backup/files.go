package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mote/internal/cloud/store"
)

// build lets do fill an empty directory beside dir, brings it to the disk, and
// gives it the name dir. After an error nothing is left.
func build(dir string, do func(part string) error) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	part := filepath.Join(parent, "."+filepath.Base(dir)+".part-"+rand.Text()[:8])
	if err := os.Mkdir(part, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	if err := do(part); err != nil {
		return err
	}
	if err := syncDirs(part); err != nil {
		return err
	}
	if err := checkEmpty(dir); err != nil {
		return err
	}
	if err := os.Rename(part, dir); err != nil { // onto an empty directory too (rename(2))
		return err
	}
	return syncDir(parent)
}

// syncDirs brings the names in all directories of a tree to the disk; the files
// are there already.
func syncDirs(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncDir(path)
	})
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func treeSize(root string) (n uint64, err error) {
	err = filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += uint64(info.Size())
		}
		return err
	})
	return n, err
}

// copier copies files of a data directory and takes their sums.
type copier struct {
	ctx      context.Context
	from, to string // directories
	progress *Progress
	sums     sums
	leftOut  []string // what is neither a file nor a directory
}

// store copies the store in dir, where nobody writes.
func (c *copier) store(dir string) error {
	if err := os.Mkdir(filepath.Join(c.to, storeDir), 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == store.LockFile || !e.Type().IsRegular() {
			continue
		}
		if err := c.file(filepath.Join(dir, e.Name()), filepath.Join(storeDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// files copies all else.
func (c *copier) files(buckets bool) error {
	for _, name := range keptFiles {
		if err := c.file(filepath.Join(c.from, name), name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	trees := (&Options{Buckets: buckets}).trees()
	for _, name := range trees {
		if err := c.tree(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// tree copies a directory of the data directory. Links are left out: what they
// lead to is not the cloud's.
func (c *copier) tree(name string) error {
	root, err := os.OpenRoot(filepath.Join(c.from, name))
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was replaced meanwhile
		}
		if err != nil {
			return err
		}
		to := filepath.Join(name, path)
		switch {
		case path == ".parts": // objects that are being written
			return fs.SkipDir
		case e.IsDir():
			return os.Mkdir(filepath.Join(c.to, to), 0o700)
		case !e.Type().IsRegular():
			c.leftOut = append(c.leftOut, to)
			return nil
		}
		f, err := root.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.stream(f, to)
	})
}

// file copies one file to a name in the target.
func (c *copier) file(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	return c.stream(f, to)
}

// stream copies f, which it closes, and notes its sum.
func (c *copier) stream(f *os.File, to string) error {
	defer f.Close()
	out, err := os.OpenFile(filepath.Join(c.to, to), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), c.reader(f))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copy %s: %w", to, err)
	}
	c.sums = append(c.sums, sum{to, hexOf(h)})
	return nil
}

// reader tells the progress, and ends with the context.
func (c *copier) reader(r io.Reader) io.Reader { return &metered{c.ctx, r, c.progress} }

type metered struct {
	ctx      context.Context
	r        io.Reader
	progress *Progress
}

func (m *metered) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.progress.addBytes(int64(n))
	return n, err
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// walkFiles returns the names of all files in dir, in order.
func walkFiles(dir string) (names []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, name)
		return err
	})
	slices.Sort(names)
	return names, err
}
