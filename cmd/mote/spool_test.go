package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"mote/internal/edge/doctor"
	"mote/internal/edge/spool"
)

// spoolOf opens a spool in which so many readings wait.
func spoolOf(t *testing.T, dir string, readings int) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{Readers: []string{"iot"}, SegmentBytes: spool.MinSegmentBytes})
	if err != nil {
		t.Fatal(err)
	}
	for i := range readings {
		if _, err := s.Append(context.Background(), fmt.Appendf(nil, "{%d}", i)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestReadingsLeftInAnotherSpoolAreFound(t *testing.T) {
	dir, etc := t.TempDir(), t.TempDir()
	for name, n := range map[string]int{filepath.Join(dir, "new"): 1, filepath.Join(dir, "old"): 2, filepath.Join(dir, "old", "untimed"): 3, filepath.Join(dir, "empty"): 0, filepath.Join(etc, "spool"): 4} {
		if err := spoolOf(t, name, n).Close(); err != nil {
			t.Fatal(err)
		}
	}
	used := spoolOf(t, filepath.Join(dir, "used"), 5)
	defer used.Close()
	got := leftBehind(filepath.Join(etc, "mote.toml"), filepath.Join(dir, "new"))
	want := []doctor.Left{{Dir: filepath.Join(dir, "old"), Readings: 5}, {Dir: filepath.Join(etc, "spool"), Readings: 4}}
	slices.SortFunc(got, func(a, b doctor.Left) int { return int(b.Readings) - int(a.Readings) })
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
