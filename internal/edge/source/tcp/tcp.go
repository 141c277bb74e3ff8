// Package tcp reaches boards behind a TCP bridge: ser2net, an ESP module, or
// `mote sim` on another machine.
//
// It promises one attempt per dial with a time-out, and keep-alive probes that
// notice a bridge which went away without a word. The line is neither encrypted
// nor authenticated: keep it in a network that you trust.
package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// DefaultTimeout is how long a dial may take, name look-up included.
const DefaultTimeout = 10 * time.Second

// Options say where the bridge is.
type Options struct {
	Address string        // host:port
	Timeout time.Duration // for one dial; 0 means DefaultTimeout
}

// Source is one bridge. It is safe for concurrent use.
type Source struct {
	address string
	dialer  net.Dialer
}

// New checks the options. It does not use the network.
func New(o Options) (*Source, error) {
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("bad tcp address %.100q; write it as host:port: %w", o.Address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("bad tcp address %.100q: the port %.20q must be a number from 1 to 65535", o.Address, port)
	}
	if host == "" {
		return nil, fmt.Errorf("bad tcp address %.100q: it names no host", o.Address)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	// A bridge that lost its power is noticed after 15 s + 4 × 10 s.
	probe := net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 4}
	return &Source{address: o.Address, dialer: net.Dialer{Timeout: o.Timeout, KeepAliveConfig: probe}}, nil
}

// Name returns the bridge's host:port.
func (s *Source) Name() string { return s.address }

// Dial makes one attempt to connect.
func (s *Source) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := s.dialer.DialContext(ctx, "tcp", s.address)
	if err == nil {
		return conn, nil
	}
	hint := ""
	var lookup *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "; nothing listens on that port: is the bridge running?"
	case errors.As(err, &lookup):
		hint = "; check the host's name"
	case errors.As(err, &timeout) && timeout.Timeout():
		hint = "; the host does not answer: is it on, and is a firewall between?"
	}
	return nil, fmt.Errorf("tcp bridge %s: %w%s", s.address, err, hint)
}
