package broker

import (
	"testing"
	"time"

	"mote/internal/mqtt"
)

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
	c.Will = &mqtt.Will{Topic: "gone", Payload: []byte("early"), Props: &mqtt.Properties{WillDelay: mqtt.Some[uint32](1)}}
	p, _ := w.connect(c)
	start := time.Now()
	p.close()
	w.until("it is away", func() bool { return w.b.Status().Connections == 1 })
	c.Will.Payload = []byte("bye")
	p, _ = w.connect(c)
	away := time.Since(start)
	start = time.Now()
	p.close()
	if away > 900*time.Millisecond { // on a slow machine it was not back in time
		watch.receive("gone", "early")
	}
	watch.receive("gone", "bye")
	if since := time.Since(start); since < 900*time.Millisecond {
		t.Errorf("the will came after %v", since)
	}
	watch.expectNothing()
}
