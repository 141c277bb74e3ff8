// Package iotcore is the uplink to AWS IoT Core, or to anything that speaks
// MQTT with client certificates: it publishes a queue's records with QoS 1,
// many of them unacknowledged at a time and in order.
//
// A record leaves the queue only after its PUBACK, or after it was written to
// the file of refused records because it can never be delivered: its topic is
// illegal, or it is larger than the server takes. Whatever else goes wrong, the
// record stays. When the connection ends, the uplink backs off, connects again
// and sends what was not acknowledged, in order, before what is new. A record
// can therefore arrive twice, with the same identity.
//
// When the server denies one topic, the records of that topic are held back, and
// one of them is tried again from time to time; the others go on, until 4 MiB
// are held back or the others are 100,000 records ahead: then all wait.
//
// The files of the certificate can be replaced while the uplink runs: see
// [NextSuffix]. The uplink can do that by itself: see [Renewal].
//
// The session of MQTT is not used; the queue is the session.
package iotcore

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
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
	// Rate is the most publishes in a second; 0 keeps the quotas of AWS IoT
	// Core when Endpoint is there, and otherwise goes as fast as the server
	// acknowledges, as [RateOff] always does.
	Rate int

	Renewal Renewal // of the certificate

	// Control, when set, uses the connections beside the readings.
	Control Control

	// RefusedFile is where records go that can never be delivered; "" means
	// the log only. See [uplink.Refused].
	RefusedFile string
	MinBackoff  time.Duration // first pause after a failure; default 1 s
	MaxBackoff  time.Duration // longest pause; default 1 min
	Log         *slog.Logger  // default: discard
}

// Control steers boards over the uplink's connections.
type Control interface {
	// Attend is called with each connection; it returns soon after ctx ends,
	// which it does when the connection ends.
	Attend(ctx context.Context, conn *client.Conn)
	// Handle takes each message that the server sends. It must not wait.
	Handle(*mqtt.Publish)
}

// The defaults of Options.
const (
	DefaultTopic      = "sensors/{id}/air"
	defaultPort       = "8883"
	defaultKeepAlive  = 60 * time.Second
	defaultMinBackoff = time.Second
	defaultMaxBackoff = time.Minute
	stable            = 5 * time.Second // a connection that lives so long is counted as working
	defaultLook       = 10 * time.Second
	farewell          = time.Second // how long the end waits for acknowledgements
	maxHeldBytes      = 4 << 20     // of records held back because their topic is denied
	maxAhead          = 100_000     // records that others may be ahead of one that is not delivered
	maxClientID       = 128         // AWS IoT Core, as above
	maxRate           = 100_000
	amazon            = ".amazonaws.com"
	amazonChina       = ".amazonaws.com.cn"
)

// RateOff is an [Options.Rate] without bound.
const RateOff = -1

// Uplink delivers one queue.
type Uplink struct {
	o        Options
	addr     string
	template *Template
	log      *slog.Logger
	state    uplink.State
	refused  uplink.Refused
	acks     uplink.Acks
	backoff  uplink.Backoff // of connections; owned by Run
	rotation *rotation
	renewal  *renewal      // nil: off
	look     time.Duration // how often the certificate's files are looked at
	stable   time.Duration // a connection that lives so long is counted as working
	pace     uplink.Pace   // owned by Run

	delivered atomic.Uint64
}

// New checks the options and the files; it does not connect.
func New(o Options) (*Uplink, error) {
	u := &Uplink{o: o, look: defaultLook, stable: stable}
	if err := u.fillIn(); err != nil {
		return nil, err
	}
	if _, err := u.load(); err != nil {
		return nil, err
	}
	u.log = u.o.Log.With("uplink", u.o.Name)
	u.rotation = &rotation{files: u.o.Files, addr: u.addr, pause: u.o.MaxBackoff, renewed: u.o.Renewal.Template != "", log: u.log}
	u.renewal = newRenewal(u.o, u.log)
	u.state.Log, u.refused.Log = u.log, u.log
	u.refused.File, u.refused.Uplink = u.o.RefusedFile, u.o.Name
	u.backoff = uplink.Backoff{Min: u.o.MinBackoff, Max: u.o.MaxBackoff}
	return u, nil
}

// fillIn sets what is left out, and refuses what cannot work.
func (u *Uplink) fillIn() (err error) {
	o := &u.o
	o.Name = cmp.Or(o.Name, "iot")
	o.Topic = cmp.Or(o.Topic, DefaultTopic)
	o.Version = cmp.Or(o.Version, mqtt.V5)
	o.KeepAlive = cmp.Or(o.KeepAlive, defaultKeepAlive)
	o.MinBackoff = cmp.Or(o.MinBackoff, defaultMinBackoff)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, defaultMaxBackoff)
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
	if o.Renewal.Template != "" && o.Files.Cert == o.Files.Key {
		return fmt.Errorf("certificate and key are both in %s: to have the certificate renewed, give the key a file of its own", o.Files.Key)
	}
	if u.template, err = parseTemplate(o.Topic); err != nil {
		return err
	}
	if o.Rate < RateOff || o.Rate > maxRate {
		return fmt.Errorf("rate %d: want 1 to %d publishes a second, or none", o.Rate, maxRate)
	}
	u.pace.Messages = max(o.Rate, 0)
	if host, _, _ := net.SplitHostPort(u.addr); strings.HasSuffix(host, amazon) || strings.HasSuffix(host, amazonChina) {
		if o.Rate == 0 {
			u.pace = uplink.Pace{Messages: uplink.AWSMessages, Bytes: uplink.AWSBytes}
		}
		return u.template.fitsAWS()
	}
	return nil
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

// load reads the files in use. A kill may have left them half replaced; then the
// new certificate makes a pair with the key.
func (u *Uplink) load() (*tls.Config, error) {
	cfg, err := u.o.Files.load(u.addr)
	if err != nil {
		if next, ok := u.o.Files.next(); ok {
			if cfg, nextErr := next.load(u.addr); nextErr == nil {
				return cfg, nil
			}
		}
	}
	return cfg, err
}

// Check says whether the certificate is valid at now. Run does not end for
// that: readings are kept until there is a valid one.
func (u *Uplink) Check(now time.Time) error {
	cfg, err := u.load()
	if err != nil {
		return err
	}
	return u.o.Files.expiry(cfg, now)
}

// Status returns the state now.
func (u *Uplink) Status() uplink.Status {
	s := u.state.Status()
	s.InFlight, s.Delivered, s.Refused = u.acks.Len(), u.delivered.Load(), u.refused.Count()
	return s
}

// Run delivers q until ctx ends, then gives what is in flight a second to be
// acknowledged and returns nil. Any other error is the queue's.
func (u *Uplink) Run(ctx context.Context, q uplink.Queue) error {
	u.acks.Reset()
	q.Rewind()
	w := newWork(u, q)
	defer w.stop()
	for {
		err := u.session(ctx, w)
		var broken *queueError
		switch {
		case errors.As(err, &broken):
			return broken.err
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errRotate), errors.Is(err, errUnproven):
			continue
		}
		pause := u.backoff.Next()
		if w.afterDenial() {
			u.state.Note(err) // the denial was logged
		} else {
			u.state.Failed(err, "retry_in", pause.Round(time.Millisecond))
		}
		if !uplink.Sleep(ctx, pause) {
			return nil
		}
	}
}

// queueError is a failure of the queue, which ends Run.
type queueError struct{ err error }

func (e *queueError) Error() string { return e.err.Error() }

// session connects and delivers until the connection or ctx ends.
func (u *Uplink) session(ctx context.Context, w *work) error {
	conn, proving, err := u.connect(ctx)
	if err != nil {
		return err
	}
	u.state.Up()
	defer u.state.Down()
	s := &session{u: u, w: w, conn: conn, proving: proving, working: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	settled := time.AfterFunc(u.stable, s.settle)
	defer settled.Stop()
	err = s.run(ctx)
	if s.proving == nil || s.adopted {
		return err
	}
	if s.mended.Load() { // it ended before that was noted, or the files could not be renamed
		u.rotation.adopt(*proving)
		return err
	}
	if ctx.Err() == nil {
		u.rotation.failed(err, time.Now())
		return fmt.Errorf("%w: %w", errUnproven, err)
	}
	return err
}

// connect connects with a new certificate when there is one to prove, which it
// returns, and otherwise, or when that fails, with the one in use.
func (u *Uplink) connect(ctx context.Context) (conn *client.Conn, proving *Files, err error) {
	if next, ok := u.rotation.candidate(time.Now()); ok {
		conn, err := u.dial(ctx, next)
		if err == nil {
			return conn, &next, nil
		}
		if ctx.Err() != nil {
			return nil, nil, err
		}
		u.rotation.failed(err, time.Now())
	}
	conn, err = u.dial(ctx, u.o.Files)
	return conn, nil, err
}

// dial connects with the certificate in files as they are now.
func (u *Uplink) dial(ctx context.Context, files Files) (*client.Conn, error) {
	cfg, err := files.load(u.addr)
	if err != nil {
		return nil, err
	}
	if files == u.o.Files {
		u.rotation.warn(cfg, time.Now())
	}
	if err := files.expiry(cfg, time.Now()); err != nil {
		return nil, err
	}
	o := client.Options{
		Addr: u.addr, TLS: cfg, ClientID: u.o.ClientID, Version: u.o.Version,
		KeepAlive: u.o.KeepAlive, CleanStart: true, MaxInflight: u.o.MaxInflight, Dial: uplink.Dialer().DialContext,
	}
	if u.o.Control != nil || u.renewal != nil {
		o.OnMessage = u.handle
	}
	return client.Dial(ctx, o)
}

// handle takes each message that the server sends.
func (u *Uplink) handle(p *mqtt.Publish) {
	if !u.renewal.handle(p) && u.o.Control != nil {
		u.o.Control.Handle(p)
	}
}
