package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"mote/internal/cloud/crowd"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/refusal"
)

// serverTLS returns a copy of t that asks clients for a certificate and has the
// gate judge it inside the handshake, so that a client that may not connect
// gets a TLS alert, as on AWS.
func (b *Broker) serverTLS(t *tls.Config) *tls.Config {
	t = t.Clone()
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	t.ClientAuth = tls.RequireAnyClientCert
	t.DynamicRecordSizingDisabled = true // acknowledgements of a burst go in one record
	t.VerifyConnection = func(cs tls.ConnectionState) error {
		_, _, err := b.verify(cs)
		return err
	}
	return t
}

// openTLS returns a copy of t for clients that have no certificate.
func openTLS(t *tls.Config) *tls.Config {
	t = t.Clone()
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	t.DynamicRecordSizingDisabled = true
	return t
}

// TLSConfig returns a copy of the configuration of the broker's TLS listener,
// for a listener that serves other protocols beside MQTT. Refused certificates
// are recorded; without the address, which a handshake does not tell.
func (b *Broker) TLSConfig() *tls.Config {
	t := b.tls.Clone()
	t.VerifyConnection = func(cs tls.ConnectionState) error {
		_, _, err := b.verify(cs)
		b.refuseCertificate(err, "")
		return err
	}
	return t
}

var errNoCertificate = errors.New("the client sent no certificate: connect with the thing's certificate and key")

// verify has the gate judge a client's certificate. It is asked again for a
// resumed TLS session, whose certificate may have been deactivated since.
func (b *Broker) verify(cs tls.ConnectionState) (*x509.Certificate, string, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, "", &certificateError{err: errNoCertificate}
	}
	cert := cs.PeerCertificates[0]
	id, err := b.gate.VerifyCertificate(cert)
	if err != nil {
		return nil, "", &certificateError{cert, err}
	}
	return cert, id, nil
}

// certificateError is the gate's no.
type certificateError struct {
	cert *x509.Certificate // nil when there is none
	err  error
}

func (e *certificateError) Error() string { return "client certificate: " + e.err.Error() }
func (e *certificateError) Unwrap() error { return e.err }

// ServeTLS is Serve in AWS's mode with client certificates.
func (b *Broker) ServeTLS(ctx context.Context, l net.Listener) error {
	return b.Serve(ctx, l, Listener{})
}

// Serve accepts connections from l, a plain TCP listener, until ctx ends, l is
// closed or the broker is closed, and closes l. The connections live on until
// Close.
func (b *Broker) Serve(ctx context.Context, l net.Listener, kind Listener) error {
	if err := b.checkListener(kind); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	quit := make(chan struct{})
	defer close(quit)
	go func() { // ends with this function
		select {
		case <-b.quit:
			cancel()
		case <-quit:
		}
	}()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			b.accept(ctx, nc, kind)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		default: // out of file descriptors, most likely: it passes
			b.log.Error("cannot accept a connection", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// accept serves one TCP connection on a goroutine of its own, unless there are
// too many.
func (b *Broker) accept(ctx context.Context, nc net.Conn, kind Listener) {
	b.mu.Lock()
	ip := crowd.IP(nc)
	busy := b.closing || b.handshaking+len(b.conns) >= b.limits.Connections
	crowded := !busy && !b.addresses.Enter(ip)
	if !busy && !crowded {
		b.handshaking++
		b.running.Add(1)
	}
	b.mu.Unlock()
	if crowded {
		b.counters.turnedAway.Add(1)
		b.log.Warn("too many connections from one address, one is turned away", "most", b.limits.Address, "source_ip", ip)
		_ = nc.Close()
		return
	}
	if busy {
		b.counters.turnedAway.Add(1)
		b.log.Warn("too many connections, one is turned away", "most", b.limits.Connections, "source_ip", ip)
		_ = nc.Close()
		return
	}
	go func() { // Close waits for it through running
		end := func() { b.addresses.Leave(ip); b.running.Done() }
		c := b.greet(ctx, nc, ip, kind)
		if c == nil {
			end()
			return
		}
		// On a goroutine of its own again: the handshake has needed a deep stack,
		// which this one would keep for as long as the connection lives.
		go func() { // Close waits for it, too
			c.serve()
			end()
		}()
	}()
}

// greet does the TLS handshake and CONNECT. It returns nil when the connection
// has ended.
func (b *Broker) greet(ctx context.Context, nc net.Conn, ip string, kind Listener) *conn {
	if kind.Plain {
		b.handshakeEnds()
		return b.begin(ctx, nc, policy.Subject{SourceIP: ip}, kind)
	}
	config := b.tls
	if kind.Auth != Certificate {
		config = b.openTLS
	}
	tc := tls.Server(newSocket(nc), config)
	ok := b.handshake(ctx, tc)
	b.handshakeEnds()
	if !ok {
		closeGently(nc, lingerWithin)
		return nil
	}
	return b.beginTLS(ctx, tc, kind)
}

func (b *Broker) handshakeEnds() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handshaking--
}

// handshake runs the TLS handshake within its deadline; a refusal is recorded.
func (b *Broker) handshake(ctx context.Context, tc *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, b.limits.ConnectWithin)
	defer cancel()
	err := tc.HandshakeContext(ctx)
	if err == nil {
		return true
	}
	b.counters.handshakes.Add(1)
	r := refusal.Refusal{Where: "tls", Action: "TLS handshake", SourceIP: crowd.IP(tc), Reason: handshakeReason(err)}
	if b.refuseCertificate(err, r.SourceIP) {
		return false
	}
	if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, net.ErrClosed) {
		b.log.Debug("a TLS handshake ended early", "source_ip", r.SourceIP, "err", err)
		return false
	}
	b.refusals.Add(r)
	return false
}

// refuseCertificate records the gate's no; it returns false when err is not one.
func (b *Broker) refuseCertificate(err error, ip string) bool {
	refused, ok := errors.AsType[*certificateError](err)
	if !ok {
		return false
	}
	r := refusal.Refusal{Where: "tls", Action: "iot:Connect", SourceIP: ip, Reason: refused.Error()}
	if refused.cert != nil {
		r.Resource = cut(fmt.Sprintf("certificate of %q, serial %x", refused.cert.Subject, refused.cert.SerialNumber))
	}
	b.refusals.Add(r)
	return true
}

// handshakeReason says for people why a handshake failed.
func handshakeReason(err error) string {
	const trust = "it needs the root CA (ca.pem) of this server, and a name that its certificate has"
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		return fmt.Sprintf("the client gave up: %v: %s", alert, trust)
	}
	// OpenSSL sends the alert about a certificate that it does not trust without
	// encryption, which crypto/tls cannot read (Go issue 76767).
	if strings.HasSuffix(err.Error(), "tls: bad record MAC") {
		return "the client gave up, most likely as it does not trust this server: " + trust
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "the client did not finish the handshake in time"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the client does not speak TLS: connect with TLS"
	}
	if strings.HasSuffix(err.Error(), "client didn't provide a certificate") { // crypto/tls has no value for it
		return errNoCertificate.Error()
	}
	return err.Error()
}

// ServeConn serves a connection whose TLS handshake is done, from a listener
// that others share, and returns when it has ended. The client's certificate
// is judged as on the broker's own listener.
func (b *Broker) ServeConn(ctx context.Context, tc *tls.Conn) {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		_ = tc.Close()
		return
	}
	b.running.Add(1)
	b.mu.Unlock()
	defer b.running.Done()
	if c := b.beginTLS(ctx, tc, Listener{}); c != nil {
		c.serve()
	}
}

// beginTLS judges the certificate, where the listener wants one, and begins a
// connection; nil when it has ended.
func (b *Broker) beginTLS(ctx context.Context, tc *tls.Conn, kind Listener) *conn {
	cs := tc.ConnectionState()
	if kind.Auth != Certificate {
		return b.begin(ctx, tc, policy.Subject{SourceIP: crowd.IP(tc), DomainName: cs.ServerName}, kind)
	}
	cert, id, err := b.verify(cs)
	if err != nil {
		b.refuseCertificate(err, crowd.IP(tc))
		_ = tc.Close()
		return nil
	}
	return b.begin(ctx, tc, policy.Subject{CertificateID: id, Certificate: cert, SourceIP: crowd.IP(tc), DomainName: cs.ServerName}, kind)
}

// begin makes a connection that is stopped when ctx ends, and has it begin; nil
// when it has ended.
func (b *Broker) begin(ctx context.Context, nc net.Conn, subject policy.Subject, kind Listener) *conn {
	c := b.newConn(ctx, nc, subject, kind)
	if !c.begin() {
		return nil
	}
	return c
}
