package broker

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// specPeer connects to the listener in the mode Spec and expects success.
func (w *world) specPeer(p *mqtt.Connect) (*peer, *mqtt.Connack) {
	w.t.Helper()
	c := w.specDial(p.Version)
	c.send(p)
	ack := expect[*mqtt.Connack](c)
	if ack.Code != mqtt.Success {
		w.t.Fatalf("CONNACK %v %+v", ack.Code, ack.Props)
	}
	return c, ack
}

func (w *world) specDial(version byte) *peer {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.specAddr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	return &peer{t: w.t, nc: nc, version: version, in: mqtt.NewReader(nc, mqtt.Decoder{From: mqtt.FromServer, Version: version})}
}

// step sends a PUBREC, PUBREL or PUBCOMP.
func (c *peer) step(kind mqtt.Type, id uint16) { c.send(&mqtt.Ack{Kind: kind, PacketID: id}) }

// stepped expects one with success.
func (c *peer) stepped(kind mqtt.Type, id uint16) {
	c.t.Helper()
	if a := expect[*mqtt.Ack](c); a.Kind != kind || a.PacketID != id || a.Code != mqtt.Success {
		c.t.Fatalf("got %+v, want %v %d", a, kind, id)
	}
}

// publish2 publishes with QoS 2 to the end of the exchange.
func (c *peer) publish2(id uint16, topic, payload string) {
	c.t.Helper()
	c.send(&mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: 2, PacketID: id})
	c.stepped(mqtt.PUBREC, id)
	c.step(mqtt.PUBREL, id)
	c.stepped(mqtt.PUBCOMP, id)
}

// got expects a message and leaves it unacknowledged.
func (c *peer) got(topic, payload string, qos byte) *mqtt.Publish {
	c.t.Helper()
	p := expect[*mqtt.Publish](c)
	if p.Topic != topic || string(p.Payload) != payload || p.QoS != qos {
		c.t.Fatalf("got %q on %q with QoS %d, want %q on %q with %d", p.Payload, p.Topic, p.QoS, payload, topic, qos)
	}
	return p
}

func (c *peer) finish2(id uint16) {
	c.t.Helper()
	c.step(mqtt.PUBREC, id)
	c.stepped(mqtt.PUBREL, id)
	c.step(mqtt.PUBCOMP, id)
}

func inBoth(t *testing.T, f func(t *testing.T, w *world, v byte)) {
	for _, v := range []byte{mqtt.V311, mqtt.V5} {
		t.Run(fmt.Sprint("level ", v), func(t *testing.T) { f(t, newWorld(t, Limits{}, nil), v) })
	}
}

// A PUBLISH with QoS 2 that is sent again, on the same connection, on the next
// one and after a restart, is one message until PUBREL.
func TestQoS2InboundIsExactlyOnce(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		sub, _ := w.specPeer(clean(v, "sub"))
		sub.subscribe(2, "a")
		pub, _ := w.specPeer(lasting(v, "pub"))
		p := &mqtt.Publish{Topic: "a", Payload: []byte("1"), QoS: 2, PacketID: 7}
		pub.send(p)
		pub.stepped(mqtt.PUBREC, 7)
		sub.finish2(sub.got("a", "1", 2).PacketID)
		p.Dup = true
		pub.send(p)
		pub.stepped(mqtt.PUBREC, 7)
		pub.close()
		w.restart()
		sub, _ = w.specPeer(clean(v, "sub"))
		sub.subscribe(2, "a")
		pub, ack := w.specPeer(lasting(v, "pub"))
		if !ack.SessionPresent {
			t.Fatal("the session is not there")
		}
		pub.send(p)
		pub.stepped(mqtt.PUBREC, 7)
		sub.expectNothing()
		pub.step(mqtt.PUBREL, 7)
		pub.stepped(mqtt.PUBCOMP, 7)
		w.restart() // PUBCOMP was on disk: the id is free
		sub, _ = w.specPeer(clean(v, "sub"))
		sub.subscribe(2, "a")
		pub, _ = w.specPeer(lasting(v, "pub"))
		pub.publish2(7, "a", "2")
		sub.finish2(sub.got("a", "2", 2).PacketID)
		sub.expectNothing()
	})
}

// On resume the unacknowledged messages come again in order, with DUP and the
// same packet ids, also after a restart; and PUBREL without PUBLISH where PUBREC
// was received.
func TestQoS2OutboundResumes(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		sub, _ := w.specPeer(lasting(v, "sub"))
		sub.subscribe(2, "a/+")
		pub, _ := w.specPeer(clean(v, "pub"))
		var ids []uint16
		for i := range 4 {
			pub.publish2(uint16(i+1), "a/b", fmt.Sprint(i))
			ids = append(ids, sub.got("a/b", fmt.Sprint(i), 2).PacketID)
		}
		sub.finish2(ids[0])
		sub.step(mqtt.PUBREC, ids[1])
		sub.stepped(mqtt.PUBREL, ids[1])
		sub.close()
		for range 2 {
			w.restart()
			sub, _ = w.specPeer(lasting(v, "sub"))
			sub.stepped(mqtt.PUBREL, ids[1])
			for i := 2; i < 4; i++ {
				if p := sub.got("a/b", fmt.Sprint(i), 2); !p.Dup || p.PacketID != ids[i] {
					t.Fatalf("DUP %v, id %d, want %d", p.Dup, p.PacketID, ids[i])
				}
			}
			sub.expectNothing()
		}
		sub.step(mqtt.PUBCOMP, ids[1])
		sub.finish2(ids[2])
		sub.finish2(ids[3])
		sub.expectNothing()
		w.until("all is done", func() bool { c := w.b.Clients(); return len(c) == 1 && c[0].Queued == 0 })
		sub.close()
		w.restart()
		sub, _ = w.specPeer(lasting(v, "sub"))
		sub.expectNothing()
	})
}

// What was queued while the client was away has no DUP, and comes in order.
func TestSpecOfflineQueue(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		sub, _ := w.specPeer(lasting(v, "sub"))
		sub.subscribe(2, "q/#")
		w.disconnect(sub)
		pub, _ := w.specPeer(clean(v, "pub"))
		for i := range 3 {
			pub.publish2(uint16(i+1), fmt.Sprint("q/", i), "x")
		}
		pub.publish("q", "parent")
		sub, ack := w.specPeer(lasting(v, "sub"))
		if !ack.SessionPresent {
			t.Error("session present is 0")
		}
		var ids []uint16
		for i := range 3 {
			p := sub.got(fmt.Sprint("q/", i), "x", 2)
			if p.Dup {
				t.Error("DUP is set on a first delivery")
			}
			ids = append(ids, p.PacketID)
		}
		sub.got("q", "parent", 1)
		for _, id := range ids {
			sub.finish2(id)
		}
	})
}

// A client that comes back with another version of MQTT goes on with its
// session, and the next process knows which version it has.
func TestSpecOtherVersion(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		other := mqtt.V311 + mqtt.V5 - v
		sub, _ := w.specPeer(lasting(v, "sub"))
		sub.subscribe(2, "q")
		w.disconnect(sub)
		pub, _ := w.specPeer(clean(v, "pub"))
		pub.publish2(1, "q", "x")
		w.disconnect(pub)
		for range 2 {
			sub, ack := w.specPeer(lasting(other, "sub"))
			if !ack.SessionPresent {
				t.Error("session present is 0")
			}
			sub.got("q", "x", 2)
			w.disconnect(sub)
			w.restart()
			if c := w.b.Clients(); len(c) != 1 || c[0].Version != other {
				t.Errorf("after a restart: %+v", c)
			}
		}
	})
}

// A message with QoS 2 reaches a client of AWS's mode with QoS 1, also out of
// the queue, and a/# does not match a there.
func TestModesShareTopics(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	aws, _ := w.connect(lasting(mqtt.V5, "aws"))
	aws.subscribe(1, "a/#")
	spec, _ := w.specPeer(clean(mqtt.V5, "spec"))
	spec.subscribe(2, "a/#")
	pub, _ := w.specPeer(clean(mqtt.V5, "pub"))
	pub.publish2(1, "a/b", "1")
	if p := aws.receive("a/b", "1"); p.QoS != 1 {
		t.Errorf("QoS %d", p.QoS)
	}
	spec.finish2(spec.got("a/b", "1", 2).PacketID)
	w.disconnect(aws)
	pub.publish2(2, "a", "parent")
	spec.finish2(spec.got("a", "parent", 2).PacketID)
	pub.publish2(3, "a/b", "2")
	spec.finish2(spec.got("a/b", "2", 2).PacketID)
	aws, _ = w.connect(lasting(mqtt.V5, "aws"))
	if p := aws.receive("a/b", "2"); p.QoS != 1 {
		t.Errorf("QoS %d", p.QoS)
	}
	aws.publish("a/c", "3")
	aws.receive("a/c", "3")
	spec.got("a/c", "3", 1)
}

func TestSpecRetained(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	pub, _ := w.specPeer(clean(mqtt.V5, "pub"))
	for i := range 600 { // more than one burst
		pub.publish(fmt.Sprintf("r/%03d", i), "x", retained)
	}
	pub.publish("other", "x", retained)
	pub.publish("p/q", "parent", retained)
	sub, _ := w.specPeer(clean(mqtt.V5, "sub"))
	sub.subscribe(0, "r/#")
	for i := range 600 {
		if p := sub.got(fmt.Sprintf("r/%03d", i), "x", 0); !p.Retain {
			t.Fatal("RETAIN is 0")
		}
	}
	sub.subscribe(0, "p/q/#")
	if p := sub.got("p/q", "parent", 0); !p.Retain {
		t.Fatal("RETAIN is 0")
	}
	sub.expectNothing()
	handling := func(filter string, h byte) {
		sub.send(&mqtt.Subscribe{PacketID: 9, Filters: []mqtt.Subscription{{Filter: filter, QoS: 1, RetainHandling: h, RetainAsPublished: true}}})
		expect[*mqtt.Suback](sub)
	}
	handling("+", 2)
	sub.expectNothing()
	handling("+", 1) // not new
	sub.expectNothing()
	handling("+", 0)
	if p := sub.receive("other", "x"); !p.Retain {
		t.Error("RETAIN is 0")
	}
	pub.publish("other", "", retained)
	if p := sub.receive("other", ""); !p.Retain {
		t.Error("Retain As Published is not kept")
	}
	handling("+", 0)
	sub.expectNothing()
}

// Each message of overlapping subscriptions comes once, with the highest QoS and
// all identifiers; these are kept with a persistent session.
func TestSubscriptionIdentifiers(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	sub, ack := w.specPeer(lasting(mqtt.V5, "sub"))
	if ack.Props.SubscriptionIDAvailable.Or(1) != 1 || ack.Props.MaximumQoS.Set {
		t.Errorf("CONNACK %+v", ack.Props)
	}
	for i, s := range []mqtt.Subscription{{Filter: "a/+", QoS: 1}, {Filter: "a/#", QoS: 2}, {Filter: "a/b", QoS: 0, NoLocal: true}} {
		p := &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{s}}
		if i < 2 {
			p.Props = &mqtt.Properties{SubscriptionIDs: []uint32{uint32(200 - i)}}
		}
		sub.send(p)
		if a := expect[*mqtt.Suback](sub); a.Codes[0] != mqtt.ReasonCode(s.QoS) {
			t.Errorf("granted %v", a.Codes)
		}
	}
	sub.send(&mqtt.Publish{Topic: "a/b", Payload: []byte("1"), QoS: 2, PacketID: 5})
	for range 2 {
		switch p := sub.next().(type) {
		case *mqtt.Publish:
			if p.QoS != 2 || p.Props == nil || !slices.Equal(p.Props.SubscriptionIDs, []uint32{199, 200}) {
				t.Errorf("got %+v %+v", p, p.Props)
			}
		case *mqtt.Ack:
		default:
			t.Fatalf("got %T", p)
		}
	}
	sub.expectNothing()
	w.restart()
	sub, _ = w.specPeer(lasting(mqtt.V5, "sub"))
	if p := sub.got("a/b", "1", 2); p.Props == nil || !slices.Equal(p.Props.SubscriptionIDs, []uint32{199, 200}) || !p.Dup {
		t.Errorf("got %+v %+v", p, p.Props)
	}
	sub.send(&mqtt.Publish{Topic: "a/x", QoS: 0})
	if p := sub.got("a/x", "", 0); !slices.Equal(p.Props.SubscriptionIDs, []uint32{199, 200}) {
		t.Errorf("got %+v", p.Props)
	}
}

func TestSpecConnect(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	_, ack := w.specPeer(&mqtt.Connect{Version: mqtt.V5, Props: &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](0xFFFFFFFF)}})
	if !ack.Props.AssignedClientID.Set || ack.Props.ServerKeepAlive.Set || ack.Props.SessionExpiry.Set {
		t.Errorf("CONNACK %+v", ack.Props)
	}
	w.specPeer(&mqtt.Connect{Version: mqtt.V311, CleanStart: true})
	c := w.specDial(mqtt.V311)
	c.write([]byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 10, 0, 0}) // empty id, no clean session
	if a := expect[*mqtt.Connack](c); a.Code != mqtt.ClientIdentifierNotValid {
		t.Errorf("got %v", a.Code)
	}
	c.expectEnd()
	c = w.specDial(mqtt.V311)
	c.write([]byte{0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 10, 0, 1, 'c'}) // MQTT 3.1
	if a := expect[*mqtt.Connack](c); a.Code != mqtt.Success {
		t.Errorf("got %v", a.Code)
	}
	c = w.specDial(mqtt.V311)
	c.write([]byte{0x10, 14, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 10, 0, 0}) // which wants a client id
	if a := expect[*mqtt.Connack](c); a.Code != mqtt.ClientIdentifierNotValid {
		t.Errorf("got %v", a.Code)
	}
	for range 2 { // and does not know "session present"
		c = w.specDial(mqtt.V311)
		c.write([]byte{0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 0, 0, 10, 0, 1, 's'})
		if a := expect[*mqtt.Connack](c); a.Code != mqtt.Success || a.SessionPresent {
			t.Errorf("got %+v", a)
		}
		w.disconnect(c)
	}
	c = w.specDial(mqtt.V311) // and sends some packets again with DUP
	c.write([]byte{0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 10, 0, 1, 'c'})
	expect[*mqtt.Connack](c)
	c.write([]byte{0x8A, 6, 0, 1, 0, 1, 'a', 0, 0x6A, 2, 0, 9, 0xAA, 5, 0, 2, 0, 1, 'a'})
	expect[*mqtt.Suback](c)
	c.stepped(mqtt.PUBCOMP, 9)
	expect[*mqtt.Unsuback](c)
	c = w.specDial(mqtt.V5)
	p := clean(mqtt.V5, "auth")
	p.Props = &mqtt.Properties{AuthMethod: mqtt.Some("SCRAM")}
	c.send(p)
	if a := expect[*mqtt.Connack](c); a.Code != mqtt.BadAuthenticationMethod {
		t.Errorf("got %v", a.Code)
	}
	c.expectEnd()
	w.gate.denyAction("iot:Connect", "nobody")
	c = w.specDial(mqtt.V311)
	c.send(clean(mqtt.V311, "nobody"))
	if a := expect[*mqtt.Connack](c); a.Code != mqtt.NotAuthorized {
		t.Errorf("got %v", a.Code)
	}
	c.expectEnd()
}

// Topics beyond AWS's shapes and with a first level of $ are served, those of
// the cloud are not.
func TestSpecTopics(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		c, _ := w.specPeer(clean(v, "$c"))
		long := "1/2/3/4/5/6/7/8/9/10"
		c.subscribe(2, "#", "$a/#", long)
		for _, topic := range []string{long, "$a/b", "$a"} {
			c.send(&mqtt.Publish{Topic: topic, Payload: []byte("x")})
			c.got(topic, "x", 0)
		}
		if a := c.subscribe(1, "$aws/x", "a/#/b/#"[:3]); a.Codes[0] < 0x80 || a.Codes[1] != 1 {
			t.Errorf("granted %v", a.Codes)
		}
		c.expectNothing()
	})
}

func TestServerTopicAliases(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	p := clean(mqtt.V5, "c")
	p.Props = &mqtt.Properties{TopicAliasMaximum: mqtt.Some[uint16](1)}
	c, _ := w.specPeer(p)
	c.subscribe(0, "+")
	for range 2 {
		c.send(&mqtt.Publish{Topic: "a"}, &mqtt.Publish{Topic: "b"})
	}
	if first := expect[*mqtt.Publish](c); first.Topic != "a" || first.Props.TopicAlias.Or(0) != 1 {
		t.Errorf("got %+v", first)
	}
	if b := c.got("b", "", 0); b.Props != nil {
		t.Errorf("got %+v", b.Props)
	}
	if again := expect[*mqtt.Publish](c); again.Topic != "" || again.Props.TopicAlias.Or(0) != 1 {
		t.Errorf("got %+v", again)
	}
	c.got("b", "", 0)
	c.subscribe(2, "+")
	other, _ := w.specPeer(clean(mqtt.V311, "other"))
	other.publish2(1, "a", "x")
	named := c.got("a", "x", 2) // under its name, too
	if named.Props.TopicAlias.Or(0) != 1 {
		t.Errorf("got %+v", named.Props)
	}
	c.finish2(named.PacketID)
}

// The quotas of version 5 hold in both directions, with QoS 2.
func TestSpecFlowControl(t *testing.T) {
	w := newWorld(t, Limits{}, func(c *Config) { c.SpecLimits.Inbound = 2 })
	p := lasting(mqtt.V5, "sub")
	p.Props.ReceiveMaximum = mqtt.Some[uint16](2)
	sub, _ := w.specPeer(p)
	sub.subscribe(2, "a")
	pub, ack := w.specPeer(clean(mqtt.V5, "pub"))
	if ack.Props.ReceiveMaximum.Or(0) != 2 {
		t.Errorf("CONNACK %+v", ack.Props)
	}
	for i := range 4 {
		pub.publish2(uint16(i+1), "a", fmt.Sprint(i))
	}
	first, second := sub.got("a", "0", 2), sub.got("a", "1", 2)
	sub.expectNothing()
	sub.step(mqtt.PUBREC, first.PacketID)
	sub.stepped(mqtt.PUBREL, first.PacketID)
	sub.expectNothing() // PUBREC frees nothing
	sub.step(mqtt.PUBCOMP, first.PacketID)
	sub.got("a", "2", 2)
	sub.finish2(second.PacketID)
	sub.got("a", "3", 2)
	for i := range 3 {
		pub.send(&mqtt.Publish{Topic: "b", QoS: 2, PacketID: uint16(i + 1)})
	}
	for {
		if d, ok := pub.next().(*mqtt.Disconnect); ok {
			if d.Code != mqtt.ReceiveMaximumExceeded {
				t.Errorf("got %v", d.Code)
			}
			return
		}
	}
}

// Unknown packet ids are answered, and an acknowledgement of the wrong kind ends
// the connection.
func TestQoS2Mistakes(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	c, _ := w.specPeer(lasting(mqtt.V5, "c"))
	c.step(mqtt.PUBREL, 9)
	if a := expect[*mqtt.Ack](c); a.Kind != mqtt.PUBCOMP || a.Code != mqtt.PacketIdentifierNotFound {
		t.Errorf("got %+v", a)
	}
	c.step(mqtt.PUBREC, 9)
	if a := expect[*mqtt.Ack](c); a.Kind != mqtt.PUBREL || a.Code != mqtt.PacketIdentifierNotFound {
		t.Errorf("got %+v", a)
	}
	c.step(mqtt.PUBCOMP, 9)
	c.expectNothing()
	w.gate.denyAction("iot:Publish", "secret")
	c.send(&mqtt.Publish{Topic: "secret", QoS: 2, PacketID: 3})
	if a := expect[*mqtt.Ack](c); a.Kind != mqtt.PUBREC || a.Code != mqtt.NotAuthorized {
		t.Errorf("got %+v", a)
	}
	c.subscribe(2, "a")
	c.send(&mqtt.Publish{Topic: "a", QoS: 2, PacketID: 3}) // the refused one is over
	var id uint16
	for range 2 {
		if p, ok := c.next().(*mqtt.Publish); ok {
			id = p.PacketID
		}
	}
	c.puback(id)
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.ProtocolError {
		t.Errorf("got %v", d.Code)
	}
}

// TestAnswersOfAnotherKind end the connection, in all versions.
func TestAnswersOfAnotherKind(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		for _, bad := range []struct {
			qos   byte
			after []mqtt.Type // that are in order
			kind  mqtt.Type
		}{{1, nil, mqtt.PUBREC}, {1, nil, mqtt.PUBCOMP}, {2, nil, mqtt.PUBACK}, {2, nil, mqtt.PUBCOMP}, {2, []mqtt.Type{mqtt.PUBREC}, mqtt.PUBACK}} {
			c, _ := w.specPeer(clean(v, "c"))
			c.subscribe(bad.qos, "other")
			if _, err := w.b.Publish(t.Context(), &message.Message{Topic: "other", QoS: 2}); err != nil {
				t.Fatal(err)
			}
			id := expect[*mqtt.Publish](c).PacketID
			for _, kind := range bad.after {
				c.step(kind, id)
				c.stepped(mqtt.PUBREL, id)
			}
			c.step(bad.kind, id)
			if v == mqtt.V5 {
				if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.ProtocolError {
					t.Errorf("%+v: got %v", bad, d.Code)
				}
			}
			c.expectEnd()
		}
	})
}

// TestPacketIDsBeginWithOne in each session, whatever came before it, and go on
// over a restart: some clients and tests have no room for others.
func TestPacketIDsBeginWithOne(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		publish := func(topic string) {
			t.Helper()
			if _, err := w.b.Publish(t.Context(), &message.Message{Topic: topic, QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"c", "d"} {
			c, _ := w.specPeer(lasting(v, id))
			c.subscribe(1, id)
			for want := range uint16(3) {
				publish(id)
				if p := expect[*mqtt.Publish](c); p.PacketID != want+1 {
					t.Errorf("%s: packet id %d, want %d", id, p.PacketID, want+1)
				}
			}
			c.puback(1)
			c.puback(2)
			w.disconnect(c)
		}
		w.restart()
		d, _ := w.specPeer(lasting(v, "d"))
		if p := expect[*mqtt.Publish](d); p.PacketID != 3 || !p.Dup {
			t.Errorf("after a restart: packet id %d, DUP %v", p.PacketID, p.Dup)
		}
		d.puback(3)
		publish("d")
		if p := expect[*mqtt.Publish](d); p.PacketID != 4 || p.Dup {
			t.Errorf("then packet id %d, DUP %v", p.PacketID, p.Dup)
		}
	})
}

// TestPacketIDsOfNewNumbers: what comes for a session while its client is away has
// one packet id for good, also when sequence numbers began anew before it.
func TestPacketIDsOfNewNumbers(t *testing.T) {
	inBoth(t, func(t *testing.T, w *world, v byte) {
		publish := func(topic string) {
			t.Helper()
			if _, err := w.b.Publish(t.Context(), &message.Message{Topic: topic, QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := w.specPeer(lasting(v, "before"))
		before.subscribe(1, "before")
		for range 5 {
			publish("before")
			before.puback(expect[*mqtt.Publish](before).PacketID)
		}
		c, _ := w.specPeer(lasting(v, "c"))
		c.subscribe(1, "c")
		w.disconnect(c)
		w.disconnect(before)
		w.restart() // nothing is queued
		for range 3 {
			publish("c")
		}
		w.restart()
		c, _ = w.specPeer(lasting(v, "c"))
		for want := range uint16(3) {
			if p := expect[*mqtt.Publish](c); p.PacketID != want+1 {
				t.Errorf("packet id %d, want %d", p.PacketID, want+1)
			}
		}
		c.puback(2)
		c.puback(3)
		w.disconnect(c)
		w.restart()
		c, _ = w.specPeer(lasting(v, "c"))
		if p := expect[*mqtt.Publish](c); p.PacketID != 1 || !p.Dup {
			t.Errorf("again: packet id %d, DUP %v", p.PacketID, p.Dup)
		}
	})
}

// TestNobodyGetsIt is said in version 5, but not instead of a failure, and not
// when a rule takes the message.
func TestNobodyGetsIt(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	c, _ := w.specPeer(clean(mqtt.V5, "c"))
	if a := c.publish("a", ""); a.Code != mqtt.NoMatchingSubscribers {
		t.Errorf("nobody: %v", a.Code)
	}
	w.rules.set(func(*store.Batch, *message.Message) message.Outcome { return message.Outcome{Matched: true} })
	if a := c.publish("a", ""); a.Code != mqtt.Success {
		t.Errorf("a rule: %v", a.Code)
	}
	w.rules.set(func(b *store.Batch, _ *message.Message) message.Outcome {
		b.BeforeApply(func() error { return errors.New("no") })
		return message.Outcome{}
	})
	if a := c.publish("a", ""); !a.Code.Failed() {
		t.Errorf("not stored: %v", a.Code)
	}
	w.rules.set(nil)
	c.subscribe(0, "a")
	c.send(&mqtt.Publish{Topic: "a", QoS: 1, PacketID: 99})
	for range 2 {
		if a, ok := c.next().(*mqtt.Ack); ok && a.Code != mqtt.Success {
			t.Errorf("a subscriber: %v", a.Code)
		}
	}
	aws, _ := w.connect(clean(mqtt.V5, "aws"))
	if a := aws.publish("b", ""); a.Code != mqtt.Success {
		t.Errorf("as on AWS: %v", a.Code)
	}
}

func TestWhatIsLeftOfAnExpiry(t *testing.T) {
	m := &message.Message{Topic: "a", Expiry: time.Now().Add(9*time.Second + 900*time.Millisecond)}
	if aws, spec := properties(m, false).MessageExpiry.Value, properties(m, true).MessageExpiry.Value; aws != 9 || spec != 10 {
		t.Errorf("AWS %d s, spec %d s", aws, spec)
	}
}

// A shared subscription is granted QoS 1 and no more, says so, matches a with
// a/#, carries its identifier, and takes filters beyond AWS's shapes.
func TestSpecShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	sub, _ := w.specPeer(clean(mqtt.V5, "sub"))
	deep := "1/2/3/4/5/6/7/8/9/#"
	sub.send(&mqtt.Subscribe{PacketID: 1, Props: &mqtt.Properties{SubscriptionIDs: []uint32{7}}, Filters: []mqtt.Subscription{{Filter: "$share/g/a/#", QoS: 2}, {Filter: "$share/g/" + deep, QoS: 0}}})
	if a := expect[*mqtt.Suback](sub); a.Codes[0] != 1 || a.Codes[1] != 0 {
		t.Errorf("granted %v", a.Codes)
	}
	pub, _ := w.specPeer(clean(mqtt.V5, "pub"))
	for i, topic := range []string{"a", "a/b", "1/2/3/4/5/6/7/8/9/10"} {
		pub.publish2(uint16(i+1), topic, "x")
		p := sub.got(topic, "x", byte(1-i/2))
		if p.Props == nil || !slices.Equal(p.Props.SubscriptionIDs, []uint32{7}) {
			t.Errorf("%s: %+v", topic, p.Props)
		}
		if p.QoS > 0 {
			sub.puback(p.PacketID)
		}
	}
	if a := sub.subscribe(1, "$share/g/$aws/x", "$share/"+strings.Repeat("n", 129)+"/a"); !a.Codes[0].Failed() || !a.Codes[1].Failed() {
		t.Errorf("granted %v", a.Codes)
	}
	sub.expectNothing()
}
