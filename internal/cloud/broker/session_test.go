package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

func TestRetained(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		pub, _ := w.connect(clean(v, "pub"))
		sub, _ := w.connect(clean(v, "sub"))
		sub.subscribe(1, "a/#")
		pub.publish("a/x", "one", retained)
		pub.publish("a/x", "two", retained)
		for _, want := range []string{"one", "two"} {
			if p := sub.receive("a/x", want); p.Retain {
				t.Error("RETAIN on a delivery that no SUBSCRIBE caused")
			}
		}
		w.restart()
		sub, _ = w.connect(clean(v, "sub"))
		sub.subscribe(1, "a/x")
		if p := sub.receive("a/x", "two"); !p.Retain || p.QoS != 1 {
			t.Errorf("got %+v", p)
		}
		sub.subscribe(0, "a/+", "a/#")
		sub.expectNothing()
		pub, _ = w.connect(clean(v, "pub"))
		pub.send(&mqtt.Publish{Topic: "a/x", Retain: true}) // empty: removes, and is delivered
		sub.receive("a/x", "")
		sub.subscribe(1, "a/x")
		sub.expectNothing()
	})
}

func TestRetainedLists(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	for _, topic := range []string{"c", "a", "b"} {
		pub.publish(topic, "at "+topic, retained)
	}
	pub.publish("x", "soon gone", retained, func(p *mqtt.Publish) { p.Props = &mqtt.Properties{MessageExpiry: mqtt.Some[uint32](1)} })
	list, more, err := w.b.RetainedMessages("", 2)
	if err != nil || !more || len(list) != 2 || list[0].Topic != "a" || string(list[1].Payload) != "at b" {
		t.Errorf("got %v %v %v", list, more, err)
	}
	if list, more, _ = w.b.RetainedMessages("b", 9); more || len(list) != 2 || list[0].Topic != "c" {
		t.Errorf("got %v %v", list, more)
	}
	if m, err := w.b.Retained("x"); m == nil || err != nil {
		t.Errorf("got %v %v", m, err)
	}
	time.Sleep(1100 * time.Millisecond)
	if m, err := w.b.Retained("x"); m != nil || err != nil {
		t.Errorf("an expired one: %v %v", m, err)
	}
}

func TestRetainHandlingAndOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	c, _ := w.connect(clean(mqtt.V5, "c"))
	c.publish("a", "kept", retained)
	sub := func(o mqtt.Subscription) {
		o.Filter = "a"
		c.send(&mqtt.Subscribe{PacketID: 7, Filters: []mqtt.Subscription{o}})
		expect[*mqtt.Suback](c)
	}
	sub(mqtt.Subscription{RetainHandling: 2})
	c.expectNothing()
	sub(mqtt.Subscription{RetainHandling: 1}) // not new
	c.expectNothing()
	sub(mqtt.Subscription{RetainHandling: 0})
	c.receive("a", "kept")
	sub(mqtt.Subscription{RetainHandling: 2, NoLocal: true})
	c.publish("a", "own")
	c.expectNothing()
	sub(mqtt.Subscription{RetainHandling: 2, RetainAsPublished: true})
	c.send(&mqtt.Publish{Topic: "a", Payload: []byte("flag"), Retain: true})
	if p := c.receive("a", "flag"); !p.Retain {
		t.Error("RETAIN was not kept as published")
	}
}

func TestWill(t *testing.T) {
	t.Parallel()
	withWill := func(c *mqtt.Connect) *mqtt.Connect {
		c.Will = &mqtt.Will{Topic: "gone/" + c.ClientID, Payload: []byte("bye"), QoS: 1, Retain: true}
		return c
	}
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{KeepAliveMin: 200 * time.Millisecond}, nil)
		watch, _ := w.connect(clean(v, "watch"))
		watch.subscribe(1, "gone/+")
		receive := func(id string) {
			t.Helper()
			if p := watch.receive("gone/"+id, "bye"); p.QoS != 1 || p.Retain {
				t.Errorf("got %+v", p)
			}
		}
		polite, _ := w.connect(withWill(clean(v, "polite")))
		w.disconnect(polite)

		lost, _ := w.connect(withWill(clean(v, "lost")))
		lost.close()
		receive("lost")

		silent := withWill(clean(v, "silent"))
		silent.KeepAlive = 1 // ends after 1.5 s
		_, _ = w.connect(silent)
		receive("silent")

		first, _ := w.connect(withWill(clean(v, "twice")))
		_, _ = w.connect(clean(v, "twice"))
		receive("twice")
		if v == mqtt.V5 {
			if d := expect[*mqtt.Disconnect](first); d.Code != mqtt.SessionTakenOver {
				t.Errorf("DISCONNECT %v", d.Code)
			}
		}
		first.expectEnd()
		if v == mqtt.V5 {
			angry, _ := w.connect(withWill(clean(v, "angry")))
			angry.send(&mqtt.Disconnect{Code: mqtt.DisconnectWithWill})
			receive("angry")
		}
		if m, err := w.b.Retained("gone/lost"); err != nil || m == nil || string(m.Payload) != "bye" {
			t.Errorf("retained will: %v %v", m, err)
		}
		if m, _ := w.b.Retained("gone/polite"); m != nil {
			t.Error("a will was published after DISCONNECT")
		}
	})
}

func TestDeniedWill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Publish", "topic/gone")
	c := clean(mqtt.V5, "c")
	c.Will = &mqtt.Will{Topic: "gone"}
	p := w.dial(w.pki.client(t, "c"))
	p.version, p.in.Version = mqtt.V5, mqtt.V5
	p.send(c)
	if a := expect[*mqtt.Connack](p); a.Code != mqtt.NotAuthorized {
		t.Errorf("CONNACK %v", a.Code)
	}
	p.expectEnd()
	w.refused("iot:Publish", "topic/gone", "statement 2")
	// allowed at CONNECT, denied when it is due
	w.gate.deny(nil)
	p, _ = w.connect(c)
	w.gate.denyAction("iot:Publish", "topic/gone")
	_, before := w.refusals.Recent(0)
	p.close()
	w.until("a refusal of the will", func() bool { _, n := w.refusals.Recent(0); return n > before })
	if w.rules.seen.Load() != 0 {
		t.Error("the will was published")
	}
}

func TestDelayedWill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	watch, _ := w.connect(clean(mqtt.V5, "watch"))
	watch.subscribe(0, "gone")
	c := lasting(mqtt.V5, "c")
	c.Will = &mqtt.Will{Topic: "gone", Payload: []byte("bye"), Props: &mqtt.Properties{WillDelay: mqtt.Some[uint32](1)}}
	p, _ := w.connect(c)
	p.close()
	w.until("it is away", func() bool { return w.b.Status().Connections == 1 })
	p, _ = w.connect(c) // back in time: no will
	start := time.Now()
	p.close()
	watch.receive("gone", "bye")
	if since := time.Since(start); since < 900*time.Millisecond {
		t.Errorf("the will came after %v", since)
	}
	watch.expectNothing()
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{KeepAliveMin: 300 * time.Millisecond, KeepAliveMax: 300 * time.Millisecond}, nil)
		c, _ := w.connect(clean(v, "c"))
		start := time.Now()
		for range 5 {
			c.expectNothing() // a ping
			time.Sleep(100 * time.Millisecond)
		}
		if v == mqtt.V5 {
			if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.KeepAliveTimeout {
				t.Errorf("DISCONNECT %v", d.Code)
			}
		}
		c.expectEnd()
		if since := time.Since(start); since < 850*time.Millisecond {
			t.Errorf("ended after %v", since)
		}
	})
}

func TestConnectDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{ConnectWithin: 200 * time.Millisecond}, nil)
	p := w.dial(w.pki.client(t, "slow"))
	p.write([]byte{0x10, 0x20, 0, 4})
	p.expectEnd()
	w.refused("MQTT", "", "no CONNECT within")
}

// A stranger's length must not make the broker take memory: it is refused as
// soon as it is read.
func TestHugeConnectIsRefusedByItsLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	p := w.dial(w.pki.client(t, "huge"))
	p.write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	p.expectEnd()
	w.refused("MQTT", "", "at most 65536 are accepted")
}

func TestPersistentSessionSurvivesRestart(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		sub, a := w.connect(lasting(v, "sub"))
		if a.SessionPresent {
			t.Error("session present on the first CONNECT")
		}
		sub.subscribe(1, "a/+")
		pub, _ := w.connect(clean(v, "pub"))
		for i := range 5 {
			pub.publish("a/x", fmt.Sprint(i))
		}
		sub.receive("a/x", "0")
		for i := 1; i < 5; i++ { // received, never acknowledged
			expect[*mqtt.Publish](sub)
		}
		sub.expectNothing()
		sub.close()
		w.until("it is away", func() bool { return w.b.Status().Connections == 1 })
		pub.publish("a/x", "5")
		pub.send(&mqtt.Publish{Topic: "a/x", Payload: []byte("QoS 0 is not kept")})
		pub.expectNothing()
		if n := w.b.Status().Queued; n != 5 {
			t.Errorf("%d queued, want 5", n)
		}

		w.restart()
		if st := w.b.Status(); st.Queued != 5 || st.Sessions != 1 || st.Subscriptions != 1 {
			t.Errorf("after restart: %+v", st)
		}
		sub, a = w.connect(lasting(v, "sub"))
		if !a.SessionPresent {
			t.Error("session not present after restart")
		}
		for i := 1; i < 6; i++ {
			sub.receive("a/x", fmt.Sprint(i))
		}
		pub, _ = w.connect(clean(v, "pub"))
		pub.publish("a/x", "6")
		sub.receive("a/x", "6")
		sub.expectNothing()
		w.disconnect(sub)
		w.restart()
		sub, a = w.connect(lasting(v, "sub"))
		if !a.SessionPresent {
			t.Error("session not present")
		}
		sub.expectNothing() // all acknowledged
		sub.send(&mqtt.Unsubscribe{PacketID: 9, Filters: []string{"a/+"}})
		expect[*mqtt.Unsuback](sub)
		w.restart()
		if n := w.b.Status().Subscriptions; n != 0 {
			t.Errorf("%d subscriptions after UNSUBSCRIBE and restart", n)
		}
	})
}

// What is on disk at the moment of the publisher's PUBACK is all that a
// restart after kill -9 would find: a copy of the store is that restart.
func TestQueuedBeforeAck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	sub, _ := w.connect(lasting(mqtt.V311, "sub"))
	sub.subscribe(1, "a")
	sub.close()
	pub, _ := w.connect(clean(mqtt.V311, "pub"))
	for i := range 20 {
		pub.publish("a", fmt.Sprint(i))
		n := 0
		err := w.b.scan([]byte{byte(store.SpaceQueue)}, func(_, _ []byte) error { n++; return nil })
		if err != nil || n != i+1 {
			t.Fatalf("after PUBACK %d the store has %d entries, %v", i, n, err)
		}
	}
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	t.Run("clean start", func(t *testing.T) {
		eachVersion(t, func(t *testing.T, v byte) {
			w := newWorld(t, Limits{}, nil)
			c, _ := w.connect(lasting(v, "c"))
			c.subscribe(1, "a")
			w.disconnect(c)
			pub, _ := w.connect(clean(v, "pub"))
			pub.publish("a", "x")
			c, a := w.connect(clean(v, "c"))
			if a.SessionPresent {
				t.Error("session present")
			}
			pub.publish("a", "y")
			c.expectNothing()
			w.disconnect(c)
			empty(t, w)
		})
	})
	t.Run("other version", func(t *testing.T) {
		eachVersion(t, func(t *testing.T, v byte) {
			w := newWorld(t, Limits{}, nil)
			c, _ := w.connect(lasting(v, "c"))
			c.subscribe(1, "a")
			w.disconnect(c)
			other, a := w.connect(lasting(mqtt.V311+mqtt.V5-v, "c"))
			if a.SessionPresent {
				t.Error("a session went from one version to the other")
			}
			other.publish("a", "y")
			other.expectNothing()
		})
	})
	t.Run("expiry", func(t *testing.T) {
		w := newWorld(t, Limits{SessionExpiry: time.Second}, nil)
		c, _ := w.connect(lasting(mqtt.V311, "c"))
		c.subscribe(1, "a")
		w.disconnect(c)
		w.restart() // the time goes on
		w.until("the session is gone", func() bool { return w.b.Status().Sessions == 0 })
		empty(t, w)
	})
	t.Run("DISCONNECT", func(t *testing.T) {
		w := newWorld(t, Limits{}, nil)
		c, _ := w.connect(lasting(mqtt.V5, "c"))
		c.subscribe(1, "a")
		c.send(&mqtt.Disconnect{Props: &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](0)}})
		c.expectEnd()
		w.until("the session is gone", func() bool { return w.b.Status().Sessions == 0 })
		empty(t, w)
	})
}

// empty expects nothing of sessions in the store but the numbers of their
// connections.
func empty(t *testing.T, w *world) {
	t.Helper()
	w.until("the store has no session", func() bool {
		n := 0
		for _, space := range []store.Space{store.SpaceSession, store.SpaceQueue} {
			n += w.kept([]byte{byte(space)})
		}
		return n == w.kept(presenceKey(""))
	})
}

func TestTakeoverKeepsTheSession(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		first, _ := w.connect(lasting(v, "c"))
		first.subscribe(1, "a")
		pub, _ := w.connect(clean(v, "pub"))
		pub.publish("a", "1")
		expect[*mqtt.Publish](first) // not acknowledged
		second, a := w.connect(lasting(v, "c"))
		if !a.SessionPresent {
			t.Error("session not present")
		}
		second.receive("a", "1")
		pub.publish("a", "2")
		second.receive("a", "2")
		second.expectNothing()
	})
}

// Trap: a device's own publish with the packet id of a message that it has not
// acknowledged must not touch that message.
func TestPacketIDsOfBothDirectionsAreSeparate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	dev, _ := w.connect(lasting(mqtt.V311, "dev"))
	dev.subscribe(1, "cmd")
	pub, _ := w.connect(clean(mqtt.V311, "pub"))
	pub.publish("cmd", "go")
	cmd := expect[*mqtt.Publish](dev)
	dev.send(&mqtt.Publish{Topic: "data", QoS: 1, PacketID: cmd.PacketID})
	if a := expect[*mqtt.Ack](dev); a.PacketID != cmd.PacketID {
		t.Errorf("PUBACK %d", a.PacketID)
	}
	dev.close()
	dev, _ = w.connect(lasting(mqtt.V311, "dev"))
	dev.receive("cmd", "go") // still there
}

// Trap: the policy is asked about the topic behind an alias.
func TestTopicAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Publish", "topic/secret")
	c, _ := w.connect(clean(mqtt.V5, "c"))
	sub, _ := w.connect(clean(mqtt.V5, "sub"))
	sub.subscribe(0, "#")
	alias := func(n uint16) func(*mqtt.Publish) {
		return func(p *mqtt.Publish) { p.Props = &mqtt.Properties{TopicAlias: mqtt.Some(n)} }
	}
	c.publish("open", "1", alias(1))
	c.publish("secret", "2", alias(2))
	if a := c.publish("", "3", alias(2)); a.Code != mqtt.NotAuthorized {
		t.Errorf("PUBACK %v", a.Code)
	}
	if a := c.publish("", "4", alias(1)); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
	c.publish("secret", "5", alias(1))
	if a := c.publish("", "6", alias(1)); a.Code != mqtt.NotAuthorized {
		t.Errorf("PUBACK %v", a.Code)
	}
	sub.receive("open", "1")
	sub.receive("open", "4")
	sub.expectNothing()
}

func TestVersion5PropertiesPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	props := &mqtt.Properties{
		PayloadFormat: mqtt.Some[byte](1), MessageExpiry: mqtt.Some[uint32](100), ContentType: mqtt.Some("text/plain"), ResponseTopic: mqtt.Some("back"),
		CorrelationData: []byte{1, 2}, UserProperties: []mqtt.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}},
	}
	check := func(p *mqtt.Publish) {
		t.Helper()
		if left := p.Props.MessageExpiry.Value; left < 95 || left > 100 {
			t.Errorf("%d s left", left)
		}
		p.Props.MessageExpiry.Value = 100
		if fmt.Sprintf("%+v", p.Props) != fmt.Sprintf("%+v", props) {
			t.Errorf("got %+v", p.Props)
		}
	}
	last, _ := w.connect(lasting(mqtt.V5, "last"))
	last.subscribe(1, "a")
	live, _ := w.connect(clean(mqtt.V5, "live"))
	live.subscribe(1, "a")
	old, _ := w.connect(clean(mqtt.V311, "old"))
	old.subscribe(1, "a")
	w.disconnect(last)
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	pub.publish("a", "x", func(p *mqtt.Publish) { p.Props = props })
	check(live.receive("a", "x"))
	old.receive("a", "x")
	last, _ = w.connect(lasting(mqtt.V5, "last"))
	check(last.receive("a", "x"))
}

func TestMessageExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	last, _ := w.connect(lasting(mqtt.V5, "last"))
	last.subscribe(1, "a")
	w.disconnect(last)
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	pub.publish("a", "old", func(p *mqtt.Publish) { p.Props = &mqtt.Properties{MessageExpiry: mqtt.Some[uint32](0)} }) // counts as 1 s
	pub.publish("a", "new")
	time.Sleep(1100 * time.Millisecond)
	last, _ = w.connect(lasting(mqtt.V5, "last"))
	last.receive("a", "new")
	if st := w.b.Status(); st.Expired != 1 {
		t.Errorf("status %+v", st)
	}
}

func TestReceiveMaximumOfTheClient(t *testing.T) {
	t.Parallel()
	for _, persistent := range []bool{false, true} {
		t.Run(fmt.Sprint("persistent ", persistent), func(t *testing.T) {
			w := newWorld(t, Limits{}, nil)
			c := lasting(mqtt.V5, "c")
			if !persistent {
				c.Props.SessionExpiry = mqtt.Opt[uint32]{}
			}
			c.Props.ReceiveMaximum = mqtt.Some[uint16](3)
			sub, _ := w.connect(c)
			sub.subscribe(1, "a")
			pub, _ := w.connect(clean(mqtt.V5, "pub"))
			for i := range 50 {
				pub.publish("a", fmt.Sprint(i))
			}
			var ids []uint16
			for i := range 50 {
				p := expect[*mqtt.Publish](sub)
				if string(p.Payload) != fmt.Sprint(i) {
					t.Fatalf("got %s, want %d", p.Payload, i)
				}
				if ids = append(ids, p.PacketID); len(ids) == 3 {
					sub.expectNothing() // the window is full
					for _, id := range ids {
						sub.puback(id)
					}
					ids = nil
				}
			}
			sub.expectNothing()
		})
	}
}

func TestReceiveMaximumOfTheBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Inbound: 5}, nil)
	release := make(chan struct{})
	w.rules.set(func(b *store.Batch, m *message.Message) message.Outcome {
		<-release
		return message.Outcome{}
	})
	c, _ := w.connect(clean(mqtt.V5, "c"))
	var packets []mqtt.Packet
	for i := range 6 {
		packets = append(packets, &mqtt.Publish{Topic: "a", QoS: 1, PacketID: uint16(i + 1)})
	}
	c.send(packets...)
	close(release)
	for range 5 {
		expect[*mqtt.Ack](c)
	}
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.ReceiveMaximumExceeded {
		t.Errorf("DISCONNECT %v", d.Code)
	}
}

// A queue that is full drops the newest and counts it; what was promised first
// is delivered.
func TestFullQueueIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{QueueMessages: 10}, nil)
	last, _ := w.connect(lasting(mqtt.V5, "last"))
	last.subscribe(1, "a")
	w.disconnect(last)
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	for i := range 13 {
		if a := pub.publish("a", fmt.Sprint(i)); a.Code != mqtt.Success {
			t.Fatal(a.Code)
		}
	}
	if st := w.b.Status(); st.Dropped != 3 || st.Queued != 10 {
		t.Errorf("status %+v", st)
	}
	if c := w.b.Clients()[0]; c.ClientID != "last" || c.Dropped != 3 || c.Connected {
		t.Errorf("client %+v", c)
	}
	last, _ = w.connect(lasting(mqtt.V5, "last"))
	for i := range 10 {
		last.receive("a", fmt.Sprint(i))
	}
	last.expectNothing()
	pub.publish("a", "again")
	last.receive("a", "again")
}

// What waits in memory counts with its properties, which can take far more
// than the payload.
func TestWaitingPropertiesCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Outbound: 1, QueueBytes: 1 << 20}, nil) // 104857 bytes in memory
	slow, _ := w.connect(clean(mqtt.V5, "slow"))
	slow.subscribe(1, "a")
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	many := &mqtt.Properties{UserProperties: make([]mqtt.UserProperty, 500)} // 1000s of bytes on the wire, 32000 here
	for i := range 10 {
		pub.send(&mqtt.Publish{Topic: "a", QoS: 1, PacketID: uint16(i + 1), Props: many})
		expect[*mqtt.Ack](pub)
	}
	w.until("six are dropped", func() bool { return w.b.Status().Dropped >= 6 }) // the last PUBACK comes before the delivery
	if st := w.b.Status(); st.Dropped != 6 {
		t.Errorf("dropped %d messages, want 6: one is in flight, three fit", st.Dropped)
	}
}

func TestWaitingMessageLetsItsBurstGo(t *testing.T) {
	burst := []byte("abc")
	m := &message.Message{Topic: "a", Payload: burst[1:2:2]}
	one := alone(m)
	burst[1] = 'x'
	if one == m || string(one.Payload) != "b" || one.Topic != "a" {
		t.Errorf("%+v", one)
	}
}

// A subscriber that does not read must not stop the publisher or fill the
// memory.
func TestSlowSubscriberIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Output: 64 << 10, WriteWithin: 300 * time.Millisecond}, nil)
	slow, _ := w.connect(clean(mqtt.V311, "slow"))
	slow.subscribe(0, "a")
	pub, _ := w.connect(clean(mqtt.V311, "pub"))
	payload := strings.Repeat("x", 100<<10)
	for range 150 { // more than the kernel's buffers take
		pub.publish("a", payload)
	}
	if st := w.b.Status(); st.Dropped == 0 {
		t.Errorf("status %+v", st)
	}
	w.until("the client that takes nothing is closed", func() bool { return w.b.Status().Connections == 1 })
}

func TestMaximumPacketSizeOfTheClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	c := lasting(mqtt.V5, "small")
	c.Props.MaximumPacketSize = mqtt.Some[uint32](100)
	small, _ := w.connect(c)
	small.subscribe(1, "a")
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	pub.publish("a", strings.Repeat("x", 100))
	pub.publish("a", "fits")
	small.receive("a", "fits")
	small.expectNothing()
	w.until("nothing is queued", func() bool { st := w.b.Status(); return st.Queued == 0 && st.Dropped == 1 })
}

func TestUnavailableIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.rules.set(func(b *store.Batch, m *message.Message) message.Outcome {
		switch string(m.Payload) {
		case "full":
			return message.Outcome{Unavailable: fmt.Errorf("put item: %w", store.ErrFull)}
		case "broken":
			return message.Outcome{Unavailable: errors.New("no")}
		}
		return message.Outcome{}
	})
	v5, _ := w.connect(clean(mqtt.V5, "five"))
	v5.subscribe(1, "#")
	if a := v5.publish("a", "full"); a.Code != mqtt.QuotaExceeded || !strings.Contains(a.Props.ReasonString.Value, "data disk is full") {
		t.Errorf("PUBACK %v %+v", a.Code, a.Props)
	}
	if a := v5.publish("a", "broken"); a.Code != mqtt.UnspecifiedError {
		t.Errorf("PUBACK %v", a.Code)
	}
	v5.expectNothing() // not delivered either
	v3, _ := w.connect(clean(mqtt.V311, "three"))
	v3.send(&mqtt.Publish{Topic: "b", Payload: []byte("ok"), QoS: 1, PacketID: 1}, &mqtt.Publish{Topic: "b", Payload: []byte("full"), QoS: 1, PacketID: 2})
	if a := expect[*mqtt.Ack](v3); a.PacketID != 1 {
		t.Errorf("PUBACK %d", a.PacketID)
	}
	v3.expectEnd()
}

func TestFailedCommitIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	v5, _ := w.connect(clean(mqtt.V5, "five"))
	v5.subscribe(1, "#")
	v3, _ := w.connect(clean(mqtt.V311, "three"))
	last, _ := w.connect(lasting(mqtt.V311, "last"))
	last.subscribe(1, "#")
	w.disconnect(last)
	if err := w.store.Close(); err != nil { // every commit fails from now on
		t.Fatal(err)
	}
	if a := v5.publish("a", "x"); a.Code != mqtt.UnspecifiedError || !strings.Contains(a.Props.ReasonString.Value, "store is closed") {
		t.Errorf("PUBACK %v %+v", a.Code, a.Props)
	}
	v5.expectNothing()
	v3.send(&mqtt.Publish{Topic: "a", QoS: 1, PacketID: 1})
	v3.expectEnd()
	if _, err := w.b.Publish(t.Context(), &message.Message{Topic: "a"}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("publish: %v", err)
	}
	if n := w.b.Status().Queued; n != 0 {
		t.Errorf("%d queued", n)
	}
}

func TestRepublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.rules.set(func(b *store.Batch, m *message.Message) message.Outcome {
		b.Set(fmt.Appendf(nil, "i%s", m.Topic), m.Payload)
		if m.Depth == 3 {
			return message.Outcome{}
		}
		return message.Outcome{Republish: []*message.Message{{Topic: m.Topic + "/next", Payload: m.Payload, QoS: 1, Depth: m.Depth + 1}}}
	})
	c, _ := w.connect(lasting(mqtt.V311, "c"))
	c.subscribe(1, "a/#")
	c.send(&mqtt.Publish{Topic: "a/x", Payload: []byte("p"), QoS: 1, PacketID: 40})
	expect[*mqtt.Ack](c)
	for _, topic := range []string{"a/x", "a/x/next", "a/x/next/next", "a/x/next/next/next"} {
		if _, found, _ := w.store.Get([]byte("i" + topic)); !found {
			t.Errorf("the store has no %s", topic)
		}
		c.receive(topic, "p")
	}
}

func TestPublishFromOutside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, func(c *Config) { c.BasicIngest = true })
	c, _ := w.connect(clean(mqtt.V5, "c"))
	c.subscribe(1, "a")
	seen := make(chan *message.Message, 1)
	stop := w.b.Watch(seen)
	w.rules.set(func(b *store.Batch, m *message.Message) message.Outcome {
		return message.Outcome{Failed: []*message.Failure{{Rule: "r", Err: errors.New("no")}}, Refused: errors.New("gone")}
	})
	if out, err := w.b.Publish(t.Context(), &message.Message{Topic: "$aws/rules/r/x"}); err != nil || len(out.Failures()) != 2 {
		t.Errorf("basic ingest: %+v, %v", out, err)
	}
	<-seen
	out, err := w.b.Publish(t.Context(), &message.Message{Topic: "a", Payload: []byte("x"), QoS: 1, Retain: true, Time: time.Now()})
	if err != nil || len(out.Failed) != 1 {
		t.Errorf("got %+v, %v", out, err)
	}
	c.receive("a", "x")
	if m := <-seen; m.Topic != "a" {
		t.Errorf("watched %+v", m)
	}
	if m, _ := w.b.Retained("a"); m == nil {
		t.Error("not retained")
	}
	stop()
	for _, m := range []*message.Message{{Topic: "a/+"}, {Topic: ""}, {Topic: "$aws/x"}, {Topic: "a", Payload: make([]byte, 1<<18)}} {
		var refused *TopicError
		if _, err := w.b.Publish(t.Context(), m); !errors.As(err, &refused) {
			t.Errorf("%q: %v", m.Topic, err)
		}
	}
	if len(seen) != 0 {
		t.Error("the watcher saw more after it stopped")
	}
}

// Messages of one publisher arrive in its order, also through a backlog on
// disk and across connections.
func TestOrderThroughBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Outbound: 7}, nil)
	sub, _ := w.connect(lasting(mqtt.V311, "sub"))
	sub.subscribe(1, "a/+")
	pub, _ := w.connect(clean(mqtt.V311, "pub"))
	const n = 600
	go func() {
		var buf []byte
		for i := range n {
			buf, _ = (&mqtt.Publish{Topic: fmt.Sprint("a/", i%3), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i + 1)}).Append(buf, mqtt.V311)
			if i%50 == 49 {
				_, _ = pub.nc.Write(buf)
				buf = nil
			}
		}
	}()
	for want := 0; want < n; {
		p, ok := sub.next(5 * time.Second).(*mqtt.Publish)
		if !ok {
			t.Fatalf("no message %d", want)
		}
		if string(p.Payload) != fmt.Sprint(want) {
			t.Fatalf("got %s, want %d", p.Payload, want)
		}
		sub.puback(p.PacketID)
		want++
		if want%200 == 0 { // the connection is lost; some acknowledgements may be too
			w.disconnect0(sub)
			sub, _ = w.connect(lasting(mqtt.V311, "sub"))
		}
	}
	for i := range n {
		if a := expect[*mqtt.Ack](pub); int(a.PacketID) != i+1 {
			t.Fatalf("PUBACK %d, want %d", a.PacketID, i+1)
		}
	}
	w.until("nothing is queued", func() bool { return w.b.Status().Queued == 0 })
}

// disconnect0 sends DISCONNECT and waits for the end, whatever comes before.
func (w *world) disconnect0(c *peer) {
	c.send(&mqtt.Disconnect{})
	for c.next(5*time.Second) != nil {
	}
	w.until("the connection is gone", func() bool { return !w.live(c) })
}

func TestClose(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	v5, _ := w.connect(clean(mqtt.V5, "five"))
	c := clean(mqtt.V311, "three")
	c.Will = &mqtt.Will{Topic: "gone"}
	v3, _ := w.connect(c)
	half := w.dial(w.pki.client(t, "half"))
	start := time.Now()
	w.close()
	if since := time.Since(start); since > time.Second {
		t.Errorf("close took %v", since)
	}
	if d := expect[*mqtt.Disconnect](v5); d.Code != mqtt.ServerShuttingDown {
		t.Errorf("DISCONNECT %v", d.Code)
	}
	v5.expectEnd()
	v3.expectEnd()
	half.expectEnd()
	if w.rules.seen.Load() != 1 {
		t.Error("the will was not published")
	}
	w.open()
	ctx := t.Context()
	if err := w.b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.b.Publish(ctx, &message.Message{Topic: "a"}); !errors.Is(err, ErrClosed) {
		t.Errorf("publish: %v", err)
	}
}
