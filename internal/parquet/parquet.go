// Package parquet writes flat tables as Apache Parquet files: optional columns
// of texts, numbers, booleans and bytes, in compressed row groups of bounded
// size, so that the memory does not grow with the table. It reads nothing.
//
// It is written here because the known libraries read and write every shape of
// the format and are each a quarter of mote's size; this is one shape, which
// all readers take: data pages of version 1, plain encoding, Snappy (Apache
// Parquet format, "File format", "Data pages", "Encodings").
package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/golang/snappy"
)

// Kind is the type of a column.
type Kind byte

// The kinds of columns.
const (
	Text    Kind = iota // UTF-8
	JSON                // UTF-8 that is JSON
	Bytes               //
	Int64               //
	Double              //
	Boolean             //
)

// physical are the format's own types of the kinds.
var physical = [...]int{Text: 6, JSON: 6, Bytes: 6, Int64: 2, Double: 5, Boolean: 0}

// Column is one column. Every value may be missing.
type Column struct {
	Name string
	Kind Kind
}

// Limits of a row group, which is held in memory.
const (
	groupRows  = 1 << 16
	groupBytes = 8 << 20
)

// Writer writes one file. Call [Writer.Close] at the end, or there is no file.
type Writer struct {
	out     io.Writer
	at      int64 // bytes written
	columns []*chunk
	rows    int // of the open group
	total   int64
	groups  []group
	err     error // the first one; it stays
}

// chunk is one column of the open row group.
type chunk struct {
	Column
	levels []byte // one bit a row: whether there is a value
	values []byte // plain encoding
	count  int    // of values
	bits   int    // of a Boolean column
}

// group is a written row group.
type group struct {
	rows   int
	bytes  int64
	chunks []written
}

type written struct{ offset, plain, packed int64 }

var magic = []byte("PAR1")

// NewWriter begins a file with these columns, in their order.
func NewWriter(out io.Writer, columns []Column) (*Writer, error) {
	if len(columns) == 0 {
		return nil, errors.New("parquet: a table has at least one column")
	}
	w := &Writer{out: out}
	for _, c := range columns {
		w.columns = append(w.columns, &chunk{Column: c})
	}
	w.write(magic)
	return w, w.err
}

// Write appends a row: a value for each column, nil for a missing one, else a
// string for Text and JSON, []byte, int64, float64 or bool.
func (w *Writer) Write(row []any) error {
	if w.err != nil {
		return w.err
	}
	if len(row) != len(w.columns) {
		return fmt.Errorf("parquet: a row of %d values for %d columns", len(row), len(w.columns))
	}
	for i, v := range row {
		if !w.columns[i].fits(v) {
			return fmt.Errorf("parquet: column %s cannot hold a %T", w.columns[i].Name, v)
		}
	}
	size := 0
	for i, v := range row {
		w.columns[i].add(w.rows, v)
		size += len(w.columns[i].values)
	}
	if w.rows++; w.rows == groupRows || size >= groupBytes {
		w.flush()
	}
	return w.err
}

func (c *chunk) fits(v any) bool {
	switch v.(type) {
	case nil:
		return true
	case string:
		return c.Kind == Text || c.Kind == JSON
	case []byte:
		return c.Kind == Bytes
	case int64:
		return c.Kind == Int64
	case float64:
		return c.Kind == Double
	case bool:
		return c.Kind == Boolean
	}
	return false
}

// add appends the value of the row with this number in its group.
func (c *chunk) add(row int, v any) {
	if row%8 == 0 {
		c.levels = append(c.levels, 0)
	}
	if v == nil {
		return
	}
	c.levels[row/8] |= 1 << (row % 8)
	c.count++
	switch v := v.(type) {
	case string:
		c.values = append(binary.LittleEndian.AppendUint32(c.values, uint32(len(v))), v...)
	case []byte:
		c.values = append(binary.LittleEndian.AppendUint32(c.values, uint32(len(v))), v...)
	case int64:
		c.values = binary.LittleEndian.AppendUint64(c.values, uint64(v))
	case float64:
		c.values = binary.LittleEndian.AppendUint64(c.values, math.Float64bits(v))
	case bool:
		c.addBit(v)
	}
}

func (c *chunk) addBit(v bool) {
	if c.bits%8 == 0 {
		c.values = append(c.values, 0)
	}
	if v {
		c.values[c.bits/8] |= 1 << (c.bits % 8)
	}
	c.bits++
}

// flush writes the open row group.
func (w *Writer) flush() {
	if w.rows == 0 || w.err != nil {
		return
	}
	g := group{rows: w.rows}
	for _, c := range w.columns {
		one := w.page(c)
		g.chunks = append(g.chunks, one)
		g.bytes += one.plain
	}
	w.groups = append(w.groups, g)
	w.total += int64(w.rows)
	w.rows = 0
}

// page writes a column of the open group as one data page, and empties it.
func (w *Writer) page(c *chunk) written {
	body := appendLevels(nil, c.levels, w.rows, c.count)
	body = append(body, c.values...)
	packed := snappy.Encode(nil, body)
	e := &encoder{}
	e.element(func() { // PageHeader
		e.i32(1, 0) // data page
		e.i32(2, len(body))
		e.i32(3, len(packed))
		e.inside(5, func() {
			e.i32(1, w.rows)
			e.i32(2, encodingPlain)
			e.i32(3, encodingRLE)
			e.i32(4, encodingRLE)
		})
	})
	one := written{offset: w.at, plain: int64(len(e.buf) + len(body)), packed: int64(len(e.buf) + len(packed))}
	w.write(e.buf)
	w.write(packed)
	c.levels, c.values, c.count, c.bits = c.levels[:0], c.values[:0], 0, 0
	return one
}

// Encodings and codecs of the format.
const (
	encodingPlain = 0
	encodingRLE   = 3
	codecSnappy   = 1
)

// appendLevels appends the definition levels of a page: one run when every
// value is there, or none, else one bit a row.
func appendLevels(dst, levels []byte, rows, values int) []byte {
	var run []byte
	switch values {
	case 0, rows:
		run = append(binary.AppendUvarint(nil, uint64(rows)<<1), byte(min(values, 1)))
	default:
		run = append(binary.AppendUvarint(nil, uint64(len(levels))<<1|1), levels...)
	}
	return append(binary.LittleEndian.AppendUint32(dst, uint32(len(run))), run...)
}

// Close writes what is left and the description of the file. It does not close
// the writer below.
func (w *Writer) Close() error {
	w.flush()
	e := &encoder{}
	e.element(func() { w.describe(e) })
	w.write(e.buf)
	w.write(binary.LittleEndian.AppendUint32(nil, uint32(len(e.buf))))
	w.write(magic)
	return w.err
}

// describe writes the FileMetaData.
func (w *Writer) describe(e *encoder) {
	e.i32(1, 1) // version of the format
	e.list(2, thriftStruct, len(w.columns)+1)
	e.element(func() {
		e.text(4, "schema")
		e.i32(5, len(w.columns))
	})
	for _, c := range w.columns {
		e.element(func() { c.describe(e) })
	}
	e.i64(3, w.total)
	e.list(4, thriftStruct, len(w.groups))
	for _, g := range w.groups {
		e.element(func() { w.describeGroup(e, g) })
	}
	e.text(6, "mote")
}

// converted are the format's meanings of byte arrays.
var converted = map[Kind]int{Text: 0, JSON: 19}

func (c *chunk) describe(e *encoder) {
	e.i32(1, physical[c.Kind])
	e.i32(3, 1) // optional
	e.text(4, c.Name)
	if meaning, ok := converted[c.Kind]; ok {
		e.i32(6, meaning)
	}
}

func (w *Writer) describeGroup(e *encoder, g group) {
	e.list(1, thriftStruct, len(g.chunks))
	for i, one := range g.chunks {
		e.element(func() {
			e.i64(2, one.offset)
			e.inside(3, func() { w.columns[i].describeChunk(e, g.rows, one) })
		})
	}
	e.i64(2, g.bytes)
	e.i64(3, int64(g.rows))
}

func (c *chunk) describeChunk(e *encoder, rows int, one written) {
	e.i32(1, physical[c.Kind])
	e.list(2, thriftI32, 2)
	e.buf = binary.AppendVarint(binary.AppendVarint(e.buf, encodingPlain), encodingRLE)
	e.list(3, thriftBinary, 1)
	e.bytes(c.Name)
	e.i32(4, codecSnappy)
	e.i64(5, int64(rows))
	e.i64(6, one.plain)
	e.i64(7, one.packed)
	e.i64(9, one.offset)
}

func (w *Writer) write(data []byte) {
	if w.err != nil {
		return
	}
	n, err := w.out.Write(data)
	w.at += int64(n)
	w.err = err
}
