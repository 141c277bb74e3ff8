//go:build !linux

package rfcomm

import (
	"context"
	"net"
)

func dialSocket(context.Context, Addr, Addr) (net.Conn, error) { return nil, ErrUnsupported }

func listenSocket(Addr) (net.Listener, error) { return nil, ErrUnsupported }
