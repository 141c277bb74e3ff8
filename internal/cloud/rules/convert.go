package rules

import (
	"fmt"
	"sync"

	"mote/internal/cloud/table"
	"mote/internal/iotsql/eval"
)

// maxItemBytes bounds what a result may grow to on its way into a table, which
// takes 400 KiB.
const maxItemBytes = 512 << 10

// items keeps the maps of items, which Tables does not keep.
var items = sync.Pool{New: func() any { return make(table.Item, 8) }}

func releaseItem(item table.Item) {
	if len(item) <= 64 {
		clear(item)
		items.Put(item)
	}
}

// converter makes attribute values of the values of IoT SQL: String→S,
// number→N with its digits, Boolean→BOOL, Null→NULL, Array→L, Object→M (AWS IoT
// developer guide, "DynamoDBv2").
type converter struct{ left int }

func (c *converter) spend(n int) error {
	if c.left -= n; c.left < 0 {
		return fmt.Errorf("the result of the statement is larger than %d bytes", maxItemBytes)
	}
	return nil
}

// fill adds the members of an Object to item.
func (c *converter) fill(item table.Item, v eval.Value) error {
	members := v.Members()
	for i := range members {
		m := &members[i]
		if err := c.spend(len(m.Name)); err != nil {
			return err
		}
		av, err := c.value(m.Value)
		if err != nil {
			return fmt.Errorf("attribute %.80q: %w", m.Name, err)
		}
		item[m.Name] = av
	}
	return nil
}

func (c *converter) value(v eval.Value) (table.Value, error) {
	if err := c.spend(1); err != nil {
		return table.Value{}, err
	}
	switch v.Kind() {
	case eval.Bool:
		return table.Bool(v.Bool()), nil
	case eval.Int, eval.Decimal:
		return table.Number(v.Text())
	case eval.String:
		return table.String(v.Text()), c.spend(len(v.Text()))
	case eval.Array:
		list := make([]table.Value, len(v.Elems()))
		for i, e := range v.Elems() {
			var err error
			if list[i], err = c.value(e); err != nil {
				return table.Value{}, err
			}
		}
		return table.List(list...), nil
	case eval.Object:
		m := make(table.Item, len(v.Members()))
		return table.Map(m), c.fill(m, v)
	}
	return table.Null(), nil
}

// result makes one attribute value of a whole result: bytes of one that is not
// JSON, also of an empty one.
func (c *converter) result(r eval.Result) (table.Value, error) {
	raw, binary := r.Binary()
	if binary || r.Value().Kind() == eval.Undefined {
		return table.Binary(raw), nil
	}
	return c.value(r.Value())
}
