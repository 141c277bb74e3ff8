package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mote/internal/cloud/table"
)

// tableInfo is what the page is told of a table.
type tableInfo struct {
	Name  string `json:"name"`
	Hash  string `json:"hash"`
	Range string `json:"range,omitempty"`
	Items int64  `json:"items"` // counted a while ago
}

func (k *Console) serveTables(w http.ResponseWriter, _ *http.Request) {
	out := []tableInfo{}
	for _, t := range k.tables() {
		info := tableInfo{Name: t.Name, Hash: t.Hash.Name, Items: k.c.Tables.Count(t).Items}
		if t.Range != nil {
			info.Range = t.Range.Name
		}
		out = append(out, info)
	}
	writeJSON(w, out)
}

// latest are the newest rows of a table. A missing value is null.
type latest struct {
	Table   string      `json:"table"`
	Columns []string    `json:"columns"` // the keys first
	Keys    int         `json:"keys"`    // how many of the columns are keys
	Rows    [][]*string `json:"rows"`
	Ordered bool        `json:"ordered"` // the newest first; else the table has no sort key
	Partial bool        `json:"partial"` // there are more partitions than were compared
}

func (k *Console) serveRows(w http.ResponseWriter, r *http.Request) {
	limit := rowsDefault
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			writeError(w, http.StatusBadRequest, fmt.Errorf("limit %q is not a number from 1 to %d", clip(text, 20), rowsMax))
			return
		}
		limit = min(n, rowsMax)
	}
	name := r.FormValue("table")
	if name == "" {
		writeError(w, http.StatusBadRequest, fmt.Errorf("no table is named: add ?table=NAME; /console/api/tables lists them"))
		return
	}
	t, err := k.c.Tables.Describe(name)
	if err != nil {
		k.writeFailure(w, r, err)
		return
	}
	items, partial, err := k.latestItems(r.Context(), t, limit)
	if err != nil {
		k.writeFailure(w, r, err)
		return
	}
	columns, keys := columnsOf(t, items)
	writeJSON(w, latest{t.Name, columns, keys, cells(items, columns), t.Range != nil, partial})
}

// latestItems returns the items with the highest sort keys, over all
// partitions as far as the limits allow. A table without a sort key has no
// order: then it is any items.
func (k *Console) latestItems(ctx context.Context, t *table.Table, limit int) (items []table.Item, partial bool, err error) {
	if t.Range == nil {
		page, err := k.c.Tables.Scan(table.ScanRequest{Reading: table.Reading{Table: t.Name, Limit: limit}})
		return page.Items, page.LastKey != nil, err
	}
	keys, partial, err := k.partitions(ctx, t, rowsPartitions)
	for _, key := range keys {
		if err != nil || ctx.Err() != nil {
			return nil, false, cmp.Or(err, ctx.Err())
		}
		var above *table.Value
		if len(items) == limit { // older rows than the last of these do not matter
			low := items[limit-1][t.Range.Name]
			above = &low
		}
		var rows []table.Item
		rows, err = k.newest(t, key, above, limit)
		items = newestOf(append(items, rows...), t.Range, limit)
	}
	return items, partial, err
}

// newestOf sorts items by the sort key, the highest first, and cuts them to n.
func newestOf(items []table.Item, key *table.KeyAttr, n int) []table.Item {
	slices.SortStableFunc(items, func(a, b table.Item) int { return -compareKey(a[key.Name], b[key.Name]) })
	if len(items) > n {
		clear(items[n:])
		items = items[:n]
	}
	return items
}

func compareKey(a, b table.Value) int {
	switch a.Kind {
	case table.N:
		x, _ := strconv.ParseFloat(a.Str, 64)
		y, _ := strconv.ParseFloat(b.Str, 64)
		return cmp.Compare(x, y)
	case table.B:
		return bytes.Compare(a.Bin, b.Bin)
	}
	return cmp.Compare(a.Str, b.Str)
}

// columnsOf returns the keys and then the other attributes by name.
func columnsOf(t *table.Table, items []table.Item) (columns []string, keys int) {
	columns = []string{t.Hash.Name}
	if t.Range != nil {
		columns = []string{t.Range.Name, t.Hash.Name} // for readings: when, then who
	}
	keys = len(columns)
	seen := map[string]bool{}
	for _, item := range items {
		for name := range item {
			seen[name] = true
		}
	}
	for _, name := range columns {
		delete(seen, name)
	}
	for name := range seen {
		columns = append(columns, name)
	}
	slices.Sort(columns[keys:])
	return columns[:min(len(columns), rowsColumns)], keys
}

func cells(items []table.Item, columns []string) [][]*string {
	rows := make([][]*string, 0, len(items))
	for _, item := range items {
		row := make([]*string, len(columns))
		for i, name := range columns {
			if v, ok := item[name]; ok {
				text := textOf(&v)
				row[i] = &text
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// textOf is a value for people, cut to maxText bytes.
func textOf(v *table.Value) string {
	var b strings.Builder
	writeValue(&b, v)
	return clip(b.String(), maxText)
}

// writeValue writes v until b is long enough to be cut.
func writeValue(b *strings.Builder, v *table.Value) {
	if b.Len() > maxText {
		return
	}
	switch v.Kind {
	case table.S, table.N:
		b.WriteString(v.Str[:min(len(v.Str), maxText+1)])
	case table.B:
		b.WriteString(base64.StdEncoding.EncodeToString(v.Bin[:min(len(v.Bin), maxText)]))
	case table.BOOL:
		b.WriteString(strconv.FormatBool(v.Bool))
	case table.L:
		writeAll(b, "[", "]", len(v.List), func(i int) { writeValue(b, &v.List[i]) })
	case table.M:
		names := make([]string, 0, len(v.Map))
		for name := range v.Map {
			names = append(names, name)
		}
		slices.Sort(names)
		writeAll(b, "{", "}", len(names), func(i int) {
			b.WriteString(names[i] + ": ")
			member := v.Map[names[i]]
			writeValue(b, &member)
		})
	case table.SS, table.NS:
		writeAll(b, "{", "}", len(v.Set), func(i int) { b.WriteString(v.Set[i]) })
	case table.BS:
		writeAll(b, "{", "}", len(v.Set), func(i int) { b.WriteString(base64.StdEncoding.EncodeToString([]byte(v.Set[i]))) })
	default:
		b.WriteString("null")
	}
}

func writeAll(b *strings.Builder, open, end string, n int, one func(int)) {
	b.WriteString(open)
	for i := 0; i < n && b.Len() <= maxText; i++ {
		if i > 0 {
			b.WriteString(", ")
		}
		one(i)
	}
	b.WriteString(end)
}
