package broker

import (
	"encoding/binary"
	"slices"
	"strings"

	"mote/internal/cloud/record"
	"mote/internal/cloud/store"
)

// group is one shared subscription: all sessions that are subscribed to the
// same $share/<name>/<filter> (MQTT 5, section 4.8.2; AWS IoT developer guide,
// "Shared Subscriptions"). Each message that the filter matches goes to one of
// them.
//
// A QoS 1 message is an entry in the group's own queue on disk, in the batch
// that holds the rest of its effects, until the member that got it has
// acknowledged it. So it is not lost when that member leaves, when nobody is
// online, or when the process ends: it goes to another member, or waits. A
// group ends with its last member, and its queue with it; as clean sessions
// end with their connections, a group waits for messages only while a
// persistent session belongs to it.
//
// Messages go out in the order of their commits, those that a member left
// behind first. As members acknowledge at their own pace there is no order
// between members.
type group struct {
	queue
	b      *Broker
	filter string // whole, $share/<name>/<filter>
	pins   int    // SUBSCRIBEs under way; guarded by the broker's queueMu
	top    byte   // highest QoS of a member; guarded by the trie's mu
	parent bool   // a member wants that a/# matches a; guarded by the trie's mu

	members  []member // guarded by mu
	turn     int      // the member that is asked first, once round; guarded by mu
	behind   bool     // entries after sentSeq wait on disk; guarded by mu
	sentSeq  uint64   // the last new entry that was sent or given up; guarded by mu
	returned []uint64 // entries that members left behind, ascending; guarded by mu
	pumping  bool     // a goroutine is in pump; guarded by mu
	again    bool     // it is to look again; guarded by mu
}

type member struct {
	s   *session
	sub subscription
}

const sharePrefix = "$share/"

// shareNameMost is the most bytes of a share name (AWS IoT Core quotas).
const shareNameMost = 128

// sharedFilter returns the filter inside a shared subscription.
func sharedFilter(filter string) (inner string, shared bool) {
	rest, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		return filter, false
	}
	_, inner, _ = strings.Cut(rest, "/")
	return inner, true
}

// pin returns the group of filter for a session that is about to join, which
// keeps it from ending until unpin. A new one is stored with batch. queueMu is
// held.
func (b *Broker) pin(batch *store.Batch, filter string) *group {
	g := b.groups[filter]
	if g == nil {
		g = b.newGroup(filter, b.lastSession.Add(1))
		batch.Set(groupKey(filter), groupRecord(g.id))
	}
	g.pins++
	return g
}

func (b *Broker) newGroup(filter string, id uint64) *group {
	g := &group{b: b, filter: filter, queue: queue{id: id, total: &b.queuedBytes}}
	b.groups[filter] = g
	return g
}

// unpin lets go of groups that were pinned; those that nobody joined end.
func (b *Broker) unpin(groups []*group) {
	if len(groups) == 0 {
		return
	}
	batch := b.store.NewBatch()
	b.queueMu.Lock()
	defer b.queueMu.Unlock()
	for _, g := range groups {
		g.pins--
		b.endGroup(batch, g)
	}
	if batch.Empty() {
		batch.Discard()
		return
	}
	b.commitQuietly(batch)
}

// leave takes s out of a group, which ends by way of batch when s was the last
// one. queueMu is held.
func (b *Broker) leave(batch *store.Batch, s *session, filter string) {
	g := b.groups[filter]
	if g == nil {
		return
	}
	b.trie.leave(g, s)
	s.setGroups(func(l []*group) []*group {
		return slices.DeleteFunc(l, func(o *group) bool { return o == g })
	})
	b.endGroup(batch, g)
}

// endGroup ends g when it has no members. queueMu is held.
func (b *Broker) endGroup(batch *store.Batch, g *group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) > 0 || g.pins > 0 || g.ended {
		return
	}
	b.counters.dropped.Add(uint64(g.queued))
	g.end()
	g.returned, g.behind = nil, false
	delete(b.groups, g.filter)
	batch.Delete(groupKey(g.filter))
	batch.DeleteRange(queuePrefix(g.id), store.PrefixEnd(queuePrefix(g.id)))
}

// join makes s a member of g, or changes its subscription.
func (b *Broker) join(g *group, s *session, sub subscription) {
	b.trie.join(g, s, sub)
	s.setGroups(func(l []*group) []*group {
		if slices.Contains(l, g) {
			return l
		}
		return append(l, g)
	})
}

// setGroups changes the list of the groups that s belongs to. Lists that were
// handed out stay as they are.
func (s *session) setGroups(change func([]*group) []*group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := change(slices.Clone(s.sharing()))
	s.groups.Store(&l)
}

// sharing is the groups that s belongs to.
func (s *session) sharing() []*group {
	if l := s.groups.Load(); l != nil {
		return *l
	}
	return nil
}

// kickGroups has the groups of s look whether they can send something.
func (s *session) kickGroups() {
	for _, g := range s.sharing() {
		g.kick()
	}
}

// deliver hands w to one member. It runs in the store's commit path: it never
// waits for the disk, the network or the gate.
func (g *group) deliver(w waiting) {
	if w.seq == 0 {
		g.deliverOnce(w)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.durable = max(g.durable, w.seq)
	if g.ended || g.behind || len(g.returned) > 0 {
		g.behind = true
		return
	}
	switch placed, _ := g.offer(w); placed {
	case placedDone:
		g.sentSeq = w.seq
	case placedUnknown:
		g.behind = true
		g.start()
	case placedFull, placedNobody:
		g.behind = true // until somebody has room, or comes
	}
}

// deliverOnce hands a QoS 0 message to one member that is online, and that may
// receive it as far as is known; what becomes of it there is not looked after.
func (g *group) deliverOnce(w waiting) {
	g.mu.Lock()
	at := g.turn
	var chosen *member
	for i := range g.members {
		m := &g.members[(at+i)%len(g.members)]
		if m.s.takes(w.m.Topic) {
			chosen = &member{m.s, m.sub}
			g.turn = (at + i + 1) % len(g.members)
			break
		}
	}
	g.mu.Unlock()
	if chosen != nil {
		w.retain, w.ids = w.retain && chosen.sub.asSent, chosen.sub.ids()
		chosen.s.deliver(w)
	}
}

// takes says whether s is online and may, as far as is known, receive on topic.
func (s *session) takes(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return false
	}
	allowed, known := s.out.c.receive.peek(topic)
	return allowed || !known
}

// placed is what became of an offer.
type placed int

const (
	placedDone    placed = iota // a member got it, or nobody ever can
	placedUnknown               // a member's policies have to be asked first
	placedFull                  // all that may have it have no room for now
	placedNobody                // no member is online
)

// offer sends w to the next member that is online, may receive it and has
// room. When all who are online may not, it is given up, as it is for a single
// session. With placedUnknown comes the connection to ask for. mu is held.
func (g *group) offer(w waiting) (placed, *conn) {
	n := len(g.members)
	if n == 0 {
		return placedNobody, nil
	}
	var full, refused bool
	at := g.turn
	for i := range n {
		m := g.members[(at+i)%n]
		out, c := m.offer(g, w)
		switch out {
		case offerTaken:
			g.turn = (at + i + 1) % n
			return placedDone, nil
		case offerExpired:
			g.finish(g.b, w.seq, w.size)
			return placedDone, nil
		case offerUnknown:
			return placedUnknown, c
		case offerFull:
			full = true
		case offerRefused:
			refused = true
		}
	}
	switch {
	case full:
		return placedFull, nil
	case !refused:
		return placedNobody, nil
	}
	g.finish(g.b, w.seq, w.size)
	g.dropped++
	g.b.counters.dropped.Add(1)
	return placedDone, nil
}

// offered is a member's answer to an offer.
type offered int

const (
	offerTaken offered = iota
	offerExpired
	offerUnknown
	offerFull
	offerRefused // it may not receive it, or it is too large for it
	offerAway
)

// offer sends w to the member if it can be sent now. The group's mu is held.
func (m member) offer(g *group, w waiting) (offered, *conn) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	d := m.s.out
	if d == nil {
		return offerAway, nil
	}
	allowed, known := d.c.receive.peek(w.m.Topic)
	w.qos, w.retain, w.group, w.ids = min(w.qos, m.sub.qos), w.retain && m.sub.asSent, g, m.sub.ids()
	switch {
	case !known:
		return offerUnknown, d.c
	case !allowed:
		return offerRefused, nil
	case d.room() <= 0:
		return offerFull, nil
	}
	switch d.write(w) {
	case writeSent:
		if w.qos == 0 {
			g.finish(g.b, w.seq, w.size)
		}
		return offerTaken, nil
	case writeExpired:
		return offerExpired, nil
	case writeTooLarge:
		return offerRefused, nil
	}
	return offerAway, nil
}

// acknowledge takes a member's PUBACK.
func (g *group) acknowledge(f sent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.finish(g.b, f.seq, f.size)
	}
}

// giveBack takes what a member that has left did not acknowledge, for others.
func giveBack(inFlight []sent) {
	for _, f := range inFlight {
		if g := f.group; g != nil {
			g.mu.Lock()
			if i, found := slices.BinarySearch(g.returned, f.seq); !found && !g.ended {
				g.returned = slices.Insert(g.returned, i, f.seq)
			}
			g.mu.Unlock()
			g.kick()
		}
	}
}

// kick has a goroutine send what waits, if something does.
func (g *group) kick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.behind || len(g.returned) > 0 {
		g.start()
	}
}

// start sees that a goroutine is in pump or comes there; mu is held. Close
// waits for it after everything that calls start has ended.
func (g *group) start() {
	if g.again = true; !g.pumping {
		g.pumping = true
		g.b.pumps.Go(func() {
			for g.pump() {
			}
		})
	}
}

// pumpEntries is how many entries pump reads at a time.
const pumpEntries = 64

// pump sends some of what waits and says whether to go on. It reads the disk
// and asks the gate.
func (g *group) pump() bool {
	j, returned, ok := g.nextJob()
	if !ok {
		return false
	}
	entries, more, err := g.read(j, returned)
	if err != nil {
		g.b.log.Error("cannot read the queue of a shared subscription", "filter", g.filter, "err", err)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.pumping = false
		return false
	}
	for _, w := range entries {
		if !g.place(w) {
			return g.rest()
		}
	}
	if len(returned) == 0 && !more {
		g.mu.Lock()
		if g.sentSeq = max(g.sentSeq, j.to); g.durable == j.to {
			g.behind = false
		}
		g.mu.Unlock()
	}
	return true
}

// nextJob is what pump has to read: some entries that were returned, or a
// range of new ones.
func (g *group) nextJob() (j job, returned []uint64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.again = false
	switch {
	case g.ended:
	case len(g.returned) > 0:
		return j, slices.Clone(g.returned[:min(len(g.returned), pumpEntries)]), true
	case g.behind:
		return job{entries: pumpEntries, from: g.sentSeq + 1, to: g.durable}, nil, true
	}
	g.pumping = false
	return j, nil, false
}

// rest ends pumping until the next kick, unless one came meanwhile.
func (g *group) rest() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pumping = g.again
	return g.again
}

func (g *group) read(j job, returned []uint64) (entries []waiting, more bool, err error) {
	if len(returned) == 0 {
		return g.b.readQueue(g.id, j)
	}
	for _, seq := range returned {
		one, _, err := g.b.readQueue(g.id, job{entries: 1, from: seq, to: seq})
		if err != nil {
			return nil, false, err
		}
		if len(one) == 0 { // not there any more
			one = []waiting{{seq: seq}}
		}
		entries = append(entries, one...)
	}
	return entries, false, nil
}

// place sends w to a member; it says no when w has to wait.
func (g *group) place(w waiting) bool {
	for {
		g.mu.Lock()
		if g.ended {
			g.mu.Unlock()
			return false
		}
		if w.m == nil {
			g.b.counters.dropped.Add(1)
			g.finish(g.b, w.seq, w.size)
		} else if out, c := g.offer(w); out != placedDone {
			g.mu.Unlock()
			if out != placedUnknown {
				return false
			}
			c.receive.decide(w.m.Topic)
			continue
		}
		g.advance(w.seq)
		g.mu.Unlock()
		return true
	}
}

// advance notes that an entry is out of pump's hands; mu is held.
func (g *group) advance(seq uint64) {
	if i, found := slices.BinarySearch(g.returned, seq); found {
		g.returned = slices.Delete(g.returned, i, i+1)
		return
	}
	g.sentSeq = max(g.sentSeq, seq)
}

// join makes s a member of g, or changes its subscription.
func (t *trie) join(g *group, s *session, sub subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	inner, _ := sharedFilter(g.filter)
	if n := t.node(inner); !slices.Contains(n.groups, g) {
		n.groups = append(n.groups, g)
	}
	if g.put(s, sub) {
		t.size++
	}
	t.version.Add(1)
}

// leave takes s out of g, and g out of the trie when it was the last one.
func (t *trie) leave(g *group, s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had, empty := g.take(s)
	if !had {
		return
	}
	t.size--
	t.version.Add(1)
	if inner, _ := sharedFilter(g.filter); empty {
		t.root.remove(inner, func(n *node) bool {
			n.groups = slices.DeleteFunc(n.groups, func(o *group) bool { return o == g })
			return true
		})
	}
}

// put makes s a member and says whether it was none; the trie's mu is held.
func (g *group) put(s *session, sub subscription) (added bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.members, func(m member) bool { return m.s == s })
	if added = i < 0; added {
		g.members = append(g.members, member{s, sub})
	} else {
		g.members[i].sub = sub
	}
	g.setTop()
	return added
}

// take removes s; the trie's mu is held.
func (g *group) take(s *session) (had, empty bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.members)
	g.members = slices.DeleteFunc(g.members, func(m member) bool { return m.s == s })
	g.setTop()
	return len(g.members) < before, len(g.members) == 0
}

func (g *group) setTop() {
	g.top, g.parent = 0, false
	for _, m := range g.members {
		g.top, g.parent = max(g.top, m.sub.qos), g.parent || m.sub.parent
	}
}

// groupKey is the key of a group's record.
func groupKey(filter string) []byte {
	return append([]byte{byte(store.SpaceSession), 'g'}, filter...)
}

func groupRecord(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{recordVersion}, id)
}

func parseGroup(b []byte) (id uint64, err error) {
	c := record.Read(b)
	version := c.Byte()
	if id = c.Uint64(); c.Bad() || version != recordVersion || id == 0 {
		return 0, errRecord
	}
	return id, nil
}
