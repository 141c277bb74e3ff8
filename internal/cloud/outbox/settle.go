package outbox

import (
	"sync"
	"time"
)

// Done entries are removed in batches: after settlePause, or settleSoon entries.
const (
	settlePause = 100 * time.Millisecond
	settleSoon  = 256
	settleMax   = 4096 // workers wait when so many are not removed yet
)

// settler removes done entries from the store.
type settler struct {
	gone []settled // guarded by the outbox's mu
	room sync.Cond // on mu: gone became shorter
	kick chan struct{}
	soon chan struct{}
	quit chan struct{}
	done sync.WaitGroup

	logged time.Time // the goroutine's
}

type settled struct {
	l *lane
	e *Entry
}

func (s *settler) init(mu *sync.Mutex) {
	s.room.L = mu
	s.kick, s.soon, s.quit = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
}

// stop removes what is left and ends.
func (s *settler) stop() {
	close(s.quit)
	s.done.Wait()
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// settleAll takes entries that are done.
func (o *Outbox) settleAll(l *lane, done []*Entry) {
	if len(done) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &o.settler
	for len(s.gone) >= settleMax && !o.closing {
		s.room.Wait()
	}
	if l.settled == nil {
		l.settled = map[uint64]struct{}{}
	}
	for _, e := range done {
		l.settled[e.seq] = struct{}{}
		e.Data, e.Context = nil, nil
		s.gone = append(s.gone, settled{l, e})
	}
	o.counters(l).delivered += int64(len(done))
	poke(s.kick)
	if len(s.gone) >= settleSoon {
		poke(s.soon)
	}
}

// run removes what is settled until the outbox is closed.
func (s *settler) run(o *Outbox) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-s.kick:
		case <-s.quit:
			s.remove(o)
			return
		}
		pause.Reset(settlePause)
		select {
		case <-pause.C:
		case <-s.soon:
		case <-s.quit:
			s.remove(o)
			return
		}
		if s.remove(o) == nil {
			continue
		}
		poke(s.kick)
		select {
		case <-time.After(storePause):
		case <-s.quit:
			s.remove(o)
			return
		}
	}
}

// remove commits the removal of all that is settled. After an error it stays
// settled, and in the store.
func (s *settler) remove(o *Outbox) error {
	o.mu.Lock()
	gone := s.gone
	o.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	b := o.st.NewBatch()
	for _, g := range gone {
		b.Delete(g.e.key)
	}
	if err := o.st.Commit(b); err != nil {
		if now := time.Now(); now.Sub(s.logged) > 30*time.Second {
			s.logged = now
			o.log.Error("actions that are done cannot be removed; after a restart they would be performed again", "entries", len(gone), "err", err)
		}
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, g := range gone {
		delete(g.l.settled, g.e.seq)
		o.forget(g.l, g.e.size)
		o.drop(g.l)
	}
	s.gone = append(s.gone[:0:0], s.gone[len(gone):]...)
	s.room.Broadcast()
	return nil
}

// removed counts an entry that is no longer in the store.
func (o *Outbox) removed(l *lane, size int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forget(l, size)
}

// forget is removed; mu is held.
func (o *Outbox) forget(l *lane, size int) {
	l.waiting--
	o.total.give(size)
}
