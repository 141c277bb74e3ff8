package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/web"
	"mote/internal/reading"
)

// delivery is one call of Run. Each board with records to send has a lane, a
// goroutine that sends them one after the other; at most Options.Workers of
// them are sending at a time. Lanes end when they are empty.
type delivery struct {
	u       *Uplink
	q       uplink.Queue
	ctx     context.Context // ends with Run or when the queue fails
	cancel  context.CancelFunc
	sending context.Context     // ends a little later, for requests under way
	room    *semaphore.Weighted // bytes of all that is taken
	ready   *semaphore.Weighted // records whose turn will come, without those of boards in trouble
	workers chan struct{}
	running sync.WaitGroup // the lanes
	gate    *web.Gate

	mu      sync.Mutex
	lanes   map[string]*lane // guarded by mu; by board id
	failing int              // guarded by mu; lanes whose first record has failed
}

// lane is the records of one board.
type lane struct {
	items []*item // the first is being sent
	aside bool    // the server has trouble with this board's first record: those behind it have no place in ready
}

// item is one record on its way.
type item struct {
	seq    uint64
	record []byte
	body   []byte
	ready  bool // has a place in delivery.ready; guarded by delivery.mu
}

// weight is the memory that an item is counted with.
func (i *item) weight() int64 { return int64(min(len(i.record)+len(i.body)+200, maxPendingBytes)) }

func newDelivery(ctx context.Context, u *Uplink, q uplink.Queue) *delivery {
	d := &delivery{
		u: u, q: q, room: semaphore.NewWeighted(maxPendingBytes), ready: semaphore.NewWeighted(maxReady),
		workers: make(chan struct{}, u.o.Workers), lanes: map[string]*lane{},
	}
	d.gate = web.NewGate(uplink.Backoff{Min: u.o.MinBackoff, Max: u.o.MaxBackoff})
	d.ctx, d.cancel = context.WithCancel(ctx)
	sending, end := context.WithCancel(context.WithoutCancel(ctx))
	d.sending = sending
	context.AfterFunc(d.ctx, func() { time.AfterFunc(farewell, end) })
	return d
}

// stop ends the lanes and waits for them.
func (d *delivery) stop() {
	d.cancel()
	d.running.Wait()
}

// feed moves records from the queue to the lanes until ctx ends or the queue
// fails.
func (d *delivery) feed() error {
	for {
		if err := d.u.acks.Room(d.ctx, maxAhead); err != nil {
			return err
		}
		seq, record, err := d.q.Next(d.ctx)
		if err != nil {
			return err
		}
		d.u.acks.Sent(seq)
		it := &item{seq: seq, record: record}
		var r reading.Reading
		if err := json.Unmarshal(record, &r); err != nil {
			d.refuse(it, fmt.Sprintf("%s: %v", reading.ErrNotReading, err))
			continue
		}
		it.body = r.AppendTextJSON(nil)
		if err := d.room.Acquire(d.ctx, it.weight()); err != nil {
			return err
		}
		if it.ready = !d.isAside(r.ID); it.ready {
			if err := d.ready.Acquire(d.ctx, 1); err != nil {
				return err
			}
		}
		d.add(r.ID, it)
	}
}

// add puts an item into its board's lane.
func (d *delivery) add(id string, it *item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[id]
	if l == nil {
		l = &lane{}
		d.lanes[id] = l
		d.running.Go(func() { d.lane(id) })
	}
	l.items = append(l.items, it)
	if l.aside { // perhaps only since it was looked at
		d.free(it)
	}
}

// free gives back an item's place in ready, if it has one; mu is held.
func (d *delivery) free(it *item) {
	if it.ready {
		it.ready = false
		d.ready.Release(1)
	}
}

func (d *delivery) isAside(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[id]
	return l != nil && l.aside
}

// setAside lets the others run ahead of a board with whose first record the
// server has trouble.
func (d *delivery) setAside(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[id]
	l.aside = true
	for _, it := range l.items {
		d.free(it)
	}
}

// lane sends what is in the board's lane, in order, until it is empty or ctx
// ends.
func (d *delivery) lane(id string) {
	for it := d.first(id); it != nil; it = d.following(id) {
		if !d.deliver(id, it) {
			return
		}
		d.room.Release(it.weight())
	}
}

func (d *delivery) first(id string) *item {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lanes[id].items[0]
}

// following drops the lane's first item and returns the next; when there is
// none, the lane is closed.
func (d *delivery) following(id string) *item {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.lanes[id]
	d.free(l.items[0])
	l.items[0], l.aside = nil, false
	if l.items = l.items[1:]; len(l.items) == 0 {
		delete(d.lanes, id)
		return nil
	}
	return l.items[0]
}

// deliver sends the first item of board id until it is delivered or refused; it
// is false when ctx ended before.
func (d *delivery) deliver(id string, it *item) bool {
	soon := uplink.Backoff{Min: d.u.o.MinBackoff, Max: d.u.o.MaxBackoff}
	slow := uplink.Backoff{Min: d.u.o.MinBackoff * slower, Max: d.u.o.MaxBackoff * slower}
	for failed := false; ; failed = true {
		v, ok := d.attempt(it)
		if !ok {
			return false
		}
		if v.kind == delivered || v.kind == refused {
			d.settle(it, v, failed)
			return true
		}
		if !failed {
			d.count(+1)
		}
		if !v.everyone {
			d.setAside(id)
		}
		pause := soon.Next()
		if v.kind == misconfigured {
			pause = slow.Next()
		}
		pause = max(pause, v.retryAfter)
		d.u.state.Failed(v.err, "retry_in", pause.Round(time.Millisecond))
		if !uplink.Sleep(d.ctx, pause) {
			return false
		}
	}
}

// attempt sends the item once, when it is its turn; ok is false when ctx ended
// before there was an answer.
func (d *delivery) attempt(it *item) (v verdict, ok bool) {
	select {
	case d.workers <- struct{}{}:
		defer func() { <-d.workers }()
	case <-d.ctx.Done():
		return v, false
	}
	if !d.gate.Wait(d.ctx) {
		return v, false
	}
	start := time.Now()
	v = d.u.send(d.sending, it.body)
	switch {
	case v.kind == delivered, v.kind == refused:
		d.gate.Opened(time.Now())
	case d.ctx.Err() != nil:
		return v, false
	case v.everyone:
		d.gate.Failed(start, time.Now(), v.retryAfter)
	}
	if v.kind == delivered {
		d.u.state.Up()
	} else if v.everyone {
		d.u.state.Down()
	}
	return v, true
}

// count notes that a lane began to fail, or no longer does.
func (d *delivery) count(by int) (failing int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing += by
	return d.failing
}

// settle ends an item that is delivered or refused.
func (d *delivery) settle(it *item, v verdict, failed bool) {
	if failed && d.count(-1) == 0 {
		d.u.state.Well()
	}
	if v.kind == refused {
		d.refuse(it, v.err.Error())
		return
	}
	d.u.delivered.Add(1)
	d.done(it)
}

func (d *delivery) refuse(it *item, why string) {
	d.u.refused.Add(it.record, why)
	d.done(it)
}

func (d *delivery) done(it *item) {
	if upTo, ok := d.u.acks.Done(it.seq); ok {
		d.q.Ack(upTo)
	}
}
