package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/mqtttest"
)

func dial(t *testing.T, o Options) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestManyInFlightArriveInOrder(t *testing.T) {
	m := mqtttest.Start(t, nil)
	for _, version := range []byte{mqtt.V311, mqtt.V5} {
		t.Run(fmt.Sprint("level ", version), func(t *testing.T) {
			const count = 3000
			ctx := testContext(t)
			got := make(chan string, count)
			sub := dial(t, Options{Addr: m.Addr, ClientID: "sub", Version: version, CleanStart: true, OnMessage: func(p *mqtt.Publish) { got <- string(p.Payload) }})
			codes, err := sub.Subscribe(ctx, mqtt.Subscription{Filter: "order/#", QoS: 1})
			if err != nil || !slices.Equal(codes, []mqtt.ReasonCode{mqtt.GrantedQoS1}) {
				t.Fatal(codes, err)
			}
			pub := dial(t, Options{Addr: m.Addr, ClientID: "pub", Version: version, CleanStart: true, KeepAlive: time.Minute})
			var acks, failed atomic.Int64
			for i := range count {
				p := &mqtt.Publish{Topic: "order/1", QoS: 1, Payload: fmt.Append(nil, i)}
				if err := pub.Publish(ctx, p, func(err error) {
					if err != nil {
						failed.Add(1)
					}
					acks.Add(1)
				}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range count {
				select {
				case text := <-got:
					if text != fmt.Sprint(i) {
						t.Fatalf("message %d is %s", i, text)
					}
				case <-ctx.Done():
					t.Fatalf("message %d does not come", i)
				}
			}
			if err := pub.Disconnect(ctx); err != nil {
				t.Fatal(err)
			}
			if acks.Load() != count || failed.Load() != 0 {
				t.Errorf("%d acknowledgements of %d, %d failed", acks.Load(), count, failed.Load())
			}
			if pub.Err() != ErrClosed {
				t.Errorf("ended with %v", pub.Err())
			}
			if err := pub.Publish(ctx, &mqtt.Publish{Topic: "a", QoS: 1}, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("publish after the end: %v", err)
			}
			if codes, err := sub.Unsubscribe(ctx, "order/#"); err != nil || version == mqtt.V5 && !slices.Equal(codes, []mqtt.ReasonCode{mqtt.Success}) {
				t.Error(codes, err)
			}
		})
	}
}

func TestQoS0PropertiesRetainAndWill(t *testing.T) {
	m := mqtttest.Start(t, nil)
	ctx := testContext(t)
	got := make(chan *mqtt.Publish, 10)
	next := func() *mqtt.Publish {
		t.Helper()
		select {
		case p := <-got:
			return p
		case <-ctx.Done():
			t.Fatal("no message")
			return nil
		}
	}
	pub := dial(t, Options{Addr: m.Addr, ClientID: "pub", CleanStart: true, Will: &mqtt.Will{Topic: "gone", Payload: []byte("pub"), QoS: 1}})
	sent := &mqtt.Publish{Topic: "kept", Payload: []byte("x"), Retain: true, Props: &mqtt.Properties{
		ContentType: mqtt.Some("application/json"), CorrelationData: []byte{1}, UserProperties: []mqtt.UserProperty{{Name: "a", Value: "b"}},
	}}
	acked := false
	if err := pub.Publish(ctx, sent, func(err error) { acked = err == nil }); err != nil || !acked {
		t.Fatal(err, acked)
	}
	if err := publishOne(t, pub); err != nil { // the server has had the one before
		t.Fatal(err)
	}
	sub := dial(t, Options{Addr: m.Addr, ClientID: "sub", CleanStart: true, OnMessage: func(p *mqtt.Publish) { got <- p }})
	if _, err := sub.Subscribe(ctx, mqtt.Subscription{Filter: "kept", QoS: 1}, mqtt.Subscription{Filter: "gone", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	p := next()
	if !p.Retain || p.QoS != 0 || string(p.Payload) != "x" || p.Props.ContentType.Value != "application/json" || p.Props.UserProperties[0] != sent.Props.UserProperties[0] {
		t.Errorf("got %+v %+v", p, p.Props)
	}
	pub.Close() // no DISCONNECT: the will is published
	if p := next(); p.Topic != "gone" || p.QoS != 1 {
		t.Errorf("got %+v", p)
	}
}

func TestServersLimitsAreKept(t *testing.T) {
	m := mqtttest.Start(t, nil, "max_packet_size 2000", "max_inflight_messages 3", "retain_available false")
	ctx := testContext(t)
	c := dial(t, Options{Addr: m.Addr, ClientID: "a", CleanStart: true, MaxInflight: 50})
	if c.Window() > 50 || c.MaxPacket() != 2000 {
		t.Errorf("window %d, maximum packet %d", c.Window(), c.MaxPacket())
	}
	var wire *mqtt.Error
	err := c.Publish(ctx, &mqtt.Publish{Topic: "a", QoS: 1, Payload: make([]byte, 2000)}, func(error) { t.Error("onAck of a message that was not sent") })
	if !errors.As(err, &wire) || wire.Code != mqtt.PacketTooLarge {
		t.Errorf("too large: %v", err)
	}
	if err := c.Publish(ctx, &mqtt.Publish{Topic: "a", Retain: true}, nil); !errors.As(err, &wire) || wire.Code != mqtt.RetainNotSupported {
		t.Errorf("retained: %v", err)
	}
	if err := c.Publish(ctx, &mqtt.Publish{Topic: "a", QoS: 2}, nil); !errors.As(err, &wire) || wire.Code != mqtt.QoSNotSupported {
		t.Errorf("QoS 2: %v", err)
	}
	if err := c.Publish(ctx, &mqtt.Publish{Topic: "a/#", QoS: 1}, nil); !errors.As(err, &wire) || wire.Code != mqtt.TopicNameInvalid {
		t.Errorf("wildcard: %v", err)
	}
	acked := make(chan error, 1)
	if err := c.Publish(ctx, &mqtt.Publish{Topic: "a", QoS: 1}, func(err error) { acked <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-acked; err != nil {
		t.Errorf("the connection did not survive refused messages: %v", err)
	}
}

func TestPasswordRefusal(t *testing.T) {
	m := mqtttest.Start(t, nil, "allow_anonymous false")
	for _, version := range []byte{mqtt.V311, mqtt.V5} {
		_, err := Dial(testContext(t), Options{Addr: m.Addr, ClientID: "a", Version: version, CleanStart: true})
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != mqtt.NotAuthorized || !strings.Contains(err.Error(), "policy allows iot:Connect") {
			t.Errorf("level %d: %v", version, err)
		}
	}
}

func TestTLS(t *testing.T) {
	certs, other := mqtttest.NewCerts(t), mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	ctx := testContext(t)
	with := func(cfg *tls.Config) error {
		c, err := Dial(ctx, Options{Addr: m.Addr, ClientID: "a", CleanStart: true, TLS: cfg})
		if err != nil {
			return err
		}
		acked := make(chan error, 1)
		if err := c.Publish(ctx, &mqtt.Publish{Topic: "a", QoS: 1, Payload: []byte("x")}, func(err error) { acked <- err }); err != nil {
			return err
		}
		if err := <-acked; err != nil {
			return err
		}
		return c.Disconnect(ctx)
	}
	if err := with(&tls.Config{RootCAs: certs.CA, Certificates: []tls.Certificate{certs.Client}}); err != nil {
		t.Error(err)
	}
	for want, cfg := range map[string]*tls.Config{
		"check the ca file":                 {RootCAs: other.CA, Certificates: []tls.Certificate{certs.Client}},
		"did not accept this client's cert": {RootCAs: certs.CA, Certificates: []tls.Certificate{other.Client}},
		"did not accept":                    {RootCAs: certs.CA},
		"check the endpoint":                {RootCAs: certs.CA, Certificates: []tls.Certificate{certs.Client}, ServerName: "example.com"},
	} {
		if err := with(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestServerStopsWithMessagesInFlight(t *testing.T) {
	m := mqtttest.Start(t, nil)
	ctx := testContext(t)
	c := dial(t, Options{Addr: m.Addr, ClientID: "a", CleanStart: true, MaxInflight: 10})
	var ok, failed, sent int
	for i := range 100000 {
		if i == 50 {
			go m.Kill()
		}
		if err := c.Publish(ctx, &mqtt.Publish{Topic: "a", QoS: 1}, func(err error) {
			if err != nil {
				failed++
			} else {
				ok++
			}
		}); err != nil {
			break
		}
		sent++
	}
	<-c.Done()
	if ok+failed != sent || failed > 10 {
		t.Errorf("%d sent, %d acknowledged, %d failed", sent, ok, failed)
	}
	if !errors.Is(c.Err(), ErrServerClosed) {
		t.Errorf("ended with %v", c.Err())
	}
}
