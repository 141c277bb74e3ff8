package uplink

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// boundUnheard sets TCP_USER_TIMEOUT (tcp(7), RFC 5482). Where that cannot be,
// the connection works as well, and ends later.
func boundUnheard(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unheard/time.Millisecond))
	})
}
