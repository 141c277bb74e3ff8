// Package rfcomm reaches boards over classic Bluetooth: RFCOMM, the serial
// profile of modules such as the HC-05, through raw kernel sockets, without
// D-Bus and without a process of its own.
//
// It promises connections that behave like any [net.Conn], with deadlines, one
// dial at a time on each adapter, and errors that say in plain words what is
// wrong and what to do. Pairing is left to the system's tools
// (`bluetoothctl pair` and `trust`). It works on Linux; elsewhere every call
// returns [ErrUnsupported].
package rfcomm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"time"
)

// ErrUnsupported is returned where the system is not Linux.
var ErrUnsupported = errors.New("bluetooth boards need linux; connect the board by a serial cable, or by a tcp bridge")

// DefaultTimeout is how long a dial may take once it is its turn. An absent
// board answers after 5.1 s, and a page that a cancelled dial left behind holds
// the adapter for about 4 s more.
const DefaultTimeout = 14 * time.Second

// A dial that meets a connection which is still closing is tried again.
const (
	busyTries  = 8
	busyPause  = 50 * time.Millisecond
	busyJitter = 200 * time.Millisecond
)

// Options say which board to reach and how.
type Options struct {
	Address string        // the board's Bluetooth address, such as 00:18:E4:35:4A:D7
	Channel int           // its RFCOMM channel, 1 to 30; 0 means 1
	Adapter string        // the address of the local adapter; empty lets the kernel choose
	Timeout time.Duration // for one dial, from its turn on; 0 means DefaultTimeout
}

// Source is one board. It is safe for concurrent use.
type Source struct {
	local, remote Addr
	timeout       time.Duration
	turns         *turns
	dial          func(ctx context.Context, local, remote Addr) (net.Conn, error)
}

// New checks the options. It does not touch the Bluetooth system.
func New(o Options) (*Source, error) {
	board, err := ParseAddress(o.Address)
	if err != nil {
		return nil, err
	}
	if board == (Address{}) {
		return nil, fmt.Errorf("bluetooth address %s stands for no board", board)
	}
	channel, err := channelOr1(o.Channel)
	if err != nil {
		return nil, err
	}
	s := &Source{remote: Addr{Device: board, Channel: channel}, timeout: o.Timeout, turns: &adapters, dial: dialSocket}
	if s.timeout <= 0 {
		s.timeout = DefaultTimeout
	}
	if o.Adapter != "" {
		if s.local.Device, err = ParseAddress(o.Adapter); err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
	}
	return s, nil
}

func channelOr1(n int) (uint8, error) {
	switch {
	case n == 0:
		return 1, nil
	case n < 1 || n > 30:
		return 0, fmt.Errorf("rfcomm channel %d does not exist; channels are 1 to 30, and a module such as the HC-05 uses 1", n)
	}
	return uint8(n), nil
}

// Name returns the board's address, with its channel when that is not 1.
func (s *Source) Name() string { return s.remote.String() }

// Dial makes one attempt to connect. Dials that share an adapter wait for each
// other; the time-out begins when the wait is over.
func (s *Source) Dial(ctx context.Context) (net.Conn, error) {
	release, err := s.turns.take(ctx, s.local.Device)
	if err != nil {
		return nil, fmt.Errorf("bluetooth %s: waiting for another dial on the adapter: %w", s.remote, err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := s.dialUntilFree(ctx)
	if err != nil {
		return nil, fmt.Errorf("bluetooth %s: %w", s.remote, explain(atDial, err))
	}
	return conn, nil
}

func (s *Source) dialUntilFree(ctx context.Context) (net.Conn, error) {
	for try := 1; ; try++ {
		conn, err := s.dial(ctx, s.local, s.remote)
		if !closing(err) || try == busyTries {
			return conn, err
		}
		select {
		case <-time.After(busyPause + rand.N(busyJitter)):
		case <-ctx.Done():
			return nil, err // the refusal says more than the time-out
		}
	}
}

// closing reports whether the dial met a connection to the board that is
// closing: the channel's (EBUSY), the session's (ECONNRESET), or the radio
// link's, on which the kernel opens nothing any more (ENOMEM).
func closing(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ENOMEM)
}

// Listen waits for connections on a channel (0 means 1) of one adapter, or of
// all when adapter is empty. It is how a simulated board is reached.
func Listen(adapter string, channel int) (net.Listener, error) {
	c, err := channelOr1(channel)
	if err != nil {
		return nil, err
	}
	local := Addr{Channel: c}
	if adapter != "" {
		if local.Device, err = ParseAddress(adapter); err != nil {
			return nil, fmt.Errorf("adapter: %w", err)
		}
	}
	ln, err := listenSocket(local)
	if err != nil {
		return nil, fmt.Errorf("bluetooth channel %d: %w", c, explain(atListen, err))
	}
	return ln, nil
}

// Address is a Bluetooth device address in the order it is printed.
type Address [6]byte

// ParseAddress reads six hexadecimal pairs, separated by colons or hyphens.
func ParseAddress(s string) (Address, error) {
	var a Address
	if len(s) != 17 {
		return a, badAddress(s)
	}
	for i := range a {
		hi, ok1 := hexDigit(s[3*i])
		lo, ok2 := hexDigit(s[3*i+1])
		separated := i == 5 || (s[3*i+2] == ':' || s[3*i+2] == '-') && s[3*i+2] == s[2]
		if !ok1 || !ok2 || !separated {
			return Address{}, badAddress(s)
		}
		a[i] = hi<<4 | lo
	}
	return a, nil
}

func badAddress(s string) error {
	return fmt.Errorf("bad bluetooth address %.40q; write it as 00:18:E4:35:4A:D7 (`bluetoothctl devices` lists those of paired boards)", s)
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// String returns the address as it is printed on modules.
func (a Address) String() string {
	return strings.ToUpper(fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5]))
}

// reversed is the address as the kernel wants it in a sockaddr_rc:
// little-endian.
func (a Address) reversed() [6]byte {
	return [6]byte{a[5], a[4], a[3], a[2], a[1], a[0]}
}

// Addr is one end of an RFCOMM connection.
type Addr struct {
	Device  Address
	Channel uint8
}

// Network returns "rfcomm".
func (Addr) Network() string { return "rfcomm" }

// String returns the device's address, with the channel when it is not 1.
func (a Addr) String() string {
	if a.Channel == 1 || a.Channel == 0 {
		return a.Device.String()
	}
	return fmt.Sprintf("%s channel %d", a.Device, a.Channel)
}
