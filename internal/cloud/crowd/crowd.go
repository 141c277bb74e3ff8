// Package crowd counts the connections of each address, so that one address
// cannot take all places of a listener.
package crowd

import (
	"net"
	"net/netip"
	"sync"
)

// Addresses counts open connections by the address they come from. Its methods
// are safe for concurrent use.
type Addresses struct {
	// Most is how many connections one address may have; set before the first
	// Enter.
	Most int
	// Loopback counts those of this machine, too: otherwise its programs,
	// proxies and gateways among them, have no limit.
	Loopback bool

	mu   sync.Mutex
	open map[string]int // guarded by mu
}

// Share is how many of a listener's places one address may have: three quarters,
// and one at least.
func Share(places int) int { return max(places/4*3, 1) }

// Enter counts a connection from ip, an address without port, and returns true;
// or returns false when ip has the most.
func (a *Addresses) Enter(ip string) bool {
	if !a.counts(ip) {
		return true
	}
	ip = network(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[ip] >= a.Most {
		return false
	}
	if a.open == nil {
		a.open = map[string]int{}
	}
	a.open[ip]++
	return true
}

// Leave takes back an Enter that returned true.
func (a *Addresses) Leave(ip string) {
	if !a.counts(ip) {
		return
	}
	ip = network(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[ip]--; a.open[ip] <= 0 {
		delete(a.open, ip)
	}
}

// Open is how many connections are counted.
func (a *Addresses) Open() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.open {
		n += one
	}
	return n
}

func (a *Addresses) counts(ip string) bool {
	addr := net.ParseIP(ip)
	return a.Loopback || addr == nil || !addr.IsLoopback()
}

// network is what is counted as one address: of IPv6 the first 64 bits, since who
// has one address there has all of its network (RFC 4291, section 2.5.4).
func network(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String()
	}
	prefix, _ := addr.Prefix(64) // fits each address of IPv6
	return prefix.String()
}

// IP is the address of the peer of c, without port.
func IP(c net.Conn) string {
	text := c.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		return host
	}
	return text
}
