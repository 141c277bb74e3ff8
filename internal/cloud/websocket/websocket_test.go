package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// serve upgrades every request and runs f on the connection.
func serve(t *testing.T, f func(*Conn)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Upgrade(w, r, "mqtt", "mqttv3.1")
		if refused, ok := errors.AsType[*HandshakeError](err); ok {
			refused.Answer(w)
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		f(c)
	}))
	t.Cleanup(s.Close)
	return s
}

func echo(c *Conn) {
	_, _ = io.Copy(c, struct{ io.Reader }{c})
	_ = c.Close()
}

func dial(t *testing.T, s *httptest.Server, protocols ...string) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1), &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	c.SetReadLimit(1 << 21)
	return c
}

// TestAnotherImplementation talks to a client that others wrote.
func TestAnotherImplementation(t *testing.T) {
	c := dial(t, serve(t, echo), "other", "mqttv3.1", "mqtt")
	if c.Subprotocol() != "mqttv3.1" {
		t.Errorf("sub-protocol %q", c.Subprotocol())
	}
	stream := websocket.NetConn(t.Context(), c, websocket.MessageBinary)
	for _, size := range []int{1, 2, 125, 126, 2047, 2048, 2049, 65535, 65536, 1 << 20} {
		sent := make([]byte, size)
		rand.Read(sent)
		go func() { _, _ = stream.Write(sent) }() // ends when the echo is read, or the connection is closed
		got := make([]byte, size)
		if _, err := io.ReadFull(stream, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	background := c.CloseRead(t.Context())
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Errorf("the closing handshake failed: %v", err)
	}
	<-background.Done()
}

func TestTextIsRefused(t *testing.T) {
	end := make(chan error, 1)
	c := dial(t, serve(t, func(c *Conn) {
		_, err := c.Read(make([]byte, 10))
		end <- err
		_ = c.Close()
	}), "mqtt")
	if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Read(t.Context())
	if websocket.CloseStatus(err) != statusUnsupported || !strings.Contains(err.Error(), "text frame") {
		t.Errorf("the client sees %v", err)
	}
	if _, ok := errors.AsType[interface {
		error
		Violation() bool
	}](<-end); !ok {
		t.Error("the reader sees no violation")
	}
}

// masked is a client's frame.
func masked(first byte, payload []byte) []byte {
	mask := [4]byte{1, 2, 3, 250}
	b := appendHeader(nil, 0, len(payload))
	b[0], b[1] = first, b[1]|0x80
	b = append(b, mask[:]...)
	at := len(b)
	b = append(b, payload...)
	unmask(b[at:], mask, 0)
	return b
}

// pieces is a connection that delivers its bytes in pieces of a size, and
// keeps what is written to it.
type pieces struct {
	net.Conn
	in      []byte
	size    int
	written bytes.Buffer
	waits   int // reads
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	p.waits++
	n := copy(b[:min(len(b), p.size)], p.in)
	p.in = p.in[n:]
	return n, nil
}
func (p *pieces) Write(b []byte) (int, error)      { return p.written.Write(b) }
func (p *pieces) Close() error                     { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error { return nil }

// TestAnySplit cuts packets into frames, and frames into reads, at every size.
func TestAnySplit(t *testing.T) {
	want := make([]byte, 9000)
	rand.Read(want)
	for _, frame := range []int{1, 3, 7, 100, 126, 4000, 9000} {
		var wire []byte
		for i := 0; i < len(want); i += frame {
			part := want[i:min(i+frame, len(want))]
			switch cut := len(part) / 2; {
			case i/frame%3 == 0:
				wire = append(wire, masked(0x82, part)...)
			default: // fragments, with a ping and an empty one between them
				wire = append(wire, masked(0x02, part[:cut])...)
				wire = append(wire, masked(0x89, []byte("p"))...)
				wire = append(wire, masked(0x00, nil)...)
				wire = append(wire, masked(0x80, part[cut:])...)
			}
		}
		wire = append(wire, masked(0x88, []byte{3, 232})...)
		for _, size := range []int{1, 2, 5, 2048, 1 << 20} {
			p := &pieces{in: wire, size: size}
			got, err := io.ReadAll(newConn(p, nil, "mqtt"))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("frames of %d in reads of %d: %d bytes, %v", frame, size, len(got), err)
			}
			if !bytes.HasSuffix(p.written.Bytes(), []byte{0x88, 2, 3, 232}) {
				t.Errorf("frames of %d in reads of %d: Close is not answered", frame, size)
			}
		}
	}
}

// TestABurstComesTogether sees that frames which have arrived together are
// read together.
func TestABurstComesTogether(t *testing.T) {
	var wire []byte
	for range 10 {
		wire = append(wire, masked(0x82, []byte("0123456789"))...)
	}
	c := newConn(&pieces{size: 1 << 20}, wire, "mqtt")
	if n, err := c.Read(make([]byte, 1000)); n != 100 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// TestDeadlinesPass: a Read that ran into its deadline, in the middle of a frame
// also, loses nothing, and neither does an idle connection without its buffer.
func TestDeadlinesPass(t *testing.T) {
	client, below := net.Pipe()
	defer client.Close()
	defer below.Close()
	c := newConn(below, nil, "mqtt")
	go func() { // ends when all is read, or the connection is closed
		for _, one := range masked(0x82, []byte("hello")) {
			time.Sleep(3 * time.Millisecond)
			_, _ = client.Write([]byte{one})
		}
	}()
	var got []byte
	for buf := make([]byte, 10); len(got) < 5; {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, err := c.Read(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, buf[:n]...)
		c.Release()
	}
	if string(got) != "hello" || c.buf != nil {
		t.Errorf("read %q, %d bytes of buffer are kept", got, len(c.buf))
	}
}

func TestViolations(t *testing.T) {
	long := binary.BigEndian.AppendUint64([]byte{0x82, 0xFF}, 1<<63)
	for name, wire := range map[string][]byte{
		"not masked": {0x82, 1, 'a'}, "reserved bits": masked(0xC2, nil), "unknown data": masked(0x83, nil), "unknown control": masked(0x8B, nil),
		"fragmented ping": masked(0x09, nil), "long ping": masked(0x89, make([]byte, 126)), "continues nothing": masked(0x80, []byte("a")),
		"begins within": append(masked(0x02, []byte("a")), masked(0x82, []byte("b"))...), "64 bits": append(long, 1, 2, 3, 4),
	} {
		p := &pieces{in: wire, size: 100}
		c := newConn(p, nil, "mqtt")
		_, err := io.ReadAll(c)
		if wrong, ok := errors.AsType[*protocolError](err); !ok || wrong.status != statusProtocolError {
			t.Errorf("%s: %v", name, err)
		}
		if b := p.written.Bytes(); len(b) < 4 || b[0] != 0x88 || binary.BigEndian.Uint16(b[2:]) != statusProtocolError {
			t.Errorf("%s: the client reads %q", name, b)
		}
		if _, again := c.Read(make([]byte, 1)); again != err {
			t.Errorf("%s: then %v", name, again)
		}
		if _, err := c.Write([]byte("x")); err == nil {
			t.Errorf("%s: something is written after Close", name)
		}
	}
}

// handshake sends a handshake with changed headers ("" leaves one out), and
// returns the answer.
func handshake(t *testing.T, s *httptest.Server, method string, change map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, s.URL+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "mqtt"} {
		if v, ok := change[name]; ok {
			value = v
		}
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := r.Write(conn); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestHandshake(t *testing.T) {
	s := serve(t, func(c *Conn) { _ = c.Close() })
	key128 := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 128))
	for _, c := range []struct {
		name, method string
		change       map[string]string
		status       int
	}{
		{"the example of RFC 6455", "GET", nil, 101},
		{"a key of 128 bytes", "GET", map[string]string{"Sec-WebSocket-Key": key128}, 101},
		{"a key of 300 bytes", "GET", map[string]string{"Sec-WebSocket-Key": base64.StdEncoding.EncodeToString(make([]byte, 300))}, 400},
		{"no key", "GET", map[string]string{"Sec-WebSocket-Key": ""}, 400},
		{"no base64", "GET", map[string]string{"Sec-WebSocket-Key": "!"}, 400},
		{"no upgrade", "GET", map[string]string{"Upgrade": ""}, 426},
		{"no connection", "GET", map[string]string{"Connection": "keep-alive"}, 426},
		{"an old version", "GET", map[string]string{"Sec-WebSocket-Version": "8"}, 426},
		{"POST", "POST", nil, 405},
		{"no sub-protocol", "GET", map[string]string{"Sec-WebSocket-Protocol": ""}, 400},
		{"another sub-protocol", "GET", map[string]string{"Sec-WebSocket-Protocol": "chat, wamp"}, 400},
		{"one that is known", "GET", map[string]string{"Sec-WebSocket-Protocol": "chat, mqttv3.1"}, 101},
	} {
		resp := handshake(t, s, c.method, c.change)
		if resp.StatusCode != c.status {
			t.Errorf("%s: %d", c.name, resp.StatusCode)
		}
		if c.status == 426 && resp.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: %v", c.name, resp.Header)
		}
		if c.name == "the example of RFC 6455" && resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("%v", resp.Header)
		}
	}
}

// FuzzFrames reads arbitrary bytes in pieces: no panic, nothing beyond what
// frames can hold, and the same whatever the pieces are.
func FuzzFrames(f *testing.F) {
	f.Add(masked(0x82, []byte("hello")), 3)
	f.Add(append(masked(0x02, []byte("a")), masked(0x80, []byte("b"))...), 1)
	f.Add(append(masked(0x89, []byte("ping")), masked(0x88, []byte{3, 232})...), 2)
	f.Add([]byte{0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 5)
	f.Fuzz(func(t *testing.T, wire []byte, size int) {
		size = max(1, size&0xFFF)
		whole, part := &pieces{in: wire, size: 1 << 20}, &pieces{in: wire, size: size}
		a, errA := io.ReadAll(newConn(whole, nil, "mqtt"))
		b, errB := io.ReadAll(newConn(part, nil, "mqtt"))
		if !bytes.Equal(a, b) || len(a) > len(wire) {
			t.Errorf("%q in one piece, %q in pieces of %d", a, b, size)
		}
		if (errA == nil) != (errB == nil) || !bytes.Equal(whole.written.Bytes(), part.written.Bytes()) {
			t.Errorf("%v and %v; answered %q and %q", errA, errB, whole.written.Bytes(), part.written.Bytes())
		}
	})
}
