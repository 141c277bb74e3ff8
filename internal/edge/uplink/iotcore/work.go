package iotcore

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"mote/internal/edge/uplink"
)

// entry is one record taken from the queue and not yet delivered.
type entry struct {
	seq    uint64
	record []byte
	topic  string
	sent   bool // on its way in this session; guarded by work.mu
	held   bool // stands in its topic's hold, and counts in work.bytes; guarded by work.mu
}

// work is what one Run has taken from the queue: what waits to be sent, what is
// on its way, and what is held back because the server denies its topic. It
// outlives connections.
type work struct {
	u *Uplink
	q uplink.Queue

	mu     sync.Mutex
	open   map[uint64]*entry // guarded by mu; all that is not done, by sequence
	line   []*entry          // guarded by mu; to be sent next, in this order
	held   map[string]*hold  // guarded by mu; by topic
	bytes  int               // guarded by mu; of the records held back
	denial bool              // guarded by mu; a topic was denied in this session
	first  uint64            // guarded by mu; the suspect of the session before

	taking context.Context    // guarded by mu; ends when next must look again
	rouse  context.CancelFunc // guarded by mu; ends taking
}

// hold is a topic that the server denies.
type hold struct {
	entries []*entry // in the order of their sequence
	backoff uplink.Backoff
	timer   *time.Timer // ends the pause
	due     bool        // the pause is over: the first may be tried
	probe   *entry      // the one being tried
}

func newWork(u *Uplink, q uplink.Queue) *work {
	return &work{u: u, q: q, open: map[uint64]*entry{}, held: map[string]*hold{}, rouse: func() {}}
}

// stop ends the pauses.
func (w *work) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.held {
		h.timer.Stop()
	}
}

// begin puts into the line, or with its topic's hold, what the session before
// left undone, in order.
func (w *work) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denial, w.taking = false, nil
	w.line = w.line[:0]
	for _, e := range w.open {
		e.sent = false
		if h := w.held[e.topic]; h != nil {
			w.keep(h, e)
		} else {
			w.line = append(w.line, e)
		}
	}
	slices.SortFunc(w.line, bySequence)
}

func bySequence(a, b *entry) int { return cmp.Compare(a.seq, b.seq) }

// keep puts e into its topic's hold; mu is held.
func (w *work) keep(h *hold, e *entry) {
	if e.held {
		return
	}
	e.held = true
	w.bytes += len(e.record)
	i, _ := slices.BinarySearchFunc(h.entries, e, bySequence)
	h.entries = slices.Insert(h.entries, i, e)
}

// next returns the next record to send: from the line, one of a denied topic
// that is due, or a new one from the queue.
func (w *work) next(ctx context.Context) (*entry, error) {
	for {
		e, full, nctx := w.waiting(ctx)
		if e != nil {
			return e, nil
		}
		if full {
			<-nctx.Done()
		} else if e, err := w.take(nctx); e != nil || err != nil && nctx.Err() == nil {
			return e, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// waiting returns the first of the line. When there is none, it says whether
// too much is held back to take more, and gives a context that ends when
// something new stands in the line.
func (w *work) waiting(ctx context.Context) (e *entry, full bool, nctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, h := range w.held {
		if h.due && h.probe == nil {
			w.tryFirst(topic, h)
		}
	}
	if len(w.line) > 0 {
		e, w.line = w.line[0], w.line[1:]
		return e, false, nil
	}
	if w.taking == nil || w.taking.Err() != nil {
		w.rouse()
		w.taking, w.rouse = context.WithCancel(ctx)
	}
	return nil, w.bytes > maxHeldBytes || w.u.acks.Len() >= maxAhead, w.taking
}

// tryFirst puts the first record of a held topic into the line; mu is held.
func (w *work) tryFirst(topic string, h *hold) {
	if len(h.entries) == 0 {
		w.release(topic, h)
		return
	}
	h.due, h.probe = false, h.entries[0]
	w.line = append(w.line, h.probe)
}

// take takes a record from the queue; it returns neither a record nor an error
// when the record was refused or is held back.
func (w *work) take(ctx context.Context) (*entry, error) {
	seq, record, err := w.q.Next(ctx)
	if err != nil {
		return nil, &queueError{err}
	}
	w.u.acks.Sent(seq)
	e := &entry{seq: seq, record: record}
	var illegal error
	e.topic, illegal = w.u.template.Topic(record)
	w.mu.Lock()
	w.open[seq] = e
	h := w.held[e.topic]
	if illegal == nil && h != nil {
		w.keep(h, e)
	}
	w.mu.Unlock()
	switch {
	case illegal != nil:
		w.refuse(e, illegal)
		return nil, nil
	case h != nil:
		return nil, nil
	}
	return e, nil
}

// sending notes that e goes out in this session.
func (w *work) sending(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.sent = true
}

// accepted ends an entry that was delivered. When it was sent to see whether its
// topic is still denied, the topic is released.
func (w *work) accepted(e *entry) {
	w.mu.Lock()
	if h := w.held[e.topic]; h != nil && h.probe == e {
		w.release(e.topic, h)
	}
	w.mu.Unlock()
	w.done(e)
}

// release puts all of a held topic back into the line, in order; mu is held.
func (w *work) release(topic string, h *hold) {
	h.timer.Stop()
	delete(w.held, topic)
	for _, e := range h.entries {
		e.held = false
		w.bytes -= len(e.record)
		if e != h.probe {
			w.line = append(w.line, e)
		}
	}
	w.rouse()
	w.u.log.Info("the server takes this topic again, its readings are sent", "topic", topic)
}

// refuse ends an entry that can never be delivered.
func (w *work) refuse(e *entry, why error) {
	w.u.refused.Add(e.record, why.Error())
	w.mu.Lock()
	if h := w.held[e.topic]; h != nil && e.held {
		w.bytes -= len(e.record)
		h.entries = slices.DeleteFunc(h.entries, func(o *entry) bool { return o == e })
		if h.probe == e { // it was refused for itself: the next one is tried
			h.probe, h.due = nil, true
			w.rouse()
		}
	}
	w.mu.Unlock()
	w.done(e)
}

// done ends an entry.
func (w *work) done(e *entry) {
	w.mu.Lock()
	delete(w.open, e.seq)
	w.mu.Unlock()
	upTo, ok := w.u.acks.Done(e.seq)
	if !ok {
		return
	}
	w.q.Ack(upTo)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.held) > 0 {
		w.rouse() // next may wait because the others were too far ahead
	}
}

// denied holds e and its topic back for a while.
func (w *work) denied(e *entry, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denial = true
	e.sent = false
	h := w.held[e.topic]
	switch {
	case h == nil:
		h = w.hold(e.topic, why)
		w.keepLine(e.topic, h)
	case h.probe == e:
		h.probe = nil
		w.pause(h, why)
	}
	w.keep(h, e)
}

// hold begins to hold a topic back; mu is held.
func (w *work) hold(topic string, why error) *hold {
	h := &hold{backoff: uplink.Backoff{Min: w.u.o.MinBackoff, Max: w.u.o.MaxBackoff}}
	w.held[topic] = h
	d := w.pause(h, why)
	w.u.log.Warn("the server does not take this topic, its readings are kept and the others go on", "topic", topic, "error", why, "retry_in", d.Round(time.Millisecond))
	return h
}

// keepLine moves what stands in the line for a topic into its hold; mu is held.
func (w *work) keepLine(topic string, h *hold) {
	w.line = slices.DeleteFunc(w.line, func(e *entry) bool {
		if e.topic == topic {
			w.keep(h, e)
		}
		return e.topic == topic
	})
}

// pause keeps a held topic back for a while; mu is held.
func (w *work) pause(h *hold, why error) time.Duration {
	w.u.state.Note(why)
	d := h.backoff.Next()
	h.timer = time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		h.due = true
		w.rouse()
	})
	return d
}

// end settles a session that ended with err after so many accepted publishes. A
// server may close the connection instead of denying a publish (AWS IoT Core
// does in 3.1.1, others do after they denied it). So the topic of a record that
// was being tried is denied again, and a record that stood first two times
// when nothing at all was accepted brings its topic under suspicion.
func (w *work) end(err error, accepted int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	closed := closedByServer(err)
	for _, h := range w.held {
		if h.probe != nil {
			if h.due = !closed || !h.probe.sent; !h.due {
				w.denial = true
				w.pause(h, err)
			}
			h.probe = nil
		}
	}
	suspect := w.firstSent()
	if w.denial || suspect == nil || accepted > 0 || !closed {
		w.first = 0
		return
	}
	if w.first != suspect.seq {
		w.first = suspect.seq
		return
	}
	w.first = 0
	w.hold(suspect.topic, errSuspect)
}

// firstSent is the first entry that is on its way; mu is held.
func (w *work) firstSent() (first *entry) {
	for _, e := range w.open {
		if e.sent && (first == nil || e.seq < first.seq) {
			first = e
		}
	}
	return first
}

// afterDenial says whether the session that ended held a topic back, which
// explains why the server closed the connection.
func (w *work) afterDenial() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.denial
}
