package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/mqtt"
)

// Conn is one established connection. Its methods are safe for concurrent use.
type Conn struct {
	conn net.Conn
	r    *mqtt.Reader // owned by the read loop
	o    Options
	ack  *mqtt.Connack

	maxPacket int           // the server's maximum packet size, 0 for none
	keepAlive time.Duration // what was agreed
	slots     chan struct{} // holds one element for each QoS 1 publish in flight
	kick      chan struct{} // one element: out is not empty
	closing   chan struct{} // closed when the end begins
	done      chan struct{} // closed when all is over
	loops     sync.WaitGroup

	lastSent atomic.Int64 // nanoseconds since 1970
	lastRead atomic.Int64 // nanoseconds since 1970
	reads    atomic.Int64 // counts reads that brought something

	mu       sync.Mutex
	out      []byte             // guarded by mu; encoded, not yet taken by the write loop
	room     chan struct{}      // guarded by mu; when not nil, closed as soon as out was taken
	pending  map[uint16]pending // guarded by mu; by packet identifier
	lastID   uint16             // guarded by mu
	order    uint64             // guarded by mu; counts what was put into pending
	leaving  bool               // guarded by mu; no new requests
	ended    bool               // guarded by mu; nothing enters pending any more
	err      error              // guarded by mu; why it ended
	writeErr error              // guarded by mu; what the write loop met
	// lastWords is guarded by mu; when it is not nil, the write loop ends the
	// connection with it as soon as out is written.
	lastWords error
}

// pending is a request that waits for its acknowledgement.
type pending struct {
	kind     mqtt.Type // of the acknowledgement
	order    uint64
	onAck    func(error)              // of a publish, may be nil
	onAnswer func(mqtt.Packet, error) // of anything else
}

// mostOut is how many encoded bytes may wait for the network before publishing
// blocks.
const mostOut = 256 << 10

func newConn(conn net.Conn, r *mqtt.Reader, ack *mqtt.Connack, o *Options) *Conn {
	c := &Conn{
		conn: conn, r: r, o: *o, ack: ack, keepAlive: o.KeepAlive,
		kick: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}), pending: map[uint16]pending{},
	}
	window := o.MaxInflight
	if p := ack.Props; p != nil {
		if p.ServerKeepAlive.Set { // [MQTT-3.2.2-21]
			c.keepAlive = time.Duration(p.ServerKeepAlive.Value) * time.Second
		}
		window = min(window, int(p.ReceiveMaximum.Or(65535))) // [MQTT-3.3.4-7]
		c.maxPacket = int(min(p.MaximumPacketSize.Or(0), 1<<30))
	}
	c.slots = make(chan struct{}, window)
	return c
}

func (c *Conn) start() {
	now := time.Now().UnixNano()
	c.lastSent.Store(now)
	c.lastRead.Store(now)
	c.loops.Go(c.writeLoop)
	if c.keepAlive > 0 {
		c.loops.Go(c.pingLoop)
	}
	go c.run() // Close and Done wait for it
}

// run reads until the connection ends, and then settles what is pending.
func (c *Conn) run() {
	err := c.readLoop()
	var wire *mqtt.Error
	if errors.As(err, &wire) {
		c.leave(wire.Code, err) // tell the server what it did wrong
	} else {
		c.end(err)
	}
	c.loops.Wait()
	for _, p := range c.takePending() {
		c.settle(p, nil, c.Err())
	}
	close(c.done)
}

// end begins the end of the connection; the first reason counts.
func (c *Conn) end(err error) {
	c.mu.Lock()
	first := !c.ended
	if first {
		if c.lastWords != nil { // the server may close before the write loop says so
			err = c.lastWords
		}
		c.ended, c.err = true, err
	}
	c.mu.Unlock()
	if first {
		close(c.closing)
	}
	c.conn.Close()
}

// takePending empties pending, in the order in which it was filled.
func (c *Conn) takePending() []pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []pending
	for _, p := range c.pending {
		all = append(all, p)
	}
	clear(c.pending)
	sort.Slice(all, func(i, j int) bool { return int64(all[i].order-all[j].order) < 0 })
	return all
}

// Done is closed when the connection has ended and every onAck was called.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended; nil while it has not. It is ErrClosed
// after Close and Disconnect, ErrKeepAlive, a [*DisconnectedError], or wraps
// [ErrServerClosed], an [*mqtt.Error] or an error of the network.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Connack returns the server's answer to CONNECT. It must not be changed.
func (c *Conn) Connack() *mqtt.Connack { return c.ack }

// Window is how many QoS 1 publishes may be in flight.
func (c *Conn) Window() int { return cap(c.slots) }

// MaxPacket is the largest packet that the server takes, in bytes; 0 means that
// it did not say.
func (c *Conn) MaxPacket() int { return c.maxPacket }

// Close ends the connection at once, without DISCONNECT, so that the server
// publishes the will. It waits until every onAck was called.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	<-c.done
	return nil
}

// Disconnect ends the connection in order: it takes no new requests, waits
// until what is in flight is acknowledged, and sends DISCONNECT, so that the
// server drops the will. When ctx ends earlier it does the rest at once and
// returns ctx's error.
func (c *Conn) Disconnect(ctx context.Context) error {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	err := c.drain(ctx)
	c.leave(mqtt.Success, ErrClosed)
	<-c.done
	return err
}

// drain waits until no publish is in flight.
func (c *Conn) drain(ctx context.Context) error {
	for range cap(c.slots) {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closing:
			return c.Err()
		}
	}
	return nil
}

// leave has the write loop send DISCONNECT with code behind what is still to be
// written, and then end the connection with err. A network that takes nothing
// is given up on after a second.
func (c *Conn) leave(code mqtt.ReasonCode, err error) {
	c.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if !c.sayLast(code, err) {
		c.end(err)
	}
}

// sayLast puts the last words into the line; it is false when the write loop
// has already given up.
func (c *Conn) sayLast(code mqtt.ReasonCode, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	if c.writeErr != nil {
		return false
	}
	if c.lastWords != nil {
		return true
	}
	c.lastWords = err
	if code == mqtt.Success || c.o.Version == mqtt.V5 {
		if b, err := (&mqtt.Disconnect{Code: code}).Append(c.out, c.o.Version); err == nil {
			c.out = b
		}
	}
	c.wakeWriter()
	return true
}

// wakeWriter tells the write loop that out is not empty.
func (c *Conn) wakeWriter() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// writeLoop writes what has gathered in out, all of it with one call, so that
// packets share system calls and TLS records as soon as the network is slower
// than the program.
func (c *Conn) writeLoop() {
	var spare []byte
	for {
		select {
		case <-c.kick:
		case <-c.closing:
			return
		}
		batch, end := c.takeOut(spare)
		if len(batch) > 0 {
			if _, err := c.conn.Write(batch); err != nil {
				c.writeFailed(err)
				return
			}
			c.lastSent.Store(time.Now().UnixNano())
		}
		if end != nil {
			c.end(end)
			return
		}
		if spare = batch; cap(spare) > 2*mostOut {
			spare = nil
		}
	}
}

// takeOut takes what is to be written, leaving spare in its place. end is not
// nil when these are the last words.
func (c *Conn) takeOut(spare []byte) (batch []byte, end error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch, c.out = c.out, spare[:0]
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
	return batch, c.lastWords
}

// writeFailed lets the read loop find what the server said before it closed,
// for a moment; only then the failed write becomes the reason of the end.
func (c *Conn) writeFailed(err error) {
	c.mu.Lock()
	c.writeErr = err
	last := c.lastWords
	c.mu.Unlock()
	if last != nil {
		c.end(last)
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
}

// readLoop handles what the server sends until the connection ends.
func (c *Conn) readLoop() error {
	for {
		f, ok, err := c.r.Next()
		if err == nil && ok {
			err = c.handle(f)
		}
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := c.r.Fill(); err != nil {
			return c.readError(err)
		}
		c.lastRead.Store(time.Now().UnixNano())
		c.reads.Add(1)
	}
}

// readError says why reading failed.
func (c *Conn) readError(err error) error {
	c.mu.Lock()
	writeErr := c.writeErr
	c.mu.Unlock()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isReset(err):
		return fmt.Errorf("%w: %w", ErrServerClosed, err)
	case isTLSAlert(err):
		return tlsError(c.o.Addr, err)
	case writeErr != nil && isReset(writeErr):
		return fmt.Errorf("%w: %w", ErrServerClosed, writeErr)
	case writeErr != nil:
		return fmt.Errorf("writing to the server: %w", writeErr)
	}
	return fmt.Errorf("reading from the server: %w", err)
}

// handle handles one packet.
func (c *Conn) handle(f mqtt.Frame) error {
	switch f.Type() {
	case mqtt.PUBLISH:
		return c.handlePublish(f)
	case mqtt.PUBACK:
		var a mqtt.Ack
		if err := c.r.Ack(f, &a); err != nil {
			return err
		}
		return c.handleAnswer(&a, a.PacketID)
	}
	p, err := c.r.Packet(f)
	if err != nil {
		return err
	}
	switch p := p.(type) {
	case *mqtt.Suback:
		return c.handleAnswer(p, p.PacketID)
	case *mqtt.Unsuback:
		return c.handleAnswer(p, p.PacketID)
	case *mqtt.Ping:
		return nil
	case *mqtt.Disconnect:
		e := &DisconnectedError{Code: p.Code}
		if p.Props != nil {
			e.Reason = p.Props.ReasonString.Value
		}
		return e
	}
	return &mqtt.Error{Code: mqtt.ProtocolError, Reason: fmt.Sprintf("%s, which this client never asked for", p.Type())}
}

func (c *Conn) handlePublish(f mqtt.Frame) error {
	var v mqtt.PublishView
	if err := c.r.Publish(f, &v); err != nil {
		return err
	}
	switch {
	case v.QoS > 1:
		return &mqtt.Error{Code: mqtt.QoSNotSupported, Reason: "PUBLISH with QoS 2, which this client never asked for"}
	case v.TopicAlias != 0: // the client's topic alias maximum is 0
		return &mqtt.Error{Code: mqtt.TopicAliasInvalid, Reason: "PUBLISH with a topic alias, which this client did not allow [MQTT-3.3.2-9]"}
	}
	if c.o.OnDelivery != nil {
		var ack func()
		if id := v.PacketID; v.QoS > 0 {
			ack = func() { _ = c.acknowledge(id) } // of a connection that ended, it comes again
		}
		c.o.OnDelivery(v.Publish(), ack)
		return nil
	}
	if c.o.OnMessage != nil {
		c.o.OnMessage(v.Publish())
	}
	if v.QoS == 0 {
		return nil
	}
	return c.acknowledge(v.PacketID)
}

// acknowledge sends PUBACK.
func (c *Conn) acknowledge(id uint16) error {
	if err := c.waitRoom(context.Background()); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.out = mqtt.AppendPuback(c.out, id)
	c.wakeWriter()
	return nil
}

// handleAnswer settles the request that p answers.
func (c *Conn) handleAnswer(p mqtt.Packet, id uint16) error {
	c.mu.Lock()
	waiting, ok := c.pending[id]
	if ok && waiting.kind == p.Type() {
		delete(c.pending, id)
	}
	c.mu.Unlock()
	if !ok || waiting.kind != p.Type() {
		return &mqtt.Error{Code: mqtt.ProtocolError, Reason: fmt.Sprintf("%s with packet identifier %d, which waits for none", p.Type(), id)}
	}
	c.settle(waiting, p, nil)
	return nil
}

// settle tells who waits how the request ended.
func (c *Conn) settle(w pending, p mqtt.Packet, err error) {
	if w.onAnswer != nil {
		w.onAnswer(p, err)
		return
	}
	if err == nil {
		<-c.slots
		err = pubackError(p)
	}
	if w.onAck != nil {
		w.onAck(err)
	}
}

func pubackError(p mqtt.Packet) error {
	a, ok := p.(*mqtt.Ack)
	if !ok || !a.Code.Failed() {
		return nil
	}
	e := &PubackError{Code: a.Code}
	if a.Props != nil {
		e.Reason = a.Props.ReasonString.Value
	}
	return e
}

// waitRoom waits until not too much is waiting for the network, and returns
// with mu locked; when it returns an error, mu is not locked.
func (c *Conn) waitRoom(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.ended {
			c.mu.Unlock()
			return c.Err()
		}
		if len(c.out) <= mostOut {
			return nil
		}
		if c.room == nil {
			c.room = make(chan struct{})
		}
		room := c.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.closing:
		}
	}
}

// pingLoop sends PINGREQ when nothing was sent or nothing was received for
// three quarters of the keep-alive time (section 3.1.2.10 asks to send within
// the whole of it), and ends the connection when nothing at all comes back.
func (c *Conn) pingLoop() {
	every := c.keepAlive * 3 / 4
	patience := c.o.PingTimeout
	if patience <= 0 {
		patience = min(defaultPingTimeout, c.keepAlive)
	}
	t := time.NewTimer(every)
	defer t.Stop()
	for c.wait(t) {
		quiet := time.Duration(time.Now().UnixNano() - min(c.lastSent.Load(), c.lastRead.Load()))
		if quiet < every {
			t.Reset(every - quiet)
			continue
		}
		reads := c.reads.Load()
		c.ping()
		t.Reset(patience)
		if !c.wait(t) {
			return
		}
		if c.reads.Load() == reads {
			c.end(ErrKeepAlive)
			return
		}
		t.Reset(0)
	}
}

// wait waits for the timer; it is false when the connection ends before.
func (c *Conn) wait(t *time.Timer) bool {
	select {
	case <-t.C:
		return true
	case <-c.closing:
		return false
	}
}

func (c *Conn) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out, _ = (&mqtt.Ping{}).Append(c.out, c.o.Version) // cannot fail
	c.wakeWriter()
}
