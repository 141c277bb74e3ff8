//go:build !linux

package sim

import "mote/internal/edge/source/serial"

// Terminal is not there on this system.
type Terminal struct{}

// OpenTerminal returns serial.ErrUnsupported.
func OpenTerminal() (*Terminal, error) { return nil, serial.ErrUnsupported }

func (*Terminal) Path() string              { return "" }
func (*Terminal) Read([]byte) (int, error)  { return 0, serial.ErrUnsupported }
func (*Terminal) Write([]byte) (int, error) { return 0, serial.ErrUnsupported }
func (*Terminal) Close() error              { return nil }
