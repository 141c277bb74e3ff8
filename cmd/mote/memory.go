package main

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// gatewayGC is the garbage collector's percentage in a gateway. Its live heap
// is about 2 MB, so that collecting at half of the default's distance costs
// next to no time and saves memory that small machines need.
const gatewayGC = 50

// settle gives back the memory that only the start has needed. The binary
// holds both halves, and at the start the initialisers of every package run,
// also of those that a gateway never uses: most pages of the binary are mapped
// by then, and some megabytes of the heap are garbage. What is used again
// comes back from the page cache by itself.
func settle(log *slog.Logger) {
	debug.SetGCPercent(gatewayGC)
	debug.FreeOSMemory()
	if err := unmapBinary(); err != nil {
		log.Debug("pages of the binary stay mapped", "err", err)
	}
}

// unmapBinary drops the pages of this binary's code and constants from the
// page table (madvise(2), MADV_DONTNEED). The mapping is of a file and read
// only, so that nothing can be lost: the next access reads the file's page.
func unmapBinary() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	scan := bufio.NewScanner(maps)
	for scan.Scan() {
		from, to, ok := constantPages(scan.Text(), self)
		if !ok {
			continue
		}
		if err := forget(from, to); err != nil {
			return fmt.Errorf("%s: %w", scan.Text(), err)
		}
	}
	return scan.Err()
}

// constantPages reads a line of /proc/PID/maps (proc_pid_maps(5)) and says
// whether it is a private mapping of the file that nobody can write to.
func constantPages(line, file string) (from, to uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || len(f[1]) != 4 || f[1][1] != '-' || f[1][3] != 'p' || !strings.HasSuffix(line, " "+file) {
		return 0, 0, false
	}
	n, err := fmt.Sscanf(f[0], "%x-%x", &from, &to)
	return from, to, err == nil && n == 2 && from < to
}

func forget(from, to uintptr) error {
	// The address is the kernel's own word for memory that stays mapped for the
	// life of the process; the garbage collector never moves it.
	start := *(*unsafe.Pointer)(unsafe.Pointer(&from))
	pages := unsafe.Slice((*byte)(start), to-from)
	// Otherwise one access may bring 2 MB back. Kernels without huge pages refuse
	// the advice, and need none.
	_ = unix.Madvise(pages, unix.MADV_NOHUGEPAGE)
	return unix.Madvise(pages, unix.MADV_DONTNEED)
}
