package store

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// roomToOpen refuses to open a store without the space that the start itself
// takes: Pebble would wait for it without a word.
func roomToOpen(dir string, need uint64) error {
	free, err := Free(dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%w: %d MiB free on the disk of %s, the store needs %d MiB to start: free some space and start again", ErrFull, free>>20, dir, need>>20)
	}
	return nil
}

// Reserve is how many bytes of the disk a store leaves free by default.
const Reserve = 64 << 20

// reserve refuses writes while the disk has less free space than it should,
// since Pebble cannot go on once a write of its own fails.
//
// Batches that only remove keys are what makes space again (an item that is
// deleted, an action that was performed), so they go on, with the notes that
// belong to them, down to half of the reserve, which is what the next start
// needs at the least (roomToOpen).
type reserve struct {
	dir     string
	minFree uint64
	log     *slog.Logger
	full    atomic.Bool  // less than minFree is free
	brink   atomic.Bool  // less than half of it
	written atomic.Int64 // bytes since the last look
	quit    chan struct{}
	done    sync.WaitGroup
}

// lookEvery bounds how much can be written between two looks at the disk.
const lookEvery = 4 << 20

func newReserve(dir string, minFree uint64, log *slog.Logger) *reserve {
	r := &reserve{dir: dir, minFree: minFree, log: log, quit: make(chan struct{})}
	r.look()
	r.done.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-tick.C:
				r.look()
			case <-r.quit:
				tick.Stop()
				return
			}
		}
	})
	return r
}

func (r *reserve) stop() { close(r.quit); r.done.Wait() }

func (r *reserve) check(bytes int, removes bool) error {
	if r.written.Add(int64(bytes)) > lookEvery {
		r.look()
	}
	if r.full.Load() && (!removes || r.brink.Load()) {
		return fmt.Errorf("%w: less than %d MiB free on the disk of %s: free some space, writes resume by themselves", ErrFull, r.minFree>>20, r.dir)
	}
	return nil
}

func (r *reserve) look() {
	r.written.Store(0)
	free, err := Free(r.dir)
	if err != nil {
		r.log.Warn("cannot read the free space of the data disk", "dir", r.dir, "err", err)
		return
	}
	r.brink.Store(free < r.minFree/2)
	full := free < r.minFree
	if was := r.full.Swap(full); was != full {
		if full {
			r.log.Error("data disk is full, refusing writes", "dir", r.dir, "reserve_mib", r.minFree>>20)
		} else {
			r.log.Info("data disk has space again, accepting writes", "dir", r.dir)
		}
	}
}
