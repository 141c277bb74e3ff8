package broker

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mote/internal/cloud/message"
	"mote/internal/cloud/policy"
	"mote/internal/mqtt"
)

// crash goes on with what a kill would have left: the store as it is on disk
// now, while everybody is still connected.
func (w *world) crash() {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "crashed")
	w.b.flushAcked() // what was acknowledged half a second ago or later can come again
	if err := w.store.Checkpoint(dir); err != nil {
		w.t.Fatal(err)
	}
	w.close()
	w.dir = dir
	w.open()
}

// count reads what has come until a PINGREQ is answered, acknowledges it when
// told to, and adds the payloads to seen.
func (c *peer) count(seen map[string]int, acknowledge bool) (n int) {
	c.t.Helper()
	c.send(&mqtt.Ping{})
	for {
		switch p := c.next().(type) {
		case *mqtt.Publish:
			seen[string(p.Payload)]++
			n++
			if p.QoS > 0 && acknowledge {
				c.puback(p.PacketID)
			}
		case *mqtt.Ping:
			return n
		default:
			c.t.Fatalf("got %T, want messages and a PINGRESP", p)
		}
	}
}

func (w *world) queued(n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%d messages are queued", n), func() bool { return w.b.Status().Queued == n })
}

// TestSharedSubscription: one copy for each group, to one of its members, which
// take turns.
func TestSharedSubscription(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		for qos := range byte(2) {
			w := newWorld(t, Limits{}, nil)
			a, ack := w.connect(clean(version, "a"))
			if version == mqtt.V5 && ack.Props.SharedAvailable.Or(9) != 1 {
				t.Error("CONNACK does not offer shared subscriptions")
			}
			b, _ := w.connect(clean(version, "b"))
			other, _ := w.connect(clean(version, "other"))
			for _, c := range []*peer{a, b} {
				if ack := c.subscribe(qos, "$share/g/s/+"); ack.Codes[0] != mqtt.ReasonCode(qos) {
					t.Fatalf("SUBACK %v", ack.Codes)
				}
			}
			other.subscribe(qos, "$share/h/s/#", "s/+")
			p, _ := w.connect(clean(version, "p"))
			for i := range 48 {
				p.publish("s/1", fmt.Sprint(i))
			}
			seen, twice := map[string]int{}, map[string]int{}
			na, nb, no := 0, 0, 0
			w.until("all have come", func() bool {
				na, nb, no = na+a.count(seen, true), nb+b.count(seen, true), no+other.count(twice, true)
				return na+nb >= 48 && no >= 96
			})
			if na != 24 || nb != 24 || len(seen) != 48 {
				t.Errorf("QoS %d: the members got %d and %d, %d different ones, want 24 each", qos, na, nb, len(seen))
			}
			for i := range 48 {
				if n := twice[fmt.Sprint(i)]; n != 2 {
					t.Fatalf("QoS %d: message %d came %d times to another group and a plain subscription, want 2", qos, i, n)
				}
			}
			w.queued(0)
		}
	})
}

// TestSharedSubscriptionWaits: QoS 1 messages wait for the group, over the end
// of the process, and go out in order; QoS 0 ones do not wait.
func TestSharedSubscriptionWaits(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		w := newWorld(t, Limits{}, nil)
		a, _ := w.connect(lasting(version, "a"))
		a.subscribe(1, "$share/g/s")
		b, _ := w.connect(clean(version, "b"))
		b.subscribe(1, "$share/g/s")
		w.disconnect(a)
		w.disconnect(b)
		p, _ := w.connect(clean(version, "p"))
		p.publish("s", "lost", func(p *mqtt.Publish) { p.QoS = 1 })
		for i := range 150 {
			p.publish("s", fmt.Sprint(i))
		}
		w.crash()
		w.queued(151)
		a, ack := w.connect(lasting(version, "a"))
		if !ack.SessionPresent {
			t.Fatal("the session is gone")
		}
		a.receive("s", "lost")
		for i := range 150 {
			a.receive("s", fmt.Sprint(i))
		}
		w.queued(0)
		a.expectNothing()
	})
}

// TestSharedSubscriptionMovesOn: what a member leaves unacknowledged goes to
// another one, before what came later.
func TestSharedSubscriptionMovesOn(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		w := newWorld(t, Limits{}, nil)
		a, _ := w.connect(clean(version, "a"))
		a.subscribe(1, "$share/g/s")
		p, _ := w.connect(clean(version, "p"))
		for i := range 20 {
			p.publish("s", fmt.Sprint(i))
		}
		seen := map[string]int{}
		w.until("a has all", func() bool { a.count(seen, false); return len(seen) == 20 })
		b, _ := w.connect(clean(version, "b"))
		b.subscribe(1, "$share/g/s")
		b.expectNothing()
		a.close()
		for i := range 20 {
			b.receive("s", fmt.Sprint(i))
		}
		w.queued(0)
	})
}

// TestSharedSubscriptionOfFullMembers: a member without room gets nothing, the
// others go on; when none has room the messages wait.
func TestSharedSubscriptionOfFullMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	narrow := clean(mqtt.V5, "narrow")
	narrow.Props = &mqtt.Properties{ReceiveMaximum: mqtt.Some[uint16](2)}
	a, _ := w.connect(narrow)
	a.subscribe(1, "$share/g/s")
	b, _ := w.connect(clean(mqtt.V5, "b"))
	b.subscribe(1, "$share/g/s")
	p, _ := w.connect(clean(mqtt.V5, "p"))
	for i := range 130 {
		p.publish("s", fmt.Sprint(i))
	}
	seen := map[string]int{}
	na, nb := 0, 0
	w.until("both have what they take", func() bool {
		na, nb = na+a.count(seen, false), nb+b.count(seen, false)
		return na+nb >= 102
	})
	if na != 2 || nb != 100 {
		t.Fatalf("got %d and %d, want 2 (Receive Maximum) and 100 (the most in flight)", na, nb)
	}
	c, _ := w.connect(clean(mqtt.V5, "c"))
	c.subscribe(1, "$share/g/s")
	a.close()
	b.close()
	third := map[string]int{}
	w.until("the third gets all", func() bool { c.count(third, true); return len(third) == 130 })
	w.queued(0)
}

// TestSharedSubscriptionEnds: with its last member a group goes, also from the
// disk.
func TestSharedSubscriptionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	a, _ := w.connect(lasting(mqtt.V5, "a"))
	a.subscribe(1, "$share/g/s")
	p, _ := w.connect(clean(mqtt.V5, "p"))
	p.publish("s", "x")
	w.queued(1)
	a.next()
	a.send(&mqtt.Unsubscribe{PacketID: 9, Filters: []string{"$share/g/s"}})
	if ack := expect[*mqtt.Unsuback](a); ack.Codes[0] != mqtt.Success {
		t.Error(ack.Codes)
	}
	w.queued(0)
	p.publish("s", "y")
	a.expectNothing()
	if n := w.b.Status().Subscriptions; n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	a.subscribe(1, "$share/g/s")
	w.disconnect(a)
	a, _ = w.connect(&mqtt.Connect{Version: mqtt.V5, ClientID: "a", CleanStart: true, KeepAlive: 60})
	w.disconnect(a)
	w.disconnect(p)
	empty(t, w)
}

// TestSharedSubscriptionOfCleanSessionsDiesWithTheProcess leaves nothing behind.
func TestSharedSubscriptionOfCleanSessionsDiesWithTheProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	a, _ := w.connect(clean(mqtt.V311, "a"))
	a.subscribe(1, "$share/g/s")
	p, _ := w.connect(clean(mqtt.V311, "p"))
	p.publish("s", "x")
	w.crash()
	empty(t, w)
}

// TestSharedSubscriptionHasNoRetainedMessages as on AWS and in the
// specification.
func TestSharedSubscriptionHasNoRetainedMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	p.publish("s", "kept", retained)
	p.subscribe(1, "$share/g/s")
	p.expectNothing()
}

func TestSharedSubscriptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Subscribe", "topicfilter/$share/g/secret")
	for filter, want := range map[string]mqtt.ReasonCode{
		"$share/g/secret":                                       mqtt.NotAuthorized,
		"$share/other/open":                                     mqtt.GrantedQoS1,
		"$share/" + strings.Repeat("n", 129) + "/a":             mqtt.TopicFilterInvalid,
		"$share/" + strings.Repeat("n", 128) + "/a":             mqtt.GrantedQoS1,
		"$share/g/" + strings.Repeat("a/", 8) + "b":             mqtt.TopicFilterInvalid,
		"$share/g/" + strings.Repeat("a/", 7) + "b":             mqtt.GrantedQoS1,
		"$share/g/$aws/things/a/shadow/update/accepted/unheard": mqtt.TopicFilterInvalid,
	} {
		c, _ := w.connect(clean(mqtt.V5, "c"))
		if ack := c.subscribe(1, filter); ack.Codes[0] != want {
			t.Errorf("%.60s: SUBACK %v, want %v", filter, ack.Codes[0], want)
		}
	}
	w.refused("iot:Subscribe", "$share/g/secret", "denies")
	c, _ := w.connect(clean(mqtt.V5, "nolocal"))
	c.write(append([]byte{0x82, 16, 0, 1, 0, 0, 10}, "$share/g/a\x05"...)) // QoS 1 and no local
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.ProtocolError {
		t.Errorf("no local on a shared subscription: DISCONNECT %v", d.Code)
	}
}

// TestSharedSubscriptionGoesPastTheDenied: who may not receive gets nothing.
func TestSharedSubscriptionGoesPastTheDenied(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	a, _ := w.connect(clean(mqtt.V5, "a"))
	b, _ := w.connect(clean(mqtt.V5, "b"))
	a.subscribe(1, "$share/g/s")
	b.subscribe(1, "$share/g/s")
	w.gate.deny(denyReceive("a"))
	p, _ := w.connect(clean(mqtt.V5, "p"))
	for i := range 30 {
		p.publish("s", fmt.Sprint(i))
	}
	for i := range 30 {
		b.receive("s", fmt.Sprint(i))
	}
	w.queued(0)
	a.expectNothing()
	w.gate.deny(denyReceive("a", "b"))
	p.publish("s", "for nobody")
	w.queued(0)
	b.expectNothing()
}

// TestSharedSubscriptionUnderChange: members come and go, and every message is
// received at least once.
func TestSharedSubscriptionUnderChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	stay, _ := w.connect(lasting(mqtt.V5, "stay"))
	stay.subscribe(1, "$share/g/s")
	const n = 300
	published := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := w.b.Publish(context.Background(), &message.Message{Topic: "s", Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	seen := map[string]int{}
	for i := range 15 {
		c, _ := w.connect(clean(mqtt.V5, fmt.Sprint("guest", i)))
		c.subscribe(1, "$share/g/s")
		c.count(map[string]int{}, false) // takes some and leaves them
		stay.count(seen, true)
		c.close()
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	w.until("all have come", func() bool { stay.count(seen, true); return len(seen) == n })
	w.queued(0)
}

// denyReceive denies iot:Receive to some clients.
func denyReceive(clients ...string) func(s *policy.Subject, action, resource string) string {
	return func(s *policy.Subject, action, _ string) string {
		if action == "iot:Receive" && slices.Contains(clients, s.ClientID) {
			return "statement 1 of policy test denies it"
		}
		return ""
	}
}
