//go:build !linux

package uplink

import "syscall"

// boundUnheard leaves the bound to the system.
func boundUnheard(string, string, syscall.RawConn) error { return nil }
