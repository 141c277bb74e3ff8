package outbox

import "time"

// state of a lane. A lane that is not busy, ready or paused has nothing to do.
type state byte

const (
	idle      state = iota
	ready           // in a queue of the outbox
	busy            // a worker has it
	gathering       // a batch is open: until its time is over, or it is full
	paused          // after a failed attempt
	stranded        // no deliverer for its kind
)

// laneKey says whose entries a lane has. name is the destination; "" when
// several of the rule share the lane.
type laneKey struct{ kind, rule, name string }

func (k laneKey) id() laneID { return newLaneID(k.kind, k.rule, k.name) }

// lane is the entries of one kind, rule and destination. The outbox's mu guards
// its fields; those that say so belong to the worker that has it while it is busy.
type lane struct {
	laneKey
	prefix laneID // of its keys

	state    state
	timer    *time.Timer // of gathering and paused
	fresh    bool        // nothing was delivered yet
	reserved int         // entries in batches that are not committed yet
	waiting  int         // entries in the store, settled ones too
	oldest   time.Time   // of the entries, as far as known

	// Every entry with a seq below cursor is done. late is the lowest seq that
	// became visible while a worker had the lane.
	cursor, late uint64
	settled      map[uint64]struct{} // done, their removal is not on disk yet

	gathered, weight int // of the open batch, while gathering
	limits           Batching

	// The last failed attempts since one worked; the worker's.
	tries  int       // of the entries up to tried
	tried  uint64    //
	failed int       // attempts of the lane
	fails  []failure // the last three
	last   error
	undone int // times in a row that failed entries could not be given up

	trouble bool   // failed > 0
	queue   *queue // the last one that it was in
}

// failure is one failed attempt.
type failure struct {
	at    time.Time
	class Class
}

const keptFails = attempts

// queue is a list of lanes, first in, first out.
type queue struct {
	list []*lane
	head int
	busy int // workers that have a lane of it
}

func (q *queue) len() int { return len(q.list) - q.head }

func (q *queue) push(l *lane) { q.list = append(q.list, l) }

func (q *queue) pop() *lane {
	l := q.list[q.head]
	q.list[q.head] = nil
	if q.head++; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	} else if q.head > 1024 && q.head > len(q.list)/2 {
		q.list, q.head = append(q.list[:0], q.list[q.head:]...), 0
	}
	return l
}

// enqueue makes a lane ready; mu is held.
func (o *Outbox) enqueue(l *lane) {
	l.stopTimer()
	l.state = ready
	switch {
	case l.trouble:
		l.queue = &o.again
	case l.fresh && o.counters(l).troubled > 0:
		l.queue = &o.fresh
	default:
		l.queue = &o.ready
	}
	l.queue.push(l)
	o.work.Signal()
}

// setTrouble notes whether a lane fails; mu is held.
func (o *Outbox) setTrouble(l *lane, on bool) {
	if l.trouble == on {
		return
	}
	l.trouble = on
	if on {
		o.counters(l).troubled++
	} else {
		o.counters(l).troubled--
	}
}

func (l *lane) stopTimer() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// park puts a lane aside for a while; mu is held.
func (o *Outbox) park(l *lane, s state, pause time.Duration) {
	l.stopTimer()
	l.state = s
	var t *time.Timer
	t = time.AfterFunc(max(pause, 0), func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if l.timer == t {
			o.enqueue(l)
		}
	})
	l.timer = t
}

// drop forgets a lane that has nothing left; mu is held.
func (o *Outbox) drop(l *lane) {
	if l.state == idle && l.reserved == 0 && len(l.settled) == 0 && o.lanes[l.laneKey] == l {
		o.setTrouble(l, false)
		delete(o.lanes, l.laneKey)
	}
}

// laneFor returns the lane of an entry, a new one when need be; mu is held. With
// as many lanes as allowed, the new destinations of a rule share one.
func (o *Outbox) laneFor(e *Entry) *lane {
	k := laneKey{e.Kind, e.Rule, e.Lane}
	if l := o.lanes[k]; l != nil {
		return l
	}
	if len(o.lanes) >= o.opt.MaxLanes {
		k.name = ""
		if l := o.lanes[k]; l != nil {
			return l
		}
	}
	l := &lane{laneKey: k, prefix: k.id(), cursor: o.seq + 1, fresh: true}
	o.lanes[k] = l
	return l
}
