package cloud

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"mote/internal/cloud/broker"
	"mote/internal/endpoints"
)

// Listener is one more MQTT listener.
type Listener struct {
	Address string // HOST:PORT
	MQTT    string // "aws" (default) or "spec"
	TLS     bool
	Auth    string // "certificate", "password" or "anonymous"
	Public  bool   // without TLS, and yet beyond this machine
}

// Check says whether the listener is one that may be served.
func (l Listener) Check() error {
	_, err := l.kind()
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(l.Address)
	if n, nerr := strconv.Atoi(port); err != nil || nerr != nil || n < 0 || n > 65535 {
		return fmt.Errorf("bad listener address %q: want HOST:PORT", l.Address)
	}
	if ip := net.ParseIP(host); !l.TLS && !l.Public && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listener %q is not on this machine: without TLS all that it carries can be read and changed on the way: use tls, or say that it shall be so: public = true, --plain-public", l.Address)
	}
	return nil
}

func (l Listener) kind() (k broker.Listener, err error) {
	k.Plain = !l.TLS
	switch l.MQTT {
	case "", "aws":
	case "spec":
		k.Mode = broker.Spec
	default:
		return k, fmt.Errorf("listener %s: mqtt %q: want aws or spec", l.Address, l.MQTT)
	}
	switch l.Auth {
	case "certificate":
		if k.Plain {
			return k, fmt.Errorf("listener %s: certificates need tls = true: or ask for a password", l.Address)
		}
	case "password":
		k.Auth = broker.Password
	case "anonymous":
		k.Auth = broker.Anonymous
	default:
		return k, fmt.Errorf("listener %s: auth %q: want certificate, password or anonymous", l.Address, l.Auth)
	}
	return k, nil
}

// listenMore opens the further listeners and serves them.
func (c *Cloud) listenMore(ctx context.Context) error {
	for _, one := range c.opts.Listeners {
		kind, err := one.kind()
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", one.Address)
		if err != nil {
			return fmt.Errorf("listener %s: %w: end the program that has the address, or choose another", one.Address, err)
		}
		mode := "aws"
		if kind.Mode == broker.Spec {
			mode = "spec"
		}
		c.endpoints.Listeners = append(c.endpoints.Listeners, endpoints.Listener{Address: l.Addr().String(), MQTT: mode, TLS: one.TLS, Auth: one.Auth})
		c.serve(func() error { return c.broker.Serve(ctx, l, kind) })
	}
	return nil
}
