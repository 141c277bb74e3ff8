package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
// page table (madvise(2), MADV_DONTNEED). Only what the file has is dropped, so
// that nothing can be lost: the next access reads the file's page.
func unmapBinary() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer smaps.Close()
	clean, err := cleanMappings(smaps, self)
	for _, m := range clean {
		err = errors.Join(err, m.forget())
	}
	return err
}

// mapping is a part of the address space.
type mapping struct{ from, to uintptr }

// cleanMappings reads /proc/PID/smaps (proc_pid_smaps(5)) and returns the
// private mappings of the file that nobody can write to and that have no pages
// of their own, in memory or in swap. A position-independent binary has
// read-only ones that are not as in the file: the loader has put addresses into
// them.
func cleanMappings(smaps io.Reader, file string) (clean []mapping, err error) {
	var m mapping
	ours, zeros := false, 0
	scan := bufio.NewScanner(smaps)
	for scan.Scan() {
		f := strings.Fields(scan.Text())
		switch {
		case len(f) == 0:
		case !strings.HasSuffix(f[0], ":"): // the next mapping begins
			m, ours = constantPages(scan.Text(), file)
			zeros = 0
		case ours && len(f) == 3 && (f[0] == "Anonymous:" || f[0] == "Swap:") && f[1] == "0":
			if zeros++; zeros == 2 {
				clean = append(clean, m)
			}
		}
	}
	return clean, scan.Err()
}

// constantPages reads the first line of a mapping and says whether it is a
// private one of the file that nobody can write to.
func constantPages(line, file string) (m mapping, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || len(f[1]) != 4 || f[1][1] != '-' || f[1][3] != 'p' || !strings.HasSuffix(line, " "+file) {
		return m, false
	}
	n, err := fmt.Sscanf(f[0], "%x-%x", &m.from, &m.to)
	return m, err == nil && n == 2 && m.from < m.to
}

func (m mapping) forget() error {
	// The address is the kernel's own word for memory that stays mapped for the
	// life of the process; the garbage collector never moves it.
	start := *(*unsafe.Pointer)(unsafe.Pointer(&m.from))
	pages := unsafe.Slice((*byte)(start), m.to-m.from)
	// Otherwise one access may bring 2 MB back. Kernels without huge pages refuse
	// the advice, and need none.
	_ = unix.Madvise(pages, unix.MADV_NOHUGEPAGE)
	if err := unix.Madvise(pages, unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("%x-%x: %w", m.from, m.to, err)
	}
	return nil
}
