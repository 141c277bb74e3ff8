// Package table is the DynamoDB engine: tables, items, conditions and queries
// over the cloud's store. It knows nothing of HTTP or JSON: package
// awsapi/dynamodb speaks the wire.
//
// # Isolation
//
// [DB.Put] is a blind write: it reads nothing, takes no lock and adds to the
// caller's batch, so that everything a message causes becomes durable with one
// fsync. An operation that must look at the old item (a condition, an update, a
// table with an index) does so in [store.Batch.BeforeApply], that is, while the store applies no
// other batch: what it read is still true when its own write becomes visible,
// against blind writes too. No lock is held between Put and commit, so an
// abandoned or slow batch stops nobody.
//
// # Indexes
//
// The entries of an item in the secondary indexes of its table are written in
// the batch of the item itself: a reader of an index, of a global one too, sees
// each write as soon as a reader of the table does. DynamoDB promises that of
// neither. Puts into a table with indexes look at the old item, and are no
// longer blind. The records of a stream are written the same way, in the order of
// the commits.
//
// Every write is durable (its batch's fsync has returned) when its method
// returns; Put alone leaves the commit to the caller. Reads see what has been
// applied, which may be a few milliseconds ahead of the disk.
package table

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/store"
)

// Options configure the engine.
type Options struct {
	Region  string           // of table ARNs; default us-east-1
	Account string           // of table ARNs, 12 digits; default 000000000001
	Log     *slog.Logger     // default: discard
	Now     func() time.Time // says which items have expired; default time.Now
}

// DB is all tables of one account. Its methods are safe for concurrent use.
type DB struct {
	st  *store.Store
	opt Options
	log *slog.Logger

	tables     atomic.Pointer[map[string]*Table] // by name; replaced, never changed
	streams    sync.Map                          // ARN → *Stream
	sequence   atomic.Uint64                     // the last sequence number of streams that was given
	generation atomic.Pointer[generation]        // of what hangs on tables
	ddl        sync.Mutex                        // serialises the changes of tables
	nextID     uint32                            // guarded by ddl

	scratch sync.Pool // *scratch
	tokens  tokens    // of transactions

	counts sync.Map       // counterKey → *counter
	walks  sync.WaitGroup // the goroutines that count items
	walkMu sync.Mutex     // guards the start of walks against Close
	quit   chan struct{}  // closed by Close
	works  sync.Map       // what is worked on in the background: counterKey of parts, with index 0 of expiry; trimming

	copying atomic.Int32 // backups and exports that are being made
}

// scratch is what one Put needs for the time of the call.
type scratch struct {
	key, value []byte
	change     change
	names      []string
	members    []Member // of the item of PutMembers
	order      []int    // of the members by their names; it stays for the next item, which often has the same
}

// Open reads the catalogue of tables from st.
func Open(st *store.Store, o Options) (*DB, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Account == "" {
		o.Account = "000000000001"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	db := &DB{st: st, opt: o, log: o.Log, quit: make(chan struct{})}
	db.scratch.New = func() any { return new(scratch) }
	db.nextGeneration()
	if err := db.loadStreams(); err != nil {
		return nil, err
	}
	if err := db.loadCatalogue(); err != nil {
		return nil, err
	}
	if err := db.sweep(); err != nil {
		return nil, err
	}
	if err := db.resumeBackups(); err != nil {
		return nil, err
	}
	if err := db.failCutExports(); err != nil {
		return nil, err
	}
	for _, t := range *db.tables.Load() {
		db.resume(t)
	}
	if len(db.Streams("")) > 0 {
		db.startTrim()
	}
	return db, nil
}

// Close ends the work in the background (counts, builds of indexes, expiry, backups, exports) and waits for it. The
// store stays open; close it after.
func (db *DB) Close() error {
	db.walkMu.Lock()
	if !db.closed() {
		close(db.quit)
	}
	db.walkMu.Unlock()
	db.walks.Wait()
	return nil
}

// Put adds to b the write of item into the named table, over an item with the
// same key. It reads nothing and takes no lock; many goroutines may call it,
// each with its own batch. The item is durable when b's commit is. An *[Error]
// is permanent: DynamoDB's text for an unknown table, a missing or mistyped
// key, too large an item. The item is not kept.
func (db *DB) Put(b *store.Batch, table string, item Item) error {
	t, err := db.table(table)
	if err != nil {
		return err
	}
	return db.put(b, t, item)
}

func (db *DB) put(b *store.Batch, t *Table, item Item) error {
	if _, err := checkItem(item); err != nil {
		return err
	}
	s := db.scratch.Get().(*scratch)
	defer db.release(s)
	key, err := t.appendKey(s.key[:0], item, inItem)
	if err != nil {
		return err
	}
	s.key = key
	s.value, s.names = t.appendItem(s.value[:0], item, s.names)
	return s.write(db, b, t)
}

// write adds the put of the encoded item in s to b.
func (s *scratch) write(db *DB, b *store.Batch, t *Table) (err error) {
	s.change = change{t: t, key: s.key, value: s.value}
	if db.writeBlind(b, &s.change) {
		return nil
	}
	c := &change{t: t, key: slices.Clone(s.key), value: slices.Clone(s.value)}
	if c.item, err = t.decode(c.key, c.value); err != nil {
		return err
	}
	if err := t.checkIndexKeys(c.item); err != nil {
		return err
	}
	b.BeforeApply(func() error { return db.apply(b, c) })
	return nil
}

// release gives s back, unless one large item has made it large for good.
func (db *DB) release(s *scratch) {
	if cap(s.value) > 64<<10 || cap(s.order) > 1<<10 {
		return
	}
	clear(s.names)
	s.members, s.change = nil, change{}
	db.scratch.Put(s)
}

// table returns the table that a data operation names.
func (db *DB) table(name string) (*Table, error) {
	t, ok := (*db.tables.Load())[name]
	if !ok || t.restoring != "" {
		return nil, &Error{Code: CodeNotFound, Message: "Requested resource not found"}
	}
	return t, nil
}

// setTable replaces or, with nil, removes a table for everyone. The caller holds ddl.
func (db *DB) setTable(name string, t *Table) {
	next := maps.Clone(*db.tables.Load())
	if t == nil {
		next[name].live.Store(nil)
		delete(next, name)
	} else {
		next[name] = t
		t.live.Store(t)
	}
	db.tables.Store(&next)
	db.nextGeneration()
}
