package main

import (
	"fmt"
	"os"
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
		from, to, ok := constantPages(c.line, "/opt/my mote")
		if ok != c.ok || ok && (from != c.from || to != c.to) {
			t.Errorf("%q: %x-%x %v", c.line, from, to, ok)
		}
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
