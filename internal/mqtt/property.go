package mqtt

import (
	"bytes"
	"encoding/binary"
)

// PropertyID names a version 5 property (section 2.2.2.2, table 2-4).
type PropertyID byte

// The properties.
const (
	PropPayloadFormat           PropertyID = 0x01
	PropMessageExpiry           PropertyID = 0x02
	PropContentType             PropertyID = 0x03
	PropResponseTopic           PropertyID = 0x08
	PropCorrelationData         PropertyID = 0x09
	PropSubscriptionID          PropertyID = 0x0B
	PropSessionExpiry           PropertyID = 0x11
	PropAssignedClientID        PropertyID = 0x12
	PropServerKeepAlive         PropertyID = 0x13
	PropAuthMethod              PropertyID = 0x15
	PropAuthData                PropertyID = 0x16
	PropRequestProblemInfo      PropertyID = 0x17
	PropWillDelay               PropertyID = 0x18
	PropRequestResponseInfo     PropertyID = 0x19
	PropResponseInfo            PropertyID = 0x1A
	PropServerReference         PropertyID = 0x1C
	PropReasonString            PropertyID = 0x1F
	PropReceiveMaximum          PropertyID = 0x21
	PropTopicAliasMaximum       PropertyID = 0x22
	PropTopicAlias              PropertyID = 0x23
	PropMaximumQoS              PropertyID = 0x24
	PropRetainAvailable         PropertyID = 0x25
	PropUserProperty            PropertyID = 0x26
	PropMaximumPacketSize       PropertyID = 0x27
	PropWildcardAvailable       PropertyID = 0x28
	PropSubscriptionIDAvailable PropertyID = 0x29
	PropSharedAvailable         PropertyID = 0x2A
)

// Properties are the properties of one packet. Absent ones are zero; what an
// absence means is said by the standard, at each packet's section.
type Properties struct {
	PayloadFormat           Opt[byte]   // 0 bytes, 1 UTF-8 text
	MessageExpiry           Opt[uint32] // seconds
	ContentType             Opt[string]
	ResponseTopic           Opt[string]
	CorrelationData         []byte      // nil is absent
	SubscriptionIDs         []uint32    // 1 to 268,435,455; at most one in SUBSCRIBE
	SessionExpiry           Opt[uint32] // seconds; 0xFFFFFFFF is for ever
	AssignedClientID        Opt[string]
	ServerKeepAlive         Opt[uint16] // seconds
	AuthMethod              Opt[string]
	AuthData                []byte      // nil is absent
	RequestProblemInfo      Opt[byte]   // 0 or 1
	WillDelay               Opt[uint32] // seconds
	RequestResponseInfo     Opt[byte]   // 0 or 1
	ResponseInfo            Opt[string]
	ServerReference         Opt[string]
	ReasonString            Opt[string]
	ReceiveMaximum          Opt[uint16] // from 1
	TopicAliasMaximum       Opt[uint16]
	TopicAlias              Opt[uint16] // from 1
	MaximumQoS              Opt[byte]   // 0 or 1
	RetainAvailable         Opt[byte]   // 0 or 1
	UserProperties          []UserProperty
	MaximumPacketSize       Opt[uint32] // bytes, from 1
	WildcardAvailable       Opt[byte]   // 0 or 1
	SubscriptionIDAvailable Opt[byte]   // 0 or 1
	SharedAvailable         Opt[byte]   // 0 or 1
}

// UserProperty is one name-value pair; names may repeat and order is kept.
type UserProperty struct{ Name, Value string }

type propertyKind byte

const (
	kindByte propertyKind = iota + 1
	kindU16
	kindU32
	kindVarint
	kindText
	kindBinary
	kindPair
)

// propertyTable is table 2-4 of section 2.2.2.2.
var propertyTable = [...]struct {
	name string
	kind propertyKind
	in   packets
}{
	PropPayloadFormat:           {"payload format indicator", kindByte, in(PUBLISH, will)},
	PropMessageExpiry:           {"message expiry interval", kindU32, in(PUBLISH, will)},
	PropContentType:             {"content type", kindText, in(PUBLISH, will)},
	PropResponseTopic:           {"response topic", kindText, in(PUBLISH, will)},
	PropCorrelationData:         {"correlation data", kindBinary, in(PUBLISH, will)},
	PropSubscriptionID:          {"subscription identifier", kindVarint, in(PUBLISH, SUBSCRIBE)},
	PropSessionExpiry:           {"session expiry interval", kindU32, in(CONNECT, CONNACK, DISCONNECT)},
	PropAssignedClientID:        {"assigned client identifier", kindText, in(CONNACK)},
	PropServerKeepAlive:         {"server keep alive", kindU16, in(CONNACK)},
	PropAuthMethod:              {"authentication method", kindText, in(CONNECT, CONNACK, AUTH)},
	PropAuthData:                {"authentication data", kindBinary, in(CONNECT, CONNACK, AUTH)},
	PropRequestProblemInfo:      {"request problem information", kindByte, in(CONNECT)},
	PropWillDelay:               {"will delay interval", kindU32, in(will)},
	PropRequestResponseInfo:     {"request response information", kindByte, in(CONNECT)},
	PropResponseInfo:            {"response information", kindText, in(CONNACK)},
	PropServerReference:         {"server reference", kindText, in(CONNACK, DISCONNECT)},
	PropReasonString:            {"reason string", kindText, in(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)},
	PropReceiveMaximum:          {"receive maximum", kindU16, in(CONNECT, CONNACK)},
	PropTopicAliasMaximum:       {"topic alias maximum", kindU16, in(CONNECT, CONNACK)},
	PropTopicAlias:              {"topic alias", kindU16, in(PUBLISH)},
	PropMaximumQoS:              {"maximum QoS", kindByte, in(CONNACK)},
	PropRetainAvailable:         {"retain available", kindByte, in(CONNACK)},
	PropUserProperty:            {"user property", kindPair, ^in(PINGREQ, PINGRESP)},
	PropMaximumPacketSize:       {"maximum packet size", kindU32, in(CONNECT, CONNACK)},
	PropWildcardAvailable:       {"wildcard subscription available", kindByte, in(CONNACK)},
	PropSubscriptionIDAvailable: {"subscription identifiers available", kindByte, in(CONNACK)},
	PropSharedAvailable:         {"shared subscription available", kindByte, in(CONNACK)},
}

func (id PropertyID) String() string {
	if int(id) < len(propertyTable) && propertyTable[id].name != "" {
		return propertyTable[id].name
	}
	return "property not in the standard"
}

// property is one property as it stands in a packet.
type property struct {
	id   PropertyID
	num  uint32 // of the number kinds
	data []byte // of the text and binary kinds; the name of a pair
	pair []byte // the value of a pair
}

// propertyReader goes through the properties of one packet and checks each.
type propertyReader struct {
	c     cursor
	where Type
	seen  uint64 // bit per PropertyID
}

// more says whether a property is left; it is false after an error.
func (r *propertyReader) more() bool { return r.c.err == nil && len(r.c.b) > 0 }

func (r *propertyReader) next() (p property) {
	id := r.c.varint("property identifier")
	if r.c.err != nil {
		return p
	}
	if id >= uint32(len(propertyTable)) || propertyTable[id].kind == 0 {
		r.c.fail(malformed("property identifier 0x%02X is not in the standard (section 2.2.2.2)", id))
		return p
	}
	p.id = PropertyID(id)
	e := &propertyTable[id]
	if !e.in.has(r.where) {
		r.c.fail(protocolError("property %s may not stand in %s (section 2.2.2.2)", e.name, placeName(r.where)))
		return p
	}
	repeats := p.id == PropUserProperty || p.id == PropSubscriptionID && r.where == PUBLISH
	if r.seen>>id&1 != 0 && !repeats {
		r.c.fail(protocolError("property %s stands twice in %s (section 2.2.2.2)", e.name, placeName(r.where)))
		return p
	}
	r.seen |= 1 << id
	r.value(&p, e.kind, e.name)
	return p
}

func placeName(t Type) string {
	if t == will {
		return "the will"
	}
	return t.String()
}

func (r *propertyReader) value(p *property, kind propertyKind, name string) {
	switch kind {
	case kindByte:
		p.num = uint32(r.c.u8(name))
	case kindU16:
		p.num = uint32(r.c.u16(name))
	case kindU32:
		p.num = r.c.u32(name)
	case kindVarint:
		p.num = r.c.varint(name)
	case kindBinary:
		p.data = r.c.binary(name)
	case kindText:
		p.data = r.c.text(name)
	case kindPair:
		p.data = r.c.text(name)
		p.pair = r.c.text(name)
	}
	if r.c.err == nil {
		r.checkValue(p, kind, name)
	}
}

// checkValue holds the limits that the properties' own sections set.
func (r *propertyReader) checkValue(p *property, kind propertyKind, name string) {
	switch {
	case kind == kindByte && p.num > 1:
		r.c.fail(protocolError("%s is %d, want 0 or 1", name, p.num))
	case p.num == 0 && p.id == PropTopicAlias:
		r.c.fail(refuse(TopicAliasInvalid, "topic alias 0 [MQTT-3.3.2-8]"))
	case p.num == 0 && (p.id == PropSubscriptionID || p.id == PropReceiveMaximum || p.id == PropMaximumPacketSize):
		r.c.fail(protocolError("%s is 0", name))
	case p.id == PropResponseTopic:
		if err := checkTopic(p.data); err != nil {
			r.c.fail(protocolError("response topic: %s [MQTT-3.3.2-14]", err.(*Error).Reason))
		}
	}
}

func (r *propertyReader) end() error {
	if r.c.err == nil && r.seen>>PropAuthData&1 != 0 && r.seen>>PropAuthMethod&1 == 0 && r.where == CONNECT {
		r.c.fail(protocolError("authentication data without an authentication method (section 3.1.2.11.10)"))
	}
	return r.c.err
}

// checkProperties checks the property bytes b of a packet of type where and
// returns which properties are there, one bit per id.
func checkProperties(b []byte, where Type) (seen uint64, err error) {
	r := propertyReader{c: cursor{b: b}, where: where}
	for r.more() {
		r.next()
	}
	return r.seen, r.end()
}

// properties reads the properties of a packet of type where: their length, and
// then so many bytes (section 2.2.2). None gives nil.
func (c *cursor) properties(where Type) *Properties {
	n := c.varint("property length")
	b := c.take(int(n), "properties")
	if len(b) == 0 {
		return nil
	}
	out := &Properties{}
	if err := out.decode(b, where); err != nil {
		c.fail(err)
	}
	return out
}

// decode fills p from property bytes; texts and data are copies.
func (p *Properties) decode(b []byte, where Type) error {
	r := propertyReader{c: cursor{b: b}, where: where}
	for r.more() {
		one := r.next()
		if r.c.err == nil {
			p.set(one)
		}
	}
	return r.end()
}

func (p *Properties) set(one property) {
	switch propertyTable[one.id].kind {
	case kindByte:
		*p.byteField(one.id) = Some(byte(one.num))
	case kindU16:
		*p.u16Field(one.id) = Some(uint16(one.num))
	case kindU32:
		*p.u32Field(one.id) = Some(one.num)
	case kindText:
		*p.textField(one.id) = Some(string(one.data))
	case kindBinary:
		*p.dataField(one.id) = append([]byte{}, one.data...)
	case kindVarint:
		p.SubscriptionIDs = append(p.SubscriptionIDs, one.num)
	case kindPair:
		p.UserProperties = append(p.UserProperties, UserProperty{string(one.data), string(one.pair)})
	}
}

func (p *Properties) byteField(id PropertyID) *Opt[byte] {
	switch id {
	case PropPayloadFormat:
		return &p.PayloadFormat
	case PropRequestProblemInfo:
		return &p.RequestProblemInfo
	case PropRequestResponseInfo:
		return &p.RequestResponseInfo
	case PropMaximumQoS:
		return &p.MaximumQoS
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropWildcardAvailable:
		return &p.WildcardAvailable
	case PropSubscriptionIDAvailable:
		return &p.SubscriptionIDAvailable
	}
	return &p.SharedAvailable
}

func (p *Properties) u16Field(id PropertyID) *Opt[uint16] {
	switch id {
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	}
	return &p.TopicAlias
}

func (p *Properties) u32Field(id PropertyID) *Opt[uint32] {
	switch id {
	case PropMessageExpiry:
		return &p.MessageExpiry
	case PropSessionExpiry:
		return &p.SessionExpiry
	case PropWillDelay:
		return &p.WillDelay
	}
	return &p.MaximumPacketSize
}

func (p *Properties) textField(id PropertyID) *Opt[string] {
	switch id {
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropAssignedClientID:
		return &p.AssignedClientID
	case PropAuthMethod:
		return &p.AuthMethod
	case PropResponseInfo:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	}
	return &p.ReasonString
}

func (p *Properties) dataField(id PropertyID) *[]byte {
	if id == PropCorrelationData {
		return &p.CorrelationData
	}
	return &p.AuthData
}

// appendProperties appends the property length and the properties. What was
// encoded is checked as if it had been received, so that nothing goes out that
// the standard forbids in a packet of type where.
func appendProperties(dst []byte, p *Properties, where Type) ([]byte, error) {
	at := len(dst)
	dst = append(dst, 0)
	if p == nil {
		return dst, nil
	}
	dst, err := p.append(dst)
	if err != nil {
		return nil, err
	}
	if _, err := checkProperties(dst[at+1:], where); err != nil {
		return nil, err
	}
	return setLength(dst, at, len(dst)-at-1)
}

func (p *Properties) append(dst []byte) (_ []byte, err error) {
	for i := range propertyTable {
		id := PropertyID(i)
		switch propertyTable[i].kind {
		case kindByte:
			if f := p.byteField(id); f.Set {
				dst = append(dst, byte(id), f.Value)
			}
		case kindU16:
			if f := p.u16Field(id); f.Set {
				dst = binary.BigEndian.AppendUint16(append(dst, byte(id)), f.Value)
			}
		case kindU32:
			if f := p.u32Field(id); f.Set {
				dst = binary.BigEndian.AppendUint32(append(dst, byte(id)), f.Value)
			}
		case kindText:
			if f := p.textField(id); f.Set {
				dst, err = appendText(append(dst, byte(id)), id.String(), f.Value)
			}
		case kindBinary:
			if f := *p.dataField(id); f != nil {
				dst, err = appendText(append(dst, byte(id)), id.String(), f)
			}
		case kindVarint:
			for _, n := range p.SubscriptionIDs {
				if n > maxRemaining {
					return nil, protocolError("subscription identifier %d, the most is %d", n, maxRemaining)
				}
				dst = appendVarint(append(dst, byte(id)), n)
			}
		case kindPair:
			dst, err = appendPairs(dst, p.UserProperties)
		}
		if err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func appendPairs(dst []byte, pairs []UserProperty) (_ []byte, err error) {
	for _, u := range pairs {
		dst = append(dst, byte(PropUserProperty))
		if dst, err = appendText(dst, "user property name", u.Name); err != nil {
			return nil, err
		}
		if dst, err = appendText(dst, "user property value", u.Value); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// Clone returns a copy that shares no memory that can change.
func (p *Properties) Clone() *Properties {
	if p == nil {
		return nil
	}
	out := *p
	out.CorrelationData = bytes.Clone(p.CorrelationData)
	out.AuthData = bytes.Clone(p.AuthData)
	out.SubscriptionIDs = append([]uint32(nil), p.SubscriptionIDs...)
	out.UserProperties = append([]UserProperty(nil), p.UserProperties...)
	return &out
}
