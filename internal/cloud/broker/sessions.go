package broker

import (
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// register counts a new connection; it says no when there are too many or the
// broker is closing.
func (b *Broker) register(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing || len(b.conns) >= b.limits.Connections {
		return false
	}
	b.conns[c] = struct{}{}
	return true
}

func (b *Broker) unregister(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// takeoverWithin bounds how long a CONNECT waits for the connection that it
// takes over to end.
const takeoverWithin = 5 * time.Second

// attach gives c the session of its client id, an old one or a new one, and
// answers CONNACK. A connection that has it is ended first.
func (b *Broker) attach(c *conn, p *mqtt.Connect) *refused {
	old, r := b.claim(c, p)
	if r != nil {
		return r
	}
	s := c.session
	present := s == old
	if old != nil && !present {
		b.publishWill(old.takeWill()) // the session that delayed it ends
	}
	if err := b.storeSession(c, old); err != nil {
		b.release(c)
		return refuseStore(err)
	}
	c.start(p, present)
	b.connected(c)
	c.session.kickGroups()
	return nil
}

// claim makes c the owner of its client id. It returns the session that was
// there, which is c's when it can be resumed.
func (b *Broker) claim(c *conn, p *mqtt.Connect) (old *session, r *refused) {
	timeout := time.NewTimer(takeoverWithin)
	defer timeout.Stop()
	for {
		owner, old, r := b.tryClaim(c, p)
		if owner == nil {
			return old, r
		}
		owner.stop(errTakenOver)
		select {
		case <-owner.ended:
		case <-timeout.C:
			return nil, refuse(mqtt.ServerUnavailable, "the client's other connection does not end: connect again")
		}
	}
}

func (b *Broker) tryClaim(c *conn, p *mqtt.Connect) (owner *conn, old *session, r *refused) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return nil, nil, errShutdownConnect
	}
	old = b.sessions[p.ClientID]
	if old != nil && old.owner != nil {
		return old.owner, nil, nil
	}
	if old == nil && len(b.sessions) >= b.limits.Sessions {
		return nil, nil, refuse(mqtt.QuotaExceeded, "there are %d sessions, which is the most: end some, or let them expire", len(b.sessions)).on("iot:Connect", "")
	}
	s := old
	if old == nil || p.CleanStart || old.version != p.Version && !c.spec || old.over(time.Now()) {
		s = &session{clientID: p.ClientID, version: p.Version, persistent: persistent(p), subs: map[string]subscription{}}
		if s.persistent {
			s.id, s.total, s.base = b.lastSession.Add(1), &b.queuedBytes, b.queueEnd()
		}
		b.sessions[p.ClientID] = s
	}
	s.owner = c
	c.session, c.orphan = s, b.adopt(p.ClientID)
	s.mu.Lock()
	s.version, s.expiry, s.disconnected = p.Version, c.limits.expiry(p), time.Time{}
	s.mu.Unlock()
	return nil, old, nil
}

// queueEnd is the last sequence number of a queue entry.
func (b *Broker) queueEnd() uint64 {
	b.queueMu.Lock()
	defer b.queueMu.Unlock()
	return b.queueSeq
}

var errShutdownConnect = refuse(mqtt.ServerUnavailable, "the server is stopping; connect again in a moment").silently()

// storeSession writes the session of c, and removes old when it is another
// one, and waits for the disk.
func (b *Broker) storeSession(c *conn, old *session) error {
	s := c.session
	batch := b.store.NewBatch()
	b.queueMu.Lock()
	if old != nil && old != s {
		b.end(batch, old)
	}
	if s.persistent {
		s.mu.Lock()
		batch.Set(sessionKey(s.clientID), s.record())
		s.mu.Unlock()
	}
	c.storeWill(batch, c.voidWill())
	errc := make(chan error, 1)
	b.store.CommitAsync(batch, func(err error) { errc <- err })
	b.queueMu.Unlock()
	return <-errc
}

// end takes away the subscriptions of s, and what the store has of it, by way
// of batch. queueMu is held, so that no queue entry comes after the end.
func (b *Broker) end(batch *store.Batch, s *session) {
	s.mu.Lock()
	s.queue.end()
	subs := s.subs
	s.subs, s.inbound, s.released = nil, nil, nil
	s.mu.Unlock()
	for filter := range subs {
		b.unsubscribe(batch, s, filter)
	}
	if s.persistent {
		batch.Delete(sessionKey(s.clientID))
		batch.DeleteRange(filtersKey(s.id), store.PrefixEnd(filtersKey(s.id)))
		batch.DeleteRange(queuePrefix(s.id), store.PrefixEnd(queuePrefix(s.id)))
		batch.DeleteRange(inboundPrefix(s.id), store.PrefixEnd(inboundPrefix(s.id)))
		batch.DeleteRange(releasedPrefix(s.id), store.PrefixEnd(releasedPrefix(s.id)))
	}
}

// release gives up the session of a connection whose CONNECT failed late.
func (b *Broker) release(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := c.session
	c.session = nil
	s.owner = nil
	if c.orphan != nil {
		b.orphans[s.clientID] = c.orphan
	}
	s.mu.Lock()
	s.disconnected = time.Now()
	s.mu.Unlock()
	if !s.persistent && b.sessions[s.clientID] == s {
		delete(b.sessions, s.clientID)
	}
}

// start answers CONNACK and lets messages through to c, in this order.
func (c *conn) start(p *mqtt.Connect, present bool) {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pendingWill = nil
	d := &delivery{s: s, c: c, window: c.window, onDisk: s.queued > 0, stored: s.queued > 0, resent: s.sent}
	if len(s.acked) > 0 {
		d.skip = make(map[uint64]struct{}, len(s.acked))
		for _, seq := range s.acked {
			d.skip[seq] = struct{}{}
		}
	}
	c.delivery = d
	c.out.add(func(buf []byte) []byte {
		if out, err := c.connack(p, present, s.expiry).Append(buf, c.version); err == nil {
			return out
		}
		return buf
	})
	s.out = d
	d.resendReleases()
	if d.onDisk {
		d.kick()
	}
}

// detach takes the session back from a connection that has ended, and
// publishes its will or sees that it is published later.
func (b *Broker) detach(c *conn, cause *refused) {
	s := c.session
	w := c.dueWill(cause)
	now := time.Now()
	var due time.Time
	s.mu.Lock()
	inFlight := s.out.inFlight
	s.out, s.disconnected = nil, now
	ends := !s.persistent || s.expiry == 0
	if w != nil && w.delay > 0 && !ends {
		due = now.Add(min(w.delay, s.expiry))
		s.pendingWill, s.willAt = w, due
	}
	s.mu.Unlock()
	giveBack(inFlight)
	u := b.newBurst(nil)
	u.endWill(c, w, due)
	u.disconnected(c.subject.ClientID, c.presence, disconnectReason(cause))
	c.presence.ended = now
	u.batch.Set(presenceKey(c.subject.ClientID), c.presence.record())
	u.commit()
	if ends {
		b.forget(s, c)
		return
	}
	b.update(s)
	b.mu.Lock()
	s.owner = nil
	b.mu.Unlock()
}

// forget ends s for good when it is still c's, or nobody's for a nil c.
func (b *Broker) forget(s *session, c *conn) {
	b.mu.Lock()
	if s.owner != c {
		b.mu.Unlock()
		return
	}
	if b.sessions[s.clientID] == s {
		delete(b.sessions, s.clientID)
	}
	batch := b.store.NewBatch()
	b.queueMu.Lock() // before mu is released: a new session of this client id comes after
	b.mu.Unlock()
	defer b.queueMu.Unlock()
	b.end(batch, s)
	b.commitQuietly(batch)
}

// update writes the record of s.
func (b *Broker) update(s *session) {
	batch := b.store.NewBatch()
	s.mu.Lock()
	batch.Set(sessionKey(s.clientID), s.record())
	s.mu.Unlock()
	b.commitQuietly(batch)
}

// commitQuietly commits what nobody waits for.
func (b *Broker) commitQuietly(batch *store.Batch) {
	b.bursts.Add(1)
	b.store.CommitAsync(batch, func(err error) {
		if err != nil {
			b.counters.lost.Add(1)
		}
		b.bursts.Done()
	})
}

// setExpiry takes the expiry of a DISCONNECT, in seconds ([MQTT-3.14.2.2.2]).
func (s *session) setExpiry(seconds uint32, most time.Duration) *refused {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expiry == 0 && seconds > 0 {
		return refuse(mqtt.ProtocolError, "DISCONNECT with a session expiry, CONNECT had none (section 3.14.2.2.2)")
	}
	s.expiry = min(time.Duration(seconds)*time.Second, most)
	return nil
}

// over says whether the time of s, which has no connection, is over.
func (s *session) over(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.disconnected.Add(s.expiry))
}

// expire ends the sessions whose time is over, and publishes delayed wills.
func (b *Broker) expire(now time.Time) {
	var over []*session
	var wills []*will
	b.mu.Lock()
	for _, s := range b.sessions {
		if s.owner != nil {
			continue
		}
		gone := s.over(now)
		s.mu.Lock()
		if gone {
			over = append(over, s)
		}
		if s.pendingWill != nil && (gone || !now.Before(s.willAt)) {
			wills = append(wills, s.pendingWill)
			s.pendingWill = nil
		}
		s.mu.Unlock()
	}
	b.mu.Unlock()
	for _, s := range over {
		b.forget(s, nil)
	}
	for _, w := range wills {
		b.publishWill(w)
	}
}

// markDirty notes that q has acknowledged entries to delete.
func (b *Broker) markDirty(q *queue) {
	b.dirtyMu.Lock()
	defer b.dirtyMu.Unlock()
	b.dirty = append(b.dirty, q)
}

// flushAcked deletes from the store what was acknowledged. A message whose
// deletion did not get to the disk is delivered again after a restart.
func (b *Broker) flushAcked() {
	b.dirtyMu.Lock()
	dirty, stale := b.dirty, b.stale
	b.dirty, b.stale = nil, nil
	b.dirtyMu.Unlock()
	if len(dirty)+len(stale) == 0 {
		return
	}
	batch := b.store.NewBatch()
	for _, one := range stale {
		if !one.s.has(one.id) {
			batch.Delete(inboundKey(one.s.queue.id, one.id))
		}
	}
	taken := make(map[*queue][]uint64, len(dirty))
	for _, q := range dirty {
		q.mu.Lock()
		taken[q], q.acked = q.acked, nil
		q.mu.Unlock()
		for _, seq := range taken[q] {
			batch.Delete(queueKey(q.id, seq))
		}
	}
	b.bursts.Add(1)
	b.store.CommitAsync(batch, func(err error) {
		if err != nil {
			b.keepAcked(taken)
		}
		b.bursts.Done()
	})
}

// keepAcked takes back what could not be deleted, for the next time.
func (b *Broker) keepAcked(taken map[*queue][]uint64) {
	for q, seqs := range taken {
		q.mu.Lock()
		if !q.ended && len(seqs) > 0 {
			if len(q.acked) == 0 {
				b.markDirty(q)
			}
			q.acked = append(q.acked, seqs...)
		}
		q.mu.Unlock()
	}
}

// load reads the sessions that the store has.
func (b *Broker) load() error {
	byID := map[uint64]*session{}
	err := b.scan([]byte{byte(store.SpaceSession), 'c'}, func(key, value []byte) error {
		r, err := parseSession(value)
		if err != nil {
			return fmt.Errorf("session of client %q: %w", key[2:], err)
		}
		s := &session{
			clientID: string(key[2:]), version: r.version, persistent: true, queue: queue{id: r.id, total: &b.queuedBytes},
			expiry: r.expiry, disconnected: r.disconnected, sent: r.sent, base: r.base, subs: map[string]subscription{},
		}
		if s.disconnected.IsZero() { // it was connected when the process ended
			s.disconnected, s.sent = time.Now(), maybeAll
		}
		b.sessions[s.clientID], byID[s.id] = s, s
		b.lastSession.Store(max(b.lastSession.Load(), s.id))
		return nil
	})
	if err != nil {
		return fmt.Errorf("load sessions: %w", err)
	}
	if err := b.loadShelf(); err != nil {
		return fmt.Errorf("load retained messages: %w", err)
	}
	if err := b.loadOrphans(); err != nil {
		return fmt.Errorf("load wills: %w", err)
	}
	if err := b.loadGroups(); err != nil {
		return fmt.Errorf("load shared subscriptions: %w", err)
	}
	if err := b.loadFilters(byID); err != nil {
		return fmt.Errorf("load subscriptions: %w", err)
	}
	if err := b.loadExchanges(byID); err != nil {
		return fmt.Errorf("load exchanges of QoS 2: %w", err)
	}
	return b.loadQueues(byID)
}

// loadGroups reads the shared subscriptions; their members come with the
// subscriptions of the sessions.
func (b *Broker) loadGroups() error {
	return b.scan([]byte{byte(store.SpaceSession), 'g'}, func(key, value []byte) error {
		id, err := parseGroup(value)
		if err != nil {
			return fmt.Errorf("shared subscription %q: %w", key[2:], err)
		}
		b.newGroup(string(key[2:]), id).behind = true
		b.lastSession.Store(max(b.lastSession.Load(), id))
		return nil
	})
}

// endOrphans ends the groups that lost their members with the process: those
// of clean sessions.
func (b *Broker) endOrphans() error {
	batch := b.store.NewBatch()
	b.queueMu.Lock()
	for _, g := range b.groups {
		b.endGroup(batch, g)
	}
	b.queueMu.Unlock()
	return b.commitOrDiscard(batch)
}

// maybeAll stands for the last queue entry sent where nobody knows it, until the
// queue has been counted.
const maybeAll = math.MaxUint64

func (b *Broker) loadFilters(byID map[uint64]*session) error {
	return b.scan([]byte{byte(store.SpaceSession), 'f'}, func(key, value []byte) error {
		id, filter, ok := splitFilterKey(key)
		sub, err := parseSubscription(value)
		if !ok || err != nil {
			return fmt.Errorf("key %q: %w", key, errRecord)
		}
		if s := byID[id]; s != nil {
			s.subs[filter] = sub
			if g := b.groups[filter]; g != nil {
				b.join(g, s, sub)
			} else {
				b.trie.add(s, filter, sub)
			}
		}
		return nil
	})
}

// loadQueues counts what waits for each session.
func (b *Broker) loadQueues(byID map[uint64]*session) error {
	queues := make(map[uint64]*queue, len(byID)+len(b.groups))
	for id, s := range byID {
		queues[id] = &s.queue
	}
	for _, g := range b.groups {
		queues[g.id] = &g.queue
	}
	err := b.scan([]byte{byte(store.SpaceQueue)}, func(key, value []byte) error {
		id, seq, ok := splitQueueKey(key)
		if !ok {
			return fmt.Errorf("key %q: %w", key, errRecord)
		}
		b.queueSeq = max(b.queueSeq, seq)
		if s := byID[id]; s != nil && s.base != beforeAll {
			s.base = min(s.base, seq-1) // sequence numbers began anew while the client was away, see below
		}
		if q := queues[id]; q != nil {
			q.queued++
			q.queuedBytes += len(value)
			b.queuedBytes.Add(int64(len(value)))
			q.durable = max(q.durable, seq)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load queues: %w", err)
	}
	for _, s := range byID {
		s.sent = min(s.sent, s.durable)
		if s.base != beforeAll { // sequence numbers may begin anew when all queues are empty
			s.base = min(s.base, b.queueSeq)
		}
	}
	return b.endOrphans()
}

func (b *Broker) scan(prefix []byte, f func(key, value []byte) error) error {
	it, err := b.store.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		err = f(it.Key(), it.Value())
	}
	return closeIterator(it, err)
}

func closeIterator(it *pebble.Iterator, err error) error {
	if e := it.Error(); err == nil {
		err = e
	}
	if e := it.Close(); err == nil {
		err = e
	}
	return err
}

// readBytes bounds what one readQueue brings into memory.
const readBytes = 1 << 20

// readQueue reads up to j.entries entries of a session's queue, in order; more
// says that there are others. A damaged entry comes without a message.
func (b *Broker) readQueue(id uint64, j job) (entries []waiting, more bool, err error) {
	it, err := b.store.Iterator(queueKey(id, j.from), queueKey(id, j.to+1))
	if err != nil {
		return nil, false, err
	}
	bytes := 0
	for it.First(); it.Valid(); it.Next() {
		if len(entries) == j.entries || bytes > readBytes {
			more = true
			break
		}
		_, seq, _ := splitQueueKey(it.Key())
		w := waiting{seq: seq, size: len(it.Value()), qos: 1}
		bytes += w.size
		if m, ids, err := parseQueued(it.Value()); err == nil {
			w.m, w.retain, w.ids, w.qos = m, m.Retain, ids, max(m.QoS, 1)
		} else {
			b.log.Error("a queued message cannot be read, it is dropped", "seq", seq, "err", err)
		}
		entries = append(entries, w)
	}
	return entries, more, closeIterator(it, nil)
}
