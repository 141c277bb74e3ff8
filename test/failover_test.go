package test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// plant is the site as the tests see it that kill it.
func (s *site) plant() *plant {
	return &plant{
		t: s.t, dir: s.dir, data: s.data, listeners: s.listeners, cloud: s.cloud, gateway: s.gateway,
		handed: map[int]bool{}, gatewayConf: filepath.Join(s.dir, "mote.toml"),
	}
}

// TestKillsDuringFailoverLoseNothing kills the gateway while the uplink carries
// that stands in, and again and again while the first one comes back. What the
// dead gateways had in their spool is in the table, each reading once.
func TestKillsDuringFailoverLoseNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	s.startCloud()
	b := startBoard(t, 2*time.Millisecond)
	first := startGate(t, s.mqtt)
	s.configure(`dir = "spool"`, b.listener.Addr().String(),
		"[uplink]\nfailover = [\"iot\", \"rest\"]\nfailover_after = \"1s\"\n"+s.iotUplink(first.listener.Addr().String())+s.restUplink(s.web))
	s.startGateway()
	p := s.plant()
	carries := func(uplink string) {
		t.Helper()
		waitFor(t, "change to "+uplink, 30*time.Second, func() error { return p.gateway.printed("uplink=" + uplink) })
		from := len(s.cloud.numbers("t"))
		waitFor(t, "rows by "+uplink, 30*time.Second, func() error { return atLeast(len(s.cloud.numbers("t")), from+100) })
	}
	kill := func() {
		t.Helper()
		p.gateway.kill()
		p.readSpool()
		p.startGateway()
	}
	first.close()
	carries("rest")
	kill()
	carries("rest")
	first.closed.Store(false)
	for range 2 + *torture {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		kill()
	}
	first.close()
	carries("rest")
	first.closed.Store(false)
	carries("iot before=rest")
	before := b.sent()
	kill()
	waitFor(t, "frames for the last gateway", 30*time.Second, func() error { return atLeast(b.sent(), before+300) })
	b.stop()
	p.checkAll(b)
	wantStop(t, p.gateway)
}
