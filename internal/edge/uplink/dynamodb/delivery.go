package dynamodb

import (
	"context"
	"errors"
	"sync"
	"time"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/web"
)

// delivery is one call of Run: one goroutine makes batches of the queue, and a
// few write them.
type delivery struct {
	u       *Uplink
	q       uplink.Queue
	ctx     context.Context // ends with Run or when the queue fails
	cancel  context.CancelFunc
	sending context.Context // ends a little later, for requests under way
	batches chan []*item
	running sync.WaitGroup // the writers
	gate    *web.Gate

	mu      sync.Mutex
	failing int // guarded by mu; batches that have failed and are tried again
}

func newDelivery(ctx context.Context, u *Uplink, q uplink.Queue) *delivery {
	d := &delivery{u: u, q: q, batches: make(chan []*item), gate: web.NewGate(uplink.Backoff{Min: u.o.MinBackoff, Max: u.o.MaxBackoff})}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.sending = uplink.Outlive(d.ctx, farewell)
	for range workers {
		d.running.Go(d.work)
	}
	return d
}

// stop ends the writers and waits for them.
func (d *delivery) stop() {
	d.cancel()
	d.running.Wait()
}

// feed makes batches of the queue until ctx ends or the queue fails.
func (d *delivery) feed() error {
	var next *item // taken, and without room in the batch before
	for {
		b := newBatch(next)
		var err error
		if next, err = d.fill(b); err != nil {
			return err
		}
		select {
		case d.batches <- b.items:
		case <-d.ctx.Done():
			return d.ctx.Err()
		}
	}
}

// batch is items with different keys: BatchWriteItem refuses the same twice.
type batch struct {
	items []*item
	keys  map[itemKey]int // index in items
	bytes int
}

func newBatch(first *item) *batch {
	b := &batch{keys: map[itemKey]int{}}
	if first != nil {
		b.add(first)
	}
	return b
}

// add takes an item, in the place of the one with the same key. It is false when
// the batch has no room for it.
func (b *batch) add(it *item) bool {
	if len(b.items) > 0 && (len(b.items) == batchItems || b.bytes+len(it.put) > batchBytes) {
		return false
	}
	if i, twice := b.keys[it.key]; twice {
		it.also = append(b.items[i].also, b.items[i].seq)
		b.bytes += len(it.put) - len(b.items[i].put)
		b.items[i] = it
		return true
	}
	b.keys[it.key] = len(b.items)
	b.items = append(b.items, it)
	b.bytes += len(it.put)
	return true
}

// fill waits for a first record and takes what comes soon after it. It returns
// the item for which the batch has no room, if there is one.
func (d *delivery) fill(b *batch) (next *item, err error) {
	for len(b.items) == 0 {
		it, err := d.take(d.ctx)
		if err != nil {
			return nil, err
		}
		if it != nil {
			b.add(it)
		}
	}
	ctx, cancel := context.WithTimeout(d.ctx, linger)
	defer cancel()
	for len(b.items) < batchItems {
		it, err := d.take(ctx)
		switch {
		case err != nil && d.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			return nil, nil
		case err != nil:
			return nil, err
		case it != nil && !b.add(it):
			return it, nil
		}
	}
	return nil, nil
}

// take takes a record from the queue; it returns neither an item nor an error
// when the record was refused.
func (d *delivery) take(ctx context.Context) (*item, error) {
	if err := d.u.acks.Room(ctx, maxAhead); err != nil {
		return nil, err
	}
	seq, record, err := d.q.Next(ctx)
	if err != nil {
		return nil, err
	}
	d.u.acks.Sent(seq)
	it, err := newItem(seq, record)
	if err != nil {
		d.refuse(&item{seq: seq, record: record}, err.Error())
		return nil, nil
	}
	return it, nil
}

// work writes batches until ctx ends.
func (d *delivery) work() {
	for {
		select {
		case items := <-d.batches:
			if !d.write(items) {
				return
			}
		case <-d.ctx.Done():
			return
		}
	}
}

// write writes items, in parts when one of them is bad, until each is written or
// refused; it is false when ctx ended before.
func (d *delivery) write(items []*item) bool {
	t := d.newTries()
	defer t.end()
	for parts := [][]*item{items}; len(parts) > 0; {
		part := parts[0]
		v, ok := d.attempt(part)
		switch {
		case !ok:
			return false
		case v.kind == refused && len(part) > 1:
			half := len(part) / 2
			parts = append([][]*item{part[:half], part[half:]}, parts[1:]...)
		case v.kind == refused:
			d.refuse(part[0], v.err.Error())
			parts = parts[1:]
		case v.kind == written:
			d.settle(part, v.left)
			if parts[0] = v.left; len(v.left) == 0 {
				parts = parts[1:]
				t.well()
			} else if !uplink.Sleep(d.ctx, t.unprocessed(len(v.left) < len(part))) {
				return false
			}
		case !uplink.Sleep(d.ctx, t.failed(v)):
			return false
		}
	}
	return true
}

// attempt sends items once, when the gate is open; ok is false when ctx ended
// before there was an answer.
func (d *delivery) attempt(items []*item) (v verdict, ok bool) {
	if !d.gate.Wait(d.ctx) {
		return v, false
	}
	start := time.Now()
	v = d.u.send(d.sending, items)
	switch {
	case v.kind == written && len(v.left) < len(items), v.kind == refused:
		d.gate.Opened(time.Now())
		d.u.state.Up()
	case v.kind == written: // nothing was processed: throttled
	case d.ctx.Err() != nil:
		return v, false
	case v.everyone:
		d.gate.Failed(start, time.Now(), v.retryAfter)
		d.u.state.Down()
	}
	return v, true
}

// tries are the pauses of one batch, and whether it counts as failing.
type tries struct {
	d                *delivery
	soon, slow, left uplink.Backoff
	failing          bool
}

func (d *delivery) newTries() *tries {
	o := &d.u.o
	return &tries{
		d: d, soon: uplink.Backoff{Min: o.MinBackoff, Max: o.MaxBackoff}, slow: uplink.Backoff{Min: o.MinBackoff * slower, Max: o.MaxBackoff * slower},
		left: uplink.Backoff{Min: min(unprocessedPause, o.MinBackoff), Max: o.MaxBackoff},
	}
}

// unprocessed is the pause before what the server left of a batch; some says
// that it took a part.
func (t *tries) unprocessed(some bool) time.Duration {
	if some {
		t.left.Reset()
	} else {
		t.fail(errThrottled)
	}
	return t.left.Next()
}

// errThrottled is an answer that left all of a batch unprocessed.
var errThrottled = errors.New("the table is throttled: its server leaves items unprocessed: raise the table's write capacity or make it on-demand")

func (t *tries) failed(v verdict) time.Duration {
	pause := t.soon.Next()
	if v.kind == misconfigured {
		pause = t.slow.Next()
	}
	pause = max(pause, v.retryAfter)
	t.fail(v.err, "retry_in", pause.Round(time.Millisecond))
	return pause
}

func (t *tries) fail(err error, attrs ...any) {
	if !t.failing {
		t.failing = true
		t.d.count(+1)
	}
	t.d.u.state.Failed(err, attrs...)
}

// well notes that a part is through.
func (t *tries) well() {
	t.soon.Reset()
	t.slow.Reset()
	t.end()
}

func (t *tries) end() {
	if !t.failing {
		return
	}
	t.failing = false
	if t.d.count(-1) == 0 && t.d.ctx.Err() == nil {
		t.d.u.state.Well()
	}
}

// count notes that a batch began to fail, or no longer does.
func (d *delivery) count(by int) (failing int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing += by
	return d.failing
}

// settle ends the items that are not left.
func (d *delivery) settle(items, left []*item) {
	still := map[uint64]bool{}
	for _, it := range left {
		still[it.seq] = true
	}
	for _, it := range items {
		if !still[it.seq] {
			d.u.delivered.Add(1 + uint64(len(it.also)))
			d.done(it)
		}
	}
}

func (d *delivery) refuse(it *item, why string) {
	d.u.refused.Add(it.record, why)
	d.done(it)
}

func (d *delivery) done(it *item) {
	for _, seq := range append(it.also, it.seq) {
		if upTo, ok := d.u.acks.Done(seq); ok {
			d.q.Ack(upTo)
		}
	}
}
