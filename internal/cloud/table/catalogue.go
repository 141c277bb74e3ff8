package table

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"mote/internal/cloud/store"
)

// KeyAttr is one attribute of a table's key.
type KeyAttr struct {
	Name string
	Kind Kind // S, N or B
}

// Billing modes.
const (
	Provisioned   = "PROVISIONED"
	PayPerRequest = "PAY_PER_REQUEST"
)

// Tag is one tag of a table. Tags are kept and shown; they mean nothing here.
type Tag struct{ Key, Value string }

// Table describes a table. It does not change once it is made.
type Table struct {
	Name    string
	Hash    KeyAttr  // partition key
	Range   *KeyAttr // sort key, or nil
	Billing string   // Provisioned or PayPerRequest
	Read    int64    // provisioned capacity units: kept, never enforced
	Write   int64
	Class   string // TableClass: kept, without meaning here
	Tags    []Tag
	Created time.Time
	UUID    string
	ARN     string

	id uint32 // of its items' keys; never used again after the table is gone
}

func (t *Table) isKey(name string) bool {
	return name == t.Hash.Name || t.Range != nil && name == t.Range.Name
}

// Keys of the catalogue: the name of a table, or, which is no name, nextIDKey.
var nextIDKey = []byte{byte(store.SpaceTable), 0}

func catalogueKey(name string) []byte { return append([]byte{byte(store.SpaceTable)}, name...) }

// catalogueVersion is written into every record of the catalogue (FORMAT.md).
const catalogueVersion = 1

type record struct {
	Version int      `json:"version"`
	ID      uint32   `json:"id"`
	Hash    KeyAttr  `json:"hash"`
	Range   *KeyAttr `json:"range,omitempty"`
	Billing string   `json:"billing"`
	Read    int64    `json:"read,omitempty"`
	Write   int64    `json:"write,omitempty"`
	Class   string   `json:"class,omitempty"`
	Tags    []Tag    `json:"tags,omitempty"`
	Created int64    `json:"created"` // Unix milliseconds
	UUID    string   `json:"uuid"`
}

func (t *Table) record() record {
	return record{catalogueVersion, t.id, t.Hash, t.Range, t.Billing, t.Read, t.Write, t.Class, t.Tags, t.Created.UnixMilli(), t.UUID}
}

func (db *DB) fromRecord(name string, data []byte) (*Table, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("catalogue record of table %s: %w", name, err)
	}
	if r.Version != catalogueVersion {
		return nil, fmt.Errorf("catalogue record of table %s has version %d, this mote reads %d: use the mote that wrote it", name, r.Version, catalogueVersion)
	}
	return &Table{
		Name: name, Hash: r.Hash, Range: r.Range, Billing: r.Billing, Read: r.Read, Write: r.Write, Class: r.Class,
		Tags: r.Tags, Created: time.UnixMilli(r.Created), UUID: r.UUID, ARN: db.arn(name), id: r.ID,
	}, nil
}

func (db *DB) arn(name string) string {
	return "arn:aws:dynamodb:" + db.opt.Region + ":" + db.opt.Account + ":table/" + name
}

func (db *DB) loadCatalogue() error {
	tables := map[string]*Table{}
	db.tables.Store(&tables)
	space := []byte{byte(store.SpaceTable)}
	it, err := db.st.Iterator(space, store.PrefixEnd(space))
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if name := string(it.Key()[1:]); name == "\x00" {
			if len(it.Value()) != 4 {
				return fmt.Errorf("catalogue of tables: the next id has %d bytes, want 4", len(it.Value()))
			}
			db.nextID = binary.BigEndian.Uint32(it.Value())
		} else {
			t, err := db.fromRecord(name, it.Value())
			if err != nil {
				return err
			}
			tables[name] = t
		}
	}
	return it.Error()
}

// sweep removes the items of tables that are gone: a batch that was filled
// before a DeleteTable and committed after it leaves some, unreachable.
func (db *DB) sweep() error {
	known := map[uint32]bool{}
	for _, t := range *db.tables.Load() {
		known[t.id] = true
	}
	space := []byte{byte(store.SpaceItem)}
	it, err := db.st.Iterator(space, store.PrefixEnd(space))
	if err != nil {
		return err
	}
	defer it.Close()
	b := db.st.NewBatch()
	for ok := it.First(); ok; {
		if len(it.Key()) < prefixLen {
			b.Discard()
			return errDamaged
		}
		id := binary.BigEndian.Uint32(it.Key()[1:])
		start := appendTablePrefix(nil, id)
		end := store.PrefixEnd(start)
		if !known[id] && id < db.nextID {
			b.DeleteRange(start, end)
		}
		ok = it.SeekGE(end)
	}
	if err := it.Error(); err != nil {
		b.Discard()
		return err
	}
	return db.st.Commit(b)
}

// Describe returns the named table.
func (db *DB) Describe(name string) (*Table, error) {
	t, ok := (*db.tables.Load())[name]
	if !ok {
		return nil, &Error{Code: CodeNotFound, Message: "Requested resource not found: Table: " + name + " not found"}
	}
	return t, nil
}

// maxList is the largest page of List.
const maxList = 100

// List returns up to limit (0: 100) table names after the given one, in
// order, and the name to go on after, "" at the end.
func (db *DB) List(after string, limit int) (names []string, last string) {
	if limit <= 0 || limit > maxList {
		limit = maxList
	}
	tables := *db.tables.Load()
	names = make([]string, 0, len(tables))
	for name := range tables {
		if cmp.Compare(name, after) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > limit {
		return names[:limit], names[limit-1]
	}
	return names, ""
}

// Delete removes a table and its items, and returns what it was.
func (db *DB) Delete(name string) (*Table, error) {
	db.ddl.Lock()
	defer db.ddl.Unlock()
	t, err := db.Describe(name)
	if err != nil {
		return nil, err
	}
	b := db.st.NewBatch()
	b.Delete(catalogueKey(name))
	prefix := appendTablePrefix(nil, t.id)
	b.DeleteRange(prefix, store.PrefixEnd(prefix))
	if err := db.st.Commit(b); err != nil {
		return nil, err
	}
	db.setTable(name, nil)
	db.forgetCount(t.id)
	return t, nil
}
