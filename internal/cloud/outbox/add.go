package outbox

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/store"
)

// totals are what counts against the limits: entries in the store, and those in
// batches that are not committed yet.
type totals struct {
	entries, bytes atomic.Int64
	refused        atomic.Int64
}

// take makes room for one entry, or refuses it; the reserve is for those to keep.
func (t *totals) take(size int, keep bool, o *Options) error {
	maxEntries, maxBytes := int64(o.MaxEntries), o.MaxBytes
	if !keep {
		maxEntries -= maxEntries * int64(o.Reserve) / 100
		maxBytes -= maxBytes / 100 * int64(o.Reserve)
	}
	n, bytes := t.entries.Add(1), t.bytes.Add(int64(size))
	switch {
	case n > maxEntries:
		t.give(size)
		t.refused.Add(1)
		return fmt.Errorf("%w: %d actions wait for their destinations, which is the limit: see which of them fail, and why, in the rules' status", ErrFull, maxEntries)
	case bytes > maxBytes:
		t.give(size)
		t.refused.Add(1)
		return fmt.Errorf("%w: the actions that wait for their destinations have %d MiB, which is the limit: see which of them fail, and why, in the rules' status", ErrFull, maxBytes>>20)
	}
	return nil
}

func (t *totals) give(size int) {
	t.entries.Add(-1)
	t.bytes.Add(int64(-size))
}

var records = sync.Pool{New: func() any { return new([]byte) }}

// keptRecord is how large a buffer the pool keeps at most, in bytes.
const keptRecord = 64 << 10

// Add puts e into b, and sets its ID. Once b is visible the entry is delivered,
// which may be before it is on disk. b must be committed or discarded. The
// error is ErrFull, ErrKind, or says what is wrong with the entry; b holds
// nothing of it then. The slices of e are not kept.
func (o *Outbox) Add(b *store.Batch, e *Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	if o.opt.Deliverers[e.Kind] == nil {
		return fmt.Errorf("%w: %q", ErrKind, e.Kind)
	}
	if e.Added.IsZero() {
		e.Added = time.Now()
	}
	stored := *e
	limits := Batching{}
	if e.Batch != nil {
		limits = e.Batch.normal(e.Data)
		stored.Batch = &limits
	}
	buf := records.Get().(*[]byte)
	value := appendRecord((*buf)[:0], &stored, o.run)
	defer func() {
		if *buf = value; cap(value) <= keptRecord {
			records.Put(buf)
		}
	}()
	a := &addition{o: o, size: keyLen + len(value), limits: limits, added: e.Added}
	if err := o.total.take(a.size, e.Keep, &o.opt); err != nil {
		return err
	}
	o.mu.Lock()
	a.lane = o.laneFor(e)
	o.seq++
	a.seq = o.seq
	a.lane.reserved++
	o.mu.Unlock()
	var key [keyLen]byte
	b.Set(appendKey(key[:0], a.lane.prefix, a.seq), value)
	b.OnApplied(func() { a.applied(b.Applied()) })
	e.ID = entryID(o.run[:], a.seq)
	return nil
}

// addition is an entry in a batch that is not committed yet.
type addition struct {
	o      *Outbox
	lane   *lane
	seq    uint64
	size   int
	added  time.Time
	limits Batching // MaxSize is 0 for an entry that is delivered by itself
}

// applied tells the lane that the entry is visible, or never will be.
func (a *addition) applied(visible bool) {
	o, l := a.o, a.lane
	if !visible {
		o.total.give(a.size)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	l.reserved--
	if !visible {
		o.drop(l)
		return
	}
	l.waiting++
	if l.oldest.IsZero() {
		l.oldest = a.added
	}
	l.cursor, l.late = min(l.cursor, a.seq), min(l.late, a.seq)
	switch l.state {
	case idle:
		o.begin(l, a)
	case gathering:
		o.gather(l, a)
	}
}

// begin starts with the first entry of a lane; mu is held.
func (o *Outbox) begin(l *lane, a *addition) {
	if a.limits.MaxSize == 0 || a.limits.MaxOpen == 0 {
		o.enqueue(l)
		return
	}
	o.park(l, gathering, min(time.Until(a.added.Add(a.limits.MaxOpen)), a.limits.MaxOpen))
	l.gathered, l.weight, l.limits = 0, 0, a.limits
	o.gather(l, a)
}

// gather counts an entry for the open batch, and closes it when it is full; mu is held.
func (o *Outbox) gather(l *lane, a *addition) {
	l.gathered++
	l.weight += a.limits.Weight
	if l.gathered >= l.limits.MaxSize || l.weight >= l.limits.MaxBytes || a.limits.MaxSize != l.limits.MaxSize {
		o.enqueue(l)
	}
}

// noLate is the late of a lane to which nothing was added.
const noLate = math.MaxUint64
