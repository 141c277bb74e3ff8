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
		PayloadFormat: mqtt.Some[byte](1), MessageExpiry: mqtt.Some[uint32](100_000), ContentType: mqtt.Some("text/plain"), ResponseTopic: mqtt.Some("back"),
		CorrelationData: []byte{1, 2}, UserProperties: []mqtt.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}},
	}
	check := func(p *mqtt.Publish) {
		t.Helper()
		if left := p.Props.MessageExpiry.Value; left < 50_000 || left > 100_000 {
			t.Errorf("%d s left", left)
		}
		p.Props.MessageExpiry.Value = 100_000
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
