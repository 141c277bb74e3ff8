package broker

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"mote/internal/cloud/policy"
	"mote/internal/mqtt"
	"mote/internal/watch"
)

func TestSilence(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	s := silence{}
	if next, move := s.begin(start, 20*time.Second); !move || !next.Equal(at(idleAfter)) {
		t.Errorf("first wait: deadline %v, %v", next, move)
	}
	if _, move := s.begin(at(time.Second), 20*time.Second); move {
		t.Error("a busy connection moves its deadline")
	}
	over, idle, next := s.reached(at(idleAfter))
	if over || idle || !next.Equal(at(time.Second+idleAfter)) {
		t.Errorf("heard since: over %v, idle %v, next %v", over, idle, next)
	}
	over, idle, next = s.reached(at(time.Second + idleAfter))
	if over || !idle || !next.Equal(at(31*time.Second)) {
		t.Errorf("idle: over %v, idle %v, next %v", over, idle, next)
	}
	if over, _, _ = s.reached(at(31 * time.Second)); !over {
		t.Error("the keep alive does not end")
	}
	if next, move := s.begin(at(20*time.Second), 20*time.Second); !move || !next.Equal(at(20*time.Second+idleAfter)) {
		t.Errorf("awake again: deadline %v, %v", next, move)
	}
	if next, _ := s.begin(at(40*time.Second), time.Second); !next.Equal(at(41500 * time.Millisecond)) {
		t.Errorf("short keep alive: deadline %v", next)
	}
}

// Without a keep alive an idle connection waits for ever.
func TestSilenceWithoutKeepAlive(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	s := silence{}
	s.begin(start, 0)
	if over, idle, next := s.reached(start.Add(time.Hour)); over || !idle || !next.IsZero() {
		t.Errorf("over %v, idle %v, next %v", over, idle, next)
	}
}

// bufferSizes are the capacities of the buffers that releaseBuffers is about.
func bufferSizes(c *tls.Conn) (sum int) {
	for _, at := range tlsBuffers {
		sum += (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), at)).Cap()
	}
	return sum
}

// crypto/tls may rename its fields: then idle connections take more memory, and
// this says so.
func TestBuffersOfTLSAreFound(t *testing.T) {
	if len(tlsBuffers) != 2 {
		t.Errorf("%d buffers found in tls.Conn, want 2", len(tlsBuffers))
	}
	if other := buffersOf(reflect.TypeFor[net.TCPAddr](), "IP", "hand"); len(other) != 0 {
		t.Errorf("%d buffers found where there are none", len(other))
	}
}

// A connection that has given up its buffers goes on where it was, also when
// what comes next is only a part of a record, and large ones take them again.
func TestReleasedConnectionsGoOn(t *testing.T) {
	client, d := tlsPair(t)
	buf := make([]byte, 64<<10)
	for i, size := range []int{10, 60_000, 1, 16_384, 3} {
		want := bytes.Repeat([]byte{byte('a' + i)}, size)
		written := make(chan struct{})
		go func() { defer close(written); _, _ = client.Write(want) }()
		for got := 0; got < size; {
			if err := d.wait(); err != nil {
				t.Fatal(err)
			}
			n, err := d.Read(buf[got:size])
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		<-written // a Close during a Write sends no alert
		if !bytes.Equal(buf[:size], want) {
			t.Fatalf("message %d has other bytes", i)
		}
		d.more = false
		d.release()
		if n := bufferSizes(d.tls); n != 0 {
			t.Errorf("%d bytes are kept after message %d", n, i)
		}
	}
	go func() { _ = client.Close() }()
	if err := d.wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(buf); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if err := d.wait(); err != nil { // would wait for ever
		t.Errorf("after the end: %v", err)
	}
}

// layer notes its Release.
type layer struct {
	net.Conn
	below net.Conn
	times int
}

func (l *layer) Release()          { l.times++ }
func (l *layer) NetConn() net.Conn { return l.below }

// What carries a connection that cannot wait without reading gives up its
// buffers, too.
func TestLayersGiveUpTheirBuffers(t *testing.T) {
	client, d := tlsPair(t)
	go func() { _, _ = client.Write(make([]byte, 16_000)) }()
	if _, err := io.ReadFull(d.tls, make([]byte, 16_000)); err != nil {
		t.Fatal(err)
	}
	if bufferSizes(d.tls) == 0 {
		t.Fatal("there is nothing to give up")
	}
	top := &layer{below: d.tls}
	releaseLayers(top)
	if n := bufferSizes(d.tls); n != 0 || top.times != 1 {
		t.Errorf("TLS keeps %d bytes, the layer above it was told %d times", n, top.times)
	}
}

// A connection without TLS and one that others bring go on after their rest.
func TestRestedConnectionsGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Limits{}, nil)
	plain, _ := w.specPeer(clean(mqtt.V5, "plain"))
	plain.subscribe(1, "rest")
	over := w.connectPeer(Peer{}, clean(mqtt.V5, "over"))
	over.subscribe(1, "rest")
	time.Sleep(idleAfter + 500*time.Millisecond)
	big := string(bytes.Repeat([]byte("x"), 70_000))
	for _, p := range []*peer{plain, over} {
		p.send(&mqtt.Publish{Topic: "rest", Payload: []byte(big)})
		plain.got("rest", big, 0)
		over.got("rest", big, 0)
	}
}

// tlsPair is a client and the server's end that the broker reads from.
func tlsPair(t *testing.T) (*tls.Conn, *drainer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPKI(t)
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	client := tls.Client(raw, &tls.Config{RootCAs: p.pool, ServerName: "localhost"})
	server := tls.Server(newSocket(nc), &tls.Config{Certificates: []tls.Certificate{p.server(t)}})
	t.Cleanup(func() { _ = raw.Close(); _ = nc.Close() })
	_ = raw.SetDeadline(time.Now().Add(watch.Patience))
	_ = nc.SetDeadline(time.Now().Add(watch.Patience))
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	d, ok := source(server).(*drainer)
	if !ok {
		t.Fatal("the connection cannot wait")
	}
	return client, d
}

// An idle connection gives up its judge and keeps the answers, until the gate
// says that they may be others.
func TestAnswersStayWhenTheJudgeGoes(t *testing.T) {
	gate := &fakeGate{}
	v := verdicts{c: &conn{b: &Broker{gate: gate}, subject: policy.Subject{ClientID: "c"}}}
	v.decide("a")
	v.rest()
	if v.judge != nil {
		t.Error("the judge is kept")
	}
	if allowed, known := v.peek("a"); !allowed || !known {
		t.Errorf("the answer is allowed %v, known %v", allowed, known)
	}
	v.decide("b")
	if _, known := v.peek("a"); !known {
		t.Error("a new judge of the same epoch forgets answers")
	}
	gate.deny(func(*policy.Subject, string, string) string { return "no" })
	if _, known := v.peek("a"); known {
		t.Error("an answer outlives its epoch")
	}
}
