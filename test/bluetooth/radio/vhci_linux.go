package radio

import (
	"errors"
	"fmt"
	"os"
)

// Plug attaches a controller to this machine's kernel, through /dev/vhci
// (module hci_vhci), and returns its index there: 0 is hci0. The host's end of
// it closes with unplug.
func (a *Air) Plug(address Address, name string, rssi int8) (c *Controller, index uint16, unplug func() error, err error) {
	f, err := os.OpenFile("/dev/vhci", os.O_RDWR, 0)
	if err != nil {
		return nil, 0, nil, err
	}
	index, err = create(f)
	if err != nil {
		return nil, 0, nil, errors.Join(err, f.Close())
	}
	return a.Attach(address, name, rssi, f), index, f.Close, nil
}

// create asks for a primary controller: a packet of the vendor's type, whose
// answer holds the index in its last two bytes.
func create(f *os.File) (uint16, error) {
	if _, err := f.Write([]byte{0xff, 0x00}); err != nil {
		return 0, err
	}
	var p [16]byte
	n, err := f.Read(p[:])
	if err != nil {
		return 0, err
	}
	if n != 4 || p[0] != 0xff {
		return 0, fmt.Errorf("vhci answered % x", p[:n])
	}
	return uint16(p[2]) | uint16(p[3])<<8, nil
}
