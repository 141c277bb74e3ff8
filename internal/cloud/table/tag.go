package table

import (
	"encoding/json"
	"slices"

	"mote/internal/cloud/store"
)

// SetTags gives a table more tags; one with a key that it has replaces it.
func (db *DB) SetTags(name string, tags []Tag) error {
	return db.alter(name, func(t *Table) error {
		if err := checkTags(tags); err != nil {
			return err
		}
		all := slices.DeleteFunc(slices.Clone(t.Tags), func(old Tag) bool {
			return slices.ContainsFunc(tags, func(tag Tag) bool { return tag.Key == old.Key })
		})
		t.Tags = append(all, tags...)
		return checkTags(t.Tags)
	})
}

// RemoveTags takes tags from a table; keys that it does not have are passed over.
func (db *DB) RemoveTags(name string, keys []string) error {
	return db.alter(name, func(t *Table) error {
		t.Tags = slices.DeleteFunc(slices.Clone(t.Tags), func(tag Tag) bool { return slices.Contains(keys, tag.Key) })
		return nil
	})
}

// alter puts a changed description in the place of a table's; it is durable
// when alter returns. An error of f leaves the table as it is.
func (db *DB) alter(name string, f func(t *Table) error) error {
	old, err := db.Describe(name)
	if err != nil {
		return err
	}
	if old.restoring != "" {
		return old.beingCreated()
	}
	return db.alterWith(name, old.id, func(t *Table, _ *store.Batch) error { return f(t) })
}

// alterWith is alter for the table with an id, which may have gone or have been
// made anew since; f may add writes to the batch.
func (db *DB) alterWith(name string, id uint32, f func(t *Table, b *store.Batch) error) error {
	db.ddl.Lock()
	defer db.ddl.Unlock()
	old, err := db.Describe(name)
	if err != nil {
		return err
	}
	if old.id != id {
		return &Error{Code: CodeNotFound, Message: "Requested resource not found: Table: " + name + " not found"}
	}
	t := *old
	b := db.st.NewBatch()
	if err := f(&t, b); err != nil {
		b.Discard()
		return err
	}
	data, err := json.Marshal(t.record())
	if err != nil {
		b.Discard()
		return err
	}
	b.Note(catalogueKey(name), data) // on a full disk too: protection is lifted, streams and indexes are removed so
	b.OnApplied(func() {
		if b.Applied() {
			db.setTable(name, &t)
		}
	})
	return db.st.Commit(b)
}
