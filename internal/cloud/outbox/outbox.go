// Package outbox is the durable queue of the actions that are too slow for a
// message's acknowledgement: HTTP requests, functions, files, Kafka. An [Entry]
// is added to the store.Batch that holds the message's other effects, so an
// acknowledged message has its entries on disk. Deliverers perform them
// afterwards; an entry is removed when it is done or was handed to [Options].Failed.
//
// What it promises: every entry is performed at least once. A crash, or an
// answer that is lost on its way, performs it again; [Entry].ID stays the same
// then, so a receiver can tell. Entries of one lane (kind, rule and destination)
// are performed in the order in which their batches became visible, one after
// the other; a lane in trouble delays no other, since lanes that fail use at
// most half of the workers, and new lanes of the same rule, which may fail too,
// do not take all of the rest. Memory does not grow with the number of entries
// that wait, only with the number of lanes.
//
// Retries. An error of a deliverer has a [Class].
//   - [Permanent] (any answer but 429 and 5xx; a request that cannot be made):
//     the entry fails at once.
//   - The rule has an error action: an entry is tried 1 + 2 times, 1 s and 2 s
//     apart, then it fails (AWS IoT developer guide, "HTTP", which documents two
//     retries; for how long it waits between them it gives no figure).
//     [Uncertain] is not retried. Attempts of its lane that failed while the
//     entry waited count as its own, so that a dead destination does not hold
//     up what the error action should have: after one failed attempt of its own,
//     or, where the destination is [Unreachable], after none.
//   - The rule has no error action: there is no other place for the message, so
//     it is tried again after 1 s, doubled to at most 5 min, each 20 % more or
//     less, for 48 hours; when an attempt of the lane fails after that, it fails.
//   - The entry has Keep: what it writes is the message's row, and has no other
//     place. Only a Permanent error gives it up; it is tried with the same
//     pauses for as long as it takes.
//
// A deliverer may ask for a longer pause (Retry-After), up to 5 minutes.
// Attempts are counted in memory only; the age is durable.
//
// When the outbox is full, Add refuses with [ErrFull]: the action has failed,
// and goes to the rule's error action. The message itself is not refused: one
// dead destination would stop every publisher. Entries with Keep may use
// [Options].Reserve besides; whoever adds them refuses the message then.
package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mote/internal/cloud/store"
	"mote/internal/cloud/throttle"
)

// Deliverer performs the entries of one kind.
type Deliverer interface {
	// Deliver performs entries in their order, one unless they have a Batch. It
	// returns nil when all are done, or one error per entry, nil for a done one;
	// see [Error] for what errors say. Several goroutines call it at once, for
	// different lanes. It bounds its own time, and ends early when ctx does.
	Deliver(ctx context.Context, entries []*Entry) []error
}

// Failure is an entry that failed for good.
type Failure struct {
	Entry *Entry
	Err   error
}

// Options configure an outbox.
type Options struct {
	// Deliverers by the Kind of the entries that they perform. Stored entries of
	// a kind without deliverer stay until there is one.
	Deliverers map[string]Deliverer
	// Failed takes entries that failed for good; more than one when they were
	// delivered together. What it writes into b reaches the disk in the same
	// commit as their removal; it may call [Outbox.Add] with b. When it returns an
	// error, or the commit fails, nothing is written and the entries are tried
	// again later. nil: failures are only logged and counted.
	Failed func(ctx context.Context, b *store.Batch, failures []Failure) error

	Log        *slog.Logger  // default: discard
	MaxEntries int           // that wait; default 1,000,000
	MaxBytes   int64         // of the entries that wait; default 1 GiB
	Reserve    int           // percent of both that only entries with Keep may use; default 0
	MaxLanes   int           // then a rule's further destinations share one lane; default 10,000
	Workers    int           // deliveries at once, over all lanes; default 16, fewer than 4 keep lanes less apart
	MaxAge     time.Duration // for which an entry without error action is tried; default 48 h
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = 1_000_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.MaxLanes == 0 {
		o.MaxLanes = 10_000
	}
	if o.Workers == 0 {
		o.Workers = 16
	}
	if o.MaxAge == 0 {
		o.MaxAge = 48 * time.Hour
	}
}

// Errors of Add; nothing of the entry is in the batch.
var (
	// ErrFull refuses an entry because as many as allowed wait already.
	ErrFull = errors.New("the outbox is full")
	// ErrKind refuses an entry that no deliverer takes.
	ErrKind = errors.New("no deliverer takes this kind of action")
)

// Outbox is an open outbox. Its methods are safe for concurrent use.
type Outbox struct {
	st  *store.Store
	opt Options
	log *slog.Logger
	run [8]byte // random, of this Open: the first half of the ids of its entries

	total   totals
	damaged atomic.Int64   // entries kept aside
	losses  throttle.Lines // of log lines
	counted atomic.Bool    // what was there at the start is in total

	mu      sync.Mutex        // guards what follows, and the fields of lanes
	work    sync.Cond         // on mu: a lane became ready, a worker left again, or closing was set
	lanes   map[laneKey]*lane // with entries, stored or under way
	seq     uint64            // last one given out
	first   uint64            // of this Open; does not change
	ready   queue             // lanes that a worker may take
	again   queue             // the same, for lanes that failed at their last attempt: at most half of the workers
	fresh   queue             // for new lanes of rules of which others fail: with again, three quarters
	rules   map[ruleKind]*ruleCounters
	started bool
	closing bool

	settler settler
	workers sync.WaitGroup
	counter sync.WaitGroup
	ctx     context.Context // of the deliveries
	cancel  context.CancelFunc
}

// Open reads what waits in the store; deliveries begin with Start.
func Open(st *store.Store, o Options) (*Outbox, error) {
	o.setDefaults()
	ob := &Outbox{st: st, opt: o, log: o.Log, lanes: map[laneKey]*lane{}, rules: map[ruleKind]*ruleCounters{}}
	ob.work.L = &ob.mu
	ob.settler.init(&ob.mu)
	ob.ctx, ob.cancel = context.WithCancel(context.Background())
	if _, err := rand.Read(ob.run[:]); err != nil {
		return nil, fmt.Errorf("open the outbox: %w", err)
	}
	if err := ob.load(); err != nil {
		return nil, fmt.Errorf("open the outbox: %w", err)
	}
	return ob, nil
}

// counter is the state of the store at the start, for counting what waits.
type counter struct {
	it    *pebble.Iterator
	lanes map[laneID]*lane
}

// Start begins the deliveries. It is called once.
func (o *Outbox) Start() error {
	it, err := o.st.Iterator(waitingPrefix, store.PrefixEnd(waitingPrefix))
	if err != nil {
		return fmt.Errorf("start the outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.started || o.closing {
		return errors.Join(errors.New("the outbox was started or closed before"), it.Close())
	}
	o.started = true
	count := counter{it, map[laneID]*lane{}}
	for _, l := range o.lanes {
		count.lanes[l.prefix] = l
		if l.state == idle {
			o.enqueue(l)
		}
	}
	o.counter.Go(func() { o.countStored(count) })
	o.settler.done.Go(func() { o.settler.run(o) })
	for range o.opt.Workers {
		o.workers.Go(o.worker)
	}
	return nil
}

// Close ends the deliveries: those that run may end by themselves until ctx
// does, then they are cut short and ctx's error is returned. What is not done
// stays in the store. The store is closed after the outbox.
func (o *Outbox) Close(ctx context.Context) error {
	o.mu.Lock()
	o.closing = true
	started := o.started
	for _, l := range o.lanes {
		l.stopTimer()
	}
	o.work.Broadcast()
	o.settler.room.Broadcast()
	o.mu.Unlock()
	stop := context.AfterFunc(ctx, o.cancel)
	o.workers.Wait()
	cut := !stop()
	o.cancel()
	o.counter.Wait()
	if started {
		o.settler.stop()
	}
	if cut {
		return fmt.Errorf("close the outbox: deliveries were cut short, they are repeated at the next start: %w", context.Cause(ctx))
	}
	return nil
}
