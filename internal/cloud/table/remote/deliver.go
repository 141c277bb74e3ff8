package remote

import (
	"context"
	"errors"
	"sync"
	"time"

	"mote/internal/cloud/outbox"
	"mote/internal/cloud/table"
)

// Bounds of deliveries.
const (
	maxDelivery = 100 // entries that the outbox hands over at once
	maxBatch    = 25  // DynamoDB API Reference, BatchWriteItem
	atOnce      = 4   // requests of one delivery under way
	deliverTime = 30 * time.Second
)

// Deliverer brings the writes of the outbox to the cluster. Writes of one key
// are performed in their order; a write that the cluster refuses for good does
// not stop those behind it, one that it cannot perform for now does.
type Deliverer struct{ c *Cluster }

// NewDeliverer returns a deliverer for entries of [Kind].
func NewDeliverer(c *Cluster) *Deliverer { return &Deliverer{c} }

// job is an entry on its way.
type job struct {
	*Write
	id  string // what distinguishes it from others of a request; "" when that is not known
	err *error // where its error goes
}

// Deliver implements outbox.Deliverer. The entries are of one table.
func (d *Deliverer) Deliver(ctx context.Context, entries []*outbox.Entry) []error {
	ctx, cancel := context.WithTimeout(ctx, deliverTime)
	defer cancel()
	errs := make([]error, len(entries))
	jobs := make([]job, 0, len(entries))
	for i, e := range entries {
		w, err := decodeWrite(e.Data)
		if err != nil {
			errs[i] = outbox.Fail(outbox.Permanent, err)
			continue
		}
		jobs = append(jobs, job{Write: w, err: &errs[i]})
	}
	if len(jobs) > 1 {
		d.identify(ctx, jobs)
	}
	for len(jobs) > 0 {
		n := wave(jobs)
		d.perform(ctx, jobs[:n])
		err := firstPassing(jobs[:n])
		if jobs = jobs[n:]; err != nil { // what follows may be of the same keys
			for _, j := range jobs {
				*j.err = err
			}
			break
		}
	}
	return errs
}

// identify sets the ids of jobs, as far as the table's key is known.
func (d *Deliverer) identify(ctx context.Context, jobs []job) {
	s, err := d.c.describe(ctx, jobs[0].Table)
	if err != nil {
		return // for example no permission: they are performed one by one
	}
	for i := range jobs {
		if id, err := jobs[i].identity(&s); err == nil {
			jobs[i].id = id
		}
	}
}

// wave is how many jobs from the first on may be under way at the same time:
// they have distinct keys.
func wave(jobs []job) int {
	seen := make(map[string]bool, len(jobs))
	for i, j := range jobs {
		if i > 0 && (j.id == "" || jobs[0].id == "") || seen[j.id] {
			return i
		}
		seen[j.id] = true
	}
	return len(jobs)
}

// firstPassing returns the first error of jobs that is not for good.
func firstPassing(jobs []job) error {
	for _, j := range jobs {
		var e *outbox.Error
		if *j.err != nil && (!errors.As(*j.err, &e) || e.Class != outbox.Permanent) {
			return *j.err
		}
	}
	return nil
}

// perform performs a wave: puts and removals in batches, the rest alone.
func (d *Deliverer) perform(ctx context.Context, jobs []job) {
	var batched, alone []job
	for _, j := range jobs {
		if j.Attribute == "" {
			batched = append(batched, j)
		} else {
			alone = append(alone, j)
		}
	}
	var group sync.WaitGroup
	places := make(chan struct{}, atOnce)
	run := func(f func()) {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			f()
		})
	}
	for len(batched) > 0 {
		n := min(len(batched), maxBatch)
		part := batched[:n]
		run(func() { d.batch(ctx, part) })
		batched = batched[n:]
	}
	for _, j := range alone {
		run(func() { *j.err = d.one(ctx, j) })
	}
	group.Wait()
}

// one performs a write alone.
func (d *Deliverer) one(ctx context.Context, j job) error {
	operation, request := j.single()
	return d.classify(j.Table, d.c.ask(ctx, operation, request, nil))
}

// batch performs writes of distinct keys with one request. When the cluster
// refuses it they are performed one by one, so that each gets its own answer.
func (d *Deliverer) batch(ctx context.Context, jobs []job) {
	if len(jobs) == 1 {
		*jobs[0].err = d.one(ctx, jobs[0])
		return
	}
	name := jobs[0].Table
	requests := make([]writeRequest, len(jobs))
	for i, j := range jobs {
		requests[i] = j.inBatch()
	}
	var got struct{ UnprocessedItems map[string][]writeRequest }
	err := d.c.ask(ctx, "BatchWriteItem", map[string]any{"RequestItems": map[string]any{name: requests}}, &got)
	if _, refused := errors.AsType[*table.Error](err); refused {
		d.oneByOne(ctx, jobs)
		return
	}
	if err = d.classify(name, err); err != nil {
		for _, j := range jobs {
			*j.err = err
		}
		return
	}
	d.leave(ctx, jobs, got.UnprocessedItems[name])
}

func (d *Deliverer) oneByOne(ctx context.Context, jobs []job) {
	for i, j := range jobs {
		*j.err = d.one(ctx, j)
		if err := firstPassing(jobs[i : i+1]); err != nil {
			for _, rest := range jobs[i+1:] {
				*rest.err = err
			}
			return
		}
	}
}

var errThrottled = outbox.Fail(outbox.Busy, errors.New("the tables' cluster has no capacity for the write now"))

// leave marks the writes that the cluster did not perform for want of capacity:
// all, when it is not clear which these are.
func (d *Deliverer) leave(ctx context.Context, jobs []job, left []writeRequest) {
	if len(left) == 0 {
		return
	}
	ids := map[string]bool{}
	if s, err := d.c.describe(ctx, jobs[0].Table); err == nil {
		for i := range left {
			if id, err := left[i].write().identity(&s); err == nil {
				ids[id] = true
			}
		}
	}
	found := 0
	for _, j := range jobs {
		if ids[j.id] {
			found++
		}
	}
	for _, j := range jobs {
		if found != len(left) || ids[j.id] {
			*j.err = errThrottled
		}
	}
}

// classify gives an error of a write its meaning for the outbox.
func (d *Deliverer) classify(name string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*table.Error](err); ok {
		d.c.forget(name) // the table may be another one now
		return outbox.Fail(outbox.Permanent, e)
	}
	if e, ok := errors.AsType[*UnavailableError](err); ok && e.noAnswer {
		return outbox.Fail(outbox.Unreachable, err)
	}
	return outbox.Fail(outbox.Busy, err)
}
