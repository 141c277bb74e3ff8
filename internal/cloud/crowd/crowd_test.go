package crowd

import "testing"

func TestAddresses(t *testing.T) {
	a := &Addresses{Most: 2}
	for _, step := range []struct {
		ip      string
		welcome bool
		comesOf int
	}{
		{"192.0.2.1", true, 1}, {"192.0.2.1", true, 2}, {"192.0.2.1", false, 2},
		{"2001:db8::1", true, 3}, {"127.0.0.1", true, 3}, {"127.0.0.1", true, 3}, {"::1", true, 3}, {"127.0.0.9", true, 3},
	} {
		if got := a.Enter(step.ip); got != step.welcome || a.Open() != step.comesOf {
			t.Errorf("%s: enters %v, %d are counted", step.ip, got, a.Open())
		}
	}
	a.Leave("127.0.0.1")
	a.Leave("192.0.2.1")
	if !a.Enter("192.0.2.1") || a.Enter("192.0.2.1") {
		t.Error("who left did not make one place")
	}
	for _, ip := range []string{"192.0.2.1", "192.0.2.1", "2001:db8::1"} {
		a.Leave(ip)
	}
	if a.Open() != 0 || len(a.open) != 0 {
		t.Errorf("%d are counted when all have left", a.Open())
	}
	own := &Addresses{Most: 1, Loopback: true}
	if !own.Enter("::1") || own.Enter("::1") {
		t.Error("this machine is not counted")
	}
	home := &Addresses{Most: 2}
	for _, ip := range []string{"2001:db8:0:1::1", "2001:db8:0:2::1", "192.0.2.1", "host"} {
		if !home.Enter(ip) {
			t.Errorf("%s does not enter", ip)
		}
	}
	if !home.Enter("2001:db8:0:1:ffff::2") || home.Enter("2001:db8:0:1::3") || !home.Enter("::ffff:192.0.2.1") || home.Enter("192.0.2.1") {
		t.Error("a network of IPv6 is not one address, or IPv4 in it is another one")
	}
	for _, ip := range []string{"2001:db8:0:1::9", "2001:db8:0:1::1", "2001:db8:0:2::1", "192.0.2.1", "192.0.2.1", "host"} {
		home.Leave(ip)
	}
	if len(home.open) != 0 {
		t.Errorf("%v are counted when all have left", home.open)
	}
}
