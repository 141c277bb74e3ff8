package table

// Condition guards a write. The zero Condition always holds.
type Condition struct {
	Expression *string           // nil: none
	Names      map[string]string // "#x" → attribute name
	Values     map[string]Value  // ":x" → value
	ReturnItem bool              // give the item back in the Error when the condition fails

	Expected []AttributeCondition // in place of Expression: the parameter from before expressions
	AnyOf    bool                 // ConditionalOperator OR: one of Expected is enough
}

// parse returns the checked condition, nil when there is none.
func (c *Condition) parse() (*node, error) {
	s := newScope(c.Names, c.Values)
	n, err := c.parseIn(s)
	if err != nil {
		return nil, err
	}
	return n, s.unused()
}

// parseIn is parse in a scope that other expressions share.
func (c *Condition) parseIn(s *scope) (*node, error) {
	if c.Expression != nil {
		return parseChecked("ConditionExpression", *c.Expression, s)
	}
	return legacyCondition(c.Expected, c.AnyOf)
}

// PutRequest asks for an item to be written over the one with the same key.
type PutRequest struct {
	Table     string
	Item      Item
	Condition Condition
	ReturnOld bool
	Measure   bool // Units shall count the item before too
}

// DeleteRequest asks for an item to be removed.
type DeleteRequest struct {
	Table     string
	Key       Item // exactly the key attributes
	Condition Condition
	ReturnOld bool
	Measure   bool // Units shall count the item before too
}

// ReturnValues says what an update gives back.
type ReturnValues uint8

// What an update gives back: nothing, the whole item before or after, or what
// it holds before or after at the places that were written to.
const (
	ReturnNone ReturnValues = iota
	ReturnAllOld
	ReturnUpdatedOld
	ReturnAllNew
	ReturnUpdatedNew
)

// UpdateRequest asks for an item to be changed, or made when there is none.
type UpdateRequest struct {
	Table      string
	Key        Item              // exactly the key attributes
	Expression *string           // UpdateExpression; its placeholders are those of Condition
	Updates    []AttributeUpdate // in its place: AttributeUpdates, from before expressions
	Condition  Condition
	Return     ReturnValues
	Measure    bool // Units shall count the item before too
}

// WriteResult is what a write has to tell.
type WriteResult struct {
	Old        Item         // the item before, when it was asked for and there was one
	Attributes Item         // of an update: what it was asked to give back; nil when that is nothing
	Units      float64      // write capacity units: 1 for each KiB begun, with those of the indexes
	Indexes    []IndexUnits // of Units: of the indexes that changed
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
	c, err := t.putChecked(r.Item, size, inItem)
	if err != nil {
		return WriteResult{}, err
	}
	if err := c.guard(cond, &r.Condition, r.ReturnOld || r.Measure); err != nil {
		return WriteResult{}, err
	}
	if err := db.commit(db.st.NewBatch(), c); err != nil {
		return WriteResult{}, err
	}
	return c.result(r.ReturnOld), nil
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
	if err := c.guard(cond, &r.Condition, r.ReturnOld || r.Measure); err != nil {
		return WriteResult{}, err
	}
	if err := db.commit(db.st.NewBatch(), c); err != nil {
		return WriteResult{}, err
	}
	return c.result(r.ReturnOld), nil
}

// UpdateItem changes an item, or makes it, if the condition holds; that is
// durable on return.
func (db *DB) UpdateItem(r UpdateRequest) (WriteResult, error) {
	if _, err := checkItem(r.Key); err != nil {
		return WriteResult{}, err
	}
	u, cond, err := r.parse()
	if err != nil {
		return WriteResult{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return WriteResult{}, err
	}
	c, err := t.update(r.Key, u)
	if err != nil {
		return WriteResult{}, err
	}
	if err := c.guard(cond, &r.Condition, true); err != nil {
		return WriteResult{}, err
	}
	if err := db.commit(db.st.NewBatch(), c); err != nil {
		return WriteResult{}, err
	}
	done := c.result(false)
	done.Attributes = c.returned(u, r.Return)
	return done, nil
}

func (r *UpdateRequest) parse() (u *update, cond *node, err error) {
	s := newScope(r.Condition.Names, r.Condition.Values)
	if r.Expression != nil {
		u, err = parseUpdateChecked(*r.Expression, s)
	} else {
		u, err = legacyUpdate(r.Updates)
	}
	if err != nil {
		return nil, nil, err
	}
	if cond, err = r.Condition.parseIn(s); err != nil {
		return nil, nil, err
	}
	return u, cond, s.unused()
}

// returned is what an update gives back.
func (c *change) returned(u *update, what ReturnValues) (it Item) {
	switch what {
	case ReturnAllOld:
		it = c.old
	case ReturnAllNew:
		it = c.item
	case ReturnUpdatedOld:
		it = projectionTo(u.paths()).item(c.old)
	case ReturnUpdatedNew:
		it = projectionTo(u.paths()).item(c.item)
	}
	if len(it) == 0 {
		return nil
	}
	return it
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
