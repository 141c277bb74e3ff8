package test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/test/network"
)

// failures are what networks do. Each lasts until the gateway has noticed, and
// has been mended when mend returns; one is mended at once.
var failures = []struct {
	what   string
	fail   func(s *remote) (mend func())
	atOnce bool
}{
	{what: "the link is down", fail: func(s *remote) func() {
		s.House.Run("ip", "link", "set", "eth0", "down")
		return func() { s.House.Run("ip", "link", "set", "eth0", "up") }
	}},
	{what: "answers are lost", fail: func(s *remote) func() { return s.House.Lose(network.RoofAddr) }},
	{what: "the gateway has another address", fail: func(s *remote) func() {
		s.Roof.Run("ip", "addr", "del", network.RoofAddr+"/24", "dev", "eth0")
		s.Roof.Run("ip", "addr", "add", "198.18.0.3/24", "dev", "eth0")
		return func() {}
	}},
	// The cloud dies where the gateway cannot see it, and another one begins at
	// the same address, which knows nothing of the connection.
	{what: "the cloud is another machine", atOnce: true, fail: func(s *remote) func() {
		found := s.House.Lose(network.RoofAddr)
		s.cloud.kill()
		return func() { s.startCloud(); found() }
	}},
}

// remote is a site whose cloud and gateway are joined by a cable.
type remote struct {
	network.Cable
	*site
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	s := &remote{network.NewCable(t), newSite(t, "")}
	s.mqtt, s.web = network.HouseAddr+":8883", network.HouseAddr+":8443"
	s.listeners = []string{"--mqtt", s.mqtt, "--https", s.web, "--http", "127.0.0.1:8080"}
	return s
}

func (s *remote) startCloud() {
	s.t.Helper()
	s.House.Do(s.site.startCloud)
	s.cloud.dial = s.House.Dial
}

func (s *remote) uplink(road string) string {
	if road == "iot" {
		return s.iotUplink(s.mqtt)
	}
	return fmt.Sprintf("[uplink.rest]\nurl = %q\nauth = \"api-key\"\napi_key_file = %q\nca = %q\n", "https://"+s.web+"/prod/dust", filepath.Join(s.data, "api-key"), filepath.Join(s.data, "ca.pem"))
}

// TestNetworksThatFail cuts the network between gateway and cloud in ways of
// which neither is told: the connections stay open at both ends. The gateway
// must notice, keep the readings, and deliver each once when it can.
func TestNetworksThatFail(t *testing.T) {
	for _, f := range failures {
		for _, road := range []string{"iot", "rest"} {
			t.Run(f.what+", "+road, func(t *testing.T) {
				t.Parallel()
				s := newRemote(t)
				s.startCloud()
				var b *board
				s.Roof.Do(func() { b = startBoard(t, 10*time.Millisecond) })
				s.configure(`dir = "spool"`, b.listener.Addr().String(), s.uplink(road))
				s.Roof.Do(s.startGateway)
				s.wantFlow()
				mend := f.fail(s)
				if !f.atOnce {
					waitFor(t, "word of the gateway that it cannot deliver", 60*time.Second, func() error {
						return s.gateway.printed("cannot deliver, readings are kept")
					})
				}
				mend()
				s.wantFlow()
				b.stop()
				s.wantAll(b.sent())
				wantStop(t, s.gateway)
			})
		}
	}
}

// wantFlow waits until new readings are in the table.
func (s *remote) wantFlow() {
	s.t.Helper()
	from := len(s.cloud.numbers("t"))
	waitFor(s.t, "readings in the table", 60*time.Second, func() error { return atLeast(len(s.cloud.numbers("t")), from+50) })
}

// TestADeadClientIsMissed: a client that vanishes without a word is found out by
// its keep alive at the broker, which publishes its will, and the broker by the
// client.
func TestADeadClientIsMissed(t *testing.T) {
	t.Parallel()
	c := network.NewCable(t)
	addr := network.HouseAddr + ":1883"
	c.House.Do(func() {
		startHostOn(t, t.TempDir(), "cloud", "--mqtt", "off", "--https", "off", "--http", "127.0.0.1:8080", "--plain", addr, "--plain-public", "--anonymous")
	})
	wills := make(chan string, 8)
	watcher := connect(t, client.Options{
		Addr: addr, ClientID: "watcher", CleanStart: true, Dial: c.House.Dial,
		OnMessage: func(p *mqtt.Publish) { wills <- p.Topic + " " + string(p.Payload) },
	})
	if _, err := watcher.Subscribe(t.Context(), mqtt.Subscription{Filter: "gone/+", QoS: 1}); err != nil {
		t.Fatal(err)
	}
	var dying *client.Conn
	for {
		dying = connect(t, client.Options{
			Addr: addr, ClientID: "dying", CleanStart: true, Dial: c.Roof.Dial, KeepAlive: 4 * time.Second,
			Will: &mqtt.Will{Topic: "gone/dying", Payload: []byte("without a word"), QoS: 1},
		})
		machine := watchPace()
		time.Sleep(7 * time.Second) // longer than the broker waits: it lives by its pings
		lost := machine.lost()
		if dying.Err() == nil && len(wills) == 0 {
			break
		}
		if lost < time.Second { // else its pings may have come too late
			t.Fatalf("the connection of a client that lives ended (%v), with %d wills", dying.Err(), len(wills))
		}
		<-dying.Done()
		<-wills
	}
	c.Roof.Lose(network.HouseAddr)
	c.House.Lose(network.RoofAddr)
	select {
	case w := <-wills:
		if w != "gone/dying without a word" {
			t.Errorf("will %q", w)
		}
	case <-time.After(30 * patience * time.Second):
		t.Error("the broker did not publish the will")
	}
	select {
	case <-dying.Done():
		if !errors.Is(dying.Err(), client.ErrKeepAlive) {
			t.Errorf("the client's connection ended with %v", dying.Err())
		}
	case <-time.After(30 * patience * time.Second):
		t.Error("the client did not notice")
	}
}

func connect(t *testing.T, o client.Options) *client.Conn {
	t.Helper()
	conn, err := client.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
