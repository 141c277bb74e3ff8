package mqtt

import "strings"

// Subscription is one filter of a SUBSCRIBE with its options (section 3.8.3.1).
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool // version 5 only
	RetainAsPublished bool // version 5 only
	RetainHandling    byte // version 5 only: 0 send retained messages, 1 only for a new subscription, 2 never
}

// Subscribe is SUBSCRIBE (section 3.8). Decoding checks the filters' text, and
// leaves to the server what [ValidFilter] says of each, so that it can answer
// per filter.
type Subscribe struct {
	PacketID uint16
	Filters  []Subscription
	Props    *Properties // nil for none; version 5 only
}

// Type is SUBSCRIBE.
func (p *Subscribe) Type() Type { return SUBSCRIBE }

// filter reads a topic filter, which is not empty [MQTT-4.7.3-1].
func (c *cursor) filter() string {
	f := c.text("topic filter")
	if c.err == nil && len(f) == 0 {
		c.fail(malformed("empty topic filter [MQTT-4.7.3-1]"))
	}
	return string(f)
}

func decodeSubscribe(body []byte, version byte) (*Subscribe, error) {
	c := cursor{b: body}
	p := &Subscribe{PacketID: c.packetID()}
	if version == V5 {
		p.Props = c.properties(SUBSCRIBE)
	}
	for c.err == nil && len(c.b) > 0 {
		s := Subscription{Filter: c.filter()}
		options := c.u8("subscription options")
		if c.err != nil {
			return nil, c.err
		}
		if err := s.setOptions(options, version); err != nil {
			return nil, err
		}
		p.Filters = append(p.Filters, s)
	}
	if c.err == nil && len(p.Filters) == 0 {
		return nil, protocolError("SUBSCRIBE without a topic filter [MQTT-3.8.3-2]")
	}
	return p, c.err
}

// setOptions decodes the options byte (section 3.8.3.1).
func (s *Subscription) setOptions(o, version byte) error {
	s.QoS = o & 3
	reserved := byte(0xC0)
	if version != V5 {
		reserved = 0xFC // version 3.1.1 [MQTT-3.8.3-4]
	}
	s.NoLocal, s.RetainAsPublished, s.RetainHandling = o&4 != 0, o&8 != 0, o>>4&3
	if o&reserved != 0 {
		return malformed("subscription options 0x%02X with reserved bits [MQTT-3.8.3-5]", o)
	}
	return s.checkOptions()
}

func (s *Subscription) checkOptions() error {
	if s.QoS > 2 {
		return protocolError("subscription with QoS %d (section 3.8.3.1)", s.QoS)
	}
	if s.RetainHandling > 2 {
		return protocolError("subscription with retain handling %d (section 3.8.3.1)", s.RetainHandling)
	}
	if s.NoLocal && strings.HasPrefix(s.Filter, sharePrefix) {
		return protocolError("shared subscription %.80q with no local [MQTT-3.8.3-4]", s.Filter)
	}
	return nil
}

func (s *Subscription) options(version byte) byte {
	o := s.QoS
	if version == V5 {
		o |= s.RetainHandling << 4
		if s.NoLocal {
			o |= 4
		}
		if s.RetainAsPublished {
			o |= 8
		}
	}
	return o
}

// Append appends the packet encoded for the version. The filters are checked as
// [ValidFilter] does.
func (p *Subscribe) Append(dst []byte, version byte) ([]byte, error) {
	if len(p.Filters) == 0 {
		return nil, protocolError("SUBSCRIBE without a topic filter [MQTT-3.8.3-2]")
	}
	return appendPacket(dst, SUBSCRIBE, func(dst []byte) (_ []byte, err error) {
		if dst, err = appendIDProps(dst, SUBSCRIBE, p.PacketID, p.Props, version); err != nil {
			return nil, err
		}
		for i := range p.Filters {
			s := &p.Filters[i]
			if err = s.checkOptions(); err != nil {
				return nil, err
			}
			if dst, err = appendFilter(dst, s.Filter); err != nil {
				return nil, err
			}
			dst = append(dst, s.options(version))
		}
		return dst, nil
	})
}

func appendFilter(dst []byte, filter string) ([]byte, error) {
	if err := ValidFilter(filter); err != nil {
		return nil, err
	}
	return appendText(dst, "topic filter", filter)
}

// appendIDProps appends the variable header of SUBSCRIBE, UNSUBSCRIBE and their
// answers.
func appendIDProps(dst []byte, t Type, id uint16, p *Properties, version byte) ([]byte, error) {
	dst, err := appendID(dst, id)
	if err != nil || version != V5 {
		return dst, err
	}
	return appendProperties(dst, p, t)
}

// Suback is SUBACK (section 3.9), one code for each filter in order.
type Suback struct {
	PacketID uint16
	Codes    []ReasonCode // in 3.1.1 0, 1, 2 or 0x80 (UnspecifiedError)
	Props    *Properties  // nil for none; version 5 only
}

// Type is SUBACK.
func (p *Suback) Type() Type { return SUBACK }

func decodeSuback(body []byte, version byte) (*Suback, error) {
	c := cursor{b: body}
	p := &Suback{PacketID: c.packetID()}
	if version == V5 {
		p.Props = c.properties(SUBACK)
	}
	p.Codes = c.codes(SUBACK)
	for _, code := range p.Codes {
		if version != V5 && code > GrantedQoS2 && code != UnspecifiedError {
			c.fail(protocolError("SUBACK with return code 0x%02X (version 3.1.1 [MQTT-3.9.3-2])", byte(code)))
		}
	}
	return p, c.err
}

// codes reads reason codes up to the end of the packet, at least one.
func (c *cursor) codes(t Type) []ReasonCode {
	if c.err == nil && len(c.b) == 0 {
		c.fail(protocolError("%s without a reason code (section %s)", t, map[Type]string{SUBACK: "3.9.3", UNSUBACK: "3.11.3"}[t]))
	}
	codes := make([]ReasonCode, 0, len(c.b))
	for c.err == nil && len(c.b) > 0 {
		codes = append(codes, c.code(t))
	}
	return codes
}

// Append appends the packet encoded for the version; in 3.1.1 every failure is
// 0x80 (version 3.1.1 [MQTT-3.9.3-2]).
func (p *Suback) Append(dst []byte, version byte) ([]byte, error) {
	return appendPacket(dst, SUBACK, func(dst []byte) ([]byte, error) {
		dst, err := appendIDProps(dst, SUBACK, p.PacketID, p.Props, version)
		if err != nil {
			return nil, err
		}
		return appendCodes(dst, SUBACK, p.Codes, version)
	})
}

func appendCodes(dst []byte, t Type, codes []ReasonCode, version byte) ([]byte, error) {
	if len(codes) == 0 {
		return nil, protocolError("%s without a reason code", t)
	}
	for _, code := range codes {
		if !code.MayStandIn(t) {
			return nil, protocolError("%s cannot carry %s (section 2.4)", t, code)
		}
		if version != V5 && code.Failed() {
			code = UnspecifiedError
		}
		dst = append(dst, byte(code))
	}
	return dst, nil
}

// Unsubscribe is UNSUBSCRIBE (section 3.10).
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	Props    *Properties // nil for none; version 5 only
}

// Type is UNSUBSCRIBE.
func (p *Unsubscribe) Type() Type { return UNSUBSCRIBE }

func decodeUnsubscribe(body []byte, version byte) (*Unsubscribe, error) {
	c := cursor{b: body}
	p := &Unsubscribe{PacketID: c.packetID()}
	if version == V5 {
		p.Props = c.properties(UNSUBSCRIBE)
	}
	for c.err == nil && len(c.b) > 0 {
		p.Filters = append(p.Filters, c.filter())
	}
	if c.err == nil && len(p.Filters) == 0 {
		return nil, protocolError("UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]")
	}
	return p, c.err
}

// Append appends the packet encoded for the version. The filters are checked as
// [ValidFilter] does.
func (p *Unsubscribe) Append(dst []byte, version byte) ([]byte, error) {
	if len(p.Filters) == 0 {
		return nil, protocolError("UNSUBSCRIBE without a topic filter [MQTT-3.10.3-2]")
	}
	return appendPacket(dst, UNSUBSCRIBE, func(dst []byte) (_ []byte, err error) {
		if dst, err = appendIDProps(dst, UNSUBSCRIBE, p.PacketID, p.Props, version); err != nil {
			return nil, err
		}
		for _, f := range p.Filters {
			if dst, err = appendFilter(dst, f); err != nil {
				return nil, err
			}
		}
		return dst, nil
	})
}

// Unsuback is UNSUBACK (section 3.11), in version 5 one code for each filter in
// order.
type Unsuback struct {
	PacketID uint16
	Codes    []ReasonCode // version 5 only
	Props    *Properties  // nil for none; version 5 only
}

// Type is UNSUBACK.
func (p *Unsuback) Type() Type { return UNSUBACK }

func decodeUnsuback(body []byte, version byte) (*Unsuback, error) {
	c := cursor{b: body}
	p := &Unsuback{PacketID: c.packetID()}
	if version == V5 {
		p.Props = c.properties(UNSUBACK)
		p.Codes = c.codes(UNSUBACK)
	}
	return p, c.end(UNSUBACK)
}

// Append appends the packet encoded for the version.
func (p *Unsuback) Append(dst []byte, version byte) ([]byte, error) {
	return appendPacket(dst, UNSUBACK, func(dst []byte) ([]byte, error) {
		dst, err := appendIDProps(dst, UNSUBACK, p.PacketID, p.Props, version)
		if err != nil || version != V5 {
			return dst, err
		}
		return appendCodes(dst, UNSUBACK, p.Codes, version)
	})
}
