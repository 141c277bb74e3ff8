package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// shapes are the loads of QoS 1, with the goal of the row "no rule".
var shapes = []struct {
	shape
	goal float64
}{
	{shape{conns: 1, window: 64}, pipelined}, {shape{conns: 10, window: 64}, pipelined}, {shape{conns: 100, window: 16}, pipelined},
	{shape{conns: 10, window: 64, joined: true}, pipelined}, {shape{conns: 1000, window: 1}, 1.2},
}

// pipelined is the goal of publishes that do not wait for each other: a third.
const pipelined = 1.0 / 3

// rivals are the brokers that are measured, each on the same core.
type rivals struct {
	mosquitto, mote *peer
}

// broker measures the broker beside mosquitto, which acknowledges at once and
// stores nothing. Both have one core.
func (b *bench) broker() error {
	b.oneCore = true
	defer func() { b.oneCore = false }()
	r, stop, err := b.newRivals()
	if err != nil {
		return err
	}
	defer stop()
	before := len(b.report.rows)
	for _, load := range []func(rivals) error{b.pipelines, b.quality0, b.fanOut, b.handshakes} {
		if err := load(r); err != nil {
			return err
		}
	}
	if err := b.idleConnections(); err != nil {
		return err
	}
	if len(b.report.rows) == before {
		return fmt.Errorf("no load's name contains %q", b.match)
	}
	return nil
}

// newRivals starts the brokers; stop ends them.
func (b *bench) newRivals() (r rivals, stop func(), err error) {
	c, err := b.newCloud()
	if err != nil {
		return r, nil, err
	}
	device, err := clientTLS(c.CA, c.certificate("cert.pem"), c.certificate("key.pem"))
	if err == nil {
		r.mosquitto, err = b.mosquitto()
	}
	if err != nil {
		c.stop()
		return r, nil, err
	}
	r.mote = &peer{c.process, c.MQTT, device}
	return r, func() { r.mosquitto.stop(); c.stop() }, nil
}

const (
	perMillion = "CPU s/million"
	stored     = "MQTT publish→rule→commit→PUBACK, "
	plainQoS1  = "mosquitto QoS 1, nothing stored"
)

// pipelines measures publish, rule, commit and PUBACK, and publish and PUBACK.
func (b *bench) pipelines(r rivals) error {
	var peers, ours []float64
	for _, s := range shapes {
		if !b.wants(s.String()) {
			continue
		}
		v, err := b.turns(
			b.published(r.mosquitto, s.shape, "sensors/%d/air"),
			b.published(r.mote, s.shape, "sensors/%d/air"),
			b.published(r.mote, s.shape, "bare/%d/air"),
		)
		if err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
		with := row{what: stored + s.String(), unit: perMillion, baseline: plainQoS1, base: median(v[0]), value: median(v[1])}
		if s.window > 1 {
			with.goal = 1
			peers, ours = append(peers, v[0]...), append(ours, v[1]...)
		}
		b.report.add(with)
		b.report.add(row{what: "MQTT publish→PUBACK, no rule, " + s.String(), unit: perMillion, baseline: plainQoS1, base: median(v[0]), value: median(v[2]), goal: s.goal})
	}
	if len(ours) > 0 { // a median can leave out the turns in which the store compacts
		b.report.add(row{what: stored + "mean of all pipelined", unit: perMillion, baseline: plainQoS1, base: mean(peers), value: mean(ours), goal: 1})
	}
	return nil
}

// quality0 measures publishes of QoS 0 that nobody gets.
func (b *bench) quality0(r rivals) error {
	for _, conns := range []int{1, 10, 100, 1000} {
		s := shape{conns: conns, window: 16, quality0: true}
		if !b.wants(s.String()) {
			continue
		}
		v, err := b.turns(b.published(r.mosquitto, s, "bare/%d/air"), b.published(r.mote, s, "bare/%d/air"))
		if err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
		b.report.add(row{what: "MQTT publish, no rule, " + s.String(), unit: perMillion, baseline: "mosquitto", base: median(v[0]), value: median(v[1]), goal: 1})
	}
	return nil
}

// wants says whether -match asks for a load.
func (b *bench) wants(load string) bool { return strings.Contains(load, b.match) }

// runs numbers the loads, so that every message makes a row of its own.
var runs int

// published measures the CPU of a broker for each publish; seconds for a million are
// microseconds for one.
func (b *bench) published(p *peer, s shape, topic string) func() (float64, error) {
	return func() (float64, error) {
		runs++
		work, stop, err := mqttLoad(p.addr, p.tls, s, func(i int) string { return fmt.Sprintf(topic, i) }, runs, b.span)
		if err != nil {
			return 0, err
		}
		defer stop()
		return p.perItem(work)
	}
}

// peer is a running broker, and what connects to it.
type peer struct {
	*process
	addr string
	tls  *tls.Config
}

// mosquitto starts the broker of that name as plain as it gets: TLS with
// client certificates, no persistence, no log.
func (b *bench) mosquitto() (*peer, error) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, errors.New("mosquitto is not installed (Debian: apt-get install mosquitto)")
		}
	}
	dir := filepath.Join(b.dir, "mosquitto")
	if err := writePKI(dir); err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`per_listener_settings false
listener %s 127.0.0.1
cafile %[2]s/ca.pem
certfile %[2]s/server.pem
keyfile %[2]s/server.key
require_certificate true
allow_anonymous true
persistence false
log_dest none
max_inflight_messages 0
`, addr[len("127.0.0.1:"):], dir)
	if os.Getuid() == 0 {
		config += "user root\n" // it would give up the right to read the key
	}
	path := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p, err := b.start(program, "-c", path)
	if err != nil {
		return nil, err
	}
	if err := p.ready(func() error { return listening(addr) }); err != nil {
		p.stop()
		return nil, err
	}
	client, err := clientTLS(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	return &peer{p, addr, client}, err
}

// writePKI makes a CA, a server's and a client's certificate, all ECDSA P-256,
// as the cloud makes them.
func writePKI(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := template("ca")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	if err := issue(dir, "ca", ca, ca, caKey, caKey); err != nil {
		return err
	}
	for _, name := range []string{"server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if err := issue(dir, name, template(name), ca, key, caKey); err != nil {
			return err
		}
	}
	return nil
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// issue writes name.pem and name.key.
func issue(dir, name string, cert, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func readPool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it", file)
	}
	return pool, nil
}
