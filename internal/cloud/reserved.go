package cloud

import (
	"fmt"

	"mote/internal/cloud/broker"
	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// part is one of the services that devices speak to on topics that begin with
// $, such as the shadows.
type part interface {
	broker.Reserved
	// Serves says whether a topic, or a filter without wildcards before the
	// part's own level, is the part's business: its refusals are the ones to show.
	Serves(topic string) bool
}

// reserved is all parts as one. No two of them serve the same topic.
type reserved []part

// CheckTopic implements [broker.Reserved].
func (r reserved) CheckTopic(topic string, answered bool) error {
	if p := r.of(topic); p != nil {
		return p.CheckTopic(topic, answered)
	}
	return nothing("publish on", topic)
}

// CheckFilter implements [broker.Reserved]. A filter with wildcards may reach
// into several parts: one that takes it is enough.
func (r reserved) CheckFilter(filter string) error {
	for _, p := range r {
		if p.CheckFilter(filter) == nil {
			return nil
		}
	}
	if p := r.of(filter); p != nil {
		return p.CheckFilter(filter)
	}
	return nothing("subscribe to", filter)
}

func nothing(verb, topic string) error {
	return fmt.Errorf("topics that begin with $ are reserved, and nothing is served on %.300q: %s a topic without $", topic, verb)
}

// Hold implements [broker.Reserved].
func (r reserved) Hold(b *store.Batch, topic string, wait bool) bool {
	p := r.of(topic)
	return p == nil || p.Hold(b, topic, wait)
}

// Apply implements [broker.Reserved].
func (r reserved) Apply(b *store.Batch, m *message.Message) ([]*message.Message, error) {
	if p := r.of(m.Topic); p != nil {
		return p.Apply(b, m)
	}
	return nil, nil
}

// of returns the part that serves topic, or nil.
func (r reserved) of(topic string) part {
	for _, p := range r {
		if p.Serves(topic) {
			return p
		}
	}
	return nil
}
