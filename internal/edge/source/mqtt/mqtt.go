// Package mqtt reads boards that publish to an MQTT broker, such as an ESP32
// beside a Mosquitto on the gateway's own machine.
//
// It promises that a message of QoS 1 is acknowledged to the broker only when
// what was made of it is durable, and that the broker keeps what is published
// while the gateway is away, in a session of its own. A message can come again
// after a crash; boards that send their own time are then recognised. Messages
// that the broker retained are passed over: they were delivered when they were
// new.
//
// With a topic for commands, it publishes to boards what they are told.
//
// What it leaves to others: what a message says, and dialling again.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// Options say where the broker is and what is read. Address, Filter and
// ClientID are required.
type Options struct {
	Address  string // host:port
	Filter   string // of topics, with + and #
	Board    string // names the board, with {topic:N} for the Nth level; "": the message does
	Value    string // names the one value of a message in the same way; "": the message does
	Command  string // topic of commands, with {id} for the board's; "": boards take none
	Payload  string // of commands, with {rate} for the seconds; default frame.LineCommand
	Retain   bool   // the broker keeps the last command of a topic
	ClientID string // names the session; no other client of the broker has it
	Version  byte   // mqtt.V5 (default) or mqtt.V311
	User     string
	Password []byte
	TLS      *tls.Config // nil: plain TCP
	Timeout  time.Duration
	Log      *slog.Logger // default: discard
}

const (
	defaultTimeout = 10 * time.Second
	keepAlive      = 30 * time.Second
	sessionExpiry  = 7 * 24 * 3600 // seconds that the broker keeps messages; version 5 only
	maxPacket      = 1 << 20
	waiting        = 64 // messages taken from the network and not yet from us
	farewell       = time.Second
)

// Source is one subscription. It is safe for concurrent use.
type Source struct {
	o            Options
	board, value name
}

// New checks the options. It does not use the network.
func New(o Options) (*Source, error) {
	if host, port, err := net.SplitHostPort(o.Address); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("bad mqtt address %.100q: write it as host:port", o.Address)
	}
	if o.Filter == "" {
		return nil, errors.New(`an mqtt source needs a topic to subscribe to, such as "sensors/+/air"`)
	}
	if err := mqtt.ValidFilter(o.Filter); err != nil {
		return nil, fmt.Errorf("topic %.100q: %w", o.Filter, err)
	}
	if o.ClientID == "" {
		return nil, errors.New("an mqtt source needs a client id")
	}
	board, err := newName(o.Board, o.Filter)
	if err != nil {
		return nil, fmt.Errorf("id: %w", err)
	}
	value, err := newName(o.Value, o.Filter)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	if o.Command != "" && o.Payload == "" {
		o.Payload = frame.LineCommand
	}
	if err := o.checkCommand(); err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Source{o, board, value}, nil
}

// Name returns the broker's host:port and the topic.
func (s *Source) Name() string { return s.o.Address + " " + s.o.Filter }

// Dial makes one attempt to connect and subscribe.
func (s *Source) Dial(ctx context.Context) (net.Conn, error) {
	c := &Conn{source: s, in: make(chan delivery, waiting), closed: make(chan struct{}), answer: make(chan error, 1), busy: make(chan struct{}, 1)}
	conn, err := client.Dial(ctx, client.Options{
		Addr: s.o.Address, TLS: s.o.TLS, ClientID: s.o.ClientID, Version: s.o.Version, KeepAlive: keepAlive,
		SessionExpiry: sessionExpiry, Username: s.o.User, Password: s.o.Password,
		MaxPacket: maxPacket, DialTimeout: s.o.Timeout, OnDelivery: c.deliver,
	})
	if err != nil {
		return nil, fmt.Errorf("mqtt broker: %w", err)
	}
	c.conn = conn
	c.subscribing.Go(c.subscribe)
	if err := c.subscribed(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// subscribed waits for the answer, unless so many messages come before it, of a
// session that goes on, that they have to be taken first.
func (c *Conn) subscribed(ctx context.Context) error {
	timeout := time.NewTimer(c.source.o.Timeout)
	defer timeout.Stop()
	select {
	case err := <-c.answer:
		return err
	case <-c.busy:
		return nil
	case <-timeout.C:
		return fmt.Errorf("mqtt broker %s did not answer the subscription within %v", c.source.o.Address, c.source.o.Timeout)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// subscribe may run beside Messages. Retained messages come with each
// subscription: they are not asked for, and passed over where the broker sends
// them all the same (version 3.1.1).
func (c *Conn) subscribe() {
	_, err := c.conn.Subscribe(context.Background(), mqtt.Subscription{Filter: c.source.o.Filter, QoS: 1, RetainHandling: 2})
	if err != nil {
		err = fmt.Errorf("mqtt broker %s: %w: may this user read the topic?", c.source.o.Address, err)
	}
	c.answer <- err
}

// delivery is a message that came from the network.
type delivery struct {
	message frame.Message
	ack     func() // nil for QoS 0
}

// Conn is one connection to the broker. Messages are taken by one goroutine.
type Conn struct {
	source *Source
	conn   *client.Conn
	in     chan delivery
	closed chan struct{} // closed by Close
	once   sync.Once

	subscribing sync.WaitGroup
	answer      chan error    // has room for the one of subscribe
	busy        chan struct{} // has room for one: in is full

	taken []func() // acknowledgements of what Messages returned last
}

// deliver takes a message from the network. It waits while many are waiting:
// the broker keeps the others.
func (c *Conn) deliver(p *mqtt.Publish, ack func()) {
	d := delivery{ack: ack, message: frame.Message{Board: c.source.board.of(p.Topic), Name: c.source.value.of(p.Topic), Data: p.Payload}}
	if p.Retain || c.source.o.Value != "" && attribute(p.Topic) {
		d.message.Data = nil
	}
	select {
	case c.in <- d:
		return
	default:
	}
	select {
	case c.busy <- struct{}{}:
	default:
	}
	select {
	case c.in <- d:
	case <-c.closed:
	}
}

// Messages waits for messages and returns at least one, or why there are no
// more. By calling it the caller says that what it returned before is durable,
// or refused for good: that is acknowledged to the broker.
func (c *Conn) Messages(ctx context.Context) (out []frame.Message, err error) {
	for _, ack := range c.taken {
		ack()
	}
	c.taken = c.taken[:0]
	for len(out) == 0 {
		select { // what has come counts also when the connection has ended
		case d := <-c.in:
			out = c.take(out, d)
			continue
		default:
		}
		select {
		case d := <-c.in:
			out = c.take(out, d)
		case err := <-c.answer:
			if err != nil {
				return nil, err
			}
		case <-c.conn.Done():
			return nil, c.ended()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	for range waiting {
		select {
		case d := <-c.in:
			out = c.take(out, d)
		default:
			return out, nil
		}
	}
	return out, nil
}

// take adds a delivery to what is returned. One that says nothing is
// acknowledged in its turn.
func (c *Conn) take(out []frame.Message, d delivery) []frame.Message {
	if d.ack != nil {
		c.taken = append(c.taken, d.ack)
	}
	if len(d.message.Data) == 0 {
		if len(out) == 0 {
			for _, ack := range c.taken {
				ack()
			}
			c.taken = c.taken[:0]
		}
		return out
	}
	return append(out, d.message)
}

func (c *Conn) ended() error {
	err := c.conn.Err()
	var gone *client.DisconnectedError
	if errors.As(err, &gone) && gone.Code == mqtt.SessionTakenOver {
		return fmt.Errorf("mqtt broker %s: %w (this source is %q; set client_id)", c.source.o.Address, err, c.source.o.ClientID)
	}
	return fmt.Errorf("mqtt broker %s: %w", c.source.o.Address, err)
}

// Tell publishes the command that tells a board its rate, and waits until the
// broker has it or ctx ends. Whether the board hears it is not known here. It may
// run beside Messages.
func (c *Conn) Tell(ctx context.Context, board string, rate time.Duration) error {
	o := &c.source.o
	if o.Command == "" {
		return fmt.Errorf("boards of this source are told nothing: set command, the topic on which they hear (%w)", errors.ErrUnsupported)
	}
	p, err := o.command(board, rate)
	if err != nil {
		return err
	}
	acked := make(chan error, 1)
	if err = c.conn.Publish(ctx, p, func(err error) { acked <- err }); err == nil {
		select {
		case err = <-acked:
		case <-ctx.Done():
			err = fmt.Errorf("it is not acknowledged: %w", ctx.Err())
		}
	}
	if err != nil {
		return fmt.Errorf("mqtt broker %s: command on %s: %w", o.Address, p.Topic, err)
	}
	return nil
}

// Close ends the connection in order; the broker keeps the session.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = c.conn.Disconnect(ctx) // what it did not acknowledge comes again
		c.subscribing.Wait()
	})
	return nil
}

// errMessages is what the methods of a stream answer.
var errMessages = errors.New("an mqtt source has messages, not a stream")

// Read, Write and the deadlines of [net.Conn] are not for messages.
func (c *Conn) Read([]byte) (int, error)         { return 0, io.EOF }
func (c *Conn) Write([]byte) (int, error)        { return 0, errMessages }
func (c *Conn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *Conn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *Conn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// LocalAddr and RemoteAddr are the broker's name.
func (c *Conn) LocalAddr() net.Addr  { return addr(c.source.o.ClientID) }
func (c *Conn) RemoteAddr() net.Addr { return addr(c.source.o.Address) }

type addr string

func (addr) Network() string  { return "mqtt" }
func (a addr) String() string { return string(a) }
