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
//
// What stands in a lane has its turn, however old it is. So only a few records
// for each worker are taken ahead, and a new one that the queue hands out before
// its backlog is soon sent. A board whose records alone do not get through would
// take all that room: its lane is put aside, and does not count.
type delivery struct {
	u       *Uplink
	q       uplink.Queue
	ctx     context.Context // ends with Run or when the queue fails
	cancel  context.CancelFunc
	sending context.Context // ends a little later, for requests under way
	room    *semaphore.Weighted
	workers chan struct{}
	running sync.WaitGroup // the lanes
	gate    *web.Gate

	mu      sync.Mutex
	lanes   map[string]*lane // guarded by mu; by board id
	failing int              // guarded by mu; lanes whose first record has failed
	ahead   int              // guarded by mu; records in lanes that are not aside
	fewer   chan struct{}    // one element: ahead has become less
}

// lane is one board's records; its fields are guarded by delivery.mu.
type lane struct {
	items []*item // the first is being sent
	aside bool    // until it is empty
}

// item is one record on its way.
type item struct {
	seq    uint64
	record []byte
	body   []byte
}

// weight is the memory that an item is counted with.
func (i *item) weight() int64 { return int64(min(len(i.record)+len(i.body)+200, maxPendingBytes)) }

func newDelivery(ctx context.Context, u *Uplink, q uplink.Queue) *delivery {
	d := &delivery{
		u: u, q: q, room: semaphore.NewWeighted(maxPendingBytes), workers: make(chan struct{}, u.o.Workers),
		lanes: map[string]*lane{}, fewer: make(chan struct{}, 1),
	}
	d.gate = web.NewGate(uplink.Backoff{Min: u.o.MinBackoff, Max: u.o.MaxBackoff})
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.sending = uplink.Outlive(d.ctx, farewell)
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
		if err := d.turn(); err != nil {
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
		d.add(r.ID, it)
	}
}

// turn waits until few records are ahead of the next one.
func (d *delivery) turn() error {
	for {
		d.mu.Lock()
		free := d.ahead < aheadOfOne*d.u.o.Workers
		d.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-d.fewer:
		case <-d.ctx.Done():
			return d.ctx.Err()
		}
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
		d.running.Go(func() { d.run(id, l) })
	}
	l.items = append(l.items, it)
	if !l.aside {
		d.ahead++
	}
}

// run sends what is in a board's lane, in order, until it is empty or ctx ends.
func (d *delivery) run(id string, l *lane) {
	for it := d.first(l); it != nil; it = d.following(id, l) {
		if !d.deliver(l, it) {
			return
		}
		d.room.Release(it.weight())
	}
}

func (d *delivery) first(l *lane) *item {
	d.mu.Lock()
	defer d.mu.Unlock()
	return l.items[0]
}

// following drops the lane's first item and returns the next; when there is
// none, the lane is closed.
func (d *delivery) following(id string, l *lane) *item {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.items[0] = nil
	l.items = l.items[1:]
	if !l.aside {
		d.less(1)
	}
	if len(l.items) == 0 {
		delete(d.lanes, id)
		return nil
	}
	return l.items[0]
}

// less notes that fewer records are ahead of the next one; mu is held.
func (d *delivery) less(by int) {
	d.ahead -= by
	select {
	case d.fewer <- struct{}{}:
	default:
	}
}

// putAside lets the others go on without this lane.
func (d *delivery) putAside(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !l.aside {
		l.aside = true
		d.less(len(l.items))
	}
}

// deliver sends one item until it is delivered or refused; it is false when ctx
// ended before.
func (d *delivery) deliver(l *lane, it *item) bool {
	soon := uplink.Backoff{Min: d.u.o.MinBackoff, Max: d.u.o.MaxBackoff}
	slow := uplink.Backoff{Min: d.u.o.MinBackoff * slower, Max: d.u.o.MaxBackoff * slower}
	var alone loner
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
		if v.kind != throttled && alone.failed(d.u.delivered.Load()) {
			d.putAside(l)
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

// loner finds out that a record fails while others get through: twice in a row
// something was delivered between two of its failures. When a server fails for
// all, that does not happen, or once, at the beginning.
type loner struct {
	before    bool   // it has failed
	delivered uint64 // by the last failure
	passed    int    // how often in a row others got through in between
}

// failed notes a failure, with how much was delivered by then, and says whether
// the reason is this record's own.
func (l *loner) failed(delivered uint64) bool {
	if l.before && delivered > l.delivered {
		l.passed++
	} else {
		l.passed = 0
	}
	l.before, l.delivered = true, delivered
	return l.passed >= 2
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
