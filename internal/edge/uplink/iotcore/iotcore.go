// Package iotcore is the uplink to AWS IoT Core, or to anything that speaks
// MQTT with client certificates: it publishes a queue's records with QoS 1,
// many of them unacknowledged at a time and in order.
//
// A record leaves the queue only after its PUBACK, or after it was written to
// the file of refused records because it can never be delivered: its topic is
// illegal, or it is larger than the server takes. Whatever else goes wrong, the
// record stays: the uplink backs off, connects again and goes on behind the
// last record that was acknowledged without a hole. A record can therefore
// arrive twice, with the same identity, and order holds within what is new.
//
// The session of MQTT is not used; the queue is the session.
package iotcore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/edge/uplink"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
)

// Options configure an uplink. Endpoint, ClientID, Files.Cert and Files.Key are
// required.
type Options struct {
	Name     string // of the uplink, in logs; default "iot"
	Endpoint string // host or host:port; the port is 8883 when it is not given, and 443 uses ALPN x-amzn-mqtt-ca
	ClientID string // 1 to 128 bytes, not beginning with $; at AWS the name of the thing
	Files    Files
	Topic    string // a [Template]; default "sensors/{id}/air"

	Version     byte          // mqtt.V311 or mqtt.V5; default V5
	KeepAlive   time.Duration // default 60 s
	MaxInflight int           // unacknowledged publishes; default 100

	// RefusedFile is where records go that can never be delivered; "" means
	// the log only. See [uplink.Refused].
	RefusedFile string
	MinBackoff  time.Duration // first pause after a failure; default 1 s
	MaxBackoff  time.Duration // longest pause; default 1 min
	Log         *slog.Logger  // default: discard
}

// The defaults of Options.
const (
	DefaultTopic      = "sensors/{id}/air"
	defaultPort       = "8883"
	defaultKeepAlive  = 60 * time.Second
	defaultMinBackoff = time.Second
	defaultMaxBackoff = time.Minute
	stable            = 5 * time.Second // a connection that lives so long is counted as working
	farewell          = time.Second     // how long the end waits for acknowledgements
	maxClientID       = 128             // AWS IoT Core, as above
	amazon            = ".amazonaws.com"
	amazonChina       = ".amazonaws.com.cn"
)

// Uplink delivers one queue.
type Uplink struct {
	o        Options
	addr     string
	template *Template
	log      *slog.Logger
	state    uplink.State
	refused  uplink.Refused
	acks     uplink.Acks
	backoff  uplink.Backoff // owned by Run

	delivered atomic.Uint64
}

// New checks the options and the files; it does not connect.
func New(o Options) (*Uplink, error) {
	u := &Uplink{o: o}
	if err := u.fillIn(); err != nil {
		return nil, err
	}
	if _, err := u.o.Files.load(u.addr); err != nil {
		return nil, err
	}
	u.log = u.o.Log.With("uplink", u.o.Name)
	u.state.Log, u.refused.Log = u.log, u.log
	u.refused.File, u.refused.Uplink = u.o.RefusedFile, u.o.Name
	u.backoff = uplink.Backoff{Min: u.o.MinBackoff, Max: u.o.MaxBackoff}
	return u, nil
}

// fillIn sets what is left out, and refuses what cannot work.
func (u *Uplink) fillIn() (err error) {
	o := &u.o
	setDefault(&o.Name, "iot")
	setDefault(&o.Topic, DefaultTopic)
	setDefault(&o.Version, mqtt.V5)
	setDefault(&o.KeepAlive, defaultKeepAlive)
	setDefault(&o.MinBackoff, defaultMinBackoff)
	setDefault(&o.MaxBackoff, defaultMaxBackoff)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Version != mqtt.V311 && o.Version != mqtt.V5 {
		return fmt.Errorf("MQTT version level %d is not supported: want 4 (MQTT 3.1.1) or 5", o.Version)
	}
	if o.ClientID == "" || len(o.ClientID) > maxClientID || o.ClientID[0] == '$' {
		return fmt.Errorf("client id %.140q: want 1 to %d bytes, not beginning with $", o.ClientID, maxClientID)
	}
	if u.addr, err = address(o.Endpoint); err != nil {
		return err
	}
	if u.template, err = ParseTemplate(o.Topic); err != nil {
		return err
	}
	if host, _, _ := net.SplitHostPort(u.addr); strings.HasSuffix(host, amazon) || strings.HasSuffix(host, amazonChina) {
		return u.template.fitsAWS()
	}
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// address returns host:port of an endpoint.
func address(endpoint string) (string, error) {
	if strings.Contains(endpoint, "://") {
		return "", fmt.Errorf("endpoint %q: want host or host:port, without a scheme", endpoint)
	}
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		host, port = strings.Trim(endpoint, "[]"), defaultPort
	}
	if host == "" || port == "" || strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("endpoint %q: want host or host:port, for example a1b2-ats.iot.eu-west-1.amazonaws.com", endpoint)
	}
	return net.JoinHostPort(host, port), nil
}

// Name is the uplink's name.
func (u *Uplink) Name() string { return u.o.Name }

// Check says whether the certificate is valid at now. Run does not end for
// that: readings are kept until there is a valid one.
func (u *Uplink) Check(now time.Time) error {
	cfg, err := u.o.Files.load(u.addr)
	if err != nil {
		return err
	}
	return u.o.Files.expiry(cfg, now)
}

// Status returns the state now.
func (u *Uplink) Status() uplink.Status {
	s := uplink.Status{InFlight: u.acks.Len(), Delivered: u.delivered.Load(), Refused: u.refused.Count()}
	s.Connected, s.Since, s.LastError, s.LastErrorAt = u.state.Snapshot()
	return s
}

// Run delivers q until ctx ends, then gives what is in flight a second to be
// acknowledged and returns nil. Any other error is the queue's.
func (u *Uplink) Run(ctx context.Context, q uplink.Queue) error {
	for {
		err := u.session(ctx, q)
		var broken *queueError
		switch {
		case errors.As(err, &broken):
			return broken.err
		case ctx.Err() != nil:
			return nil
		}
		pause := u.backoff.Next()
		u.state.Failed(err, "retry_in", pause.Round(time.Millisecond))
		if !uplink.Sleep(ctx, pause) {
			return nil
		}
	}
}

// queueError is a failure of the queue, which ends Run.
type queueError struct{ err error }

func (e *queueError) Error() string { return e.err.Error() }

// session connects and delivers until the connection ends, the server refuses a
// message for now, or ctx ends.
func (u *Uplink) session(ctx context.Context, q uplink.Queue) error {
	conn, err := u.connect(ctx)
	if err != nil {
		return err
	}
	u.state.Up()
	defer u.state.Down()
	s := &session{u: u, q: q, conn: conn}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	working := time.AfterFunc(stable, s.works)
	defer working.Stop()
	u.acks.Reset()
	q.Rewind()
	return s.run(ctx)
}

func (u *Uplink) connect(ctx context.Context) (*client.Conn, error) {
	cfg, err := u.o.Files.load(u.addr) // again each time, so that renewed files are used
	if err != nil {
		return nil, err
	}
	if err := u.o.Files.expiry(cfg, time.Now()); err != nil {
		return nil, err
	}
	return client.Dial(ctx, client.Options{
		Addr: u.addr, TLS: cfg, ClientID: u.o.ClientID, Version: u.o.Version,
		KeepAlive: u.o.KeepAlive, CleanStart: true, MaxInflight: u.o.MaxInflight,
	})
}

// session is one connection's work.
type session struct {
	u      *Uplink
	q      uplink.Queue
	conn   *client.Conn
	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc

	sent     atomic.Int64
	accepted atomic.Int64
	once     sync.Once // for works
	mended   atomic.Bool
}

// works notes that the connection does what it is for.
func (s *session) works() {
	s.once.Do(func() {
		s.mended.Store(true)
		s.u.state.Well("endpoint", s.u.addr)
	})
}

// run publishes until something ends it, and returns why.
func (s *session) run(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-s.conn.Done()
		s.cancel(s.conn.Err())
	}()
	err := s.publishAll()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_ = s.conn.Disconnect(grace) // what is not acknowledged by then is sent again
	<-ended
	if s.mended.Load() {
		s.u.backoff.Reset()
	}
	return s.explain(err)
}

// publishAll publishes record after record. Its error is why it stopped.
func (s *session) publishAll() error {
	for {
		seq, record, err := s.q.Next(s.ctx)
		if err != nil {
			if s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			return &queueError{err}
		}
		if err := s.publish(seq, record); err != nil {
			return err
		}
	}
}

// publish sends one record, or refuses it for good.
func (s *session) publish(seq uint64, record []byte) error {
	s.u.acks.Sent(seq)
	topic, err := s.u.template.Topic(record)
	if err != nil {
		s.refuse(seq, record, err)
		return nil
	}
	err = s.conn.Publish(s.ctx, &mqtt.Publish{Topic: topic, Payload: record, QoS: 1}, func(err error) { s.acked(seq, record, err) })
	var wire *mqtt.Error
	switch {
	case err == nil:
		s.sent.Add(1)
		return nil
	case errors.As(err, &wire) && forGood(wire.Code):
		s.refuse(seq, record, err)
		return nil
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	return err
}

// forGood says whether a refusal with code is about this one message and would
// be the same next time.
func forGood(code mqtt.ReasonCode) bool {
	switch code {
	case mqtt.PacketTooLarge, mqtt.TopicNameInvalid, mqtt.PayloadFormatInvalid, mqtt.MalformedPacket:
		return true
	}
	return false
}

// acked handles the answer to one publish. It is called by the connection's own
// goroutine.
func (s *session) acked(seq uint64, record []byte, err error) {
	var refused *client.PubackError
	switch {
	case err == nil:
		s.accepted.Add(1)
		s.u.delivered.Add(1)
		s.done(seq)
	case errors.As(err, &refused) && forGood(refused.Code):
		s.refuse(seq, record, err)
	case errors.As(err, &refused):
		topic, _ := s.u.template.Topic(record)
		s.cancel(deniedError(topic, refused))
	}
	// any other error is the connection's end, which the session sees itself
}

func (s *session) done(seq uint64) {
	if upTo, ok := s.u.acks.Done(seq); ok {
		s.q.Ack(upTo)
		s.works() // and not before: beside one denied record others may be accepted for ever
	}
}

func (s *session) refuse(seq uint64, record []byte, why error) {
	s.u.refused.Add(record, why.Error())
	s.done(seq)
}

// deniedError says what a PUBACK that may change with time means.
func deniedError(topic string, e *client.PubackError) error {
	advice := "it is tried again"
	switch e.Code {
	case mqtt.NotAuthorized:
		advice = fmt.Sprintf("allow iot:Publish on topic/%s in the certificate's policy", topic)
	case mqtt.QuotaExceeded, mqtt.MessageRateTooHigh:
		advice = "the server's quota is used up; it is tried again later"
	}
	return fmt.Errorf("publish on %q: %w: %s", topic, e, advice)
}

// explain adds to a connection that the server closed without a reason what is
// known about it. AWS IoT Core answers a denied publish that way in 3.1.1.
func (s *session) explain(err error) error {
	if errors.Is(err, client.ErrServerClosed) && s.sent.Load() > 0 && s.accepted.Load() == 0 {
		return fmt.Errorf("%w, after %d publishes of which it acknowledged none: check that the certificate's policy allows iot:Publish on topic/%s",
			err, s.sent.Load(), s.u.o.Topic)
	}
	return err
}
