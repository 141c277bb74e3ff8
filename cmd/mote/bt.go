package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"mote/internal/edge/bluetooth"
	"mote/internal/edge/source/rfcomm"
)

// btCmd is about boards over Bluetooth, before they are in mote.toml.
type btCmd struct {
	Scan btScanCmd `cmd:"" help:"List the Bluetooth devices that are near."`
	Pair btPairCmd `cmd:"" help:"Pair with a board, and trust it."`
}

type btScanCmd struct {
	For     time.Duration `help:"How long to look." default:"12s"`
	Adapter string        `help:"Address of the adapter to look with." placeholder:"ADDRESS"`
}

// Run looks for devices and prints them as a table.
func (c btScanCmd) Run(s *session) error {
	if c.For < time.Second || c.For > 5*time.Minute {
		return usagef("--for %v: want 1s to 5m", c.For)
	}
	system, err := openBluetooth(s, c.Adapter)
	if err != nil {
		return err
	}
	defer system.Close()
	fmt.Fprintf(s.stderr, "looking for %v\n", c.For)
	devices, err := system.Scan(s.ctx, c.For)
	if err != nil {
		return err
	}
	if len(devices) == 0 {
		fmt.Fprintln(s.stderr, "nothing was found; a module such as the HC-05 is found while its LED blinks fast, and when no other machine is connected to it")
		return nil
	}
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ADDRESS\tRSSI\tPAIRED\tNAME")
	for _, d := range devices {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.Address, strength(d), pairing(d), printable(d.Name))
	}
	return w.Flush()
}

func strength(d bluetooth.Device) string {
	if d.RSSI == 0 {
		return "-" // it was not heard now
	}
	return fmt.Sprintf("%d dBm", d.RSSI)
}

func pairing(d bluetooth.Device) string {
	switch {
	case d.Paired && d.Connected:
		return "yes, connected"
	case d.Paired && !d.Trusted:
		return "yes, not trusted"
	case d.Paired:
		return "yes"
	}
	return "no"
}

type btPairCmd struct {
	Address string        `arg:"" help:"The board's Bluetooth address, as mote bt scan shows it."`
	PIN     string        `name:"pin" help:"The board's PIN; 1234 is that of most new modules." default:"1234"`
	For     time.Duration `help:"How long to look for a board that is not known yet." default:"15s"`
	Adapter string        `help:"Address of the adapter to pair with." placeholder:"ADDRESS"`
}

// Run pairs with the board and says what to write into mote.toml.
func (c btPairCmd) Run(s *session) error {
	address, err := rfcomm.ParseAddress(c.Address)
	if err != nil {
		return usageError{err}
	}
	if len(c.PIN) < 1 || len(c.PIN) > 16 {
		return usagef("--pin: want 1 to 16 characters")
	}
	system, err := openBluetooth(s, c.Adapter)
	if err != nil {
		return err
	}
	defer system.Close()
	err = system.Pair(s.ctx, address.String(), c.PIN, c.For)
	switch {
	case errors.Is(err, bluetooth.ErrPaired):
		fmt.Fprintf(s.stderr, "%s is paired already; if it refuses connections, forget it first: `bluetoothctl remove %[1]s`\n", address)
	case err != nil:
		return err
	default:
		fmt.Fprintf(s.stderr, "paired with %s; in mote.toml its line is\n", address)
	}
	_, err = fmt.Fprintf(s.stdout, "[[source]]\nbluetooth = %q\n", address)
	return err
}

// openBluetooth opens the adapter with an address; "": any.
func openBluetooth(s *session, adapter string) (*bluetooth.System, error) {
	if adapter != "" {
		if _, err := rfcomm.ParseAddress(adapter); err != nil {
			return nil, usageError{fmt.Errorf("--adapter: %w", err)}
		}
	}
	return bluetooth.Open(s.ctx, adapter)
}
