package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mote/internal/cloud/registry"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/watch"
)

// site is a data directory with a few things in it.
type site struct {
	t    *testing.T
	data string
	st   *store.Store
	db   *table.DB
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, data: filepath.Join(t.TempDir(), "data")}
	s.open()
	for name, text := range map[string]string{
		"ca.pem": "ca", "credentials": "secret", "config": "region", "api-key": "key", "endpoints.json": "{}",
		"things/a b/key.pem": "key of a", "buckets/photos/2026/\nodd\\name": "picture", "spool/1.seg": "of the gateway",
	} {
		s.write(name, text)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(s.data, "things", "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Open(s.st, registry.Options{}); err != nil {
		t.Fatal(err)
	}
	_, err := s.db.Create(table.CreateRequest{Name: "air", Billing: table.PayPerRequest,
		Attributes: []table.KeyAttr{{Name: "id", Kind: table.S}}, Schema: []table.KeyElement{{Name: "id", Type: "HASH"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.put(0, 300)
	s.stop()
	s.open() // brings the items from the log into table files
	return s
}

func (s *site) open() {
	s.t.Helper()
	st, err := store.Open(filepath.Join(s.data, storeDir), store.Options{MemTable: 128 << 10, MinFree: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.db, err = table.Open(st, table.Options{}); err != nil {
		s.t.Fatal(err)
	}
	s.st = st
	s.t.Cleanup(s.stop)
}

func (s *site) stop() {
	if err := errors.Join(s.db.Close(), s.st.Close()); err != nil {
		s.t.Error(err)
	}
}

func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.data, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) put(from, to int) {
	s.t.Helper()
	b := s.st.NewBatch()
	for i := from; i < to; i++ {
		item := table.Item{"id": table.String(fmt.Sprint("item ", i)), "text": table.String(strings.Repeat("x", 1000))}
		if err := s.db.Put(b, "air", item); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.st.Commit(b); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) backup(buckets bool) (string, *Manifest) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "backups", "one")
	m, err := Make(context.Background(), Options{Data: s.data, Dir: dir, Buckets: buckets, Progress: &Progress{}})
	if err != nil {
		s.t.Fatal(err)
	}
	return dir, m
}

func (s *site) serve() *Server {
	s.t.Helper()
	server, err := Serve(s.data, s.st, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = server.Close() })
	return server
}

// onlyPrivate fails for what somebody else may read.
func onlyPrivate(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, names ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(names...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestARunningCloudIsBackedUpAndRestored(t *testing.T) {
	s := newSite(t)
	s.serve()
	dir, m := s.backup(true)
	if !m.Running || m.Account != "000000000001" || len(m.Tables) != 1 || m.Tables[0].Items != 300 || fmt.Sprint(m.LeftOut) != "[things/link]" {
		t.Errorf("manifest %+v", m)
	}
	onlyPrivate(t, dir)
	s.put(300, 400) // not in it any more

	data := filepath.Join(t.TempDir(), "other", "data")
	if _, err := Restore(context.Background(), dir, data, &Progress{}); err != nil {
		t.Fatal(err)
	}
	onlyPrivate(t, data)
	for name, want := range map[string]string{"ca.pem": "ca", "credentials": "secret", "things/a b/key.pem": "key of a", "buckets/photos/2026/\nodd\\name": "picture"} {
		if got := read(t, data, name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, name := range []string{"spool", "endpoints.json", socketName, manifestName, sumsName} {
		if _, err := os.Lstat(filepath.Join(data, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was restored: %v", name, err)
		}
	}
	other := &site{t: t, data: data}
	other.open()
	for i := range 300 {
		got, err := other.db.GetItem(table.GetRequest{Table: "air", Key: table.Item{"id": table.String(fmt.Sprint("item ", i))}})
		if err != nil || got.Item == nil {
			t.Fatalf("item %d: %v, %v", i, got.Item, err)
		}
	}
	other.put(300, 301)

	if left, _ := filepath.Glob(filepath.Join(s.data, checkpointPrefix+"*")); len(left) > 0 {
		waitGone(t, left[0])
	}
}

// waitGone waits for the server, which removes a checkpoint after the client
// has gone.
func waitGone(t *testing.T, path string) {
	t.Helper()
	watch.Until(t, "the end of "+path, func() bool {
		_, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist)
	})
}

func TestAStoppedCloudIsOnlyRead(t *testing.T) {
	s := newSite(t)
	if _, err := Make(context.Background(), Options{Data: s.data, Dir: filepath.Join(t.TempDir(), "b")}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a store that somebody has open: %v", err)
	}
	s.stop()
	before, _ := walkFiles(s.data)
	dir, m := s.backup(false)
	if m.Running || m.Tables[0].Items != 300 {
		t.Errorf("manifest %+v", m)
	}
	if _, err := os.Lstat(filepath.Join(dir, bucketsDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("buckets are in it: %v", err)
	}
	if after, _ := walkFiles(s.data); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("before %v, after %v", before, after)
	}
	for _, of := range []string{s.data, dir} {
		r, err := Verify(context.Background(), of, nil)
		if err != nil || len(r.Faults()) != 0 || len(r.Tables) != 1 || r.Tables[0].Items != 300 || (r.Backup != nil) != (of == dir) {
			t.Errorf("verify %s: %+v, %v, %v", of, r, r.Faults(), err)
		}
	}
	s.open() // for the cleanup of newSite
}

func TestTargetsAreRefused(t *testing.T) {
	s := newSite(t)
	s.serve()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		full:                               "is not empty",
		filepath.Join(s.data, "backups"):   "outside",
		filepath.Join(full, "a", "backup"): "not a directory",
	} {
		if _, err := Make(context.Background(), Options{Data: s.data, Dir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("backup to %s: %v", dir, err)
		}
	}
	dir, _ := s.backup(false)
	if _, err := Restore(context.Background(), dir, s.data, nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("restore over a cloud: %v", err)
	}
	if _, err := Restore(context.Background(), full, filepath.Join(t.TempDir(), "d"), nil); err == nil || !strings.Contains(err.Error(), "no backup") {
		t.Errorf("restore of no backup: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	late := filepath.Join(t.TempDir(), "late")
	if _, err := Make(ctx, Options{Data: s.data, Dir: late}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(late)); len(left) != 0 {
		t.Errorf("a stopped backup leaves %v", left)
	}
}

func TestADamagedBackupIsFoundAndNotRestored(t *testing.T) {
	s := newSite(t)
	s.serve()
	for name, harm := range map[string]func(dir string) error{
		"a changed byte": func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, storeDir, "*.sst"))
			if err != nil || len(files) == 0 {
				return fmt.Errorf("no table files: %v", err)
			}
			data, err := os.ReadFile(files[0])
			data[len(data)/2] ^= 1
			return errors.Join(err, os.WriteFile(files[0], data, 0o600))
		},
		"a missing file": func(dir string) error { return os.Remove(filepath.Join(dir, "ca.pem")) },
		"another file":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "things", "x"), nil, 0o600) },
		"a changed manifest": func(dir string) error {
			text := strings.Replace(read(t, dir, manifestName), `"items": 300`, `"items": 301`, 1)
			return os.WriteFile(filepath.Join(dir, manifestName), []byte(text), 0o600)
		},
		"sums that are cut off": func(dir string) error {
			return os.Truncate(filepath.Join(dir, sumsName), 200)
		},
		"a link for a file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "ca.pem")), os.Symlink("/etc/passwd", filepath.Join(dir, "ca.pem")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := s.backup(false)
			if err := harm(dir); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(context.Background(), dir, nil)
			if err == nil && len(r.Faults()) == 0 {
				t.Error("verify finds nothing")
			}
			data := filepath.Join(t.TempDir(), "data")
			if _, err := Restore(context.Background(), dir, data, nil); err == nil {
				t.Error("it was restored")
			} else {
				t.Log(err)
			}
			if left, _ := os.ReadDir(filepath.Dir(data)); len(left) != 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

func TestDamagedDataAreNotBackedUp(t *testing.T) {
	s := newSite(t)
	s.serve()
	b := s.st.NewBatch()
	b.Set([]byte("i\x00\x00\x00\x00garbage"), []byte("garbage"))
	if err := s.st.Commit(b); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "b")
	if _, err := Make(context.Background(), Options{Data: s.data, Dir: dir}); err == nil || !strings.Contains(err.Error(), "mote verify") {
		t.Errorf("backup: %v", err)
	}
	r, err := Verify(context.Background(), s.data, nil)
	if err != nil || len(r.Faults()) != 1 || !strings.Contains(r.Faults()[0], "table air: the item with the key 6900000000") {
		t.Errorf("verify: %v, %v", r.Faults(), err)
	}
}

func TestLeftoversGoAtTheNextStart(t *testing.T) {
	s := newSite(t)
	if err := os.MkdirAll(filepath.Join(s.data, checkpointPrefix+"OLD", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(socketName, "")
	server := s.serve()
	if _, err := os.Lstat(filepath.Join(s.data, checkpointPrefix+"OLD")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it stays: %v", err)
	}
	s.backup(false)
	src, err := openSource(context.Background(), s.data) // Close does not wait for clients that stay
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	_ = src.Close()
	for _, pattern := range []string{checkpointPrefix + "*", socketName} {
		if left, _ := filepath.Glob(filepath.Join(s.data, pattern)); len(left) > 0 {
			t.Errorf("%v stays", left)
		}
	}
}

func TestSumsReadBack(t *testing.T) {
	in := sums{{"manifest.json", strings.Repeat("0a", 32)}, {"store/1.sst", strings.Repeat("ff", 32)}, {"things/a\\n\nb\r", strings.Repeat("01", 32)}}
	out, err := parseSums(in.text())
	if err != nil || fmt.Sprint(out) != fmt.Sprint(in) {
		t.Errorf("%q, %v", out, err)
	}
}

func FuzzSums(f *testing.F) {
	good := sums{{"manifest.json", strings.Repeat("0a", 32)}, {"store/1.sst", strings.Repeat("ff", 32)}, {"things/a\nb", strings.Repeat("01", 32)}}
	f.Add(good.text())
	f.Add([]byte(strings.Repeat("0a", 32) + "  ../etc/passwd\n"))
	f.Add([]byte(`\` + strings.Repeat("0a", 32) + "  a\\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSums(text)
		if err != nil {
			return
		}
		for _, x := range s {
			if !filepath.IsLocal(x.name) {
				t.Errorf("%q leads out of the backup", x.name)
			}
		}
		again, err := parseSums(s.text())
		if err != nil || len(again) != len(s) {
			t.Errorf("%q is read as %q, and that as %q: %v", text, s, again, err)
		}
	})
}
