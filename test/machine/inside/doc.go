// Package inside is the first process of the machines of mote/test/machine: it
// mounts what programs expect, loads the kernel's modules, runs the tests and
// ends the machine with their result. Only tests import it.
package inside
