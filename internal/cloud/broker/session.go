package broker

import (
	"sync"
	"sync/atomic"
	"time"
)

// session is what the broker knows of one client id: its subscriptions and
// what it has not acknowledged yet. A clean session lives in memory and ends
// with its connection. A persistent one is kept in the store: its QoS 1
// messages are queue entries there, each with a sequence number that grows in
// commit order, so that the order of the keys is the order of delivery; the
// memory holds only the window that is in flight.
type session struct {
	clientID   string
	persistent bool
	queue             // on disk; its mu guards the rest too
	base       uint64 // its queue entries have higher sequence numbers; packet ids count from it
	groups     atomic.Pointer[[]*group]

	owner *conn // that has it, or is about to; guarded by the broker's mu

	subs         map[string]subscription // guarded by mu
	out          *delivery               // to the connection, nil while there is none; guarded by mu
	version      byte                    // of MQTT: on AWS, the others have sessions of their own; guarded by mu, and changed only with the broker's, too
	expiry       time.Duration           // guarded by mu
	disconnected time.Time               // guarded by mu
	inbound      map[uint16]struct{}     // ids of QoS 2 publishes of the client before their PUBREL; guarded by mu
	released     []released              // messages to the client before PUBCOMP, by their PUBRECs; guarded by mu
	sent         uint64                  // the last queue entry that was ever sent; guarded by mu
	pendingWill  *will                   // a delayed one, while away; guarded by mu
	willAt       time.Time               // guarded by mu
}

// queue is the books of the messages that wait on disk for one session or one
// shared subscription.
type queue struct {
	id    uint64        // in the store; 0 for clean sessions
	total *atomic.Int64 // bytes of all queues; nil for clean sessions

	mu          sync.Mutex
	ended       bool     // guarded by mu
	queued      int      // entries not acknowledged; guarded by mu
	queuedBytes int      // guarded by mu
	durable     uint64   // the last sequence number that is on disk; guarded by mu
	acked       []uint64 // entries to delete from the store; guarded by mu
	dropped     uint64   // messages that did not fit; guarded by mu
}

// enqueue makes room for one entry of size bytes; it says no when the queue is
// full or has ended.
func (q *queue) enqueue(size int, l *Limits) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return false
	}
	if q.queued >= l.QueueMessages || q.queuedBytes+size > l.QueueBytes || q.total.Load()+int64(size) > int64(l.QueuesBytes) {
		q.dropped++
		return false
	}
	q.total.Add(int64(size))
	q.queued++
	q.queuedBytes += size
	return true
}

// unqueue takes an entry off the books: it was acknowledged, or its commit
// failed; mu is held.
func (q *queue) unqueue(size int) {
	q.queued = max(q.queued-1, 0)
	size = min(size, q.queuedBytes)
	q.queuedBytes -= size
	q.total.Add(-int64(size))
}

// finish takes an entry off the books; the store forgets it a little later. mu
// is held.
func (q *queue) finish(b *Broker, seq uint64, size int) {
	q.unqueue(size)
	if len(q.acked) == 0 {
		b.markDirty(q)
	}
	q.acked = append(q.acked, seq)
}

// end stops the queue for good; mu is held.
func (q *queue) end() {
	q.ended = true
	if q.total != nil {
		q.total.Add(-int64(q.queuedBytes))
	}
	q.acked, q.queued, q.queuedBytes = nil, 0, 0
}

// record is what the store keeps of s; mu is held.
func (s *session) record() []byte {
	r := sessionRecord{id: s.id, version: s.version, expiry: s.expiry, disconnected: s.disconnected, sent: s.sent, base: s.base}
	return r.append(nil)
}
