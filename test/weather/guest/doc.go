// Package guest holds the tests that run in the virtual machine of
// mote/test/weather. Anywhere else they are skipped.
package guest
