package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

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
	w := newWorld(t, Limits{Output: 64 << 10, WriteWithin: 2 * time.Second}, nil)
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
		p, ok := sub.next().(*mqtt.Publish)
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
