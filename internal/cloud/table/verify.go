package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"mote/internal/cloud/store"
)

// Verified is what [Verify] has found in one table.
type Verified struct {
	Name    string
	Items   int64
	Bytes   int64 // of the items' keys and values, as [Count] counts them
	Entries int64 // of its indexes and expiry times
	findings
}

// findings are what is wrong.
type findings struct {
	Faults []string // the first maxFaults of it
	Wrong  int64    // how much it is in all
}

// maxFaults bounds what is told of one table.
const maxFaults = 8

func (v *findings) fault(format string, args ...any) {
	if v.Wrong++; len(v.Faults) < maxFaults {
		v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
	}
}

// ownerless stands for the table of items that have none.
const ownerless = "(no table)"

// Verify reads every table and every item in r, and holds each to its own
// encoding: the key must be the one that its attributes make, and the value the
// one that the item makes. seen is told how many items were read since the last
// call. What is damaged is in the result, by table, and in that of
// [VerifyRecords]; an error is a failure to read.
func Verify(ctx context.Context, r store.Reader, seen func(items int64)) ([]Verified, error) {
	db := &DB{}
	tables, next, err := db.readCatalogue(r)
	if err != nil {
		return nil, err
	}
	var found []Verified
	known := map[uint32]bool{}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		t := tables[name]
		v := Verified{Name: name}
		if known[t.id] || t.id >= next {
			v.fault("its id %d is another table's too, or not given out yet", t.id)
		}
		known[t.id] = true
		if err := t.verifyItems(ctx, r, &v, seen); err != nil {
			return found, err
		}
		found = append(found, v)
	}
	backups, err := db.verifyBackups(ctx, r, seen)
	if err != nil {
		return found, err
	}
	found = append(found, backups...)
	lost := Verified{Name: ownerless}
	for _, space := range []store.Space{store.SpaceItem, store.SpaceIndex} {
		if err := lost.verifyOwners(r, space, known, next); err != nil {
			return found, err
		}
	}
	if lost.Wrong > 0 {
		found = append(found, lost)
	}
	return found, nil
}

// verifyItems reads the items of one table.
func (t *Table) verifyItems(ctx context.Context, r store.Reader, v *Verified, seen func(int64)) error {
	prefix := appendTablePrefix(nil, t.id)
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	parts := t.verifiedParts()
	const stride = 1 << 10
	for it.First(); it.Valid(); it.Next() {
		v.Items++
		v.Bytes += int64(len(it.Key()) - prefixLen + len(it.Value()))
		item, err := t.verifyItem(it.Key(), it.Value())
		if err != nil {
			v.fault("the item with the key %x: %v", clip(string(it.Key()), 64), err)
		} else if err := parts.hold(r, item, it.Key(), v); err != nil {
			return err
		}
		if v.Items%stride == 0 {
			seen(stride)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	seen(v.Items % stride)
	if err := it.Error(); err != nil {
		return err
	}
	if err := parts.count(ctx, r, v); err != nil {
		return err
	}
	return t.verifyParts(r, v)
}

// verifyItem holds one stored item to its encoding.
func (t *Table) verifyItem(key, value []byte) (Item, error) {
	item, err := t.decode(key, value)
	if err != nil {
		return nil, err
	}
	if _, err := checkItem(item); err != nil {
		return nil, err
	}
	wantKey, err := t.appendKey(nil, item, inItem)
	if err != nil {
		return nil, err
	}
	want, _ := t.appendItem(nil, item, nil)
	switch {
	case !bytes.Equal(wantKey, key):
		return nil, errors.New("it lies under a key that is not its own")
	case !bytes.Equal(want, value):
		return nil, errors.New("it is not written as its attributes are written")
	}
	return item, nil
}

// verifyOwners looks for items, or entries of indexes, of no table. Those of a
// table that is gone are removed at the next start; others nobody can have
// written.
func (v *Verified) verifyOwners(r store.Reader, space store.Space, known map[uint32]bool, next uint32) error {
	all := []byte{byte(space)}
	it, err := r.Iterator(all, store.PrefixEnd(all))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		key := it.Key()
		if len(key) < prefixLen {
			v.fault("a key of %s has %d bytes, which is too short: %x", space.Name(), len(key), key)
			ok = it.Next()
			continue
		}
		id := binary.BigEndian.Uint32(key[1:])
		if !known[id] && id >= next {
			v.fault("%s of a table with the id %d, which no table has had", space.Name(), id)
		}
		ok = it.SeekGE(store.PrefixEnd(key[:1+4]))
	}
	return it.Error()
}

// verifyBackups reads the backups of tables, each under the name of its table
// and its id.
func (db *DB) verifyBackups(ctx context.Context, r store.Reader, seen func(int64)) (found []Verified, err error) {
	all, _, err := db.backupsIn(r) // VerifyRecords tells of damaged ones
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		v := Verified{Name: k.Table.Name + "/backup/" + k.id.text()}
		if err := k.verifyItems(ctx, r, &v, seen); err != nil {
			return found, err
		}
		if n := (Count{v.Items, v.Bytes}); k.Status == BackupAvailable && n != k.Count {
			v.fault("it holds %d items of %d bytes, and should hold %d of %d", n.Items, n.Bytes, k.Count.Items, k.Count.Bytes)
		}
		found = append(found, v)
	}
	return found, nil
}

func (k *Backup) verifyItems(ctx context.Context, r store.Reader, v *Verified, seen func(int64)) error {
	prefix := appendBackupKey(nil, backupItems, k.id)
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	key := k.Table.appendPrefix(nil)
	for it.First(); it.Valid() && ctx.Err() == nil; it.Next() {
		rest := it.Key()[len(prefix):]
		v.Items++
		v.Bytes += int64(len(rest) - 2 + len(it.Value()))
		if _, err := k.Table.verifyItem(append(key[:len(key):len(key)], rest...), it.Value()); err != nil {
			v.fault("the item with the key %x: %v", clip(string(rest), 64), err)
		}
		seen(1)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return it.Error()
}
