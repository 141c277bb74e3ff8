package mqtt

import (
	"bytes"
	"encoding/binary"
)

// Publish is an application message with its delivery (section 3.3).
type Publish struct {
	Topic    string // empty only in version 5 with a topic alias
	Payload  []byte
	PacketID uint16 // 0 for QoS 0
	QoS      byte
	Retain   bool
	Dup      bool
	Props    *Properties // nil for none; version 5 only
}

// PublishView is a PUBLISH decoded in place. Its slices are parts of the buffer
// that the frame came from and live as long as that does; see [Reader].
type PublishView struct {
	Topic      []byte // empty only with a topic alias
	Payload    []byte
	PropBytes  []byte // the properties, checked, for Properties and Has
	seen       uint64 // bit per PropertyID that stands in PropBytes
	PacketID   uint16 // 0 for QoS 0
	TopicAlias uint16 // 0 for none
	QoS        byte
	Retain     bool
	Dup        bool
}

// Has says whether the property stands in the packet.
func (v *PublishView) Has(id PropertyID) bool { return id < 64 && v.seen>>id&1 != 0 }

// Properties returns a copy of the properties, nil when there are none.
func (v *PublishView) Properties() *Properties {
	if len(v.PropBytes) == 0 {
		return nil
	}
	p := &Properties{}
	_ = p.decode(v.PropBytes, PUBLISH) // was checked when the view was made
	return p
}

// Publish returns a copy of the message.
func (v *PublishView) Publish() *Publish {
	return &Publish{
		Topic: string(v.Topic), Payload: bytes.Clone(v.Payload), PacketID: v.PacketID,
		QoS: v.QoS, Retain: v.Retain, Dup: v.Dup, Props: v.Properties(),
	}
}

// Publish decodes a PUBLISH in place into v (section 3.3). It allocates nothing
// unless it refuses. The topic has been checked as [ValidTopic] does.
func (d *Decoder) Publish(f Frame, v *PublishView) error {
	b := f.Body
	qos := f.First >> 1 & 3
	if len(b) < 2 {
		return malformed("PUBLISH ends before its topic name")
	}
	n := 2 + int(b[0])<<8 + int(b[1])
	if len(b) < n {
		return malformed("PUBLISH ends before its topic name")
	}
	// field by field: a composite literal would be built aside and copied
	v.Topic, v.Payload, v.PropBytes = b[2:n:n], nil, nil
	v.seen, v.PacketID, v.TopicAlias = 0, 0, 0
	v.QoS, v.Retain, v.Dup = qos, f.First&1 != 0, f.First&8 != 0
	b = b[n:]
	if qos > 0 {
		if qos == 3 {
			return malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]")
		}
		if len(b) < 2 {
			return malformed("PUBLISH ends before its packet identifier")
		}
		v.PacketID = uint16(b[0])<<8 | uint16(b[1])
		if v.PacketID == 0 {
			return protocolError("PUBLISH with packet identifier 0 [MQTT-2.2.1-3]")
		}
		b = b[2:]
	} else if v.Dup {
		return malformed("PUBLISH with QoS 0 and DUP [MQTT-3.3.1-2]")
	}
	if d.Version == V5 {
		if len(b) > 0 && b[0] == 0 { // the usual case: no properties
			v.Payload = b[1:]
		} else if err := d.publishProperties(b, v); err != nil {
			return err
		}
	} else {
		v.Payload = b
	}
	if len(v.Topic) == 0 && v.TopicAlias != 0 {
		return nil
	}
	if !plainTopic(v.Topic) {
		return refusedTopic(v.Topic, d.Version)
	}
	return nil
}

// plainTopic says whether b is a topic name in ASCII; it is the quick half of
// checkTopic.
func plainTopic(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c-1 >= 0x7F || c == '+' || c == '#' {
				return false
			}
		}
		return len(b) > 0
	}
	for len(b) > 8 {
		if unplain(binary.LittleEndian.Uint64(b)) != 0 {
			return false
		}
		b = b[min(8, len(b)-8):] // the last word overlaps the one before
	}
	return unplain(binary.LittleEndian.Uint64(b)) == 0
}

// unplain is not zero when one of the eight bytes of w is null, above 0x7F, or
// a wildcard. In (x-ones)&^x a high bit is set where a byte of x is zero; a
// borrow can only set more of them above one that is rightly set.
func unplain(w uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	plus, hash := w^('+'*ones), w^('#'*ones)
	return (w | (w-ones)&^w | (plus-ones)&^plus | (hash-ones)&^hash) & highs
}

func refusedTopic(topic []byte, version byte) error {
	if len(topic) == 0 && version == V5 {
		return protocolError("PUBLISH with neither topic name nor topic alias (section 3.3.2.1)")
	}
	return checkTopic(topic)
}

func (d *Decoder) publishProperties(b []byte, v *PublishView) error {
	c := cursor{b: b}
	n := c.varint("property length")
	v.PropBytes = c.take(int(n), "properties")
	if c.err != nil {
		return c.err
	}
	v.Payload = c.b
	r := propertyReader{c: cursor{b: v.PropBytes}, where: PUBLISH}
	for r.more() {
		if p := r.next(); p.id == PropTopicAlias {
			v.TopicAlias = uint16(p.num)
		}
	}
	v.seen = r.seen
	if err := r.end(); err != nil {
		return err
	}
	if d.From == FromClient && v.Has(PropSubscriptionID) {
		return protocolError("PUBLISH from a client with a subscription identifier [MQTT-3.3.4-6]")
	}
	return nil
}

// AppendPublish appends p encoded for the version. The topic name is checked
// for its length only: it was received, or [ValidTopic] passed it.
func AppendPublish(dst []byte, version byte, p *Publish) ([]byte, error) {
	if len(p.Topic) > maxText {
		return nil, ValidTopic(p.Topic)
	}
	if err := p.check(version); err != nil {
		return nil, err
	}
	at := len(dst)
	dst = append(dst, p.first(), 0, byte(len(p.Topic)>>8), byte(len(p.Topic)))
	dst = append(dst, p.Topic...)
	if p.QoS > 0 {
		dst = append(dst, byte(p.PacketID>>8), byte(p.PacketID))
	}
	if version == V5 {
		var err error
		if dst, err = appendProperties(dst, p.Props, PUBLISH); err != nil {
			return nil, err
		}
	}
	dst, err := setLength(dst, at+1, len(dst)-at-2+len(p.Payload))
	if err != nil {
		return nil, err
	}
	return append(dst, p.Payload...), nil
}

func (p *Publish) first() byte {
	first := byte(PUBLISH)<<4 | p.QoS<<1
	if p.Retain {
		first |= 1
	}
	if p.Dup {
		first |= 8
	}
	return first
}

// check holds the rules between the fields that decoding holds too.
func (p *Publish) check(version byte) error {
	switch {
	case p.QoS > 2:
		return malformed("PUBLISH with QoS %d [MQTT-3.3.1-4]", p.QoS)
	case p.QoS > 0 && p.PacketID == 0:
		return protocolError("PUBLISH with packet identifier 0 [MQTT-2.2.1-3]")
	case p.QoS == 0 && p.Dup:
		return malformed("PUBLISH with QoS 0 and DUP [MQTT-3.3.1-2]")
	case p.Topic == "" && (version != V5 || p.Props == nil || !p.Props.TopicAlias.Set):
		return refusedTopic(nil, version)
	}
	return nil
}

// Append appends the packet encoded for the version; see [AppendPublish].
func (p *Publish) Append(dst []byte, version byte) ([]byte, error) {
	return AppendPublish(dst, version, p)
}

// Type is PUBLISH.
func (p *Publish) Type() Type { return PUBLISH }
