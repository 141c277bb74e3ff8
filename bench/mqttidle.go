package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// handshakers is how many clients connect at the same time.
const handshakers = 8

// handshakes measures connections that do the TLS handshake, with certificates
// on both sides, and end. The goal is nine tenths of the handshakes that Go's
// own server does on the same core.
func (b *bench) handshakes(r rivals) error {
	const what = "TLS handshakes"
	if !b.wants(what) {
		return nil
	}
	limit, err := b.tlsFloor(r)
	if err != nil {
		return err
	}
	defer limit.stop()
	v, err := b.turns(b.shaken(limit), b.shaken(r.mote), b.shaken(r.mosquitto))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	const unit = "CPU µs/handshake"
	b.report.add(row{what: what, unit: unit, baseline: "crypto/tls, accept and handshake", base: median(v[0]), value: median(v[1]), goal: 1 / 0.9})
	b.report.add(row{what: what, unit: unit, baseline: "mosquitto", base: median(v[2]), value: median(v[1])})
	return nil
}

// tlsFloor starts the baseline. Its clients have the certificate that they have
// at mote, whose key is RSA.
func (b *bench) tlsFloor(r rivals) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, err := b.start(self, floorVerb, "tls", addr, filepath.Join(b.dir, "mosquitto"))
	if err != nil {
		return nil, err
	}
	if err := p.ready(func() error { return listening(addr) }); err != nil {
		p.stop()
		return nil, err
	}
	config := r.mosquitto.tls.Clone()
	config.Certificates = r.mote.tls.Certificates
	return &peer{p, addr, config}, nil
}

// shaken measures the CPU of a server for each handshake.
func (b *bench) shaken(p *peer) func() (float64, error) {
	return func() (float64, error) {
		return p.perItem(func() (int, error) {
			var g errgroup.Group
			done := make([]int, handshakers)
			deadline := time.Now().Add(b.span)
			for i := range done {
				g.Go(func() error {
					for time.Now().Before(deadline) {
						if err := shake(p.addr, p.tls); err != nil {
							return err
						}
						done[i]++
					}
					return nil
				})
			}
			err := g.Wait()
			sum := 0
			for _, n := range done {
				sum += n
			}
			return sum, err
		})
	}
}

// shake does a handshake and waits until the server has seen its end: in TLS
// 1.3 the client is done before the server has judged its certificate.
func shake(addr string, config *tls.Config) error {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil {
		return fmt.Errorf("the handshake's end: %w", err)
	}
	return nil
}

// idleMost is how many connections a cloud serves with this machine's limit of
// file descriptors: it gives half of them to MQTT, and none of the 512 that it
// keeps for its files.
func idleMost() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur > 1<<20 {
		return 1 << 20
	}
	return max((int(l.Cur)-512)/2-16, 1)
}

// idleConnections measures the memory that connections take which send nothing.
func (b *bench) idleConnections() error {
	b.idle = min(b.idle, idleMost())
	what := fmt.Sprintf("idle TLS connections: %d", b.idle)
	if !b.wants(what) {
		return nil
	}
	r, stop, err := b.newRivals()
	if err != nil {
		return err
	}
	defer stop()
	base, err := b.each(r.mosquitto)
	if err != nil {
		return fmt.Errorf("%s: mosquitto: %w", what, err)
	}
	ours, err := b.each(r.mote)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.report.add(row{what: "MQTT " + what + ", resident", unit: "KB each", baseline: "mosquitto", base: base, value: ours, goal: 24, absolute: true})
	return nil
}

// each is the resident memory of a broker for each idle connection, in KB of
// 1,000 bytes, after idleFor.
func (b *bench) each(p *peer) (float64, error) {
	before, _, err := p.resident()
	if err != nil {
		return 0, err
	}
	conns := make([]*tls.Conn, b.idle)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.NetConn().Close()
			}
		}
	}()
	var g errgroup.Group
	for w := range handshakers {
		g.Go(func() error {
			for i := w; i < len(conns) && b.ctx.Err() == nil; i += handshakers {
				var err error
				if conns[i], err = connect(p.addr, p.tls, "bench-idle-"+strconv.Itoa(i)); err != nil {
					return err
				}
			}
			return b.ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	select {
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	case <-time.After(idleFor):
	}
	after, _, err := p.resident()
	return (after - before) * 1000 / float64(b.idle), err
}
