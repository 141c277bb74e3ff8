package broker

import (
	"fmt"
	"testing"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// A client that sends a new publish for each PUBACK always has the whole
// Receive Maximum unacknowledged. However long the deliveries behind a PUBACK
// take, it is never told that it has more.
func TestAFullReceiveMaximumIsNotExceeded(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	for i := range 20 { // so that a delivery takes longer than a PUBACK's way to the client and back
		s, _ := w.connect(clean(mqtt.V5, fmt.Sprint("sub", i)))
		s.subscribe(0, "t/#")
		go func() {
			for s.in.Fill() == nil {
				for ok := true; ok; {
					_, ok, _ = s.in.Next()
				}
			}
		}()
	}
	pub, ack := w.connect(clean(mqtt.V5, "pub"))
	window := int(ack.Props.ReceiveMaximum.Or(65535))
	const messages = 20_000
	sent := 0
	publish := func() {
		sent++
		pub.send(&mqtt.Publish{Topic: "t/a", Payload: []byte("x"), QoS: 1, PacketID: uint16(sent%window + 1)})
	}
	for range window {
		publish()
	}
	for acked := 0; acked < messages; acked++ {
		if a := expect[*mqtt.Ack](pub); a.Code.Failed() {
			t.Fatalf("PUBACK %v", a.Code)
		}
		if sent < messages {
			publish()
		}
	}
}

// A burst whose only write is made at the commit, as that of a table which has
// to see the old item, is not taken for one that has nothing to store.
func TestAWriteThatWaitsForTheCommitIsStored(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	key := []byte("iz")
	w.rules.set(func(b *store.Batch, _ *message.Message) message.Outcome {
		b.BeforeApply(func() error {
			b.Set(key, []byte("x"))
			return nil
		})
		return message.Outcome{}
	})
	pub, _ := w.connect(clean(mqtt.V5, "pub"))
	pub.publish("t/a", "x")
	if _, found, err := w.store.Get(key); err != nil || !found {
		t.Errorf("acknowledged, and not stored (%v)", err)
	}
}
