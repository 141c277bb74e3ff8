package broker

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"mote/internal/mqtt"
)

func eachVersion(t *testing.T, f func(t *testing.T, version byte)) {
	for _, v := range []byte{mqtt.V311, mqtt.V5} {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { f(t, v) })
	}
}

func TestPublishReachesSubscriber(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		sub, _ := w.connect(clean(v, "sub"))
		if a := sub.subscribe(1, "a/+", "b"); a.Codes[0] != 1 || a.Codes[1] != 1 {
			t.Fatalf("SUBACK %v", a.Codes)
		}
		pub, _ := w.connect(clean(v, "pub"))
		for i := range 3 {
			if a := pub.publish("a/x", fmt.Sprint(i)); a.Code != mqtt.Success {
				t.Fatalf("PUBACK %v", a.Code)
			}
		}
		pub.send(&mqtt.Publish{Topic: "b", Payload: []byte("q0")})
		for i := range 3 {
			if p := sub.receive("a/x", fmt.Sprint(i)); p.QoS != 1 || p.Retain {
				t.Errorf("got %+v", p)
			}
		}
		if p := sub.receive("b", "q0"); p.QoS != 0 {
			t.Errorf("got %+v", p)
		}
		sub.expectNothing()
		if st := w.b.Status(); st.Received != 4 || st.Sent != 4 || st.Dropped != 0 || st.Connections != 2 || st.Subscriptions != 2 {
			t.Errorf("status %+v", st)
		}
	})
}

// TestPacketsComeWithConnect: a client need not wait for CONNACK before it sends
// more, and what it sends in one piece is answered without another byte.
func TestPacketsComeWithConnect(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		w := newWorld(t, Limits{}, nil)
		over := w.dial(w.pki.client(t, "over TLS"))
		over.version, over.in.Version = version, version
		for _, c := range []*peer{over, w.specDial(version)} {
			c.send(clean(version, "eager"), &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "a", QoS: 1}}},
				&mqtt.Publish{Topic: "a", Payload: []byte("at once"), QoS: 1, PacketID: 2}, &mqtt.Ping{})
			expect[*mqtt.Connack](c)
			expect[*mqtt.Suback](c)
			got := map[mqtt.Type]bool{}
			for range 3 { // in any order
				p := c.next()
				if p == nil {
					t.Fatalf("only %v came", got)
				}
				got[p.Type()] = true
			}
			if !got[mqtt.PUBACK] || !got[mqtt.PUBLISH] || !got[mqtt.PINGRESP] {
				t.Errorf("got %v", got)
			}
		}
	})
}

func TestHandshakeRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	good := w.pki.client(t, "good")
	stranger := newPKI(t).client(t, "stranger")
	inactive := w.pki.client(t, "inactive")
	w.gate.deactivate(inactive.Leaf)
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		max  uint16
		ok   bool
		why  string
	}{
		{"good", &good, 0, true, ""},
		{"good, TLS 1.2", &good, tls.VersionTLS12, true, ""},
		{"other CA", &stranger, 0, false, "not issued by this cloud"},
		{"other CA, TLS 1.2", &stranger, tls.VersionTLS12, false, "not issued by this cloud"},
		{"inactive", &inactive, 0, false, "INACTIVE"},
		{"none", nil, 0, false, "connect with the thing's certificate"},
		{"TLS 1.1", &good, tls.VersionTLS11, false, "version"},
	} {
		cfg := w.tlsConfig(good)
		cfg.Certificates, cfg.MaxVersion, cfg.MinVersion = nil, c.max, tls.VersionTLS10
		if c.cert != nil {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
		}
		nc, err := tls.Dial("tcp", w.addr, cfg)
		if err == nil { // TLS 1.3 hears of the refusal with the first read
			hello, _ := clean(mqtt.V311, c.name).Append(nil, 0)
			_, _ = nc.Write(hello)
			_, err = nc.Read(make([]byte, 4))
			nc.Close()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.ok && !strings.Contains(err.Error(), "remote error: tls") {
			t.Errorf("%s: got %v, want a TLS alert", c.name, err)
		}
		if c.why != "" {
			w.until("a refusal of "+c.name, func() bool {
				r, _ := w.refusals.Recent(1)
				return len(r) == 1 && r[0].Where == "tls" && strings.Contains(r[0].Reason, c.why) && r[0].SourceIP == "127.0.0.1"
			})
		}
	}
}

// A certificate that was deactivated after its first connection does not get in
// with a TLS session ticket.
func TestResumedHandshakeIsJudged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	cert := w.pki.client(t, "c")
	cfg := w.tlsConfig(cert)
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	try := func() (resumed bool, err error) {
		nc, err := tls.Dial("tcp", w.addr, cfg)
		if err != nil {
			return false, err
		}
		defer nc.Close()
		hello, _ := clean(mqtt.V311, "c").Append(nil, 0)
		_, _ = nc.Write(hello)
		_, err = nc.Read(make([]byte, 4))
		return nc.ConnectionState().DidResume, err
	}
	if _, err := try(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := try(); !resumed || err != nil {
		t.Fatalf("resumed %v, %v: the test looks at nothing", resumed, err)
	}
	w.gate.deactivate(cert.Leaf)
	if _, err := try(); err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		t.Errorf("got %v, want a TLS alert", err)
	}
	w.until("a refusal", func() bool {
		r, _ := w.refusals.Recent(1)
		return len(r) == 1 && strings.Contains(r[0].Reason, "INACTIVE")
	})
}

// A device that does all day what it may not must not flood the log.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Publish", "topic/")
	p, _ := w.connect(clean(mqtt.V5, "p"))
	for i := range 30 {
		for range 2 {
			if a := p.publish(fmt.Sprint("t/", i), ""); a.Code != mqtt.NotAuthorized {
				t.Fatal(a.Code)
			}
		}
	}
	p.publish(strings.Repeat("x", 60000), "")
	if _, n := w.refusals.Recent(0); n != recordMost {
		t.Errorf("%d refusals recorded, want %d", n, recordMost)
	}
	if n := w.b.Status().Denied; n != 61 {
		t.Errorf("%d denied", n)
	}
}

func TestSessionLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Sessions: 1}, nil)
	first, _ := w.connect(lasting(mqtt.V5, "first"))
	w.disconnect(first)
	p := w.dial(w.pki.client(t, "second"))
	p.version, p.in.Version = mqtt.V5, mqtt.V5
	p.send(clean(mqtt.V5, "second"))
	if a := expect[*mqtt.Connack](p); a.Code != mqtt.QuotaExceeded {
		t.Errorf("CONNACK %v", a.Code)
	}
	w.connect(lasting(mqtt.V5, "first"))
	w.refused("iot:Connect", "client/second", "1 sessions")
}

func TestConnectRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Connect", "client/evil")
	with := func(c *mqtt.Connect, f func(*mqtt.Connect)) *mqtt.Connect { f(c); return c }
	cases := []struct {
		name    string
		connect func(v byte) *mqtt.Connect
		v5      mqtt.ReasonCode
		v3      mqtt.ReasonCode // 0: closed without CONNACK
		action  string
		reason  string
	}{
		{"denied", func(v byte) *mqtt.Connect { return clean(v, "evil") }, mqtt.NotAuthorized, 0, "iot:Connect", "statement 2 of policy test"},
		{"long id", func(v byte) *mqtt.Connect { return clean(v, strings.Repeat("x", 129)) }, mqtt.ClientIdentifierNotValid, mqtt.ClientIdentifierNotValid, "iot:Connect", "129 bytes"},
		{"$ id", func(v byte) *mqtt.Connect { return clean(v, "$aws") }, mqtt.ClientIdentifierNotValid, mqtt.ClientIdentifierNotValid, "iot:Connect", "reserved"},
		{"will QoS 2", func(v byte) *mqtt.Connect {
			return with(clean(v, "a"), func(c *mqtt.Connect) { c.Will = &mqtt.Will{Topic: "w", QoS: 2} })
		}, mqtt.QoSNotSupported, 0, "iot:Publish", "QoS 2"},
		{"will on $aws", func(v byte) *mqtt.Connect {
			return with(clean(v, "a"), func(c *mqtt.Connect) { c.Will = &mqtt.Will{Topic: "$aws/x"} })
		}, mqtt.TopicNameInvalid, 0, "iot:Publish", "reserved"},
	}
	for _, c := range cases {
		for _, v := range []byte{mqtt.V311, mqtt.V5} {
			p := w.dial(w.pki.client(t, "x"))
			p.version, p.in.Version = v, v
			p.send(c.connect(v))
			want := c.v5
			if v == mqtt.V311 {
				want = c.v3
			}
			if want != 0 {
				a := expect[*mqtt.Connack](p)
				if a.Code != want || v == mqtt.V5 && !strings.Contains(a.Props.ReasonString.Value, c.reason) {
					t.Errorf("%s v%d: CONNACK %v %+v", c.name, v, a.Code, a.Props)
				}
			}
			p.expectEnd()
			w.refused(c.action, "", c.reason)
		}
	}
}

func TestUnknownProtocolVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	for _, raw := range [][]byte{
		append([]byte{0x10, 15, 0, 6}, "MQIsdp\x03\x02\x00\x3c\x00\x01x"...), // 3.1
		append([]byte{0x10, 13, 0, 4}, "MQTT\x03\x02\x00\x3c\x00\x01x"...),
	} {
		p := w.dial(w.pki.client(t, "old"))
		p.version, p.in.Version = mqtt.V311, mqtt.V311
		p.write(raw)
		if a := expect[*mqtt.Connack](p); a.Code != mqtt.UnsupportedProtocolVersion {
			t.Errorf("CONNACK %v", a.Code)
		}
		p.expectEnd()
	}
	w.refused("MQTT", "", "MQTT 3.1.1 (level 4) and 5 are served")
}

func TestConnackOfVersion5(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	c := clean(mqtt.V5, "")
	c.KeepAlive = 5
	c.Props = &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](0xFFFFFFFF)}
	_, a := w.connect(c)
	p := a.Props
	if !strings.HasPrefix(p.AssignedClientID.Value, "auto-") || p.ServerKeepAlive.Value != 30 || p.SessionExpiry.Value != 604800 {
		t.Errorf("client id %q, keep alive %v, expiry %v", p.AssignedClientID.Value, p.ServerKeepAlive, p.SessionExpiry)
	}
	if p.ReceiveMaximum.Value != 100 || p.MaximumQoS != mqtt.Some[byte](1) || p.MaximumPacketSize.Value != 149504 || p.TopicAliasMaximum.Value != 8 ||
		p.SubscriptionIDAvailable != mqtt.Some[byte](0) || p.SharedAvailable != mqtt.Some[byte](1) {
		t.Errorf("properties %+v", p)
	}
	second, a := w.connect(clean(mqtt.V5, ""))
	if a.Props.AssignedClientID == p.AssignedClientID {
		t.Error("two clients got the same id")
	}
	second.expectNothing()
	// 3.1.1 has no way to tell, but may connect with an empty id
	third, _ := w.connect(clean(mqtt.V311, ""))
	third.expectNothing()
}

func TestDeniedPublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Publish", "topic/secret")
	v5, _ := w.connect(clean(mqtt.V5, "five"))
	a := v5.publish("secret", "x")
	if a.Code != mqtt.NotAuthorized || !strings.Contains(a.Props.ReasonString.Value, "statement 2") {
		t.Errorf("PUBACK %v %+v", a.Code, a.Props)
	}
	v5.send(&mqtt.Publish{Topic: "secret"}) // QoS 0: nothing to say it with
	if a := v5.publish("open", "x"); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
	w.refused("iot:Publish", "topic/secret", "statement 2 of policy test denies")

	v3, _ := w.connect(clean(mqtt.V311, "three"))
	v3.send(&mqtt.Publish{Topic: "open", QoS: 1, PacketID: 1}, &mqtt.Publish{Topic: "secret", QoS: 1, PacketID: 2}, &mqtt.Publish{Topic: "open", QoS: 1, PacketID: 3})
	if a := expect[*mqtt.Ack](v3); a.PacketID != 1 {
		t.Errorf("PUBACK for %d", a.PacketID)
	}
	v3.expectEnd()
	if n := w.rules.seen.Load(); n != 2 {
		t.Errorf("the rules saw %d messages, want 2", n)
	}
}

func TestRequestProblemInformationIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Publish", "topic/secret")
	c := clean(mqtt.V5, "terse")
	c.Props = &mqtt.Properties{RequestProblemInfo: mqtt.Some[byte](0)}
	p, _ := w.connect(c)
	if a := p.publish("secret", ""); a.Code != mqtt.NotAuthorized || a.Props != nil {
		t.Errorf("PUBACK %v %+v", a.Code, a.Props)
	}
}

func TestDeniedRetain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:RetainPublish", "topic/a")
	p, _ := w.connect(clean(mqtt.V5, "p"))
	if a := p.publish("a", "x", retained); a.Code != mqtt.NotAuthorized {
		t.Errorf("PUBACK %v", a.Code)
	}
	if a := p.publish("a", "x"); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
	w.refused("iot:RetainPublish", "topic/a", "statement 2")
}

func TestDeniedSubscribe(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		w.gate.denyAction("iot:Subscribe", "topicfilter/a/#")
		p, _ := w.connect(clean(v, "p"))
		a := p.subscribe(1, "a/#", "a/b")
		want := mqtt.NotAuthorized
		if v == mqtt.V311 {
			want = mqtt.UnspecifiedError
		}
		if a.Codes[0] != want || a.Codes[1] != 1 {
			t.Errorf("SUBACK %v", a.Codes)
		}
		if v == mqtt.V5 && !strings.Contains(a.Props.ReasonString.Value, "statement 2") {
			t.Errorf("SUBACK %+v", a.Props)
		}
		w.refused("iot:Subscribe", "topicfilter/a/#", "statement 2")
	})
}

func TestDeniedReceive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	w.gate.denyAction("iot:Receive", "topic/a/secret")
	sub, _ := w.connect(clean(mqtt.V5, "sub"))
	sub.subscribe(1, "a/+")
	last, _ := w.connect(lasting(mqtt.V311, "last"))
	last.subscribe(1, "a/+")
	pub, _ := w.connect(clean(mqtt.V311, "pub"))
	for range 2 {
		pub.publish("a/secret", "x")
		pub.publish("a/open", "y")
		sub.receive("a/open", "y")
		last.receive("a/open", "y")
	}
	w.refused("iot:Receive", "topic/a/secret", "statement 2")
	w.until("nothing is queued", func() bool { return w.b.Status().Queued == 0 })
	w.gate.deny(nil)
	pub.publish("a/secret", "now")
	sub.receive("a/secret", "now")
	last.receive("a/secret", "now")
}

func TestPolicyChangeAffectsNextPublish(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	if a := p.publish("a", ""); a.Code != mqtt.Success {
		t.Fatal(a.Code)
	}
	n := len(w.gate.questions())
	if p.publish("a", ""); len(w.gate.questions()) != n {
		t.Error("the decision was not remembered")
	}
	w.gate.denyAction("iot:Publish", "topic/a")
	if a := p.publish("a", ""); a.Code != mqtt.NotAuthorized {
		t.Errorf("PUBACK %v", a.Code)
	}
	w.gate.deny(nil)
	if a := p.publish("a", ""); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
}

func TestDeactivatedCertificateLosesItsConnection(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		cert := w.pki.client(t, "bad")
		bad, _ := w.connectWith(cert, clean(v, "bad"))
		other, _ := w.connect(clean(v, "other"))
		w.gate.deactivate(cert.Leaf)
		w.b.Recheck()
		if v == mqtt.V5 {
			if d := expect[*mqtt.Disconnect](bad); d.Code != mqtt.NotAuthorized || !strings.Contains(d.Props.ReasonString.Value, "INACTIVE") {
				t.Errorf("DISCONNECT %v %+v", d.Code, d.Props)
			}
		}
		bad.expectEnd()
		other.expectNothing()
		w.refused("iot:Connect", "client/bad", "INACTIVE")
	})
}

func TestReservedAndOversized(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("a/", 7) + "a"
	for _, c := range []struct {
		topic string
		code  mqtt.ReasonCode
	}{
		{deep, mqtt.Success},
		{deep + "/a", mqtt.TopicNameInvalid},
		{strings.Repeat("x", 256), mqtt.Success},
		{strings.Repeat("x", 257), mqtt.TopicNameInvalid},
		{"$aws/things/x/shadow/update", mqtt.TopicNameInvalid},
		{"$SYS/x", mqtt.TopicNameInvalid},
		{"$aws/rules/r/a", mqtt.TopicNameInvalid}, // not served without BasicIngest
	} {
		t.Run(fmt.Sprintf("%.20s", c.topic), func(t *testing.T) {
			w := newWorld(t, Limits{}, nil)
			v5, _ := w.connect(clean(mqtt.V5, "five"))
			if a := v5.publish(c.topic, ""); a.Code != c.code {
				t.Errorf("PUBACK %v, want %v", a.Code, c.code)
			}
			v3, _ := w.connect(clean(mqtt.V311, "three"))
			v3.send(&mqtt.Publish{Topic: c.topic, QoS: 1, PacketID: 1})
			if c.code == mqtt.Success {
				expect[*mqtt.Ack](v3)
				return
			}
			v3.expectEnd()
			w.refused("iot:Publish", "topic/"+c.topic, "")
			if w.rules.seen.Load() != 0 {
				t.Error("the rules saw it")
			}
		})
	}
}

func TestBasicIngestGoesToRulesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, func(c *Config) { c.BasicIngest = true })
	p, _ := w.connect(clean(mqtt.V5, "p"))
	p.subscribe(0, "#")
	topic := "$aws/rules/store/" + strings.Repeat("a/", 7) + "a"
	if a := p.publish(topic, "x"); a.Code != mqtt.Success || w.rules.seen.Load() != 1 {
		t.Errorf("PUBACK %v, rules saw %d", a.Code, w.rules.seen.Load())
	}
	if a := p.publish("$aws/rules/store/a", "x", retained); a.Code != mqtt.TopicNameInvalid {
		t.Errorf("PUBACK %v", a.Code)
	}
	if a := p.publish("$aws/rules/store", "x"); a.Code != mqtt.TopicNameInvalid {
		t.Errorf("PUBACK %v", a.Code)
	}
	p.expectNothing()
}

func TestPayloadLimit(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, v byte) {
		w := newWorld(t, Limits{}, nil)
		p, _ := w.connect(clean(v, "p"))
		if a := p.publish("a", strings.Repeat("x", 128<<10)); a.Code != mqtt.Success {
			t.Errorf("PUBACK %v for the largest payload", a.Code)
		}
		p.send(&mqtt.Publish{Topic: "a", QoS: 1, PacketID: 9, Payload: make([]byte, 128<<10+1)})
		if v == mqtt.V5 {
			if d := expect[*mqtt.Disconnect](p); d.Code != mqtt.PacketTooLarge {
				t.Errorf("DISCONNECT %v", d.Code)
			}
		}
		p.expectEnd()
		w.refused("iot:Publish", "topic/a", "131073 bytes")
	})
}

func TestWhatEndsTheConnection(t *testing.T) {
	t.Parallel()
	nine := &mqtt.Subscribe{PacketID: 1}
	for i := range 9 {
		nine.Filters = append(nine.Filters, mqtt.Subscription{Filter: fmt.Sprint(i)})
	}
	for _, c := range []struct {
		name   string
		packet mqtt.Packet
		code   mqtt.ReasonCode
		v5only bool
	}{
		{"QoS 2", &mqtt.Publish{Topic: "a", QoS: 2, PacketID: 1}, mqtt.QoSNotSupported, false},
		{"SUBSCRIBE QoS 2", &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "a", QoS: 2}}}, mqtt.QoSNotSupported, false},
		{"9 filters", nine, mqtt.QuotaExceeded, false},
		{"PUBREL", &mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 1}, mqtt.ProtocolError, false},
		{"second CONNECT", clean(mqtt.V5, "again"), mqtt.ProtocolError, true},
		{"subscription id", &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "a"}}, Props: &mqtt.Properties{SubscriptionIDs: []uint32{1}}}, mqtt.SubscriptionIdentifiersNotSupported, true},
		{"alias 9", &mqtt.Publish{Topic: "a", Props: &mqtt.Properties{TopicAlias: mqtt.Some[uint16](9)}}, mqtt.TopicAliasInvalid, true},
		{"unknown alias", &mqtt.Publish{Props: &mqtt.Properties{TopicAlias: mqtt.Some[uint16](3)}}, mqtt.ProtocolError, true},
		{"expiry out of nothing", &mqtt.Disconnect{Props: &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](9)}}, mqtt.ProtocolError, true},
		{"AUTH", &mqtt.Auth{Code: mqtt.Reauthenticate, Props: &mqtt.Properties{AuthMethod: mqtt.Some("m")}}, mqtt.ProtocolError, true},
	} {
		for _, v := range []byte{mqtt.V311, mqtt.V5} {
			if c.v5only && v == mqtt.V311 {
				continue
			}
			t.Run(fmt.Sprintf("%s v%d", c.name, v), func(t *testing.T) {
				w := newWorld(t, Limits{}, nil)
				p, _ := w.connect(clean(v, "p"))
				p.send(c.packet)
				if v == mqtt.V5 {
					if d := expect[*mqtt.Disconnect](p); d.Code != c.code || d.Props == nil {
						t.Errorf("DISCONNECT %v %+v, want %v", d.Code, d.Props, c.code)
					}
				}
				p.expectEnd()
				w.until("a refusal", func() bool { _, n := w.refusals.Recent(0); return n == 1 })
			})
		}
	}
}

func TestSubscriptionLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	for i := range 50 {
		p.subscribe(0, fmt.Sprint(i))
	}
	if a := p.subscribe(0, "51"); a.Codes[0] != mqtt.QuotaExceeded {
		t.Errorf("SUBACK %v", a.Codes)
	}
	if a := p.subscribe(1, "7"); a.Codes[0] != 1 {
		t.Errorf("a subscription that is there already: SUBACK %v", a.Codes)
	}
	a := p.subscribe(0, "$share/g/a", strings.Repeat("a/", 8)+"a", "$aws/x", "+/#")
	want := []mqtt.ReasonCode{mqtt.QuotaExceeded, mqtt.TopicFilterInvalid, mqtt.TopicFilterInvalid, mqtt.QuotaExceeded}
	if fmt.Sprint(a.Codes) != fmt.Sprint(want) {
		t.Errorf("SUBACK %v, want %v", a.Codes, want)
	}
	p.send(&mqtt.Unsubscribe{PacketID: 99, Filters: []string{"7", "never"}})
	if u := expect[*mqtt.Unsuback](p); u.Codes[0] != mqtt.Success || u.Codes[1] != mqtt.NoSubscriptionExisted {
		t.Errorf("UNSUBACK %v", u.Codes)
	}
	p.publish("7", "")
	p.expectNothing()
	v3, _ := w.connect(clean(mqtt.V311, "three"))
	v3.send(&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "$aws/x"}}})
	v3.expectEnd()
}

func TestGrantQoS1(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, func(c *Config) { c.GrantQoS1 = true })
	p, _ := w.connect(clean(mqtt.V311, "p"))
	if a := p.subscribe(2, "a"); a.Codes[0] != 1 {
		t.Errorf("SUBACK %v", a.Codes)
	}
}
