package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/mqtt"
)

// TestMQTTJS has MQTT.js talk to the plain listener, with all that the standards
// have and AWS has not.
func TestMQTTJS(t *testing.T) {
	t.Parallel()
	packages, err := filepath.Abs("../.cache/devices/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(packages, "mqtt")); err != nil {
		t.Skip("MQTT.js is not installed: run test/install-tools")
	}
	addr := freeAddr(t)
	h := startHost(t, t.TempDir(), "cloud", "--plain", addr, "--anonymous")
	for _, version := range []string{"4", "5"} {
		cmd := exec.CommandContext(t.Context(), tool(t, "node"), "testdata/devices/spec.js", "mqtt://"+addr, version)
		cmd.Env = append(h.env(), "NODE_PATH="+packages)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "done") {
			t.Errorf("version %s: %v\n%s", version, err, out)
		}
	}
}

// TestAccounts makes, changes and removes an account of a running cloud with
// mote account, as mosquitto's clients see it.
func TestAccounts(t *testing.T) {
	t.Parallel()
	data, addr := t.TempDir(), freeAddr(t)
	h := startHost(t, data, "cloud", "--plain", addr)
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Connect"],"Resource":"*"},{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"*:topic/roof/*"},{"Effect":"Allow","Action":"iot:Subscribe","Resource":"*:topicfilter/roof/*"}]}`
	h.mustRun("/usr/bin/aws", "--endpoint-url", h.ep.HTTP, "iot", "create-policy", "--policy-name", "sensor", "--policy-document", policy)
	account := func(args ...string) (string, error) {
		out, err := h.run(binary, append([]string{"account", args[0], "--data", data}, args[1:]...)...)
		return strings.TrimSpace(out), err
	}
	if _, err := account("add", "roof", "--policy", "other"); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("a policy that is not there: %v", err)
	}
	password, err := account("add", "roof", "--policy", "sensor")
	if err != nil || len(password) < 20 {
		t.Fatalf("%q, %v", password, err)
	}
	if _, err := account("add", "roof", "--policy", "sensor"); err == nil || !strings.Contains(err.Error(), "there is an account roof already") {
		t.Errorf("the same again: %v", err)
	}
	if list, err := account("list"); err != nil || list != "roof\tsensor" {
		t.Errorf("list: %q, %v", list, err)
	}
	host, port, _ := net.SplitHostPort(addr)
	pub := func(user, password, topic string) error {
		_, err := h.run(tool(t, "mosquitto_pub"), "-V", "5", "-h", host, "-p", port, "-u", user, "-P", password, "-q", "2", "-t", topic, "-m", "x")
		return err
	}
	if err := pub("roof", password, "roof/1"); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][2]string{{"roof", password + "x"}, {"nobody", password}, {"", ""}} {
		if err := pub(wrong[0], wrong[1], "roof/1"); err == nil {
			t.Errorf("%q connects", wrong[0])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience*time.Minute)
	defer cancel()
	open := func(password string) *wire {
		w, ack := dialWire(ctx, addr, &mqtt.Connect{Version: mqtt.V5, ClientID: "c", CleanStart: true, Username: mqtt.Some("roof"), Password: mqtt.Some([]byte(password))})
		if ack == nil || ack.Code != mqtt.Success {
			t.Fatalf("CONNACK %+v", ack)
		}
		return w
	}
	gone := func(why string, w *wire) {
		t.Helper()
		if p, err := w.next(ctx); err != nil || p.Type() != mqtt.DISCONNECT {
			t.Errorf("%s: got %+v, %v", why, p, err)
		}
	}
	w := open(password)
	next, err := account("password", "roof")
	if err != nil || next == password {
		t.Fatalf("%q, %v", next, err)
	}
	gone("another password", w)
	if pub("roof", password, "roof/1") == nil {
		t.Error("the old password is still good")
	}
	h.kill() // what was acknowledged is on disk
	h = startHost(t, data, "cloud", "--plain", addr)
	w = open(next)
	if _, err := account("remove", "roof"); err != nil {
		t.Fatal(err)
	}
	gone("removed", w)
	if pub("roof", next, "roof/1") == nil {
		t.Error("a removed account connects")
	}
	if strings.Contains(h.out.String(), next) {
		t.Error("a password is in the log")
	}
}

// shareMember is a member of a shared subscription that comes back after each
// kill of the server and notes what it gets.
type shareMember struct {
	mu      sync.Mutex
	numbers map[int]int // how often each came; guarded by mu
}

func (m *shareMember) run(ctx context.Context, t *testing.T, addr, id string, ready chan<- struct{}) {
	for first := true; ctx.Err() == nil; first = false {
		w, ack := dialWire(ctx, addr, lasting(id))
		if w == nil {
			return
		}
		var err error
		if first {
			err = w.send(mqtt.V5, &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "$share/group/job/#", QoS: 1}}})
		} else if !ack.SessionPresent {
			t.Errorf("the session of %s is lost", id)
		}
		for err == nil {
			var p mqtt.Packet
			if p, err = w.next(ctx); err != nil {
				break
			}
			switch p := p.(type) {
			case *mqtt.Suback:
				ready <- struct{}{}
			case *mqtt.Publish:
				n, _ := strconv.Atoi(string(p.Payload))
				m.mu.Lock()
				m.numbers[n]++
				m.mu.Unlock()
				err = w.send(mqtt.V5, step(mqtt.PUBACK, p.PacketID))
			}
		}
		_ = w.nc.Close()
	}
}

// TestKillsLeaveSharedSubscriptionsAndWills: after kills of the server every
// message has come to a member, and the will of the one client that does not
// come back is published, and not of the other.
func TestKillsLeaveSharedSubscriptionsAndWills(t *testing.T) {
	t.Parallel()
	const total = 600
	data, addr := t.TempDir(), freeAddr(t)
	startCloud := func() *host { return startHost(t, data, "cloud", "--plain", addr, "--anonymous") }
	h := startCloud()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience*time.Minute)
	defer cancel()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	members, ready := []*shareMember{{numbers: map[int]int{}}, {numbers: map[int]int{}}}, make(chan struct{})
	for i, m := range members {
		clients.Go(func() { m.run(ctx, t, addr, fmt.Sprint("member", i), ready) })
		<-ready
	}
	watch, _ := dialWire(ctx, addr, lasting("watch"))
	if err := watch.send(mqtt.V5, &mqtt.Subscribe{PacketID: 1, Filters: []mqtt.Subscription{{Filter: "will/#", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	if p, err := watch.next(ctx); err != nil || p.Type() != mqtt.SUBACK {
		t.Fatalf("got %+v, %v", p, err)
	}
	withWill := func(id string) *mqtt.Connect {
		c := lasting(id)
		c.Will = &mqtt.Will{Topic: "will/" + id, Payload: []byte("gone"), QoS: 1}
		return c
	}
	var alive []*wire // a connection that nobody holds is closed with the next garbage
	defer func() { runtime.KeepAlive(alive) }()
	for _, id := range []string{"leaves", "returns"} {
		w, ack := dialWire(ctx, addr, withWill(id))
		alive = append(alive, w)
		if ack == nil || ack.Code != mqtt.Success {
			t.Fatalf("CONNACK %+v", ack)
		}
	}
	clients.Go(func() { publishNumbers(ctx, t, addr, total) })
	kills := 1 + *torture
	for i := range kills {
		waitFor(t, "progress", 30*time.Second, reached(func() int { return seen(members) }, (i+1)*total/(kills+1)))
		h.kill()
		h = startCloud()
		back, ack := dialWire(ctx, addr, withWill("returns"))
		alive = append(alive, back)
		if ack == nil || ack.Code != mqtt.Success {
			t.Fatalf("CONNACK %+v", ack)
		}
	}
	waitFor(t, "all messages", 40*time.Second, reached(func() int { return seen(members) }, total))
	for i, m := range members {
		m.mu.Lock()
		if len(m.numbers) < total/10 {
			t.Errorf("member %d got only %d of %d messages", i, len(m.numbers), total)
		}
		m.mu.Unlock()
	}
	wantWill(ctx, t, addr)
}

// seen is how many different numbers have come to the members.
func seen(members []*shareMember) int {
	all := map[int]bool{}
	for _, m := range members {
		m.mu.Lock()
		for n := range m.numbers {
			all[n] = true
		}
		m.mu.Unlock()
	}
	return len(all)
}

// publishNumbers publishes with QoS 1, each number until it is acknowledged.
func publishNumbers(ctx context.Context, t *testing.T, addr string, total int) {
	for n := 0; n < total; {
		w, _ := dialWire(ctx, addr, lasting("numbers"))
		if w == nil {
			return
		}
		for err := error(nil); err == nil && n < total; {
			err = w.send(mqtt.V5, &mqtt.Publish{Topic: "job/1", Payload: strconv.AppendInt(nil, int64(n), 10), QoS: 1, PacketID: uint16(n + 1)})
			for acked := false; err == nil && !acked; {
				var p mqtt.Packet
				p, err = w.next(ctx)
				if a, ok := p.(*mqtt.Ack); ok && a.PacketID == uint16(n+1) {
					if a.Code.Failed() {
						t.Errorf("PUBACK %v", a.Code)
					}
					acked = true
					n++
				}
			}
		}
		_ = w.nc.Close()
	}
}

// wantWill waits for the will of the client that did not come back, which comes
// half a minute after the start, and for no other one.
func wantWill(ctx context.Context, t *testing.T, addr string) {
	t.Helper()
	w, ack := dialWire(ctx, addr, lasting("watch"))
	if ack == nil || !ack.SessionPresent {
		t.Fatalf("CONNACK %+v", ack)
	}
	for end := time.Now().Add(50 * patience * time.Second); ; {
		p, err := w.next(ctx)
		switch p := p.(type) {
		case *mqtt.Publish:
			if p.Topic != "will/leaves" || string(p.Payload) != "gone" {
				t.Errorf("got %q on %s", p.Payload, p.Topic)
			}
			return
		case nil:
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
				t.Fatalf("no will: %v", err)
			}
		}
	}
}
