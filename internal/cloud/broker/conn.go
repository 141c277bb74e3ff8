package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/policy"
	"mote/internal/mqtt"
)

// conn is one client connection. Its reader goroutine (serve) owns it; fields
// without a note are set before CONNACK and only read from then on.
type conn struct {
	b        *Broker
	limits   *Limits // of the listener's mode
	listener Listener
	spec     bool // listener.Mode is Spec
	net      net.Conn
	subject  policy.Subject
	peer     *Peer // nil: a client of a listener of the broker
	since    time.Time

	account   atomic.Pointer[account]
	principal string // of subject

	version     byte
	keepAlive   time.Duration // 0: none
	maxPacket   int           // the largest packet that the client takes
	window      int           // publishes with QoS 1 and 2 that it takes unacknowledged
	aliasMax    int           // topic aliases that it takes
	problemInfo bool          // it wants reason strings
	session     *session
	delivery    *delivery
	receive     verdicts
	will        *will
	willStored  *will // is in the store until the connection ends
	orphan      *orphan
	presence    presence
	rates       *rates // nil without Limits.Rates

	out      output
	recorder recorder
	unwatch  func() bool             // ends what watches the context of the listener
	workers  sync.WaitGroup          // the writer, and goroutines that pump
	flow     flow                    // publishes under way to the store
	open2    atomic.Int32            // QoS 2 publishes of it without PUBREL
	cause    atomic.Pointer[refused] // why the connection ends; the first one counts
	ended    chan struct{}           // closed when nothing of the connection is left

	// Owned by the reader.
	in      *mqtt.Reader
	waiter  waiter // nil: the connection cannot wait without reading
	silence silence
	view    mqtt.PublishView
	ack     mqtt.Ack
	burst   *burst // of the current read; nil while it has no publish
	routes  map[string]*route
	judge   policy.Judge
	epoch   uint64
	aliases []string // topics by alias, from 1
	room    int      // QoS 1 publishes that may still come in this burst
	pubacks bool     // the current read brought acknowledgements
	steps   steps    // of deliveries with QoS 2, in this burst
}

func (b *Broker) newConn(ctx context.Context, nc net.Conn, subject policy.Subject, l Listener) *conn {
	limits := &b.limits
	if l.Mode == Spec {
		limits = &b.spec
	}
	c := &conn{
		b: b, limits: limits, listener: l, spec: l.Mode == Spec, net: nc, subject: subject, since: time.Now(),
		maxPacket: maxPacket, routes: map[string]*route{}, ended: make(chan struct{}),
	}
	c.principal = subject.Principal()
	from := source(nc)
	c.waiter, _ = from.(waiter)
	c.in = mqtt.NewReader(from, mqtt.Decoder{From: mqtt.FromClient, Max: limits.Connect, Level3: l.Mode == Spec})
	c.receive.c = c
	c.flow.init()
	if limits.Rates {
		c.rates = newRates()
	}
	c.unwatch = context.AfterFunc(ctx, func() { c.stop(errShutdown) })
	c.out = output{conn: nc, within: limits.WriteWithin, workers: &c.workers, drained: c.pump}
	return c
}

// maxPacket is the largest packet of the protocol (section 2.1.4).
const maxPacket = 268_435_460

// begin reads CONNECT and answers it. It returns false when the connection
// could not begin, and has ended.
func (c *conn) begin() bool {
	if !c.b.register(c) {
		_ = closeAtOnce(c.net)
		c.unwatch()
		return false
	}
	if c.connect() {
		return true
	}
	c.finish()
	c.b.unregister(c)
	c.unwatch()
	return false
}

// serve runs a connection that has begun until it ends.
func (c *conn) serve() {
	c.stop(c.read())
	c.commit()
	c.finish()
	c.b.unregister(c)
	c.unwatch()
}

// stop ends the connection for the reason r; the first reason counts. It may
// be called from anywhere and waits for nothing: the reader does the work.
func (c *conn) stop(r *refused) {
	if c.cause.CompareAndSwap(nil, r) {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
	}
}

// finish says goodbye and leaves nothing behind: it waits for the store, so
// that the client's next connection comes after all of this one.
func (c *conn) finish() {
	c.flow.idle()
	cause := c.cause.Load()
	if c.session != nil {
		c.b.detach(c, cause)
	}
	linger := lingerWithin
	switch {
	case cause == errLost: // the client has sent its last: there is nothing unread
		linger = 0
	case cause.quiet:
		linger = lingerShort
	}
	c.out.close(linger, c.goodbye(cause))
	c.workers.Wait()
	c.b.counters.denied.Add(boolCount(!cause.quiet))
	if !cause.quiet {
		c.record(cause)
	}
	c.b.log.Debug("connection ended", "client_id", c.subject.ClientID, "principal", c.principal, "source_ip", c.subject.SourceIP, "reason", cause.reason)
	close(c.ended)
}

func boolCount(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// goodbye is the DISCONNECT of version 5; 3.1.1 has none for servers.
func (c *conn) goodbye(r *refused) func([]byte) []byte {
	if c.session == nil || c.version != mqtt.V5 || r.code == mqtt.Success {
		return nil
	}
	code := r.code
	if !code.MayStandIn(mqtt.DISCONNECT) {
		code = mqtt.UnspecifiedError
	}
	return func(buf []byte) []byte {
		return c.appendReason(buf, r.reason, func(p *mqtt.Properties) mqtt.Packet { return &mqtt.Disconnect{Code: code, Props: p} })
	}
}

// read is the loop of the reader. It returns why it ended. Packets may have come
// together with CONNECT: a client need not wait for CONNACK (section 3.1.4).
func (c *conn) read() *refused {
	if r := c.handleBurst(); r != nil {
		return r
	}
	for {
		c.flow.admit()
		had := c.in.Buffered()
		if r := c.fill(); r != nil {
			return r
		}
		c.throttle(c.in.Buffered() - had)
		if r := c.handleBurst(); r != nil {
			return r
		}
	}
}

// violation is an error of what carries the connection: its rules were broken.
type violation interface {
	error
	Violation() bool
}

func readError(err error) *refused {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errKeepAlive
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errLost
	}
	if wrong, ok := errors.AsType[violation](err); ok && wrong.Violation() {
		return refuse(mqtt.Success, "%v", wrong)
	}
	return refuse(mqtt.Success, "the connection was lost: %v", err).silently()
}

// handleBurst handles all packets that one read brought, and commits the
// publishes among them together.
func (c *conn) handleBurst() *refused {
	c.refreshJudge()
	c.room = c.limits.Inbound - c.flow.unacknowledged() - int(c.open2.Load())
	for {
		f, ok, err := c.in.Next()
		if err != nil {
			return refuseError(err)
		}
		if !ok {
			break
		}
		if r := c.handle(f); r != nil {
			return r
		}
	}
	c.commit()
	c.commitSteps()
	if c.pubacks {
		c.pubacks = false
		c.pump()
	}
	return nil
}

// commit sends the current burst on its way.
func (c *conn) commit() {
	if u := c.burst; u != nil {
		c.burst = nil
		u.commit()
	}
}

func (c *conn) pump() {
	if c.delivery != nil {
		c.session.pump(c.delivery)
		c.session.kickGroups()
	}
}

func (c *conn) handle(f mqtt.Frame) *refused {
	switch f.Type() {
	case mqtt.PUBLISH:
		return c.handlePublish(f)
	case mqtt.PUBACK:
		if err := c.in.Decoder.Ack(f, &c.ack); err != nil {
			return refuseError(err)
		}
		c.pubacks = true
		return c.session.acknowledge(c.delivery, c.ack.PacketID)
	case mqtt.PUBREC, mqtt.PUBREL, mqtt.PUBCOMP:
		return c.handleStep(f)
	}
	p, err := c.in.Decoder.Packet(f)
	if err != nil {
		return refuseError(err)
	}
	switch p := p.(type) {
	case *mqtt.Ping:
		c.out.add(func(buf []byte) []byte { return append(buf, byte(mqtt.PINGRESP)<<4, 0) })
		return nil
	case *mqtt.Subscribe:
		return c.handleSubscribe(p)
	case *mqtt.Unsubscribe:
		return c.handleUnsubscribe(p)
	case *mqtt.Disconnect:
		return c.handleDisconnect(p)
	case *mqtt.Connect:
		return refuse(mqtt.ProtocolError, "a second CONNECT [MQTT-3.1.0-2]")
	}
	return refuse(mqtt.ProtocolError, "%s is not served", p.Type())
}

// handlePublish puts one publish into the burst, or refuses it.
func (c *conn) handlePublish(f mqtt.Frame) *refused {
	v := &c.view
	if err := c.in.Decoder.Publish(f, v); err != nil {
		return refuseError(err)
	}
	if v.QoS > 1 && !c.spec {
		return refuse(mqtt.QoSNotSupported, "QoS 2 is not served: publish with QoS 0 or 1")
	}
	if v.QoS > 0 {
		if c.room--; c.room < 0 && c.version == mqtt.V5 {
			return refuse(mqtt.ReceiveMaximumExceeded, "more than %d unacknowledged publishes (Receive Maximum)", c.limits.Inbound)
		}
	}
	if v.QoS > 1 && c.session.has(v.PacketID) {
		c.answer(ack{kind: mqtt.PUBREC, id: v.PacketID, again: true})
		return nil
	}
	topic, r := c.resolveAlias(v)
	if r != nil {
		return r
	}
	if r := c.limits.checkPayload(len(v.Payload)); r != nil {
		return r.on("iot:Publish", c.b.gate.ARN("topic/"+string(topic)))
	}
	way := c.route(topic)
	why := way.refused
	if why == nil && v.Retain {
		if why = way.mayRetain(c); why == nil {
			if why = c.b.checkRoom(way.topic, len(v.Payload)); why != nil {
				why.on("iot:RetainPublish", c.b.gate.ARN("topic/"+way.topic))
			}
		}
	}
	if why != nil {
		return c.denyPublish(way, why)
	}
	if !c.rates.publish() {
		return c.tooFast()
	}
	return c.accept(way)
}

// accept runs the publish in c.view through the rules and into the burst.
func (c *conn) accept(way *route) *refused {
	v := &c.view
	if c.burst == nil {
		c.burst = c.b.newBurst(c)
	}
	u := c.burst
	m := u.message(v.Payload, c.in.Buffered()+len(v.Payload))
	m.Topic, m.QoS, m.Retain = way.topic, v.QoS, v.Retain
	m.ClientID, m.Principal, m.SourceIP = c.subject.ClientID, c.principal, c.subject.SourceIP
	if len(v.PropBytes) > 0 {
		c.setProperties(m, v.Properties())
	}
	out := u.publish(item{m: m, targets: way.targets, from: c.session, stored: way.stored})
	if out.Unavailable != nil {
		return c.unavailable(out.Unavailable)
	}
	switch v.QoS {
	case 1:
		u.acks = append(u.acks, ack{kind: mqtt.PUBACK, id: v.PacketID, code: c.taken(way, out)})
		u.counted++
	case 2:
		c.keep(u, v.PacketID)
	}
	return nil
}

// taken is the reason code for a publish with QoS 1 that was accepted: version 5
// lets the server say that there is nobody to get it (section 3.4.2.1); AWS does
// not.
func (c *conn) taken(way *route, out message.Outcome) mqtt.ReasonCode {
	if c.spec && c.version == mqtt.V5 && len(way.targets) == 0 && !out.Matched && !c.isReserved(way.topic) {
		return mqtt.NoMatchingSubscribers
	}
	return mqtt.Success
}

// answer puts an answer to a packet into the burst, which follows everything
// that came before it.
func (c *conn) answer(a ack) {
	if c.burst == nil {
		c.burst = c.b.newBurst(c)
	}
	c.burst.acks = append(c.burst.acks, a)
	if a.kind == mqtt.PUBACK || a.code.Failed() && a.kind == mqtt.PUBREC {
		c.burst.counted++
	}
}

// answerKind is the packet that answers a PUBLISH.
func answerKind(qos byte) mqtt.Type {
	if qos > 1 {
		return mqtt.PUBREC
	}
	return mqtt.PUBACK
}

// unavailable answers a publish whose effects cannot be stored for now.
func (c *conn) unavailable(err error) *refused {
	r := refuseStore(err)
	if c.view.QoS == 0 {
		c.b.counters.dropped.Add(1)
		return nil
	}
	if c.version != mqtt.V5 {
		return r // the reader commits the burst before it ends the connection
	}
	c.answer(ack{kind: answerKind(c.view.QoS), id: c.view.PacketID, code: r.code, reason: r.reason})
	return nil
}

// denyPublish answers a publish that is not allowed: version 5 with a failed
// PUBACK, 3.1.1 by closing (AWS IoT developer guide, "MQTT": a client that is
// not authorized is disconnected).
func (c *conn) denyPublish(way *route, why *refused) *refused {
	if c.version != mqtt.V5 {
		return why
	}
	if now := time.Now(); now.Sub(way.recorded) >= recordEvery {
		way.recorded = now
		c.deny(why)
	} else {
		c.b.counters.denied.Add(1)
	}
	if c.view.QoS > 0 {
		c.answer(ack{kind: answerKind(c.view.QoS), id: c.view.PacketID, code: why.code, reason: why.reason})
	}
	return nil
}

// resolveAlias returns the publish's topic, also when it came as an alias
// (section 3.3.2.3.4). The policy is asked about this one.
func (c *conn) resolveAlias(v *mqtt.PublishView) ([]byte, *refused) {
	if v.TopicAlias == 0 {
		return v.Topic, nil
	}
	a := int(v.TopicAlias)
	if a > c.limits.TopicAliases {
		return nil, refuse(mqtt.TopicAliasInvalid, "topic alias %d, the most is %d [MQTT-3.3.2-9]", a, c.limits.TopicAliases)
	}
	if len(v.Topic) > 0 {
		if c.aliases == nil {
			c.aliases = make([]string, c.limits.TopicAliases+1)
		}
		if c.aliases[a] != string(v.Topic) {
			c.aliases[a] = string(v.Topic)
		}
		return v.Topic, nil
	}
	if c.aliases == nil || c.aliases[a] == "" {
		return nil, refuse(mqtt.ProtocolError, "topic alias %d was never given a topic (section 3.3.2.3.4)", a)
	}
	return []byte(c.aliases[a]), nil
}

// Message expiry is kept between these (AWS IoT Core quotas, "message expiry").
const (
	expiryMin = 1
	expiryMax = 604800
)

// setProperties takes over what a v5 publish says about its message.
func (c *conn) setProperties(m *message.Message, p *mqtt.Properties) {
	m.UTF8Payload = p.PayloadFormat.Or(0) == 1
	m.ContentType, m.ResponseTopic = p.ContentType.Or(""), p.ResponseTopic.Or("")
	m.CorrelationData = p.CorrelationData
	if p.MessageExpiry.Set {
		seconds := p.MessageExpiry.Value
		if !c.spec {
			seconds = min(max(seconds, expiryMin), expiryMax)
		}
		m.Expiry = m.Time.Add(time.Duration(seconds) * time.Second)
	}
	for _, u := range p.UserProperties {
		m.UserProperties = append(m.UserProperties, message.UserProperty(u))
	}
}

// handleDisconnect ends the connection as the client wishes; without reason
// code 4 its will is not published (section 3.14).
func (c *conn) handleDisconnect(p *mqtt.Disconnect) *refused {
	if p.Props != nil && p.Props.SessionExpiry.Set {
		if r := c.session.setExpiry(p.Props.SessionExpiry.Value, c.limits.SessionExpiryMax); r != nil {
			return r
		}
	}
	if p.Code != mqtt.DisconnectWithWill {
		c.will = nil
	}
	return errGoodbye
}
