package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"mote/internal/cloud/table"
)

// warmUp learns of the boards from the newest rows of the tables, so that the
// page is not empty after a start.
func (k *Console) warmUp(ctx context.Context) {
	now := time.Now()
	for _, t := range k.readingTables(warmTables) {
		if err := k.warmFrom(ctx, t, now); err != nil && ctx.Err() == nil {
			k.log.Warn("console could not read the newest rows", "table", t.Name, "err", err)
		}
	}
}

func (k *Console) warmFrom(ctx context.Context, t *table.Table, now time.Time) error {
	ids, _, err := k.partitions(ctx, t, maxBoards)
	if err != nil {
		return err
	}
	for _, id := range ids {
		rows, err := k.newest(t, id, nil, warmRows)
		if err != nil || ctx.Err() != nil {
			return err
		}
		slices.Reverse(rows)
		for _, row := range rows {
			if s, ok := sampleOfItem(row, now); ok {
				k.boards.add(s, s.at, "table "+t.Name)
			}
		}
	}
	return nil
}

// readingTables returns up to n tables that hold readings: their keys are id and time.
func (k *Console) readingTables(n int) []*table.Table {
	var out []*table.Table
	for _, t := range k.tables() {
		if len(out) < n && t.Hash.Name == idName && t.Hash.Kind != table.B && t.Range != nil && t.Range.Name == timeName && t.Range.Kind != table.B {
			out = append(out, t)
		}
	}
	return out
}

// tables describes the tables, in the order of their names, a hundred at most.
func (k *Console) tables() []*table.Table {
	names, _ := k.c.Tables.List("", 100)
	var out []*table.Table
	for _, name := range names {
		if t, err := k.c.Tables.Describe(name); err == nil { // else it was deleted just now
			out = append(out, t)
		}
	}
	return out
}

// partitions returns up to n hash keys of a table with a range key, and
// whether there are more. It reads one item of each partition: items of a
// partition lie together, so the next one begins after the highest sort key.
func (k *Console) partitions(ctx context.Context, t *table.Table, n int) (keys []table.Value, more bool, err error) {
	var start table.Item
	last, beyond := highest(t.Range.Kind), false
	for range 2 * n {
		page, err := k.c.Tables.Scan(table.ScanRequest{Reading: table.Reading{Table: t.Name, Limit: 1, StartKey: start}})
		if err != nil || len(page.Items) == 0 {
			return keys, false, err
		}
		hash := page.Items[0][t.Hash.Name]
		// A sort key beyond the highest one that was thought of: go on item by item.
		beyond = len(keys) > 0 && sameKey(keys[len(keys)-1], hash)
		if !beyond && len(keys) == n {
			return keys, true, nil
		}
		start = page.LastKey
		if !beyond {
			keys = append(keys, hash)
			start = table.Item{t.Hash.Name: hash, t.Range.Name: last}
		}
		if start == nil || ctx.Err() != nil {
			return keys, false, ctx.Err()
		}
	}
	return keys, true, nil
}

func sameKey(a, b table.Value) bool {
	return a.Kind == b.Kind && a.Str == b.Str && string(a.Bin) == string(b.Bin)
}

// highest is a key value that practically all others of its kind sort before.
func highest(kind table.Kind) table.Value {
	switch kind {
	case table.N:
		v, err := table.Number("9.9e125")
		if err != nil {
			panic(err)
		}
		return v
	case table.B:
		return table.Binary(slices.Repeat([]byte{0xff}, 32))
	}
	return table.String(strings.Repeat("\U0010ffff", 8))
}

// newest returns up to n rows of a partition, the newest first; unless above
// is nil, only those with a higher sort key.
func (k *Console) newest(t *table.Table, hash table.Value, above *table.Value, n int) ([]table.Item, error) {
	r := table.QueryRequest{
		Reading:      table.Reading{Table: t.Name, Limit: n, Names: map[string]string{"#h": t.Hash.Name}, Values: map[string]table.Value{":h": hash}},
		KeyCondition: "#h = :h", Descending: true,
	}
	if above != nil {
		r.Names["#r"], r.Values[":above"] = t.Range.Name, *above
		r.KeyCondition += " AND #r > :above"
	}
	page, err := k.c.Tables.Query(r)
	return page.Items, err
}
