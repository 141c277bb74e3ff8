package broker

import (
	"sync"

	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// shelf is the books of the retained messages, so that they cannot fill the
// disk.
type shelf struct {
	mu    sync.Mutex
	sizes map[string]int // of the records, by topic; guarded by mu
	bytes int            // guarded by mu
}

// put notes that topic now has a record of size bytes, 0 for none. It says no
// when there is no room for it; before is what the topic had.
func (s *shelf) put(topic string, size int, l *Limits) (before int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = s.sizes[topic]
	if size > before && (before == 0 && len(s.sizes) >= l.Retained || s.bytes+size-before > l.RetainedBytes) {
		return before, false
	}
	s.set(topic, size)
	return before, true
}

// set notes the size of a topic's record; mu is held.
func (s *shelf) set(topic string, size int) {
	s.bytes += size - s.sizes[topic]
	if size == 0 {
		delete(s.sizes, topic)
	} else {
		s.sizes[topic] = size
	}
}

// retainedChange is what a burst that fails takes back.
type retainedChange struct {
	topic  string
	before int
}

func (s *shelf) restore(changes []retainedChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(changes) - 1; i >= 0; i-- {
		s.set(changes[i].topic, changes[i].before)
	}
}

func (s *shelf) count() (messages, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sizes), s.bytes
}

// retainedOverhead is about what a record has beside topic and payload.
const retainedOverhead = 64

// checkRoom refuses a retained message that the limits have no room for.
func (b *Broker) checkRoom(topic string, payload int) *refused {
	if payload == 0 {
		return nil
	}
	size, l := len(topic)+payload+retainedOverhead, &b.limits
	b.shelf.mu.Lock()
	defer b.shelf.mu.Unlock()
	before := b.shelf.sizes[topic]
	switch {
	case size <= before:
		return nil
	case before == 0 && len(b.shelf.sizes) >= l.Retained:
		return refuse(mqtt.QuotaExceeded, "there are %d retained messages, which is the most: delete some with empty retained messages", len(b.shelf.sizes))
	case b.shelf.bytes+size-before > l.RetainedBytes:
		return refuse(mqtt.QuotaExceeded, "the retained messages have %d bytes, the most are %d: delete some with empty retained messages", b.shelf.bytes, l.RetainedBytes)
	}
	return nil
}

// loadShelf counts the retained messages that the store has.
func (b *Broker) loadShelf() error {
	return b.scan([]byte{byte(store.SpaceRetained)}, func(key, value []byte) error {
		b.shelf.set(string(key[1:]), len(key)+len(value))
		return nil
	})
}
