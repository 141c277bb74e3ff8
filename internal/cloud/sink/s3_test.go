package sink

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mote/internal/cloud/outbox"
)

func newS3(t *testing.T, dir string) *S3Deliverer {
	d, err := NewS3(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func put(d *S3Deliverer, key, body string) error {
	s := &S3{Bucket: "bucket", Key: key, Body: []byte(body)}
	return d.Deliver(context.Background(), []*outbox.Entry{{Data: s.Encode()}})[0]
}

func TestS3WritesFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "s3")
	d := newS3(t, dir)
	for _, c := range []struct{ key, body string }{{"a.json", "1"}, {"x/y/z", "2"}, {"x/y/w", ""}, {"a.json", "3"}} {
		if err := put(d, c.key, c.body); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "bucket", c.key)
		data, err := os.ReadFile(name)
		if err != nil || string(data) != c.body {
			t.Errorf("%s: %q, %v", c.key, data, err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", c.key, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "bucket", "x")); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, partsDir)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestS3KeysInEachOthersWay(t *testing.T) {
	dir := t.TempDir()
	d := newS3(t, dir)
	for _, c := range []struct{ key, want string }{
		{"a", ""}, {"a/b", "is an object itself"}, {"a/b/c", "is an object itself"},
		{"d/e/f", ""}, {"d/e", "is a directory"}, {"d", "is a directory"},
	} {
		err := put(d, c.key, "x")
		if c.want == "" && err != nil || c.want != "" && (class(err) != "permanent" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v (%s), want %q", c.key, err, class(err), c.want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, partsDir)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestS3StaysInItsDirectory(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "s3")
	d := newS3(t, dir)
	outside := filepath.Join(top, "outside")
	if err := errors.Join(os.Mkdir(outside, 0o700), os.Mkdir(filepath.Join(dir, "bucket"), 0o700),
		os.Symlink(outside, filepath.Join(dir, "bucket", "link")), os.Symlink("../../outside", filepath.Join(dir, "bucket", "relative"))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"link/x", "relative/x", "link/x/y", "../outside/x", "../../outside/x"} {
		if err := put(d, key, "x"); class(err) != "permanent" {
			t.Errorf("%s: %v (%s)", key, err, class(err))
		}
	}
	if found, err := os.ReadDir(outside); err != nil || len(found) > 0 {
		t.Errorf("written outside: %v, %v", found, err)
	}
	// A link in the place of an object is replaced, not followed.
	if err := os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "bucket", "object")); err != nil {
		t.Fatal(err)
	}
	if err := put(d, "object", "x"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "file")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link was followed: %v", err)
	}
}

func TestS3RemovesWhatAnInterruptedWriteLeft(t *testing.T) {
	dir := t.TempDir()
	_ = newS3(t, dir).Close()
	if err := os.WriteFile(filepath.Join(dir, partsDir, "half"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	newS3(t, dir)
	if left, err := os.ReadDir(filepath.Join(dir, partsDir)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestS3ErrorsThatCanBeMendedAreTriedAgain(t *testing.T) {
	s := &S3{Bucket: "bucket", Key: "a"}
	for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, fs.ErrPermission} {
		if got := s.explain(&fs.PathError{Op: "write", Path: "a", Err: err}); class(got) != "busy" || !errors.Is(got, err) {
			t.Errorf("%v: %v (%s)", err, got, class(got))
		}
	}
	dir := t.TempDir()
	d := newS3(t, dir)
	if err := os.Remove(filepath.Join(dir, partsDir)); err != nil {
		t.Fatal(err)
	}
	if err := put(d, "a", "x"); class(err) != "busy" {
		t.Errorf("got %v (%s)", err, class(err))
	}
	if err := d.Deliver(context.Background(), []*outbox.Entry{{Data: []byte("\x01\x03abc")}})[0]; class(err) != "permanent" {
		t.Errorf("damaged: %v", err)
	}
}
