// Package client is an MQTT client for one connection, version 3.1.1 or 5: it
// connects, publishes with many QoS 1 messages in flight, subscribes, and says
// why the connection ended. It does not reconnect and keeps no session: whoever
// uses it decides what is sent again.
//
// QoS 2 is not offered; AWS IoT Core has none.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"mote/internal/mqtt"
)

// Options says how to connect. Addr and ClientID are required.
type Options struct {
	Addr     string      // host:port
	TLS      *tls.Config // nil is plain TCP; ServerName is taken from Addr when it is empty
	ClientID string
	Version  byte // mqtt.V311 or mqtt.V5; 0 means mqtt.V5

	// KeepAlive is the longest silence before the client asks the server for a
	// sign of life; 0 turns it off. A version 5 server may choose another one.
	KeepAlive time.Duration
	// PingTimeout is how long the answer may take; 0 means 10 s, or KeepAlive
	// when that is less.
	PingTimeout time.Duration

	CleanStart    bool
	SessionExpiry uint32 // seconds, version 5 only
	Username      string // "" sends none
	Password      []byte // nil sends none
	Will          *mqtt.Will

	// MaxInflight is how many QoS 1 publishes may be unacknowledged; 0 means
	// 100, which is what AWS IoT Core takes. A version 5 server may lower it
	// through its receive maximum.
	MaxInflight int
	// MaxPacket is the largest packet accepted, in bytes; 0 means 256 KiB.
	MaxPacket int
	// OnMessage is called for each message received, in order; QoS 1 messages
	// are acknowledged when it returns. It and all onAck functions are called
	// by one goroutine, so they should not block for long, and must not call
	// Close, Disconnect, Subscribe or Unsubscribe.
	OnMessage func(*mqtt.Publish)
	// OnDelivery, when set, is called instead of OnMessage, by the same rules,
	// and leaves it to the receiver when a QoS 1 message is acknowledged: by
	// calling ack, once, from any goroutine, in the order of the messages
	// [MQTT-4.6.0-2]. ack is nil for QoS 0.
	OnDelivery func(p *mqtt.Publish, ack func())
	// DialTimeout bounds everything up to CONNACK; 0 means 30 s.
	DialTimeout time.Duration
	// Dial opens the TCP connection; nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// The defaults of Options.
const (
	defaultInflight    = 100
	defaultMaxPacket   = 256 << 10
	defaultDialTimeout = 30 * time.Second
	defaultPingTimeout = 10 * time.Second
)

// mostInflight leaves packet identifiers free for SUBSCRIBE and UNSUBSCRIBE.
const mostInflight = 60_000

// withDefaults returns o with its defaults filled in.
func (o Options) withDefaults() (Options, error) {
	if o.Version == 0 {
		o.Version = mqtt.V5
	}
	if o.Version != mqtt.V311 && o.Version != mqtt.V5 {
		return o, fmt.Errorf("mqtt version level %d is not supported: want 4 (MQTT 3.1.1) or 5", o.Version)
	}
	if o.KeepAlive < 0 || o.KeepAlive > 65535*time.Second {
		return o, fmt.Errorf("keep alive of %v is not possible: want 0 to 65535 s", o.KeepAlive)
	}
	if o.MaxInflight <= 0 {
		o.MaxInflight = defaultInflight
	}
	o.MaxInflight = min(o.MaxInflight, mostInflight)
	if o.MaxPacket <= 0 {
		o.MaxPacket = defaultMaxPacket
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = defaultDialTimeout
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	return o, nil
}

// Dial connects: TCP, TLS, CONNECT and CONNACK. When the server refuses, the
// error is a [*RefusedError]; when it closes without an answer, it wraps
// [ErrNoAnswer].
func Dial(ctx context.Context, o Options) (*Conn, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
	defer cancel()
	conn, err := dialTransport(ctx, &o)
	if err != nil {
		return nil, err
	}
	c, err := handshake(ctx, conn, &o)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.start()
	return c, nil
}

func dialTransport(ctx context.Context, o *Options) (net.Conn, error) {
	conn, err := o.Dial(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s: %w", o.Addr, err)
	}
	if o.TLS == nil {
		return conn, nil
	}
	cfg := o.TLS
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(o.Addr)
		if err != nil {
			conn.Close()
			return nil, fmt.Errorf("address %q: want host:port: %w", o.Addr, err)
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, tlsError(o.Addr, err)
	}
	return secure, nil
}

// handshake sends CONNECT and waits for CONNACK (sections 3.1, 3.2).
func handshake(ctx context.Context, conn net.Conn, o *Options) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	packet, err := o.connect().Append(nil, o.Version)
	if err != nil {
		return nil, err
	}
	_, sendErr := conn.Write(packet)
	r := mqtt.NewReader(conn, mqtt.Decoder{Version: o.Version, From: mqtt.FromServer, Max: o.MaxPacket})
	p, err := firstPacket(r) // also after a failed write: the server may have said why
	if err != nil {
		if sendErr != nil && !isTLSAlert(err) {
			err = sendErr
		}
		return nil, handshakeError(ctx, o, err)
	}
	ack, ok := p.(*mqtt.Connack)
	switch {
	case !ok:
		return nil, fmt.Errorf("%s answered CONNECT with %s instead of CONNACK: is it an MQTT server?", o.Addr, p.Type())
	case ack.Code != mqtt.Success:
		return nil, refused(ack, o)
	case ack.SessionPresent && o.CleanStart:
		return nil, fmt.Errorf("%s kept a session although a clean start was asked for [MQTT-3.2.2-2]", o.Addr)
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return newConn(conn, r, ack, o), nil
}

func firstPacket(r *mqtt.Reader) (mqtt.Packet, error) {
	for {
		f, ok, err := r.Next()
		if err != nil {
			return nil, err
		}
		if ok {
			return r.Packet(f)
		}
		if err := r.Fill(); err != nil {
			return nil, err
		}
	}
}

// connect makes the CONNECT packet.
func (o *Options) connect() *mqtt.Connect {
	p := &mqtt.Connect{
		Version: o.Version, CleanStart: o.CleanStart, ClientID: o.ClientID, Will: o.Will,
		KeepAlive: uint16((o.KeepAlive + time.Second - 1) / time.Second),
	}
	if o.Username != "" {
		p.Username = mqtt.Some(o.Username)
	}
	if o.Password != nil {
		p.Password = mqtt.Some(o.Password)
	}
	if o.Version == mqtt.V5 {
		p.Props = &mqtt.Properties{MaximumPacketSize: mqtt.Some(uint32(o.MaxPacket))}
		if o.SessionExpiry > 0 {
			p.Props.SessionExpiry = mqtt.Some(o.SessionExpiry)
		}
	}
	return p
}

// handshakeError says what went wrong between TLS and CONNACK. In TLS 1.3 the
// server's refusal of a client certificate arrives only here.
func handshakeError(ctx context.Context, o *Options, err error) error {
	var wire *mqtt.Error
	var timeout net.Error
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil:
		return fmt.Errorf("%s did not answer CONNECT within %v: is it an MQTT server, and does it expect TLS?", o.Addr, o.DialTimeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &wire):
		return fmt.Errorf("%s answered CONNECT with something else than CONNACK: is it an MQTT server? %w", o.Addr, err)
	case isTLSAlert(err):
		return tlsError(o.Addr, err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s closed the connection in the middle of its answer to CONNECT: is it an MQTT server? %w", o.Addr, err)
	}
	if errors.Is(err, io.EOF) || isReset(err) {
		return fmt.Errorf("%s: %w (client id %q): %w", o.Addr, ErrNoAnswer, o.ClientID, err)
	}
	return fmt.Errorf("connecting to %s: %w", o.Addr, err)
}
