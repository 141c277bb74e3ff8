package serial

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// openPty returns an open port and the terminal's other side.
func openPty(t *testing.T, baud int) (*os.File, net.Conn) {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	s, err := New(Options{Path: slave.Name(), Baud: baud})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	slave.Close()
	return master, conn
}

// every byte a terminal might act upon, and all others
func allBytes() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return append(all, "\r\n\n\r\x03\x04\x1a\x11\x13\x7f\xff\xff\x00"...)
}

func TestBytesPassUnchangedBothWays(t *testing.T) {
	master, conn := openPty(t, 115200)
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	all := allBytes()
	got := make([]byte, len(all))
	if _, err := master.Write(all); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("from the board: %v\n got %q\nwant %q", err, got, all)
	}
	if _, err := conn.Write(all); err != nil {
		t.Fatal(err)
	}
	// Were anything echoed, it would come before what was written.
	if _, err := io.ReadFull(master, got); err != nil || !bytes.Equal(got, all) {
		t.Fatalf("to the board: %v\n got %q\nwant %q", err, got, all)
	}
}

func TestSettings(t *testing.T) {
	_, conn := openPty(t, 57600)
	p := conn.(*port)
	err := Control(p.file, func(fd int) error {
		term, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		if speed := term.Cflag & unix.CBAUD; speed != unix.B57600 {
			t.Errorf("speed %#x", speed)
		}
		if exclusive, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL); err != nil || exclusive == 0 {
			t.Errorf("exclusive %d, %v", exclusive, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if conn.RemoteAddr().Network() != "serial" || !strings.HasPrefix(conn.RemoteAddr().String(), "/dev/") {
		t.Errorf("address %v", conn.RemoteAddr())
	}
}

func TestOpenAgainAfterClose(t *testing.T) {
	master, conn := openPty(t, 9600)
	path := conn.RemoteAddr().String()
	conn.Close()
	again, err := Open(path, 9600)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	master.Write([]byte("{1:2}\n"))
	again.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 6)
	if _, err := io.ReadFull(again, buf); err != nil || string(buf) != "{1:2}\n" {
		t.Errorf("%q, %v", buf, err)
	}
}

func TestDeadlineCloseAndHangUp(t *testing.T) {
	master, conn := openPty(t, 9600)
	buf := make([]byte, 8)
	conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := conn.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent line: %v", err)
	}
	conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	var err error
	for err == nil {
		_, err = conn.Write(make([]byte, 4096))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a board that does not read: %v", err)
	}
	conn.SetReadDeadline(time.Time{})
	time.AfterFunc(20*time.Millisecond, func() { master.Close() })
	if _, err := conn.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("after the hang-up: %v", err)
	}

	_, conn = openPty(t, 9600)
	time.AfterFunc(20*time.Millisecond, func() { conn.Close() })
	if _, err := conn.Read(buf); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read while it is closed: %v", err)
	}
}

func TestCloseDoesNotWaitForTheOtherSide(t *testing.T) {
	_, conn := openPty(t, 9600)
	conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for {
		if _, err := conn.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	done := make(chan error, 1)
	go func() { done <- conn.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second): // a terminal's driver may wait for 30
		t.Fatal("close waits for unsent bytes")
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "file")
	if err := os.WriteFile(plain, []byte("{1:2}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "ttyUSB0"): "plugged in",
		plain:                         "not a serial port",
		"/dev/null":                   "not a serial port",
		dir:                           "is a directory",
	} {
		if conn, err := Open(path, 9600); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v; want it to say %s", path, conn, err, want)
		}
	}
	denied := explainOpen("/dev/ttyUSB0", &os.PathError{Op: "open", Path: "/dev/ttyUSB0", Err: unix.EACCES})
	if !strings.Contains(denied.Error(), "group dialout") || !errors.Is(denied, os.ErrPermission) {
		t.Errorf("permission: %v", denied)
	}
	busy := explainOpen("/dev/ttyUSB0", &os.PathError{Op: "open", Path: "/dev/ttyUSB0", Err: unix.EBUSY})
	if !strings.Contains(busy.Error(), "another program") {
		t.Errorf("busy: %v", busy)
	}
	if _, err := New(Options{Path: "/dev/ttyUSB0", Baud: 9601}); err == nil || !strings.Contains(err.Error(), "9600 19200 ") {
		t.Errorf("baud: %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no path was taken")
	}
	s, err := New(Options{Path: "/dev/ttyUSB0"})
	if err != nil || s.o.Baud != DefaultBaud || s.Name() != "/dev/ttyUSB0" {
		t.Errorf("%+v, %v", s, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Dial(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("dial after the end: %v", err)
	}
}
