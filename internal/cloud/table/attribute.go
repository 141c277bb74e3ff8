package table

import (
	"maps"

	"mote/internal/cloud/store"
)

// SetAttribute adds to b the setting of one attribute of the item with a key:
// the other attributes stay, and an item that is not there comes into being.
// The old item is read when b is committed, so that the change is isolated from
// those of others. An *[Error] is permanent: DynamoDB's text for an unknown
// table, a key that does not fit the schema, an attribute of the key, too large
// an item.
//
// Only when other writes make the item too large between this call and the
// commit, late gets that error and the item stays as it is; late must not
// block. Key and value must stay as they are until the commit.
func (db *DB) SetAttribute(b *store.Batch, table string, key Item, name string, value Value, late func(error)) error {
	t, err := db.table(table)
	if err != nil {
		return err
	}
	k, err := t.encodeKey(key)
	if err != nil {
		return err
	}
	if _, ok := key[name]; ok {
		return invalidParam("Cannot update attribute %s. This attribute is part of the key", name)
	}
	if err := t.checkIndexKeys(Item{name: value}); err != nil {
		return err
	}
	next := func(old Item) (Item, error) { return with(old, key, name, value) }
	if err := db.tryNext(b, t, k, next); err != nil {
		return err
	}
	db.write(b, &change{t: t, key: k, next: func(old Item) (Item, error) {
		item, err := next(old)
		if err == nil || old == nil {
			return item, err
		}
		late(err)
		return old, nil
	}})
	return nil
}

// tryNext computes the next image of the item as it is now.
func (db *DB) tryNext(b *store.Batch, t *Table, key []byte, next func(Item) (Item, error)) error {
	c := &change{t: t, key: key}
	if err := c.look(b); err != nil {
		return err
	}
	_, err := next(c.old)
	return err
}

// with returns old, or the item of key alone, with one attribute set.
func with(old, key Item, name string, value Value) (Item, error) {
	if old == nil {
		old = key
	}
	item := maps.Clone(old)
	item[name] = value
	size, err := checkMap(item, maxNested)
	if err == nil && size > maxItemSize {
		err = invalid("Item size to update has exceeded the maximum allowed size")
	}
	return item, err
}

// Remove adds to b the removal of the item with a key; a missing one is no
// error. An *[Error] is permanent: DynamoDB's text for an unknown table, or a
// key that does not fit the schema.
func (db *DB) Remove(b *store.Batch, table string, key Item) error {
	t, err := db.table(table)
	if err != nil {
		return err
	}
	c, err := t.remove(key)
	if err != nil {
		return err
	}
	db.write(b, c)
	return nil
}
