//go:build !linux

package sim

import (
	"context"

	"mote/internal/edge/source/serial"
)

// Terminal is not there on this system.
type Terminal struct{}

// OpenTerminal returns serial.ErrUnsupported.
func OpenTerminal() (*Terminal, error) { return nil, serial.ErrUnsupported }

func (*Terminal) Path() string                    { return "" }
func (*Terminal) AwaitOpen(context.Context) error { return serial.ErrUnsupported }
func (*Terminal) Read([]byte) (int, error)        { return 0, serial.ErrUnsupported }
func (*Terminal) Write([]byte) (int, error)       { return 0, serial.ErrUnsupported }
func (*Terminal) Close() error                    { return nil }
