package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/policy"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
	"mote/internal/watch"
)

// pki makes certificates for tests.
type pki struct {
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	last int64
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	p := &pki{pool: x509.NewCertPool()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.key = key
	c := p.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, key)
	p.ca = c.Leaf
	p.pool.AddCert(c.Leaf)
	return p
}

// issue signs template with the CA; with a key it is self-signed.
func (p *pki) issue(t testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	p.last++
	template.SerialNumber = big.NewInt(p.last)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := p.ca
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	} else {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, p.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (p *pki) server(t testing.TB) tls.Certificate {
	return p.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, nil)
}

func (p *pki) client(t testing.TB, name string) tls.Certificate {
	return p.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, nil)
}

func idOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// fakeGate knows the certificates of one CA and a list of denials.
type fakeGate struct {
	ca    *x509.Certificate
	epoch atomic.Uint64

	mu       sync.Mutex
	inactive map[string]bool                                         // guarded by mu
	denies   func(s *policy.Subject, action, resource string) string // the reason, "" allows; guarded by mu
	asked    []string                                                // guarded by mu
}

func (g *fakeGate) VerifyCertificate(c *x509.Certificate) (string, error) {
	if g.ca != nil {
		if err := c.CheckSignatureFrom(g.ca); err != nil {
			return "", errors.New("it was not issued by this cloud: create one with create-keys-and-certificate")
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inactive[idOf(c)] {
		return "", errors.New("it is INACTIVE: activate it with update-certificate")
	}
	return idOf(c), nil
}

func (g *fakeGate) Judge(s *policy.Subject) policy.Judge { return &fakeJudge{g, *s} }
func (g *fakeGate) Epoch() uint64                        { return g.epoch.Load() }
func (g *fakeGate) ARN(resource string) string {
	return "arn:aws:iot:us-east-1:000000000001:" + resource
}

func (g *fakeGate) deny(f func(s *policy.Subject, action, resource string) string) {
	g.mu.Lock()
	g.denies = f
	g.mu.Unlock()
	g.epoch.Add(1)
}

// denyAction denies one action on resources that contain part.
func (g *fakeGate) denyAction(action, part string) {
	g.deny(func(_ *policy.Subject, a, resource string) string {
		if a == action && strings.Contains(resource, part) {
			return "statement 2 of policy test denies " + action
		}
		return ""
	})
}

func (g *fakeGate) deactivate(c *x509.Certificate) {
	g.mu.Lock()
	if g.inactive == nil {
		g.inactive = map[string]bool{}
	}
	g.inactive[idOf(c)] = true
	g.mu.Unlock()
	g.epoch.Add(1)
}

func (g *fakeGate) questions() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.asked)
}

type fakeJudge struct {
	g *fakeGate
	s policy.Subject
}

func (j *fakeJudge) Decide(action, resource string) policy.Decision {
	j.g.mu.Lock()
	defer j.g.mu.Unlock()
	if len(j.g.asked) < 1000 {
		j.g.asked = append(j.g.asked, action+" "+resource)
	}
	if j.g.denies != nil {
		if reason := j.g.denies(&j.s, action, resource); reason != "" {
			return policy.Decision{Policy: "test", Reason: reason}
		}
	}
	return policy.Decision{Allowed: true, Policy: "test"}
}

// fakeRules stores each message in the batch and does what hook says.
type fakeRules struct {
	mu   sync.Mutex
	hook func(b *store.Batch, m *message.Message) message.Outcome // guarded by mu
	seen atomic.Int64

	events atomic.Bool // lifecycle events are seen too
}

func (r *fakeRules) Apply(b *store.Batch, m *message.Message) message.Outcome {
	if strings.HasPrefix(m.Topic, eventPrefix) && !r.events.Load() {
		return message.Outcome{}
	}
	n := r.seen.Add(1)
	r.mu.Lock()
	hook := r.hook
	r.mu.Unlock()
	if hook != nil {
		return hook(b, m)
	}
	b.Set(fmt.Appendf(nil, "i%08d", n), append([]byte(m.Topic+" "), m.Payload...))
	return message.Outcome{}
}

func (r *fakeRules) set(hook func(b *store.Batch, m *message.Message) message.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = hook
}

// world is a broker with its surroundings.
type world struct {
	t        testing.TB
	dir      string
	pki      *pki
	gate     *fakeGate
	rules    *fakeRules
	refusals *refusal.Log
	store    *store.Store
	b        *Broker
	addr     string
	specAddr string // of a listener in the mode Spec, without TLS, anonymous
	limits   Limits
	config   func(*Config)
	logs     *watch.Log

	served chan error
	cancel context.CancelFunc
}

func newWorld(t testing.TB, limits Limits, config func(*Config)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), pki: newPKI(t), rules: &fakeRules{}, limits: limits, config: config, logs: &watch.Log{}}
	w.gate = &fakeGate{ca: w.pki.ca}
	w.refusals = refusal.New(nil)
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) open() {
	w.t.Helper()
	st, err := store.Open(w.dir, store.Options{MinFree: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := Config{
		Store: st, Gate: w.gate, Rules: w.rules, Refusals: w.refusals, Limits: w.limits,
		TLS: &tls.Config{Certificates: []tls.Certificate{w.pki.server(w.t)}},
		Log: w.logs.Logger(),
	}
	if w.config != nil {
		w.config(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.store, w.b, w.addr, w.cancel, w.served = st, b, l.Addr().String(), cancel, make(chan error, 2)
	go func() { w.served <- b.ServeTLS(ctx, l) }()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.specAddr = plain.Addr().String()
	go func() { w.served <- b.Serve(ctx, plain, Listener{Mode: Spec, Auth: Anonymous, Plain: true}) }()
}

func (w *world) close() {
	if w.b == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), watch.Patience)
	defer cancel()
	if err := w.b.Close(ctx); err != nil {
		w.t.Errorf("close broker: %v", err)
	}
	w.cancel()
	for range cap(w.served) {
		if err := <-w.served; err != nil {
			w.t.Errorf("serve: %v", err)
		}
	}
	if err := w.store.Close(); err != nil {
		w.t.Errorf("close store: %v", err)
	}
	w.b = nil
}

func (w *world) restart() {
	w.t.Helper()
	w.close()
	w.open()
}

// peer is a client that sends and sees single packets.
type peer struct {
	t       testing.TB
	nc      net.Conn
	in      *mqtt.Reader
	version byte
	lastID  uint16
}

func (w *world) tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: w.pki.pool, ServerName: "localhost", Certificates: []tls.Certificate{cert}}
}

// dial connects with a new certificate, without CONNECT.
func (w *world) dial(cert tls.Certificate) *peer {
	w.t.Helper()
	nc, err := tls.Dial("tcp", w.addr, w.tlsConfig(cert))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &peer{t: w.t, nc: nc, in: mqtt.NewReader(nc, mqtt.Decoder{From: mqtt.FromServer})}
	w.t.Cleanup(func() { _ = nc.Close() })
	return p
}

// connect dials and sends CONNECT, and expects success.
func (w *world) connect(p *mqtt.Connect) (*peer, *mqtt.Connack) {
	w.t.Helper()
	return w.connectWith(w.pki.client(w.t, p.ClientID), p)
}

func (w *world) connectWith(cert tls.Certificate, p *mqtt.Connect) (*peer, *mqtt.Connack) {
	w.t.Helper()
	c := w.dial(cert)
	c.version, c.in.Version = p.Version, p.Version
	c.send(p)
	ack := expect[*mqtt.Connack](c)
	if ack.Code != mqtt.Success {
		w.t.Fatalf("CONNACK %v %+v", ack.Code, ack.Props)
	}
	return c, ack
}

func clean(version byte, id string) *mqtt.Connect {
	return &mqtt.Connect{Version: version, ClientID: id, CleanStart: true, KeepAlive: 60}
}

// lasting is a CONNECT for a persistent session.
func lasting(version byte, id string) *mqtt.Connect {
	c := &mqtt.Connect{Version: version, ClientID: id, KeepAlive: 60}
	if version == mqtt.V5 {
		c.Props = &mqtt.Properties{SessionExpiry: mqtt.Some[uint32](3600)}
	}
	return c
}

func (c *peer) send(packets ...mqtt.Packet) {
	c.t.Helper()
	var buf []byte
	for _, p := range packets {
		var err error
		if buf, err = p.Append(buf, c.version); err != nil {
			c.t.Fatal(err)
		}
	}
	c.write(buf)
}

func (c *peer) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next packet, nil at the end of the connection. One of both
// must come.
func (c *peer) next() mqtt.Packet {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(watch.Patience))
	for {
		f, ok, err := c.in.Next()
		if err != nil {
			c.t.Fatal(err)
		}
		if ok {
			p, err := c.in.Decoder.Packet(f)
			if err != nil {
				c.t.Fatal(err)
			}
			return p
		}
		if err := c.in.Fill(); errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatal("nothing came, and the connection is still open")
		} else if err != nil {
			return nil
		}
	}
}

// expect returns the next packet, which must be a P.
func expect[P mqtt.Packet](c *peer) P {
	c.t.Helper()
	p := c.next()
	got, ok := p.(P)
	if !ok {
		c.t.Fatalf("got %T %+v, want %T", p, p, got)
	}
	return got
}

// expectEnd expects the connection to be closed without another packet.
func (c *peer) expectEnd() {
	c.t.Helper()
	if p := c.next(); p != nil {
		c.t.Fatalf("got %T %+v, want the end of the connection", p, p)
	}
	_ = c.nc.Close()
}

// expectNothing expects no packet: the next thing that comes is the answer to
// a PINGREQ.
func (c *peer) expectNothing() {
	c.t.Helper()
	c.send(&mqtt.Ping{})
	expect[*mqtt.Ping](c)
}

func (c *peer) subscribe(qos byte, filters ...string) *mqtt.Suback {
	c.t.Helper()
	c.lastID++
	p := &mqtt.Subscribe{PacketID: c.lastID}
	for _, f := range filters {
		p.Filters = append(p.Filters, mqtt.Subscription{Filter: f, QoS: qos})
	}
	c.send(p)
	return expect[*mqtt.Suback](c)
}

// publish sends a QoS 1 publish and returns its PUBACK.
func (c *peer) publish(topic, payload string, change ...func(*mqtt.Publish)) *mqtt.Ack {
	c.t.Helper()
	c.lastID++
	p := &mqtt.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, PacketID: c.lastID}
	for _, f := range change {
		f(p)
	}
	c.send(p)
	a := expect[*mqtt.Ack](c)
	if a.PacketID != p.PacketID {
		c.t.Fatalf("PUBACK for %d, want %d", a.PacketID, p.PacketID)
	}
	return a
}

func retained(p *mqtt.Publish) { p.Retain = true }

// receive expects a message and acknowledges it.
func (c *peer) receive(topic, payload string) *mqtt.Publish {
	c.t.Helper()
	p := expect[*mqtt.Publish](c)
	if p.Topic != topic || string(p.Payload) != payload {
		c.t.Fatalf("got %q on %q, want %q on %q", p.Payload, p.Topic, payload, topic)
	}
	if p.Dup {
		c.t.Error("DUP is set; AWS never sets it")
	}
	if p.QoS > 0 {
		c.puback(p.PacketID)
	}
	return p
}

func (c *peer) puback(id uint16) { c.send(&mqtt.Ack{Kind: mqtt.PUBACK, PacketID: id}) }

func (c *peer) close() { _ = c.nc.Close() }

// disconnect says goodbye and waits until the broker has let go.
func (w *world) disconnect(c *peer) {
	w.t.Helper()
	c.send(&mqtt.Disconnect{})
	c.expectEnd()
	w.until("the connection is gone", func() bool { return w.b.Status().Connections == 0 || !w.live(c) })
}

func (w *world) live(c *peer) bool {
	for _, lc := range w.b.liveConns() {
		if lc.net.RemoteAddr().String() == c.nc.LocalAddr().String() {
			return true
		}
	}
	return false
}

func (w *world) until(what string, f func() bool) {
	w.t.Helper()
	watch.Until(w.t, what, f)
}

// refused expects the newest refusal to be about action and to name part, and
// to carry the principal when it has a client id.
func (w *world) refused(action, resource, part string) {
	w.t.Helper()
	var got []refusal.Refusal
	w.until("a refusal of "+action, func() bool {
		got, _ = w.refusals.Recent(10)
		return slices.ContainsFunc(got, func(r refusal.Refusal) bool {
			return r.Action == action && strings.Contains(r.Resource, resource) && strings.Contains(r.Reason, part)
		})
	})
	for _, r := range got {
		if r.Where == "mqtt" && (len(r.Principal) != 64 || r.SourceIP != "127.0.0.1") {
			w.t.Errorf("the refusal does not say who: %+v", r)
		}
	}
}
