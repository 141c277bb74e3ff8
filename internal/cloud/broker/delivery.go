package broker

import (
	"bytes"
	"slices"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/mqtt"
)

// delivery is the way of messages from a session to one connection. All its
// fields are guarded by the session's mu.
type delivery struct {
	s        *session
	c        *conn
	window   int    // most unacknowledged publishes
	lastID   uint16 // of the last publish
	inFlight []sent // in the order of sending

	// Messages that could not be sent at once wait here, and new ones go behind
	// them: those with a queue entry on disk, after sentSeq; others in memory.
	// pump takes them out.
	onDisk      bool
	stored      bool                // they waited for the client's return
	sentSeq     uint64              // the last queue entry that was sent or given up
	skip        map[uint64]struct{} // entries that are acknowledged but still on disk
	memory      []waiting
	memoryBytes int
	blocked     uint16 // packet id that the next entry on disk waits for; 0 for none
	resent      uint64 // the last queue entry that an earlier connection was sent
	aliases     map[string]uint16
	pumping     bool // a goroutine is in pump
	kicked      bool // a goroutine is on its way to pump
}

// sent is one publish that the client has not acknowledged.
type sent struct {
	packetID uint16
	qos      byte
	received bool   // PUBREC is here and not yet on disk
	size     int    // of the queue entry
	seq      uint64 // of the queue entry; 0 in a clean session
	group    *group // that has the queue entry; nil: the session
}

// waiting is one message for one session.
type waiting struct {
	m      *message.Message
	qos    byte
	retain bool
	seq    uint64 // of its queue entry, 0 when it has none
	size   int    // of its queue entry, or the weight of its message
	group  *group // that has the queue entry; nil: the session
	ids    *subIDs
}

// room is how many publishes with QoS 1 and 2 may still be sent.
func (d *delivery) room() int {
	if d.c.out.waiting() >= d.c.b.limits.Output || !d.c.rates.deliverable() {
		return 0
	}
	if d.c.spec {
		return d.window - len(d.inFlight) - len(d.s.released)
	}
	return d.window - len(d.inFlight)
}

// full says whether w has to wait for an acknowledgement.
func (d *delivery) full(w waiting) bool {
	if w.qos == 0 {
		return false
	}
	return d.room() <= 0 || d.c.spec && w.seq > 0 && w.group == nil && d.busy(d.s.packetID(w.seq))
}

// busy says whether a packet id is in flight towards the client.
func (d *delivery) busy(id uint16) bool {
	return d.find(id) >= 0 || d.c.spec && slices.ContainsFunc(d.s.released, func(r released) bool { return r.id == id })
}

// nextID returns a packet id that is not in flight towards the client. The
// ids of the client's own publishes are another space ([MQTT-2.2.1-4]).
func (d *delivery) nextID() uint16 {
	for {
		if d.lastID++; d.lastID != 0 && !d.busy(d.lastID) {
			return d.lastID
		}
	}
}

func (d *delivery) find(id uint16) int {
	return slices.IndexFunc(d.inFlight, func(f sent) bool { return f.packetID == id })
}

// deliver hands w to the session's client. It runs in the store's commit path:
// it never waits for the disk, the network or the gate.
func (s *session) deliver(w waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = max(s.durable, w.seq)
	d := s.out
	if d == nil {
		if w.seq == 0 && w.qos > 0 && !s.persistent { // its connection just ended
			s.dropped++
		}
		return
	}
	allowed, known := d.c.receive.peek(w.m.Topic)
	switch {
	case d.behind(w) || !known || allowed && d.full(w):
		d.hold(w)
		if !known {
			d.kick()
		}
	case allowed:
		d.send(w)
	default:
		d.giveUp(w)
	}
}

// behind says whether other messages wait that w must not overtake.
func (d *delivery) behind(w waiting) bool {
	if w.seq > 0 {
		return d.onDisk
	}
	return len(d.memory) > 0
}

// hold lets w wait for pump.
func (d *delivery) hold(w waiting) {
	if w.seq > 0 {
		d.onDisk = true // it is there already
		return
	}
	b := d.c.b
	part := 10
	if d.c.spec { // a filter may match as many retained messages at once
		part = 1
	}
	if len(d.memory) >= max(b.limits.QueueMessages/part, 1) || d.memoryBytes+w.size > b.limits.QueueBytes/part {
		d.drop()
		return
	}
	w.m = alone(w.m)
	d.memory = append(d.memory, w)
	d.memoryBytes += w.size
}

// weight is about how many bytes of memory a message takes that is alone.
func weight(m *message.Message) int {
	n := messageCost + len(m.Payload) + len(m.Topic) + len(m.ContentType) + len(m.ResponseTopic) + len(m.CorrelationData)
	for _, u := range m.UserProperties {
		n += propertyCost + len(u.Name) + len(u.Value)
	}
	return n
}

// What a message and a user property take beside their bytes: the structures,
// and what small allocations waste.
const (
	messageCost  = 256
	propertyCost = 64
)

// alone returns a copy of m that shares no memory with its burst: a message
// that waits would keep all others of the burst in memory.
func alone(m *message.Message) *message.Message {
	out := *m
	out.Payload = bytes.Clone(m.Payload)
	return &out
}

func (d *delivery) drop() {
	d.s.dropped++
	d.c.b.counters.dropped.Add(1)
}

// send writes w, which is the session's own, to the client's output, unless it
// is too old or too large for the client.
func (d *delivery) send(w waiting) {
	if w.qos == 0 && (d.c.out.waiting() >= d.c.b.limits.Output || !d.c.rates.deliverable()) {
		d.drop()
		return
	}
	switch d.write(w) {
	case writeSent:
		d.sentSeq = max(d.sentSeq, w.seq)
	case writeExpired:
		d.giveUp(w)
	case writeTooLarge: // [MQTT-3.1.2-24]: as if it had been sent
		d.drop()
		d.giveUp(w)
	}
}

// written is what became of a message that was to be written to a client.
type written int

const (
	writeSent written = iota
	writeExpired
	writeTooLarge
	writeClosing // the connection is: what has an entry stays on disk
)

// write writes w to the client's output, and notes that it is in flight.
func (d *delivery) write(w waiting) written {
	c := d.c
	if !w.m.Expiry.IsZero() && !time.Now().Before(w.m.Expiry) {
		c.b.counters.expired.Add(1)
		return writeExpired
	}
	p, alias := d.packet(w)
	fits := true
	ok := c.out.add(func(buf []byte) []byte {
		out, err := mqtt.AppendPublish(buf, c.version, &p)
		if fits = err == nil && len(out)-len(buf) <= c.maxPacket; !fits {
			return buf
		}
		return out
	})
	switch {
	case !ok:
		return writeClosing
	case !fits:
		return writeTooLarge
	}
	c.b.counters.sent.Add(1)
	c.rates.delivered()
	if w.group == nil {
		d.s.sent = max(d.s.sent, w.seq)
	}
	if alias > 0 {
		d.aliases[w.m.Topic] = alias
	}
	if w.qos > 0 {
		d.inFlight = append(d.inFlight, sent{packetID: p.PacketID, qos: p.QoS, size: w.size, seq: w.seq, group: w.group})
	}
	return writeSent
}

// packet is the PUBLISH of w; alias is what it makes known, 0 for none.
func (d *delivery) packet(w waiting) (p mqtt.Publish, alias uint16) {
	c := d.c
	p = mqtt.Publish{Topic: w.m.Topic, Payload: w.m.Payload, QoS: w.qos, Retain: w.retain}
	switch {
	case w.qos == 0:
	case !c.spec: // QoS 1 is the most
		p.QoS, p.PacketID = 1, d.nextID()
	case w.seq == 0 || w.group != nil:
		p.PacketID = d.nextID()
	default:
		p.PacketID, p.Dup = d.s.packetID(w.seq), w.seq <= d.resent
	}
	if c.version != mqtt.V5 {
		return p, 0
	}
	p.Props = properties(w.m, c.spec)
	if w.ids != nil && c.spec {
		p.Props = orNew(p.Props)
		p.Props.SubscriptionIDs = *w.ids
	}
	if c.aliasMax > 0 {
		alias = d.shorten(&p)
	}
	return p, alias
}

func orNew(p *mqtt.Properties) *mqtt.Properties {
	if p == nil {
		return &mqtt.Properties{}
	}
	return p
}

// shorten puts an alias in the place of a topic that has one, or gives it one
// (section 3.3.2.3.4): those that come first have them.
func (d *delivery) shorten(p *mqtt.Publish) (alias uint16) {
	if known, ok := d.aliases[p.Topic]; ok {
		p.Props = orNew(p.Props)
		p.Props.TopicAlias = mqtt.Some(known)
		if p.QoS < 2 { // clients that keep a packet until PUBREL lose what its alias stood for
			p.Topic = ""
		}
		return 0
	}
	if len(d.aliases) >= d.c.aliasMax {
		return 0
	}
	if d.aliases == nil {
		d.aliases = map[string]uint16{}
	}
	alias = uint16(len(d.aliases) + 1)
	p.Props = orNew(p.Props)
	p.Props.TopicAlias = mqtt.Some(alias)
	return alias
}

// aliasesTo is how many aliases the broker may use towards the client.
func (c *conn) aliasesTo(p *mqtt.Properties) int {
	if !c.spec {
		return 0
	}
	return min(int(p.TopicAliasMaximum.Or(0)), c.limits.TopicAliases)
}

// giveUp lets go of w, and of its queue entry.
func (d *delivery) giveUp(w waiting) {
	if w.seq > 0 {
		d.sentSeq = max(d.sentSeq, w.seq)
		d.s.finish(d.c.b, w.seq, w.size)
	}
}

// acknowledge takes the client's PUBACK for a packet id; an id that is not in
// flight is ignored, as a client may acknowledge after a takeover.
func (s *session) acknowledge(d *delivery, id uint16) *refused {
	f, r := s.takeAcknowledged(d, id)
	if f.group != nil {
		f.group.acknowledge(f)
	}
	return r
}

func (s *session) takeAcknowledged(d *delivery, id uint16) (f sent, r *refused) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := d.find(id)
	switch {
	case s.out != d:
		return f, nil
	case i < 0 && slices.ContainsFunc(s.released, func(r released) bool { return r.id == id }):
		return f, refuse(mqtt.ProtocolError, "PUBACK for packet id %d, of which PUBREC came: want PUBCOMP (section 4.3)", id)
	case i < 0:
		return f, nil
	}
	if d.inFlight[i].qos == 2 {
		return f, refuse(mqtt.ProtocolError, "PUBACK for packet id %d, which is a publish with QoS 2 (section 4.3)", id)
	}
	return d.settle(i), nil
}

// settle lets go of the publish inFlight[i].
func (d *delivery) settle(i int) sent {
	f := d.inFlight[i]
	d.inFlight = slices.Delete(d.inFlight, i, i+1)
	if f.seq > 0 && f.group == nil {
		d.s.finish(d.c.b, f.seq, f.size)
	}
	return f
}

// kick sees that a goroutine comes to pump.
func (d *delivery) kick() {
	if !d.kicked && !d.pumping {
		d.kicked = true
		d.c.workers.Go(func() { d.s.pump(d) })
	}
}

// pump sends what waits for d, as far as the client's window and the network
// go. It may read the disk and ask the gate; of concurrent calls one works,
// and it sees what the others came for.
func (s *session) pump(d *delivery) {
	s.mu.Lock()
	d.kicked = false
	if d.pumping || !d.onDisk && len(d.memory) == 0 {
		s.mu.Unlock()
		return
	}
	d.pumping = true
	s.mu.Unlock()
	for {
		job := s.nextJob(d)
		switch {
		case job.topic != "":
			d.c.receive.decide(job.topic)
		case job.entries > 0:
			if !s.pumpDisk(d, job) {
				return
			}
		default:
			return
		}
	}
}

// job is what pump has to do without the lock: get a verdict on a topic, or
// read so many entries of the queue. The zero job is the end of pumping.
type job struct {
	topic    string
	entries  int
	from, to uint64 // sequence numbers, both included
}

func (s *session) nextJob(d *delivery) job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == d {
		if topic := d.pumpMemory(); topic != "" {
			return job{topic: topic}
		}
		if d.blocked != 0 && !d.busy(d.blocked) {
			d.blocked = 0
		}
		if room := d.room(); d.onDisk && room > 0 && d.blocked == 0 {
			if d.stored && d.c.rates != nil {
				room = d.c.rates.takeStored(room)
			}
			if room > 0 {
				return job{entries: room, from: d.sentSeq + 1, to: s.durable}
			}
		}
	}
	d.pumping = false
	return job{}
}

// pumpMemory sends what waits in memory. It returns the topic that needs a
// verdict first, or "".
func (d *delivery) pumpMemory() string {
	for len(d.memory) > 0 {
		w := d.memory[0]
		allowed, known := d.c.receive.peek(w.m.Topic)
		if !known {
			return w.m.Topic
		}
		if allowed && d.full(w) {
			return ""
		}
		d.memory[0] = waiting{}
		d.memory = d.memory[1:]
		d.memoryBytes -= w.size
		if allowed {
			d.send(w)
		}
	}
	d.memory = nil
	return ""
}

// pumpDisk reads queue entries and sends them. It returns false when the
// queue cannot be read; the connection is then closed.
func (s *session) pumpDisk(d *delivery, j job) bool {
	entries, more, err := d.c.b.readQueue(s.id, j)
	if err != nil {
		d.c.b.log.Error("cannot read the queue of a session, closing its connection", "client_id", s.clientID, "err", err)
		d.c.stop(refuse(mqtt.UnspecifiedError, "the session's queue cannot be read"))
		s.mu.Lock()
		d.pumping = false
		s.mu.Unlock()
		return false
	}
	for _, w := range entries {
		if w.m != nil {
			d.c.receive.decide(w.m.Topic)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == d && d.sendEntries(entries) && !more && s.durable == j.to {
		d.onDisk, d.stored = false, false
	}
	return true
}

// sendEntries sends entries of the queue in order and says whether all of
// them are done with.
func (d *delivery) sendEntries(entries []waiting) bool {
	for _, w := range entries {
		if _, done := d.skip[w.seq]; done {
			delete(d.skip, w.seq)
			d.sentSeq = w.seq
			continue
		}
		if w.m == nil { // damaged
			d.drop()
			d.giveUp(w)
			continue
		}
		allowed, known := d.c.receive.peek(w.m.Topic)
		if !known || d.room() <= 0 {
			return false
		}
		if allowed && d.full(w) {
			d.blocked = d.s.packetID(w.seq)
			return false
		}
		if allowed {
			d.send(w)
		} else {
			d.giveUp(w)
		}
		if d.sentSeq < w.seq { // the connection is closing
			return true
		}
	}
	return true
}

// properties are the v5 properties that a message takes to its subscribers;
// nil when it has none. The expiry is what is left of it in whole seconds; in
// the mode Spec what it was less the whole seconds that it waited [MQTT-3.3.2-6].
func properties(m *message.Message, spec bool) *mqtt.Properties {
	if !m.UTF8Payload && m.Expiry.IsZero() && m.ContentType == "" && m.ResponseTopic == "" && m.CorrelationData == nil && len(m.UserProperties) == 0 {
		return nil
	}
	p := &mqtt.Properties{CorrelationData: m.CorrelationData}
	if m.UTF8Payload {
		p.PayloadFormat = mqtt.Some[byte](1)
	}
	if !m.Expiry.IsZero() {
		left := max(time.Until(m.Expiry), 0)
		if spec {
			left += time.Second - 1
		}
		p.MessageExpiry = mqtt.Some(uint32(left / time.Second))
	}
	if m.ContentType != "" {
		p.ContentType = mqtt.Some(m.ContentType)
	}
	if m.ResponseTopic != "" {
		p.ResponseTopic = mqtt.Some(m.ResponseTopic)
	}
	for _, u := range m.UserProperties {
		p.UserProperties = append(p.UserProperties, mqtt.UserProperty(u))
	}
	return p
}
