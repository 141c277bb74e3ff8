package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// ErrAway says that the directory of an open spool is not in its place any
// more: its disk was pulled out or unmounted, or somebody moved or removed it.
// Nothing is written elsewhere, and nothing that waits is passed over, until it
// is back.
var ErrAway = errors.New("the spool's directory is away")

const (
	searchPause = time.Second // between looks for a directory that is away
	mostDoomed  = 16          // salts kept of segments whose first commit failed
)

// present returns an error that wraps [ErrAway] while the directory is away.
// What is open on a disk that was unmounted can still be written, and would be
// missed; so this is asked before each commit.
func (s *Spool) present() error {
	s.mu.Lock()
	away, lock := s.away, s.lock
	s.mu.Unlock()
	if away != nil {
		return away
	}
	err := lock.Held()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("spool %s: %w: %w; mount its disk again and the spool goes on by itself, or start the gateway anew to begin an empty one", s.dir, ErrAway, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away == nil && s.lock == lock {
		s.away = err
		s.log.Error("the spool's directory is away; nothing is taken until it is back", "err", err)
		select {
		case s.lost <- struct{}{}:
		default:
		}
	}
	return err
}

// finder looks for the directory while it is away.
func (s *Spool) finder() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.lost:
		}
		for said := ""; ; {
			select {
			case <-s.stop:
				return
			case <-time.After(searchPause):
			}
			s.lead <- struct{}{}
			err := s.reattach()
			<-s.lead
			if err == nil {
				break
			}
			if err.Error() != said {
				said = err.Error()
				s.log.Warn("the spool's directory is not back yet", "err", err)
			}
		}
		s.log.Info("the spool's directory is back; the spool goes on")
		s.wakeReaders()
	}
}

// reattach goes on with the directory in its place, when it is the one that was
// away. The caller leads.
func (s *Spool) reattach() error {
	s.mu.Lock()
	lock := s.lock
	s.mu.Unlock()
	if lock.Held() != nil {
		if err := s.relock(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.away = nil
	s.mu.Unlock()
	return nil
}

// relock takes the directory under a new mount for the one that was away, when
// it holds what this spool wrote last and nobody has written there since.
func (s *Spool) relock() error {
	if _, _, err := s.recognized(); err != nil { // before a lock file is made in it
		return err
	}
	lock, err := s.fs.Lock(s.path(lockName))
	if err != nil {
		return s.explain("open again", err)
	}
	segs, rest, err := s.recognized()
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	for _, r := range s.readers {
		r.close() // what is open is of the old mount
	}
	s.mu.Lock()
	s.seal()
	s.readopt(segs, rest)
	old := s.lock
	s.lock = lock
	s.mu.Unlock()
	_ = old.Close() // the disk is gone from where that was
	return nil
}

// recognized returns what is in the directory when it is that of this spool as
// it left it.
func (s *Spool) recognized() (segs []*segment, rest []found, err error) {
	if segs, rest, err = scanDir(s.fs, s.dir, s.path); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	newest := s.w.newest
	found := newest.generation == 0 && exists(s.fs, s.path(lockName)) // nothing was written yet
	for _, seg := range segs {
		h := seg.head
		switch {
		case h.generation == newest.generation && h.salt == newest.salt:
			found = true
		case h.generation > newest.generation && !slices.Contains(s.w.doomed, h.salt):
			return nil, nil, fmt.Errorf("%w: what is there was written by another gateway; start this one anew to go on with that", ErrAway)
		}
	}
	if !found {
		return nil, nil, fmt.Errorf("%w: what is there is not what it wrote; mount the right disk, or start the gateway anew to go on with this one", ErrAway)
	}
	return segs, rest, nil
}

// readopt takes stock of the files. The segments are those known: what else is
// there, such as a segment whose first commit failed, is free. The caller leads
// and holds mu.
func (s *Spool) readopt(segs []*segment, rest []found) {
	s.total, s.spares = 0, nil
	known := map[string]uint64{}
	for _, seg := range s.segs {
		known[seg.name] = seg.head.salt
		s.total += seg.head.size
	}
	for _, seg := range segs {
		if salt, ok := known[seg.name]; !ok || salt != seg.head.salt {
			s.total += seg.head.size
			s.spares = append(s.spares, spare{name: seg.name, size: seg.head.size, made: seg.made})
		}
	}
	for _, f := range rest {
		if _, ok := known[f.name]; !ok {
			s.admitRest(f)
		}
	}
	s.release()
}

// doom remembers a segment whose first commit failed: its header may be on the
// device all the same.
func (w *writer) doom(salt uint64) {
	if w.doomed = append(w.doomed, salt); len(w.doomed) > mostDoomed {
		w.doomed = w.doomed[1:]
	}
}

// gone reports whether err means that a file is not there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
