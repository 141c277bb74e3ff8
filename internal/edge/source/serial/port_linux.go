package serial

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// speeds are the rates of termios.
var speeds = map[int]uint32{
	300: unix.B300, 600: unix.B600, 1200: unix.B1200, 1800: unix.B1800, 2400: unix.B2400, 4800: unix.B4800, 9600: unix.B9600,
	19200: unix.B19200, 38400: unix.B38400, 57600: unix.B57600, 115200: unix.B115200, 230400: unix.B230400, 460800: unix.B460800,
	500000: unix.B500000, 576000: unix.B576000, 921600: unix.B921600, 1000000: unix.B1000000, 1152000: unix.B1152000,
	1500000: unix.B1500000, 2000000: unix.B2000000, 2500000: unix.B2500000, 3000000: unix.B3000000, 3500000: unix.B3500000, 4000000: unix.B4000000,
}

// Open opens the port at path in raw mode at the given rate. Opening raises
// DTR, which restarts many boards; that is left so on purpose, since a board
// that hangs is restarted when a silent line is opened again.
func Open(path string, baud int) (net.Conn, error) {
	if err := checkBaud(baud); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	p := &port{file: f, path: path}
	if err := Control(p.file, func(fd int) error { return prepare(fd, speeds[baud]) }); err != nil {
		f.Close()
		return nil, fmt.Errorf("serial port %s: %w", path, err)
	}
	if err := f.SetReadDeadline(time.Time{}); err != nil {
		p.Close()
		return nil, fmt.Errorf("serial port %s cannot be waited for with a deadline: %w", path, err)
	}
	return p, nil
}

func explainOpen(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = "; is the board plugged in? `ls /dev/serial/by-id` shows the ports there are"
	case errors.Is(err, fs.ErrPermission):
		hint = "; add yourself to the group dialout (`sudo usermod -aG dialout $USER`) and log in again"
	case errors.Is(err, unix.EBUSY):
		hint = "; another program has it open (`fuser " + path + "` shows which)"
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		hint = "; the device behind it is gone"
	}
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		err = pathError.Err
	}
	return fmt.Errorf("open serial port %s: %w%s", path, err, hint)
}

// prepare takes the port for this process alone and sets raw mode, as
// cfmakeraw(3) does, with modem lines ignored and the receiver on.
func prepare(fd int, speed uint32) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("it is not a serial port: %w", err)
	} else if err != nil {
		return os.NewSyscallError("tcgetattr", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return os.NewSyscallError("tiocexcl", err)
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON | unix.IXOFF | unix.IXANY | unix.INPCK
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB | unix.CSTOPB | unix.CRTSCTS | unix.CBAUD
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL | speed
	t.Ispeed, t.Ospeed = speed, speed
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return os.NewSyscallError("tcsetattr", err)
	}
	// tcsetattr(3) succeeds when any of the changes was made.
	got, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("tcgetattr", err)
	}
	if got.Cflag&unix.CBAUD != speed || got.Lflag&unix.ICANON != 0 {
		return errors.New("its driver does not take this baud rate; choose another, and set the board to the same")
	}
	return nil
}

// port is a net.Conn on a terminal that is in Go's poller.
type port struct {
	file *os.File
	path string
}

// Control calls do with the descriptor of f, which stays in Go's poller.
func Control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = do(int(fd)) }); err != nil {
		return err
	}
	return result
}

func (p *port) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	return n, p.explain(err)
}

func (p *port) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	return n, p.explain(err)
}

// explain puts a hang-up into words. It is an end of input too.
func (p *port) explain(err error) error {
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("serial port %s hung up; was the board unplugged? (%w; %w)", p.path, unix.EIO, io.EOF)
	}
	return err
}

// Close gives the port back. Bytes not yet sent are dropped: a port whose other
// side does not read would hold the process up for closing_wait, 30 s.
func (p *port) Close() error {
	// Errors here mean that the port is closed or gone, which is what is wanted.
	_ = Control(p.file, func(fd int) error {
		_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH)
		return unix.IoctlSetInt(fd, unix.TIOCNXCL, 0)
	})
	return p.file.Close()
}

func (p *port) LocalAddr() net.Addr                { return Addr(p.path) }
func (p *port) RemoteAddr() net.Addr               { return Addr(p.path) }
func (p *port) SetDeadline(t time.Time) error      { return p.file.SetDeadline(t) }
func (p *port) SetReadDeadline(t time.Time) error  { return p.file.SetReadDeadline(t) }
func (p *port) SetWriteDeadline(t time.Time) error { return p.file.SetWriteDeadline(t) }
