package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/mqtt"
)

// fake is a server on the other end of a pipe, written out by each test.
type fake struct {
	t testing.TB
	net.Conn
	r *mqtt.Reader
}

// with connects a client to the server that serve plays; serve's connection is
// closed when it returns.
func with(t *testing.T, o Options, serve func(f *fake)) (*Conn, error) {
	t.Helper()
	done := make(chan struct{})
	o.Addr = "fake:1883"
	if o.ClientID == "" {
		o.ClientID = "pi"
	}
	o.Dial = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer close(done)
			defer theirs.Close()
			version := o.Version
			if version == 0 {
				version = mqtt.V5
			}
			serve(&fake{t, theirs, mqtt.NewReader(theirs, mqtt.Decoder{Version: version, From: mqtt.FromClient})})
		}()
		return ours, nil
	}
	c, err := Dial(t.Context(), o)
	t.Cleanup(func() {
		if c != nil {
			c.Close()
		}
		<-done
	})
	return c, err
}

// next returns the client's next packet, nil when it has closed.
func (f *fake) next() mqtt.Packet {
	for {
		frame, ok, err := f.r.Next()
		if err != nil {
			f.t.Error(err)
			return nil
		}
		if ok {
			p, err := f.r.Packet(frame)
			if err != nil {
				f.t.Error(err)
			}
			return p
		}
		if f.r.Fill() != nil {
			return nil
		}
	}
}

func (f *fake) send(packets ...mqtt.Packet) {
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = p.Append(b, f.r.Version); err != nil {
			f.t.Error(err)
		}
	}
	f.Write(b)
}

// accept answers CONNECT.
func (f *fake) accept(p *mqtt.Connack) { f.next(); f.send(p) }

func TestDialFailures(t *testing.T) {
	for what, c := range map[string]struct {
		version byte
		serve   func(f *fake)
		want    string
		is      error
	}{
		"closed without an answer": {5, func(f *fake) { f.next() }, "policy allows iot:Connect", ErrNoAnswer},
		"half a CONNACK":           {5, func(f *fake) { f.next(); f.Write([]byte{0x20, 0x03, 0x00}) }, "in the middle of its answer", io.ErrUnexpectedEOF},
		"another protocol":         {5, func(f *fake) { f.next(); f.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, "is it an MQTT server", nil},
		"too large":                {5, func(f *fake) { f.next(); f.Write([]byte{0x20, 0xff, 0xff, 0xff, 0x7f}) }, "is it an MQTT server", nil},
		"another packet":           {5, func(f *fake) { f.next(); f.send(&mqtt.Ping{Response: true}) }, "PINGRESP instead of CONNACK", nil},
		"unexpected session":       {5, func(f *fake) { f.accept(&mqtt.Connack{SessionPresent: true}) }, "clean start", nil},
		"denied, 3.1.1":            {4, func(f *fake) { f.accept(&mqtt.Connack{Code: mqtt.NotAuthorized}) }, `not authorized (0x87): check that the certificate is active and that its policy allows iot:Connect for client id "pi"`, nil},
		"denied, 5": {5, func(f *fake) {
			f.accept(&mqtt.Connack{Code: mqtt.ServerMoved, Props: &mqtt.Properties{ReasonString: mqtt.Some("we moved"), ServerReference: mqtt.Some("there:8883")}})
		}, `server moved (0x9D): "we moved": connect to "there:8883" instead`, nil},
		"silence": {5, func(f *fake) { f.next(); f.next() }, "did not answer CONNECT within 30s", nil},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := with(t, Options{Version: c.version, CleanStart: true}, c.serve)
				if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		})
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ours, theirs := net.Pipe()
		defer theirs.Close()
		go func() { io.Copy(io.Discard, theirs) }()
		time.AfterFunc(time.Second, cancel)
		_, err := Dial(ctx, Options{Addr: "a:1", ClientID: "a", Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	for what, c := range map[string]struct {
		ask    time.Duration
		server mqtt.Opt[uint16]
		first  time.Duration // when the first ping must have come
	}{
		"as asked":      {40 * time.Second, mqtt.Opt[uint16]{}, 30 * time.Second},
		"as the server": {40 * time.Second, mqtt.Some[uint16](100), 75 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var pings []time.Duration
				conn, err := with(t, Options{KeepAlive: c.ask}, func(f *fake) {
					f.accept(&mqtt.Connack{Props: &mqtt.Properties{ServerKeepAlive: c.server}})
					for p := f.next(); p != nil; p = f.next() {
						pings = append(pings, time.Since(start))
						if len(pings) < 10 { // then it goes silent
							f.send(&mqtt.Ping{Response: true})
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				<-conn.Done()
				synctest.Wait()
				if conn.Err() != ErrKeepAlive {
					t.Errorf("ended with %v", conn.Err())
				}
				if len(pings) != 10 || pings[0] != c.first || pings[9] > 10*c.first {
					t.Errorf("pings after %v", pings)
				}
				if end := time.Since(start) - pings[9]; end != 10*time.Second {
					t.Errorf("gave up %v after the last ping", end)
				}
			})
		})
	}
}

func TestNoKeepAliveSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := with(t, Options{KeepAlive: time.Minute}, func(f *fake) {
			f.accept(&mqtt.Connack{Props: &mqtt.Properties{ServerKeepAlive: mqtt.Some[uint16](0)}})
			if p := f.next(); p != nil {
				t.Errorf("got %s", p.Type())
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		c.Close()
	})
}

func TestReceiveMaximumIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := 0
		ack := make(chan struct{})
		c, err := with(t, Options{MaxInflight: 50}, func(f *fake) {
			f.accept(&mqtt.Connack{Props: &mqtt.Properties{ReceiveMaximum: mqtt.Some[uint16](3)}})
			go func() {
				for range ack {
					f.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 2}) // not in order, as AWS may do
				}
			}()
			for p := f.next(); p != nil; p = f.next() {
				if got++; p.(*mqtt.Publish).PacketID != uint16(got) {
					t.Errorf("message %d: %+v", got, p)
				}
			}
		})
		defer close(ack)
		if err != nil {
			t.Fatal(err)
		}
		results := map[int]error{}
		go func() {
			for i := 1; i <= 4; i++ {
				if err := c.Publish(t.Context(), &mqtt.Publish{Topic: "a", QoS: 1}, func(err error) { results[i] = err }); err != nil {
					t.Error(err)
				}
			}
		}()
		synctest.Wait()
		if got != 3 {
			t.Errorf("%d in flight, the server takes 3", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Publish(ctx, &mqtt.Publish{Topic: "late", QoS: 1}, func(error) { t.Error("onAck") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("publish with a full window: %v", err)
		}
		ack <- struct{}{}
		synctest.Wait()
		if got != 4 || len(results) != 1 || results[2] != nil {
			t.Errorf("%d sent, results %v", got, results)
		}
		c.Close()
		if len(results) != 4 || !errors.Is(results[1], ErrClosed) || !errors.Is(results[4], ErrClosed) {
			t.Errorf("after the end: %v", results)
		}
	})
}

// publishOne publishes one message and returns what its onAck got.
func publishOne(t *testing.T, c *Conn) error {
	t.Helper()
	got := make(chan error, 2)
	if err := c.Publish(t.Context(), &mqtt.Publish{Topic: "a", QoS: 1}, func(err error) { got <- err }); err != nil {
		t.Fatal(err)
	}
	return <-got
}

func TestRefusedMessageLeavesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := with(t, Options{}, func(f *fake) {
			f.accept(&mqtt.Connack{})
			f.next()
			f.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 1, Code: mqtt.NotAuthorized, Props: &mqtt.Properties{ReasonString: mqtt.Some("no")}})
			f.next()
			f.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 2, Code: mqtt.NoMatchingSubscribers})
			f.next()
		})
		if err != nil {
			t.Fatal(err)
		}
		var refused *PubackError
		if err := publishOne(t, c); !errors.As(err, &refused) || refused.Code != mqtt.NotAuthorized || refused.Reason != "no" {
			t.Errorf("got %v", err)
		}
		if err := publishOne(t, c); err != nil {
			t.Errorf("no subscribers is a success, got %v", err)
		}
	})
}

func TestWhatTheServerDoesWrongEndsTheConnection(t *testing.T) {
	for what, c := range map[string]struct {
		send []mqtt.Packet
		code mqtt.ReasonCode
	}{
		"wrong id":      {[]mqtt.Packet{&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 77}}, mqtt.ProtocolError},
		"acked twice":   {[]mqtt.Packet{&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 1}, &mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 1}}, mqtt.ProtocolError},
		"wrong kind":    {[]mqtt.Packet{&mqtt.Suback{PacketID: 1, Codes: []mqtt.ReasonCode{0}}}, mqtt.ProtocolError},
		"QoS 2":         {[]mqtt.Packet{&mqtt.Publish{Topic: "a", QoS: 2, PacketID: 1}}, mqtt.QoSNotSupported},
		"topic alias":   {[]mqtt.Packet{&mqtt.Publish{Topic: "a", Props: &mqtt.Properties{TopicAlias: mqtt.Some[uint16](1)}}}, mqtt.TopicAliasInvalid},
		"second answer": {[]mqtt.Packet{&mqtt.Connack{}}, mqtt.ProtocolError},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told mqtt.Packet
				conn, err := with(t, Options{}, func(f *fake) {
					f.accept(&mqtt.Connack{})
					f.next()
					f.send(c.send...)
					told = f.next()
				})
				if err != nil {
					t.Fatal(err)
				}
				acks := 0
				if err := conn.Publish(t.Context(), &mqtt.Publish{Topic: "a", QoS: 1}, func(error) { acks++ }); err != nil {
					t.Fatal(err)
				}
				<-conn.Done()
				synctest.Wait()
				var wire *mqtt.Error
				if !errors.As(conn.Err(), &wire) || wire.Code != c.code || acks != 1 {
					t.Errorf("ended with %v, %d calls of onAck", conn.Err(), acks)
				}
				if d, ok := told.(*mqtt.Disconnect); !ok || d.Code != c.code {
					t.Errorf("the server was told %+v", told)
				}
			})
		})
	}
}

func TestServersReasonIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := with(t, Options{}, func(f *fake) {
			f.accept(&mqtt.Connack{})
			f.send(&mqtt.Disconnect{Code: mqtt.SessionTakenOver, Props: &mqtt.Properties{ReasonString: mqtt.Some("other")}})
		})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		var gone *DisconnectedError
		if err := c.Err(); !errors.As(err, &gone) || gone.Code != mqtt.SessionTakenOver || gone.Reason != "other" || !strings.Contains(err.Error(), "same client id") {
			t.Errorf("got %v", err)
		}
	})
}

func TestInboundQoS1IsAcknowledgedAfterOnMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handled := make(chan struct{})
		acked := []uint16{}
		var got []string
		_, err := with(t, Options{OnMessage: func(p *mqtt.Publish) { got = append(got, p.Topic); <-handled }}, func(f *fake) {
			f.accept(&mqtt.Connack{})
			go f.send(&mqtt.Publish{Topic: "a", QoS: 1, PacketID: 5}, &mqtt.Publish{Topic: "b"}, &mqtt.Publish{Topic: "c", QoS: 1, PacketID: 6})
			for p := f.next(); p != nil; p = f.next() {
				acked = append(acked, p.(*mqtt.Ack).PacketID)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(acked) != 0 {
			t.Error("acknowledged before OnMessage returned")
		}
		close(handled)
		synctest.Wait()
		if len(acked) != 2 || acked[0] != 5 || acked[1] != 6 || strings.Join(got, "") != "abc" {
			t.Errorf("acknowledged %v, got %v", acked, got)
		}
	})
}

func TestDisconnectWaitsForWhatIsInFlight(t *testing.T) {
	for what, answer := range map[string]bool{"answered": true, "silence": false} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var last mqtt.Packet
				c, err := with(t, Options{}, func(f *fake) {
					f.accept(&mqtt.Connack{})
					for p := f.next(); p != nil; p = f.next() {
						last = p
						if p, ok := p.(*mqtt.Publish); ok && answer {
							time.Sleep(time.Second)
							f.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID})
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				results := []error{}
				for range 3 {
					if err := c.Publish(t.Context(), &mqtt.Publish{Topic: "a", QoS: 1}, func(err error) { results = append(results, err) }); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if err := c.Disconnect(ctx); (err == nil) != answer {
					t.Error(err)
				}
				synctest.Wait()
				if len(results) != 3 || (results[2] == nil) != answer {
					t.Errorf("results %v", results)
				}
				if _, ok := last.(*mqtt.Disconnect); !ok {
					t.Errorf("last came %+v", last)
				}
			})
		})
	}
}

// A server that reads nothing must not make the client gather without bound,
// nor hold Close.
func TestServerThatReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		c, err := with(t, Options{MaxInflight: 1000}, func(f *fake) { f.accept(&mqtt.Connack{}); <-wait })
		if err != nil {
			t.Fatal(err)
		}
		defer close(wait)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		sent := 0
		for err == nil {
			if err = c.Publish(ctx, &mqtt.Publish{Topic: "a", Payload: make([]byte, 10000)}, nil); err == nil {
				sent++
			}
		}
		if !errors.Is(err, context.DeadlineExceeded) || sent*10000 > 3*mostOut {
			t.Errorf("%d messages gathered, then %v", sent, err)
		}
		c.Close()
	})
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"mqtt version level 3":   {Version: 3},
		"keep alive of 20h0m0s":  {KeepAlive: 20 * time.Hour},
		"cannot reach 127.0.0.1": {Addr: "127.0.0.1:1"},
	} {
		if _, err := Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
