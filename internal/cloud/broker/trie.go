package broker

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// subscription is what a session wants of the messages that match one filter.
type subscription struct {
	id      uint32 // its identifier; 0 for none
	qos     byte
	noLocal bool // not those it published itself (MQTT 5, 3.8.3.1)
	asSent  bool // Retain As Published
	parent  bool // a/# matches a
}

// subIDs are the identifiers of the subscriptions through which one message
// reaches one session, in order.
type subIDs []uint32

// target is one session that gets a message, with the union of its
// subscriptions that match the topic; or one group, with its highest QoS.
type target struct {
	s *session // nil for a group
	subscription
	ids *subIDs // of its subscriptions that have one; nil for none
	g   *group  // nil for a session
}

// stored says whether QoS 1 messages go through a queue on disk.
func (t target) stored() bool { return t.qos > 0 && (t.g != nil || t.s.persistent) }

func (t target) queue() *queue {
	if t.g != nil {
		return &t.g.queue
	}
	return &t.s.queue
}

func (t target) deliver(w waiting) {
	if t.g != nil {
		t.g.deliver(w)
	} else {
		t.s.deliver(w)
	}
}

// trie finds the subscriptions that match a topic, level by level.
type trie struct {
	// version grows with every change: a list of targets found at one version
	// holds until the next.
	version atomic.Uint64

	mu   sync.RWMutex
	root node // guarded by mu
	size int  // subscriptions; guarded by mu
}

type node struct {
	children map[string]*node          // by level; "+" and "#" among them
	subs     map[*session]subscription // of filters that end here
	groups   []*group                  // shared subscriptions to them
}

func (n *node) empty() bool { return len(n.children) == 0 && len(n.subs) == 0 && len(n.groups) == 0 }

// add subscribes s to filter, or replaces its subscription.
func (t *trie) add(s *session, filter string, sub subscription) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.node(filter)
	if n.subs == nil {
		n.subs = map[*session]subscription{}
	}
	if _, had := n.subs[s]; !had {
		t.size++
	}
	n.subs[s] = sub
	t.version.Add(1)
}

// node returns the node of filter, a new one if need be; mu is held.
func (t *trie) node(filter string) *node {
	n := &t.root
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		child := n.children[level]
		if child == nil {
			if n.children == nil {
				n.children = map[string]*node{}
			}
			child = &node{}
			n.children[strings.Clone(level)] = child
		}
		n = child
	}
	return n
}

// remove unsubscribes s from filter.
func (t *trie) remove(s *session, filter string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := t.root.remove(filter, func(n *node) bool {
		_, had := n.subs[s]
		delete(n.subs, s)
		return had
	})
	if had {
		t.size--
		t.version.Add(1)
	}
}

// remove calls take for the node of filter below n, prunes what is empty, and
// returns what take said; false when there is no such node.
func (n *node) remove(filter string, take func(*node) bool) bool {
	level, rest, more := strings.Cut(filter, "/")
	child := n.children[level]
	if child == nil {
		return false
	}
	var had bool
	if more {
		had = child.remove(rest, take)
	} else {
		had = take(child)
	}
	if child.empty() {
		delete(n.children, level)
	}
	return had
}

// match returns the sessions subscribed to topic, each once, with the highest
// QoS of its matching subscriptions, and the version of this answer. a/#
// matches a for subscriptions that say so ([MQTT-4.7.1-2]); AWS's do not (AWS
// IoT developer guide, "Topic filters").
func (t *trie) match(topic string) ([]target, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var m matches
	t.root.match(topic, &m, topic[0] == '$')
	return m.list, t.version.Load()
}

func (t *trie) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.size
}

func (n *node) match(topic string, m *matches, reserved bool) {
	level, rest, more := strings.Cut(topic, "/")
	if child := n.children[level]; child != nil && level != "+" && level != "#" {
		child.step(rest, more, m)
	}
	if reserved { // [MQTT-4.7.2-1]: no leading wildcard matches $…
		return
	}
	if child := n.children["+"]; child != nil {
		child.step(rest, more, m)
	}
	if child := n.children["#"]; child != nil {
		m.add(child)
	}
}

func (n *node) step(rest string, more bool, m *matches) {
	if more {
		n.match(rest, m, false)
	} else {
		m.add(n)
		if child := n.children["#"]; child != nil {
			m.addBelow(child)
		}
	}
}

// matches collects targets, one for each session and one for each group. Short
// lists are searched, long ones indexed.
type matches struct {
	list  []target
	index map[*session]int
}

func (m *matches) add(n *node) {
	for _, g := range n.groups {
		m.addGroup(g)
	}
	m.addSessions(n.subs, false)
}

// addBelow adds what a/# has when the topic is a.
func (m *matches) addBelow(n *node) {
	for _, g := range n.groups {
		if g.parent {
			m.addGroup(g)
		}
	}
	m.addSessions(n.subs, true)
}

func (m *matches) addGroup(g *group) {
	m.list = append(m.list, target{g: g, subscription: subscription{qos: g.top}})
}

// addSessions adds subscriptions; with parent, only those whose a/# matches a.
func (m *matches) addSessions(subs map[*session]subscription, parent bool) {
	for s, sub := range subs {
		if parent && !sub.parent {
			continue
		}
		i := m.find(s)
		if i < 0 {
			m.list = append(m.list, target{s: s, subscription: sub, ids: sub.ids()})
			if m.index != nil {
				m.index[s] = len(m.list) - 1
			}
			continue
		}
		have := &m.list[i].subscription
		have.qos = max(have.qos, sub.qos)
		have.noLocal = have.noLocal && sub.noLocal
		have.asSent = have.asSent || sub.asSent
		m.list[i].addID(sub.id)
	}
}

func (m *matches) find(s *session) int {
	if m.index == nil {
		for i := range m.list {
			if m.list[i].s == s {
				return i
			}
		}
		if len(m.list) < 16 {
			return -1
		}
		m.index = make(map[*session]int, 2*len(m.list))
		for i := range m.list {
			m.index[m.list[i].s] = i
		}
	}
	if i, ok := m.index[s]; ok {
		return i
	}
	return -1
}

// ids is the identifier alone; nil for none.
func (s subscription) ids() *subIDs {
	if s.id == 0 {
		return nil
	}
	return &subIDs{s.id}
}

func (t *target) addID(id uint32) {
	switch {
	case id == 0:
	case t.ids == nil:
		t.ids = &subIDs{id}
	case !slices.Contains(*t.ids, id):
		*t.ids = append(*t.ids, id)
		slices.Sort(*t.ids)
	}
}
