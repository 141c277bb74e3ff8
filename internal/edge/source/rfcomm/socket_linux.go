package rfcomm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// solBluetooth and btSecurity set how well a link must be protected; medium
// means paired and encrypted where both sides can (struct bt_security).
const (
	solBluetooth   = 274
	btSecurity     = 4
	securityMedium = "\x02\x00"
)

func openSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_BLUETOOTH, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.BTPROTO_RFCOMM)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := unix.SetsockoptString(fd, solBluetooth, btSecurity, securityMedium); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

func sockaddr(a Addr) *unix.SockaddrRFCOMM {
	return &unix.SockaddrRFCOMM{Addr: a.Device.reversed(), Channel: a.Channel}
}

func dialSocket(ctx context.Context, local, remote Addr) (net.Conn, error) {
	fd, err := openSocket()
	if err != nil {
		return nil, err
	}
	if local.Device != (Address{}) {
		if err := unix.Bind(fd, sockaddr(Addr{Device: local.Device})); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("bind", err)
		}
	}
	f, err := connect(ctx, fd, sockaddr(remote))
	if err != nil {
		return nil, err
	}
	return &conn{file: f, local: local, remote: remote}, nil
}

// connect connects the non-blocking socket fd, which it owns from now on, and
// waits until that is done, ctx ends or its deadline passes. The descriptor
// becomes an os.File only after connect has begun, since a poller that watches
// an idle socket is told that it hung up.
func connect(ctx context.Context, fd int, to unix.Sockaddr) (*os.File, error) {
	err := unix.Connect(fd, to)
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	f := os.NewFile(uintptr(fd), "rfcomm")
	if err := awaitConnected(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func awaitConnected(ctx context.Context, f *os.File) error {
	deadline, _ := ctx.Deadline()
	if err := f.SetWriteDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		var done bool
		done, result = connected(int(fd))
		return done
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err = errors.Join(err, result); err != nil {
		return err
	}
	if !stop() {
		return ctx.Err()
	}
	return f.SetWriteDeadline(time.Time{})
}

// connected reports whether the connect of fd is over, and how it ended.
func connected(fd int) (bool, error) {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(ready, 0)
	for errors.Is(err, unix.EINTR) { // waiting instead could miss the poller's one event
		n, err = unix.Poll(ready, 0)
	}
	if err != nil {
		return true, os.NewSyscallError("poll", err)
	}
	if n == 0 {
		return false, nil
	}
	number, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, os.NewSyscallError("getsockopt", err)
	}
	if number != 0 {
		return true, os.NewSyscallError("connect", unix.Errno(number))
	}
	return true, nil
}

// conn is a net.Conn on an os.File: net.FileConn does not know this family.
type conn struct {
	file          *os.File
	local, remote Addr
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	return n, explain(atRead, err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.file.Write(p)
	return n, explain(atWrite, err)
}

func (c *conn) Close() error                       { return c.file.Close() }
func (c *conn) LocalAddr() net.Addr                { return c.local }
func (c *conn) RemoteAddr() net.Addr               { return c.remote }
func (c *conn) SetDeadline(t time.Time) error      { return c.file.SetDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.file.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }

type listener struct {
	file   *os.File
	local  Addr
	closed atomic.Bool
}

func listenSocket(local Addr) (net.Listener, error) {
	fd, err := openSocket()
	if err != nil {
		return nil, err
	}
	f, err := listen(fd, sockaddr(local))
	if err != nil {
		return nil, err
	}
	return &listener{file: f, local: local}, nil
}

// listen binds the non-blocking socket fd, which it owns from now on.
func listen(fd int, at unix.Sockaddr) (*os.File, error) {
	if err := unix.Bind(fd, at); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, 1); err != nil { // a board serves one gateway
		unix.Close(fd)
		return nil, os.NewSyscallError("listen", err)
	}
	return os.NewFile(uintptr(fd), "rfcomm"), nil
}

// Accept waits for the next connection; Close ends the wait.
func (l *listener) Accept() (net.Conn, error) {
	f, from, err := accept(l.file)
	if err != nil && l.closed.Load() {
		err = net.ErrClosed // the poller's own error for it has no name
	}
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: "rfcomm", Addr: l.local, Err: err}
	}
	peer, ok := from.(*unix.SockaddrRFCOMM)
	if !ok {
		f.Close()
		return nil, fmt.Errorf("accept: a peer of the family %T", from)
	}
	// Addr.reversed is its own inverse.
	remote := Addr{Device: Address(Address(peer.Addr).reversed()), Channel: peer.Channel}
	return &conn{file: f, local: l.local, remote: remote}, nil
}

func accept(on *os.File) (*os.File, unix.Sockaddr, error) {
	raw, err := on.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var fd int
	var from unix.Sockaddr
	var result error
	err = raw.Read(func(ln uintptr) bool {
		for {
			fd, from, result = unix.Accept4(int(ln), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if !errors.Is(result, unix.EINTR) && !errors.Is(result, unix.ECONNABORTED) {
				return !errors.Is(result, unix.EAGAIN)
			}
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if result != nil {
		return nil, nil, os.NewSyscallError("accept", result)
	}
	return os.NewFile(uintptr(fd), "rfcomm"), from, nil
}

// Close stops listening and ends a waiting Accept.
func (l *listener) Close() error {
	l.closed.Store(true)
	return l.file.Close()
}

// Addr returns the channel and the adapter that were asked for.
func (l *listener) Addr() net.Addr { return l.local }
