package broker

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A client that publishes often makes one TLS record of each publish, and
// tls.Conn.Read returns one record. So that the publishes which have arrived
// share a commit and an acknowledgement, drainer reads on until no whole record
// is left, and socket reads ahead from the network, with a buffer that it has
// only while there is something in it: an idle connection holds none.

// socket is a TCP connection that can be read without waiting.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil when the system cannot read ahead

	// Used by the goroutine that reads.
	ahead    *[]byte // nil when empty
	from, to int     // what is left of ahead
	try      bool    // Read does not wait
	n        int     // result of fill
	err      error   // result of fill
	fill     func(fd uintptr) bool
}

// aheadBytes is how much one read takes from the network.
const aheadBytes = 32 << 10

var aheadBuffers = sync.Pool{New: func() any { b := make([]byte, aheadBytes); return &b }}

func newSocket(nc net.Conn) *socket {
	s := &socket{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
	}
	s.fill = s.readNow
	return s
}

// wouldBlock says that Read would have to wait. For crypto/tls, which keeps
// what it has of a record after an error that is temporary, the next Read goes
// on where this one stopped.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read yet" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

func (s *socket) Read(p []byte) (int, error) {
	if s.raw == nil {
		return s.readThrough(p)
	}
	if s.ahead == nil {
		if s.try {
			return 0, wouldBlock{}
		}
		if err := s.wait(); err != nil {
			return 0, err
		}
	}
	n := copy(p, (*s.ahead)[s.from:s.to])
	if s.from += n; s.from == s.to {
		aheadBuffers.Put(s.ahead)
		s.ahead = nil
	}
	return n, nil
}

// readThrough is Read without reading ahead.
func (s *socket) readThrough(p []byte) (int, error) {
	if s.try {
		return 0, wouldBlock{}
	}
	return s.Conn.Read(p)
}

// wait fills ahead from the network; it waits until there is something, the
// end or the deadline.
func (s *socket) wait() error {
	if err := s.raw.Read(s.fill); err != nil {
		return err
	}
	if s.err == nil && s.n == 0 {
		s.err = io.EOF
	}
	if s.err != nil {
		s.drop()
		return s.err
	}
	s.from, s.to = 0, s.n
	return nil
}

// readNow reads once and says whether that is the result; otherwise it is
// called again when there is something to read.
func (s *socket) readNow(fd uintptr) bool {
	s.ahead = aheadBuffers.Get().(*[]byte)
	for {
		s.n, s.err = unix.Read(int(fd), *s.ahead)
		if s.err != unix.EINTR {
			break
		}
	}
	if s.err == unix.EAGAIN {
		s.drop()
		return false
	}
	return true
}

func (s *socket) drop() {
	if s.ahead != nil {
		aheadBuffers.Put(s.ahead)
		s.ahead = nil
	}
}

// drainer reads TLS records from a connection over a socket.
type drainer struct {
	tls  *tls.Conn
	s    *socket
	more bool // the last Read may have left something behind, in the buffers of TLS
}

// Read waits for the first record and takes the others that have arrived.
func (d *drainer) Read(p []byte) (int, error) {
	d.more = true
	n, err := d.tls.Read(p)
	if err != nil {
		return n, err
	}
	d.s.try = true
	for n < len(p) {
		more, err := d.tls.Read(p[n:])
		n += more
		if err != nil { // nothing more yet; any other error comes again
			if _, ok := err.(wouldBlock); ok {
				d.more = false
			}
			break
		}
	}
	d.s.try = false
	return n, nil
}

// wait returns when Read has something to begin with. It needs no buffer.
func (d *drainer) wait() error {
	if d.more || d.s.raw == nil || d.s.ahead != nil {
		return nil
	}
	return d.s.wait()
}

// release gives up the memory that Read holds on to.
func (d *drainer) release() {
	if !d.more {
		releaseBuffers(d.tls)
	}
}

// waiter is a source that can wait before it reads, and that holds memory which
// it needs only while it reads.
type waiter interface {
	wait() error
	release()
}

// source returns what a connection's reader reads from.
func source(nc net.Conn) io.Reader {
	if tc, ok := nc.(*tls.Conn); ok {
		if s, ok := tc.NetConn().(*socket); ok {
			return &drainer{tls: tc, s: s}
		}
	}
	return nc
}
