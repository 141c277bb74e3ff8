package websocket

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Conn is the server's end of a WebSocket: a stream of the bytes in the
// client's binary frames, however it cuts them, and of what is written, one
// frame for each Write. Pings are answered while somebody reads. Read is for
// one goroutine; the other methods are safe for concurrent use.
type Conn struct {
	below    net.Conn
	protocol string

	// Owned by the goroutine that reads.
	buf      []byte // from the network: headers, and payload that came with them; nil after Release
	from, to int    // what is left in buf
	mask     [4]byte
	at       uint64 // of the current frame's payload, bytes read
	left     uint64 // and bytes still to come
	within   bool   // the current message goes on in another frame
	err      error  // the end, which comes again, or a deadline, which passes

	mu      sync.Mutex // makes frames whole
	closing bool       // the Close frame is sent; guarded by mu
}

// readBuffer is the size of a connection's read buffer, bytes. Payload that
// is larger goes past it.
const readBuffer = 2 << 10

// controlWithin is how long a client has to take the answer to a Ping or a
// Close.
const controlWithin = 10 * time.Second

// newConn returns the WebSocket over below; ahead was read from it already.
func newConn(below net.Conn, ahead []byte, protocol string) *Conn {
	c := &Conn{below: below, protocol: protocol, buf: make([]byte, max(readBuffer, len(ahead)))}
	c.to = copy(c.buf, ahead)
	return c
}

// Protocol is the sub-protocol that was agreed on.
func (c *Conn) Protocol() string { return c.protocol }

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.below }

// The deadlines and addresses are those of the connection below.

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.below.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.below.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.below.SetWriteDeadline(t) }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.below.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.below.RemoteAddr() }

// Read reads payload. It waits for the first byte and takes what else has
// arrived with it, so that the packets of one burst come together. After the
// client's Close frame it returns io.EOF.
func (c *Conn) Read(p []byte) (n int, err error) {
	for n < len(p) && c.err == nil {
		if c.left == 0 {
			if n > 0 && !c.buffered() {
				break
			}
			c.err = c.next()
			continue
		}
		if n > 0 && c.from == c.to {
			break
		}
		var took int
		took, c.err = c.take(p[n:])
		n += took
	}
	if n > 0 {
		return n, nil
	}
	err = c.err
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.err = nil // nothing is lost: the next Read goes on
	}
	return 0, err
}

// Release gives up the read buffer, when it is empty, until the next Read: for
// a connection that has been idle for a while. The goroutine that reads calls it.
func (c *Conn) Release() {
	if c.from == c.to {
		c.buf, c.from, c.to = nil, 0, 0
	}
}

// take reads payload of the current frame, from buf or past it.
func (c *Conn) take(p []byte) (n int, err error) {
	p = p[:min(uint64(len(p)), c.left)]
	switch {
	case c.from < c.to:
		n = copy(p, c.buf[c.from:c.to])
		c.from += n
	case len(p) >= len(c.buf):
		n, err = c.below.Read(p)
	default:
		return 0, c.fill()
	}
	unmask(p[:n], c.mask, c.at)
	c.at += uint64(n)
	c.left -= uint64(n)
	return n, err
}

// buffered says whether next can go on without waiting.
func (c *Conn) buffered() bool {
	h, n, err := parseHeader(c.buf[c.from:c.to])
	return err != nil || c.complete(h, n)
}

// complete says whether buf holds the header h of n bytes and, behind that of
// a control frame, its payload.
func (c *Conn) complete(h header, n int) bool {
	return n > 0 && (!h.control() || uint64(c.to-c.from-n) >= h.length)
}

// next reads the next header, and answers it when it is of a control frame.
func (c *Conn) next() error {
	for {
		h, n, err := parseHeader(c.buf[c.from:c.to])
		if err != nil {
			return c.refuse(err)
		}
		if c.complete(h, n) {
			c.from += n
			return c.refuse(c.begin(h))
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// fill waits for more bytes in buf, which has room for a header or a control
// frame at least.
func (c *Conn) fill() error {
	if c.buf == nil {
		c.buf = make([]byte, readBuffer)
	}
	c.to = copy(c.buf, c.buf[c.from:c.to])
	c.from = 0
	n, err := c.below.Read(c.buf[c.to:])
	c.to += n
	if n > 0 {
		return nil
	}
	return err
}

// begin takes over the header of a frame; a control frame's payload is in buf.
func (c *Conn) begin(h header) error {
	switch {
	case !h.masked:
		return violation("a frame of the client is not masked (RFC 6455, section 5.1)")
	case h.control():
		return c.answer(h)
	case h.opcode == opText:
		return &protocolError{statusUnsupported, "a text frame came, MQTT is in binary frames [MQTT-6.0.0-1]"}
	case h.opcode == opBinary && !c.within, h.opcode == opContinuation && c.within:
		c.mask, c.at, c.left, c.within = h.mask, 0, h.length, !h.final
		return nil
	}
	return violation("a frame with opcode %d came out of turn", h.opcode)
}

// answer serves a control frame.
func (c *Conn) answer(h header) error {
	payload := c.buf[c.from : c.from+int(h.length)]
	unmask(payload, h.mask, 0)
	c.from += len(payload)
	switch h.opcode {
	case opPing:
		return c.control(opPong, payload)
	case opPong:
		return nil
	case opClose:
		if len(payload) >= 2 { // the status is sent back (section 5.5.1)
			payload = payload[:2]
		}
		_ = c.control(opClose, payload) // who has gone needs no answer
		return io.EOF
	}
	return violation("a frame has the opcode %d, which means nothing", h.opcode)
}

// refuse tells the client what it did wrong, if err says so, and returns err.
func (c *Conn) refuse(err error) error {
	if wrong, ok := errors.AsType[*protocolError](err); ok {
		payload := binary.BigEndian.AppendUint16(nil, wrong.status)
		payload = append(payload, wrong.reason...)
		_ = c.control(opClose, payload[:min(len(payload), maxControl)])
	}
	return err
}

// control sends a control frame, and nothing more after a Close.
func (c *Conn) control(opcode byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	c.closing = opcode == opClose
	_ = c.below.SetWriteDeadline(time.Now().Add(controlWithin))
	return c.frame(opcode, payload)
}

// Write sends p in one binary frame.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return 0, net.ErrClosed
	}
	if err := c.frame(opBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// keepBuffer is the largest buffer that goes back to the pool.
const keepBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// frame writes one frame in one piece; mu is held.
func (c *Conn) frame(opcode byte, payload []byte) error {
	b := buffers.Get().(*[]byte)
	*b = append(appendHeader((*b)[:0], opcode, len(payload)), payload...)
	_, err := c.below.Write(*b)
	if cap(*b) <= keepBuffer {
		buffers.Put(b)
	}
	return err
}

// CloseWrite sends a Close frame unless one was sent; nothing can be written
// afterwards.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return nil
	}
	c.closing = true
	_ = c.below.SetWriteDeadline(time.Now().Add(time.Second))
	return c.frame(opClose, binary.BigEndian.AppendUint16(nil, statusNormal))
}

// Close sends a Close frame and closes the connection below.
func (c *Conn) Close() error {
	_ = c.CloseWrite() // a client that takes nothing is closed all the same
	return c.below.Close()
}
