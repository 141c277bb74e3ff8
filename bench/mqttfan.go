package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"mote/internal/mqtt"
)

// fanWidth is how many subscribers get each message, fanGroup how many messages
// are published before all subscribers have got them: few enough that no broker
// drops any.
const (
	fanWidth = 100
	fanGroup = 16
)

// fanOut measures messages of one publisher to many subscribers.
func (b *bench) fanOut(r rivals) error {
	for _, qos := range []byte{0, 1} {
		what := fmt.Sprintf("fan-out 1→%d, QoS %d", fanWidth, qos)
		if !b.wants(what) {
			continue
		}
		v, err := b.turns(b.fanned(r.mosquitto, qos), b.fanned(r.mote, qos))
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		b.report.add(row{what: "MQTT " + what + ", each delivery", unit: perMillion, baseline: "mosquitto", base: median(v[0]), value: median(v[1]), goal: 1})
	}
	return nil
}

// fanned measures the CPU of a broker for each delivery.
func (b *bench) fanned(p *peer, qos byte) func() (float64, error) {
	return func() (float64, error) {
		f, err := newFan(p, qos)
		defer f.close()
		if err != nil {
			return 0, err
		}
		return p.perItem(func() (int, error) { return f.run(b.span) })
	}
}

// fan is one publisher and its subscribers.
type fan struct {
	from *publisher
	to   []*subscriber
}

func newFan(p *peer, qos byte) (*fan, error) {
	f := &fan{}
	const topic = "fan/7/air"
	var err error
	if f.from, err = newPublisher(p.addr, p.tls, "bench-fan", topic, "fan", qos); err != nil {
		return f, err
	}
	for i := range fanWidth {
		s, err := subscribe(p, "bench-fan-"+strconv.Itoa(i), topic, qos)
		if err != nil {
			return f, err
		}
		f.to = append(f.to, s)
	}
	return f, nil
}

func (f *fan) close() {
	if f.from != nil {
		_ = f.from.net.Close()
	}
	for _, s := range f.to {
		_ = s.net.Close()
	}
}

// run publishes for the span and returns how many messages were delivered.
func (f *fan) run(span time.Duration) (deliveries int, err error) {
	deadline := time.Now().Add(span)
	limit := deadline.Add(30 * time.Second)
	_ = f.from.net.SetDeadline(limit)
	for _, s := range f.to {
		_ = s.net.SetDeadline(limit)
	}
	in := make([]byte, 4<<10)
	for time.Now().Before(deadline) {
		if err := f.from.send(fanGroup, false); err != nil {
			return 0, err
		}
		var g errgroup.Group
		for _, s := range f.to {
			g.Go(func() error { return s.take(fanGroup) })
		}
		for acked := 0; f.from.qos > 0 && acked < fanGroup; {
			n, err := f.from.pubacks(in)
			if err != nil {
				return 0, errors.Join(err, g.Wait())
			}
			acked += n
		}
		if err := g.Wait(); err != nil {
			return 0, err
		}
		deliveries += fanGroup * len(f.to)
	}
	return deliveries, nil
}

// subscriber is a connection that gets messages.
type subscriber struct {
	net *tls.Conn
	in  *mqtt.Reader
	buf []byte // PUBACKs to send
}

func subscribe(p *peer, clientID, topic string, qos byte) (*subscriber, error) {
	nc, err := connect(p.addr, p.tls, clientID)
	if err != nil {
		return nil, err
	}
	wish, err := (&mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: topic, QoS: qos}}}).Append(nil, mqtt.V311)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(wish); err != nil {
		return nil, err
	}
	var answer [5]byte
	if _, err := io.ReadFull(nc, answer[:]); err != nil || answer[0] != byte(mqtt.SUBACK)<<4 || answer[4] != qos {
		return nil, fmt.Errorf("SUBSCRIBE was answered with % x, %w", answer, err)
	}
	return &subscriber{net: nc, in: mqtt.NewReader(nc, mqtt.Decoder{Version: mqtt.V311, From: mqtt.FromServer})}, nil
}

// take gets n messages and acknowledges those of QoS 1, as many together as
// have come together.
func (s *subscriber) take(n int) error {
	var v mqtt.PublishView
	for n > 0 {
		f, ok, err := s.in.Next()
		switch {
		case err != nil:
			return err
		case !ok:
			if err := s.acknowledge(); err != nil {
				return err
			}
			if err := s.in.Fill(); err != nil {
				return err
			}
			continue
		}
		if err := s.in.Decoder.Publish(f, &v); err != nil {
			return err
		}
		if v.QoS > 0 {
			s.buf = mqtt.AppendPuback(s.buf, v.PacketID)
		}
		n--
	}
	return s.acknowledge()
}

func (s *subscriber) acknowledge() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.net.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}
