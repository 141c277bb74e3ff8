// Package backup copies the data of a cloud, running or stopped, to a
// directory, brings it back into an empty one, and verifies what is in either.
//
// A backup is made under another name beside its directory, read back whole,
// and only then gets its name: a directory with the name is a good backup. It
// shares no file with the data. What it consists of is written in FORMAT.md.
//
// Everything that was acknowledged before a backup begins is in it. The data
// themselves are only read: of a running cloud through a checkpoint that it
// makes when it is asked ([Server]), of a stopped one under the store's lock.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"mote/internal/cloud/store"
)

// Names in a data directory, and in a backup.
const (
	storeDir   = "store"
	bucketsDir = "buckets"
	thingsDir  = "things"
)

// keptFiles are the files of a data directory that a backup holds when they
// are there: by them devices and tools get in.
var keptFiles = []string{"ca.pem", "credentials", "config", "api-key"}

// Options say what to back up.
type Options struct {
	Data     string // data directory of the cloud
	Dir      string // where the backup goes: not there, or empty
	Buckets  bool   // with the objects that rules and exports wrote
	Progress *Progress
}

// Progress is how far an operation is. A nil one is not kept.
type Progress struct {
	stage atomic.Pointer[string]
	bytes atomic.Int64
	items atomic.Int64
}

// begin names what is done from now on, and counts anew.
func (p *Progress) begin(stage string) {
	if p != nil {
		p.stage.Store(&stage)
		p.bytes.Store(0)
		p.items.Store(0)
	}
}

func (p *Progress) addBytes(n int64) {
	if p != nil {
		p.bytes.Add(n)
	}
}

func (p *Progress) addItems(n int64) {
	if p != nil {
		p.items.Add(n)
	}
}

// Text is one line for a person.
func (p *Progress) Text() string {
	stage := p.stage.Load()
	if stage == nil {
		return ""
	}
	text := *stage
	if n := p.bytes.Load(); n > 0 {
		text += fmt.Sprintf(", %.1f MiB", float64(n)/(1<<20))
	}
	if n := p.items.Load(); n > 0 {
		text += fmt.Sprintf(", %d items", n)
	}
	return text
}

// Make backs up o.Data and returns what the backup holds. After an error
// nothing is at o.Dir.
func Make(ctx context.Context, o Options) (m *Manifest, err error) {
	if err := checkTarget(o.Dir, o.Data); err != nil {
		return nil, err
	}
	o.Progress.begin("waiting for the cloud")
	src, err := openSource(ctx, o.Data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	err = build(o.Dir, func(part string) (err error) {
		m, err = o.copy(ctx, src, part)
		return err
	})
	return m, err
}

// copy makes the backup in part, an empty directory.
func (o *Options) copy(ctx context.Context, src *source, part string) (*Manifest, error) {
	began := time.Now()
	c := &copier{ctx: ctx, from: o.Data, to: part, progress: o.Progress}
	if err := o.room(src, part); err != nil {
		return nil, err
	}
	o.Progress.begin("copying")
	if err := c.store(src.store); err != nil {
		return nil, err
	}
	if err := c.files(o.Buckets); err != nil {
		return nil, err
	}
	found, err := examine(ctx, filepath.Join(part, storeDir), o.Progress)
	if err != nil {
		return nil, fmt.Errorf("the copy cannot be read, so it is no backup: %w", err)
	}
	if err := found.fault(); err != nil {
		return nil, fmt.Errorf("the data are damaged, so there is no backup of them: %w: mote verify tells all that is wrong", err)
	}
	m := &Manifest{
		Format: manifestFormat, Made: began.UTC().Truncate(time.Second), Account: found.Account, Running: src.running,
		Buckets: o.Buckets, Tables: found.tables(), Keys: found.Keys, LeftOut: c.leftOut,
	}
	return m, m.write(part, c.sums)
}

// room refuses what does not fit on the disk of the backup. The store there, if
// it is the cloud's disk, keeps its reserve.
func (o *Options) room(src *source, part string) error {
	need, err := treeSize(src.store)
	if err != nil {
		return err
	}
	for _, name := range o.trees() {
		n, err := treeSize(filepath.Join(o.Data, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		need += n
	}
	return checkRoom(part, need+need/16, "the backup")
}

// trees are the directories of the data directory that are backed up, but for
// the store.
func (o *Options) trees() []string {
	if o.Buckets {
		return []string{thingsDir, bucketsDir}
	}
	return []string{thingsDir}
}

// checkTarget refuses a directory that is not new or empty, or that lies in
// the one that is copied.
func checkTarget(dir, from string) error {
	if err := checkEmpty(dir); err != nil {
		return err
	}
	rel, err := filepath.Rel(from, dir)
	if err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%s lies in %s, which is copied: choose a directory outside of it, best on another disk", dir, from)
	}
	return nil
}

// checkEmpty refuses a directory that is not new or empty.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: it has %s: choose a directory that is not there yet, or an empty one", dir, entries[0].Name())
	}
	return nil
}

// checkRoom refuses a copy that would take the disk of dir below the reserve
// that a store keeps.
func checkRoom(dir string, need uint64, what string) error {
	free, err := store.Free(dir)
	if err != nil {
		return err
	}
	if need += store.Reserve; free < need {
		return fmt.Errorf("%w: %d MiB free on the disk of %s, %s needs %d MiB, with the %d MiB that stay free: make space, or choose another disk",
			store.ErrFull, free>>20, filepath.Dir(dir), what, (need+1<<20-1)>>20, uint64(store.Reserve)>>20)
	}
	return nil
}
