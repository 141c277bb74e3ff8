package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/policy"
	"mote/internal/mqtt"
)

// fakeAccounts are names, passwords and versions; a version is of a password.
type fakeAccounts struct {
	mu       sync.Mutex
	accounts map[string][2]string // name to password and version; guarded by mu
	asked    int                  // guarded by mu
	busy     chan struct{}        // not nil: verifying waits for it or ctx
}

func (a *fakeAccounts) VerifyPassword(ctx context.Context, name string, password []byte) (string, error) {
	if a.busy != nil {
		select {
		case <-a.busy:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	if one, ok := a.accounts[name]; !ok || one[0] != string(password) {
		return "", errors.New("told to the log alone")
	}
	return a.accounts[name][1], nil
}

func (a *fakeAccounts) CheckAccount(name, version string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch one, ok := a.accounts[name]; {
	case !ok:
		return errors.New("the account was removed")
	case one[1] != version:
		return errors.New("the account has a new password")
	}
	return nil
}

func (a *fakeAccounts) set(name, password, version string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if delete(a.accounts, name); version != "" {
		a.accounts[name] = [2]string{password, version}
	}
}

// passwordWorld has a listener for accounts at addr.
func passwordWorld(t *testing.T, limits Limits, accounts *fakeAccounts) (w *world, addr string) {
	t.Helper()
	w = newWorld(t, limits, func(c *Config) { c.Accounts, c.SpecLimits = accounts, limits })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.b.Serve(ctx, l, Listener{Mode: Spec, Auth: Password, Plain: true}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w, l.Addr().String()
}

func logIn(t *testing.T, addr string, version byte, id, name, password string) (*peer, mqtt.ReasonCode) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := &peer{t: t, nc: nc, version: version, in: mqtt.NewReader(nc, mqtt.Decoder{From: mqtt.FromServer, Version: version})}
	p := clean(version, id)
	if name != "" {
		p.Username, p.Password = mqtt.Some(name), mqtt.Some([]byte(password))
	}
	c.send(p)
	ack := expect[*mqtt.Connack](c)
	if ack.Code.Failed() || version != mqtt.V5 && ack.Code != 0 {
		if ack.Props != nil && strings.Contains(ack.Props.ReasonString.Or(""), "log alone") {
			t.Errorf("the client is told %q", ack.Props.ReasonString.Value)
		}
		c.expectEnd()
	}
	return c, ack.Code
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	accounts := &fakeAccounts{accounts: map[string][2]string{"roof": {"right", "1"}}}
	w, addr := passwordWorld(t, Limits{}, accounts)
	for _, v := range []byte{mqtt.V311, mqtt.V5} {
		c, code := logIn(t, addr, v, "c", "roof", "right")
		if code != mqtt.Success {
			t.Fatalf("level %d: CONNACK %v", v, code)
		}
		c.expectNothing()
		for _, wrong := range [][2]string{{"roof", "wrong"}, {"roof", ""}, {"nobody", "right"}, {"", ""}} {
			if _, code := logIn(t, addr, v, "c2", wrong[0], wrong[1]); code != mqtt.BadUserNameOrPassword {
				t.Errorf("level %d, %q: CONNACK %v", v, wrong, code)
			}
		}
		c.expectNothing() // a stranger with its client id would not have harmed it
		if _, code := logIn(t, addr, v, "c", "roof", "wrong"); code != mqtt.BadUserNameOrPassword {
			t.Errorf("CONNACK %v", code)
		}
		c.expectNothing()
		w.disconnect(c)
	}
	w.until("the last refusal says who it was, and not the password", func() bool { // the client may learn of it first
		list, _ := w.refusals.Recent(1)
		return len(list) == 1 && list[0].Action == "iot:Connect" && list[0].Principal == "account/roof" && !strings.Contains(fmt.Sprintf("%+v", list[0]), "wrong")
	})
	if strings.Contains(w.logs.String(), "right") {
		t.Error("a password is in the log")
	}
}

// Whoever is connected loses the connection when the account is removed or gets
// another password, and another account's client does not.
func TestAccountsThatChange(t *testing.T) {
	t.Parallel()
	accounts := &fakeAccounts{accounts: map[string][2]string{"a": {"pa", "1"}, "b": {"pb", "1"}, "c": {"pc", "1"}}}
	w, addr := passwordWorld(t, Limits{}, accounts)
	a, _ := logIn(t, addr, mqtt.V5, "a", "a", "pa")
	b, _ := logIn(t, addr, mqtt.V5, "b", "b", "pb")
	c, _ := logIn(t, addr, mqtt.V311, "c", "c", "pc")
	other, _ := w.specPeer(clean(mqtt.V5, "other"))
	accounts.set("a", "new", "2")
	w.gate.epoch.Add(1)
	if d := expect[*mqtt.Disconnect](a); d.Code != mqtt.NotAuthorized {
		t.Errorf("DISCONNECT %v %+v", d.Code, d.Props)
	}
	a.expectEnd()
	b.expectNothing()
	accounts.set("c", "", "")
	w.gate.epoch.Add(1)
	c.expectEnd()
	b.expectNothing()
	other.expectNothing()
	if _, code := logIn(t, addr, mqtt.V5, "a", "a", "pa"); code != mqtt.BadUserNameOrPassword {
		t.Errorf("the old password: CONNACK %v", code)
	}
	if _, code := logIn(t, addr, mqtt.V5, "a", "a", "new"); code != mqtt.Success {
		t.Errorf("the new password: CONNACK %v", code)
	}
}

// The policies of the account are asked, under its name.
func TestAccountsArePrincipals(t *testing.T) {
	t.Parallel()
	accounts := &fakeAccounts{accounts: map[string][2]string{"a": {"pa", "1"}}}
	w, addr := passwordWorld(t, Limits{}, accounts)
	w.gate.deny(func(s *policy.Subject, action, resource string) string {
		if s.Account == "a" && action == "iot:Publish" && strings.HasSuffix(resource, "/no") {
			return "no statement allows it"
		}
		return ""
	})
	a, _ := logIn(t, addr, mqtt.V5, "a", "a", "pa")
	if ack := a.publish("no", "x"); ack.Code != mqtt.NotAuthorized {
		t.Errorf("PUBACK %v", ack.Code)
	}
	if ack := a.publish("yes", "x"); ack.Code.Failed() {
		t.Errorf("PUBACK %v", ack.Code)
	}
}

// While all who verify are busy, a CONNECT waits for its time and no longer,
// and holds up nobody who is connected.
func TestVerifyingPasswordsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	accounts := &fakeAccounts{accounts: map[string][2]string{"a": {"pa", "1"}}, busy: make(chan struct{})}
	w, addr := passwordWorld(t, Limits{ConnectWithin: 300 * time.Millisecond}, accounts)
	p, _ := w.specPeer(clean(mqtt.V5, "p"))
	codes := make(chan mqtt.ReasonCode, 20)
	var waiting sync.WaitGroup
	for i := range cap(codes) {
		waiting.Go(func() {
			_, code := logIn(t, addr, mqtt.V5, fmt.Sprint(i), "a", "pa")
			codes <- code
		})
	}
	p.subscribe(1, "x")
	p.publish2(1, "y", "1")
	waiting.Wait()
	for range cap(codes) {
		if code := <-codes; code != mqtt.ServerBusy {
			t.Errorf("CONNACK %v", code)
		}
	}
	close(accounts.busy)
	if _, code := logIn(t, addr, mqtt.V5, "a", "a", "pa"); code != mqtt.Success {
		t.Errorf("CONNACK %v", code)
	}
}
