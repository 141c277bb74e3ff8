package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mote/internal/edge/source/serial"
)

// Terminal is the board's side of a pseudo-terminal; the other side is a file
// that opens like a serial port. While nobody has it open, what is written is
// lost, as on a cable without a listener, and reads wait.
type Terminal struct {
	master *os.File
	path   string
	closed chan struct{}
	once   sync.Once
}

// OpenTerminal makes a pseudo-terminal in raw mode.
func OpenTerminal() (*Terminal, error) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a pseudo-terminal: %w (a container needs /dev/pts)", err)
	}
	t := &Terminal{master: f, closed: make(chan struct{})}
	if err = serial.Control(t.master, t.unlock); err == nil {
		err = setRaw(t.path)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make a pseudo-terminal: %w", err)
	}
	return t, nil
}

// unlock permits opening the other side and finds its name (pts(4)).
func (t *Terminal) unlock(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return os.NewSyscallError("unlockpt", err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	t.path = "/dev/pts/" + strconv.FormatUint(uint64(n), 10)
	return os.NewSyscallError("ptsname", err)
}

// setRaw leaves the terminal raw, which lasts as long as its board's side is
// open: a program that opens it as it is then sees the bytes unchanged.
func setRaw(path string) error {
	port, err := serial.Open(path, serial.DefaultBaud)
	if err != nil {
		return err
	}
	return port.Close()
}

// Path returns the file to open as a serial port.
func (t *Terminal) Path() string { return t.path }

// listened reports whether somebody has the other side open.
func (t *Terminal) listened() bool {
	state := []unix.PollFd{{Events: unix.POLLOUT}}
	err := serial.Control(t.master, func(fd int) error {
		state[0].Fd = int32(fd)
		for {
			if _, err := unix.Poll(state, 0); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	})
	return err == nil && state[0].Revents&unix.POLLHUP == 0
}

// AwaitOpen returns when somebody opens the port, so that a board does not talk
// to nobody, or with ctx's error.
func (t *Terminal) AwaitOpen(ctx context.Context) error {
	look := time.NewTicker(20 * time.Millisecond) // a pseudo-terminal does not tell
	defer look.Stop()
	for !t.listened() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Read reads what was written to the port.
func (t *Terminal) Read(p []byte) (int, error) {
	for {
		n, err := t.master.Read(p)
		if !errors.Is(err, unix.EIO) {
			return n, err
		}
		select { // nobody has it open, which cannot be waited for otherwise
		case <-time.After(20 * time.Millisecond):
		case <-t.closed:
			return 0, os.ErrClosed
		}
	}
}

// Write writes to whoever has the port open. It waits while that one does not
// read.
func (t *Terminal) Write(p []byte) (int, error) {
	select {
	case <-t.closed:
		return 0, os.ErrClosed
	default:
	}
	if !t.listened() {
		return len(p), nil
	}
	n, err := t.master.Write(p)
	if errors.Is(err, unix.EIO) { // closed in this moment
		return len(p), nil
	}
	return n, err
}

// Close hangs up.
func (t *Terminal) Close() error {
	err := os.ErrClosed
	t.once.Do(func() {
		close(t.closed)
		err = t.master.Close()
	})
	return err
}
