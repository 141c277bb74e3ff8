// Package network gives tests networks of their own: network namespaces, with
// interfaces and addresses that nothing else on the machine sees, joined by
// cables that the test can cut. They go with the processes in them, also after
// a crash, and need root and ip(8). Only tests import it.
package network
