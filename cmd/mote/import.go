//go:build !gateway

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"
)

// importCmd puts the rows of a file into a table.
type importCmd struct {
	apiFlags
	Table  string   `arg:"" help:"Name of the table."`
	File   string   `arg:"" optional:"" help:"File to read; default: standard input." placeholder:"FILE"`
	Format string   `help:"csv, or jsonl: plain JSON lines, or with types as DynamoDB's own exports; default: by the name of the file, else jsonl." enum:"csv,jsonl," default:"" placeholder:"FORMAT"`
	Text   []string `help:"Columns of a CSV file that are text even where they look like numbers." placeholder:"NAME"`
}

// Requests of an import: this many rows in each (DynamoDB API, BatchWriteItem)
// and so many under way at once.
const (
	importBatch  = 25
	importFlight = 8
)

// maxImportLine bounds a line of the file: an item of 400 KB with its types.
const maxImportLine = 4 << 20

// Run reads rows and writes them in batches. A row that has the keys of one
// that is there replaces it, so that an import that was cut off can be
// repeated.
func (c importCmd) Run(s *session) error {
	in, size, closeIn, err := c.open(s)
	if err != nil {
		return err
	}
	defer closeIn()
	cfg, err := c.config(s.ctx)
	if err != nil {
		return err
	}
	db := dynamodb.NewFromConfig(cfg)
	keys, err := describeKeys(s.ctx, db, c.Table, "")
	if err != nil {
		return rowFlags{Table: c.Table}.explain(s.ctx, db, err)
	}
	counted := &countedReader{in: in}
	rows, err := c.rows(counted, keys)
	if err != nil {
		return err
	}
	var done atomic.Int64
	defer showProgress(s.stderr, func() string { return importProgress(done.Load(), counted.n.Load(), size) })()
	err = c.write(s.ctx, db, rows, keys, &done)
	if s.ctx.Err() != nil {
		return fmt.Errorf("stopped after %d rows, which stay in %s: run the same import again to bring in the rest: rows of equal keys replace each other", done.Load(), c.Table)
	}
	if err != nil {
		return fmt.Errorf("after %d rows: %w", done.Load(), err)
	}
	fmt.Fprintf(s.stderr, "imported %d rows into %s\n", done.Load(), c.Table)
	return nil
}

func (c importCmd) open(s *session) (in io.Reader, size int64, closeIn func() error, err error) {
	if c.File == "" || c.File == "-" {
		return s.stdin, 0, func() error { return nil }, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, 0, nil, usageError{err}
	}
	if info, err := f.Stat(); err == nil {
		size = info.Size()
	}
	return f, size, f.Close, nil
}

// countedReader counts what was read.
type countedReader struct {
	in io.Reader
	n  atomic.Int64
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	r.n.Add(int64(n))
	return n, err
}

func importProgress(rows, read, size int64) string {
	if size == 0 {
		return fmt.Sprintf("imported %d rows", rows)
	}
	const width = 30
	filled := int(min(read, size) * width / size)
	return fmt.Sprintf("[%s%s] %3d %%, %d rows", strings.Repeat("#", filled), strings.Repeat(".", width-filled), min(read, size)*100/size, rows)
}

// row is one row of the file.
type row struct {
	item map[string]types.AttributeValue
	line int
}

// nextRow returns the next row, or io.EOF. Other errors name the line.
type nextRow func() (*row, error)

func (c importCmd) rows(in io.Reader, keys tableKeys) (nextRow, error) {
	format := c.Format
	if format == "" {
		switch ext := strings.ToLower(filepath.Ext(c.File)); ext {
		case ".csv":
			format = "csv"
		case ".parquet":
			return nil, usagef("%s: Parquet files are exported, not imported: convert it to CSV or JSON lines", c.File)
		}
	}
	var next nextRow
	if format == "csv" {
		var err error
		if next, err = csvRows(in, keys, c.Text); err != nil {
			return nil, err
		}
	} else {
		next = lineRows(in, keys)
	}
	return next, nil
}

// csvRows reads a CSV file with a line of names. Keys have the table's types;
// an empty cell is no attribute.
func csvRows(in io.Reader, keys tableKeys, text []string) (nextRow, error) {
	r := csv.NewReader(bufio.NewReaderSize(in, 1<<16))
	r.ReuseRecord = true
	first, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: a CSV file begins with a line of column names")
	}
	if err != nil {
		return nil, fmt.Errorf("read the names of the columns: %w", err)
	}
	names := slices.Clone(first)
	names[0] = strings.TrimPrefix(names[0], "\ufeff") // spreadsheets begin files with a mark
	for i, name := range names {
		if name == "" || slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("column %d is called %q: every column needs a name of its own", i+1, name)
		}
	}
	for _, k := range keys.names() {
		if !slices.Contains(names, k) {
			return nil, fmt.Errorf("the file has no column %s, which is a key of the table: its columns are %s", k, strings.Join(names, ", "))
		}
	}
	return func() (*row, error) {
		cells, err := r.Read()
		if errors.Is(err, csv.ErrFieldCount) {
			line, _ := r.FieldPos(0)
			return nil, fmt.Errorf("line %d: the row has %s, and the file %d", line, count(int64(len(cells)), "column"), len(names))
		}
		if err != nil {
			return nil, csvError(err)
		}
		item := make(map[string]types.AttributeValue, len(cells))
		for i, cell := range cells {
			if cell == "" {
				continue
			}
			item[names[i]] = &types.AttributeValueMemberS{Value: cell}
			if !slices.Contains(text, names[i]) && decimalForm.MatchString(cell) {
				item[names[i]] = &types.AttributeValueMemberN{Value: cell}
			}
		}
		line, _ := r.FieldPos(0)
		return &row{item: item, line: line}, keys.fit(item, line)
	}, nil
}

// csvError says where a CSV file is none.
func csvError(err error) error {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		return err
	}
	return fmt.Errorf("line %d, at byte %d: %w: a cell with quotes in it begins and ends with one, and has the others twice", at.Line, at.Column, at.Err)
}

// fit gives the keys of a row the types that the table has.
func (k tableKeys) fit(item map[string]types.AttributeValue, line int) error {
	for _, key := range []*keyAttribute{k.hash, k.rangeKey} {
		if key == nil {
			continue
		}
		v, ok := item[key.name]
		if !ok {
			return fmt.Errorf("line %d: the key %s is missing", line, key.name)
		}
		switch {
		case key.kind == types.ScalarAttributeTypeB:
			data, err := base64.StdEncoding.DecodeString(cell(v))
			if err != nil {
				return fmt.Errorf("line %d: the key %s is binary, want base64: %w", line, key.name, err)
			}
			item[key.name] = &types.AttributeValueMemberB{Value: data}
		case key.kind == types.ScalarAttributeTypeS:
			item[key.name] = &types.AttributeValueMemberS{Value: cell(v)}
		default:
			item[key.name] = &types.AttributeValueMemberN{Value: cell(v)}
		}
	}
	return nil
}

// lineRows reads JSON lines: plain objects, or {"Item":{…}} with the types of
// the DynamoDB API.
func lineRows(in io.Reader, keys tableKeys) nextRow {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<16), maxImportLine)
	number := 0
	return func() (*row, error) {
		for lines.Scan() {
			number++
			text := bytes.TrimSpace(lines.Bytes())
			if len(text) == 0 {
				continue
			}
			item, typed, err := lineItem(text)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", number, err)
			}
			r := &row{item: item, line: number}
			if typed {
				return r, nil
			}
			return r, keys.fit(item, number)
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("line %d: %w (a line has at most %d bytes)", number+1, err, maxImportLine)
		}
		return nil, io.EOF
	}
}

// lineItem reads one line.
func lineItem(text []byte) (item map[string]types.AttributeValue, typed bool, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var row map[string]any
	if err := dec.Decode(&row); err != nil {
		return nil, false, fmt.Errorf("not a JSON object: %w", err)
	}
	if dec.More() {
		return nil, false, errors.New("more than one JSON object in the line")
	}
	if whole, ok := row["Item"].(map[string]any); ok && len(row) == 1 {
		item, err := typedMembers(whole)
		return item, true, err
	}
	item = make(map[string]types.AttributeValue, len(row))
	for name, v := range row {
		item[name] = fromPlain(v)
	}
	return item, false, nil
}

// fromPlain is the value of plain JSON.
func fromPlain(v any) types.AttributeValue {
	switch v := v.(type) {
	case string:
		return &types.AttributeValueMemberS{Value: v}
	case json.Number:
		return &types.AttributeValueMemberN{Value: v.String()}
	case bool:
		return &types.AttributeValueMemberBOOL{Value: v}
	case []any:
		list := make([]types.AttributeValue, len(v))
		for i := range v {
			list[i] = fromPlain(v[i])
		}
		return &types.AttributeValueMemberL{Value: list}
	case map[string]any:
		m := make(map[string]types.AttributeValue, len(v))
		for name, e := range v {
			m[name] = fromPlain(e)
		}
		return &types.AttributeValueMemberM{Value: m}
	}
	return &types.AttributeValueMemberNULL{Value: true}
}

func typedMembers(row map[string]any) (map[string]types.AttributeValue, error) {
	out := make(map[string]types.AttributeValue, len(row))
	for name, v := range row {
		value, err := fromTyped(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = value
	}
	return out, nil
}

// fromTyped is the value of the DynamoDB API's JSON, such as {"N":"1"}.
func fromTyped(v any) (types.AttributeValue, error) {
	one, ok := v.(map[string]any)
	if !ok || len(one) != 1 {
		return nil, errors.New(`want a value with its type, such as {"S":"text"}`)
	}
	for kind, x := range one {
		text, isText := x.(string)
		list, isList := x.([]any)
		members, isMap := x.(map[string]any)
		switch {
		case kind == "S" && isText:
			return &types.AttributeValueMemberS{Value: text}, nil
		case kind == "N" && isText:
			return &types.AttributeValueMemberN{Value: text}, nil
		case kind == "B" && isText:
			data, err := base64.StdEncoding.DecodeString(text)
			return &types.AttributeValueMemberB{Value: data}, err
		case kind == "BOOL":
			if b, ok := x.(bool); ok {
				return &types.AttributeValueMemberBOOL{Value: b}, nil
			}
		case kind == "NULL":
			return &types.AttributeValueMemberNULL{Value: true}, nil
		case kind == "M" && isMap:
			m, err := typedMembers(members)
			return &types.AttributeValueMemberM{Value: m}, err
		case kind == "L" && isList:
			return typedList(list)
		case isList:
			return typedSet(kind, list)
		}
		return nil, fmt.Errorf("bad value of type %.20q", kind)
	}
	panic("unreachable: the object has one member")
}

func typedList(list []any) (types.AttributeValue, error) {
	out := &types.AttributeValueMemberL{Value: make([]types.AttributeValue, len(list))}
	for i := range list {
		v, err := fromTyped(list[i])
		if err != nil {
			return nil, err
		}
		out.Value[i] = v
	}
	return out, nil
}

func typedSet(kind string, list []any) (types.AttributeValue, error) {
	texts := make([]string, len(list))
	blobs := make([][]byte, len(list))
	for i := range list {
		var ok bool
		if texts[i], ok = list[i].(string); !ok {
			return nil, fmt.Errorf("bad value of type %.20q: want a list of texts", kind)
		}
		if kind == "BS" {
			var err error
			if blobs[i], err = base64.StdEncoding.DecodeString(texts[i]); err != nil {
				return nil, err
			}
		}
	}
	switch kind {
	case "SS":
		return &types.AttributeValueMemberSS{Value: texts}, nil
	case "NS":
		return &types.AttributeValueMemberNS{Value: texts}, nil
	case "BS":
		return &types.AttributeValueMemberBS{Value: blobs}, nil
	}
	return nil, fmt.Errorf("no type %.20q", kind)
}

// write puts the rows in batches, several at once. Rows of equal keys go
// through one writer, so that the last of them stays.
func (c importCmd) write(ctx context.Context, db *dynamodb.Client, next nextRow, keys tableKeys, done *atomic.Int64) error {
	group, ctx := errgroup.WithContext(ctx)
	queues := make([]chan keyedRow, importFlight)
	for i := range queues {
		queues[i] = make(chan keyedRow, importBatch)
		w := &importWriter{db: db, table: c.Table, in: queues[i], done: done}
		group.Go(func() error { return w.run(ctx) })
	}
	err := distribute(ctx, next, keys, queues)
	for _, q := range queues {
		close(q)
	}
	if werr := group.Wait(); werr != nil {
		return werr
	}
	return err
}

// keyedRow is a row with its keys as one text.
type keyedRow struct {
	*row
	key string
}

func distribute(ctx context.Context, next nextRow, keys tableKeys, queues []chan keyedRow) error {
	seed := maphash.MakeSeed()
	for {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var key strings.Builder
		for _, name := range keys.names() {
			text := ""
			if v, ok := r.item[name]; ok { // else the table refuses the row
				text = cell(v)
			}
			fmt.Fprintf(&key, "%d %s", len(text), text)
		}
		row := keyedRow{r, key.String()}
		select {
		case queues[maphash.String(seed, row.key)%uint64(len(queues))] <- row:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// importWriter writes the rows of one queue.
type importWriter struct {
	db    *dynamodb.Client
	table string
	in    <-chan keyedRow
	done  *atomic.Int64
}

func (w *importWriter) run(ctx context.Context) error {
	for row := range w.in {
		batch := []keyedRow{row}
		for len(batch) < importBatch {
			row, ok := <-w.in
			if !ok {
				break
			}
			batch = append(batch, row)
		}
		if err := w.put(ctx, batch); err != nil {
			return err
		}
		w.done.Add(int64(len(batch)))
	}
	return nil
}

// put writes one batch; what the table has no room for at the moment is tried
// again.
func (w *importWriter) put(ctx context.Context, batch []keyedRow) error {
	last := map[string]int{} // a batch has each key once
	var requests []types.WriteRequest
	for _, row := range batch {
		request := types.WriteRequest{PutRequest: &types.PutRequest{Item: row.item}}
		if i, ok := last[row.key]; ok {
			requests[i] = request
			continue
		}
		last[row.key] = len(requests)
		requests = append(requests, request)
	}
	for pause := 50 * time.Millisecond; len(requests) > 0; pause = min(2*pause, 5*time.Second) {
		got, err := w.db.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{w.table: requests}})
		if err != nil {
			return w.blame(ctx, batch, err)
		}
		if requests = got.UnprocessedItems[w.table]; len(requests) == 0 {
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// blame finds the row that a batch was refused for, by putting each by itself.
func (w *importWriter) blame(ctx context.Context, batch []keyedRow, err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	if api.ErrorCode() == "ValidationException" && len(batch) > 1 {
		for _, row := range batch {
			if err := w.put(ctx, []keyedRow{row}); err != nil {
				return err
			}
		}
		return nil
	}
	err = fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	if len(batch) == 1 {
		err = fmt.Errorf("line %d%s: %w", batch[0].line, suspect(batch[0].item), err)
	}
	return err
}

// Limits of DynamoDB ("Service, account, and table quotas in Amazon DynamoDB").
const (
	maxRow    = 400 << 10 // bytes of an item
	maxDigits = 38
)

// suspect names the column that a refused row is refused for, as far as the row
// shows it: the longest one of an item that is too large, or a number that is
// none of DynamoDB's.
func suspect(item map[string]types.AttributeValue) string {
	total, longest, size, number := 0, "", 0, ""
	for _, name := range slices.Sorted(maps.Keys(item)) {
		text := cell(item[name])
		if total += len(name) + len(text); len(text) > size {
			longest, size = name, len(text)
		}
		if _, ok := item[name].(*types.AttributeValueMemberN); ok && (!decimalForm.MatchString(text) || len(text) > maxDigits) {
			number = name
		}
	}
	switch {
	case total > maxRow:
		return fmt.Sprintf(", of %d bytes, %d of them in the column %s", total, size, longest)
	case number != "":
		return fmt.Sprintf(", column %s (with --text %s it is text)", number, number)
	}
	return ""
}
