package table

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
	if _, err := checkItem(r.Item); err != nil {
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
	c, err := t.put(r.Item)
	if err != nil {
		return WriteResult{}, err
	}
	return db.writeOne(c, cond, &r.Condition, r.ReturnOld)
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
	c, err := t.remove(r.Key)
	if err != nil {
		return WriteResult{}, err
	}
	return db.writeOne(c, cond, &r.Condition, r.ReturnOld)
}

// writeOne commits one change under a condition.
func (db *DB) writeOne(c *change, cond *node, guard *Condition, returnOld bool) (WriteResult, error) {
	c.cond, c.returnItem, c.wantOld = cond, guard.ReturnItem, returnOld
	if err := db.commit(db.st.NewBatch(), c); err != nil {
		return WriteResult{}, err
	}
	r := WriteResult{Units: c.units()}
	if returnOld {
		r.Old = c.old
	}
	return r, nil
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
