package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestConstantPages(t *testing.T) {
	for _, c := range []struct {
		line     string
		from, to uintptr
		ok       bool
	}{
		{"00400000-0127b000 r-xp 00000000 fe:00 1234                               /opt/my mote", 0x400000, 0x127b000, true},
		{"0127b000-02176000 r--p 00e7b000 fe:00 1234                               /opt/my mote", 0x127b000, 0x2176000, true},
		{"02176000-0220b000 rw-p 01d76000 fe:00 1234                               /opt/my mote", 0, 0, false}, // variables
		{"00400000-0127b000 r--s 00000000 fe:00 1234                               /opt/my mote", 0, 0, false},
		{"00400000-0127b000 r-xp 00000000 fe:00 1234                               /lib/other", 0, 0, false},
		{"7fa7776a0000-7fa777a00000 rw-p 00000000 00:00 0 ", 0, 0, false},
		{"7fffaa1f2000-7fffaa1f4000 r-xp 00000000 00:00 0                          [vdso]", 0, 0, false},
		{"0127b000-00400000 r--p 00000000 fe:00 1234 /opt/my mote", 0, 0, false},
		{"zz-yy r--p 00000000 fe:00 1234 /opt/my mote", 0, 0, false},
		{"", 0, 0, false},
	} {
		m, ok := constantPages(c.line, "/opt/my mote")
		if ok != c.ok || ok && m != (mapping{c.from, c.to}) {
			t.Errorf("%q: %x %v", c.line, m, ok)
		}
	}
}

// What the loader has written to is in no file, also when it is read-only now.
func TestCleanMappingsLeavesPagesOfItsOwn(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 fe:00 1234                               /opt/mote
Size:               1024 kB
Rss:                 512 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00500000-00600000 r--p 00100000 fe:00 1234                               /opt/mote
Anonymous:             4 kB
Swap:                  0 kB
00600000-00700000 r--p 00200000 fe:00 1234                               /opt/mote
Anonymous:             0 kB
Swap:                  8 kB
00700000-00800000 r--p 00300000 fe:00 1234                               /opt/mote
Anonymous:             0 kB
00800000-00900000 rw-p 00400000 fe:00 1234                               /opt/mote
Anonymous:             0 kB
Swap:                  0 kB
00900000-00a00000 r--p 00500000 fe:00 1234                               /opt/mote
Anonymous:             0 kB
Swap:                  0 kB
`
	got, err := cleanMappings(strings.NewReader(smaps), "/opt/mote")
	if want := []mapping{{0x400000, 0x500000}, {0x900000, 0xa00000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}

// The test binary goes on after its own pages were dropped.
func TestUnmapBinary(t *testing.T) {
	before := mapped(t)
	if err := unmapBinary(); err != nil {
		t.Fatal(err)
	}
	if after := mapped(t); after >= before {
		t.Errorf("%d KiB of files resident before, %d after", before, after)
	}
	for range 3 {
		if _, err := os.ReadFile("/proc/self/maps"); err != nil {
			t.Fatal(err)
		}
	}
}

// mapped is how much of files is resident, in KiB (proc_pid_status(5)).
func mapped(t *testing.T) (kib int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\nRssFile:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
