package mqtt

// Packet is any control packet: [*Connect], [*Connack], [*Publish], [*Ack],
// [*Subscribe], [*Suback], [*Unsubscribe], [*Unsuback], [*Ping],
// [*Disconnect], [*Auth].
type Packet interface {
	// Type is the packet's type.
	Type() Type
	// Append appends the packet, encoded for the version, to dst. What the
	// version does not have (properties and most reason codes in 3.1.1) is
	// left out; what no version allows is refused with an *Error.
	Append(dst []byte, version byte) ([]byte, error)
}

// Packet decodes a frame into a struct that shares no memory with it.
func (d *Decoder) Packet(f Frame) (Packet, error) {
	t := f.Type()
	if err := d.Check(f); err != nil {
		return nil, err
	}
	switch t {
	case CONNECT:
		return decoded(decodeConnect(f.Body, d.Level3))
	case CONNACK:
		return decoded(decodeConnack(f.Body, d.Version))
	case PUBLISH:
		var v PublishView
		if err := d.Publish(f, &v); err != nil {
			return nil, err
		}
		return v.Publish(), nil
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		var a Ack
		if err := d.Ack(f, &a); err != nil {
			return nil, err
		}
		return &a, nil
	case SUBSCRIBE:
		return decoded(decodeSubscribe(f.Body, d.Version))
	case SUBACK:
		return decoded(decodeSuback(f.Body, d.Version))
	case UNSUBSCRIBE:
		return decoded(decodeUnsubscribe(f.Body, d.Version))
	case UNSUBACK:
		return decoded(decodeUnsuback(f.Body, d.Version))
	case DISCONNECT:
		return decoded(d.decodeDisconnect(f.Body))
	case AUTH:
		return decoded(decodeAuth(f.Body))
	}
	if len(f.Body) > 0 {
		return nil, malformed("%s with %d bytes of body (section 3.12)", t, len(f.Body))
	}
	return &Ping{Response: t == PINGRESP}, nil
}

// decoded turns a failed decode into a nil Packet.
func decoded[P Packet](p P, err error) (Packet, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// flagsOf gives the flags that each type must carry (section 2.1.3, table 2-2);
// those of PUBLISH vary.
var flagsOf = [16]byte{PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}

// Check checks a frame's first byte: that the type exists in this version, that
// this side may send it, and its reserved flags. Packet does it by itself; who
// decodes with Publish and Ack need call it only for the other types.
func (d *Decoder) Check(f Frame) error {
	t := f.Type()
	if t == 0 || t == AUTH && d.Version != V5 {
		return malformed("%s (section 2.1.2)", t)
	}
	if d.From != 0 && sentBy[t]&d.From == 0 || t == DISCONNECT && d.Version == V311 && d.From == FromServer {
		return protocolError("%s from the wrong side (section 2.1.2)", t)
	}
	if t != PUBLISH && d.flags(f) != flagsOf[t] {
		return malformed("%s with flags %04b [MQTT-2.1.3-1]", t, f.First&0x0F)
	}
	if d.Version == 0 && t != CONNECT {
		return protocolError("%s before CONNECT [MQTT-3.1.0-1]", t)
	}
	return nil
}

// flags are those of the frame; without DUP, which MQTT 3.1 has also where later
// versions have reserved flags (version 3.1 section 2.1).
func (d *Decoder) flags(f Frame) byte {
	if t := f.Type(); d.Level3 && (t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE) {
		return f.First & 0x07
	}
	return f.First & 0x0F
}

// Ack is PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7).
type Ack struct {
	Kind     Type // PUBACK, PUBREC, PUBREL or PUBCOMP
	PacketID uint16
	Code     ReasonCode  // version 5; Success in 3.1.1
	Props    *Properties // nil for none; version 5 only
}

// Type is the kind of acknowledgement.
func (a *Ack) Type() Type { return a.Kind }

// Ack decodes PUBACK, PUBREC, PUBREL or PUBCOMP into a, without allocation when
// it has no properties.
func (d *Decoder) Ack(f Frame, a *Ack) error {
	t := f.Type()
	if d.flags(f) != flagsOf[t] {
		return malformed("%s with flags %04b [MQTT-2.1.3-1]", t, f.First&0x0F)
	}
	c := cursor{b: f.Body}
	*a = Ack{Kind: t, PacketID: c.packetID()}
	if d.Version == V5 {
		a.Code, a.Props = c.reason(t)
	}
	return c.end(t)
}

// reason reads the reason code and the properties that may both be left out at
// the end of a packet (sections 3.4.2.1, 3.14.2.1, 3.15.2.1).
func (c *cursor) reason(t Type) (code ReasonCode, p *Properties) {
	if c.err != nil || len(c.b) == 0 {
		return Success, nil
	}
	code = c.code(t)
	if len(c.b) > 0 {
		p = c.properties(t)
	}
	return code, p
}

// code reads one reason code and checks that packets of type t may carry it.
func (c *cursor) code(t Type) ReasonCode {
	code := ReasonCode(c.u8("reason code"))
	if c.err == nil && !code.MayStandIn(t) {
		c.fail(protocolError("%s with reason code 0x%02X (section 2.4)", t, byte(code)))
	}
	return code
}

// appendReason is the inverse of cursor.reason.
func appendReason(dst []byte, t Type, code ReasonCode, p *Properties) ([]byte, error) {
	if !code.MayStandIn(t) {
		return nil, protocolError("%s cannot carry %s (section 2.4)", t, code)
	}
	if code == Success && p == nil {
		return dst, nil
	}
	dst = append(dst, byte(code))
	if p == nil {
		return dst, nil
	}
	return appendProperties(dst, p, t)
}

// AppendPuback appends a PUBACK that says success, which is the same in both
// versions.
func AppendPuback(dst []byte, packetID uint16) []byte {
	return append(dst, byte(PUBACK)<<4, 2, byte(packetID>>8), byte(packetID))
}

// Append appends the packet encoded for the version.
func (a *Ack) Append(dst []byte, version byte) ([]byte, error) {
	if a.Kind < PUBACK || a.Kind > PUBCOMP {
		return nil, protocolError("%s is not an acknowledgement of a PUBLISH", a.Kind)
	}
	return appendPacket(dst, a.Kind, func(dst []byte) ([]byte, error) {
		dst, err := appendID(dst, a.PacketID)
		if err != nil || version != V5 {
			return dst, err
		}
		return appendReason(dst, a.Kind, a.Code, a.Props)
	})
}

func appendID(dst []byte, id uint16) ([]byte, error) {
	if id == 0 {
		return nil, protocolError("packet identifier 0 [MQTT-2.2.1-3]")
	}
	return append(dst, byte(id>>8), byte(id)), nil
}

// appendPacket appends the fixed header of a packet of type t and the body that
// body appends.
func appendPacket(dst []byte, t Type, body func([]byte) ([]byte, error)) ([]byte, error) {
	at := len(dst)
	dst, err := body(append(dst, byte(t)<<4|flagsOf[t], 0))
	if err != nil {
		return nil, err
	}
	return setLength(dst, at+1, len(dst)-at-2)
}

// Ping is PINGREQ or PINGRESP (sections 3.12, 3.13).
type Ping struct{ Response bool }

// Type is PINGREQ or PINGRESP.
func (p *Ping) Type() Type {
	if p.Response {
		return PINGRESP
	}
	return PINGREQ
}

// Append appends the packet, which is the same in both versions.
func (p *Ping) Append(dst []byte, _ byte) ([]byte, error) {
	return append(dst, byte(p.Type())<<4, 0), nil
}

// Disconnect is DISCONNECT (section 3.14).
type Disconnect struct {
	Code  ReasonCode  // version 5; Success is the normal end
	Props *Properties // nil for none; version 5 only
}

// Type is DISCONNECT.
func (p *Disconnect) Type() Type { return DISCONNECT }

func (d *Decoder) decodeDisconnect(body []byte) (*Disconnect, error) {
	c := cursor{b: body}
	p := &Disconnect{}
	if d.Version == V5 {
		p.Code, p.Props = c.reason(DISCONNECT)
	}
	if err := c.end(DISCONNECT); err != nil {
		return nil, err
	}
	if d.From == FromServer && (p.Code == DisconnectWithWill || p.Props != nil && p.Props.SessionExpiry.Set) {
		return nil, protocolError("DISCONNECT from a server with what only a client may send [MQTT-3.14.2-2]")
	}
	if d.From == FromClient && p.Props != nil && p.Props.ServerReference.Set {
		return nil, protocolError("DISCONNECT from a client with a server reference (section 3.14.2.2.5)")
	}
	return p, nil
}

// Append appends the packet encoded for the version.
func (p *Disconnect) Append(dst []byte, version byte) ([]byte, error) {
	return appendPacket(dst, DISCONNECT, func(dst []byte) ([]byte, error) {
		if version != V5 {
			return dst, nil
		}
		return appendReason(dst, DISCONNECT, p.Code, p.Props)
	})
}

// Auth is AUTH (section 3.15), version 5 only.
type Auth struct {
	Code  ReasonCode // Success, ContinueAuthentication or Reauthenticate
	Props *Properties
}

// Type is AUTH.
func (p *Auth) Type() Type { return AUTH }

func decodeAuth(body []byte) (*Auth, error) {
	c := cursor{b: body}
	p := &Auth{}
	p.Code, p.Props = c.reason(AUTH)
	if err := c.end(AUTH); err != nil {
		return nil, err
	}
	if p.Code != Success && (p.Props == nil || !p.Props.AuthMethod.Set) {
		return nil, protocolError("AUTH without an authentication method (section 3.15.2.2.2)")
	}
	return p, nil
}

// Append appends the packet; only version 5 has it.
func (p *Auth) Append(dst []byte, version byte) ([]byte, error) {
	if version != V5 {
		return nil, protocolError("AUTH does not exist in version 3.1.1")
	}
	return appendPacket(dst, AUTH, func(dst []byte) ([]byte, error) {
		return appendReason(dst, AUTH, p.Code, p.Props)
	})
}
