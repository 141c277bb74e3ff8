package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestADamagedListOfFilesIsNotOpened flips bytes all over the MANIFEST, cuts it
// off, and takes it away: an open store has all that was in it, or is refused
// and left as it was.
func TestADamagedListOfFilesIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{MemTable: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, 0, 3000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
	if err != nil || len(lists) != 1 {
		t.Fatal(lists, err)
	}
	whole, err := os.ReadFile(lists[0])
	if err != nil {
		t.Fatal(err)
	}
	if at, damaged := damagedChunk(whole); at != len(whole) || damaged {
		t.Fatalf("the whole list: %d of %d, %v", at, len(whole), damaged)
	}
	before := names(t, dir)
	for at := 0; at < len(whole)/2; at += 7 {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 0x20
		if err := os.WriteFile(lists[0], flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, open := range []func() error{
			func() error { s, err := Open(dir, Options{}); return errors.Join(err, closeOf(s)) },
			func() error { f, err := OpenReadOnly(dir); return errors.Join(err, closeFrozen(f)) },
		} {
			if err := open(); !errors.As(err, new(*DamageError)) {
				t.Fatalf("damage at %d: %v", at, err)
			}
		}
	}
	if after := names(t, dir); after != before {
		t.Errorf("a store that was refused has changed: %s\n%s", before, after)
	}
	if err := os.Remove(lists[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.As(err, new(*DamageError)) {
		t.Errorf("no MANIFEST: %v", err)
	}
	if err := os.WriteFile(lists[0], append(whole, 1, 2, 3), 0o600); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	markers, _ := filepath.Glob(filepath.Join(dir, "marker.manifest.*"))
	for _, m := range markers {
		if err := os.Remove(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir, Options{}); !errors.As(err, new(*DamageError)) {
		t.Errorf("no marker: %v", err)
	}
}

func closeOf(s *Store) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

func closeFrozen(f *Frozen) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func FuzzDamagedChunk(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3, 4, 0, 0, 1, 9})
	f.Add(make([]byte, chunkBlock+3))
	f.Fuzz(func(t *testing.T, data []byte) {
		if at, _ := damagedChunk(data); at < 0 || at > len(data)+chunkHead {
			t.Errorf("%d of %d", at, len(data))
		}
	})
}
