package broker

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// nextEvent expects a lifecycle event and returns its document.
func (c *peer) nextEvent(kind, clientID string) map[string]any {
	c.t.Helper()
	p := expect[*mqtt.Publish](c)
	if p.QoS > 0 {
		c.puback(p.PacketID)
	}
	if want := eventPrefix + kind + "/" + clientID; p.Topic != want {
		c.t.Fatalf("got %s on %q, want %q", p.Payload, p.Topic, want)
	}
	var doc map[string]any
	if err := json.Unmarshal(p.Payload, &doc); err != nil {
		c.t.Fatal(err)
	}
	if doc["clientId"] != clientID || doc["eventType"] != kind[strings.Index(kind, "/")+1:] {
		c.t.Errorf("event %v", doc)
	}
	if at, ok := doc["timestamp"].(float64); !ok || time.Since(time.UnixMilli(int64(at))).Abs() > time.Minute {
		c.t.Errorf("timestamp %v is not the time in milliseconds", doc["timestamp"])
	}
	if id, _ := doc["sessionIdentifier"].(string); len(id) != 36 {
		c.t.Errorf("sessionIdentifier %q", id)
	}
	return doc
}

func names(doc map[string]any) []string {
	var out []string
	for k := range doc {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TestLifecycleEvents follows one client through its life.
func TestLifecycleEvents(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		w := newWorld(t, Limits{}, nil)
		watch, _ := w.connect(lasting(version, "watch"))
		watch.subscribe(1, "$aws/events/presence/+/d", "$aws/events/subscriptions/#")
		watch.nextEvent(eventSubscribed, "watch")
		cert := w.pki.client(t, "d")
		d, _ := w.connectWith(cert, lasting(version, "d"))
		first := watch.nextEvent(eventConnected, "d")
		if want := []string{"clientId", "eventType", "ipAddress", "principalIdentifier", "sessionIdentifier", "timestamp", "versionNumber"}; !slices.Equal(names(first), want) {
			t.Errorf("connected has %v, want %v", names(first), want)
		}
		if first["principalIdentifier"] != idOf(cert.Leaf) || first["ipAddress"] != "127.0.0.1" || first["versionNumber"] != 0.0 {
			t.Errorf("connected %v", first)
		}
		d.subscribe(1, "a", "$share/g/b")
		if e := watch.nextEvent(eventSubscribed, "d"); !slices.Equal(e["topics"].([]any), []any{"a", "$share/g/b"}) || e["sessionIdentifier"] != first["sessionIdentifier"] {
			t.Errorf("subscribed %v", e)
		}
		d.send(&mqtt.Unsubscribe{PacketID: 77, Filters: []string{"a", "never"}})
		expect[*mqtt.Unsuback](d)
		if e := watch.nextEvent(eventUnsubscribed, "d"); !slices.Equal(e["topics"].([]any), []any{"a"}) {
			t.Errorf("unsubscribed %v", e)
		}
		second, _ := w.connectWith(cert, lasting(version, "d")) // a takeover: first the end, then the beginning
		gone := watch.nextEvent(eventDisconnected, "d")
		want := []string{"clientId", "clientInitiatedDisconnect", "disconnectReason", "eventType", "principalIdentifier", "sessionIdentifier", "timestamp", "versionNumber"}
		if !slices.Equal(names(gone), want) {
			t.Errorf("disconnected has %v, want %v", names(gone), want)
		}
		if gone["disconnectReason"] != "DUPLICATE_CLIENTID" || gone["clientInitiatedDisconnect"] != false || gone["versionNumber"] != 0.0 || gone["sessionIdentifier"] != first["sessionIdentifier"] {
			t.Errorf("disconnected %v", gone)
		}
		if e := watch.nextEvent(eventConnected, "d"); e["versionNumber"] != 1.0 || e["sessionIdentifier"] == first["sessionIdentifier"] {
			t.Errorf("connected again %v", e)
		}
		w.disconnect(second)
		if e := watch.nextEvent(eventDisconnected, "d"); e["disconnectReason"] != "CLIENT_INITIATED_DISCONNECT" || e["clientInitiatedDisconnect"] != true || e["versionNumber"] != 1.0 {
			t.Errorf("disconnected %v", e)
		}
	})
}

// TestDisconnectReasons ends connections in the ways that AWS has words for.
func TestDisconnectReasons(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{KeepAliveMin: time.Second}, nil)
	watch, _ := w.connect(clean(mqtt.V5, "watch"))
	watch.subscribe(1, "$aws/events/presence/disconnected/+")
	cert := w.pki.client(t, "d")
	for _, tt := range []struct {
		want string
		end  func(d *peer)
	}{
		{"CONNECTION_LOST", func(d *peer) { d.close() }},
		{"CLIENT_ERROR", func(d *peer) { d.write([]byte{0xF0, 0}) }},
		{"CLIENT_INITIATED_DISCONNECT", func(d *peer) { d.send(&mqtt.Disconnect{Code: mqtt.DisconnectWithWill}) }},
		{"MQTT_KEEP_ALIVE_TIMEOUT", func(d *peer) { watch.send(&mqtt.Ping{}); expect[*mqtt.Ping](watch) }},
		{"AUTH_ERROR", func(*peer) { w.gate.deactivate(cert.Leaf); w.b.Recheck() }},
	} {
		p := clean(mqtt.V5, "d")
		if tt.want == "MQTT_KEEP_ALIVE_TIMEOUT" {
			p.KeepAlive = 1
		}
		d, _ := w.connectWith(cert, p)
		tt.end(d)
		if e := watch.nextEvent(eventDisconnected, "d"); e["disconnectReason"] != tt.want {
			t.Errorf("%v, want %s", e, tt.want)
		}
	}
}

// TestPresenceVersionsGrowOverRestarts, and what a killed process could not
// tell is told by the next one.
func TestPresenceVersionsGrowOverRestarts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{ReturnWithin: time.Millisecond}, nil)
	watch, _ := w.connect(lasting(mqtt.V5, "watch"))
	watch.subscribe(1, "$aws/events/presence/+/d")
	cert := w.pki.client(t, "d")
	_, _ = w.connectWith(cert, clean(mqtt.V5, "d"))
	first := watch.nextEvent(eventConnected, "d")
	watch.expectNothing()
	w.crash()
	watch, _ = w.connect(lasting(mqtt.V5, "watch"))
	if e := watch.nextEvent(eventDisconnected, "d"); e["disconnectReason"] != "SERVER_ERROR" || e["versionNumber"] != 0.0 || e["sessionIdentifier"] != first["sessionIdentifier"] {
		t.Errorf("after the kill: %v", e)
	}
	_, _ = w.connectWith(cert, clean(mqtt.V5, "d"))
	if e := watch.nextEvent(eventConnected, "d"); e["versionNumber"] != 1.0 {
		t.Errorf("after the kill: %v", e)
	}
	watch.expectNothing()
	w.b.flushAcked()
	w.restart()
	watch, _ = w.connect(lasting(mqtt.V5, "watch"))
	if e := watch.nextEvent(eventDisconnected, "d"); e["disconnectReason"] != "SERVER_INITIATED_DISCONNECT" || e["versionNumber"] != 1.0 {
		t.Errorf("after the stop: %v", e)
	}
}

func TestPresencesAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	stay, _ := w.connect(clean(mqtt.V5, "stay"))
	defer stay.close()
	d, _ := w.connect(clean(mqtt.V5, "d"))
	w.disconnect(d)
	for _, after := range []time.Duration{presenceKept - time.Minute, presenceKept + time.Minute} {
		if err := w.b.purgePresences(time.Now().Add(after)); err != nil {
			t.Fatal(err)
		}
		_, kept, _ := w.store.Get(presenceKey("d"))
		if _, live, _ := w.store.Get(presenceKey("stay")); !live || kept != (after < presenceKept) {
			t.Errorf("%v after its end the presence is kept: %v; of the live one: %v", after, kept, live)
		}
	}
}

// TestRulesSeeLifecycleEvents and nobody else can publish them.
func TestRulesSeeLifecycleEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	seen := make(chan string, 10)
	w.rules.events.Store(true)
	w.rules.set(func(_ *store.Batch, m *message.Message) message.Outcome {
		seen <- m.Topic
		return message.Outcome{}
	})
	d, _ := w.connect(clean(mqtt.V5, "d"))
	if got := <-seen; got != "$aws/events/presence/connected/d" {
		t.Errorf("the rules saw %q", got)
	}
	if a := d.publish("$aws/events/presence/connected/other", "{}"); a.Code != mqtt.TopicNameInvalid {
		t.Errorf("PUBACK %v", a.Code)
	}
	w.refused("iot:Publish", "$aws/events/", "only the server")
	odd, _ := w.connect(clean(mqtt.V5, "odd+#"))
	w.disconnect(odd)
	w.disconnect(d)
	if got := <-seen; got != "$aws/events/presence/disconnected/d" {
		t.Errorf("the rules saw %q", got)
	}
}

func TestEventFilters(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]bool{
		"$aws/events/#":                              true,
		"$aws/events/presence/#":                     true,
		"$aws/events/presence/+/+":                   true,
		"$aws/events/+/connected/d":                  true,
		"$aws/events/subscriptions/subscribed/a/b/c": true,
		"$aws/events/presence/connected":             false,
		"$aws/events/presence/joined/d":              false,
		"$aws/events/thing/t/created":                false,
		"$aws/event":                                 false,
		"$aws/+/presence/connected/d":                false,
	} {
		if got := isEventFilter(filter); got != want {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
}

// TestWillsAfterAKill: published when the client is not back in time, once,
// and not when it is.
func TestWillsAfterAKill(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		const returnWithin = 400 * time.Millisecond
		w := newWorld(t, Limits{ReturnWithin: returnWithin}, nil)
		watch, _ := w.connect(lasting(version, "watch"))
		watch.subscribe(1, "gone/+")
		for _, id := range []string{"lost", "back", "polite"} {
			p := lasting(version, id)
			p.Will = &mqtt.Will{Topic: "gone/" + id, Payload: []byte("x"), QoS: 1, Retain: true}
			if version == mqtt.V5 {
				p.Will.Props = &mqtt.Properties{ContentType: mqtt.Some("text/plain")}
			}
			c, _ := w.connect(p)
			if id == "polite" {
				w.disconnect(c)
			}
		}
		begin := time.Now()
		w.crash()
		_, _ = w.connect(lasting(version, "back"))
		late := time.Since(begin) > returnWithin // this machine is slow: its will may be published
		watch, _ = w.connect(lasting(version, "watch"))
		m := expect[*mqtt.Publish](watch)
		if watch.puback(m.PacketID); late && m.Topic == "gone/back" {
			m = watch.receive("gone/lost", "x")
		}
		if m.Topic != "gone/lost" || string(m.Payload) != "x" {
			t.Errorf("got %q on %q", m.Payload, m.Topic)
		}
		if version == mqtt.V5 && m.Props.ContentType.Or("") != "text/plain" {
			t.Errorf("properties %+v", m.Props)
		}
		if !late {
			watch.expectNothing()
		}
		if kept, err := w.b.Retained("gone/lost"); err != nil || kept == nil {
			t.Errorf("the will is not retained: %v", err)
		}
		w.crash()
		watch, _ = w.connect(lasting(version, "watch"))
		time.Sleep(2 * flushEvery)
		watch.expectNothing()
	})
}

// TestWillsAtAStop are published; a delayed one keeps its time over the stop.
func TestWillsAtAStop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{ReturnWithin: time.Millisecond}, nil)
	watch, _ := w.connect(lasting(mqtt.V5, "watch"))
	watch.subscribe(1, "gone/+")
	for id, delay := range map[string]uint32{"now": 0, "later": 2, "never": 3600} {
		p := lasting(mqtt.V5, id)
		p.Will = &mqtt.Will{Topic: "gone/" + id, Payload: []byte("x"), QoS: 1, Props: &mqtt.Properties{WillDelay: mqtt.Some(delay)}}
		_, _ = w.connect(p)
	}
	start := time.Now()
	w.restart()
	watch, _ = w.connect(lasting(mqtt.V5, "watch"))
	watch.receive("gone/now", "x")
	watch.receive("gone/later", "x")
	if time.Since(start) < 1900*time.Millisecond {
		t.Error("the delayed will came before its time")
	}
	watch.expectNothing()
	w.crash()
	watch, _ = w.connect(lasting(mqtt.V5, "watch"))
	never, _ := w.connect(lasting(mqtt.V5, "never"))
	w.disconnect(never)
	if n := w.kept(willPrefix); n != 0 {
		t.Errorf("%d wills are left in the store", n)
	}
	watch.expectNothing()
}

// kept counts the keys with a prefix.
func (w *world) kept(prefix []byte) (n int) {
	w.t.Helper()
	if err := w.b.scan(prefix, func(_, _ []byte) error { n++; return nil }); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func FuzzWillRecord(f *testing.F) {
	m := &message.Message{Topic: "t", Payload: []byte("p"), QoS: 1, Time: time.UnixMilli(5), ClientID: "c", Principal: "p", SourceIP: "::1", ContentType: "x"}
	f.Add((&will{m: m, delay: time.Second}).record(time.UnixMilli(7)))
	m.Expiry = m.Time.Add(time.Minute)
	f.Add((&will{m: m}).record(time.Time{}))
	f.Add((&presence{version: 3, ended: time.UnixMilli(9), principal: "abc"}).record())
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, due, err := parseWill(b); err == nil {
			again, dueAgain, err := parseWill(w.record(due))
			if err != nil || again.m.Topic != w.m.Topic || string(again.m.Payload) != string(w.m.Payload) || !dueAgain.Equal(due) && due.UnixMilli() != 0 {
				t.Errorf("%+v became %+v: %v", w, again, err)
			}
		}
		if p, err := parsePresence(b); err == nil {
			if again, err := parsePresence(p.record()); err != nil || again.version != p.version || again.session != p.session || again.principal != p.principal {
				t.Errorf("%+v became %+v: %v", p, again, err)
			}
		}
	})
}
