package table

import (
	"bytes"

	"mote/internal/cloud/store"
)

// watched says whether something hangs on the images of the table's items, so
// that every change of them needs the old one: an index, a stream.
func (t *Table) watched() bool {
	now := t.now()
	return now != nil && (len(now.Indexes) > 0 || now.TTL != nil || now.streaming())
}

// generation is one state of what hangs on tables. A batch with blind writes
// remembers the one in which it was filled.
type generation struct {
	guard func(*store.Batch) error
}

// nextGeneration begins a new one: batches that were filled before are looked
// at again when they are committed.
func (db *DB) nextGeneration() {
	g := new(generation)
	g.guard = func(b *store.Batch) error {
		if db.generation.Load() == g {
			return nil
		}
		return db.revise(b)
	}
	db.generation.Store(g)
}

// writeBlind adds the change to b if it can be taken before the commit.
func (db *DB) writeBlind(b *store.Batch, c *change) bool {
	g := db.generation.Load() // before the look at the table: a change of the table in between is noticed by the guard
	if !c.atOnce(b) {
		return false
	}
	c.set(b)
	b.Guard(g.guard)
	return true
}

// revise does for blind writes what [DB.apply] does for others: their table
// was watched by nothing when the batch was filled, which may have changed
// before it is committed. It runs while no other batch is applied.
func (db *DB) revise(b *store.Batch) error {
	type write struct{ key, value []byte }
	tables := map[uint32]*Table{}
	for _, t := range *db.tables.Load() {
		if t.watched() {
			tables[t.id] = t
		}
	}
	var writes []write
	err := b.Writes(func(key, value []byte) {
		if key[0] == byte(store.SpaceItem) && tables[tableOf(key)] != nil {
			writes = append(writes, write{bytes.Clone(key), bytes.Clone(value)})
		}
	})
	if err != nil {
		return err
	}
	before := map[string][]byte{} // what the batch left so far at its keys
	for _, w := range writes {
		old, own := before[string(w.key)]
		if !own {
			if old, _, err = db.st.Get(w.key); err != nil {
				return err
			}
		}
		before[string(w.key)] = w.value
		c := &change{t: tables[tableOf(w.key)], key: w.key}
		if err := c.images(old, w.value); err != nil {
			return err
		}
		if err := db.follow(b, c.t, c); err != nil {
			return err
		}
	}
	return nil
}

// images sets the images of c from their stored forms; empty is none.
func (c *change) images(old, next []byte) (err error) {
	if len(old) > 0 {
		if c.old, err = c.t.decode(c.key, old); err != nil {
			return err
		}
	}
	if len(next) > 0 {
		c.item, err = c.t.decode(c.key, next)
	}
	return err
}

// follow writes into b what hangs on the item of c, which goes from c.old to
// c.item. t is the table as it is now.
func (db *DB) follow(b *store.Batch, t *Table, c *change) error {
	for _, x := range t.Indexes {
		if x.Status != IndexDeleting {
			if units := x.move(b, c); units > 0 {
				c.indexUnits = append(c.indexUnits, IndexUnits{x.Name, x.Global, units})
			}
		}
	}
	if e := t.TTL; e != nil && e.Status != IndexDeleting {
		e.move(b, t, c)
	}
	if t.streaming() {
		t.Stream.record(db, b, c)
	}
	return nil
}

// move brings the entry of an item from its old to its new image, and returns
// the write units it takes.
func (x *Index) move(b *store.Batch, c *change) (units float64) {
	oldKey, oldValue := x.entry(c.old, c.key)
	key, value := x.entry(c.item, c.key)
	if bytes.Equal(oldKey, key) && bytes.Equal(oldValue, value) {
		return 0
	}
	if oldKey != nil && !bytes.Equal(oldKey, key) {
		b.Delete(oldKey)
		units = writeUnits(len(oldKey) + len(oldValue))
	}
	if key != nil {
		b.Set(key, value)
		units += writeUnits(len(key) + len(value))
	}
	return units
}

// entry returns what the index holds of an item, nil when it is not in it:
// because there is no item, an attribute of the index's key is missing, or it
// can be no key. The last comes only from items that were there before the
// index.
func (x *Index) entry(item Item, itemKey []byte) (key, value []byte) {
	if item == nil {
		return nil, nil
	}
	for i, k := range x.keys() {
		v := item.get(k.Name)
		if v == nil || k.check(v, inKey) != nil || v.checkKeySize(i == 0) != nil {
			return nil, nil
		}
	}
	key, err := x.entries.appendKey(nil, item, inKey)
	if err != nil {
		return nil, nil
	}
	key = append(key, itemKey[prefixLen:]...)
	value, _ = x.entries.appendItem(nil, x.project(item), nil)
	return key, value
}

// project returns what the index holds of an item besides keys, and maybe keys.
func (x *Index) project(item Item) Item {
	switch x.Projection {
	case ProjectAll:
		return item
	case ProjectKeys:
		return nil
	}
	some := Item{}
	for _, name := range x.Include {
		if v, ok := item[name]; ok {
			some[name] = v
		}
	}
	return some
}

// refusedBy returns what check has against an index: of several that refuse,
// DynamoDB names the first by name.
func (t *Table) refusedBy(check func(x *Index) error) error {
	var first *Index
	var refusal error
	for _, x := range t.Indexes {
		if x.Status == IndexDeleting || first != nil && first.Name < x.Name {
			continue
		}
		if err := check(x); err != nil {
			first, refusal = x, err
		}
	}
	return refusal
}

// checkIndexKeys refuses an item with an attribute that can be no key of an
// index that wants it as one.
func (t *Table) checkIndexKeys(item Item) error {
	return t.refusedBy(func(x *Index) error { return x.checkItem(item) })
}

func (x *Index) checkItem(item Item) error {
	for i, k := range x.keys() {
		if v := item.get(k.Name); v != nil {
			if err := x.checkKey(&k, v, i == 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (x *Index) mismatch(k *KeyAttr, v *Value) error {
	return invalidParam("Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s", k.Name, k.Kind, v.Kind, x.Name)
}

func (x *Index) checkKey(k *KeyAttr, v *Value, isHash bool) error {
	if v.Kind != k.Kind {
		return x.mismatch(k, v)
	}
	if k.checkEmpty(v) != nil {
		what := "string"
		if k.Kind == B {
			what = "binary"
		}
		return invalid("One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty %s value. IndexName: %s, IndexKey: %s", what, x.Name, k.Name)
	}
	return v.checkKeySize(isHash)
}

// checkGivenTypes refuses values of the wrong type that an update itself has for
// keys of indexes. DynamoDB says that in the words of a put; what the update
// computes of the item, it refuses in others: see checkUpdated.
func (u *update) checkGivenTypes(t *Table) error {
	given := Item{}
	for _, a := range u.actions {
		if a.section == sectionSet && len(a.path) == 1 && a.value.kind == nodeValue {
			given[a.path[0].name] = a.value.value
		}
	}
	return t.refusedBy(func(x *Index) error {
		for _, k := range x.keys() {
			if v, ok := given[k.Name]; ok && v.Kind != k.Kind {
				return x.mismatch(&k, &v)
			}
		}
		return nil
	})
}

// checkUpdatedKeys refuses what an update has made of an attribute that is a
// key of an index. What it has left as it was may be none: an item that was
// there before the index.
func (t *Table) checkUpdatedKeys(old, item Item) error {
	return t.refusedBy(func(x *Index) error { return x.checkUpdated(old, item) })
}

func (x *Index) checkUpdated(old, item Item) error {
	for i, k := range x.keys() {
		v, was := item.get(k.Name), old.get(k.Name)
		if v == nil || was != nil && equal(v, was) {
			continue
		}
		switch err := x.checkKey(&k, v, i == 0); {
		case v.Kind != k.Kind:
			return invalidParam("The update expression attempted to update the secondary index key to unsupported type")
		case k.checkEmpty(v) != nil:
			return invalid("One or more parameter values are not valid. The update expression attempted to update a secondary index key to a value that is not supported. The AttributeValue for a key attribute cannot contain an empty %s value.",
				map[Kind]string{S: "string", B: "binary"}[k.Kind])
		case err != nil:
			return err
		}
	}
	return nil
}

// totalUnits are the units of the change and of what it did to indexes.
func (c *change) totalUnits() float64 {
	total := c.units()
	for _, u := range c.indexUnits {
		total += u.Units
	}
	return total
}
