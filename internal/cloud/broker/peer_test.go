package broker

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/cloud/policy"
	"mote/internal/mqtt"
)

// connectPeer connects a client that others have authenticated.
func (w *world) connectPeer(p Peer, c *mqtt.Connect) *peer {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = ours.Close() })
	if p.Check == nil {
		p.Check = func() error { return nil }
	}
	w.b.ServePeer(context.Background(), theirs, p)
	client := &peer{t: w.t, nc: ours, in: mqtt.NewReader(ours, mqtt.Decoder{From: mqtt.FromServer}), version: c.Version}
	client.in.Version = c.Version
	client.send(c)
	if ack := expect[*mqtt.Connack](client); ack.Code != mqtt.Success {
		w.t.Fatalf("CONNACK %v", ack.Code)
	}
	return client
}

// TestAPeerHasFullRights lets a client with an access key do what no policy
// allows, as long as its key is there.
func TestAPeerHasFullRights(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	w.gate.deny(func(*policy.Subject, string, string) string { return "no" })
	var deleted atomic.Bool
	c := w.connectPeer(Peer{AccessKeyID: "AKIAEXAMPLE", SourceIP: "192.0.2.1", Check: func() error {
		if deleted.Load() {
			return errors.New("the access key was deleted")
		}
		return nil
	}}, clean(mqtt.V5, "console"))
	c.subscribe(1, "a/+")
	if ack := c.publish("a/b", "x"); ack.Code != mqtt.Success {
		t.Errorf("PUBACK %v", ack.Code)
	}
	c.receive("a/b", "x")
	if got := w.b.Clients(); len(got) != 1 || got[0].Principal != "AKIAEXAMPLE" || got[0].SourceIP != "192.0.2.1" {
		t.Errorf("clients %+v", got)
	}
	w.b.Recheck()
	c.expectNothing()
	deleted.Store(true)
	w.b.Recheck()
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.NotAuthorized || d.Props.ReasonString.Value != "the access key was deleted" {
		t.Errorf("DISCONNECT %v %+v", d.Code, d.Props)
	}
	c.expectEnd()
}

func TestThePeersTimeEnds(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	c := w.connectPeer(Peer{AccessKeyID: "AKIAEXAMPLE", Life: 200 * time.Millisecond}, clean(mqtt.V5, "console"))
	if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.AdministrativeAction {
		t.Errorf("DISCONNECT %v", d.Code)
	}
	c.expectEnd()
}

// TestDisconnect ends connections through the API.
func TestDisconnect(t *testing.T) {
	w := newWorld(t, Limits{}, nil)
	disconnect := func(id string, clean, dropWill, want bool) {
		t.Helper()
		if found, err := w.b.Disconnect(t.Context(), id, clean, dropWill); found != want || err != nil {
			t.Errorf("disconnect %s: %v %v", id, found, err)
		}
	}
	connect := func(id string, present bool) *peer {
		t.Helper()
		p := lasting(mqtt.V5, id)
		p.Will = &mqtt.Will{Topic: "wills/" + id, Payload: []byte("gone"), QoS: 1}
		c, ack := w.connect(p)
		if ack.SessionPresent != present {
			t.Errorf("%s: session present %v", id, ack.SessionPresent)
		}
		return c
	}
	ends := func(c *peer) {
		t.Helper()
		if d := expect[*mqtt.Disconnect](c); d.Code != mqtt.AdministrativeAction {
			t.Errorf("DISCONNECT %v", d.Code)
		}
		c.expectEnd()
	}
	watch, _ := w.connect(clean(mqtt.V5, "watch"))
	watch.subscribe(1, "wills/+")

	c := connect("a", false)
	disconnect("a", false, false, true)
	ends(c)
	watch.receive("wills/a", "gone")
	disconnect("a", false, false, false) // away

	c = connect("a", true) // the session was kept
	disconnect("a", true, true, true)
	ends(c)
	watch.expectNothing()

	c = connect("a", false) // and this time it was not
	c.close()
	watch.receive("wills/a", "gone")
	w.until("a is away", func() bool { return !w.live(c) })
	disconnect("a", true, false, true)
	disconnect("a", true, false, false)
	disconnect("nobody", true, true, false)
	connect("a", false)
}
