package sim

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// errEnd is the end of a series.
var errEnd = io.EOF

// RecordingError says where in a recording something is wrong.
type RecordingError struct {
	File   string
	Line   int    // counted from 1; 0 when it is not about one line
	Column string // its name, or ""
	Err    error
}

func (e *RecordingError) Error() string {
	at := e.File
	if e.Line > 0 {
		at += ":" + strconv.Itoa(e.Line)
	}
	if e.Column != "" {
		at += ": column " + strconv.Quote(e.Column)
	}
	return at + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *RecordingError) Unwrap() error { return e.Err }

// fieldNames are what a board measures, in the order of its frame.
var fieldNames = [3]string{"dust", "temp", "humid"}

// ReplayOptions say how a recording becomes frames.
type ReplayOptions struct {
	// Map gives, for each of dust, temp and humid, the column that it is read
	// from. A text that is no column but a number is that number in every
	// frame.
	Map map[string]string
	// Constant is sent for a field that Map leaves out; "" means "0".
	Constant string
	// Loop begins again at the end.
	Loop bool
}

// Replay reads a recording, a CSV file with a header line, row by row, however
// long it is. A row with a gap in one of the columns used is passed over.
type Replay struct {
	name     string
	file     *os.File
	rows     *csv.Reader
	loop     bool
	columns  [3]int // index in a row, or -1
	constant [3]string
	header   []string
	gaps     int64
	played   int64 // rows since the file was begun
}

// OpenReplay opens a recording and checks the map against its header line.
func OpenReplay(path string, o ReplayOptions) (*Replay, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	r := &Replay{name: path, file: f, loop: o.Loop}
	if err = r.begin(); err == nil {
		err = r.bind(o)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

// Close closes the file.
func (r *Replay) Close() error { return r.file.Close() }

// Gaps returns how many rows were passed over because a value was missing.
func (r *Replay) Gaps() int64 { return r.gaps }

// begin reads the header line.
func (r *Replay) begin() error {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return r.at(0, "", err)
	}
	r.rows = csv.NewReader(r.file)
	r.rows.ReuseRecord = true
	header, err := r.rows.Read()
	if errors.Is(err, io.EOF) {
		return r.at(0, "", errors.New("it is empty; a recording begins with a line of column names"))
	} else if err != nil {
		return r.parseError(err)
	}
	r.header, r.played = slices.Clone(header), 0
	r.header[0] = strings.TrimPrefix(r.header[0], "\ufeff") // as spreadsheets begin a file
	return nil
}

func (r *Replay) bind(o ReplayOptions) error {
	for field := range o.Map {
		if !slices.Contains(fieldNames[:], field) {
			return fmt.Errorf("field map: a board has no field %.40q; it has %s", field, strings.Join(fieldNames[:], ", "))
		}
	}
	used := false
	for i, field := range fieldNames {
		want, mapped := o.Map[field]
		r.columns[i] = slices.IndexFunc(r.header, func(name string) bool { return strings.TrimSpace(name) == want })
		switch {
		case !mapped:
			r.columns[i], r.constant[i] = -1, o.Constant
			if o.Constant == "" {
				r.constant[i] = "0"
			}
		case r.columns[i] >= 0:
			used = true
		case number(want):
			r.constant[i] = want
		default:
			return r.at(1, want, fmt.Errorf("there is no such column for %s; the file has %s", field, shortList(r.header)))
		}
		if r.columns[i] < 0 && !number(r.constant[i]) {
			return fmt.Errorf("the constant %.40q for %s is not a number", r.constant[i], field)
		}
	}
	if !used {
		return r.at(0, "", fmt.Errorf("no column is used; map a field to one (dust=COLUMN): the file has %s", shortList(r.header)))
	}
	return nil
}

func shortList(names []string) string {
	const most = 30
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func number(s string) bool {
	v, err := strconv.ParseFloat(s, 64)
	return err == nil && v-v == 0 && !strings.ContainsAny(s, "xXpP_") // finite, decimal
}

// gap reports the usual ways to write a missing value.
func gap(s string) bool {
	switch strings.ToLower(s) {
	case "", "na", "n/a", "nan", "null", "-":
		return true
	}
	return false
}

// Next returns the values of the next row without a gap, and io.EOF at the end.
func (r *Replay) Next() (Values, error) {
	for {
		row, err := r.rows.Read()
		switch {
		case errors.Is(err, io.EOF) && r.loop && r.played > 0:
			if err := r.begin(); err != nil {
				return Values{}, err
			}
			continue
		case errors.Is(err, io.EOF):
			return Values{}, errEnd
		case err != nil:
			return Values{}, r.parseError(err)
		}
		v, whole, err := r.values(row)
		if err != nil {
			return Values{}, err
		}
		if whole {
			r.played++
			return v, nil
		}
		r.gaps++
	}
}

// values picks the mapped cells of a row; whole is false when one is missing.
func (r *Replay) values(row []string) (v Values, whole bool, err error) {
	into := [3]*string{&v.Dust, &v.Temp, &v.Humid}
	whole = true
	for i, column := range r.columns {
		if column < 0 {
			*into[i] = r.constant[i]
			continue
		}
		cell := strings.TrimSpace(row[column])
		if gap(cell) {
			whole = false
			continue
		}
		if !number(cell) || len(cell) > 40 {
			line, _ := r.rows.FieldPos(column)
			return v, false, r.at(line, r.header[column], fmt.Errorf("%.40q is not a number", cell))
		}
		*into[i] = strings.Clone(cell)
	}
	return v, whole, nil
}

func (r *Replay) at(line int, column string, err error) error {
	return &RecordingError{File: r.name, Line: line, Column: column, Err: err}
}

func (r *Replay) parseError(err error) error {
	var bad *csv.ParseError
	if !errors.As(err, &bad) {
		return r.at(0, "", err)
	}
	if errors.Is(bad.Err, csv.ErrFieldCount) {
		return r.at(bad.Line, "", fmt.Errorf("the row does not have the %d columns of the header line", len(r.header)))
	}
	return r.at(bad.Line, "", fmt.Errorf("at character %d: %w", bad.Column, bad.Err))
}
