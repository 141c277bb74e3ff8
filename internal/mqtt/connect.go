package mqtt

import "bytes"

// Connect is CONNECT (section 3.1).
type Connect struct {
	Version    byte // V311 or V5
	Level3     bool // decoded from one of MQTT 3.1, for which Version is V311
	CleanStart bool // called clean session in 3.1.1
	KeepAlive  uint16
	ClientID   string
	Will       *Will // nil for none
	Username   Opt[string]
	Password   Opt[[]byte]
	Props      *Properties // nil for none; version 5 only
}

// Will is the message that the server publishes when the connection ends
// without a DISCONNECT (section 3.1.2.5).
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Props   *Properties // nil for none; version 5 only
}

// The connect flags (section 3.1.2.3).
const (
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// Type is CONNECT.
func (p *Connect) Type() Type { return CONNECT }

// decodeConnect decodes CONNECT. With level3, one of MQTT 3.1 comes out as one of
// 3.1.1, from which it differs in the protocol name and level, and in wanting a
// client identifier always, as far as a server can see.
func decodeConnect(body []byte, level3 bool) (*Connect, error) {
	c := cursor{b: body}
	name := c.text("protocol name")
	p := &Connect{Version: c.u8("protocol version")}
	if c.err != nil {
		return nil, c.err
	}
	if level3 && string(name) == "MQIsdp" && p.Version == 3 {
		p.Level3 = true
		name, p.Version = []byte("MQTT"), V311
	}
	if string(name) != "MQTT" || p.Version != V311 && p.Version != V5 {
		return nil, refuse(UnsupportedProtocolVersion, "protocol %.10q level %d; MQTT 3.1.1 (level 4) and 5 are served [MQTT-3.1.2-1], [MQTT-3.1.2-2]", name, p.Version)
	}
	flags := c.u8("connect flags")
	p.CleanStart = flags&flagCleanStart != 0
	p.KeepAlive = c.u16("keep alive")
	if c.err == nil {
		if err := checkConnectFlags(flags, p.Version); err != nil {
			return nil, err
		}
	}
	if p.Version == V5 {
		p.Props = c.properties(CONNECT)
	}
	p.decodePayload(&c, flags)
	if err := c.end(CONNECT); err != nil {
		return nil, err
	}
	if p.ClientID == "" && p.Level3 {
		return nil, refuse(ClientIdentifierNotValid, "empty client identifier (version 3.1 section 3.1)")
	}
	if p.Version == V311 && p.ClientID == "" && !p.CleanStart {
		return nil, refuse(ClientIdentifierNotValid, "empty client identifier without clean session (version 3.1.1 [MQTT-3.1.3-8])")
	}
	return p, nil
}

func checkConnectFlags(flags, version byte) error {
	switch {
	case flags&1 != 0:
		return malformed("reserved connect flag is set [MQTT-3.1.2-3]")
	case willQoS(flags) == 3:
		return malformed("will QoS 3 [MQTT-3.1.2-12]")
	case flags&flagWill == 0 && (willQoS(flags) != 0 || flags&flagWillRetain != 0):
		return malformed("will QoS or will retain without a will [MQTT-3.1.2-11], [MQTT-3.1.2-13]")
	case version == V311 && flags&flagUsername == 0 && flags&flagPassword != 0:
		return malformed("password without a user name (version 3.1.1 [MQTT-3.1.2-22])")
	}
	return nil
}

func willQoS(flags byte) byte { return flags >> 3 & 3 }

func (p *Connect) decodePayload(c *cursor, flags byte) {
	p.ClientID = string(c.text("client identifier"))
	if flags&flagWill != 0 {
		p.Will = decodeWill(c, flags, p.Version)
	}
	if flags&flagUsername != 0 {
		p.Username = Some(string(c.text("user name")))
	}
	if flags&flagPassword != 0 {
		p.Password = Some(bytes.Clone(c.binary("password")))
	}
}

func decodeWill(c *cursor, flags, version byte) *Will {
	w := &Will{QoS: willQoS(flags), Retain: flags&flagWillRetain != 0}
	if version == V5 {
		w.Props = c.properties(will)
	}
	topic := c.text("will topic")
	if c.err == nil {
		if err := checkTopic(topic); err != nil {
			c.fail(refuse(err.(*Error).Code, "will: %s", err.(*Error).Reason))
		}
	}
	w.Topic = string(topic)
	w.Payload = bytes.Clone(c.binary("will payload"))
	return w
}

func (p *Connect) flags() (flags byte) {
	for _, f := range []struct {
		set bool
		bit byte
	}{
		{p.CleanStart, flagCleanStart}, {p.Will != nil, flagWill}, {p.Username.Set, flagUsername}, {p.Password.Set, flagPassword},
		{p.Will != nil && p.Will.Retain, flagWillRetain},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	if p.Will != nil {
		flags |= p.Will.QoS << 3
	}
	return flags
}

// Append appends the packet encoded for p.Version; the argument is not used.
func (p *Connect) Append(dst []byte, _ byte) ([]byte, error) {
	if p.Version != V311 && p.Version != V5 {
		return nil, refuse(UnsupportedProtocolVersion, "protocol level %d, want 4 (MQTT 3.1.1) or 5", p.Version)
	}
	if p.Will != nil && p.Will.QoS > 2 {
		return nil, malformed("will QoS %d [MQTT-3.1.2-12]", p.Will.QoS)
	}
	flags := p.flags()
	if err := checkConnectFlags(flags, p.Version); err != nil {
		return nil, err
	}
	return appendPacket(dst, CONNECT, func(dst []byte) (_ []byte, err error) {
		dst = append(dst, 0, 4, 'M', 'Q', 'T', 'T', p.Version, flags, byte(p.KeepAlive>>8), byte(p.KeepAlive))
		if p.Version == V5 {
			if dst, err = appendProperties(dst, p.Props, CONNECT); err != nil {
				return nil, err
			}
		}
		return p.appendPayload(dst)
	})
}

func (p *Connect) appendPayload(dst []byte) (_ []byte, err error) {
	if dst, err = appendText(dst, "client identifier", p.ClientID); err != nil {
		return nil, err
	}
	if p.Will != nil {
		if dst, err = p.Will.append(dst, p.Version); err != nil {
			return nil, err
		}
	}
	if p.Username.Set {
		if dst, err = appendText(dst, "user name", p.Username.Value); err != nil {
			return nil, err
		}
	}
	if p.Password.Set {
		return appendText(dst, "password", p.Password.Value)
	}
	return dst, nil
}

func (w *Will) append(dst []byte, version byte) (_ []byte, err error) {
	if version == V5 {
		if dst, err = appendProperties(dst, w.Props, will); err != nil {
			return nil, err
		}
	}
	if err = ValidTopic(w.Topic); err != nil {
		return nil, err
	}
	if dst, err = appendText(dst, "will topic", w.Topic); err != nil {
		return nil, err
	}
	return appendText(dst, "will payload", w.Payload)
}

// Connack is CONNACK (section 3.2).
type Connack struct {
	SessionPresent bool
	// Code is the reason code; the return codes of version 3.1.1 are translated
	// to and from it (see [ReasonCode.ReturnCode311]).
	Code  ReasonCode
	Props *Properties // nil for none; version 5 only
}

// Type is CONNACK.
func (p *Connack) Type() Type { return CONNACK }

func decodeConnack(body []byte, version byte) (*Connack, error) {
	c := cursor{b: body}
	flags := c.u8("acknowledge flags")
	p := &Connack{SessionPresent: flags == 1}
	if flags > 1 {
		return nil, malformed("CONNACK with acknowledge flags 0x%02X [MQTT-3.2.2-1]", flags)
	}
	if version == V5 {
		p.Code = c.code(CONNACK)
		p.Props = c.properties(CONNACK)
	} else if code := c.u8("return code"); int(code) < len(codes311) {
		p.Code = codes311[code]
	} else {
		return nil, protocolError("CONNACK with return code %d (version 3.1.1 section 3.2.2.3)", code)
	}
	if err := c.end(CONNACK); err != nil {
		return nil, err
	}
	if p.SessionPresent && p.Code != Success {
		return nil, protocolError("CONNACK with session present and %s [MQTT-3.2.2-6]", p.Code)
	}
	return p, nil
}

// Append appends the packet encoded for the version. A code that 3.1.1 cannot
// say is refused; the connection is then to be closed without CONNACK.
func (p *Connack) Append(dst []byte, version byte) ([]byte, error) {
	if p.SessionPresent && p.Code != Success || !p.Code.MayStandIn(CONNACK) {
		return nil, protocolError("CONNACK with session present %v and %s [MQTT-3.2.2-6]", p.SessionPresent, p.Code)
	}
	flags := byte(0)
	if p.SessionPresent {
		flags = 1
	}
	if version != V5 {
		code, ok := p.Code.ReturnCode311()
		if !ok {
			return nil, refuse(p.Code, "CONNACK of version 3.1.1 has no code for it: close the connection (version 3.1.1 section 3.2.2.3)")
		}
		return append(dst, byte(CONNACK)<<4, 2, flags, code), nil
	}
	return appendPacket(dst, CONNACK, func(dst []byte) ([]byte, error) {
		return appendProperties(append(dst, flags, byte(p.Code)), p.Props, CONNACK)
	})
}
