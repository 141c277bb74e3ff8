// Package serial reaches boards over a serial port: a USB cable, a UART, a
// bound /dev/rfcomm0 or a pseudo-terminal.
//
// It promises bytes as they are on the wire (eight bits, no parity, one stop
// bit, no flow control, no echo, no line editing, no CR/LF changes), deadlines,
// a Close that ends a waiting Read, and a port that no other program opens at
// the same time. It works on Linux; elsewhere every call returns
// [ErrUnsupported].
package serial

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// ErrUnsupported is returned where the system is not Linux.
var ErrUnsupported = errors.New("serial ports need linux; connect the board by a tcp bridge")

// DefaultBaud is what most sketches ask of Serial.begin.
const DefaultBaud = 9600

// Options say which port to open and how.
type Options struct {
	Path string // such as /dev/ttyUSB0, or better a name from /dev/serial/by-id
	Baud int    // bits per second, a standard rate; 0 means DefaultBaud
}

// Source is one port.
type Source struct{ o Options }

// New checks the options. It does not open the port.
func New(o Options) (*Source, error) {
	if o.Path == "" {
		return nil, errors.New("serial port without a path; give one such as /dev/ttyUSB0")
	}
	if o.Baud == 0 {
		o.Baud = DefaultBaud
	}
	if err := checkBaud(o.Baud); err != nil {
		return nil, err
	}
	return &Source{o: o}, nil
}

func checkBaud(baud int) error {
	if _, ok := speeds[baud]; !ok && len(speeds) > 0 {
		return fmt.Errorf("baud %d is not a standard rate; use one of %s", baud,
			strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(speeds))), "[]"))
	}
	return nil
}

// Name returns the port's path.
func (s *Source) Name() string { return s.o.Path }

// Dial opens the port. Opening does not wait, so ctx only matters when it has
// ended already.
func (s *Source) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return Open(s.o.Path, s.o.Baud)
}

// Addr is the path of a port.
type Addr string

// Network returns "serial".
func (Addr) Network() string { return "serial" }

// String returns the path.
func (a Addr) String() string { return string(a) }
