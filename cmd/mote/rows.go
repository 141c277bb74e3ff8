//go:build !gateway

package main

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// rows writes items as a table, a JSON array or CSV. The columns of a table
// and of CSV are the key attributes and then, by name, all others of the first
// page; JSON has every attribute of every item.
type rows struct {
	out, notes io.Writer
	format     string
	chosen     []string // the columns that were asked for; nil: all
	columns    []string // set by the first page, or chosen
	keys       []string
	count      int
	omitted    map[string]bool

	tab *tabwriter.Writer
	csv *csv.Writer
}

func newRows(out, notes io.Writer, format string, keys []string) *rows {
	r := &rows{out: out, notes: notes, format: format, keys: keys, omitted: map[string]bool{}}
	r.tab = tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	r.csv = csv.NewWriter(out)
	return r
}

func (r *rows) write(items []map[string]types.AttributeValue) error {
	if r.format == "json" {
		return r.writeJSON(items)
	}
	if r.columns == nil && len(items) > 0 {
		if r.columns = r.chosen; r.columns == nil {
			r.columns = columnsOf(items, r.keys)
		}
		if err := r.line(r.columns); err != nil {
			return err
		}
	}
	for _, item := range items {
		cells := make([]string, len(r.columns))
		for name, v := range item {
			if i := slices.Index(r.columns, name); i >= 0 {
				cells[i] = cell(v)
			} else if r.chosen == nil {
				r.omitted[name] = true
			}
		}
		if err := r.line(cells); err != nil {
			return err
		}
		r.count++
	}
	return r.flush()
}

func (r *rows) line(cells []string) error {
	if r.format == "csv" {
		return r.csv.Write(cells)
	}
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	_, err := fmt.Fprintln(r.tab, strings.Join(cells, "\t"))
	return err
}

func (r *rows) flush() error {
	if r.format == "csv" {
		r.csv.Flush()
		return r.csv.Error()
	}
	return r.tab.Flush()
}

func (r *rows) writeJSON(items []map[string]types.AttributeValue) error {
	for _, item := range items {
		plain := map[string]any{}
		for name, v := range item {
			if r.chosen == nil || slices.Contains(r.chosen, name) {
				plain[name] = plainValue(v)
			}
		}
		data, err := json.Marshal(plain)
		if err != nil {
			return err
		}
		sep := ",\n"
		if r.count == 0 {
			sep = "[\n"
		}
		if _, err := fmt.Fprintf(r.out, "%s%s", sep, data); err != nil {
			return err
		}
		r.count++
	}
	return nil
}

func (r *rows) close() error {
	if r.format == "json" {
		end := "\n]\n"
		if r.count == 0 {
			end = "[]\n"
		}
		_, err := io.WriteString(r.out, end)
		return err
	}
	if r.count == 0 {
		fmt.Fprintln(r.notes, "no rows")
	}
	if len(r.omitted) > 0 {
		names := make([]string, 0, len(r.omitted))
		for n := range r.omitted {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Fprintf(r.notes, "left out, since the first rows do not have them: %s (--output json has everything)\n", strings.Join(names, ", "))
	}
	return r.flush()
}

func columnsOf(items []map[string]types.AttributeValue, keys []string) []string {
	seen := map[string]bool{}
	for _, item := range items {
		for name := range item {
			seen[name] = true
		}
	}
	var others []string
	for name := range seen {
		if !slices.Contains(keys, name) {
			others = append(others, name)
		}
	}
	sort.Strings(others)
	return append(slices.Clone(keys), others...)
}

// cell is a value as text: scalars as they are, the rest as JSON.
func cell(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	case *types.AttributeValueMemberB:
		return base64.StdEncoding.EncodeToString(v.Value)
	}
	data, err := json.Marshal(plainValue(v))
	if err != nil {
		return "?"
	}
	return string(data)
}

// plainValue is a value as plain JSON: numbers keep their digits, binary
// becomes base64 text, sets become arrays.
func plainValue(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return json.Number(v.Value)
	case *types.AttributeValueMemberB:
		return v.Value
	case *types.AttributeValueMemberBOOL:
		return v.Value
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i := range v.Value {
			list[i] = plainValue(v.Value[i])
		}
		return list
	case *types.AttributeValueMemberM:
		m := make(map[string]any, len(v.Value))
		for k, e := range v.Value {
			m[k] = plainValue(e)
		}
		return m
	case *types.AttributeValueMemberSS:
		return v.Value
	case *types.AttributeValueMemberNS:
		numbers := make([]json.Number, len(v.Value))
		for i, n := range v.Value {
			numbers[i] = json.Number(n)
		}
		return numbers
	case *types.AttributeValueMemberBS:
		return v.Value
	}
	return nil // NULL
}
