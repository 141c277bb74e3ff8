// Package guest holds the tests that run in the virtual machine of
// mote/test/bluetooth, whose kernel has the modules of Bluetooth: they plug
// emulated controllers in. Anywhere else they are skipped.
package guest
