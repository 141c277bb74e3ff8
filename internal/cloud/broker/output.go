package broker

import (
	"io"
	"math"
	"net"
	"sync"
	"time"
)

// output is the way of packets to one client. Whoever has a packet appends it
// to a buffer and goes on; a goroutine writes the buffer to the network and
// lives only while there is something in it, so that an idle connection costs
// no goroutine and a busy one makes few, large writes.
type output struct {
	conn    net.Conn
	within  time.Duration // for one write
	drained func()        // called by the writer after each write, without locks
	workers *sync.WaitGroup

	mu      sync.Mutex
	buf     []byte // waiting; guarded by mu
	writing bool   // the writer lives; guarded by mu
	closing bool   // close the connection when buf is empty; guarded by mu
	closed  bool   // nothing can be written any more; guarded by mu

	linger time.Duration // how long to close; set by close, then read by the writer
}

// keepBuffer is the largest buffer that goes back to the pool.
const keepBuffer = 64 << 10

// closeWithin is how long a client has to take what was written before its
// connection is closed.
const closeWithin = time.Second

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// add calls f to append to the buffer and sees that it is written. It never
// waits for the network. It returns false when the connection is closed.
// f must not call o.
func (o *output) add(f func(buf []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing || o.closed {
		return false
	}
	o.buf = f(o.take())
	o.start()
	return true
}

// take returns the buffer to append to; mu is held.
func (o *output) take() []byte {
	if o.buf == nil {
		return (*buffers.Get().(*[]byte))[:0]
	}
	return o.buf
}

// start sees that a writer lives; mu is held.
func (o *output) start() {
	if !o.writing {
		o.writing = true
		o.workers.Go(o.write)
	}
}

// ease waits until at most n bytes wait to be written, or nothing can be written
// any more. Each write has its time, so it does not wait for ever.
func (o *output) ease(n int) {
	for {
		o.mu.Lock()
		done := o.closing || o.closed || len(o.buf) <= n
		o.mu.Unlock()
		if done {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// waiting is how many bytes wait to be written, besides the write under way;
// endless when nothing can be written any more.
func (o *output) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing || o.closed {
		return math.MaxInt
	}
	return len(o.buf)
}

// close closes the connection after f's last bytes and what waits before them
// were written, or a second has passed, and then leaves the client linger to
// read them. f may be nil. The writer, if there is one, may go on after close
// returns.
func (o *output) close(linger time.Duration, f func(buf []byte) []byte) {
	if o.beginClose(linger, f) {
		o.write() // the caller has nothing else to do
	}
}

// beginClose says whether the caller is to be the writer.
func (o *output) beginClose(linger time.Duration, f func(buf []byte) []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing || o.closed {
		return false
	}
	o.closing, o.linger = true, linger
	if f != nil {
		o.buf = f(o.take())
	}
	_ = o.conn.SetWriteDeadline(time.Now().Add(closeWithin)) // also of the write under way
	mine := !o.writing
	o.writing = true
	return mine
}

// write is the writer: it runs until the buffer is empty.
func (o *output) write() {
	for {
		p, closing := o.next()
		if p == nil {
			if closing {
				closeGently(o.conn, o.linger)
			}
			return
		}
		if !closing {
			_ = o.conn.SetWriteDeadline(time.Now().Add(o.within))
		}
		_, err := o.conn.Write(p)
		if cap(p) <= keepBuffer {
			buffers.Put(&p)
		}
		if err != nil {
			o.fail()
			return
		}
		o.drained()
	}
}

// next takes the buffer to be written, nil when the writer is to end.
func (o *output) next() (p []byte, closing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, o.buf = o.buf, nil
	if p == nil {
		o.writing = false
		o.closed = o.closing
	}
	return p, o.closing
}

func (o *output) fail() {
	o.mu.Lock()
	o.closed, o.writing, o.buf = true, false, nil
	o.mu.Unlock()
	_ = closeAtOnce(o.conn)
}

// lingerWithin and lingerBytes bound how long a connection that the broker
// ends is kept to let the client read the last packets.
const (
	lingerWithin = 500 * time.Millisecond // when the client is told why
	lingerShort  = 20 * time.Millisecond  // at an ordinary end
	lingerBytes  = 256 << 10
)

// closeGently closes so that the client gets what was written last: closing
// with unread bytes in the receive buffer would reset the connection, and the
// client would lose the reason. Nobody else reads c any more. A linger of 0 is
// for a client that has sent its last.
func closeGently(c net.Conn, linger time.Duration) {
	for {
		layer, ok := c.(interface { // a WebSocket, TLS
			halfCloser
			NetConn() net.Conn
		})
		if !ok {
			break
		}
		_ = layer.CloseWrite()
		c = layer.NetConn()
	}
	if s, ok := c.(*socket); ok {
		c = s.Conn
	}
	if t, ok := c.(halfCloser); ok && linger > 0 {
		_ = t.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(linger))
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
	_ = c.Close()
}

type halfCloser interface{ CloseWrite() error }

// closeAtOnce closes without the goodbyes of TLS and WebSocket, which could wait for a client
// that does not read.
func closeAtOnce(c net.Conn) error {
	for {
		layer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c.Close()
		}
		c = layer.NetConn()
	}
}
