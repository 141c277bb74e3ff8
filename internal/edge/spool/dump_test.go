package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

func dumped(t *testing.T, dir string, opts DumpOptions) string {
	t.Helper()
	var out bytes.Buffer
	if err := Dump(&out, dir, opts); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestDump(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Readers: []string{"iot", "rest"}, SegmentBytes: MinSegmentBytes})
	add(t, s, `{"id":"1"}`, "a\x1b[2Jb", `{"id":"3"}`)
	drain(t, s.Reader("iot"))
	s.Reader("iot").Ack(2)
	add(t, s, `{"id":"4"}`)
	before := contents(t, dir)
	const want = `0000000000000001.seg  generation 1  base 1  records 4  bytes 36 of 131072
  1 @8192 iot=acked rest=waiting {"id":"1"}
  2 @8216 iot=acked rest=waiting "a\x1b[2Jb"
  3 @8236 iot=waiting rest=waiting {"id":"3"}
  4 @8300 iot=waiting rest=waiting {"id":"4"}
`
	if got := dumped(t, dir, DumpOptions{}); got != want { // live, under the lock of s
		t.Errorf("live:\n%s", got)
	}
	_ = s.Close()
	if got := dumped(t, dir, DumpOptions{}); got != want {
		t.Errorf("after close:\n%s", got)
	}
	if after := contents(t, dir); !maps.Equal(before, after) {
		t.Error("the dump, or a close without news, changed the files")
	}

	lines := strings.Split(strings.TrimSpace(dumped(t, dir, DumpOptions{JSON: true})), "\n")
	var head segmentLine
	var rec recordLine
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &head), json.Unmarshal([]byte(lines[2]), &rec)); err != nil {
		t.Fatal(err)
	}
	if head.Records != 4 || head.Base != 1 || rec.Seq != 2 || rec.Readers["iot"] != "acked" || string(rec.Record) != `"a\u001b[2Jb"` {
		t.Errorf("%+v %+v", head, rec)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	names, err := OS{}.ReadDir(dir)
	for _, name := range names {
		b, rerr := os.ReadFile(dir + "/" + name)
		m[name], err = string(b), errors.Join(err, rerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDumpShowsDamage(t *testing.T) {
	im := newImage(t)
	data := slices.Clone(im.good)
	data[im.starts[2]+recordHead] ^= 1
	im.fsys.disk[im.name].data = data
	got := dumped(t, "spool", DumpOptions{FS: im.fsys})
	want := fmt.Sprintf("records %d  bytes", len(im.texts)-1)
	span := fmt.Sprintf("damaged %d-%d", im.starts[2], im.starts[3]-1)
	if !strings.Contains(got, want) || !strings.Contains(got, span) {
		t.Errorf("want %q and %q in\n%s", want, span, got)
	}
	im.fsys.disk[im.name].data = make([]byte, MinSegmentBytes)
	if got := dumped(t, "spool", DumpOptions{FS: im.fsys}); !strings.Contains(got, "no valid header") {
		t.Error(got)
	}
}

func TestDumpNoSpool(t *testing.T) {
	if err := Dump(&bytes.Buffer{}, t.TempDir(), DumpOptions{}); err == nil || !strings.Contains(err.Error(), "no spool there") {
		t.Error(err)
	}
	if err := Dump(&bytes.Buffer{}, t.TempDir()+"/none", DumpOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	dir := t.TempDir()
	open(t, dir, Options{})
	if got := dumped(t, dir, DumpOptions{}); got != "" {
		t.Errorf("empty spool: %q", got)
	}
}

type deafWriter struct{}

func (deafWriter) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

func TestDumpReportsWriteErrors(t *testing.T) {
	im := newImage(t)
	if err := Dump(deafWriter{}, "spool", DumpOptions{FS: im.fsys}); err == nil {
		t.Error("a dump that nobody could read succeeded")
	}
}
