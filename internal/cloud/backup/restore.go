package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func newHash() hash.Hash { return sha256.New() }

// Restore makes data, which is not there or empty, the data directory that the
// backup in dir was made of. Every file is held to its sum, and the store is
// read back whole, before data gets its name; after an error nothing is there.
func Restore(ctx context.Context, dir, data string, p *Progress) (*Manifest, error) {
	if err := checkTarget(data, dir); err != nil {
		return nil, err
	}
	m, s, err := load(dir)
	if err != nil {
		return nil, err
	}
	if err := checkNames(dir, s); err != nil {
		return nil, err
	}
	err = build(data, func(part string) error { return restore(ctx, dir, part, m, s, p) })
	return m, err
}

func restore(ctx context.Context, dir, part string, m *Manifest, s sums, p *Progress) error {
	need, err := treeSize(dir)
	if err != nil {
		return err
	}
	if err := checkRoom(part, need+need/16, "the restored data"); err != nil {
		return err
	}
	p.begin("copying")
	c := &copier{ctx: ctx, from: dir, to: part, progress: p}
	for _, f := range s {
		if f.name == manifestName {
			if err := f.check(ctx, dir, p); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Join(part, filepath.Dir(f.name)), 0o700); err != nil {
			return err
		}
		if err := c.file(filepath.Join(dir, f.name), f.name); err != nil {
			return err
		}
		if got := c.sums[len(c.sums)-1]; got != f {
			return f.differs()
		}
	}
	found, err := examine(ctx, filepath.Join(part, storeDir), p)
	if err != nil {
		return err
	}
	return errors.Join(found.fault(), m.compare(found))
}

func (f sum) differs() error {
	return fmt.Errorf("the backup is damaged: %s is not what it was when the backup was made (its SHA-256 sum differs): use another backup", f.name)
}

// check reads the file in dir and compares its sum.
func (f sum) check(ctx context.Context, dir string, p *Progress) error {
	file, err := os.Open(filepath.Join(dir, f.name))
	if err != nil {
		return err
	}
	defer file.Close()
	h := newHash()
	if _, err := io.Copy(h, &metered{ctx, file, p}); err != nil {
		return err
	}
	if hexOf(h) != f.hex {
		return f.differs()
	}
	return nil
}

// checkNames holds the files of a backup to those that it should have.
func checkNames(dir string, s sums) error {
	names, err := walkFiles(dir)
	if err != nil {
		return err
	}
	listed := map[string]bool{sumsName: true}
	for _, f := range s {
		listed[f.name] = true
		info, err := os.Lstat(filepath.Join(dir, f.name))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("the backup is damaged: its file %s is missing: use another backup", f.name)
		}
		if err != nil {
			return err
		}
	}
	extra := slices.DeleteFunc(names, func(name string) bool { return listed[name] })
	if len(extra) > 0 {
		return fmt.Errorf("the backup holds files that were not in it when it was made: %s: take them out if you put them there",
			strings.Join(extra[:min(len(extra), 3)], ", "))
	}
	return nil
}
