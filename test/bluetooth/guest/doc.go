// Package guest holds the tests that run in the virtual machine of
// mote/test/bluetooth: its test program is the machine's first process. It
// loads the kernel's Bluetooth modules, plugs emulated controllers in, and ends
// the machine with the result. Anywhere else its tests are skipped.
package guest
