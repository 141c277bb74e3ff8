package broker

import (
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"mote/internal/cloud/message"
)

// counters count since the start of the broker.
type counters struct {
	received, sent, dropped, expired, denied, handshakes, lost, throttled, turnedAway atomic.Uint64
}

// Status is a snapshot of what the broker holds and has done since its start.
type Status struct {
	Connections   int // live now
	Sessions      int // live ones, and persistent ones that are away
	Subscriptions int
	Queued        int // messages on disk that their sessions or shared subscriptions have not acknowledged

	QueuedBytes   int // what they take on disk
	Retained      int // retained messages
	RetainedBytes int // what they take on disk

	Received       uint64 // messages published by clients, by HTTP callers and by rules, after their commit
	Sent           uint64 // messages written to subscribers
	Dropped        uint64 // messages that did not fit into a session's queue, its client's output or packet size
	Expired        uint64 // messages whose expiry passed before they could be sent
	Denied         uint64 // publishes and deliveries that were refused
	Throttled      uint64 // publishes and CONNECTs beyond AWS's rates, with Limits.Rates
	TurnedAway     uint64 // connections beyond the limits
	HandshakeFails uint64 // TLS handshakes that failed
	StoreFails     uint64 // changes of sessions that the store refused, so that a restart does not know them
}

// Status returns a snapshot.
func (b *Broker) Status() Status {
	st := Status{
		Subscriptions: b.trie.count(),
		Received:      b.counters.received.Load(), Sent: b.counters.sent.Load(), Dropped: b.counters.dropped.Load(),
		Expired: b.counters.expired.Load(), Denied: b.counters.denied.Load(), HandshakeFails: b.counters.handshakes.Load(), StoreFails: b.counters.lost.Load(),
	}
	st.Throttled, st.TurnedAway, st.QueuedBytes = b.counters.throttled.Load(), b.counters.turnedAway.Load(), int(b.queuedBytes.Load())
	st.Retained, st.RetainedBytes = b.shelf.count()
	b.mu.Lock()
	defer b.mu.Unlock()
	st.Connections, st.Sessions = len(b.conns), len(b.sessions)
	for _, s := range b.sessions {
		s.mu.Lock()
		st.Queued += s.queued
		s.mu.Unlock()
	}
	b.queueMu.Lock()
	defer b.queueMu.Unlock()
	for _, g := range b.groups {
		g.mu.Lock()
		st.Queued += g.queued
		g.mu.Unlock()
	}
	return st
}

// Client is one session, for lists.
type Client struct {
	ClientID      string
	Connected     bool
	Principal     string    // certificate id, account/NAME or anonymous; "" while away
	SourceIP      string    // "" while away
	Version       byte      // 4 for MQTT 3.1.1, 5
	Since         time.Time // when it connected, or when it left
	Persistent    bool
	Subscriptions int
	InFlight      int    // publishes to it that it has not acknowledged
	Queued        int    // messages for it on disk, those in flight included
	Dropped       uint64 // messages for it that did not fit
}

// Clients lists the sessions by client id.
func (b *Broker) Clients() []Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Client, 0, len(b.sessions))
	for _, s := range b.sessions {
		out = append(out, s.client())
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ClientID < out[j].ClientID })
	return out
}

func (s *session) client() Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Client{
		ClientID: s.clientID, Version: s.version, Persistent: s.persistent, Since: s.disconnected,
		Subscriptions: len(s.subs), Queued: s.queued, Dropped: s.dropped,
	}
	if d := s.out; d != nil {
		c.Connected, c.Principal, c.SourceIP = true, d.c.principal, d.c.subject.SourceIP
		c.Since, c.InFlight = d.c.since, len(d.inFlight)
	}
	return c
}

// Watch sends every published message to ch after its commit, until the
// returned function is called. A watcher that does not keep up misses some.
// Messages are shared: they must not be changed.
func (b *Broker) Watch(ch chan<- *message.Message) (stop func()) {
	b.setWatchers(func(l []chan<- *message.Message) []chan<- *message.Message { return append(l, ch) })
	return func() {
		b.setWatchers(func(l []chan<- *message.Message) []chan<- *message.Message {
			return slices.DeleteFunc(l, func(c chan<- *message.Message) bool { return c == ch })
		})
	}
}

func (b *Broker) setWatchers(change func([]chan<- *message.Message) []chan<- *message.Message) {
	b.watchMu.Lock()
	defer b.watchMu.Unlock()
	l := change(slices.Clone(*b.watchers.Load()))
	b.watchers.Store(&l)
}

func (b *Broker) tellWatchers(m *message.Message) {
	for _, ch := range *b.watchers.Load() {
		select {
		case ch <- m:
		default:
		}
	}
}
