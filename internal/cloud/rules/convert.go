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

// list sets dst, which is clear, to the members of an Object, of which there are
// as many.
func (c *converter) list(dst []table.Member, v eval.Value) error {
	members := v.Members()
	for i := range members {
		m := &members[i]
		dst[i].Name = m.Name
		if err := c.member(&dst[i].Value, m); err != nil {
			return err
		}
	}
	return nil
}

// fill adds the members of an Object to item.
func (c *converter) fill(item table.Item, v eval.Value) error {
	members := v.Members()
	for i := range members {
		var av table.Value
		if err := c.member(&av, &members[i]); err != nil {
			return err
		}
		item[members[i].Name] = av
	}
	return nil
}

func (c *converter) member(dst *table.Value, m *eval.Member) error {
	if err := c.spend(len(m.Name)); err != nil {
		return err
	}
	if err := c.set(dst, &m.Value); err != nil {
		return fmt.Errorf("attribute %.80q: %w", m.Name, err)
	}
	return nil
}

func (c *converter) value(v eval.Value) (out table.Value, err error) {
	err = c.set(&out, &v)
	return out, err
}

// set sets dst, which is zero, member by member: a Value is large.
func (c *converter) set(dst *table.Value, v *eval.Value) (err error) {
	if err := c.spend(1); err != nil {
		return err
	}
	switch v.Kind() {
	case eval.Bool:
		dst.Kind, dst.Bool = table.BOOL, v.Bool()
	case eval.Int, eval.Decimal:
		dst.Kind = table.N
		dst.Str, err = table.NumberText(v.Text())
	case eval.String:
		dst.Kind, dst.Str = table.S, v.Text()
		err = c.spend(len(dst.Str))
	case eval.Array:
		dst.Kind, dst.List = table.L, make([]table.Value, len(v.Elems()))
		for i := range dst.List {
			if err := c.set(&dst.List[i], &v.Elems()[i]); err != nil {
				return err
			}
		}
	case eval.Object:
		dst.Kind, dst.Map = table.M, make(table.Item, len(v.Members()))
		return c.fill(dst.Map, *v)
	default:
		dst.Kind = table.NULL
	}
	return err
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
