package broker

import (
	"testing"
	"time"

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
	for topic, seconds := range map[string]uint32{"x": 1, "y": 3600} {
		pub.publish(topic, "ends", retained, func(p *mqtt.Publish) { p.Props = &mqtt.Properties{MessageExpiry: mqtt.Some(seconds)} })
	}
	list, more, err := w.b.RetainedMessages("", 2)
	if err != nil || !more || len(list) != 2 || list[0].Topic != "a" || string(list[1].Payload) != "at b" {
		t.Errorf("got %v %v %v", list, more, err)
	}
	if list, more, _ = w.b.RetainedMessages("b", 9); more || len(list) < 2 || list[0].Topic != "c" {
		t.Errorf("got %v %v", list, more)
	}
	if m, err := w.b.Retained("y"); m == nil || err != nil {
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
