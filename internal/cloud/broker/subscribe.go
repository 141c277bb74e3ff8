package broker

import (
	"bytes"
	"strings"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// handleSubscribe subscribes the session to what it may, stores that for a
// persistent session, answers SUBACK and then sends the retained messages.
func (c *conn) handleSubscribe(p *mqtt.Subscribe) *refused {
	c.commit() // what was published before comes before
	if r := c.checkSubscribe(p); r != nil {
		return r
	}
	codes, why, r := c.judgeFilters(p)
	if r != nil {
		return r
	}
	before, err := c.subscribe(p, codes)
	if err != nil {
		r := refuseStore(err)
		for i := range codes {
			if !codes[i].Failed() {
				codes[i], why = r.code, r.reason
			}
		}
	}
	c.suback(p.PacketID, codes, why)
	c.tellTopics(eventSubscribed, granted(p, codes))
	c.session.kickGroups()
	for i, f := range p.Filters {
		if !codes[i].Failed() && (f.RetainHandling == 0 || f.RetainHandling == 1 && !before[f.Filter]) {
			c.sendRetained(f.Filter, c.subscriptionOf(p, f))
		}
	}
	return nil
}

// granted is the filters of p that were not refused.
func granted(p *mqtt.Subscribe, codes []mqtt.ReasonCode) (filters []string) {
	for i, f := range p.Filters {
		if !codes[i].Failed() {
			filters = append(filters, f.Filter)
		}
	}
	return filters
}

func (c *conn) subscriptionOf(p *mqtt.Subscribe, f mqtt.Subscription) subscription {
	s := subscription{qos: min(f.QoS, c.mostQoS(f.Filter)), noLocal: f.NoLocal, asSent: f.RetainAsPublished, parent: c.spec}
	if p.Props != nil && len(p.Props.SubscriptionIDs) > 0 {
		s.id = p.Props.SubscriptionIDs[0]
	}
	return s
}

// mostQoS is the highest QoS that a subscription gets. That of members of a
// shared one is 1: a message that goes to another member may come twice.
func (c *conn) mostQoS(filter string) byte {
	if _, shared := sharedFilter(filter); c.spec && !shared {
		return 2
	}
	return 1
}

// checkSubscribe refuses what ends the connection on AWS.
func (c *conn) checkSubscribe(p *mqtt.Subscribe) *refused {
	if p.Props != nil && len(p.Props.SubscriptionIDs) > 0 && !c.spec {
		return refuse(mqtt.SubscriptionIdentifiersNotSupported, "subscription identifiers are not served").on("iot:Subscribe", "")
	}
	if n := len(p.Filters); n > c.limits.Filters {
		return refuse(mqtt.QuotaExceeded, "%d filters in one SUBSCRIBE, the most are %d: send several", n, c.limits.Filters).on("iot:Subscribe", "")
	}
	for _, f := range p.Filters {
		if f.QoS > 1 && !c.spec && !c.b.cfg.GrantQoS1 {
			return refuse(mqtt.QoSNotSupported, "QoS 2 is not served: subscribe with QoS 0 or 1").on("iot:Subscribe", c.b.gate.ARN("topicfilter/"+f.Filter))
		}
	}
	return nil
}

// judgeFilters gives the answer to each filter, and the reason of the last
// refusal. The third result ends the connection: 3.1.1 clients lose it over a
// filter that AWS's limits or reserved topics forbid.
func (c *conn) judgeFilters(p *mqtt.Subscribe) (codes []mqtt.ReasonCode, why string, end *refused) {
	codes = make([]mqtt.ReasonCode, len(p.Filters))
	fresh := map[string]bool{}
	for i, f := range p.Filters {
		arn := c.b.gate.ARN("topicfilter/" + f.Filter)
		r := c.checkFilter(f.Filter)
		if r != nil {
			if r.on("iot:Subscribe", arn); c.version != mqtt.V5 && !c.spec {
				return nil, "", r
			}
		} else if r = c.decide("iot:Subscribe", "topicfilter/"+f.Filter); r == nil {
			r = c.countFilter(f.Filter, arn, fresh)
		}
		if r == nil {
			codes[i] = mqtt.ReasonCode(min(f.QoS, c.mostQoS(f.Filter)))
			continue
		}
		c.deny(r)
		codes[i], why = r.code, r.reason
	}
	return codes, why, nil
}

// countFilter refuses more subscriptions than a session may have; fresh
// collects those of this packet.
func (c *conn) countFilter(filter, arn string, fresh map[string]bool) *refused {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, had := s.subs[filter]; had || fresh[filter] {
		return nil
	}
	if len(s.subs)+len(fresh) >= c.limits.Subscriptions {
		return refuse(mqtt.QuotaExceeded, "the session has %d subscriptions, which is the most: unsubscribe from some, or use wildcards", c.limits.Subscriptions).on("iot:Subscribe", arn)
	}
	fresh[filter] = true
	return nil
}

// subscribe stores the granted subscriptions and lets them take effect. It
// returns which filters the session had before.
func (c *conn) subscribe(p *mqtt.Subscribe, codes []mqtt.ReasonCode) (before map[string]bool, err error) {
	s := c.session
	groups, err := c.storeSubscriptions(p, codes)
	defer c.b.unpin(groups)
	if err != nil {
		return nil, err
	}
	before = map[string]bool{}
	for i, f := range p.Filters {
		if codes[i].Failed() {
			continue
		}
		sub := c.subscriptionOf(p, f)
		s.mu.Lock()
		if _, had := s.subs[f.Filter]; had {
			before[f.Filter] = true
		}
		s.subs[f.Filter] = sub
		s.mu.Unlock()
		if _, shared := sharedFilter(f.Filter); shared {
			c.b.join(groups[0], s, sub)
			groups = groups[1:]
		} else {
			c.b.trie.add(s, f.Filter, sub)
		}
	}
	return before, nil
}

// storeSubscriptions stores the granted subscriptions of a persistent session,
// and new shared ones. It returns the groups of the shared ones in order,
// pinned also when there is an error.
func (c *conn) storeSubscriptions(p *mqtt.Subscribe, codes []mqtt.ReasonCode) (groups []*group, err error) {
	s, batch := c.session, c.b.store.NewBatch()
	c.b.queueMu.Lock() // the end of a group and its beginning are in the order of their commits
	for i, f := range p.Filters {
		if codes[i].Failed() {
			continue
		}
		if _, shared := sharedFilter(f.Filter); shared {
			groups = append(groups, c.b.pin(batch, f.Filter))
		}
		if s.persistent {
			batch.Set(filterKey(s.id, f.Filter), c.subscriptionOf(p, f).record())
		}
	}
	wait := c.b.commitInOrder(batch)
	c.b.queueMu.Unlock()
	return groups, wait()
}

// commitInOrder commits without waiting, unless there is nothing; the result
// waits.
func (b *Broker) commitInOrder(batch *store.Batch) (wait func() error) {
	if batch.Empty() {
		batch.Discard()
		return func() error { return nil }
	}
	errc := make(chan error, 1)
	b.store.CommitAsync(batch, func(err error) { errc <- err })
	return func() error { return <-errc }
}

// unsubscribe ends the effect of a subscription of s that is off its list.
// queueMu is held.
func (b *Broker) unsubscribe(batch *store.Batch, s *session, filter string) {
	if _, shared := sharedFilter(filter); shared {
		b.leave(batch, s, filter)
	} else {
		b.trie.remove(s, filter)
	}
}

func (c *conn) suback(id uint16, codes []mqtt.ReasonCode, why string) {
	if c.version != mqtt.V5 {
		for i := range codes {
			if codes[i].Failed() {
				codes[i] = mqtt.UnspecifiedError // 0x80, the only failure of 3.1.1
			}
		}
	}
	c.out.add(func(buf []byte) []byte {
		return c.appendReason(buf, why, func(p *mqtt.Properties) mqtt.Packet { return &mqtt.Suback{PacketID: id, Codes: codes, Props: p} })
	})
}

// handleUnsubscribe ends subscriptions, also in the store, and answers
// UNSUBACK.
func (c *conn) handleUnsubscribe(p *mqtt.Unsubscribe) *refused {
	c.commit()
	s := c.session
	codes := make([]mqtt.ReasonCode, len(p.Filters))
	batch := c.b.store.NewBatch()
	var left []string
	c.b.queueMu.Lock()
	for i, f := range p.Filters {
		s.mu.Lock()
		_, had := s.subs[f]
		delete(s.subs, f)
		s.mu.Unlock()
		if !had {
			codes[i] = mqtt.NoSubscriptionExisted
			continue
		}
		c.b.unsubscribe(batch, s, f)
		left = append(left, f)
		if s.persistent {
			batch.Delete(filterKey(s.id, f))
		}
	}
	wait := c.b.commitInOrder(batch)
	c.b.queueMu.Unlock()
	if err := wait(); err != nil {
		return refuseStore(err)
	}
	c.out.add(func(buf []byte) []byte {
		if out, err := (&mqtt.Unsuback{PacketID: p.PacketID, Codes: codes}).Append(buf, c.version); err == nil {
			return out
		}
		return buf
	})
	c.tellTopics(eventUnsubscribed, left)
	return nil
}

func (b *Broker) commitOrDiscard(batch *store.Batch) error {
	if batch.Empty() {
		batch.Discard()
		return nil
	}
	return b.store.Commit(batch)
}

// retain stores or removes the retained copy of m in the burst's batch. An
// empty payload removes ([MQTT-3.3.1-6], [MQTT-3.3.1-7]).
func (u *burst) retain(m *message.Message) {
	key := retainedKey(m.Topic)
	if len(m.Payload) == 0 {
		before, _ := u.b.shelf.put(m.Topic, 0, &u.b.limits)
		u.shelved = append(u.shelved, retainedChange{m.Topic, before})
		u.batch.Delete(key)
		return
	}
	u.record = appendMessage(u.record[:0], m, m.QoS, true, nil)
	before, ok := u.b.shelf.put(m.Topic, len(key)+len(u.record), &u.b.limits)
	if !ok { // a rule's, a will, or many at once: publishers are refused before
		u.b.counters.dropped.Add(1)
		u.b.log.Warn("a message is not retained, the limits of retained messages are reached", "topic", cut(m.Topic))
		return
	}
	u.shelved = append(u.shelved, retainedChange{m.Topic, before})
	u.batch.Set(key, u.record)
}

// Retained returns the retained message of a topic, nil when there is none.
func (b *Broker) Retained(topic string) (*message.Message, error) {
	value, found, err := b.store.Get(retainedKey(topic))
	if err != nil || !found {
		return nil, err
	}
	m, err := parseMessage(value)
	if err != nil {
		return nil, err
	}
	if !m.Expiry.IsZero() && !time.Now().Before(m.Expiry) {
		return nil, nil
	}
	return m, nil
}

// RetainedMessages returns up to n retained messages whose topics come after
// after, by topic; more says that there are others.
func (b *Broker) RetainedMessages(after string, n int) (list []*message.Message, more bool, err error) {
	start := append(retainedKey(after), 0)
	if after == "" {
		start = retainedKey("")
	}
	it, err := b.store.Iterator(start, store.PrefixEnd(retainedKey("")))
	if err != nil {
		return nil, false, err
	}
	for it.First(); it.Valid() && err == nil; it.Next() {
		if len(list) == n {
			more = true
			break
		}
		var m *message.Message
		if m, err = parseMessage(it.Value()); err == nil && (m.Expiry.IsZero() || time.Now().Before(m.Expiry)) {
			list = append(list, m)
		}
	}
	return list, more, closeIterator(it, err)
}

// sendRetained sends the retained messages of a new subscription that is not
// shared; in the mode AWS only for a filter without wildcards (AWS IoT developer
// guide, "MQTT retained messages"). For a persistent session they go through the
// queue, so that they are delivered even when the connection ends first.
func (c *conn) sendRetained(filter string, sub subscription) {
	if _, shared := sharedFilter(filter); shared {
		return
	}
	if i := strings.IndexAny(filter, "+#"); i >= 0 {
		if c.spec {
			if parent, ok := strings.CutSuffix(filter[:i], "/"); ok && filter[i:] == "#" && parent != "" {
				c.sendRetainedOn(parent, sub)
			}
			c.sendRetainedBelow(filter, filter[:i], sub)
		}
		return
	}
	c.sendRetainedOn(filter, sub)
}

// sendRetainedOn sends the retained message of one topic, if there is one.
func (c *conn) sendRetainedOn(topic string, sub subscription) {
	m, err := c.b.Retained(topic)
	if err != nil {
		c.b.log.Error("a retained message cannot be read", "topic", topic, "err", err)
	}
	if m == nil {
		return
	}
	u := c.b.newBurst(c)
	u.addRetained(m, c.session, sub)
	u.commit()
}

func (u *burst) addRetained(m *message.Message, s *session, sub subscription) {
	sub.noLocal = false
	targets := []target{{s: s, subscription: sub, ids: sub.ids()}}
	stored := m.QoS > 0 && anyStored(targets)
	u.items = append(u.items, item{m: m, targets: targets, stored: stored, retained: true})
	u.queues = u.queues || stored
}

// retainedAtOnce and retainedBytes bound one burst of retained messages.
const (
	retainedAtOnce = 256
	retainedBytes  = 512 << 10
)

// sendRetainedBelow sends the retained messages that match a filter with
// wildcards; all their topics begin with prefix. It goes no faster than the
// client reads, as far as that can be waited for.
func (c *conn) sendRetainedBelow(filter, prefix string, sub subscription) {
	from := retainedKey(prefix)
	for from != nil && c.cause.Load() == nil {
		u := c.b.newBurst(c)
		next, err := c.b.fillRetained(u, from, filter, prefix, func(m *message.Message) { u.addRetained(m, c.session, sub) })
		if err != nil {
			c.b.log.Error("retained messages cannot be read", "filter", filter, "err", err)
		}
		u.commit()
		c.flow.idle()
		c.out.ease(c.b.limits.Output / 2)
		from = next
	}
}

// fillRetained calls add with retained messages from the key from on that match,
// as many as go into one burst. It returns where to go on, nil at the end.
func (b *Broker) fillRetained(u *burst, from []byte, filter, prefix string, add func(*message.Message)) (next []byte, err error) {
	it, err := b.store.Iterator(from, store.PrefixEnd(retainedKey(prefix)))
	if err != nil {
		return nil, err
	}
	for it.First(); it.Valid(); it.Next() {
		if len(u.items) == retainedAtOnce || u.bytes > retainedBytes {
			next = bytes.Clone(it.Key())
			break
		}
		if !mqtt.Match(filter, string(it.Key()[1:])) {
			continue
		}
		m, err := parseMessage(it.Value())
		if err != nil {
			b.log.Error("a retained message cannot be read", "topic", string(it.Key()[1:]), "err", err)
			continue
		}
		if m.Expiry.IsZero() || time.Now().Before(m.Expiry) {
			u.bytes += len(m.Payload)
			add(m)
		}
	}
	return next, closeIterator(it, nil)
}
