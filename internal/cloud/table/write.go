package table

import (
	"mote/internal/cloud/store"
)

// Condition guards a write. The zero Condition always holds.
type Condition struct {
	Expression *string           // nil: none
	Names      map[string]string // "#x" → attribute name
	Values     map[string]Value  // ":x" → value
	ReturnItem bool              // give the item back in the Error when the condition fails
}

// parse returns the checked condition, nil when there is none.
func (c *Condition) parse() (*node, error) {
	s := newScope(c.Names, c.Values)
	var n *node
	if c.Expression != nil {
		var err error
		if n, err = parseChecked("ConditionExpression", *c.Expression, s); err != nil {
			return nil, err
		}
	}
	return n, s.unused()
}

func parseChecked(kind, src string, s *scope) (*node, error) {
	n, p, err := parseCondition(kind, src)
	if err != nil {
		return nil, err
	}
	return n, checkCondition(p, n, s)
}

// PutRequest asks for an item to be written over the one with the same key.
type PutRequest struct {
	Table     string
	Item      Item
	Condition Condition
	ReturnOld bool
}

// DeleteRequest asks for an item to be removed.
type DeleteRequest struct {
	Table     string
	Key       Item // exactly the key attributes
	Condition Condition
	ReturnOld bool
}

// WriteResult is what a write has to tell.
type WriteResult struct {
	Old   Item    // the item before, when it was asked for and there was one
	Units float64 // write capacity units: 1 for each KiB begun
}

// PutItem writes an item if the condition holds; it is durable on return.
func (db *DB) PutItem(r PutRequest) (WriteResult, error) {
	size, err := checkItem(r.Item)
	if err != nil {
		return WriteResult{}, err
	}
	cond, err := r.Condition.parse()
	if err != nil {
		return WriteResult{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return WriteResult{}, err
	}
	b := db.st.NewBatch()
	if err := db.put(b, t, r.Item); err != nil {
		b.Discard()
		return WriteResult{}, err
	}
	key, _ := t.appendKey(nil, r.Item, inItem) // put has checked it
	w := write{db: db, t: t, key: key, cond: cond, returnOld: r.ReturnOld, returnItem: r.Condition.ReturnItem, size: size}
	return w.commit(b)
}

// DeleteItem removes an item if the condition holds; that is durable on
// return. A missing item is no error.
func (db *DB) DeleteItem(r DeleteRequest) (WriteResult, error) {
	if _, err := checkItem(r.Key); err != nil {
		return WriteResult{}, err
	}
	cond, err := r.Condition.parse()
	if err != nil {
		return WriteResult{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return WriteResult{}, err
	}
	key, err := t.encodeKey(r.Key)
	if err != nil {
		return WriteResult{}, err
	}
	b := db.st.NewBatch()
	b.Delete(key)
	w := write{db: db, t: t, key: key, cond: cond, returnOld: r.ReturnOld, returnItem: r.Condition.ReturnItem}
	return w.commit(b)
}

// write is one write of one item on its way to the disk.
type write struct {
	db         *DB
	t          *Table
	key        []byte // store key
	cond       *node  // nil: none
	returnOld  bool
	returnItem bool
	size       int // bytes of the new item; of the old one when that is larger

	old Item
}

// commit commits b, which holds the write, if the condition holds.
func (w *write) commit(b *store.Batch) (WriteResult, error) {
	if w.cond != nil || w.returnOld {
		// Read once now, so that the read under the commit's lock finds it in memory.
		if _, _, err := w.db.st.Get(w.key); err != nil {
			b.Discard()
			return WriteResult{}, err
		}
		b.BeforeApply(w.look)
	}
	if err := w.db.st.Commit(b); err != nil {
		return WriteResult{}, err
	}
	r := WriteResult{Units: writeUnits(w.size)}
	if w.returnOld {
		r.Old = w.old
	}
	return r, nil
}

// look reads the old item and holds the condition against it. It runs while no
// other batch is applied.
func (w *write) look() error {
	data, found, err := w.db.st.Get(w.key)
	if err != nil {
		return err
	}
	if found {
		if w.old, err = w.t.decode(w.key, data); err != nil {
			return err
		}
		old, _ := checkMap(w.old, maxDepth)
		w.size = max(w.size, old)
	}
	if w.cond == nil || w.cond.holds(w.old) {
		return nil
	}
	refusal := &Error{Code: CodeConditionCheck, Message: "The conditional request failed"}
	if w.returnItem {
		refusal.Item = w.old
	}
	return refusal
}

// decode reads a stored item.
func (t *Table) decode(key, data []byte) (Item, error) {
	item := make(Item, 8)
	if err := t.decodeKey(item, key); err != nil {
		return nil, err
	}
	return item, decodeItem(item, data)
}

// writeUnits is 1 for each KiB begun; readUnits 1 for each 4 KiB begun, half
// of that for a read that need not be consistent.
func writeUnits(bytes int) float64 { return float64(max(1, (bytes+1023)/1024)) }

func readUnits(bytes int, consistent bool) float64 {
	units := float64(max(1, (bytes+4095)/4096))
	if !consistent {
		units /= 2
	}
	return units
}
