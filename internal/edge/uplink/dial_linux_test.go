package uplink

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDialerBoundsWhatIsUnheard(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := Dialer().DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if ctlErr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
	if time.Duration(got)*time.Millisecond != unheard {
		t.Errorf("TCP_USER_TIMEOUT is %d ms, want %v", got, unheard)
	}
}
