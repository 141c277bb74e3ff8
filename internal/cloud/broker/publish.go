package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// burst is the publishes of one read of one connection on their way to the
// store and to the subscribers. It is used by the reader until commit, and by
// the store's committing goroutine from then on.
type burst struct {
	b     *Broker
	c     *conn // nil for messages that do not come over MQTT
	batch *store.Batch
	now   time.Time

	// Messages live as long as anyone keeps one, so their memory is never used
	// again; one allocation serves a whole burst.
	slab    []message.Message
	payload []byte

	items   []item
	acks    []ack
	entries []entry
	shelved []retainedChange
	queues  bool // some item has a target with a queue on disk
	settle  bool // what it says may show commits that are still on their way to the disk
	bytes   int
	counted int // publishes whose acknowledgement in acks makes room for another one

	ending  *ending // of this burst, for the one that goes on with it; else nil
	earlier *ending // of the burst that this one goes on with; else nil

	record []byte // scratch
	after  func(error)
	done   func(error) // is finish
}

// item is one message of a burst with those who get it.
type item struct {
	m        *message.Message
	targets  []target
	from     *session // publisher; nil when it has none
	stored   bool     // some target has a queue on disk
	retained bool     // it answers a SUBSCRIBE
	quiet    bool     // watchers are not told
	will     bool     // no service does what it asks for
}

// entry is a queue entry of a burst, one for each item and target with a queue
// on disk, in that order; seq is 0 when the queue had no room.
type entry struct {
	q    *queue
	seq  uint64
	size int
}

// ack is the answer to one packet: PUBACK, PUBREC or PUBCOMP.
type ack struct {
	id     uint16
	code   mqtt.ReasonCode
	kind   mqtt.Type
	again  bool // to a PUBLISH with QoS 2 that was received before
	reason string
}

// ending is how a burst ended whose publisher waits for another one: the error
// of its commit, nil until then. Bursts end in the order of their commits.
type ending struct{ err atomic.Pointer[error] }

var bursts = sync.Pool{New: func() any { return &burst{} }}

func (b *Broker) newBurst(c *conn) *burst {
	u := bursts.Get().(*burst)
	if u.done == nil {
		u.done = u.finish
	}
	u.b, u.c, u.now = b, c, time.Now()
	u.batch = b.store.NewBatch()
	return u
}

// release gives the burst back for the next one.
func (u *burst) release() {
	clear(u.items)
	clear(u.acks)
	clear(u.entries)
	*u = burst{items: u.items[:0], acks: u.acks[:0], entries: u.entries[:0], record: u.record[:0], done: u.done}
	bursts.Put(u)
}

// message returns a new message with a copy of payload. left is how many bytes
// of packets the burst can still hold, to size the memory by.
func (u *burst) message(payload []byte, left int) *message.Message {
	if len(u.slab) == cap(u.slab) {
		n := min(max(1, left/(len(payload)+16)), 128)
		u.slab = make([]message.Message, 0, n)
	}
	if cap(u.payload)-len(u.payload) < len(payload) {
		u.payload = make([]byte, 0, max(len(payload), left))
	}
	at := len(u.payload)
	u.payload = append(u.payload, payload...)
	u.slab = append(u.slab, message.Message{Payload: u.payload[at:len(u.payload):len(u.payload)], Time: u.now})
	u.bytes += len(payload)
	return &u.slab[len(u.slab)-1]
}

// publish runs the rules over m, stores what it retains and adds it, and what
// the rules publish in turn, to the burst. When the outcome says unavailable,
// m is not in the burst and must not be acknowledged.
func (u *burst) publish(it item) message.Outcome {
	out := u.b.rules.Apply(u.batch, it.m)
	if out.Unavailable != nil {
		return out
	}
	if it.m.Retain {
		u.retain(it.m)
	}
	it.stored = it.stored && it.m.QoS > 0
	u.queues = u.queues || it.stored
	u.items = append(u.items, it)
	var answers []*message.Message
	if !it.will && u.b.serves(it.m.Topic) {
		answers, out.Refused = u.reserved(it.m)
	}
	for _, m := range answers {
		if err := u.publishMore(m); err != nil {
			out.Unavailable = err
			return out
		}
	}
	for _, m := range out.Republish {
		if err := u.republish(m); err != nil {
			out.Unavailable = err
			return out
		}
	}
	return out
}

// republish publishes what a rule made. The rules bound how often.
func (u *burst) republish(m *message.Message) error {
	err := mqtt.ValidTopic(m.Topic)
	if err == nil && u.b.serves(m.Topic) {
		err = u.b.cfg.Reserved.CheckTopic(m.Topic, false)
	}
	if err != nil {
		u.b.log.Warn("a rule republishes on a bad topic, the message is dropped", "topic", m.Topic, "err", err)
		u.b.counters.dropped.Add(1)
		return nil
	}
	return u.publishMore(m)
}

// publishMore publishes a message that another one led to.
func (u *burst) publishMore(m *message.Message) error {
	if m.To != "" {
		u.answer(m)
		return nil
	}
	targets, _ := u.b.trie.match(m.Topic)
	u.bytes += len(m.Payload)
	return u.publish(item{m: m, targets: targets, stored: anyStored(targets)}).Unavailable
}

// answer adds a message for one client, which need not subscribe to its topic
// but must be allowed to receive on it. When the client is gone, nobody gets it.
func (u *burst) answer(m *message.Message) {
	u.b.mu.Lock()
	s := u.b.sessions[m.To]
	u.b.mu.Unlock()
	if s == nil {
		return
	}
	it := item{m: m, targets: []target{{s: s, subscription: subscription{qos: m.QoS}}}, stored: s.persistent && m.QoS > 0}
	u.bytes += len(m.Payload)
	u.queues = u.queues || it.stored
	u.items = append(u.items, it)
}

// reserved hands m to who serves its topic, and returns the answers. A
// burst that would have to wait for another one is first cut off and commits
// what it has, so that bursts never wait for each other.
func (u *burst) reserved(m *message.Message) ([]*message.Message, error) {
	r := u.b.cfg.Reserved
	if !r.Hold(u.batch, m.Topic, false) {
		u.cutOff()
		r.Hold(u.batch, m.Topic, true)
	}
	u.settle = true
	return r.Apply(u.batch, m)
}

// serves says whether a topic is one of [Reserved].
func (b *Broker) serves(topic string) bool {
	return b.cfg.Reserved != nil && topic[0] == '$' && !isIngest(topic)
}

// cutOff commits what the burst has so far, as a burst of its own, and goes on
// with an empty batch. What u answers after that is true of both.
func (u *burst) cutOff() {
	head := u.b.newBurst(u.c)
	head.batch.Discard()
	done, rest := head.done, u.done
	*head, *u = *u, burst{b: u.b, c: u.c, now: u.now, batch: u.b.store.NewBatch(), done: rest}
	head.done = done
	head.ending = &ending{}
	u.earlier = head.ending
	head.commit()
}

// commit hands the burst to the store. finish runs when it is on disk.
func (u *burst) commit() {
	b := u.b
	b.bursts.Add(1)
	direct := u.batch.Empty() && !u.batch.Deferred() && !u.queues && !u.settle && u.earlier == nil
	if u.c != nil {
		direct = u.c.flow.begin(u) && direct
	}
	if direct { // nothing to store, and nothing before it under way
		u.batch.Discard()
		u.finish(nil)
		return
	}
	if !u.queues {
		b.store.CommitAsync(u.batch, u.done)
		return
	}
	b.queueMu.Lock()
	defer b.queueMu.Unlock()
	for i := range u.items {
		u.enqueue(&u.items[i])
	}
	b.store.CommitAsync(u.batch, u.done)
}

// enqueue writes the queue entries of one item; queueMu is held.
func (u *burst) enqueue(it *item) {
	if !it.stored {
		return
	}
	for _, t := range it.targets {
		if !it.queuedFor(t) {
			continue
		}
		u.record = appendMessage(u.record[:0], it.m, min(it.m.QoS, t.qos), it.retainFlag(t), t.ids)
		e := entry{q: t.queue(), size: len(u.record)}
		if e.q.enqueue(e.size, &u.b.limits) {
			u.b.queueSeq++
			e.seq = u.b.queueSeq
			u.batch.Set(queueKey(e.q.id, e.seq), u.record)
		} else {
			u.b.counters.dropped.Add(1)
		}
		u.entries = append(u.entries, e)
	}
}

// goesTo says whether t gets the message: not its publisher with no local set.
func (it *item) goesTo(t target) bool {
	return !t.noLocal || t.g != nil || t.s != it.from || it.from == nil
}

// queuedFor says whether t gets the message through a queue on disk.
func (it *item) queuedFor(t target) bool {
	return t.stored() && it.m.QoS > 0 && it.goesTo(t)
}

// retainFlag is the RETAIN flag of the delivery: 1 in answer to a SUBSCRIBE,
// and with Retain As Published what was published ([MQTT-3.3.1-8] ff.); for a
// group that is the chosen member's to say.
func (it *item) retainFlag(t target) bool {
	return it.retained || (t.asSent || t.g != nil) && it.m.Retain
}

// finish is called by the store when the burst is on disk or has failed. It
// must not wait for anything.
func (u *burst) finish(err error) {
	if u.c != nil {
		u.c.flow.answer(u)
	}
	before := u.earlier.error()
	switch {
	case err != nil:
		u.fail(err)
	case before != nil:
		u.refuseAcks(before)
		u.deliver()
	default:
		u.acknowledge()
		u.deliver()
	}
	if err == nil {
		err = before
	}
	if u.ending != nil {
		u.ending.err.Store(&err)
	}
	b, after := u.b, u.after
	if u.c != nil {
		u.c.flow.finish(u)
	}
	u.release()
	if after != nil {
		after(err)
	}
	b.bursts.Done()
}

// error returns the error of a burst that has ended; of none, there is none.
func (e *ending) error() error {
	if e == nil {
		return nil
	}
	if err := e.err.Load(); err != nil {
		return *err
	}
	return nil
}

// acknowledge writes the answers to the publisher's output at once.
func (u *burst) acknowledge() {
	if len(u.acks) == 0 {
		return
	}
	u.c.out.add(func(buf []byte) []byte {
		for _, a := range u.acks {
			switch {
			case a.again && !u.c.session.has(a.id): // it failed since
				continue
			case a.code == mqtt.Success:
				buf = appendStep(buf, a.kind, a.id)
				continue
			}
			buf = u.c.appendReason(buf, a.reason, func(p *mqtt.Properties) mqtt.Packet {
				return &mqtt.Ack{Kind: a.kind, PacketID: a.id, Code: a.code, Props: p}
			})
		}
		return buf
	})
}

// deliver hands the messages to their targets and to the watchers.
func (u *burst) deliver() {
	next := 0
	for i := range u.items {
		it := &u.items[i]
		for _, t := range it.targets {
			w := waiting{m: it.m, qos: min(it.m.QoS, t.qos), retain: it.retainFlag(t), size: weight(it.m), ids: t.ids}
			switch {
			case it.queuedFor(t):
				w.seq, w.size = u.entries[next].seq, u.entries[next].size
				if next++; w.seq > 0 {
					t.deliver(w)
				}
			case it.goesTo(t):
				t.deliver(w)
			}
		}
		if !it.retained && !it.quiet && it.m.To == "" {
			u.b.tellWatchers(it.m)
			u.b.counters.received.Add(1)
		}
	}
}

// fail ends a burst that could not be stored.
func (u *burst) fail(err error) {
	u.b.shelf.restore(u.shelved)
	for _, e := range u.entries {
		if e.seq > 0 {
			e.q.mu.Lock()
			e.q.unqueue(e.size)
			e.q.mu.Unlock()
		}
	}
	u.refuseAcks(err)
}

// refuseAcks answers the publishes of a burst that could not be stored: version
// 5 clients get a failure for each, 3.1.1 has none, so that the connection ends
// and the client keeps its messages.
func (u *burst) refuseAcks(err error) {
	if u.c == nil {
		return
	}
	r := refuseStore(err)
	ends := u.c.undo(u.acks)
	if u.c.version != mqtt.V5 {
		if len(u.acks) > 0 {
			u.c.stop(r)
		}
		return
	}
	if ends {
		u.c.stop(r)
		return
	}
	for i := range u.acks {
		if !u.acks[i].code.Failed() {
			u.acks[i].code, u.acks[i].reason, u.acks[i].again = r.code, r.reason, false
		}
	}
	u.acknowledge()
}

// refuseStore turns an error of the store or the rules into a refusal.
func refuseStore(err error) *refused {
	code := mqtt.UnspecifiedError
	if errors.Is(err, store.ErrFull) {
		code = mqtt.QuotaExceeded
	}
	return refuse(code, "the message could not be stored, send it again later: %v", err).on("store", "")
}

// Publish publishes a message that did not come over MQTT and returns when
// all its effects are on disk. A message without a time gets one. Policies are the caller's to ask. A topic that
// nobody may publish on, or a payload that is too large, is an error of
// *[TopicError]; after any error the message may be published again.
func (b *Broker) Publish(ctx context.Context, m *message.Message) (message.Outcome, error) {
	if err := b.checkMessage(m); err != nil {
		return message.Outcome{}, err
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	return b.run(ctx, func(u *burst) message.Outcome { return u.publish(b.itemOf(m)) })
}

// Republish publishes what a rule made and returns when all its effects are on
// disk. A message on a topic that nobody may publish on is dropped, and logged:
// the rule's next one may be better.
func (b *Broker) Republish(ctx context.Context, m *message.Message) error {
	_, err := b.run(ctx, func(u *burst) message.Outcome { return message.Outcome{Unavailable: u.republish(m)} })
	return err
}

// Transact calls f with a new batch and publishes the messages that f returns.
// It returns when all of it is on disk, with the batch in one commit; after an
// error it may be tried again. It is for changes that are told to subscribers
// but did not come as a message.
func (b *Broker) Transact(ctx context.Context, f func(*store.Batch) []*message.Message) error {
	_, err := b.run(ctx, func(u *burst) (out message.Outcome) {
		for _, m := range f(u.batch) {
			if m.Time.IsZero() {
				m.Time = u.now
			}
			if out.Unavailable = u.publishMore(m); out.Unavailable != nil {
				break
			}
		}
		return out
	})
	return err
}

// run commits a burst that does not come over MQTT, and waits for it.
func (b *Broker) run(ctx context.Context, fill func(*burst) message.Outcome) (message.Outcome, error) {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return message.Outcome{}, ErrClosed
	}
	b.bursts.Add(1)
	b.mu.Unlock()
	defer b.bursts.Done()
	u := b.newBurst(nil)
	out := fill(u)
	errc := make(chan error, 1)
	u.after = func(err error) { errc <- err }
	u.commit()
	select {
	case err := <-errc:
		return out, errors.Join(out.Unavailable, err)
	case <-ctx.Done():
		return out, ctx.Err()
	}
}

// itemOf is m with its targets.
func (b *Broker) itemOf(m *message.Message) item {
	it := item{m: m}
	if !isIngest(m.Topic) {
		it.targets, _ = b.trie.match(m.Topic)
		it.stored = anyStored(it.targets)
	}
	return it
}

// TopicError refuses a message for its topic or its size.
type TopicError struct{ Reason string }

func (e *TopicError) Error() string { return e.Reason }

// Invalid tells an HTTP caller that sending the message again does not help.
func (e *TopicError) Invalid() bool { return true }

func (b *Broker) checkMessage(m *message.Message) error {
	if r := b.checkTopic(m.Topic, false); r != nil {
		return &TopicError{r.reason}
	}
	if r := checkRetain(m.Topic); r != nil && m.Retain {
		return &TopicError{r.reason}
	}
	if r := b.limits.checkPayload(len(m.Payload)); r != nil {
		return &TopicError{r.reason}
	}
	if m.Retain {
		if r := b.checkRoom(m.Topic, len(m.Payload)); r != nil {
			return &TopicError{r.reason}
		}
	}
	return nil
}
