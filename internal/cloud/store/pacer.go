package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// pacer is the file system under Pebble. It slows down flushes and compactions
// after one has failed: Pebble tries them again at once and for ever, which on
// a full disk would take a processor and fill the log.
type pacer struct {
	vfs.FS
	log  *slog.Logger
	quit chan struct{}

	mu     sync.Mutex
	until  time.Time // guarded by mu; no new table before
	logged time.Time // guarded by mu
	missed int       // guarded by mu; failures since then
}

const (
	flushPause   = time.Second
	flushLogging = 30 * time.Second // between two log lines
)

func newPacer(below vfs.FS, log *slog.Logger) *pacer {
	return &pacer{FS: below, log: log, quit: make(chan struct{})}
}

// Unwrap returns the file system below.
func (p *pacer) Unwrap() vfs.FS { return p.FS }

func (p *pacer) stop() { close(p.quit) }

// failed is told every error of Pebble's background work. Pebble holds its lock
// meanwhile, so it only takes a note.
func (p *pacer) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.until = now.Add(flushPause)
	if p.missed++; now.Sub(p.logged) < flushLogging {
		return
	}
	p.log.Error("the store cannot write its tables, it tries again; everything acknowledged is in its log", "err", err, "failures", p.missed)
	p.logged, p.missed = now, 0
}

// Create makes a file. A table, which is what flushes and compactions write,
// waits for the pause after a failure; Pebble holds no lock then.
func (p *pacer) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") {
		p.mu.Lock()
		pause := time.Until(p.until)
		p.mu.Unlock()
		if pause > 0 {
			t := time.NewTimer(pause)
			defer t.Stop()
			select {
			case <-t.C:
			case <-p.quit:
			}
		}
	}
	return p.FS.Create(name, category)
}

// Link makes newname a second name of oldname. A file system that has no hard
// links, or a kernel that allows none here, says that it is not permitted,
// which Pebble takes for final: it copies the file when it hears anything else.
func (p *pacer) Link(oldname, newname string) error {
	err := p.FS.Link(oldname, newname)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("no hard links here: %s", err)
	}
	return err
}
