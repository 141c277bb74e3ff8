package table

import (
	"encoding/binary"
	"slices"
	"time"

	"mote/internal/cloud/store"
)

// Builds go through a table in chunks, with a pause after each: the chunk is
// what other commits may have to wait for, the pause bounds the work per second.
const (
	chunkItems = 256
	chunkBytes = 256 << 10 // of stored items
	chunkPause = 10 * time.Millisecond
	retryPause = 5 * time.Second // after an error, among them a full disk
)

// restoreWork stands, in the key of what is worked on, for items that come from
// a backup; no part of a table has this id.
const restoreWork = 1<<16 - 1

// Build is an index that is being filled or removed in the background.
type Build struct {
	Table  string
	Index  string // "": the expiry times of items (see [DB.UpdateTTL])
	Status IndexStatus
	Done   float64 // share of the table that was walked, 0 to 1
}

// Builds returns what is being built at the moment, by table and index.
func (db *DB) Builds() (all []Build) {
	tables := *db.tables.Load()
	names, after := db.List("", maxList)
	for ; len(names) > 0; names, after = db.List(after, maxList) {
		for _, name := range names {
			t := tables[name]
			if t == nil {
				continue
			}
			for _, x := range t.Indexes {
				if x.Status != IndexActive {
					all = append(all, Build{name, x.Name, x.Status, db.progress(t.id, x.entries.index)})
				}
			}
			if e := t.TTL; e != nil && e.Status != IndexActive {
				all = append(all, Build{name, "", e.Status, db.progress(t.id, e.index)})
			}
		}
		if after == "" {
			break
		}
	}
	return all
}

// progress is how much of the table a build has walked: slots are spread evenly.
func (db *DB) progress(table uint32, index uint16) float64 {
	cursor, _, err := db.st.Get(cursorKey(table, index))
	if err != nil || len(cursor) < prefixLen {
		return 0
	}
	return float64(binary.BigEndian.Uint16(cursor[prefixLen-2:])) / (1 << 16)
}

// cursorKey is where a build notes the item it goes on with.
func cursorKey(table uint32, index uint16) []byte {
	return binary.BigEndian.AppendUint16(appendIndexPrefix(nil, table, 0), index)
}

// part is something of a table that is kept with its items: an index, or the
// expiry times. It has entries of its own under its id.
type part struct {
	id     uint16
	status IndexStatus
	set    func(b *store.Batch, item Item, key []byte) // adds the entry of an item
}

// parts are those of the table.
func (t *Table) parts() (all []part) {
	for _, x := range t.Indexes {
		all = append(all, part{x.entries.index, x.Status, func(b *store.Batch, item Item, key []byte) {
			if k, v := x.entry(item, key); k != nil {
				b.Set(k, v)
			}
		}})
	}
	if e := t.TTL; e != nil {
		all = append(all, part{e.index, e.Status, func(b *store.Batch, item Item, key []byte) {
			if k := e.entry(t.id, item, key); k != nil {
				b.Set(k, nil)
			}
		}})
	}
	return all
}

func (t *Table) partOf(id uint16) *part {
	all := t.parts()
	i := slices.IndexFunc(all, func(p part) bool { return p.id == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// setStatus changes the status of a part of t, which nobody else sees yet;
// "" takes it away.
func (t *Table) setStatus(id uint16, status IndexStatus) {
	t.Indexes = slices.Clone(t.Indexes)
	for i, x := range t.Indexes {
		if x.entries.index == id {
			x := *x
			x.Status = status
			t.Indexes[i] = &x
		}
	}
	t.Indexes = slices.DeleteFunc(t.Indexes, func(x *Index) bool { return x.Status == "" })
	if t.TTL != nil && t.TTL.index == id {
		e := *t.TTL
		e.Status = status
		if t.TTL = &e; status == "" {
			t.TTL = nil
		}
	}
}

// resume starts what is to be done for a table in the background. It is called
// for every table at the start, and when one has changed; work that is under
// way goes on.
func (db *DB) resume(t *Table) {
	if t.restoring != "" {
		db.startOnce(t, counterKey{t.id, restoreWork}, func() { db.restoreItems(t) })
		return
	}
	for _, p := range t.parts() {
		if p.status != IndexActive {
			db.startOnce(t, counterKey{t.id, p.id}, func() { db.work(t, p.id) })
		}
	}
	if t.Stream != nil {
		db.startTrim()
	}
	if t.TTL != nil {
		db.startOnce(t, counterKey{t.id, 0}, func() { db.expireLoop(t) })
	}
}

// startOnce runs f in a goroutine that Close waits for, unless one with the
// same key runs already. What has come up for the table while f ended is
// started then.
func (db *DB) startOnce(t *Table, key counterKey, f func()) {
	if _, running := db.works.LoadOrStore(key, true); running {
		return
	}
	work := func() {
		f()
		db.works.Delete(key)
		if now := t.now(); now != nil {
			db.resume(now)
		}
	}
	if !db.startWalk(work) {
		db.works.Delete(key)
	}
}

// work fills or removes one part of a table, until that is done, the table is
// gone or Close.
func (db *DB) work(t *Table, id uint16) {
	for {
		pause := chunkPause
		done, err := db.workStep(t, id)
		if err != nil {
			db.log.Warn("an index waits: work on it will be tried again", "table", t.Name, "err", err)
			pause = retryPause
		}
		if done || !db.pause(pause) {
			return
		}
	}
}

// pause waits; false when Close came first.
func (db *DB) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-db.quit:
		return false
	}
}

// workStep does a bounded piece of work on a part and says whether it was the last.
func (db *DB) workStep(t *Table, id uint16) (done bool, err error) {
	now := t.now()
	if now == nil {
		return true, nil
	}
	switch p := now.partOf(id); {
	case p == nil || p.status == IndexActive:
		return true, nil
	case p.status == IndexDeleting:
		err := db.removePart(now, id)
		return err == nil, err
	}
	end, err := db.buildChunk(now, id)
	if err != nil || end != nil {
		return false, err
	}
	err = db.alterWith(now.Name, now.id, func(t *Table, b *store.Batch) error {
		if p := t.partOf(id); p == nil || p.status != IndexCreating {
			return nil // it is to go, which the next step does
		}
		t.setStatus(id, IndexActive)
		b.Delete(cursorKey(t.id, id))
		return nil
	})
	return false, err
}

// removePart removes all entries of a part that nothing is added to any more,
// and the part.
func (db *DB) removePart(t *Table, id uint16) error {
	defer db.counts.Delete(counterKey{t.id, id})
	return db.alterWith(t.Name, t.id, func(t *Table, b *store.Batch) error {
		prefix := appendIndexPrefix(nil, t.id, id)
		b.DeleteRange(prefix, store.PrefixEnd(prefix))
		b.Delete(cursorKey(t.id, id))
		t.setStatus(id, "")
		return nil
	})
}

// buildChunk brings the entries of the next items of the table into a part and
// returns where to go on, nil at the end of the table.
//
// Writers keep the entries of every item they touch from the moment the part
// is there. What they did not touch is entered here, while no other batch is
// applied, from the state of that moment: so no entry is made of an old image.
// The items are walked once before, so that they are in memory then.
func (db *DB) buildChunk(t *Table, id uint16) (next []byte, err error) {
	prefix := t.appendPrefix(nil)
	from, _, err := db.st.Get(cursorKey(t.id, id))
	if err != nil {
		return nil, err
	}
	if len(from) == 0 {
		from = prefix
	}
	end := store.PrefixEnd(prefix)
	if next, err = db.chunkEnd(from, end); err != nil {
		return nil, err
	}
	if next != nil {
		end = next
	}
	b := db.st.NewBatch()
	b.BeforeApply(func() error {
		now := t.now()
		if now == nil {
			return nil
		}
		p := now.partOf(id)
		if p == nil || p.status != IndexCreating {
			return nil
		}
		b.Set(cursorKey(t.id, id), end)
		return db.fill(b, now, p, from, end)
	})
	return next, db.st.Commit(b)
}

// chunkEnd returns the key at which a chunk from a key on ends, nil when it
// reaches end.
func (db *DB) chunkEnd(from, end []byte) ([]byte, error) {
	it, err := db.st.Iterator(from, end)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	items, bytes := 0, 0
	for it.First(); it.Valid(); it.Next() {
		if items == chunkItems || bytes > chunkBytes {
			return slices.Clone(it.Key()), nil
		}
		items++
		bytes += len(it.Key()) + len(it.Value())
	}
	return nil, it.Error()
}

// fill adds the entries of all items between two keys to b.
func (db *DB) fill(b *store.Batch, t *Table, p *part, from, end []byte) error {
	it, err := db.st.Iterator(from, end)
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		item, err := t.decode(it.Key(), it.Value())
		if err != nil {
			return err
		}
		p.set(b, item, it.Key())
	}
	return it.Error()
}
