package broker

import (
	"strings"
	"testing"
	"time"

	"mote/internal/mqtt"
)

// What the interoperability suite of Eclipse Paho (paho.mqtt.testing,
// client_test.py and client_test5.py) looks at, as far as no other test does, on
// a listener in the mode Spec. The rest is in spec_test.go: basics with QoS 2,
// offline queues, redelivery, overlapping subscriptions, identifiers, retained
// messages, flow control, aliases of the server, assigned client ids.
func TestInteroperability(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	for name, try := range map[string]func(t *testing.T, w *world){
		"second CONNECT": func(t *testing.T, w *world) {
			c, _ := w.specPeer(clean(mqtt.V5, "twice"))
			c.send(clean(mqtt.V5, "twice"))
			if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.ProtocolError {
				t.Errorf("got %v", d.Code)
			}
			c.expectEnd()
		},
		"wrong protocol name": func(t *testing.T, w *world) {
			c := w.specDial(mqtt.V311)
			c.write([]byte{0x10, 12, 0, 2, 'h', 'j', 5, 2, 0, 10, 0, 0, 1, 'c'})
			if a := expect[*mqtt.Connack](c); a.Code != mqtt.UnsupportedProtocolVersion {
				t.Errorf("got %v", a.Code)
			}
			c.expectEnd()
		},
		"alias of the client": aliasOfTheClient,
		"packets too large":   packetsTooLarge,
		"session expiry":      sessionExpiry,
		"message expiry":      messageExpiry,
		"will delay":          willDelay,
		"request and response, payload format": func(t *testing.T, w *world) {
			a, _ := w.specPeer(clean(mqtt.V5, "asks"))
			b, _ := w.specPeer(clean(mqtt.V5, "answers"))
			for _, c := range []*peer{a, b} {
				c.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "rr", QoS: 2, NoLocal: true}}})
				expect[*mqtt.Suback](c)
			}
			props := &mqtt.Properties{ResponseTopic: mqtt.Some("rr"), CorrelationData: []byte("334"), PayloadFormat: mqtt.Some[byte](1), ContentType: mqtt.Some("text")}
			a.send(&mqtt.Publish{Topic: "rr", Payload: []byte("question"), Props: props})
			q := b.got("rr", "question", 0)
			if q.Props.ResponseTopic.Or("") != "rr" || string(q.Props.CorrelationData) != "334" || q.Props.PayloadFormat.Or(0) != 1 || q.Props.ContentType.Or("") != "text" {
				t.Errorf("got %+v", q.Props)
			}
			b.send(&mqtt.Publish{Topic: q.Props.ResponseTopic.Value, Payload: []byte("answer"), Props: q.Props})
			a.got("rr", "answer", 0)
			a.expectNothing() // not its own question
			b.expectNothing()
		},
		"first level $ and wildcards, unsubscribing": func(t *testing.T, w *world) {
			for _, v := range []byte{mqtt.V311, mqtt.V5} {
				c, _ := w.specPeer(clean(v, "dollar"))
				c.subscribe(2, "+/+/dollar", "dollar/a", "dollar/b")
				c.send(&mqtt.Publish{Topic: "$x/y/dollar"})
				c.expectNothing()
				c.send(&mqtt.Unsubscribe{PacketID: 9, Filters: []string{"dollar/a"}})
				expect[*mqtt.Unsuback](c)
				c.send(&mqtt.Publish{Topic: "dollar/a"}, &mqtt.Publish{Topic: "dollar/b"}, &mqtt.Publish{Topic: "/y/dollar"})
				c.got("dollar/b", "", 0)
				c.got("/y/dollar", "", 0)
				c.expectNothing()
				w.disconnect(c)
			}
		},
		"keep alive": func(t *testing.T, w *world) {
			watch, _ := w.specPeer(clean(mqtt.V5, "watch"))
			watch.subscribe(2, "late")
			p := clean(mqtt.V311, "silent")
			p.KeepAlive, p.Will = 1, &mqtt.Will{Topic: "late", Payload: []byte("keep alive"), QoS: 1}
			start := time.Now()
			w.specPeer(p)
			watch.got("late", "keep alive", 1)
			if since := time.Since(start); since < time.Second {
				t.Errorf("after %v", since)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := *w
			own.t = t
			try(t, &own)
		})
	}
}

func aliasOfTheClient(t *testing.T, w *world) {
	ends := func(alias uint16, topic string) {
		t.Helper()
		c, _ := w.specPeer(lasting(mqtt.V5, "alias"))
		c.write(publishWithAlias(t, topic, alias))
		if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.TopicAliasInvalid && d.Code != mqtt.ProtocolError {
			t.Errorf("got %v", d.Code)
		}
		c.expectEnd()
	}
	ends(0, "t")
	ends(65, "t") // CONNACK says 64
	c, ack := w.specPeer(lasting(mqtt.V5, "alias"))
	if ack.Props.TopicAliasMaximum.Or(0) != 64 {
		t.Errorf("CONNACK %+v", ack.Props)
	}
	c.subscribe(1, "t")
	c.write(publishWithAlias(t, "t", 64))
	c.got("t", "", 0)
	c.write(publishWithAlias(t, "", 64))
	c.got("t", "", 0)
	w.disconnect(c)
	ends(64, "") // aliases end with their connection
}

// publishWithAlias is a QoS 0 PUBLISH, also with an alias that cannot be.
func publishWithAlias(t *testing.T, topic string, alias uint16) []byte {
	t.Helper()
	body := append([]byte{0, byte(len(topic))}, topic...)
	body = append(body, 3, 0x23, byte(alias>>8), byte(alias))
	return append([]byte{0x30, byte(len(body))}, body...)
}

func packetsTooLarge(t *testing.T, w *world) {
	p := clean(mqtt.V5, "small")
	p.Props = &mqtt.Properties{MaximumPacketSize: mqtt.Some[uint32](64)}
	c, ack := w.specPeer(p)
	c.subscribe(2, "size")
	c.send(&mqtt.Publish{Topic: "size", Payload: []byte(strings.Repeat(".", 32))})
	c.got("size", strings.Repeat(".", 32), 0)
	if a := c.publish("size", strings.Repeat(".", 64)); a.Code.Failed() {
		t.Errorf("PUBACK %v", a.Code)
	}
	c.expectNothing()
	most := int(ack.Props.MaximumPacketSize.Or(0))
	c.write([]byte{0x30, byte(most&127 | 128), byte(most>>7&127 | 128), byte(most >> 14)}) // the length alone is enough
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.PacketTooLarge {
		t.Errorf("got %v", d.Code)
	}
}

func sessionExpiry(t *testing.T, w *world) {
	connect := func(seconds uint32, start, present bool) *peer {
		t.Helper()
		p := clean(mqtt.V5, "expiry")
		p.CleanStart, p.Props = start, &mqtt.Properties{SessionExpiry: mqtt.Some(seconds)}
		c, ack := w.specPeer(p)
		if ack.SessionPresent != present {
			t.Errorf("session present is %v", ack.SessionPresent)
		}
		return c
	}
	leave := func(c *peer, props *mqtt.Properties) {
		t.Helper()
		c.send(&mqtt.Disconnect{Props: props})
		c.expectEnd()
		w.until("it is gone", func() bool { return !w.live(c) })
	}
	c := connect(0, true, false)
	c.subscribe(2, "e")
	leave(c, nil)
	c = connect(60, false, false) // 0 ended it at once
	c.subscribe(2, "e")
	leave(c, nil)
	leave(connect(60, false, true), &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](0)})
	leave(connect(1, false, false), &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](60)}) // DISCONNECT has the last word
	time.Sleep(1100 * time.Millisecond)
	leave(connect(1, false, true), nil)
	time.Sleep(1100 * time.Millisecond)
	leave(connect(0, false, false), nil)
}

func messageExpiry(t *testing.T, w *world) {
	sub, _ := w.specPeer(lasting(mqtt.V5, "expires"))
	sub.subscribe(2, "x/#")
	w.disconnect(sub)
	pub, _ := w.specPeer(clean(mqtt.V5, "pub"))
	for i, seconds := range []uint32{1, 600} {
		props := &mqtt.Properties{MessageExpiry: mqtt.Some(seconds)}
		pub.publish("x/1", "qos 1", func(p *mqtt.Publish) { p.Props = props })
		id := uint16(i + 100)
		pub.send(&mqtt.Publish{Topic: "x/2", Payload: []byte("qos 2"), QoS: 2, PacketID: id, Props: props})
		pub.stepped(mqtt.PUBREC, id)
		pub.step(mqtt.PUBREL, id)
		pub.stepped(mqtt.PUBCOMP, id)
	}
	time.Sleep(1100 * time.Millisecond)
	sub, _ = w.specPeer(lasting(mqtt.V5, "expires"))
	for i, want := range []string{"qos 1", "qos 2"} {
		p := sub.got([]string{"x/1", "x/2"}[i], want, byte(i+1))
		if left := p.Props.MessageExpiry.Or(0); left == 0 || left >= 600 {
			t.Errorf("%d s are left", left)
		}
	}
	sub.expectNothing()
}

// willDelay: the will comes after its delay, or at the end of the session when
// that is earlier, and not when the client is back before.
func willDelay(t *testing.T, w *world) {
	watch, _ := w.specPeer(clean(mqtt.V5, "watch2"))
	watch.subscribe(2, "w/#")
	died := map[string]time.Time{}
	dies := func(id string, delay, expiry uint32) {
		p := clean(mqtt.V5, id)
		p.Props = &mqtt.Properties{SessionExpiry: mqtt.Some(expiry)}
		p.Will = &mqtt.Will{Topic: "w/" + id, QoS: 2, Props: &mqtt.Properties{WillDelay: mqtt.Some(delay)}}
		c, _ := w.specPeer(p)
		died[id] = time.Now()
		c.close()
		w.until("it is gone", func() bool { return !w.live(c) })
	}
	wills := map[string]time.Duration{"now": 0, "session": time.Second, "delay": 2 * time.Second}
	dies("back", 2, 60)
	back, _ := w.specPeer(lasting(mqtt.V5, "back"))
	if time.Since(died["back"]) > 1900*time.Millisecond { // on a slow machine it is not back in time
		wills["back"] = 2 * time.Second
	}
	dies("session", 600, 1)
	dies("delay", 2, 600)
	dies("now", 600, 0)
	for len(wills) > 0 {
		p := expect[*mqtt.Publish](watch)
		id := strings.TrimPrefix(p.Topic, "w/")
		after, ok := wills[id]
		if since := time.Since(died[id]); !ok || p.QoS != 2 || since < after-50*time.Millisecond {
			t.Errorf("the will on %s came after %v with QoS %d", p.Topic, since, p.QoS)
		}
		delete(wills, id)
	}
	watch.expectNothing()
	back.expectNothing()
}
