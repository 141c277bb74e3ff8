package test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/mqtt"
	"mote/internal/watch"
)

// wire is one connection of a client that speaks packets.
type wire struct {
	nc net.Conn
	in *mqtt.Reader
}

// dialWire connects until it works, as the server is killed now and then. It
// returns nil at the end of ctx.
func dialWire(ctx context.Context, addr string, connect *mqtt.Connect) (*wire, *mqtt.Connack) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		w := &wire{nc, mqtt.NewReader(nc, mqtt.Decoder{From: mqtt.FromServer, Version: connect.Version})}
		if w.send(connect.Version, connect) == nil {
			if p, err := w.next(ctx); err == nil {
				if ack, ok := p.(*mqtt.Connack); ok {
					return w, ack
				}
			}
		}
		_ = nc.Close()
	}
	return nil, nil
}

func (w *wire) send(version byte, packets ...mqtt.Packet) error {
	var buf []byte
	for _, p := range packets {
		var err error
		if buf, err = p.Append(buf, version); err != nil {
			return err
		}
	}
	_, err := w.nc.Write(buf)
	return err
}

// next returns the next packet, within 20 s.
func (w *wire) next(ctx context.Context) (mqtt.Packet, error) {
	_ = w.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	defer context.AfterFunc(ctx, func() { _ = w.nc.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		f, ok, err := w.in.Next()
		if err != nil {
			return nil, err
		}
		if ok {
			return w.in.Decoder.Packet(f)
		}
		if err := w.in.Fill(); err != nil {
			return nil, err
		}
	}
}

func lasting(id string) *mqtt.Connect {
	return &mqtt.Connect{Version: mqtt.V5, ClientID: id, KeepAlive: 60, Props: &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](3600)}}
}

func step(kind mqtt.Type, id uint16) *mqtt.Ack { return &mqtt.Ack{Kind: kind, PacketID: id} }

// sender publishes numbers with QoS 2, many at a time, and goes on with every
// exchange where a kill of the server has left it.
type sender struct {
	t     *testing.T
	addr  string
	topic string
	total int

	sent int
	open []exchange // in the order of sending
}

type exchange struct {
	id       uint16
	number   int
	released bool // PUBREC came
}

const window = 40

func (s *sender) run(ctx context.Context) {
	for first := true; s.sent < s.total || len(s.open) > 0; first = false {
		w, ack := dialWire(ctx, s.addr, lasting("sender"))
		if w == nil {
			return
		}
		if !first && !ack.SessionPresent {
			s.t.Error("the session of the sender is lost")
		}
		s.talk(ctx, w)
		_ = w.nc.Close()
	}
}

func (s *sender) talk(ctx context.Context, w *wire) {
	var again []mqtt.Packet
	for _, e := range s.open {
		if e.released {
			again = append(again, step(mqtt.PUBREL, e.id))
		} else {
			again = append(again, s.packet(e, true))
		}
	}
	for err := w.send(mqtt.V5, again...); err == nil; {
		var fresh []mqtt.Packet
		for ; len(s.open) < window && s.sent < s.total; s.sent++ {
			e := exchange{id: uint16(s.sent%60000 + 1), number: s.sent}
			s.open = append(s.open, e)
			fresh = append(fresh, s.packet(e, false))
		}
		if err = w.send(mqtt.V5, fresh...); err != nil || len(s.open) == 0 {
			return
		}
		p, failed := w.next(ctx)
		if failed != nil {
			return
		}
		err = s.take(w, p)
	}
}

func (s *sender) packet(e exchange, again bool) *mqtt.Publish {
	return &mqtt.Publish{Topic: s.topic, Payload: strconv.AppendInt(nil, int64(e.number), 10), QoS: 2, PacketID: e.id, Dup: again}
}

func (s *sender) take(w *wire, p mqtt.Packet) error {
	a, ok := p.(*mqtt.Ack)
	if !ok {
		return fmt.Errorf("got %T", p)
	}
	for i := range s.open {
		if s.open[i].id != a.PacketID {
			continue
		}
		if a.Kind == mqtt.PUBCOMP { // also "not found", when the first one was lost
			s.open = append(s.open[:i], s.open[i+1:]...)
			return nil
		}
		if a.Code.Failed() {
			s.t.Errorf("PUBREC %v for %d", a.Code, s.open[i].number)
		}
		s.open[i].released = true
		return w.send(mqtt.V5, step(mqtt.PUBREL, a.PacketID))
	}
	return nil
}

// receiver notes the numbers of messages with QoS 2, each once, as a client
// does that keeps the packet ids it has received until PUBREL.
type receiver struct {
	t            *testing.T
	addr, filter string
	ready        chan struct{} // closed when it has subscribed

	mu      sync.Mutex
	numbers []string // guarded by mu
	held    map[uint16]bool
	again   int // PUBLISH for ids that were held
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.numbers)
}

func (r *receiver) run(ctx context.Context) {
	for first := true; ctx.Err() == nil; first = false {
		w, ack := dialWire(ctx, r.addr, lasting("receiver"))
		if w == nil {
			return
		}
		var err error
		switch {
		case first:
			err = w.send(mqtt.V5, &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: r.filter, QoS: 2}}})
		case !ack.SessionPresent:
			r.t.Error("the session of the receiver is lost")
		}
		for err == nil {
			var p mqtt.Packet
			if p, err = w.next(ctx); err == nil {
				err = r.take(w, p)
			}
		}
		_ = w.nc.Close()
	}
}

func (r *receiver) take(w *wire, p mqtt.Packet) error {
	switch p := p.(type) {
	case *mqtt.Suback:
		if p.Codes[0] != 2 {
			r.t.Errorf("granted %v", p.Codes)
		}
		close(r.ready)
	case *mqtt.Publish:
		if p.QoS != 2 {
			r.t.Errorf("%s came with QoS %d", p.Payload, p.QoS)
		}
		r.mu.Lock()
		if r.held[p.PacketID] {
			r.again++
		} else {
			r.held[p.PacketID] = true
			r.numbers = append(r.numbers, string(p.Payload))
		}
		r.mu.Unlock()
		return w.send(mqtt.V5, step(mqtt.PUBREC, p.PacketID))
	case *mqtt.Ack: // PUBREL
		delete(r.held, p.PacketID)
		return w.send(mqtt.V5, step(mqtt.PUBCOMP, p.PacketID))
	}
	return nil
}

// TestKillsLeaveQoS2ExactlyOnce kills the server while messages with QoS 2 are
// under way from one client and to two others, one of them mosquitto_sub.
func TestKillsLeaveQoS2ExactlyOnce(t *testing.T) {
	t.Parallel()
	const total = 2000
	data, addr := t.TempDir(), freeAddr(t)
	h := startHost(t, data, "cloud", "--plain", addr, "--anonymous")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience*time.Minute)
	defer cancel()
	r := &receiver{t: t, addr: addr, filter: "n/#", ready: make(chan struct{}), held: map[uint16]bool{}}
	s := &sender{t: t, addr: addr, topic: "n/1", total: total}
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	clients.Go(func() { r.run(ctx) })
	<-r.ready
	printed := startMosquittoSub(t, ctx, addr, "n/#")
	waitFor(t, "mosquitto_sub that is subscribed", 20*time.Second, func() error {
		if strings.Contains(printed.String(), "SUBACK") {
			return nil
		}
		return fmt.Errorf("it printed %q", printed)
	})
	clients.Go(func() { s.run(ctx) })
	kills := 2 + *torture
	for i := range kills {
		waitFor(t, "progress", 30*time.Second, reached(r.count, (i+1)*total/(kills+1)))
		h.kill()
		h = startHost(t, data, "cloud", "--plain", addr, "--anonymous")
	}
	waitFor(t, "all messages", 40*time.Second, reached(r.count, total))
	numbersOf := func() (list []string) {
		for line := range strings.Lines(printed.String()) {
			if n, ok := strings.CutPrefix(line, "got "); ok {
				list = append(list, strings.TrimSpace(n))
			}
		}
		return list
	}
	waitFor(t, "all messages in mosquitto_sub", 40*time.Second, reached(func() int { return len(numbersOf()) }, total))
	time.Sleep(200 * time.Millisecond) // for one too many
	r.mu.Lock()
	defer r.mu.Unlock()
	checkOnce(t, "the receiver", r.numbers, total)
	checkOnce(t, "mosquitto_sub", numbersOf(), total)
	t.Logf("%d kills, %d messages came again under their packet id", kills, r.again)
	cancel()
	wantStop(t, h.process)
	if out, status := verify(t, data); status != 0 {
		t.Errorf("mote verify: %s", out)
	}
}

func reached(count func() int, n int) func() error {
	return func() error {
		if have := count(); have < n {
			return fmt.Errorf("%d of %d", have, n)
		}
		return nil
	}
}

// checkOnce expects all numbers below total, each once and in order.
func checkOnce(t *testing.T, who string, numbers []string, total int) {
	t.Helper()
	if len(numbers) != total {
		t.Errorf("%s has %d messages, want %d", who, len(numbers), total)
	}
	for i, n := range numbers {
		if n != strconv.Itoa(i) {
			t.Errorf("%s: message %d is %s", who, i, n)
			return
		}
	}
}

// startMosquittoSub runs mosquitto_sub with QoS 2 and a session that lasts. It
// prints "got" and the payload of every message.
func startMosquittoSub(t *testing.T, ctx context.Context, addr, filter string) *watch.Log {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(ctx, tool(t, "stdbuf"), "-oL", tool(t, "mosquitto_sub"), "-h", host, "-p", port, "-i", "mosquitto", "-c", "-q", "2", "-t", filter, "-F", "got %p", "-d")
	out := &watch.Log{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return out
}
