package broker

import (
	"encoding/binary"
	"slices"

	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// The two exchanges of QoS 2 (section 4.3.3). Towards the broker: the packet id
// of a PUBLISH is in the batch of its effects, so that after PUBREC another
// PUBLISH with this id is the same message, until PUBREL takes the id away.
// Towards a client: PUBREC turns the queue entry into a note that only PUBREL is
// owed, and PUBCOMP takes the note away. Each step is on disk before it is
// answered.
//
// The packet id of a message with a queue entry follows from the entry's
// sequence number, so that it is the same after the end of the process.

// packetID is the packet id of a queue entry in the mode Spec, 1 for the first
// that can be. Of entries with the same one, the later waits until the earlier
// is acknowledged.
func (s *session) packetID(seq uint64) uint16 { return uint16((seq-s.base-1)%65535) + 1 }

// released is a message of which only PUBREL and PUBCOMP are left.
type released struct {
	id   uint16
	seq  uint64 // of its queue entry; 0 in a clean session
	done bool   // PUBCOMP is here and not yet on disk
}

func inboundKey(session uint64, id uint16) []byte {
	return binary.BigEndian.AppendUint16(inboundPrefix(session), id)
}

func inboundPrefix(session uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.SpaceSession), 'i'}, session)
}

func releasedKey(session, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(releasedPrefix(session), seq)
}

func releasedPrefix(session uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.SpaceSession), 'r'}, session)
}

// appendStep appends a PUBACK, PUBREC, PUBREL or PUBCOMP that says success,
// which is the same in all versions.
func appendStep(buf []byte, kind mqtt.Type, id uint16) []byte {
	first := byte(kind) << 4
	if kind == mqtt.PUBREL {
		first |= 2
	}
	return append(buf, first, 2, byte(id>>8), byte(id))
}

// has says whether the client has sent a PUBLISH with QoS 2 and this id, and no
// PUBREL since.
func (s *session) has(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.inbound[id]
	return ok
}

// hold notes the id of a PUBLISH with QoS 2.
func (s *session) hold(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inbound == nil {
		s.inbound = map[uint16]struct{}{}
	}
	s.inbound[id] = struct{}{}
}

// drop forgets the id; it says whether it was there.
func (s *session) drop(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.inbound[id]
	delete(s.inbound, id)
	return ok
}

// keep remembers the id of the publish that was put into u, and answers PUBREC.
func (c *conn) keep(u *burst, id uint16) {
	c.session.hold(id)
	c.open2.Add(1)
	if c.session.persistent {
		u.batch.Set(inboundKey(c.session.id, id), []byte{recordVersion})
	}
	u.acks = append(u.acks, ack{kind: mqtt.PUBREC, id: id})
}

// undo takes back what the packets behind acks changed, since it is not on
// disk. It says whether one of them has no answer that means failure.
func (c *conn) undo(acks []ack) (ends bool) {
	for _, a := range acks {
		switch {
		case a.code != mqtt.Success || a.again:
		case a.kind == mqtt.PUBREC:
			if c.session.drop(a.id) {
				c.open2.Add(-1)
			}
			c.b.forgetID(c.session, a.id)
		case a.kind == mqtt.PUBCOMP:
			c.session.hold(a.id)
			ends = true
		}
	}
	return ends
}

// forgetID has the store forget an id that may be in it.
func (b *Broker) forgetID(s *session, id uint16) {
	if s.persistent {
		b.dirtyMu.Lock()
		defer b.dirtyMu.Unlock()
		b.stale = append(b.stale, staleID{s, id})
	}
}

// staleID is an id that the store may have and the session has not.
type staleID struct {
	s  *session
	id uint16
}

// handleStep handles PUBREC, PUBREL and PUBCOMP.
func (c *conn) handleStep(f mqtt.Frame) *refused {
	if !c.spec {
		return refuse(mqtt.ProtocolError, "%s: QoS 2 is not served", f.Type())
	}
	if err := c.in.Decoder.Ack(f, &c.ack); err != nil {
		return refuseError(err)
	}
	switch c.ack.Kind {
	case mqtt.PUBREL:
		c.handleRelease(c.ack.PacketID)
		return nil
	case mqtt.PUBREC:
		return c.handleReceived()
	}
	return c.handleComplete(c.ack.PacketID)
}

// handleRelease takes the PUBREL of a publish of the client, and answers PUBCOMP
// when that is on disk: from then on the client may use the id again.
func (c *conn) handleRelease(id uint16) {
	a := ack{kind: mqtt.PUBCOMP, id: id}
	switch {
	case c.session.drop(id):
		if c.open2.Add(-1) < 0 { // it was published on an earlier connection
			c.open2.Store(0)
		}
		c.answer(a)
		if c.session.persistent {
			c.burst.batch.Delete(inboundKey(c.session.id, id))
		}
		return
	case c.version == mqtt.V5:
		a.code = mqtt.PacketIdentifierNotFound
	}
	c.answer(a)
}

// steps are the exchanges with QoS 2 that the packets of one read take further.
type steps struct {
	batch    *store.Batch // nil for none
	received []sent       // PUBREC came
	complete []uint64     // PUBCOMP came, for the message of this queue entry
}

func (c *conn) stepBatch() *store.Batch {
	if c.steps.batch == nil {
		c.steps.batch = c.b.store.NewBatch()
	}
	return c.steps.batch
}

// handleReceived takes the client's PUBREC for the id in c.ack.
func (c *conn) handleReceived() *refused {
	id, s, d := c.ack.PacketID, c.session, c.delivery
	s.mu.Lock()
	defer s.mu.Unlock()
	i := d.find(id)
	if i < 0 {
		c.releaseAgain(id)
		return nil
	}
	f := &d.inFlight[i]
	switch {
	case f.qos != 2:
		return refuse(mqtt.ProtocolError, "PUBREC for packet id %d, which is a publish with QoS %d (section 4.3)", id, f.qos)
	case f.received: // the first one is on its way to the disk
	case c.ack.Code.Failed():
		c.pubacks = true
		d.settle(i)
	case f.seq == 0:
		s.released = append(s.released, released{id: id})
		d.inFlight = slices.Delete(d.inFlight, i, i+1)
		c.out.add(func(buf []byte) []byte { return appendStep(buf, mqtt.PUBREL, id) })
	default:
		f.received = true
		batch := c.stepBatch()
		batch.Delete(queueKey(s.id, f.seq))
		batch.Set(releasedKey(s.id, f.seq), []byte{recordVersion})
		c.steps.received = append(c.steps.received, *f)
	}
	return nil
}

// releaseAgain answers a PUBREC for a message that is not in flight; the
// session's mu is held.
func (c *conn) releaseAgain(id uint16) {
	known := slices.ContainsFunc(c.session.released, func(r released) bool { return r.id == id })
	if known || c.version != mqtt.V5 {
		c.out.add(func(buf []byte) []byte { return appendStep(buf, mqtt.PUBREL, id) })
		return
	}
	c.out.add(func(buf []byte) []byte {
		return c.appendReason(buf, "", func(p *mqtt.Properties) mqtt.Packet {
			return &mqtt.Ack{Kind: mqtt.PUBREL, PacketID: id, Code: mqtt.PacketIdentifierNotFound, Props: p}
		})
	})
}

// handleComplete takes the client's PUBCOMP; an id that is not in use is ignored.
func (c *conn) handleComplete(id uint16) *refused {
	s := c.session
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.released, func(r released) bool { return r.id == id })
	switch {
	case i < 0:
		if j := c.delivery.find(id); j >= 0 && !c.delivery.inFlight[j].received {
			return refuse(mqtt.ProtocolError, "PUBCOMP for packet id %d, of which no PUBREC came (section 4.3)", id)
		}
	case s.released[i].done:
	case s.released[i].seq == 0:
		s.released = slices.Delete(s.released, i, i+1)
		c.pubacks = true
	default: // the id is free when a restart cannot bring its PUBREL back
		s.released[i].done = true
		c.stepBatch().Delete(releasedKey(s.id, s.released[i].seq))
		c.steps.complete = append(c.steps.complete, s.released[i].seq)
	}
	return nil
}

// commitSteps sends the steps of this read to the store. PUBREL follows when
// they are on disk.
func (c *conn) commitSteps() {
	st := c.steps
	if st.batch == nil {
		return
	}
	c.steps = steps{}
	c.flow.beginStep()
	c.b.bursts.Add(1)
	c.b.store.CommitAsync(st.batch, func(err error) {
		if err != nil {
			c.stop(refuseStore(err)) // all is as before: the client sends it again
		} else {
			c.takeSteps(st)
		}
		c.flow.finishStep()
		c.b.bursts.Done()
	})
}

func (c *conn) takeSteps(st steps) {
	s, d := c.session, c.delivery
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range st.received {
		if i := d.find(f.packetID); i >= 0 {
			d.inFlight = slices.Delete(d.inFlight, i, i+1)
		}
		s.unqueue(f.size)
		s.released = append(s.released, released{id: f.packetID, seq: f.seq})
	}
	s.released = slices.DeleteFunc(s.released, func(r released) bool { return slices.Contains(st.complete, r.seq) && r.seq > 0 })
	if len(st.received) > 0 {
		c.out.add(func(buf []byte) []byte {
			for _, f := range st.received {
				buf = appendStep(buf, mqtt.PUBREL, f.packetID)
			}
			return buf
		})
	}
	if s.out == d {
		d.kick()
	}
}

// resendReleases sends every PUBREL that the client has not answered, in the
// order of the PUBRECs ([MQTT-4.4.0-1], [MQTT-4.6.0-5]); mu is held.
func (d *delivery) resendReleases() {
	if !d.c.spec || len(d.s.released) == 0 {
		return
	}
	d.c.out.add(func(buf []byte) []byte {
		for i := range d.s.released {
			d.s.released[i].done = false
			buf = appendStep(buf, mqtt.PUBREL, d.s.released[i].id)
		}
		return buf
	})
}

// loadExchanges reads where the exchanges with QoS 2 stand.
func (b *Broker) loadExchanges(byID map[uint64]*session) error {
	err := b.scan([]byte{byte(store.SpaceSession), 'i'}, func(key, _ []byte) error {
		if len(key) != 12 {
			return errRecord
		}
		if s := byID[binary.BigEndian.Uint64(key[2:])]; s != nil {
			s.hold(binary.BigEndian.Uint16(key[10:]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return b.scan([]byte{byte(store.SpaceSession), 'r'}, func(key, _ []byte) error {
		if len(key) != 18 {
			return errRecord
		}
		seq := binary.BigEndian.Uint64(key[10:])
		b.queueSeq = max(b.queueSeq, seq)
		if s := byID[binary.BigEndian.Uint64(key[2:])]; s != nil {
			s.released = append(s.released, released{id: s.packetID(seq), seq: seq})
		}
		return nil
	})
}
