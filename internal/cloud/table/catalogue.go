package table

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
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
	Ceiling Ceiling
	Tags    []Tag
	Created time.Time
	UUID    string
	ARN     string

	Protected bool     // DeleteTable is refused
	Indexes   []*Index // the local ones first
	TTL       *TTL     // nil: items do not expire
	Stream    *Stream  // the latest, which may be closed; nil: there was none in the last 24 hours

	Source    string                 // ARN of the backup that the table was made of, or ""
	restoring string                 // id of that backup while items still come from it, else ""
	nextIndex uint16                 // id of the next index less 1; ids are never used again
	id        uint32                 // of its items' keys; never used again after the table is gone
	live      *atomic.Pointer[Table] // what the table is now; nil inside when it is gone. All that describe it share it

	// Of the entries of an index, which are items of a table too (see [Index]).
	index uint16    // id of the index; 0: the items themselves
	tail  []KeyAttr // key attributes of the table, which follow those of the index
}

// now returns the table as it is now, nil when it is gone.
func (t *Table) now() *Table { return t.live.Load() }

func (t *Table) isKey(name string) bool {
	return name == t.Hash.Name || t.Range != nil && name == t.Range.Name ||
		slices.ContainsFunc(t.tail, func(k KeyAttr) bool { return k.Name == name })
}

// Keys of the catalogue: the name of a table, or, which is no name, nextIDKey.
var nextIDKey = []byte{byte(store.SpaceTable), 0}

func catalogueKey(name string) []byte { return append([]byte{byte(store.SpaceTable)}, name...) }

// catalogueVersion is written into every record of the catalogue (FORMAT.md).
// Version 2 has what version 1 does not, and 3 is that of a table whose items
// are not all there yet: a mote that would pass over it must not open the table.
const catalogueVersion = 3

type record struct {
	Version int      `json:"version"`
	ID      uint32   `json:"id"`
	Hash    KeyAttr  `json:"hash"`
	Range   *KeyAttr `json:"range,omitempty"`
	Billing string   `json:"billing"`
	Read    int64    `json:"read,omitempty"`
	Write   int64    `json:"write,omitempty"`
	Class   string   `json:"class,omitempty"`
	Ceiling Ceiling  `json:"ceiling,omitzero"` // an older mote passes over it
	Tags    []Tag    `json:"tags,omitempty"`
	Created int64    `json:"created"` // Unix milliseconds
	UUID    string   `json:"uuid"`

	Protected bool          `json:"protected,omitempty"` // this and what follows: version 2
	Indexes   []indexRecord `json:"indexes,omitempty"`
	NextIndex uint16        `json:"next_index,omitempty"`
	TTL       *ttlRecord    `json:"ttl,omitempty"`
	Stream    uint16        `json:"stream,omitempty"`
	Source    string        `json:"source,omitempty"`
	Restoring string        `json:"restoring,omitempty"` // version 3
}

// ttlRecord is a TTL in the catalogue.
type ttlRecord struct {
	ID        uint16      `json:"id"`
	Attribute string      `json:"attribute"`
	Status    IndexStatus `json:"status"`
}

func (t *Table) record() record {
	r := record{
		Version: 1, ID: t.id, Hash: t.Hash, Range: t.Range, Billing: t.Billing, Read: t.Read, Write: t.Write, Class: t.Class, Ceiling: t.Ceiling,
		Tags: t.Tags, Created: t.Created.UnixMilli(), UUID: t.UUID, Protected: t.Protected, NextIndex: t.nextIndex,
		Source: t.Source, Restoring: t.restoring,
	}
	for _, x := range t.Indexes {
		r.Indexes = append(r.Indexes, x.record())
	}
	if e := t.TTL; e != nil {
		r.TTL = &ttlRecord{e.index, e.Attribute, e.Status}
	}
	if t.Stream != nil {
		r.Stream = t.Stream.id
	}
	if r.Protected || r.NextIndex != 0 {
		r.Version = 2
	}
	if r.Restoring != "" {
		r.Version = catalogueVersion
	}
	return r
}

func (db *DB) fromRecord(name string, data []byte) (*Table, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("catalogue record of table %s: %w", name, err)
	}
	if r.Version < 1 || r.Version > catalogueVersion {
		return nil, fmt.Errorf("catalogue record of table %s has version %d, this mote reads up to %d: use the mote that wrote it", name, r.Version, catalogueVersion)
	}
	t := &Table{
		Name: name, Hash: r.Hash, Range: r.Range, Billing: r.Billing, Read: r.Read, Write: r.Write, Class: r.Class, Ceiling: r.Ceiling,
		Tags: r.Tags, Created: time.UnixMilli(r.Created), UUID: r.UUID, ARN: db.ARN(name), id: r.ID,
		Protected: r.Protected, Source: r.Source, restoring: r.Restoring, nextIndex: r.NextIndex, live: new(atomic.Pointer[Table]),
	}
	for _, x := range r.Indexes {
		t.Indexes = append(t.Indexes, x.index(t))
	}
	if e := r.TTL; e != nil {
		t.TTL = &TTL{Attribute: e.Attribute, Status: e.Status, index: e.ID}
	}
	if r.Stream != 0 {
		t.Stream = db.streamOf(t.id, r.Stream)
	}
	t.live.Store(t)
	return t, nil
}

// ARN is the ARN that a table with this name has, or would have.
func (db *DB) ARN(name string) string {
	return "arn:aws:dynamodb:" + db.opt.Region + ":" + db.opt.Account + ":table/" + name
}

func (db *DB) loadCatalogue() (err error) {
	tables, next, err := db.readCatalogue(db.st)
	db.tables.Store(&tables)
	db.nextID = next
	return err
}

// readCatalogue reads the tables by their names, and the id of the next one.
func (db *DB) readCatalogue(r store.Reader) (tables map[string]*Table, next uint32, err error) {
	tables = map[string]*Table{}
	space := []byte{byte(store.SpaceTable)}
	it, err := r.Iterator(space, store.PrefixEnd(space))
	if err != nil {
		return tables, 0, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if name := string(it.Key()[1:]); name == "\x00" {
			if len(it.Value()) != 4 {
				return tables, 0, fmt.Errorf("catalogue of tables: the next id has %d bytes, want 4", len(it.Value()))
			}
			next = binary.BigEndian.Uint32(it.Value())
		} else {
			t, err := db.fromRecord(name, it.Value())
			if err != nil {
				return tables, 0, err
			}
			tables[name] = t
		}
	}
	return tables, next, it.Error()
}

// sweep removes the items of tables that are gone: a batch that was filled
// before a DeleteTable and committed after it leaves some, unreachable.
func (db *DB) sweep() error {
	known := map[uint32]bool{}
	for _, t := range *db.tables.Load() {
		known[t.id] = true
	}
	b := db.st.NewBatch()
	for _, space := range []store.Space{store.SpaceItem, store.SpaceIndex} {
		if err := db.sweepSpace(b, space, known); err != nil {
			b.Discard()
			return err
		}
	}
	return db.st.Commit(b)
}

// sweepSpace adds to b the removal of what is in a space of tables that are gone.
func (db *DB) sweepSpace(b *store.Batch, space store.Space, known map[uint32]bool) error {
	all := []byte{byte(space)}
	it, err := db.st.Iterator(all, store.PrefixEnd(all))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		if len(it.Key()) < prefixLen {
			return errDamaged
		}
		id := tableOf(it.Key())
		start := binary.BigEndian.AppendUint32([]byte{byte(space)}, id)
		end := store.PrefixEnd(start)
		if !known[id] && id < db.nextID {
			b.DeleteRange(start, end)
		}
		ok = it.SeekGE(end)
	}
	return it.Error()
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

// Delete removes a table with its items and indexes, and returns what it was.
func (db *DB) Delete(name string) (*Table, error) {
	db.ddl.Lock()
	defer db.ddl.Unlock()
	t, err := db.Describe(name)
	if err != nil {
		return nil, err
	}
	if t.restoring != "" {
		return nil, t.beingCreated()
	}
	if t.Protected {
		return nil, invalid("Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.")
	}
	b := db.st.NewBatch()
	b.Delete(catalogueKey(name))
	for _, prefix := range [][]byte{appendTablePrefix(nil, t.id), appendTableEntries(nil, t.id)} {
		b.DeleteRange(prefix, store.PrefixEnd(prefix))
	}
	if t.streaming() {
		last := *t // others see t
		db.closeStream(&last, b)
	}
	b.OnApplied(func() {
		if b.Applied() {
			db.setTable(name, nil)
		}
	})
	if err := db.st.Commit(b); err != nil {
		return nil, err
	}
	db.forgetCounts(t)
	return t, nil
}

// beingCreated refuses a change of a table whose items are still coming.
func (t *Table) beingCreated() error {
	return &Error{Code: CodeInUse, Message: "Attempt to change a resource which is still in use: Table is being created: " + t.Name}
}
