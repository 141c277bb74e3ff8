package iotcore

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/edge/uplink/uplinktest"
	"mote/internal/mqtt"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

// pair is a certificate with its key, as PEM.
type pair struct{ cert, key []byte }

func issue(t *testing.T, certs *mqtttest.Certs, name string, end time.Time) pair {
	t.Helper()
	cert, key := certs.Issue(t, name, end)
	return pair{read(t, cert), read(t, key)}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// place puts a file there at once: one that is cut off in place is empty for a
// moment before its time of change is new.
func place(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".part", data, 0o644), os.Rename(path+".part", path)); err != nil {
		t.Fatal(err)
	}
}

// door is a broker that takes the certificates that it is told to, counts who
// publishes, and shuts on who subscribes.
type door struct {
	listener
	mu        sync.Mutex
	allowed   map[string]bool // guarded by mu; by common name
	mute      map[string]bool // guarded by mu; publishes are not acknowledged
	published map[string]int  // guarded by mu
}

func startDoor(t *testing.T, certs *mqtttest.Certs, allowed ...string) *door {
	t.Helper()
	d := &door{allowed: map[string]bool{}, mute: map[string]bool{}, published: map[string]int{}}
	for _, name := range allowed {
		d.allowed[name] = true
	}
	d.listen(t, certs, d.connection)
	return d
}

func (d *door) connection(_ *testing.T, conn net.Conn) {
	defer conn.Close()
	if conn.(*tls.Conn).Handshake() != nil {
		return
	}
	name := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	r := mqtt.NewReader(conn, mqtt.Decoder{Version: mqtt.V5, From: mqtt.FromClient})
	for {
		f, ok, err := r.Next()
		if err == nil && !ok {
			err = r.Fill()
		}
		if err != nil {
			return
		}
		if p, err := r.Packet(f); ok && (err != nil || !d.packet(conn, name, p)) {
			return
		}
	}
}

// packet answers p; it is false when the connection is to end.
func (d *door) packet(conn net.Conn, name string, p mqtt.Packet) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []byte
	switch p := p.(type) {
	case *mqtt.Connect:
		code := mqtt.ReasonCode(0)
		if !d.allowed[name] {
			code = mqtt.NotAuthorized
		}
		out, _ = (&mqtt.Connack{Code: code}).Append(out, mqtt.V5)
		_, err := conn.Write(out)
		return err == nil && code == 0
	case *mqtt.Subscribe:
		return false
	case *mqtt.Publish:
		if d.mute[name] {
			return true
		}
		d.published[name]++
		_, err := conn.Write(mqtt.AppendPuback(out, p.PacketID))
		return err == nil
	}
	return true
}

func (d *door) set(change func(*door)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *door) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.published[name]
}

// pi is a gateway's uplink with files of its own.
type pi struct {
	t     *testing.T
	files Files
	addr  string
	q     *uplinktest.Queue
	log   *watch.Log
	count int

	template string // of the renewal
}

func newPi(t *testing.T, certs *mqtttest.Certs, addr string, old pair) *pi {
	t.Helper()
	dir := t.TempDir()
	p := &pi{t: t, addr: addr, q: &uplinktest.Queue{}, log: &watch.Log{}, files: Files{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), certs.CAFile}}
	place(t, p.files.Cert, old.cert)
	place(t, p.files.Key, old.key)
	return p
}

func (p *pi) place(next pair) {
	p.t.Helper()
	if next.key != nil {
		place(p.t, p.files.Key+NextSuffix, next.key)
	}
	place(p.t, p.files.Cert+NextSuffix, next.cert)
}

func (p *pi) start() (stop func()) {
	p.t.Helper()
	u, err := New(Options{
		Endpoint: p.addr, ClientID: "pi", Files: p.files, Renewal: Renewal{Template: p.template},
		MinBackoff: 5 * time.Millisecond, MaxBackoff: 20 * time.Millisecond, Log: p.log.Logger(),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	u.look, u.stable = 10*time.Millisecond, 200*time.Millisecond
	return uplinktest.Run(p.t, u, p.q)
}

// feed keeps readings coming until ok.
func (p *pi) feed(what string, ok func() bool) {
	p.t.Helper()
	watch.Until(p.t, what, func() bool {
		p.q.Append(fmt.Sprintf(`{"time":"2026-11-22T10:00:00.000Z","id":"1","n":%d}`, p.count))
		p.count++
		return ok()
	})
}

// holds checks what is in the directory, by the names' endings.
func (p *pi) holds(want map[string][]byte) {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(p.files.Cert))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		data := read(p.t, filepath.Join(filepath.Dir(p.files.Cert), e.Name()))
		if !bytes.Equal(data, want[e.Name()]) {
			p.t.Errorf("%s is not what it is to be", e.Name())
		}
		delete(want, e.Name())
	}
	for name := range want {
		p.t.Errorf("%s is missing", name)
	}
}

func TestANewCertificateReplacesTheOldOneWhileItRuns(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	old, next := issue(t, certs, "old", end), issue(t, certs, "next", end)
	d := startDoor(t, certs, "old", "next")
	p := newPi(t, certs, d.l.Addr().String(), old)
	stop := p.start()
	p.feed("deliveries with the old one", func() bool { return d.count("old") > 5 })
	p.place(next)
	p.feed("deliveries with the new one", func() bool { return d.count("next") > 20 && p.log.Count("has replaced the old one") > 0 })
	p.q.WaitEmpty(t)
	stop()
	p.holds(map[string][]byte{"cert.pem": next.cert, "key.pem": next.key})
	if info, _ := os.Stat(p.files.Key); info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key: %v", info.Mode())
	}
	// the old one may go now
	d.set(func(d *door) { d.allowed["old"] = false })
	before := d.count("next")
	p.start()
	p.feed("deliveries after a restart", func() bool { return d.count("next") > before })
	if p.log.Count("level=ERROR")+p.log.Count("cannot deliver") > 0 {
		t.Error(p.log)
	}
}

func TestACertificateThatDoesNotWorkIsPutAside(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	old, next := issue(t, certs, "old", end), issue(t, certs, "next", end)
	other := issue(t, mqtttest.NewCerts(t), "stranger", end)
	for what, c := range map[string]struct {
		next pair
		says string
		mute bool
	}{
		"the server refuses to connect": {next, "check that the certificate is active", false},
		"TLS refuses it":                {other, "certificate", false},
		"it may not publish":            {next, "acknowledged no reading", true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d := startDoor(t, certs, "old")
			if c.mute {
				d.set(func(d *door) { d.allowed["next"], d.mute["next"] = true, true })
			}
			p := newPi(t, certs, d.l.Addr().String(), old)
			stop := p.start()
			p.feed("deliveries with the old one", func() bool { return d.count("old") > 5 })
			p.place(c.next)
			p.feed("word that the new one is put aside", func() bool { return p.log.Count("is put aside") > 0 })
			before := d.count("old")
			p.feed("deliveries with the old one", func() bool { return d.count("old") > before+5 })
			p.q.WaitEmpty(t)
			stop()
			p.holds(map[string][]byte{"cert.pem": old.cert, "key.pem": old.key, "cert.pem.refused": c.next.cert, "key.pem.refused": c.next.key})
			if p.log.Count("is put aside") != 1 || !strings.Contains(p.log.String(), c.says) {
				t.Error(p.log)
			}
			if d.count("next") > 0 {
				t.Error("the new one is not to deliver")
			}
		})
	}
}

// A server that is away condemns no certificate, and neither does one that
// refuses the old one too.
func TestANewCertificateIsKeptWhileTheOldOneDoesNotWorkEither(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	old, next := issue(t, certs, "old", end), issue(t, certs, "next", end)
	d := startDoor(t, certs)
	p := newPi(t, certs, d.l.Addr().String(), old)
	p.place(next)
	p.start()
	p.feed("tries", func() bool { return p.log.Count("did not work") > 5 })
	d.set(func(d *door) { d.allowed["next"] = true })
	p.feed("deliveries with the new one", func() bool { return d.count("next") > 5 && p.log.Count("has replaced") == 1 })
	if p.log.Count("is put aside") > 0 {
		t.Error(p.log)
	}
}

func TestFilesThatMakeNoPairAreToldAndLeftAlone(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	old, next, third := issue(t, certs, "old", time.Now().Add(time.Hour)), issue(t, certs, "next", time.Now().Add(time.Hour)), issue(t, certs, "third", time.Now().Add(time.Hour))
	d := startDoor(t, certs, "old", "next", "third")
	p := newPi(t, certs, d.l.Addr().String(), old)
	p.place(pair{next.cert, third.key})
	changed := func(at time.Time) {
		t.Helper()
		for _, f := range []string{p.files.Cert, p.files.Key} {
			if err := os.Chtimes(f+NextSuffix, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	changed(time.Now().Add(time.Hour)) // just now, however slow this machine is
	stop := p.start()
	p.feed("deliveries", func() bool { return d.count("old") > 5 })
	if p.log.Count("cannot be used") > 0 {
		t.Error("it may still be being copied")
	}
	changed(time.Now().Add(-time.Minute))
	p.feed("a warning", func() bool { return p.log.Count("does not belong to certificate file") == 1 })
	before := d.count("old")
	p.feed("deliveries", func() bool { return d.count("old") > before+5 })
	place(t, p.files.Key+NextSuffix, next.key)
	p.feed("the pair", func() bool { return d.count("next") > 5 })
	stop()
	if p.log.Count("cannot be used") != 1 || d.count("third") > 0 {
		t.Error(p.log)
	}
}

// TestAKillAtEachStepOfTheReplacementIsMended leaves the files as they are after
// each step, and starts again.
func TestAKillAtEachStepOfTheReplacementIsMended(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	old, next := issue(t, certs, "old", end), issue(t, certs, "next", end)
	d := startDoor(t, certs, "next") // proven before the kill
	for k := 0; ; k++ {
		p := newPi(t, certs, d.l.Addr().String(), old)
		p.place(next)
		files, ok := p.files.next()
		if !ok {
			t.Fatal("no new files")
		}
		steps := p.files.adoption(files)
		if err := perform(steps[:k]); err != nil {
			t.Fatal(err)
		}
		stop := p.start()
		before := d.count("next")
		p.feed(fmt.Sprint("deliveries after step ", k), func() bool { return d.count("next") > before && !exists(p.files.Cert+NextSuffix) })
		stop()
		p.holds(map[string][]byte{"cert.pem": next.cert, "key.pem": next.key})
		if k == len(steps) {
			break
		}
	}
}

func TestAKillAtEachStepOfTheRefusalIsMended(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	old, next := issue(t, certs, "old", end), issue(t, certs, "next", end)
	d := startDoor(t, certs, "old")
	for k := 0; ; k++ {
		p := newPi(t, certs, d.l.Addr().String(), old)
		p.place(next)
		files, _ := p.files.next()
		steps := p.files.refusal(files)
		if err := perform(steps[:k]); err != nil {
			t.Fatal(err)
		}
		stop := p.start()
		before := d.count("old")
		p.feed(fmt.Sprint("the end of the refusal after step ", k), func() bool {
			return d.count("old") > before && exists(p.files.Key+RefusedSuffix) && !exists(p.files.Key+NextSuffix)
		})
		stop()
		p.holds(map[string][]byte{"cert.pem": old.cert, "key.pem": old.key, "cert.pem.refused": next.cert, "key.pem.refused": next.key})
		if k == len(steps) {
			break
		}
	}
}

// In the place of a directory that the gateway may not write to, a directory is
// in the way of the key.
func TestANewCertificateIsUsedAlsoWhenItCannotBeRenamed(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	old, next := issue(t, certs, "old", end), issue(t, certs, "next", end)
	d := startDoor(t, certs, "old", "next")
	p := newPi(t, certs, d.l.Addr().String(), old)
	stop := p.start()
	p.feed("deliveries", func() bool { return d.count("old") > 5 })
	if err := os.Remove(p.files.Key); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(p.files.Key, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	p.place(next)
	p.feed("deliveries with the new one", func() bool { return d.count("next") > 50 })
	time.Sleep(200 * time.Millisecond)
	stop()
	if n := p.log.Count("cannot be renamed"); n < 1 || n > 3 {
		t.Errorf("told %d times\n%s", n, p.log)
	}
	if p.log.Count("has replaced") > 0 {
		t.Error(p.log)
	}
}

func TestTheEndOfTheCertificateIsToldInTime(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	now := time.Now()
	cert, key := certs.Issue(t, "pi", now.Add(40*24*time.Hour))
	log := &watch.Log{}
	r := &rotation{files: Files{cert, key, ""}, addr: "a:8883", log: log.Logger()}
	cfg, err := r.files.load(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ day, told int }{{0, 0}, {9, 0}, {11, 1}, {20, 1}, {32, 1}, {34, 2}, {38, 2}, {40, 3}, {41, 3}} {
		for range 3 {
			r.warn(cfg, now.Add(time.Duration(c.day)*24*time.Hour))
		}
		if got := log.Count("ends soon"); got != c.told {
			t.Errorf("day %d: told %d times, want %d", c.day, got, c.told)
		}
	}
}

// A certificate that lives for two hours is renewed 40 minutes before its end.
func TestTheEndOfACertificateThatIsRenewedIsToldWhenThatIsOverdue(t *testing.T) {
	certs := mqtttest.NewCerts(t)
	end := time.Now().Add(time.Hour)
	cert, key := certs.Issue(t, "pi", end)
	log := &watch.Log{}
	r := &rotation{files: Files{cert, key, ""}, addr: "a:8883", renewed: true, log: log.Logger()}
	cfg, err := r.files.load(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	for i, left := range []time.Duration{35 * time.Minute, 25 * time.Minute} {
		r.warn(cfg, end.Add(-left))
		if got := log.Count("ends soon"); got != i {
			t.Errorf("%v before its end: told %d times, want %d", left, got, i)
		}
	}
}
