//go:build !gateway

package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"mote/internal/parquet"
)

// exportCmd writes a table to a file, from the cloud of this machine or from
// AWS.
type exportCmd struct {
	rowFlags
	Out     string   `help:"File to write; default: standard output." type:"path" placeholder:"FILE"`
	Format  string   `help:"csv, jsonl (plain JSON lines), dynamodb (JSON lines with types, as DynamoDB's own exports), or parquet; default: by the name of the file, else jsonl." enum:"csv,jsonl,dynamodb,parquet," default:"" placeholder:"FORMAT"`
	Columns []string `help:"Only these attributes, in this order." placeholder:"NAME"`
}

// Run reads the table and writes the file. Formats with columns need a first
// pass over the rows, to know which columns there are and what they hold.
func (c exportCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := c.checkOut(); err != nil {
		return err
	}
	cfg, err := c.config(s.ctx)
	if err != nil {
		return err
	}
	err = c.export(s, dynamodb.NewFromConfig(cfg))
	switch {
	case err == nil || s.ctx.Err() == nil:
		return err
	case c.Out == "" || c.Out == "-":
		return errors.New("stopped: what was written ends before the end of the table: export again")
	}
	return fmt.Errorf("stopped: %s was not written: export again", c.Out)
}

// checkOut refuses a path that can be no file.
func (c exportCmd) checkOut() error {
	if c.Out == "" || c.Out == "-" {
		return nil
	}
	if info, err := os.Stat(c.Out); err == nil && !info.Mode().IsRegular() {
		return usagef("--out %s is no file: name one that is not there yet or is to be replaced, such as %s", c.Out, filepath.Join(c.Out, c.Table+".csv"))
	}
	dir := filepath.Dir(c.Out)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return usagef("--out %s: %s is no directory: make it first, or name another file", c.Out, dir)
	}
	return nil
}

func (c exportCmd) export(s *session, db *dynamodb.Client) error {
	keys, err := describeKeys(s.ctx, db, c.Table, c.Index)
	if err != nil {
		return c.explain(s.ctx, db, err)
	}
	shape, format := newShape(keys.names(), c.Columns), c.format()
	if format == "csv" || format == "parquet" {
		if err := c.each(s, db, keys, "looked at", shape.learn); err != nil {
			return err
		}
	}
	out, err := createOutput(s, c.Out)
	if err != nil {
		return err
	}
	w, err := newExporter(format, out, shape, c.Columns)
	if err == nil {
		err = c.each(s, db, keys, "exported", w.write)
	}
	if err == nil {
		err = w.close()
	}
	if shape.lost > 0 {
		fmt.Fprintf(s.stderr, "left out: %d values that came while the export ran and do not fit its columns; export again\n", shape.lost)
	}
	return out.finish(err)
}

func (c exportCmd) format() string {
	if c.Format != "" {
		return c.Format
	}
	switch ext := strings.ToLower(filepath.Ext(c.Out)); ext {
	case ".csv", ".parquet":
		return ext[1:]
	}
	return "jsonl"
}

// each calls use with every row that the flags ask for.
func (f rowFlags) each(s *session, db *dynamodb.Client, keys tableKeys, doing string, use func(map[string]types.AttributeValue) error) error {
	conds, err := f.conditions(keys, time.Now())
	if err != nil {
		return err
	}
	var rows atomic.Int64
	defer showProgress(s.stderr, func() string { return fmt.Sprintf("%s %d rows", doing, rows.Load()) })()
	for pages, more := f.pages(db, conds, false), true; more; {
		var items []map[string]types.AttributeValue
		if items, more, err = pages(s.ctx, 0); err != nil {
			return f.explain(s.ctx, db, err)
		}
		for _, item := range items {
			if err := use(item); err != nil {
				return err
			}
		}
		rows.Add(int64(len(items)))
	}
	return nil
}

// output is a file that appears under its name only when it is whole, or
// standard output.
type output struct {
	*bufio.Writer
	file *os.File // nil: standard output
	path string
}

func createOutput(s *session, path string) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: bufio.NewWriterSize(s.stdout, 1<<16)}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return nil, err
	}
	return &output{Writer: bufio.NewWriterSize(f, 1<<16), file: f, path: path}, nil
}

// finish ends the output; after an error nothing of the file stays.
func (o *output) finish(err error) error {
	if err == nil {
		err = o.Flush()
	}
	if o.file == nil {
		return err
	}
	if err == nil {
		err = o.file.Sync()
	}
	if cerr := o.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		_ = os.Remove(o.file.Name())
	}
	return err
}

// exporter writes rows in one format.
type exporter interface {
	write(item map[string]types.AttributeValue) error
	close() error
}

func newExporter(format string, out io.Writer, s *shape, columns []string) (exporter, error) {
	switch format {
	case "csv":
		w := csv.NewWriter(out)
		return &csvExporter{w, s}, w.Write(s.names)
	case "parquet":
		w, err := parquet.NewWriter(out, s.columns())
		return &parquetExporter{w, s}, err
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return &lineExporter{enc, columns, format == "dynamodb"}, nil
}

type lineExporter struct {
	enc     *json.Encoder
	columns []string // nil: all
	typed   bool
}

func (e *lineExporter) write(item map[string]types.AttributeValue) error {
	row := make(map[string]any, len(item))
	for name, v := range item {
		if e.columns != nil && !slices.Contains(e.columns, name) {
			continue
		}
		if row[name] = plainValue(v); e.typed {
			row[name] = typedValue(v)
		}
	}
	if e.typed {
		return e.enc.Encode(map[string]any{"Item": row}) // DynamoDB developer guide, "Export to Amazon S3: output format"
	}
	return e.enc.Encode(row)
}

func (e *lineExporter) close() error { return nil }

// typedValue is a value in the JSON of the DynamoDB API.
func typedValue(v types.AttributeValue) any {
	one := func(kind string, x any) any { return map[string]any{kind: x} }
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return one("S", v.Value)
	case *types.AttributeValueMemberN:
		return one("N", v.Value)
	case *types.AttributeValueMemberB:
		return one("B", v.Value)
	case *types.AttributeValueMemberBOOL:
		return one("BOOL", v.Value)
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i := range v.Value {
			list[i] = typedValue(v.Value[i])
		}
		return one("L", list)
	case *types.AttributeValueMemberM:
		m := make(map[string]any, len(v.Value))
		for k, e := range v.Value {
			m[k] = typedValue(e)
		}
		return one("M", m)
	case *types.AttributeValueMemberSS:
		return one("SS", v.Value)
	case *types.AttributeValueMemberNS:
		return one("NS", v.Value)
	case *types.AttributeValueMemberBS:
		return one("BS", v.Value)
	}
	return one("NULL", true)
}

type csvExporter struct {
	out   *csv.Writer
	shape *shape
}

func (e *csvExporter) write(item map[string]types.AttributeValue) error {
	e.shape.countLost(item)
	cells := make([]string, len(e.shape.names))
	for i, name := range e.shape.names {
		if v, ok := item[name]; ok {
			cells[i] = cell(v)
		}
	}
	return e.out.Write(cells)
}

func (e *csvExporter) close() error {
	e.out.Flush()
	return e.out.Error()
}

// shape is which columns the rows have, and what is in them.
type shape struct {
	names []string // the keys first, then as they appear, or as they were asked for
	fixed bool     // they were asked for
	kinds map[string]parquet.Kind
	big   map[string]bool // has whole numbers that a double cannot hold
	lost  int             // values that came after the columns were learnt, and fit none
}

func newShape(keys, columns []string) *shape {
	s := &shape{names: slices.Clone(keys), kinds: map[string]parquet.Kind{}, big: map[string]bool{}}
	if len(columns) > 0 {
		s.names, s.fixed = columns, true
	}
	return s
}

// maxColumns bounds the columns of a file.
const maxColumns = 10_000

func (s *shape) learn(item map[string]types.AttributeValue) error {
	for name, v := range item {
		if !s.fixed && !slices.Contains(s.names, name) {
			if len(s.names) == maxColumns {
				return fmt.Errorf("the rows have more than %d different attributes: choose some with --columns, or --format jsonl", maxColumns)
			}
			s.names = append(s.names, name)
		}
		if kind, ok := columnKind(v); ok { // NULL says nothing
			s.join(name, kind)
		}
		if n, ok := v.(*types.AttributeValueMemberN); ok && !exact(n.Value) {
			s.big[name] = true
		}
	}
	return nil
}

// join makes the column fit for one more kind of value.
func (s *shape) join(name string, kind parquet.Kind) {
	old, seen := s.kinds[name]
	switch {
	case !seen || old == kind:
		s.kinds[name] = kind
	case old == parquet.Int64 && kind == parquet.Double || old == parquet.Double && kind == parquet.Int64:
		s.kinds[name] = parquet.Double
	default:
		s.kinds[name] = parquet.Text
	}
}

// kind is what the column of a file holds.
func (s *shape) kind(name string) parquet.Kind {
	if k := s.kinds[name]; k != parquet.Double || !s.big[name] {
		return k
	}
	return parquet.Text // so that no digit is lost
}

// countLost counts the attributes that have no column.
func (s *shape) countLost(item map[string]types.AttributeValue) {
	if s.fixed {
		return
	}
	for name := range item {
		if !slices.Contains(s.names, name) {
			s.lost++
		}
	}
}

// columnKind is what a column needs to hold the value and every digit of it.
func columnKind(v types.AttributeValue) (parquet.Kind, bool) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return parquet.Text, true
	case *types.AttributeValueMemberB:
		return parquet.Bytes, true
	case *types.AttributeValueMemberBOOL:
		return parquet.Boolean, true
	case *types.AttributeValueMemberNULL:
		return 0, false
	case *types.AttributeValueMemberN:
		if _, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
			return parquet.Int64, true
		}
		if exact(v.Value) {
			return parquet.Double, true
		}
		return parquet.Text, true
	}
	return parquet.JSON, true
}

// exact says whether a number keeps its digits in a double of 64 bits, which
// holds every decimal of up to 15 digits.
func exact(text string) bool {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return false
	}
	return strconv.FormatFloat(f, 'f', -1, 64) == text
}

func (s *shape) columns() []parquet.Column {
	out := make([]parquet.Column, len(s.names))
	for i, name := range s.names {
		out[i] = parquet.Column{Name: name, Kind: s.kind(name)}
	}
	return out
}

type parquetExporter struct {
	out   *parquet.Writer
	shape *shape
}

func (e *parquetExporter) write(item map[string]types.AttributeValue) error {
	e.shape.countLost(item)
	row := make([]any, len(e.shape.names))
	for i, name := range e.shape.names {
		v, ok := item[name]
		if _, null := v.(*types.AttributeValueMemberNULL); !ok || null {
			continue
		}
		if row[i] = columnValue(v, e.shape.kind(name)); row[i] == nil {
			e.shape.lost++
		}
	}
	return e.out.Write(row)
}

func (e *parquetExporter) close() error { return e.out.Close() }

// columnValue is a value as its column holds it; nil for what is of another
// type.
func columnValue(v types.AttributeValue, kind parquet.Kind) any {
	switch kind {
	case parquet.Text, parquet.JSON:
		return cell(v)
	case parquet.Bytes:
		if b, ok := v.(*types.AttributeValueMemberB); ok {
			return b.Value
		}
	case parquet.Boolean:
		if b, ok := v.(*types.AttributeValueMemberBOOL); ok {
			return b.Value
		}
	}
	n, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		return nil
	}
	switch kind {
	case parquet.Int64:
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
	case parquet.Double:
		if f, err := strconv.ParseFloat(n.Value, 64); err == nil {
			return f
		}
	}
	return nil
}
