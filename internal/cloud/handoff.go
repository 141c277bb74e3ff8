package cloud

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// handoff is a listener whose connections another server has accepted.
// net/http serves HTTP only on connections whose ALPN protocol it knows; those
// with x-amzn-http-ca come to a second server this way.
type handoff struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	close func()
}

func newHandoff(addr net.Addr) *handoff {
	h := &handoff{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	h.close = sync.OnceFunc(func() { close(h.done) })
	return h
}

// Accept implements net.Listener.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handoff) Close() error {
	h.close()
	return nil
}

// Addr implements net.Listener.
func (h *handoff) Addr() net.Addr { return h.addr }

// serve hands a connection on, and returns when it is closed.
func (h *handoff) serve(_ *http.Server, c *tls.Conn, _ http.Handler) {
	taken := &handed{Conn: c, secure: c, closed: make(chan struct{})}
	taken.end = sync.OnceFunc(func() { close(taken.closed) })
	select {
	case h.conns <- taken:
		<-taken.closed
	case <-h.done:
		_ = c.Close()
	}
}

// handed is a TLS connection that net/http does not recognise as one.
type handed struct {
	net.Conn
	secure *tls.Conn
	closed chan struct{}
	end    func()
}

// Close implements net.Conn.
func (c *handed) Close() error {
	defer c.end()
	return c.Conn.Close()
}

type handedKey struct{}

// withTLS prepares s, a server on a handoff: its requests have the state of
// their TLS connection.
func withTLS(s *http.Server) {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if taken, ok := c.(*handed); ok {
			state := taken.secure.ConnectionState()
			ctx = context.WithValue(ctx, handedKey{}, &state)
		}
		return ctx
	}
	next := s.Handler
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS, _ = r.Context().Value(handedKey{}).(*tls.ConnectionState)
		next.ServeHTTP(w, r)
	})
}
