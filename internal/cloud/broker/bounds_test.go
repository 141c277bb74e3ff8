package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

func TestRetainedMessagesAreBounded(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]Limits{"number": {Retained: 2}, "bytes": {RetainedBytes: 300}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, limits, nil)
			p, _ := w.connect(clean(mqtt.V5, "p"))
			big := strings.Repeat("x", 100)
			for _, topic := range []string{"a", "b", "a"} { // the second a replaces the first
				if a := p.publish(topic, big, retained); a.Code != mqtt.Success {
					t.Fatalf("%s: PUBACK %v", topic, a.Code)
				}
			}
			if a := p.publish("c", big, retained); a.Code != mqtt.QuotaExceeded || !strings.Contains(a.Props.ReasonString.Value, "retained messages") {
				t.Errorf("one too many: PUBACK %v %+v", a.Code, a.Props)
			}
			w.refused("iot:RetainPublish", "topic/c", "retained messages")
			invalid := &TopicError{}
			if _, err := w.b.Publish(t.Context(), &message.Message{Topic: "c", Payload: []byte(big), Retain: true}); !errors.As(err, &invalid) {
				t.Errorf("over HTTP: %v", err)
			}
			before := w.b.Status()
			w.restart()
			if st := w.b.Status(); st.Retained != 2 || st.Retained != before.Retained || st.RetainedBytes != before.RetainedBytes {
				t.Errorf("after a restart %d retained with %d bytes, before %d with %d", st.Retained, st.RetainedBytes, before.Retained, before.RetainedBytes)
			}
			p, _ = w.connect(clean(mqtt.V5, "p"))
			p.publish("a", "", retained) // deletes
			if a := p.publish("c", big, retained); a.Code != mqtt.Success {
				t.Errorf("after one was deleted: PUBACK %v", a.Code)
			}
		})
	}
}

// TestFailedCommitLeavesTheBooks of retained messages as they were.
func TestFailedCommitLeavesTheBooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	fail := errors.New("no")
	w.rules.set(func(b *store.Batch, _ *message.Message) message.Outcome {
		b.BeforeApply(func() error { return fail })
		return message.Outcome{}
	})
	if _, err := w.b.Publish(t.Context(), &message.Message{Topic: "a", Payload: []byte("x"), Retain: true}); !errors.Is(err, fail) {
		t.Fatalf("publish: %v", err)
	}
	if st := w.b.Status(); st.Retained != 0 || st.RetainedBytes != 0 {
		t.Errorf("%d retained with %d bytes", st.Retained, st.RetainedBytes)
	}
}

// TestQueuesTogetherAreBounded: what does not fit is counted, what is
// acknowledged or ends makes room, and a restart counts the same.
func TestQueuesTogetherAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{QueuesBytes: 1000}, nil)
	for i := range 4 {
		c, _ := w.connect(lasting(mqtt.V5, fmt.Sprint("c", i)))
		c.subscribe(1, "s", "$share/g/s")
		w.disconnect(c)
	}
	p, _ := w.connect(clean(mqtt.V5, "p"))
	for range 5 {
		if a := p.publish("s", strings.Repeat("x", 80)); a.Code != mqtt.Success {
			t.Fatalf("PUBACK %v", a.Code)
		}
	}
	st := w.b.Status()
	if st.QueuedBytes > 1000 || st.QueuedBytes < 900 || st.Dropped != uint64(25-st.Queued) {
		t.Fatalf("%d queued with %d bytes, %d dropped", st.Queued, st.QueuedBytes, st.Dropped)
	}
	w.restart()
	if again := w.b.Status(); again.QueuedBytes != st.QueuedBytes || again.Queued != st.Queued {
		t.Errorf("after a restart %d queued with %d bytes", again.Queued, again.QueuedBytes)
	}
	for i := range 4 {
		c, _ := w.connect(clean(mqtt.V5, fmt.Sprint("c", i)))
		w.disconnect(c)
	}
	if st := w.b.Status(); st.QueuedBytes != 0 || st.Queued != 0 {
		t.Errorf("after the end of all sessions %d queued with %d bytes", st.Queued, st.QueuedBytes)
	}
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Address: 2, countLoopback: true}, nil)
	a, _ := w.connect(clean(mqtt.V5, "a"))
	half, err := net.Dial("tcp", w.addr) // counts before its handshake
	if err != nil {
		t.Fatal(err)
	}
	w.until("it is counted", func() bool { return w.b.addresses.Open() == 2 })
	if nc, err := tls.Dial("tcp", w.addr, w.tlsConfig(w.pki.client(t, "c"))); err == nil {
		t.Error("a third connection was served")
		_ = nc.Close()
	}
	if n := w.b.Status().TurnedAway; n != 1 {
		t.Errorf("%d turned away", n)
	}
	_ = half.Close()
	w.disconnect(a)
	w.until("they are gone", func() bool { return w.b.addresses.Open() == 0 })
	b, _ := w.connect(clean(mqtt.V5, "b"))
	b.expectNothing()
}

// TestRates: with the switch, and not without it.
func TestRates(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		w := newWorld(t, Limits{Rates: on, Inbound: 1000}, nil)
		p, _ := w.connect(clean(mqtt.V5, "p"))
		codes := map[mqtt.ReasonCode]int{}
		sent := 0
		burst := func() {
			for i := range 150 {
				p.send(&mqtt.Publish{Topic: "a", QoS: 1, PacketID: uint16(i + 1)})
			}
			for range 150 {
				codes[expect[*mqtt.Ack](p).Code]++
			}
			sent += 150
		}
		for burst(); on && codes[mqtt.QuotaExceeded] == 0; { // a slow machine is not too fast at once
			burst()
		}
		if refused := codes[mqtt.QuotaExceeded]; on != (refused > 0) || codes[mqtt.Success] < 100 || codes[mqtt.Success]+refused != sent {
			t.Errorf("rates %v: PUBACKs %v", on, codes)
		}
		if st := w.b.Status(); st.Throttled != uint64(codes[mqtt.QuotaExceeded]) {
			t.Errorf("rates %v: %d throttled", on, st.Throttled)
		}
		if on {
			w.b.mu.Lock()
			w.b.connects["p"] = time.Now().Add(time.Hour) // however slow this machine is
			w.b.mu.Unlock()
		}
		again := w.dial(w.pki.client(t, "p"))
		again.version, again.in.Version = mqtt.V5, mqtt.V5
		again.send(clean(mqtt.V5, "p"))
		want := mqtt.Success
		if on {
			want = mqtt.QuotaExceeded
		}
		if a := expect[*mqtt.Connack](again); a.Code != want {
			t.Errorf("rates %v: a CONNECT at once: CONNACK %v, want %v", on, a.Code, want)
		}
		other, _ := w.specPeer(clean(mqtt.V5, "p")) // the standards know no rates
		for range 150 {
			if code := other.publish("a", "").Code; code.Failed() {
				t.Fatalf("rates %v: PUBACK %v in the mode Spec", on, code)
			}
		}
	}
}

func TestBuckets(t *testing.T) { synctest.Test(t, buckets) } // where time stands still

func buckets(t *testing.T) {
	r := newRates()
	for i := range ratePublishes {
		if !r.publish() {
			t.Fatalf("publish %d is refused", i)
		}
	}
	r.publishes.last = r.publishes.last.Add(-500 * time.Millisecond)
	n := 0
	for r.publish() {
		n++
	}
	if n != 50 {
		t.Errorf("half a second gave %d publishes", n)
	}
	if wait := r.received(rateBytes); wait > 0 {
		t.Errorf("a second's worth of bytes waits %v", wait)
	}
	if wait := r.received(rateBytes); wait != time.Second {
		t.Errorf("another second's worth waits %v", wait)
	}
	if a, b := r.takeStored(100), r.takeStored(100); a != rateStored || b != 0 {
		t.Errorf("stored: %d, then %d", a, b)
	}
}

// TestStoredMessagesArePaced after a return, and all of them come in order.
func TestStoredMessagesArePaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Rates: true}, nil)
	a, _ := w.connect(lasting(mqtt.V5, "a"))
	a.subscribe(1, "s")
	w.disconnect(a)
	for i := range 16 {
		if _, err := w.b.Publish(context.Background(), &message.Message{Topic: "s", Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	w.b.mu.Lock()
	clear(w.b.connects)
	w.b.mu.Unlock()
	start := time.Now()
	a, _ = w.connect(lasting(mqtt.V5, "a"))
	for i := range 16 {
		a.receive("s", fmt.Sprint(i))
	}
	if since := time.Since(start); since < 500*time.Millisecond {
		t.Errorf("16 stored messages came within %v", since)
	}
}
