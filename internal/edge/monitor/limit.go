package monitor

import (
	"net"
	"sync"
)

// limitedListener gives each connection one of the turns until it is closed.
type limitedListener struct {
	net.Listener
	turns  chan struct{}
	closed chan struct{} // closed by Close
	once   sync.Once
}

// Accept waits for a turn, then for a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.turns <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.turns
		return nil, err
	}
	return &turnConn{Conn: conn, done: func() { <-l.turns }}, nil
}

// Close ends Accept too while it waits for a turn.
func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// turnConn gives its turn back when it is closed.
type turnConn struct {
	net.Conn
	once sync.Once
	done func()
}

func (c *turnConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}
