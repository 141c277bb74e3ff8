package guest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mote/internal/edge/source/rfcomm"
	"mote/test/bluetooth/radio"
	"mote/test/machine/inside"
)

// pin is that of the modules as they come from the factory.
const pin = "1234"

// station is an adapter of this machine: the gateway's, or one that stands for
// a board.
type station struct {
	*radio.Controller
	index  uint16
	unplug func() error
}

// earth is what all tests share: the adapter of the gateway and three boards.
type earth struct {
	air     *radio.Air
	mgmt    *radio.Management
	gateway *station
	boards  []*station
}

var world = sync.OnceValues(func() (*earth, error) {
	m, err := radio.OpenManagement()
	if err != nil {
		return nil, err
	}
	e := &earth{air: &radio.Air{}, mgmt: m}
	if e.gateway, err = e.plug(radio.Address{0x00, 0x1a, 0x7d, 0, 0, 1}, "gateway"); err != nil {
		return nil, err
	}
	for i := range byte(3) {
		b, err := e.plug(radio.Address{0x00, 0x18, 0xe4, 0, 0, i + 1}, fmt.Sprintf("HC-0%d", i+1))
		if err != nil {
			return nil, err
		}
		e.boards = append(e.boards, b)
	}
	return e, nil
})

func (e *earth) plug(at radio.Address, name string) (*station, error) {
	c, index, unplug, err := e.air.Plug(at, name, -50)
	if err != nil {
		return nil, err
	}
	s := &station{c, index, unplug}
	e.mgmt.SetPIN(index, pin)
	return s, e.power(s, true)
}

// power switches an adapter off or on; on, it can be reached and paired with.
func (e *earth) power(s *station, on bool) error {
	if !on {
		return e.mgmt.Do(radio.SetPowered, s.index, 0)
	}
	return e.mgmt.PowerOn(s.index)
}

func theWorld(t *testing.T) *earth {
	t.Helper()
	inside.Need(t, "make test-bluetooth")
	e, err := world()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// source is the gateway's way to a board.
func (e *earth) source(t *testing.T, o rfcomm.Options) *rfcomm.Source {
	t.Helper()
	o.Adapter = e.gateway.Address.String()
	s, err := rfcomm.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// listen makes a board accept connections on a channel for the time of the test.
func (s *station) listen(t *testing.T, channel int) net.Listener {
	t.Helper()
	ln, err := rfcomm.Listen(s.Address.String(), channel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// connect dials a board, which accepts, and closes both ends with the test.
func (e *earth) connect(t *testing.T, b *station) (here, there net.Conn) {
	t.Helper()
	ln := b.listen(t, 1)
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			t.Errorf("accept: %v", err)
		}
		accepted <- conn
	}()
	here, err := e.dial(t, b)
	if err != nil {
		ln.Close()
		t.Fatal(err)
	}
	if there = <-accepted; there == nil {
		t.FailNow()
	}
	t.Cleanup(func() { hangUp(here, there); ln.Close() })
	return here, there
}

// dial connects as a gateway does, which tries again when it is refused: both
// ends of an earlier connection may have closed it at once, and then the answer
// to one can meet this dial.
func (e *earth) dial(t *testing.T, b *station) (conn net.Conn, err error) {
	t.Helper()
	s := e.source(t, rfcomm.Options{Address: b.Address.String()})
	for range 5 {
		if conn, err = s.Dial(t.Context()); !errors.Is(err, unix.ECONNREFUSED) {
			return conn, err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return conn, err
}

// hangUp ends a connection from the gateway's side, and from the board's when
// it has noticed.
func hangUp(here, there net.Conn) {
	here.Close()
	there.SetReadDeadline(time.Now().Add(2 * time.Second))
	_, _ = io.Copy(io.Discard, there)
	there.Close()
}

// within bounds a test's wait for something that should come soon.
const within = time.Minute

// heard reads exactly what is expected.
func heard(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(within))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

func said(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	conn.SetWriteDeadline(time.Now().Add(within))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}
