package client

import (
	"context"
	"errors"
	"fmt"

	"mote/internal/mqtt"
)

// Publish sends p with QoS 0 or 1; p.PacketID and p.Dup are not used. It blocks
// only while as many QoS 1 messages are in flight as allowed, or while the
// network is slow. Messages published by one goroutine go out in its order.
//
// onAck, which may be nil, is called exactly once when Publish returns nil: for
// QoS 1 with nil after a PUBACK that says success, with a [*PubackError] after
// one that does not, and with Err() when the connection ends before; for QoS 0
// with nil before Publish returns. When Publish returns an error, the message
// was not sent and onAck is not called: an [*mqtt.Error] says that this server
// will never take this message, any other error is about the connection or ctx.
//
// p's payload must not be changed while Publish runs; it is copied.
func (c *Conn) Publish(ctx context.Context, p *mqtt.Publish, onAck func(error)) error {
	if err := c.check(p); err != nil {
		return err
	}
	q := *p
	q.Dup, q.PacketID = false, 0
	if q.QoS == 0 {
		if err := c.enqueue(ctx, &q, pending{}); err != nil {
			return err
		}
		if onAck != nil {
			onAck(nil)
		}
		return nil
	}
	if err := c.takeSlot(ctx); err != nil {
		return err
	}
	err := c.enqueue(ctx, &q, pending{kind: mqtt.PUBACK, onAck: onAck})
	if err != nil {
		<-c.slots
	}
	return err
}

// check refuses what the server said in CONNACK that it does not take.
func (c *Conn) check(p *mqtt.Publish) error {
	if err := mqtt.ValidTopic(p.Topic); err != nil {
		return err
	}
	refuse := func(code mqtt.ReasonCode, format string, args ...any) error {
		return &mqtt.Error{Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	most, retain := byte(1), byte(1)
	if s := c.ack.Props; s != nil {
		most, retain = min(most, s.MaximumQoS.Or(2)), s.RetainAvailable.Or(1)
	}
	switch {
	case p.QoS > most && most == 1:
		return refuse(mqtt.QoSNotSupported, "QoS %d; this client publishes with 0 and 1", p.QoS)
	case p.QoS > most:
		return refuse(mqtt.QoSNotSupported, "QoS %d; the server takes only QoS %d [MQTT-3.2.2-11]", p.QoS, most)
	case p.Retain && retain == 0:
		return refuse(mqtt.RetainNotSupported, "a retained message; the server keeps none [MQTT-3.2.2-14]")
	}
	return nil
}

// takeSlot waits until one more publish may be in flight.
func (c *Conn) takeSlot(ctx context.Context) error {
	if c.isOver() {
		return c.overError()
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closing:
		return c.Err()
	}
}

func (c *Conn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended || c.leaving
}

// overError is what requests get that come too late.
func (c *Conn) overError() error {
	if err := c.Err(); err != nil {
		return err
	}
	return ErrClosed
}

// setID gives a packet its identifier.
func setID(p mqtt.Packet, id uint16) {
	switch p := p.(type) {
	case *mqtt.Publish:
		p.PacketID = id
	case *mqtt.Subscribe:
		p.PacketID = id
	case *mqtt.Unsubscribe:
		p.PacketID = id
	}
}

// enqueue puts p into the line for the network, and w into pending when it
// waits for an answer.
func (c *Conn) enqueue(ctx context.Context, p mqtt.Packet, w pending) error {
	if err := c.waitRoom(ctx); err != nil {
		return err
	}
	defer c.mu.Unlock()
	if c.leaving {
		return ErrClosed
	}
	id := uint16(0)
	if w.kind != 0 {
		if len(c.pending) == 65535 {
			return errors.New("65535 requests wait for the server's answer, there are no more packet identifiers")
		}
		id = c.freeID()
		setID(p, id)
	}
	out, err := p.Append(c.out, c.o.Version)
	if err != nil {
		return err
	}
	if n := len(out) - len(c.out); c.maxPacket > 0 && n > c.maxPacket {
		return &mqtt.Error{Code: mqtt.PacketTooLarge, Reason: fmt.Sprintf("%s of %d bytes; the server takes at most %d [MQTT-3.2.2-15]", p.Type(), n, c.maxPacket)}
	}
	c.out = out
	if w.kind != 0 {
		c.order++
		w.order, c.lastID = c.order, id
		c.pending[id] = w
	}
	c.wakeWriter()
	return nil
}

// freeID finds a packet identifier that is not in use; mu is held, and not
// all are.
func (c *Conn) freeID() uint16 {
	for id := c.lastID + 1; ; id++ {
		if _, used := c.pending[id]; !used && id != 0 {
			return id
		}
	}
}

// Subscribe subscribes with QoS 0 or 1 and waits for the answer: one code for
// each subscription, in order. The error is not nil also when the server
// refused any of them.
func (c *Conn) Subscribe(ctx context.Context, subs ...mqtt.Subscription) ([]mqtt.ReasonCode, error) {
	filters := make([]string, len(subs))
	for i, s := range subs {
		if s.QoS > 1 {
			return nil, &mqtt.Error{Code: mqtt.QoSNotSupported, Reason: fmt.Sprintf("subscription to %q with QoS %d; this client receives with 0 and 1", s.Filter, s.QoS)}
		}
		filters[i] = s.Filter
	}
	p, err := c.ask(ctx, &mqtt.Subscribe{Filters: subs}, mqtt.SUBACK)
	if err != nil {
		return nil, err
	}
	codes := p.(*mqtt.Suback).Codes
	return codes, failedCode("subscribe to", filters, codes)
}

// Unsubscribe unsubscribes and waits for the answer. In version 3.1.1 there are
// no codes.
func (c *Conn) Unsubscribe(ctx context.Context, filters ...string) ([]mqtt.ReasonCode, error) {
	p, err := c.ask(ctx, &mqtt.Unsubscribe{Filters: filters}, mqtt.UNSUBACK)
	if err != nil {
		return nil, err
	}
	codes := p.(*mqtt.Unsuback).Codes
	if c.o.Version == mqtt.V311 {
		return nil, nil
	}
	return codes, failedCode("unsubscribe from", filters, codes)
}

func failedCode(what string, filters []string, codes []mqtt.ReasonCode) error {
	if len(codes) != len(filters) {
		return fmt.Errorf("the server answered %d filters with %d codes", len(filters), len(codes))
	}
	for i, code := range codes {
		if code.Failed() {
			return fmt.Errorf("the server refused to %s %q: %s", what, filters[i], code)
		}
	}
	return nil
}

// ask sends p and waits for its answer of the given kind.
func (c *Conn) ask(ctx context.Context, p mqtt.Packet, kind mqtt.Type) (mqtt.Packet, error) {
	type answer struct {
		p   mqtt.Packet
		err error
	}
	got := make(chan answer, 1)
	err := c.enqueue(ctx, p, pending{kind: kind, onAnswer: func(p mqtt.Packet, err error) { got <- answer{p, err} }})
	if err != nil {
		return nil, err
	}
	select {
	case a := <-got:
		return a.p, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
