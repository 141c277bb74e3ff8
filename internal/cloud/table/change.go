package table

import "mote/internal/cloud/store"

// change is one write of one item. Whatever puts, changes or removes an item
// makes one and hands it to [DB.write]; nothing else touches the items of the
// store, except for a whole table that goes.
type change struct {
	t   *Table
	key []byte // store key; the batch copies it

	item  Item   // new image; nil: the item goes (or the change is blind, and only value is known)
	value []byte // its stored form; nil: the item goes. The batch copies it
	size  int    // bytes of the new image as DynamoDB counts them

	cond       *node                        // nil: none
	next       func(old Item) (Item, error) // makes item of the old image; nil: item and value are set
	wantOld    bool                         // old is asked for: an answer or its units need it
	returnItem bool                         // a failed condition gives the old image back

	old     Item // image before; nil: none was there, or nobody asked
	oldSize int  // bytes of old

	expires    bool         // the engine removes the item, whose time is over
	indexUnits []IndexUnits // of the indexes that changed
}

// blind says whether the change can be written without a look at the old item.
func (c *change) blind() bool {
	return c.cond == nil && c.next == nil && !c.wantOld && !c.t.watched()
}

// atOnce says whether b can take the change before it is committed.
func (c *change) atOnce(b *store.Batch) bool { return c.blind() && !b.Deferred() }

// write adds the change to b: at once when it is blind, else when b is applied
// (see [store.Batch.BeforeApply]), with the result in c. The changes of one
// batch see each other, in their order: behind one that waits, all wait. c.key, c.item and c.value must then
// stay as they are until the commit.
func (db *DB) write(b *store.Batch, c *change) {
	if db.writeBlind(b, c) {
		return
	}
	b.BeforeApply(func() error { return db.apply(b, c) })
}

// apply is the one place where an item changes with both images at hand. It
// runs while no other batch is applied. An error leaves nothing in b.
func (db *DB) apply(b *store.Batch, c *change) error {
	if err := c.look(b); err != nil {
		return err
	}
	if c.cond != nil && !c.cond.holds(c.old) {
		return c.refusal()
	}
	if c.next != nil {
		if err := c.advance(); err != nil {
			return err
		}
	}
	if c.old == nil && c.value == nil {
		return nil // there was nothing, and is nothing
	}
	t := c.t.now()
	if t == nil {
		return nil // the table went while the change waited, and the item with it
	}
	c.set(b)
	return db.follow(b, t, c)
}

// getter reads one state: of a batch, what it would leave; of a snapshot.
type getter interface {
	Get(key []byte) (value []byte, found bool, err error)
}

// look reads the old image.
func (c *change) look(b getter) error {
	data, found, err := b.Get(c.key)
	if err != nil || !found {
		return err
	}
	if c.old, err = c.t.decode(c.key, data); err != nil {
		return err
	}
	c.oldSize, _ = checkMap(c.old, maxDepth)
	return nil
}

// refusal is the answer to a condition that does not hold.
func (c *change) refusal() error {
	e := &Error{Code: CodeConditionCheck, Message: "The conditional request failed"}
	if c.returnItem {
		e.Item = c.old
	}
	return e
}

// advance makes the new image of the old one.
func (c *change) advance() (err error) {
	if c.item, err = c.next(c.old); err != nil {
		return err
	}
	if c.item == nil {
		return nil
	}
	if c.size, err = checkMap(c.item, maxNested); err != nil {
		return err
	}
	if c.size > maxItemSize {
		return invalid("Item size to update has exceeded the maximum allowed size")
	}
	c.value, _ = c.t.appendItem(nil, c.item, nil)
	return nil
}

func (c *change) set(b *store.Batch) {
	if c.value == nil {
		b.Delete(c.key)
	} else {
		b.Set(c.key, c.value)
	}
}

// units is what the change costs: write capacity units of the larger image.
func (c *change) units() float64 { return writeUnits(max(c.size, c.oldSize)) }

// put returns the change that writes an item, checked. where words the refusal
// of its key.
func (t *Table) put(item Item, where keyPlace) (*change, error) {
	size, err := checkItem(item)
	if err != nil {
		return nil, err
	}
	return t.putChecked(item, size, where)
}

// putChecked is put for an item that was checked and has this size.
func (t *Table) putChecked(item Item, size int, where keyPlace) (*change, error) {
	key, err := t.appendKey(nil, item, where)
	if err != nil {
		return nil, err
	}
	if err := t.checkIndexKeys(item); err != nil {
		return nil, err
	}
	value, _ := t.appendItem(nil, item, nil)
	return &change{t: t, key: key, item: item, value: value, size: size}, nil
}

// remove returns the change that removes the item with a key.
func (t *Table) remove(key Item) (*change, error) {
	k, err := t.encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &change{t: t, key: k}, nil
}

// update returns the change that updates the item with a key.
func (t *Table) update(key Item, u *update) (*change, error) {
	k, err := t.encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := u.checkKeys(t); err != nil {
		return nil, err
	}
	if err := u.checkGivenTypes(t); err != nil {
		return nil, err
	}
	return &change{t: t, key: k, next: func(old Item) (Item, error) {
		item, err := u.run(old, key)
		if err == nil {
			err = t.checkUpdatedKeys(old, item)
		}
		return item, err
	}}, nil
}

// guard puts the change under a condition, which may be nil and is refused when it
// looks into a key. wantOld has the old image read in any case.
func (c *change) guard(cond *node, from *Condition, wantOld bool) error {
	c.cond, c.returnItem, c.wantOld = cond, from.ReturnItem, wantOld
	return c.t.checkScalar(cond.paths()...)
}

// result is what the change has to tell once it is done.
func (c *change) result(returnOld bool) WriteResult {
	r := WriteResult{Units: c.totalUnits(), Indexes: c.indexUnits}
	if returnOld {
		r.Old = c.old
	}
	return r
}

// commit commits the batch that holds nothing but c.
func (db *DB) commit(b *store.Batch, c *change) error {
	if !c.blind() {
		// Read once now, so that the read under the commit's lock finds it in memory.
		if _, _, err := db.st.Get(c.key); err != nil {
			b.Discard()
			return err
		}
	}
	db.write(b, c)
	return db.st.Commit(b)
}
