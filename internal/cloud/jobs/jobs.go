// Package jobs keeps jobs: documents that say what things are to do, and how
// far each thing is with each of them (AWS IoT developer guide, "AWS IoT
// Jobs"). Operators make jobs through the control plane; devices ask for their
// next one and report on it by MQTT on reserved topics, or by HTTP.
//
// What it promises:
//
//   - Every change is a write in a batch that is committed before anybody is
//     told; the answers and notifications belong to that commit.
//   - Changes come one after the other, each on the result of the one before.
//     Who waits for whom ends when a batch is applied, not when it is on disk.
//   - Nothing is kept in memory alone: what time has to do (rolling out,
//     time-outs, schedules, cancelling and deleting many executions) is in the
//     store as a timer, and goes on after a restart where it was.
//   - Work on many things is done in parts of at most 100 of them.
//
// Who may do what is asked by others: the broker asks the topic policies.
package jobs

import (
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// Fleet says which things and groups there are.
type Fleet interface {
	// HasThing says whether a thing exists.
	HasThing(name string) bool
	// HasGroup says whether a thing group exists.
	HasGroup(name string) bool
	// GroupMembers returns the names of the things in a group and in the groups
	// below it. A group that does not exist has none.
	GroupMembers(name string) []string
}

// Documents reads an object of a bucket, for jobs whose document is there. The
// error says what to do.
type Documents func(bucket, key string) ([]byte, error)

// Transact runs f with a new batch, commits it, and publishes the messages that
// f returns. It returns when all of it is on disk.
type Transact func(ctx context.Context, f func(*store.Batch) []*message.Message) error

// Options configure an engine.
type Options struct {
	Fleet     Fleet                        // required
	ARN       func(resource string) string // required: "job/a" becomes the ARN of the account and region
	Documents Documents                    // nil: jobs cannot take their document from a bucket
	Log       *slog.Logger                 // nil: discard
	Now       func() time.Time             // nil: time.Now
}

// Engine keeps the jobs. Its methods are safe for concurrent use.
type Engine struct {
	st    *store.Store
	fleet Fleet
	arn   func(string) string
	docs  Documents
	log   *slog.Logger
	now   func() time.Time

	transact Transact // set by Start, before anything that uses it

	mu      sync.Mutex
	owner   *store.Batch  // the batch that is changing jobs, or nil; guarded by mu
	free    chan struct{} // closed when owner is applied or given up; guarded by mu
	waiting int           // batches that want to be next; guarded by mu

	wake chan struct{} // has room for one: there is a new timer
	look chan struct{} // has room for one: things or groups have changed
	stop context.CancelFunc
	done sync.WaitGroup // the keeper
}

// New returns the engine over the jobs in st. Changes through the API, and what
// time has to do, begin with [Engine.Start].
func New(st *store.Store, o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Engine{st: st, fleet: o.Fleet, arn: o.ARN, docs: o.Documents, log: o.Log, now: o.Now,
		wake: make(chan struct{}, 1), look: make(chan struct{}, 1)}
}

// Start begins what time has to do, with the commits of t.
func (e *Engine) Start(t Transact) {
	ctx, cancel := context.WithCancel(context.Background())
	e.transact, e.stop = t, cancel
	e.done.Go(func() { e.keep(ctx) })
}

// Close ends what Start began and waits for it. The store is left open.
func (e *Engine) Close() {
	if e.stop != nil {
		e.stop()
	}
	e.done.Wait()
}

// FleetChanged tells that things or groups have come or gone, or things have
// joined or left groups. It returns at once.
func (e *Engine) FleetChanged() { signal(e.look) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is on its way
	}
}

// maxWaiting bounds how many batches wait for their turn; more are refused.
const maxWaiting = 1000

// hold gives the jobs to b until b is applied or given up. It says no when
// another batch has them, unless wait is true: then it waits for its turn, and
// says no only when too many do. A batch that waits must hold nothing else.
func (e *Engine) hold(b *store.Batch, wait bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.owner == nil:
			e.owner, e.free = b, make(chan struct{})
			b.OnApplied(e.release)
			return true
		case e.owner == b:
			return true
		case !wait || e.waiting >= maxWaiting:
			return false
		}
		free := e.free
		e.waiting++
		e.mu.Unlock()
		<-free
		e.mu.Lock()
		e.waiting--
	}
}

func (e *Engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.owner = nil
	close(e.free)
}

var errNotStarted = errors.New("jobs are not started")

// change runs f with the jobs for itself, and returns when what it did is on
// disk. f must not write when it refuses.
func (e *Engine) change(ctx context.Context, f func(*tx) *Error) error {
	if e.transact == nil {
		return errNotStarted
	}
	var refused *Error
	var failed error
	err := e.transact(ctx, func(b *store.Batch) []*message.Message {
		if !e.hold(b, true) {
			refused = refuse(RequestThrottled, "too many requests wait: send it again later")
			return nil
		}
		t := e.begin(b)
		if refused = f(t); refused != nil {
			return nil
		}
		failed = t.flush()
		return t.out
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case refused != nil:
		return refused
	}
	return nil
}

// settle returns when everything that was read before is on disk.
func (e *Engine) settle() error { return e.st.Commit(e.st.NewBatch()) }

// Forms of names (AWS IoT API reference, CreateJob). The lengths stand beside
// them: an expression that counts takes much memory.
var (
	jobIDForm  = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	thingForm  = regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`)
	reasonForm = regexp.MustCompile(`^[\p{Lu}\p{Nd}_]*$`)
	plainForm  = regexp.MustCompile(`^[^\p{C}]*$`)
)

const (
	maxJobID = 64
	maxThing = 128
	maxText  = 2028 // bytes of a description or a comment
)

func validJobID(id string) bool   { return len(id) <= maxJobID && jobIDForm.MatchString(id) }
func validThing(name string) bool { return len(name) <= maxThing && thingForm.MatchString(name) }

// checkText refuses a description or a comment that is none.
func checkText(what, s string) *Error {
	if len(s) > maxText || !plainForm.MatchString(s) {
		return refuse(InvalidRequest, "the %s is not valid: it must have at most %d bytes and no control characters", what, maxText)
	}
	return nil
}

// target is one target of a job.
type target struct {
	name  string
	group bool
}

// parseTarget reads the ARN of a thing or a thing group.
func (e *Engine) parseTarget(arn string) (target, *Error) {
	resource, own := strings.CutPrefix(arn, e.arn(""))
	kind, name, _ := strings.Cut(resource, "/")
	if !own || kind != "thing" && kind != "thinggroup" || !validThing(name) {
		return target{}, refuse(InvalidRequest, "the target %.300q is not the ARN of a thing or a thing group of this account and region", arn)
	}
	t := target{name, kind == "thinggroup"}
	switch {
	case t.group && !e.fleet.HasGroup(name):
		return t, refuse(ResourceNotFound, "Thing group %s does not exist", name)
	case !t.group && !e.fleet.HasThing(name):
		return t, noThing(name)
	}
	return t, nil
}
