package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mote/internal/watch"
)

// goesOn appends until that works again.
func goesOn(t *testing.T, s *Spool, record string) {
	t.Helper()
	watch.Until(t, "an append that succeeds", func() bool {
		_, err := s.Append(t.Context(), []byte(record))
		if err != nil && !errors.Is(err, ErrAway) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func wantAway(t *testing.T, s *Spool, what string) {
	t.Helper()
	if _, err := s.Append(t.Context(), []byte("lost?")); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "goes on by itself") {
		t.Fatalf("append while %s: %v", what, err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// copyDir is how a directory looks under another mount: the same files, other
// inodes.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestADirectoryThatIsAway: while it is away nothing is taken and nothing that
// waits is passed over; when it is back, under the same mount or another, the
// spool goes on, with the lock.
func TestADirectoryThatIsAway(t *testing.T) {
	for name, back := range map[string]func(t *testing.T, aside, dir string){
		"the same files": rename,
		"another mount":  func(t *testing.T, aside, dir string) { copyDir(t, aside, dir+".new"); rename(t, dir+".new", dir) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tmp, log := t.TempDir(), &watch.Log{}
			dir, aside := filepath.Join(tmp, "spool"), filepath.Join(tmp, "aside")
			opts := Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, Log: log.Logger()}
			s := open(t, dir, opts)
			fill(t, s, 0, 300) // some segments
			r := s.Reader("iot")
			if got, err := r.Poll(nil, 10); err != nil || len(got) != 10 {
				t.Fatalf("%d records, %v", len(got), err)
			}
			rename(t, dir, aside)
			wantAway(t, s, "the directory is not there")
			if err := os.Mkdir(dir, 0o700); err != nil { // the mount point is there, empty
				t.Fatal(err)
			}
			wantAway(t, s, "an empty directory is there")
			got, err := r.Poll(nil, 1000)
			for err == nil {
				n := len(got)
				if got, err = r.Poll(got, 1000); len(got) == n {
					break
				}
			}
			if !errors.Is(err, ErrAway) || len(got) >= 290 {
				t.Errorf("%d records and %v without the disk", len(got), err)
			}
			if files, _ := os.ReadDir(dir); len(files) != 0 {
				t.Errorf("%v was written into a directory that is not the spool's", files)
			}
			if err := os.Remove(dir); err != nil {
				t.Fatal(err)
			}
			back(t, aside, dir)
			goesOn(t, s, "after")
			got = append(got, drain(t, r)...)
			if len(got) != 291 || string(got[290].Data) != "after" || s.Stats().Lost != 0 {
				t.Errorf("%d records, %d lost", len(got), s.Stats().Lost)
			}
			for i, rec := range got {
				if rec.Seq != uint64(i+11) {
					t.Fatalf("record %d has sequence %d", i, rec.Seq)
				}
			}
			if _, err := Open(dir, opts); !errors.Is(err, ErrLocked) {
				t.Errorf("a second process may open it: %v", err)
			}
			for _, want := range []string{"nothing is taken until it is back", "directory is back"} {
				watch.Until(t, "word of it", func() bool { return log.Count(want) > 0 })
				if log.Count(want) != 1 {
					t.Errorf("the log does not say once %q:\n%s", want, log)
				}
			}
			r.Ack(got[len(got)-1].Seq)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			s = open(t, dir, opts)
			wantTexts(t, s.Reader("iot"))
		})
	}
}

// TestAnotherSpoolInItsPlace is not touched, and the right one is waited for.
func TestAnotherSpoolInItsPlace(t *testing.T) {
	t.Parallel()
	tmp, log := t.TempDir(), &watch.Log{}
	dir, aside, other := filepath.Join(tmp, "spool"), filepath.Join(tmp, "aside"), filepath.Join(tmp, "other")
	opts := Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, Log: log.Logger()}
	o := open(t, other, opts)
	add(t, o, "a", "stranger's")
	_ = o.Close()
	s := open(t, dir, opts)
	add(t, s, "one")
	rename(t, dir, aside)
	rename(t, other, dir)
	wantAway(t, s, "another spool is there")
	watch.Until(t, "word about it", func() bool { return strings.Contains(log.String(), "is not what it wrote") })
	rename(t, dir, other)
	rename(t, aside, dir)
	goesOn(t, s, "two")
	wantTexts(t, s.Reader("iot"), "one", "two")
	o = open(t, other, opts)
	wantTexts(t, o.Reader("iot"), "a", "stranger's")
}

// TestADeletedLock is made again.
func TestADeletedLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes}
	s := open(t, dir, opts)
	add(t, s, "one")
	if err := os.Remove(filepath.Join(dir, lockName)); err != nil {
		t.Fatal(err)
	}
	goesOn(t, s, "two")
	wantTexts(t, s.Reader("iot"), "one", "two")
	if _, err := Open(dir, opts); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process may open it: %v", err)
	}
}

// TestASpoolThatAnotherUsedMeanwhile is left to the next start: this one does
// not know what is in it.
func TestASpoolThatAnotherUsedMeanwhile(t *testing.T) {
	t.Parallel()
	tmp, log := t.TempDir(), &watch.Log{}
	dir, aside := filepath.Join(tmp, "spool"), filepath.Join(tmp, "aside")
	opts := Options{Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes, Log: log.Logger()}
	s := open(t, dir, opts)
	add(t, s, "one")
	rename(t, dir, aside)
	wantAway(t, s, "it is elsewhere")
	copyDir(t, aside, dir+".new")
	o := open(t, dir+".new", opts)
	add(t, o, "two")
	_ = o.Close()
	rename(t, dir+".new", dir)
	watch.Until(t, "word about it", func() bool { return strings.Contains(log.String(), "written by another gateway") })
	wantAway(t, s, "another has written")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, dir, opts)
	wantTexts(t, s.Reader("iot"), "one", "two")
}

// TestADeletedFreeFile costs nothing but itself.
func TestADeletedFreeFile(t *testing.T) {
	fsys := newMemFS(6)
	s := open(t, "spool", Options{FS: fsys, Readers: []string{"iot"}, SegmentBytes: MinSegmentBytes})
	fill(t, s, 0, 600)
	all := drain(t, s.Reader("iot"))
	s.Reader("iot").Ack(all[len(all)-1].Seq)
	files := fsys.segmentFiles()
	if len(files) < 3 {
		t.Fatal(files)
	}
	for _, f := range files[:len(files)-1] {
		if err := fsys.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, s, 600, 600)
	if n := len(drain(t, s.Reader("iot"))); n != 600 {
		t.Errorf("%d records", n)
	}
	if got, want := s.Stats().Bytes, int64(len(fsys.segmentFiles())*MinSegmentBytes); got != want {
		t.Errorf("%d bytes are counted, %d are there", got, want)
	}
}
