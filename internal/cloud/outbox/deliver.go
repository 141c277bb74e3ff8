package outbox

import (
	"errors"
	"fmt"
	"time"

	"mote/internal/cloud/store"
)

// A worker reads at most this much of a lane at a time; one entry may be larger.
const (
	windowEntries = 128
	windowBytes   = 256 << 10
)

// storePause is how long a lane waits when the store cannot be read or written.
const storePause = time.Second

func (o *Outbox) worker() {
	for {
		l := o.next()
		if l == nil {
			return
		}
		t := &turn{o: o, l: l, fresh: true}
		s, pause := t.run()
		o.release(t, s, pause)
	}
}

// next waits for a lane; it returns nil at the end.
func (o *Outbox) next() *lane {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closing {
		q := o.pick()
		if q == nil {
			o.work.Wait()
			continue
		}
		l := q.pop()
		q.busy++
		l.state, l.late = busy, noLate
		return l
	}
	return nil
}

// pick returns the queue from which a worker takes a lane, or nil; mu is held.
func (o *Outbox) pick() *queue {
	failing := o.again.busy < max(1, o.opt.Workers/2)
	unsure := o.again.busy+o.fresh.busy < max(1, o.opt.Workers*3/4)
	switch {
	case o.again.len() > 0 && o.again.busy == 0: // however much else there is
		return &o.again
	case o.ready.len() > 0:
		return &o.ready
	case o.fresh.len() > 0 && unsure:
		return &o.fresh
	case o.again.len() > 0 && failing && unsure:
		return &o.again
	}
	return nil
}

// release gives a lane back after a turn.
func (o *Outbox) release(t *turn, s state, pause time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := t.l
	l.queue.busy--
	o.work.Signal()
	more := l.late != noLate
	l.cursor = min(t.cursor, l.late)
	o.setTrouble(l, l.failed > 0)
	l.fresh = l.fresh && t.fresh
	switch {
	case o.closing:
		l.state = idle
	case s == paused, s == gathering && !more:
		o.park(l, s, pause)
	case s == ready || more:
		o.enqueue(l)
	default:
		l.state, l.oldest = idle, time.Time{}
		o.drop(l)
	}
}

// turn is a worker's work on one window of a lane.
type turn struct {
	o       *Outbox
	l       *lane
	entries []*Entry
	more    bool   // the lane goes on behind the window
	cursor  uint64 // what the lane's becomes
	fresh   bool   // nothing was delivered
}

// run delivers a window, and says what becomes of the lane.
func (t *turn) run() (state, time.Duration) {
	if err := t.read(); err != nil {
		if t.o.ctx.Err() == nil {
			t.o.log.Error("the outbox cannot read what waits, it tries again", "err", err)
		}
		return paused, storePause
	}
	for i := 0; i < len(t.entries); {
		if t.o.ctx.Err() != nil || t.o.isClosing() {
			return idle, 0
		}
		rest := t.entries[i:]
		n, wait := t.batch(rest)
		if n == 0 && wait == 0 {
			return ready, 0
		}
		if n == 0 {
			t.openBatch(rest)
			return gathering, wait
		}
		if pause, ok := t.perform(rest[:n]); !ok {
			return paused, pause
		}
		i += n
		t.cursor = rest[n-1].seq + 1
	}
	if t.more {
		return ready, 0
	}
	return idle, 0
}

func (o *Outbox) isClosing() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing
}

// read fetches the window from the lane's cursor on.
func (t *turn) read() error {
	from, settled := t.start()
	t.cursor = from
	prefix := appendKey(nil, t.l.prefix, from)
	it, err := t.o.st.Iterator(prefix, store.PrefixEnd(prefix[:2+len(t.l.prefix)]))
	if err != nil {
		return err
	}
	bytes, last := 0, from
	ok := it.First()
	for ; ok && len(t.entries) < windowEntries && bytes < windowBytes; ok = it.Next() {
		_, seq, _ := splitKey(it.Key())
		last = seq + 1
		if _, done := settled[seq]; done {
			continue
		}
		e, err := parseRecord(it.Key(), it.Value())
		if err != nil {
			if err = t.o.setAside(it.Key(), it.Value(), err); err != nil {
				return errors.Join(err, it.Close())
			}
			t.o.removed(t.l, keyLen+len(it.Value()))
			continue
		}
		t.entries = append(t.entries, e)
		bytes += e.size
	}
	t.more = ok
	if len(t.entries) == 0 {
		t.cursor = last
	}
	t.seen()
	return errors.Join(it.Error(), it.Close())
}

// start returns where to read, and which of the entries there are done. It is
// asked before the store is read: what is settled later is still in the answer.
func (t *turn) start() (from uint64, settled map[uint64]struct{}) {
	t.o.mu.Lock()
	defer t.o.mu.Unlock()
	for seq := range t.l.settled {
		if seq >= t.l.cursor {
			if settled == nil {
				settled = map[uint64]struct{}{}
			}
			settled[seq] = struct{}{}
		}
	}
	return t.l.cursor, settled
}

// seen notes the age of what waits longest.
func (t *turn) seen() {
	if len(t.entries) > 0 {
		t.o.mu.Lock()
		t.l.oldest = t.entries[0].Added
		t.o.mu.Unlock()
	}
}

// batch says how many of the entries are delivered together now. With 0 either
// wait for that long, or, when wait is 0, read again from the first of them on.
func (t *turn) batch(entries []*Entry) (n int, wait time.Duration) {
	head := entries[0]
	if head.Batch == nil || t.hopeless(head) {
		return 1, 0
	}
	weight, full := 0, false
	for n = 0; n < len(entries) && !full; n++ {
		e := entries[n]
		if e.Batch == nil || !head.joins(e) || n > 0 && weight+e.Batch.Weight > head.Batch.MaxBytes || t.l.tries > 0 && n > 0 && e.seq > t.l.tried {
			full = true
			break
		}
		weight += e.Batch.Weight
		full = n+1 == head.Batch.MaxSize || weight >= head.Batch.MaxBytes
	}
	switch {
	case full || t.l.tries > 0:
		return n, 0
	case t.more && head != t.entries[0]:
		return 0, 0
	case t.more:
		return n, 0
	}
	if wait = time.Until(head.Added.Add(head.Batch.MaxOpen)); wait > 0 && wait <= head.Batch.MaxOpen {
		return 0, wait
	}
	return n, 0
}

// openBatch counts what the batch has that the lane now waits for to fill.
func (t *turn) openBatch(entries []*Entry) {
	t.o.mu.Lock()
	defer t.o.mu.Unlock()
	t.l.gathered, t.l.weight, t.l.limits = len(entries), 0, *entries[0].Batch
	for _, e := range entries {
		t.l.weight += e.Batch.Weight
	}
}

// perform delivers entries once, and settles them or gives them up. When some
// stay, the lane pauses.
func (t *turn) perform(entries []*Entry) (pause time.Duration, ok bool) {
	o, l := t.o, t.l
	if t.hopeless(entries[0]) {
		if err := t.giveUp([]Failure{{entries[0], fmt.Errorf("given up, as its destination failed all the time: %w", l.last)}}); err != nil {
			return backoff(l.undone), false
		}
		return 0, true
	}
	for _, e := range entries {
		e.Attempt = 1
		if e.seq <= l.tried {
			e.Attempt = l.tries + 1
		}
	}
	errs := o.opt.Deliverers[l.kind].Deliver(o.ctx, entries)
	if len(errs) != len(entries) && errs != nil {
		errs = all(len(entries), fmt.Errorf("the deliverer of %s answered %d errors for %d entries", l.kind, len(errs), len(entries)))
	}
	if o.ctx.Err() != nil {
		t.interrupted(entries, errs)
		return 0, false
	}
	return t.conclude(entries, errs)
}

func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// interrupted settles what was done when the outbox was closed; the rest stays
// for the next start.
func (t *turn) interrupted(entries []*Entry, errs []error) {
	var done []*Entry
	for i, e := range entries {
		if errs == nil || errs[i] == nil {
			done = append(done, e)
		}
	}
	t.o.settleAll(t.l, done)
}

// conclude sorts entries by how their delivery ended.
func (t *turn) conclude(entries []*Entry, errs []error) (pause time.Duration, ok bool) {
	now := time.Now()
	t.note(errs, now)
	var done []*Entry
	var stay, lost []Failure
	for i, e := range entries {
		switch {
		case errs == nil || errs[i] == nil:
			done = append(done, e)
		case t.final(e, errs[i], now):
			lost = append(lost, Failure{e, errs[i]})
		default:
			stay = append(stay, Failure{e, errs[i]})
		}
	}
	t.fresh = t.fresh && len(done) == 0
	t.o.settleAll(t.l, done)
	if len(lost) > 0 {
		if err := t.giveUp(lost); err != nil {
			return backoff(t.l.undone), false
		}
	}
	if len(stay) == 0 {
		t.l.tries, t.l.tried = 0, 0
		return 0, true
	}
	return t.again(stay), false
}
