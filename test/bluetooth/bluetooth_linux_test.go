// Package bluetooth tries boards over Bluetooth with the kernel's own stack: in
// a virtual machine, since that needs modules and rights that a test does not
// have, with emulated controllers, since it needs no hardware then.
//
// [mote/test/bluetooth/guest] is what runs inside, [mote/test/bluetooth/radio]
// the controllers.
package bluetooth

import (
	"testing"

	"mote/test/machine"
)

func TestRealKernel(t *testing.T) {
	machine.Guest{
		What:     "BLUETOOTH IS",
		Modules:  []string{"crc16", "ecc", "rfkill", "ecdh_generic", "bluetooth", "rfcomm", "hci_vhci"},
		Programs: []string{"/usr/bin/dbus-daemon", "/usr/libexec/bluetooth/bluetoothd"},
		Memory:   192,
	}.Run(t)
}
