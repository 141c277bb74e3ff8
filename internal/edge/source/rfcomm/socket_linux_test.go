package rfcomm

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// needNoBluetooth skips where there is a Bluetooth kernel, which answers otherwise.
func needNoBluetooth(t *testing.T) {
	t.Helper()
	if fd, err := openSocket(); err == nil {
		unix.Close(fd)
		t.Skip("this machine has bluetooth sockets")
	}
}

func TestMachineWithoutBluetooth(t *testing.T) {
	needNoBluetooth(t)
	s, err := New(Options{Address: board})
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"dial":   func() error { _, err := s.Dial(t.Context()); return err },
		"listen": func() error { _, err := Listen("", 0); return err },
	} {
		err := try()
		if !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EACCES) {
			t.Fatalf("%s: %v", what, err)
		}
		if !strings.Contains(err.Error(), "modprobe") && !strings.Contains(err.Error(), "sandbox") {
			t.Errorf("%s: %v does not say what to do", what, err)
		}
	}
}

// The rest runs the same code over sockets of another family: everything but
// the family and the addresses is the real path.
func inetSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// listenInet returns a listening file and its port.
func listenInet(t *testing.T) (*os.File, int) {
	t.Helper()
	fd := inetSocket(t)
	f, err := listen(fd, loopback(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return f, at.(*unix.SockaddrInet4).Port
}

func TestConnectAcceptAndDeadlines(t *testing.T) {
	ln, port := listenInet(t)
	f, err := connect(t.Context(), inetSocket(t), loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	here := &conn{file: f}
	defer here.Close()
	g, _, err := accept(ln)
	if err != nil {
		t.Fatal(err)
	}
	there := &conn{file: g}
	var _ net.Conn = there
	if _, err := there.Write([]byte("{1:2}")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	if n, err := here.Read(buf); err != nil || string(buf[:n]) != "{1:2}" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	here.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := here.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent line: %v", err)
	}
	// A peer that does not read blocks writers, until their deadline.
	if _, err := here.Write(make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	here.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for err == nil {
		_, err = here.Write(make([]byte, 1<<16))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a peer that does not read: %v", err)
	}
	there.Close() // with unread data: a reset, RFCOMM's only goodbye
	here.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err = io.Copy(io.Discard, here); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "board closed") {
		t.Errorf("after the peer's close: %v", err)
	}
}

func TestConnectRefused(t *testing.T) {
	ln, port := listenInet(t)
	ln.Close()
	_, err := connect(t.Context(), inetSocket(t), loopback(port))
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

// TestConnectWaits needs a connect that stays in progress: a listener whose
// queue is full does not answer.
func TestConnectWaits(t *testing.T) {
	_, port := listenInet(t)
	for range 2 { // the queue of a backlog of one holds two
		f, err := connect(t.Context(), inetSocket(t), loopback(port))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	var err error
	for n := 0; err == nil && n < 5; n++ { // one or two may slip in before the two are counted
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		var f *os.File
		if f, err = connect(ctx, inetSocket(t), loopback(port)); err == nil {
			defer f.Close()
		}
	}
	if !errors.Is(explain(atDial, err), context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("time-out: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := connect(ctx, inetSocket(t), loopback(port)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancel: %v", err)
	}
}

func TestCloseEndsAccept(t *testing.T) {
	f, _ := listenInet(t)
	ln := &listener{file: f, local: Addr{Channel: 1}}
	time.AfterFunc(20*time.Millisecond, func() { ln.Close() })
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
