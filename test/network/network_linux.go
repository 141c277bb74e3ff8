package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ErrNotAllowed is wrapped when this process may not make networks.
var ErrNotAllowed = errors.New("no network namespace can be made; run the tests as root")

// Network is a network namespace.
type Network struct {
	t    *testing.T
	file *os.File
}

const ownNetwork = "/proc/thread-self/ns/net"

// New makes a network for the time of a test, in which only the loopback
// interface is up.
func New(t *testing.T) (*Network, error) {
	t.Helper()
	n := &Network{t: t}
	err := away(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("%w: %w", ErrNotAllowed, err)
		}
		n.file, err = os.Open(ownNetwork)
		return err
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { n.file.Close() })
	n.Run("ip", "link", "set", "lo", "up")
	return n, nil
}

// away calls f, which may leave the thread in another network.
func away(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := os.Open(ownNetwork)
	if err != nil {
		return err
	}
	defer home.Close()
	defer func() { // also when f ends the test
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, back)
			return // the thread stays locked, and ends with its goroutine
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// Do calls f. The sockets and processes that f makes in its own goroutine are in
// the network.
func (n *Network) Do(f func()) {
	n.t.Helper()
	err := away(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		f()
		return nil
	})
	if err != nil {
		n.t.Fatalf("network namespace: %v", err)
	}
}

// Run runs a program in the network, which must succeed.
func (n *Network) Run(name string, args ...string) { n.t.Helper(); n.run(nil, name, args...) }

// run gives the program file as its descriptor 3.
func (n *Network) run(file *os.File, name string, args ...string) {
	n.t.Helper()
	cmd := exec.Command(name, args...)
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	var out []byte
	var err error
	n.Do(func() { out, err = cmd.CombinedOutput() })
	if err != nil {
		n.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// Dial connects from within the network to an IP address.
func (n *Network) Dial(ctx context.Context, kind, addr string) (conn net.Conn, err error) {
	n.Do(func() { conn, err = (&net.Dialer{}).DialContext(ctx, kind, addr) })
	return conn, err
}

// Cable joins two networks, each through its interface eth0.
type Cable struct {
	House *Network // where the cloud is, HouseAddr
	Roof  *Network // where the gateway is, RoofAddr
}

// The addresses of the ends, of a block that is kept for such tests (RFC 2544).
const (
	HouseAddr = "198.18.0.1"
	RoofAddr  = "198.18.0.2"
)

// NewCable makes two networks and joins them. Without the right to, it skips the
// test, and says what is not tested.
func NewCable(t *testing.T) Cable {
	t.Helper()
	var ends [2]*Network
	for i := range ends {
		n, err := New(t)
		if errors.Is(err, ErrNotAllowed) {
			t.Skipf("NETWORKS THAT FAIL ARE NOT TESTED: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = n
	}
	c := Cable{House: ends[0], Roof: ends[1]}
	c.Roof.run(c.House.file, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "/proc/self/fd/3")
	for addr, n := range map[string]*Network{HouseAddr: c.House, RoofAddr: c.Roof} {
		n.Run("ip", "addr", "add", addr+"/24", "dev", "eth0")
		n.Run("ip", "link", "set", "eth0", "up")
	}
	return c
}

// Lose drops what the network sends to an address, without a word to either
// side: it goes to a machine that is not there. It ends when found is called.
func (n *Network) Lose(to string) (found func()) {
	n.t.Helper()
	n.Run("ip", "neigh", "replace", to, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
	return func() { n.t.Helper(); n.Run("ip", "neigh", "del", to, "dev", "eth0") }
}
