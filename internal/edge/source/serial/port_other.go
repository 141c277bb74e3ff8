//go:build !linux

package serial

import "net"

var speeds map[int]uint32

// Open returns ErrUnsupported.
func Open(string, int) (net.Conn, error) { return nil, ErrUnsupported }
