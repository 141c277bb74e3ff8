package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"mote/internal/mqtt"
)

// shape is how the load comes: connections, publishes in flight on each, and
// whether each publish is a TLS record of its own, as most clients write, or
// all that the window allows are one.
type shape struct {
	conns, window int
	joined        bool
	quality0      bool // QoS 0, where the window is how many are sent without looking at the clock
}

func (s shape) String() string {
	if s.quality0 {
		return fmt.Sprintf("QoS 0, connections: %d", s.conns)
	}
	records := "a record each"
	if s.joined {
		records = "records joined"
	}
	return fmt.Sprintf("%d×%d, %s", s.conns, s.window, records)
}

// publisher is one connection of the load.
type publisher struct {
	net      *tls.Conn
	packet   []byte // a PUBLISH, patched for each message
	idAt     int    // of the packet id in packet
	countAt  int    // of the digits that make each message its own row
	sent     int
	buf      []byte
	answered []byte // the rest of a PUBACK
	qos      byte
}

// digits is how many digits of a message's time count messages.
const digits = 9

// newPublisher connects and prepares messages of a QoS. id goes into every
// message.
func newPublisher(addr string, config *tls.Config, clientID, topic, id string, qos byte) (*publisher, error) {
	nc, err := connect(addr, config, clientID)
	if err != nil {
		return nil, err
	}
	p := &publisher{net: nc, qos: qos}
	return p, p.prepare(topic, id)
}

// connect connects with MQTT 3.1.1.
func connect(addr string, config *tls.Config, clientID string) (*tls.Conn, error) {
	nc, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	hello, err := (&mqtt.Connect{Version: mqtt.V311, CleanStart: true, KeepAlive: 600, ClientID: clientID}).Append(nil, mqtt.V311)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(hello); err != nil {
		return nil, err
	}
	answer := make([]byte, 4)
	if n, err := nc.Read(answer); err != nil || n != 4 || !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
		return nil, fmt.Errorf("CONNECT was answered with % x, %w", answer[:n], err)
	}
	return nc, nil
}

// prepare encodes the message: JSON of 100 bytes.
func (p *publisher) prepare(topic, id string) error {
	const size = 100
	payload := fmt.Sprintf(`{"id":%q,"time":"2026-11-22T10:15:30.%0*dZ","dust":35.2,"temp":21.5,"humid":40`, id, digits, 0)
	at := len(payload) - len(`Z","dust":35.2,"temp":21.5,"humid":40`) - digits
	payload += `,"n":` + fmt.Sprintf("%0.*f}", size-len(payload)-len(`,"n":1.}`), 1.0)
	if len(payload) != size {
		return fmt.Errorf("the payload has %d bytes: %s", len(payload), payload)
	}
	var err error
	message := &mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: p.qos}
	if p.qos > 0 {
		message.PacketID = 1
	}
	p.packet, err = message.Append(nil, mqtt.V311)
	p.countAt = len(p.packet) - size + at
	p.idAt = len(p.packet) - size - 2
	return err
}

// next patches the packet to the next message.
func (p *publisher) next() []byte {
	p.sent++
	if p.qos > 0 {
		id := p.sent%65535 + 1
		p.packet[p.idAt], p.packet[p.idAt+1] = byte(id>>8), byte(id)
	}
	for i, n := p.countAt+digits-1, p.sent; i >= p.countAt; i-- {
		p.packet[i] = byte('0' + n%10)
		n /= 10
	}
	return p.packet
}

// send publishes n messages.
func (p *publisher) send(n int, joined bool) error {
	p.buf = p.buf[:0]
	for range n {
		if joined {
			p.buf = append(p.buf, p.next()...)
		} else if _, err := p.net.Write(p.next()); err != nil {
			return err
		}
	}
	if !joined {
		return nil
	}
	_, err := p.net.Write(p.buf)
	return err
}

// pubacks waits for acknowledgements and returns how many came.
func (p *publisher) pubacks(in []byte) (int, error) {
	n, err := p.net.Read(in)
	if err != nil {
		return 0, err
	}
	p.answered = append(p.answered, in[:n]...)
	whole := len(p.answered) / 4
	for i := range whole {
		if a := p.answered[4*i:]; a[0] != 0x40 || a[1] != 2 {
			return 0, fmt.Errorf("want PUBACKs, got % x", a[:4])
		}
	}
	p.answered = append(p.answered[:0], p.answered[4*whole:]...)
	return whole, nil
}

// run keeps the window full until the deadline and returns when all is
// acknowledged.
func (p *publisher) run(s shape, deadline time.Time) error {
	_ = p.net.SetDeadline(deadline.Add(30 * time.Second))
	if s.quality0 {
		return p.pour(s.window, deadline)
	}
	in := make([]byte, 16<<10)
	inFlight := 0
	for room := s.window; ; {
		if time.Now().Before(deadline) {
			if err := p.send(room, s.joined); err != nil {
				return err
			}
			inFlight += room
		}
		if inFlight == 0 {
			return nil
		}
		n, err := p.pubacks(in)
		if err != nil {
			return err
		}
		inFlight, room = inFlight-n, n
	}
}

// pour publishes with QoS 0 until the deadline and returns when the broker has
// read all of it.
func (p *publisher) pour(group int, deadline time.Time) error {
	for time.Now().Before(deadline) {
		if err := p.send(group, false); err != nil {
			return err
		}
	}
	if _, err := p.net.Write([]byte{byte(mqtt.PINGREQ) << 4, 0}); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(p.net, answer[:]); err != nil || answer[0] != byte(mqtt.PINGRESP)<<4 {
		return fmt.Errorf("PINGREQ was answered with % x, %w", answer, err)
	}
	return nil
}

// qos is that of the shape's publishes.
func (s shape) qos() byte {
	if s.quality0 {
		return 0
	}
	return 1
}

// mqttLoad publishes to addr for the span and returns a function that
// does it, so that connecting is not measured, and one that disconnects.
func mqttLoad(addr string, config *tls.Config, s shape, topic func(i int) string, run int, span time.Duration) (work func() (int, error), stop func(), err error) {
	var all []*publisher
	stop = func() {
		for _, p := range all {
			_ = p.net.Close()
		}
	}
	for i := range s.conns {
		p, err := newPublisher(addr, config, "bench-"+strconv.Itoa(i), topic(i), fmt.Sprintf("%d.%d", run, i), s.qos())
		if err != nil {
			stop()
			return nil, nil, err
		}
		all = append(all, p)
	}
	return func() (int, error) {
		var g errgroup.Group
		deadline := time.Now().Add(span)
		for _, p := range all {
			g.Go(func() error { return p.run(s, deadline) })
		}
		err := g.Wait()
		sum := 0
		for _, p := range all {
			sum += p.sent
		}
		return sum, err
	}, stop, nil
}

// clientTLS is a device's side.
func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	pool, err := readPool(caFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "localhost"}, nil
}
