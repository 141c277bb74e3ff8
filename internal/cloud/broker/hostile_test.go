package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/websocket"
	"mote/internal/mqtt"
	"mote/internal/watch"
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
		&mqtt.Ack{Kind: mqtt.PUBREL, PacketID: 9}, &mqtt.Ack{Kind: mqtt.PUBREC, PacketID: 9}, &mqtt.Ack{Kind: mqtt.PUBCOMP, PacketID: 9},
		&mqtt.Publish{Topic: "h/3", Payload: []byte("payload"), QoS: 2, PacketID: 7},
		&mqtt.Connack{}, &mqtt.Suback{PacketID: 1, Codes: []mqtt.ReasonCode{0}}, &mqtt.Unsuback{PacketID: 1, Codes: []mqtt.ReasonCode{0}},
		&mqtt.Ping{}, &mqtt.Disconnect{},
	}
	if version == mqtt.V5 {
		all = append(all, &mqtt.Auth{Code: mqtt.ContinueAuthentication, Props: &mqtt.Properties{AuthMethod: mqtt.Some("m")}})
		all[1].(*mqtt.Publish).Props = &mqtt.Properties{MessageExpiry: mqtt.Some[uint32](5), UserProperties: []mqtt.UserProperty{{Name: "a", Value: "b"}}, TopicAlias: mqtt.Some[uint16](1)}
	}
	return all
}

// door is a way in for strangers. What it returns can close its sending half.
type door struct {
	name  string
	dial  func() net.Conn
	quick bool // without a TLS handshake
}

// doors are the listeners of both modes, and a WebSocket.
func (w *world) doors() []door {
	cert := w.pki.client(w.t, "hostile")
	upgrade := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if conn, err := websocket.Upgrade(rw, r, "mqtt"); err == nil {
			w.b.ServePeer(context.Background(), conn, Peer{Check: func() error { return nil }})
		}
	}))
	w.t.Cleanup(upgrade.Close)
	return []door{
		{"TLS", func() net.Conn { return w.dial(cert).nc }, false},
		{"plain", func() net.Conn { return w.specDial(mqtt.V5).nc }, true},
		{"WebSocket", func() net.Conn { return w.dialWebSocket(upgrade.Listener.Addr().String()) }, true},
	}
}

// webSocketClient sends each Write as one frame and reads frames as they are.
type webSocketClient struct{ net.Conn }

func (w *world) dialWebSocket(addr string) net.Conn {
	w.t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReaderSize(nc, 16), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatalf("handshake: %v %v", resp, err)
	}
	return webSocketClient{nc}
}

// Write sends p in one binary frame, whose mask changes nothing.
func (c webSocketClient) Write(p []byte) (int, error) {
	head := binary.BigEndian.AppendUint64([]byte{0x82, 0xFF}, uint64(len(p)))
	_, err := c.Conn.Write(append(append(head, 0, 0, 0, 0), p...))
	return len(p), err
}

// CloseWrite sends a Close frame.
func (c webSocketClient) CloseWrite() error {
	_, err := c.Conn.Write([]byte{0x88, 0x80, 0, 0, 0, 0})
	return err
}

// strike sends raw bytes on a connection of its own, after CONNECT when greet
// is set, and hangs up.
func (d door) strike(t *testing.T, version byte, greet bool, raw []byte) {
	t.Helper()
	nc := d.dial()
	defer nc.Close()
	if greet {
		first, err := clean(version, "hostile").Append(nil, version)
		if err != nil {
			t.Fatal(err)
		}
		raw = append(first, raw...)
	}
	_, _ = nc.Write(raw)
	_ = nc.(halfCloser).CloseWrite()
	_ = nc.SetReadDeadline(time.Now().Add(watch.Patience))
	if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open after % x", raw[:min(len(raw), 64)])
	}
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
				if p, ok := friend.next().(*mqtt.Publish); ok {
					friend.puback(p.PacketID)
				}
			}
		}
		for _, d := range w.doors() {
			d.besiege(t, version, works)
		}
		works(1000)
		w.until("only the friend is left", func() bool { return w.b.Status().Connections == 1 })
	})
}

// besiege strikes at one door; works is called between.
func (d door) besiege(t *testing.T, version byte, works func(n int)) {
	random := rand.New(rand.NewPCG(1, 2))
	for i, p := range packetsOfClients(version) {
		raw, err := p.Append(nil, version)
		if err != nil {
			t.Fatal(err)
		}
		var cuts bytes.Buffer
		for cut := 1; cut < len(raw); cut++ {
			if d.quick || cut%16 == i%16 || cut < 4 { // a handshake each is slow
				d.strike(t, version, i > 0, raw[:cut])
			}
			mutated := bytes.Clone(raw)
			mutated[random.IntN(len(raw))] ^= byte(1 << random.IntN(8))
			cuts.Write(mutated)
			if d.quick {
				d.strike(t, version, i > 0, mutated)
			}
		}
		d.strike(t, version, true, cuts.Bytes())
		d.strike(t, version, false, cuts.Bytes())
		works(i)
	}
	for _, length := range [][]byte{{0xff, 0xff, 0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0x7f}, {0x80, 0x80, 0x80, 0x80, 0x01}} {
		for kind := byte(1); kind < 16; kind += 3 {
			d.strike(t, version, kind%2 == 0, append([]byte{kind << 4}, length...))
		}
	}
}

// TestSilentConnections hold nobody up, and are closed: before TLS, before
// CONNECT, and in the middle of one that comes byte by byte.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	soon := Limits{ConnectWithin: 4 * time.Second}
	w := newWorld(t, soon, func(c *Config) { c.SpecLimits = soon })
	var silent []net.Conn
	for i := range 200 {
		nc, err := net.Dial("tcp", []string{w.addr, w.specAddr}[i%2])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		silent = append(silent, nc)
	}
	var slow []net.Conn // one of each kind sends CONNECT byte by byte
	for _, d := range w.doors() {
		silent = append(silent, d.dial())
		slow = append(slow, d.dial())
	}
	raw, err := clean(mqtt.V5, "slow").Append(nil, mqtt.V5)
	if err != nil {
		t.Fatal(err)
	}
	friend, _ := w.connect(clean(mqtt.V5, "friend"))
	for i, b := range raw[:len(raw)-1] {
		for _, nc := range slow {
			_, _ = nc.Write([]byte{b}) // fails when its time is over
		}
		friend.publish("a", fmt.Sprint(i))
		time.Sleep(250 * time.Millisecond) // longer in all than it has
	}
	for _, nc := range append(silent, slow...) {
		_ = nc.SetReadDeadline(time.Now().Add(watch.Patience))
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a silent connection is still open")
		}
		_ = nc.Close()
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
