package iotcore

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/edge/spool"
	"mote/internal/edge/uplink"
	"mote/internal/edge/uplink/uplinktest"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

var _ uplink.Queue = (*spool.Reader)(nil)

func newUplink(t *testing.T, certs *mqtttest.Certs, addr string, change func(*Options)) (*Uplink, *watch.Log) {
	t.Helper()
	log := &watch.Log{}
	o := Options{
		Endpoint: addr, ClientID: "pi", Files: Files{certs.ClientCertFile, certs.ClientKeyFile, certs.CAFile},
		MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond, Log: log.Logger(),
	}
	if change != nil {
		change(&o)
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return u, log
}

// collect subscribes with a lasting session, reconnecting for ever, and hands
// every message on.
func collect(t *testing.T, certs *mqtttest.Certs, addr string, each func(*mqtt.Publish)) {
	t.Helper()
	cfg := &tls.Config{RootCAs: certs.CA, Certificates: []tls.Certificate{certs.Client}}
	o := client.Options{Addr: addr, TLS: cfg, ClientID: "collect", SessionExpiry: 3600, OnMessage: each}
	connect := func() (*client.Conn, error) { return client.Dial(t.Context(), o) }
	c, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(t.Context(), mqtt.Subscription{Filter: "sensors/+/air", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for t.Context().Err() == nil {
			if err != nil {
				time.Sleep(10 * time.Millisecond)
			} else {
				select {
				case <-c.Done():
				case <-t.Context().Done():
					c.Close()
					return
				}
			}
			c, err = connect()
		}
	}()
	t.Cleanup(func() { <-done })
}

// arrivals checks that every reading of each board comes, in order as far as it
// is new.
type arrivals struct {
	mu     sync.Mutex
	next   map[string]int // guarded by mu; by topic
	again  int            // guarded by mu
	broken string         // guarded by mu; what came too early
}

func (a *arrivals) add(topic string, payload []byte) {
	var r struct{ N int }
	if err := json.Unmarshal(payload, &r); err != nil {
		r.N = -1
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = map[string]int{}
	}
	switch {
	case r.N == a.next[topic]:
		a.next[topic]++
	case r.N < a.next[topic]:
		a.again++
	case a.broken == "":
		a.broken = fmt.Sprintf("%s: %s came when %d was next", topic, payload, a.next[topic])
	}
}

func (a *arrivals) check(t *testing.T, want int, topics ...string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken != "" {
		t.Error(a.broken)
	}
	for _, topic := range topics {
		if a.next[topic] != want {
			t.Errorf("%s: %d of %d arrived", topic, a.next[topic], want)
		}
	}
	t.Logf("%d came again", a.again)
}

func (a *arrivals) all(want int, topics ...string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, topic := range topics {
		if a.next[topic] != want {
			return false
		}
	}
	return true
}

func TestEveryRecordArrivesThroughRestarts(t *testing.T) {
	const each = 1000
	certs := mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	s, err := spool.Open(t.TempDir(), spool.Options{Readers: []string{"iot"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got arrivals
	collect(t, certs, m.Addr, func(p *mqtt.Publish) { got.add(p.Topic, p.Payload) })
	u, _ := newUplink(t, certs, m.Addr, nil)
	stop := uplinktest.Run(t, u, s.Reader("iot"))
	for i := range each {
		records := [][]byte{}
		for _, id := range []string{"1", "2"} {
			records = append(records, fmt.Appendf(nil, `{"time":"2026-11-22T10:15:30.123Z","id":"%s","n":%d}`, id, i))
		}
		if _, err := s.Append(t.Context(), records...); err != nil {
			t.Fatal(err)
		}
		if i%250 == 200 {
			m.Stop()
			m.Start()
		}
	}
	topics := []string{"sensors/1/air", "sensors/2/air"}
	watch.Until(t, "all arrived", func() bool { return got.all(each, topics...) })
	got.check(t, each, topics...)
	watch.Until(t, "the spool is empty", func() bool { return s.Stats().Readers[0].Waiting == 0 })
	stop()
	st := u.Status()
	if st.Delivered < 2*each || st.Connected || st.InFlight != 0 || st.Refused != 0 || st.LastError == "" {
		t.Errorf("status %+v", st)
	}
}

func TestVersion311(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	var got arrivals
	collect(t, certs, m.Addr, func(p *mqtt.Publish) { got.add(p.Topic, p.Payload) })
	u, _ := newUplink(t, certs, m.Addr, func(o *Options) { o.Version = mqtt.V311 })
	q := &uplinktest.Queue{}
	q.AppendReadings(300, "1")
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	watch.Until(t, "all arrived", func() bool { return got.all(300, "sensors/1/air") })
	if st := u.Status(); !st.Connected || st.Since.IsZero() || st.Delivered != 300 {
		t.Errorf("status %+v", st)
	}
}

func TestDeniedRecordsAreKeptUntilAllowed(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	acl := filepath.Join(t.TempDir(), "acl")
	allow := func(text string) {
		if err := os.WriteFile(acl, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []byte{mqtt.V311, mqtt.V5} {
		t.Run(fmt.Sprint("level ", version), func(t *testing.T) {
			allow("topic readwrite other/#\ntopic readwrite sensors/1/air\n")
			m := mqtttest.Start(t, certs, "acl_file "+acl)
			u, log := newUplink(t, certs, m.Addr, func(o *Options) { o.Version = version })
			q := &uplinktest.Queue{}
			q.AppendReadings(5, "1")
			q.AppendReadings(1, "2")
			q.AppendReadings(5, "1")
			uplinktest.Run(t, u, q)
			if version == mqtt.V311 { // mosquitto acknowledges a denied publish of 3.1.1: nothing can be noticed
				q.WaitEmpty(t)
				return
			}
			watch.Until(t, "a few tries", func() bool { return strings.Count(m.Log(), "Denied PUBLISH") > 3 })
			watch.Until(t, "the others are through", func() bool { return u.Status().Delivered >= 10 })
			if n := q.Acked(); n != 5 {
				t.Errorf("%d records acknowledged, the sixth is denied", n)
			}
			if st := u.Status(); st.Refused != 0 || st.LastError == "" {
				t.Errorf("status %+v", st)
			}
			// mosquitto may reset the connection before the PUBACK is read, more than once.
			told := log.String()
			lost := strings.Count(told, "cannot deliver") - strings.Count(told, "delivering again")
			if strings.Count(told, "does not take this topic") != 1 || strings.Count(told, "allow iot:Publish on topic/sensors/2/air") != 1 || lost < 0 || lost > 1 {
				t.Errorf("the log does not tell the change of state once:\n%s", told)
			}
			allow("topic readwrite #\n")
			m.Stop()
			m.Start()
			q.WaitEmpty(t)
			watch.Until(t, "the log tells", func() bool { return log.Count("takes this topic again") == 1 })
		})
	}
}

// strict is a server that denies one topic, in one of the ways that servers do.
type strict struct {
	listener
	arrivals
	version byte
	says    bool // PUBACK with 0x87
	closes  bool // closes the connection
	open    atomic.Bool
	denials atomic.Int64
}

func (s *strict) connection(t *testing.T, conn net.Conn) {
	defer conn.Close()
	r := mqtt.NewReader(conn, mqtt.Decoder{Version: s.version, From: mqtt.FromClient})
	for {
		f, ok, err := r.Next()
		if err != nil {
			t.Error(err)
			return
		}
		if !ok {
			if r.Fill() != nil {
				return
			}
			continue
		}
		p, err := r.Packet(f)
		if err != nil {
			t.Error(err)
			return
		}
		var out []byte
		switch p := p.(type) {
		case *mqtt.Connect:
			out, _ = (&mqtt.Connack{}).Append(out, s.version)
		case *mqtt.Publish:
			if p.Topic == "sensors/2/air" && !s.open.Load() {
				s.denials.Add(1)
				if s.says {
					out, _ = (&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: p.PacketID, Code: mqtt.NotAuthorized}).Append(out, s.version)
				}
				conn.Write(out)
				if s.closes {
					return
				}
				continue
			}
			s.arrivals.add(p.Topic, p.Payload)
			out = mqtt.AppendPuback(out, p.PacketID)
		}
		conn.Write(out)
	}
}

func TestOneDeniedTopicDoesNotStopTheOthers(t *testing.T) {
	const each = 300
	for what, s := range map[string]*strict{
		"PUBACK":           {version: mqtt.V5, says: true},
		"PUBACK and close": {version: mqtt.V5, says: true, closes: true},
		"close, 5":         {version: mqtt.V5, closes: true},
		"close, 3.1.1":     {version: mqtt.V311, closes: true},
	} {
		t.Run(what, func(t *testing.T) {
			certs := mqtttest.NewCerts(t)
			s.listen(t, certs, s.connection)
			u, log := newUplink(t, certs, s.l.Addr().String(), func(o *Options) {
				o.Version, o.MinBackoff, o.MaxBackoff = s.version, 2*time.Millisecond, 50*time.Millisecond
			})
			q := &uplinktest.Queue{}
			q.AppendReadings(each, "1", "2", "3")
			stop := uplinktest.Run(t, u, q)
			watch.Until(t, "the others are through", func() bool { return s.arrivals.all(each, "sensors/1/air", "sensors/3/air") })
			watch.Until(t, "the denied topic is tried again", func() bool { return s.denials.Load() > 6 })
			if n := q.Acked(); n != 1 {
				t.Errorf("%d records acknowledged, the second is denied", n)
			}
			if n := log.Count("does not take this topic"); n != 1 {
				t.Errorf("the denial is logged %d times:\n%s", n, log)
			}
			before, begun := s.denials.Load(), time.Now()
			time.Sleep(300 * time.Millisecond)
			n, took := s.denials.Load()-before, time.Since(begun)
			if n > 30*int64(took/(300*time.Millisecond)) {
				t.Errorf("%d tries in %v, with pauses of up to 50 ms", n, took)
			}
			s.open.Store(true)
			q.WaitEmpty(t)
			stop()
			s.close()
			s.arrivals.check(t, each, "sensors/1/air", "sensors/2/air", "sensors/3/air")
			if log.Count("takes this topic again") != 1 {
				t.Errorf("the end of the denial is not logged once:\n%s", log)
			}
		})
	}
}

func TestWhatIsHeldBackIsBounded(t *testing.T) {
	const big, size = 200, 50_000
	certs := mqtttest.NewCerts(t)
	s := &strict{version: mqtt.V5, says: true}
	s.listen(t, certs, s.connection)
	u, _ := newUplink(t, certs, s.l.Addr().String(), func(o *Options) { o.MaxInflight = 5 })
	q := &uplinktest.Queue{}
	for i := range big {
		q.Append(fmt.Sprintf(`{"time":"2026-11-22T10:15:30.123Z","id":"2","n":%d,"x":"%s"}`, i, strings.Repeat("x", size)))
	}
	q.AppendReadings(3, "1")
	uplinktest.Run(t, u, q)
	watch.Until(t, "a few tries", func() bool { return s.denials.Load() > 10 })
	watch.Until(t, "as much is taken as may be", func() bool { return u.Status().InFlight >= maxHeldBytes/(size+100) })
	before := s.denials.Load()
	watch.Until(t, "a few tries more", func() bool { return s.denials.Load() > before+10 })
	if n := u.Status().InFlight; n > maxHeldBytes/size+10 {
		t.Errorf("%d records of %d bytes were taken", n, size)
	}
	s.open.Store(true)
	q.WaitEmpty(t)
	s.arrivals.check(t, big, "sensors/2/air")
	s.arrivals.check(t, 3, "sensors/1/air")
}

func TestWhatCanNeverBeDeliveredIsKeptAside(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs, "max_packet_size 5000")
	file := filepath.Join(t.TempDir(), "refused.jsonl")
	u, _ := newUplink(t, certs, m.Addr, func(o *Options) { o.RefusedFile = file })
	q := &uplinktest.Queue{}
	q.AppendReadings(3, "1")
	q.Append(`{"time":"2026-11-22T10:15:30.123Z","id":"a/b","dust":1}`)
	q.AppendReadings(3, "1")
	q.Append(`{"time":"2026-11-22T10:15:30.123Z","id":"1","text":"` + strings.Repeat("x", 5000) + `"}`)
	q.Append(`what is this`)
	q.AppendReadings(3, "1")
	uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	if st := u.Status(); st.Delivered != 9 || st.Refused != 3 || !st.Connected {
		t.Errorf("status %+v", st)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, want := range []string{"slash", "packet too large", "not a reading"} {
		if len(lines) != 3 || !strings.Contains(lines[i], want) {
			t.Fatalf("line %d: want %q in\n%.2000s", i, want, text)
		}
	}
}

func TestUnreachableIsToldOnceAndKept(t *testing.T) {
	certs, other := mqtttest.NewCerts(t), mqtttest.NewCerts(t)
	m := mqtttest.Start(t, certs)
	u, log := newUplink(t, certs, m.Addr, func(o *Options) { o.Files.CA = other.CAFile })
	q := &uplinktest.Queue{}
	q.AppendReadings(1, "1")
	stop := uplinktest.Run(t, u, q)
	watch.Until(t, "an error", func() bool { return u.Status().LastError != "" })
	time.Sleep(200 * time.Millisecond)
	stop()
	if log.Count("cannot deliver") != 1 || !strings.Contains(u.Status().LastError, "check the ca file") || q.Acked() != 0 {
		t.Errorf("%s\n%+v", log, u.Status())
	}
}

// hostile is a server that ends connections at random moments. What it has
// acknowledged it has received.
type hostile struct {
	listener
	arrivals
	patience int // how many packets a connection lives, at most
}

// listener takes connections with mutual TLS until it is closed.
type listener struct {
	l     net.Listener
	loops sync.WaitGroup
}

func (l *listener) listen(t *testing.T, certs *mqtttest.Certs, each func(*testing.T, net.Conn)) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certs.ServerCertFile, certs.ServerKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	l.l, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: certs.CA, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	l.loops.Go(func() {
		for {
			conn, err := l.l.Accept()
			if err != nil {
				return
			}
			l.loops.Go(func() { each(t, conn) })
		}
	})
}

// close ends the listener and waits for the connections, which the clients end.
func (l *listener) close() {
	l.l.Close()
	l.loops.Wait()
}

func (h *hostile) connection(t *testing.T, conn net.Conn) {
	defer conn.Close()
	r := mqtt.NewReader(conn, mqtt.Decoder{Version: mqtt.V5, From: mqtt.FromClient})
	left := rand.IntN(h.patience)
	var out []byte
	for {
		f, ok, err := r.Next()
		if err != nil {
			t.Error(err)
			return
		}
		if !ok {
			if rand.IntN(3) > 0 { // else the acknowledgements wait, or are lost with the connection
				conn.Write(out)
				out = nil
			}
			conn.SetReadDeadline(time.Time{})
			if out != nil { // the client may wait for them
				conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			}
			if r.Fill() != nil {
				conn.Write(out)
				return
			}
			continue
		}
		if left--; left < 0 {
			return
		}
		p, err := r.Packet(f)
		if err != nil {
			t.Error(err)
			return
		}
		switch p := p.(type) {
		case *mqtt.Connect:
			out, _ = (&mqtt.Connack{}).Append(out, mqtt.V5)
			conn.Write(out)
			out = nil
		case *mqtt.Publish:
			h.add(p.Topic, p.Payload)
			out = mqtt.AppendPuback(out, p.PacketID)
		}
	}
}

func TestNothingIsLostThroughBrokenConnections(t *testing.T) {
	const each = 400
	certs := mqtttest.NewCerts(t)
	h := &hostile{patience: 60}
	h.listen(t, certs, h.connection)
	u, _ := newUplink(t, certs, h.l.Addr().String(), func(o *Options) { o.MinBackoff, o.MaxBackoff = time.Millisecond, 2*time.Millisecond })
	q := &uplinktest.Queue{}
	q.AppendReadings(each, "1", "2", "3")
	stop := uplinktest.Run(t, u, q)
	q.WaitEmpty(t)
	stop()
	h.close()
	h.check(t, each, "sensors/1/air", "sensors/2/air", "sensors/3/air")
}
