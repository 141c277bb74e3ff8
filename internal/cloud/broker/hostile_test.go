package broker

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"mote/internal/mqtt"
)

// packetsOfClients is one of each kind that a client can send, and of those
// that only servers send.
func packetsOfClients(version byte) []mqtt.Packet {
	connect := lasting(version, "hostile")
	connect.Will = &mqtt.Will{Topic: "gone", Payload: []byte("x"), QoS: 1}
	all := []mqtt.Packet{
		connect,
		&mqtt.Publish{Topic: "h/1", Payload: []byte("payload"), QoS: 1, PacketID: 1},
		&mqtt.Publish{Topic: "h/2", Payload: []byte("payload"), Retain: true},
		&mqtt.Subscribe{PacketID: 2, Filters: []mqtt.Subscription{{Filter: "h/#", QoS: 1}, {Filter: "$share/g/h"}}},
		&mqtt.Unsubscribe{PacketID: 3, Filters: []string{"h/#"}},
		&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: 9},
		&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 9},
		&mqtt.Connack{}, &mqtt.Suback{PacketID: 1, Codes: []mqtt.ReasonCode{0}}, &mqtt.Unsuback{PacketID: 1, Codes: []mqtt.ReasonCode{0}},
		&mqtt.Ping{}, &mqtt.Disconnect{},
	}
	if version == mqtt.V5 {
		all[1].(*mqtt.Publish).Props = &mqtt.Properties{MessageExpiry: mqtt.Some[uint32](5), UserProperties: []mqtt.UserProperty{{Name: "a", Value: "b"}}, TopicAlias: mqtt.Some[uint16](1)}
	}
	return all
}

// strike sends raw bytes on a connection of its own, after CONNECT when greet
// is set, and hangs up.
func (w *world) strike(cert tls.Certificate, version byte, greet bool, raw []byte) {
	w.t.Helper()
	c := w.dial(cert)
	c.version = version
	if greet {
		raw, _ = func() ([]byte, error) {
			b, err := clean(version, "hostile").Append(nil, version)
			return append(b, raw...), err
		}()
	}
	_, _ = c.nc.Write(raw)
	_ = c.nc.(*tls.Conn).CloseWrite()
	_ = c.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, c.nc); err != nil && strings.Contains(err.Error(), "timeout") {
		w.t.Errorf("the connection is still open after % x", raw[:min(len(raw), 64)])
	}
	_ = c.nc.Close()
}

// TestHostilePackets sends every kind of packet cut off at every byte, and
// mutated, before and after CONNECT, while another client works on.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	eachVersion(t, func(t *testing.T, version byte) {
		w := newWorld(t, Limits{}, nil)
		friend, _ := w.connect(clean(version, "friend"))
		friend.subscribe(1, "friend")
		works := func(n int) {
			t.Helper()
			friend.send(&mqtt.Publish{Topic: "friend", Payload: fmt.Append(nil, n), QoS: 1, PacketID: uint16(n%60000 + 1)})
			for range 2 { // its PUBACK and its message
				if p, ok := friend.next(5 * time.Second).(*mqtt.Publish); ok {
					friend.puback(p.PacketID)
				}
			}
		}
		cert := w.pki.client(t, "hostile")
		random := rand.New(rand.NewPCG(1, 2))
		for i, p := range packetsOfClients(version) {
			raw, err := p.Append(nil, version)
			if err != nil {
				t.Fatal(err)
			}
			var cuts bytes.Buffer
			for cut := 1; cut < len(raw); cut++ {
				if cut%16 == i%16 || cut < 4 { // the others are for the fuzz test: a handshake each is slow
					w.strike(cert, version, i > 0, raw[:cut])
				}
				mutated := bytes.Clone(raw)
				mutated[random.IntN(len(raw))] ^= byte(1 << random.IntN(8))
				cuts.Write(mutated)
			}
			w.strike(cert, version, true, cuts.Bytes())
			w.strike(cert, version, false, cuts.Bytes())
			works(i)
		}
		for _, length := range [][]byte{{0xff, 0xff, 0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0x7f}, {0x80, 0x80, 0x80, 0x80, 0x01}} {
			for kind := byte(1); kind < 16; kind += 3 {
				w.strike(cert, version, kind%2 == 0, append([]byte{kind << 4}, length...))
			}
		}
		works(1000)
		w.until("only the friend is left", func() bool { return w.b.Status().Connections == 1 })
	})
}

// TestSilentConnections hold nobody up, and are closed: before TLS, before
// CONNECT, and in the middle of one that comes byte by byte.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{ConnectWithin: 1500 * time.Millisecond}, nil)
	cert := w.pki.client(t, "slow")
	var silent []net.Conn
	for range 200 {
		nc, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		silent = append(silent, nc)
	}
	quiet := w.dial(cert)
	slow := w.dial(cert)
	raw, err := clean(mqtt.V5, "slow").Append(nil, mqtt.V5)
	if err != nil {
		t.Fatal(err)
	}
	friend, _ := w.connect(clean(mqtt.V5, "friend"))
	for i, b := range raw[:len(raw)-1] {
		if _, err := slow.nc.Write([]byte{b}); err != nil {
			break
		}
		friend.publish("a", fmt.Sprint(i))
		time.Sleep(100 * time.Millisecond) // longer in all than it has
	}
	quiet.expectEnd()
	slow.expectEnd()
	for _, nc := range silent {
		_ = nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, nc); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatal("a silent connection is still open")
		}
	}
	friend.publish("a", "still here")
}

// TestNeverReadingSubscriber: it delays neither the publisher nor others, what
// is dropped is counted, and QoS 1 stays queued up to its limit.
func TestNeverReadingSubscriber(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{Output: 64 << 10, QueueMessages: 300, WriteWithin: time.Hour}, nil)
	deaf, _ := w.connect(lasting(mqtt.V5, "deaf"))
	deaf.subscribe(1, "s/1")
	deaf.subscribe(0, "s/0")
	good, _ := w.connect(clean(mqtt.V5, "good"))
	good.subscribe(1, "s/end")
	p, _ := w.connect(clean(mqtt.V5, "p"))
	big := strings.Repeat("x", 64<<10)
	for range 400 {
		p.send(&mqtt.Publish{Topic: "s/0", Payload: []byte(big)})
		p.publish("s/1", "small")
	}
	p.publish("s/end", "done")
	good.receive("s/end", "done")
	st := w.b.Status()
	if st.Queued != 300 || st.Dropped < 100 {
		t.Errorf("%d queued, want 300; %d dropped, want the 100 that did not fit and more", st.Queued, st.Dropped)
	}
	_ = deaf.nc.Close()
}
