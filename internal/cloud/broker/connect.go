package broker

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/mqtt"
)

// connect reads CONNECT, judges it, takes the session and answers CONNACK. It
// returns false when the connection is to be closed; cause says why.
func (c *conn) connect() bool {
	p, r := c.readConnect()
	if r == nil {
		r = c.judgeConnect(p)
	}
	if r == nil {
		r = c.b.attach(c, p)
	}
	if r != nil {
		c.refuseConnect(r)
		c.stop(r)
		return false
	}
	return true
}

// readConnect reads the first packet, within its deadline and its size.
func (c *conn) readConnect() (*mqtt.Connect, *refused) {
	_ = c.net.SetReadDeadline(time.Now().Add(c.limits.ConnectWithin))
	if r := c.cause.Load(); r != nil { // set before stop touched the deadline
		return nil, r
	}
	for {
		f, ok, err := c.in.Next()
		if err != nil {
			return nil, refuseError(err)
		}
		if ok {
			return c.decodeConnect(f)
		}
		if err := c.in.Fill(); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, refuse(mqtt.Success, "no CONNECT within %v", c.limits.ConnectWithin)
		} else if err != nil {
			return nil, readError(err)
		}
	}
}

func (c *conn) decodeConnect(f mqtt.Frame) (*mqtt.Connect, *refused) {
	c.version = mqtt.V311
	if len(f.Body) > 6 && f.Body[1] == 4 && f.Body[6] >= mqtt.V5 { // the protocol level, so that a refusal can be understood
		c.version = mqtt.V5
	}
	p, err := c.in.Decoder.Packet(f)
	if err != nil {
		return nil, refuseError(err)
	}
	connect, ok := p.(*mqtt.Connect)
	if !ok {
		return nil, refuse(mqtt.ProtocolError, "%s before CONNECT [MQTT-3.1.0-1]", p.Type())
	}
	c.version = connect.Version
	c.in.Version, c.in.Max, c.in.Level3 = connect.Version, c.limits.Packet, connect.Level3
	return connect, nil
}

// judgeConnect checks CONNECT against the limits and the policies, and takes
// over what it asks for.
func (c *conn) judgeConnect(p *mqtt.Connect) *refused {
	if p.Props == nil {
		p.Props = &mqtt.Properties{}
	}
	c.problemInfo = p.Props.RequestProblemInfo.Or(1) == 1
	c.maxPacket = int(min(p.Props.MaximumPacketSize.Or(maxPacket), maxPacket))
	c.window = min(int(p.Props.ReceiveMaximum.Or(65535)), c.limits.Outbound)
	c.aliasMax = c.aliasesTo(p.Props)
	if p.Props.AuthMethod.Set {
		return refuse(mqtt.BadAuthenticationMethod, "enhanced authentication (%.40q) is not served: connect without an authentication method", p.Props.AuthMethod.Value)
	}
	if r := c.checkClientID(p); r != nil {
		return r.on("iot:Connect", c.b.gate.ARN("client/"+p.ClientID))
	}
	c.subject.ClientID = p.ClientID
	c.subject.PersistentConnect = persistent(p)
	if r := c.authenticate(p); r != nil {
		return r
	}
	c.principal = c.subject.Principal()
	if p.Will != nil {
		c.subject.LastWill, c.subject.LastWillTopic = true, p.Will.Topic
	}
	c.setKeepAlive(p.KeepAlive)
	c.refreshJudge()
	if r := c.decide("iot:Connect", "client/"+p.ClientID); r != nil {
		return r
	}
	if r := c.checkConnectRate(p.ClientID, time.Now()); r != nil {
		return r
	}
	return c.judgeWill(p.Will)
}

func (c *conn) checkClientID(p *mqtt.Connect) *refused {
	switch {
	case p.ClientID == "":
		p.ClientID = "auto-" + rand.Text()
		p.Props.AssignedClientID = mqtt.Some(p.ClientID) // for CONNACK
	case len(p.ClientID) > c.limits.ClientID:
		return refuse(mqtt.ClientIdentifierNotValid, "the client id has %d bytes, the most are %d: choose a shorter one", len(p.ClientID), c.limits.ClientID)
	case strings.HasPrefix(p.ClientID, "$") && !c.spec:
		return refuse(mqtt.ClientIdentifierNotValid, "client ids that begin with $ are reserved: choose another one")
	}
	return nil
}

// persistent says whether the client wants its session kept after the
// connection.
func persistent(p *mqtt.Connect) bool {
	if p.Version == mqtt.V5 {
		return p.Props.SessionExpiry.Or(0) > 0
	}
	return !p.CleanStart
}

// expiry is how long the session is kept after the connection.
func (l *Limits) expiry(p *mqtt.Connect) time.Duration {
	switch {
	case p.Version == mqtt.V5:
		return min(time.Duration(p.Props.SessionExpiry.Or(0))*time.Second, l.SessionExpiryMax)
	case p.CleanStart:
		return 0
	}
	return l.SessionExpiry
}

// setKeepAlive takes the client's keep alive within the limits; none counts as
// the most (AWS IoT Core quotas, "keep-alive interval").
func (c *conn) setKeepAlive(seconds uint16) {
	if c.spec {
		c.specKeepAlive(seconds)
		return
	}
	l := c.limits
	c.keepAlive = time.Duration(seconds) * time.Second
	if seconds == 0 {
		c.keepAlive = l.KeepAliveMax
	}
	c.keepAlive = min(max(c.keepAlive, l.KeepAliveMin), l.KeepAliveMax)
}

// judgeWill checks the will like a publish, at CONNECT (AWS IoT developer
// guide, "Last Will and Testament").
func (c *conn) judgeWill(w *mqtt.Will) *refused {
	if w == nil {
		return nil
	}
	arn := c.b.gate.ARN("topic/" + w.Topic)
	if w.QoS > 1 && !c.spec {
		return refuse(mqtt.QoSNotSupported, "a will with QoS 2 is not served: use QoS 0 or 1").on("iot:Publish", arn)
	}
	if r := c.checkTopic(w.Topic); r != nil {
		return r.on("iot:Publish", arn)
	}
	if r := c.limits.checkPayload(len(w.Payload)); r != nil {
		return r.on("iot:Publish", arn)
	}
	if r := c.decideWill(w.Topic, w.Retain); r != nil {
		return r
	}
	if c.isReserved(w.Topic) && c.b.serves(w.Topic) {
		c.record(refuse(mqtt.TopicNameInvalid, "no service does what a will asks for on %q: send it on a topic without $, and let a rule republish it", cut(w.Topic)).on("iot:Publish", arn))
	}
	c.will = &will{m: &message.Message{
		Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Time: time.Now(),
		ClientID: c.subject.ClientID, Principal: c.principal, SourceIP: c.subject.SourceIP,
	}}
	if w.Props != nil {
		c.setProperties(c.will.m, w.Props)
		c.will.delay = time.Duration(w.Props.WillDelay.Or(0)) * time.Second
	}
	return nil
}

// decideWill asks the policies about publishing a will.
func (c *conn) decideWill(topic string, retain bool) *refused {
	if r := c.decide("iot:Publish", "topic/"+topic); r != nil {
		return r
	}
	if !retain {
		return nil
	}
	if r := c.checkRetain(topic); r != nil {
		return r.on("iot:RetainPublish", c.b.gate.ARN("topic/"+topic))
	}
	return c.decide("iot:RetainPublish", "topic/"+topic)
}

// connack says yes, with what the server grants (AWS IoT developer guide,
// "MQTT 5 CONNACK properties").
func (c *conn) connack(p *mqtt.Connect, present bool, expiry time.Duration) *mqtt.Connack {
	ack := &mqtt.Connack{SessionPresent: present && !p.Level3} // 3.1 keeps that byte at 0
	if p.Version != mqtt.V5 {
		return ack
	}
	l := c.limits
	ack.Props = &mqtt.Properties{
		ReceiveMaximum: mqtt.Some(uint16(min(l.Inbound, 65535))), RetainAvailable: mqtt.Some[byte](1),
		MaximumPacketSize: mqtt.Some(uint32(l.Packet)), TopicAliasMaximum: mqtt.Some(uint16(l.TopicAliases)),
		WildcardAvailable: mqtt.Some[byte](1), SubscriptionIDAvailable: mqtt.Some(byte(boolCount(c.spec))), SharedAvailable: mqtt.Some[byte](1),
		AssignedClientID: p.Props.AssignedClientID,
	}
	if !c.spec {
		ack.Props.MaximumQoS = mqtt.Some[byte](1)
	}
	if keep := uint16(c.keepAlive / time.Second); !c.spec || keep != p.KeepAlive {
		ack.Props.ServerKeepAlive = mqtt.Some(keep)
	}
	if granted := uint32(expiry / time.Second); granted != p.Props.SessionExpiry.Or(0) {
		ack.Props.SessionExpiry = mqtt.Some(granted)
	}
	return ack
}

// refuseConnect answers a CONNECT that is refused. Version 5 gets the reason.
// 3.1.1 gets a return code only where AWS sends one: a client without
// permission just loses its connection.
func (c *conn) refuseConnect(r *refused) {
	if r.code == mqtt.Success || c.version == 0 {
		return
	}
	if c.version == mqtt.V5 {
		code := r.code
		if !code.MayStandIn(mqtt.CONNACK) {
			code = mqtt.UnspecifiedError
		}
		c.out.add(func(buf []byte) []byte {
			return c.appendReason(buf, r.reason, func(p *mqtt.Properties) mqtt.Packet { return &mqtt.Connack{Code: code, Props: p} })
		})
		return
	}
	if !c.says311(r.code) {
		return
	}
	c.out.add(func(buf []byte) []byte {
		if out, err := (&mqtt.Connack{Code: r.code}).Append(buf, mqtt.V311); err == nil {
			return out
		}
		return buf // 3.1.1 has no code for it
	})
}

// says311 says whether a 3.1.1 client gets a CONNACK with code.
func (c *conn) says311(code mqtt.ReasonCode) bool {
	switch code {
	case mqtt.ClientIdentifierNotValid, mqtt.UnsupportedProtocolVersion, mqtt.ServerUnavailable, mqtt.QuotaExceeded:
		return true
	}
	return c.spec || c.listener.Auth == Password
}
