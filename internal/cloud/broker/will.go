package broker

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/record"
	"mote/internal/cloud/store"
)

// A will is in the store from before its CONNACK until it is published or void,
// and what publishes or voids it takes it out in the same commit: it is
// published once, also when the process ends at any moment. A process that was
// killed leaves the wills of its connections behind: the next one publishes
// those whose clients are not back within Limits.ReturnWithin.

// will is the message that tells others that the client is gone.
type will struct {
	id    uint64 // in the store
	m     *message.Message
	delay time.Duration // 0: at once (section 3.1.3.2.2)
}

var willPrefix = []byte{byte(store.SpaceSession), 'w'}

func (w *will) key() []byte {
	return binary.BigEndian.AppendUint64(slices.Clone(willPrefix), w.id)
}

// record is what the store keeps of w; due is zero while its client is
// connected.
func (w *will) record(due time.Time) []byte {
	at, left := int64(0), int64(-1)
	if !due.IsZero() {
		at = due.UnixMilli()
	}
	m := *w.m
	if !m.Expiry.IsZero() { // counts from its publication
		left = m.Expiry.Sub(m.Time).Milliseconds()
	}
	m.Expiry = time.Time{}
	b := binary.BigEndian.AppendUint64([]byte{recordVersion}, uint64(at))
	b = binary.BigEndian.AppendUint64(b, uint64(w.delay/time.Millisecond))
	b = binary.BigEndian.AppendUint64(b, uint64(left))
	b = record.AppendText(record.AppendText(record.AppendText(b, m.ClientID), m.Principal), m.SourceIP)
	return appendMessage(b, &m, m.QoS, m.Retain, nil)
}

func parseWill(b []byte) (w *will, due time.Time, err error) {
	c := record.Read(b)
	version := c.Byte()
	if at := int64(c.Uint64()); at != 0 {
		due = time.UnixMilli(at)
	}
	w = &will{delay: time.Duration(c.Uint64()) * time.Millisecond}
	left := int64(c.Uint64())
	clientID, principal, ip := c.Text(), c.Text(), c.Text()
	if c.Bad() || version != recordVersion {
		return nil, due, errRecord
	}
	if w.m, err = parseMessage(c.Left()); err != nil {
		return nil, due, err
	}
	w.m.ClientID, w.m.Principal, w.m.SourceIP = clientID, principal, ip
	if left >= 0 {
		w.m.Expiry = w.m.Time.Add(time.Duration(left) * time.Millisecond)
	}
	return w, due, nil
}

// dueWill is the will that the end of c has to publish: none after the client's
// own DISCONNECT, and none when the API says so. What was allowed at CONNECT
// may not be any more.
func (c *conn) dueWill(cause *refused) *will {
	if c.will == nil || cause == errDeletedQuietly {
		return nil
	}
	c.refreshJudge()
	if r := c.decideWill(c.will.m.Topic, c.will.m.Retain); r != nil {
		c.record(r)
		return nil
	}
	return c.will
}

// publishWill publishes w, unless it is nil. Nobody waits for it.
func (b *Broker) publishWill(w *will) {
	if w == nil {
		return
	}
	u := b.newBurst(nil)
	u.will(w)
	u.commit()
}

// settleWill publishes w, unless it is nil, or throws it away when drop is set.
func (b *Broker) settleWill(w *will, drop bool) {
	if w == nil || !drop {
		b.publishWill(w)
		return
	}
	batch := b.store.NewBatch()
	batch.Delete(w.key())
	b.commitQuietly(batch)
}

// will publishes w and takes it out of the store. When it can never be
// published, as the rules say no, it is gone all the same.
func (u *burst) will(w *will) {
	m := *w.m
	if !m.Expiry.IsZero() {
		m.Expiry = u.now.Add(m.Expiry.Sub(m.Time)) // counts from its publication (section 3.1.3.2.4)
	}
	m.Time = u.now
	u.batch.Delete(w.key())
	b := u.b
	u.after = func(err error) {
		if err != nil {
			b.counters.dropped.Add(1)
		}
	}
	it := u.b.itemOf(&m)
	it.will = true
	if out := u.publish(it); out.Unavailable != nil {
		u.b.log.Error("a will could not be published", "client_id", m.ClientID, "topic", m.Topic, "err", out.Unavailable)
	}
}

// storeWill writes the will of a new connection, and voids the one that the
// client's return makes void.
func (c *conn) storeWill(batch *store.Batch, void *will) {
	if void != nil {
		batch.Delete(void.key())
	}
	if c.will != nil {
		c.will.id = c.b.lastSession.Add(1)
		c.willStored = c.will
		batch.Set(c.will.key(), c.will.record(time.Time{}))
	}
}

// endWill settles the will of a connection that has ended: it is published,
// or kept for its time at due, or void.
func (u *burst) endWill(c *conn, w *will, due time.Time) {
	switch {
	case !due.IsZero():
		u.batch.Set(w.key(), w.record(due))
	case w != nil:
		u.will(w)
	case c.willStored != nil:
		u.batch.Delete(c.willStored.key())
	}
}

// voidWill is the will that the return of c's client makes void: one that a
// killed process left, or a delayed one.
func (c *conn) voidWill() *will {
	if o := c.orphan; o != nil && o.will != nil {
		return o.will
	}
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.pendingWill
}

// takeWill returns the delayed will of s, which is then no longer pending.
func (s *session) takeWill() *will {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.pendingWill
	s.pendingWill = nil
	return w
}

// orphan is what a killed process left of a connection: its client may come
// back, else its will is published, and its end is told.
type orphan struct {
	will     *will     // nil: none
	presence *presence // nil: its end was told
	due      time.Time
}

func (b *Broker) orphan(clientID string) *orphan {
	o := b.orphans[clientID]
	if o == nil {
		o = &orphan{due: time.Now().Add(b.limits.ReturnWithin)}
		b.orphans[clientID] = o
	}
	return o
}

// loadOrphans reads the wills and the connections that the last process left.
func (b *Broker) loadOrphans() error {
	err := b.scan(willPrefix, func(key, value []byte) error {
		w, due, err := parseWill(value)
		if err != nil || len(key) != len(willPrefix)+8 {
			return fmt.Errorf("will %x: %w", key[2:], errRecord)
		}
		w.id = binary.BigEndian.Uint64(key[len(willPrefix):])
		b.lastSession.Store(max(b.lastSession.Load(), w.id))
		b.loadWill(w.m.ClientID, w, due)
		return nil
	})
	if err != nil {
		return err
	}
	return b.scan(presenceKey(""), func(key, value []byte) error {
		if p, err := parsePresence(value); err == nil && p.ended.IsZero() {
			b.orphan(string(key[2:])).presence = &p
		}
		return nil
	})
}

// loadWill sees that a will is published at its time. One whose client was
// connected is delayed from now; a session that ends sooner ends the delay.
func (b *Broker) loadWill(clientID string, w *will, due time.Time) {
	s := b.sessions[clientID]
	if s != nil && !due.IsZero() {
		s.pendingWill, s.willAt = w, due
		return
	}
	o := b.orphan(clientID)
	o.will = w
	switch {
	case !due.IsZero():
		o.due = due
	case s != nil:
		o.due = time.Now().Add(max(b.limits.ReturnWithin, min(w.delay, s.expiry)))
	}
}

// adopt returns what a killed process left of a client that is back, or nil;
// mu is held.
func (b *Broker) adopt(clientID string) *orphan {
	o := b.orphans[clientID]
	delete(b.orphans, clientID)
	return o
}

// bury publishes the wills, and tells the ends, of clients that are not back.
func (b *Broker) bury(now time.Time) {
	over := map[string]*orphan{}
	b.mu.Lock()
	for clientID, o := range b.orphans {
		if !now.Before(o.due) {
			over[clientID] = o
			delete(b.orphans, clientID)
		}
	}
	b.mu.Unlock()
	for clientID, o := range over {
		u := b.newBurst(nil)
		if o.will != nil {
			u.will(o.will)
		}
		if o.presence != nil {
			u.disconnected(clientID, *o.presence, reasonServerError)
			b.keepPresence(clientID, *o.presence)
		}
		u.commit()
	}
}

// keepPresence notes the end of a connection whose client is not back.
func (b *Broker) keepPresence(clientID string, p presence) {
	p.ended = time.Now()
	batch := b.store.NewBatch()
	batch.Set(presenceKey(clientID), p.record())
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sessions[clientID]; s != nil && s.owner != nil { // it comes just now, and writes its own
		batch.Discard()
		return
	}
	b.commitQuietly(batch)
}
