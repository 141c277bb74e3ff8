// Package guest holds the tests that run in the virtual machine of
// mote/test/systemd, as a service beside the one that they try. Anywhere else
// they are skipped.
package guest
