package broker

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"
)

// idleAfter is how long a connection is silent before it gives up the memory
// that only packets need. Devices that send every second keep it.
const idleAfter = 3 * time.Second

// silence is when a connection was heard and when it is asked again. Its read
// deadline is moved only when it is reached or comes too late, not with each
// packet of a busy connection.
type silence struct {
	since time.Time // it waits
	end   time.Time // the keep alive is over; zero: never
	set   time.Time // the read deadline; zero: none, or not known
}

// begin notes that a wait begins, and returns the read deadline to set, if one.
func (s *silence) begin(now time.Time, keepAlive time.Duration) (deadline time.Time, move bool) {
	s.since, s.end = now, time.Time{}
	if keepAlive > 0 {
		s.end = now.Add(keepAlive + keepAlive/2) // [MQTT-3.1.2-22]
	}
	if next := s.wake(); s.set.IsZero() || s.set.After(next) || s.set.Before(now) {
		s.set = next
		return next, true
	}
	return s.set, false
}

// wake is when an idle connection gives up its memory, or has to end.
func (s *silence) wake() time.Time {
	if at := s.since.Add(idleAfter); s.end.IsZero() || at.Before(s.end) {
		return at
	}
	return s.end
}

// reached says what the read deadline means that was reached: the keep alive
// is over, or the connection is idle; and the next one, zero for none.
func (s *silence) reached(now time.Time) (over, idle bool, deadline time.Time) {
	over = !s.end.IsZero() && !now.Before(s.end)
	idle = now.Sub(s.since) >= idleAfter
	s.set = s.wake()
	if idle {
		s.set = s.end
	}
	return over, idle, s.set
}

// fill reads once, and waits for it until the keep alive is over.
func (c *conn) fill() *refused {
	if deadline, move := c.silence.begin(time.Now(), c.keepAlive); move {
		_ = c.net.SetReadDeadline(deadline)
	}
	for {
		if r := c.cause.Load(); r != nil { // set before stop touched the deadline
			return r
		}
		err := c.receiveOnce()
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return readError(err)
		}
		over, idle, deadline := c.silence.reached(time.Now())
		if over {
			return errKeepAlive
		}
		if idle {
			c.rest()
		}
		_ = c.net.SetReadDeadline(deadline)
	}
}

// receiveOnce reads once; it waits without a buffer where the connection can.
func (c *conn) receiveOnce() error {
	if c.waiter != nil {
		if err := c.waiter.wait(); err != nil {
			return err
		}
	}
	return c.in.Fill()
}

// rest gives up the memory that an idle connection does not need.
func (c *conn) rest() {
	c.in.Release()
	if c.waiter != nil {
		c.waiter.release()
	} else {
		releaseLayers(c.net)
	}
	c.judge = nil
	c.receive.rest()
}

// releaseLayers gives up the empty read buffers of a WebSocket and of the TLS
// below it. Who waits in a Read needs new ones, of the smallest size.
func releaseLayers(nc net.Conn) {
	for {
		switch layer := nc.(type) {
		case interface{ Release() }:
			layer.Release()
		case *tls.Conn:
			releaseBuffers(layer)
		}
		layer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return
		}
		nc = layer.NetConn()
	}
}
