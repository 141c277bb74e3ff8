package parquet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	reader "github.com/parquet-go/parquet-go"
)

var columns = []Column{{"id", Text}, {"dust", Double}, {"n", Int64}, {"ok", Boolean}, {"raw", Bytes}, {"more", JSON}}

// rows makes n rows in which each value is missing one time in five.
func rows(n int) [][]any {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([][]any, n)
	for i := range out {
		row := []any{"board-" + string(rune('a'+i%26)), float64(i) / 8, int64(i) - 5, i%3 == 0, []byte{byte(i), 0}, `{"a":[1]}`}
		for j := range row {
			if r.IntN(5) == 0 {
				row[j] = nil
			}
		}
		out[i] = row
	}
	return out
}

func file(t *testing.T, rows [][]any) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, columns)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if err := w.Write(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestAnotherReaderReadsIt reads files back with a library, over several row
// groups too.
func TestAnotherReaderReadsIt(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 1000, groupRows + 17} {
		want := rows(n)
		data := file(t, want)
		f, err := reader.OpenFile(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
		if f.NumRows() != int64(n) {
			t.Fatalf("%d rows, want %d", f.NumRows(), n)
		}
		at := 0
		for _, g := range f.RowGroups() {
			at = compareGroup(t, g, want, at)
		}
		if at != n {
			t.Errorf("read %d rows of %d", at, n)
		}
	}
}

func compareGroup(t *testing.T, g reader.RowGroup, want [][]any, at int) int {
	t.Helper()
	in := g.Rows()
	defer in.Close()
	for buf := make([]reader.Row, 100); ; {
		n, err := in.ReadRows(buf)
		for _, row := range buf[:n] {
			if got := plain(row); !reflect.DeepEqual(got, want[at]) {
				t.Fatalf("row %d: got %v, want %v", at, got, want[at])
			}
			at++
		}
		if errors.Is(err, io.EOF) {
			return at
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func plain(row reader.Row) []any {
	out := make([]any, len(columns))
	for _, v := range row {
		i := v.Column()
		if v.IsNull() {
			continue
		}
		switch columns[i].Kind {
		case Text, JSON:
			out[i] = string(v.ByteArray())
		case Bytes:
			out[i] = bytes.Clone(v.ByteArray())
		case Int64:
			out[i] = v.Int64()
		case Double:
			out[i] = v.Double()
		case Boolean:
			out[i] = v.Boolean()
		}
	}
	return out
}

func TestRefusals(t *testing.T) {
	if _, err := NewWriter(io.Discard, nil); err == nil {
		t.Error("a table without columns")
	}
	w, err := NewWriter(io.Discard, columns[:1])
	if err != nil {
		t.Fatal(err)
	}
	if w.Write([]any{1.5}) == nil || w.Write([]any{"a", "b"}) == nil {
		t.Error("took a value of another type, or a row of another length")
	}
}

// failing fails after some bytes.
type failing struct{ left int }

var errDisk = errors.New("disk")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestWriteErrorsStay(t *testing.T) {
	for left := range 200 {
		w, err := NewWriter(&failing{left}, columns)
		if err == nil {
			_ = w.Write(rows(1)[0])
			err = w.Close()
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("after %d bytes: %v", left, err)
		}
	}
}
