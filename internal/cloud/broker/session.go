package broker

import (
	"sync"
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
	version    byte // of MQTT: sessions are never shared between versions
	persistent bool
	id         uint64 // in the store; 0 for clean sessions

	owner *conn // that has it, or is about to; guarded by the broker's mu

	mu           sync.Mutex
	subs         map[string]subscription // guarded by mu
	out          *delivery               // to the connection, nil while there is none; guarded by mu
	expiry       time.Duration           // guarded by mu
	disconnected time.Time               // guarded by mu
	ended        bool                    // guarded by mu
	queued       int                     // queue entries not acknowledged; guarded by mu
	queuedBytes  int                     // guarded by mu
	durable      uint64                  // the last sequence number that is on disk; guarded by mu
	acked        []uint64                // entries to delete from the store; guarded by mu
	dropped      uint64                  // messages that did not fit; guarded by mu
	pendingWill  *will                   // a delayed one, while away; guarded by mu
	willAt       time.Time               // guarded by mu
}

// enqueue makes room for one queue entry of size bytes; it says no when the
// queue is full or the session has ended.
func (s *session) enqueue(size int, l *Limits) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if s.queued >= l.QueueMessages || s.queuedBytes+size > l.QueueBytes {
		s.dropped++
		return false
	}
	s.queued++
	s.queuedBytes += size
	return true
}

// unqueue takes an entry off the books: it was acknowledged, or its commit
// failed; mu is held.
func (s *session) unqueue(size int) {
	s.queued = max(s.queued-1, 0)
	s.queuedBytes = max(s.queuedBytes-size, 0)
}

// record is what the store keeps of s; mu is held.
func (s *session) record() []byte {
	r := sessionRecord{id: s.id, version: s.version, expiry: s.expiry, disconnected: s.disconnected}
	return r.append(nil)
}
