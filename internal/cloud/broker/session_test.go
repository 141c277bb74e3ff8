package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{KeepAliveMin: 300 * time.Millisecond, KeepAliveMax: 300 * time.Millisecond}, nil)
		const silence = 450 * time.Millisecond // one and a half times the keep alive
		var c *peer
		var start time.Time
		for alive := false; !alive; { // again when this machine was silent for so long itself
			heard := time.Now()
			c, _ = w.connect(clean(v, "c"))
			start, alive = time.Now(), true
			for alive && time.Since(start) < silence+50*time.Millisecond {
				time.Sleep(100 * time.Millisecond)
				before := heard
				heard = time.Now()
				_, _ = c.nc.Write([]byte{0xC0, 0}) // a ping
				if _, alive = c.next().(*mqtt.Ping); !alive && time.Since(before) < silence {
					t.Fatalf("ended %v after a ping", time.Since(before))
				}
			}
		}
		if v == mqtt.V5 {
			if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.KeepAliveTimeout {
				t.Errorf("DISCONNECT %v", d.Code)
			}
		}
		c.expectEnd()
		if since := time.Since(start); since < 2*silence {
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

// disconnect0 sends DISCONNECT and waits for the end, whatever comes before.
func (w *world) disconnect0(c *peer) {
	c.send(&mqtt.Disconnect{})
	for c.next() != nil {
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
	start, wait := time.Now(), w.b.limits.ConnectWithin
	w.close()
	if since := time.Since(start); since >= wait {
		t.Errorf("close took %v: it waited for a client", since)
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
