package dynamodb

import (
	"encoding/json"
	"strconv"

	"mote/internal/cloud/table"
)

// touched is an item, or the key of one, that a request wrote.
type touched struct {
	table string
	item  table.Item
}

// collectionMetrics adds ItemCollectionMetrics when the request asks for them
// and the table of the item has local indexes (Amazon DynamoDB API Reference,
// "ItemCollectionMetrics").
func (h *Handler) collectionMetrics(a *answer, in *input, name string, it table.Item) error {
	if !is(in.returnMetrics, "SIZE") {
		return nil
	}
	c, ok, err := h.db.Collection(name, it)
	if err != nil || !ok {
		return tolerant(err)
	}
	a.member("ItemCollectionMetrics")
	a.out = appendCollection(a.out, c)
	return nil
}

// collectionsMetrics is collectionMetrics of several writes: each collection is
// told once.
func (h *Handler) collectionsMetrics(a *answer, in *input, writes []touched) error {
	if !is(in.returnMetrics, "SIZE") {
		return nil
	}
	byTable := map[string][]json.RawMessage{}
	seen := map[string]bool{}
	for _, w := range writes {
		c, ok, err := h.db.Collection(w.table, w.item)
		if err != nil || !ok {
			if err = tolerant(err); err != nil {
				return err
			}
			continue
		}
		if id := w.table + "\x00" + string(appendItem(nil, c.Key)); !seen[id] {
			seen[id] = true
			byTable[w.table] = append(byTable[w.table], appendCollection(nil, c))
		}
	}
	if len(byTable) == 0 {
		return nil
	}
	a.member("ItemCollectionMetrics")
	a.out = appendObject(a.out, byTable, func(out []byte, _ string, list []json.RawMessage) []byte {
		return appendList(out, list, func(out []byte, one json.RawMessage) []byte { return append(out, one...) })
	})
	return nil
}

// tolerant passes over the refusal of a table that went after the write, which
// was done.
func tolerant(err error) error {
	if _, gone := err.(*table.Error); gone {
		return nil
	}
	return err
}

// appendCollection appends a collection with the whole gigabytes between which
// its size is.
func appendCollection(out []byte, c table.Collection) []byte {
	out = appendItem(append(out, `{"ItemCollectionKey":`...), c.Key)
	least := float64(c.Bytes >> 30)
	out = strconv.AppendFloat(append(out, `,"SizeEstimateRangeGB":[`...), least, 'f', 1, 64)
	out = strconv.AppendFloat(append(out, ','), least+1, 'f', 1, 64)
	return append(out, "]}"...)
}
