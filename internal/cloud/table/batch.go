package table

// Limits of batches (DynamoDB API reference, BatchGetItem, BatchWriteItem).
const (
	maxBatchGet      = 100
	maxBatchWrite    = 25
	maxBatchGetBytes = 16 << 20
)

// BatchWrite is one write of a batch: Item is put, or the item with Key is
// removed; one of them is nil.
type BatchWrite struct {
	Table string
	Item  Item
	Key   Item
}

var errDuplicateKeys = invalid("Provided list of item keys contains duplicates")

// WriteBatch does all writes in one step; they are durable on return, or none
// is done. It returns their write capacity units; with measure those count the
// items before too.
func (db *DB) WriteBatch(writes []BatchWrite, measure bool) (units Costs, err error) {
	if len(writes) == 0 || len(writes) > maxBatchWrite {
		return nil, invalid("a batch has 1 to %d writes, not %d", maxBatchWrite, len(writes))
	}
	sizes := make([]int, len(writes))
	for i := range writes {
		if sizes[i], err = writes[i].check(); err != nil {
			return nil, err
		}
	}
	changes := make([]*change, len(writes))
	seen := make(map[string]bool, len(writes))
	for i, w := range writes {
		if changes[i], err = db.batchChange(w, sizes[i]); err != nil {
			return nil, err
		}
		key := string(changes[i].key)
		if seen[key] {
			return nil, errDuplicateKeys
		}
		seen[key] = true
		changes[i].wantOld = measure
	}
	b := db.st.NewBatch()
	for _, c := range changes {
		db.write(b, c)
	}
	if err := db.st.Commit(b); err != nil {
		return nil, err
	}
	units = Costs{}
	for _, c := range changes {
		units.Add(c.t.Name, c.totalUnits(), c.indexUnits...)
	}
	return units, nil
}

// check refuses what can be no item or key, and returns the size of the item.
func (w *BatchWrite) check() (size int, err error) {
	if w.Item == nil {
		return checkItem(w.Key)
	}
	return checkItem(w.Item)
}

func (db *DB) batchChange(w BatchWrite, size int) (*change, error) {
	t, err := db.table(w.Table)
	if err != nil {
		return nil, err
	}
	if w.Item != nil {
		return t.putChecked(w.Item, size, inKey) // DynamoDB words its refusals so
	}
	return t.remove(w.Key)
}

// BatchGet asks for items of one table.
type BatchGet struct {
	Table      string
	Keys       []Item
	Projection *string
	Names      map[string]string
	Attributes []string // AttributesToGet, from before expressions; nil: none
	Consistent bool
}

// BatchResult is the answer to BatchGets.
type BatchResult struct {
	Items map[string][]Item // by table; missing items are left out
	Left  map[string][]Item // keys that did not fit the answer, by table
	Units Costs             // read capacity units
}

// plannedGet is one BatchGet, checked.
type plannedGet struct {
	BatchGet
	t    *Table
	want *projection
	keys [][]byte
}

// GetBatch reads up to 100 items, and up to 16 MiB of them.
func (db *DB) GetBatch(gets []BatchGet) (BatchResult, error) {
	total := 0
	for _, g := range gets {
		total += len(g.Keys)
	}
	if total > maxBatchGet {
		return BatchResult{}, invalid("Too many items requested for the BatchGetItem call")
	}
	plans := make([]plannedGet, len(gets))
	for i, g := range gets {
		if err := plans[i].check(g); err != nil {
			return BatchResult{}, err
		}
	}
	for i := range plans {
		if err := plans[i].find(db); err != nil {
			return BatchResult{}, err
		}
	}
	r := BatchResult{map[string][]Item{}, map[string][]Item{}, Costs{}}
	room := maxBatchGetBytes
	for i := range plans {
		var err error
		if room, err = plans[i].read(db, &r, room); err != nil {
			return BatchResult{}, err
		}
	}
	return r, nil
}

func (g *plannedGet) check(request BatchGet) (err error) {
	g.BatchGet = request
	seen := map[string]bool{}
	for _, key := range g.Keys {
		if _, err := checkItem(key); err != nil {
			return err
		}
		text := string(appendMap(nil, key))
		if seen[text] {
			return errDuplicateKeys
		}
		seen[text] = true
	}
	g.want, err = projectionOf(g.Projection, g.Attributes, newScope(g.Names, nil))
	return err
}

func (g *plannedGet) find(db *DB) (err error) {
	if g.t, err = db.table(g.Table); err != nil {
		return err
	}
	for _, key := range g.Keys {
		k, err := g.t.encodeKey(key)
		if err != nil {
			return err
		}
		g.keys = append(g.keys, k)
	}
	return g.want.checkScalar(g.t)
}

// read reads the items into r while there is room, and returns the room left.
func (g *plannedGet) read(db *DB, r *BatchResult, room int) (int, error) {
	if r.Items[g.Table] == nil {
		r.Items[g.Table] = []Item{} // a table without any of the items is in the answer too
	}
	for i, key := range g.keys {
		if room <= 0 {
			r.Left[g.Table] = g.Keys[i:]
			return room, nil
		}
		item, size, err := db.read(g.t, key)
		if err != nil {
			return room, err
		}
		room -= size
		r.Units.Add(g.Table, readUnits(size, g.Consistent))
		if item != nil {
			r.Items[g.Table] = append(r.Items[g.Table], g.want.item(item))
		}
	}
	return room, nil
}
