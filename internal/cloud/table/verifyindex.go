package table

import (
	"bytes"
	"context"

	"mote/internal/cloud/store"
)

// verifiedPart is one index, or the expiry times, and how many entries the
// items say it has.
type verifiedPart struct {
	name   string
	status IndexStatus
	prefix []byte
	entry  func(item Item, itemKey []byte) (key, value []byte) // nil: the item has none
	want   int64
}

type verifiedParts []verifiedPart

// verifiedParts are those of the table.
func (t *Table) verifiedParts() (all verifiedParts) {
	for _, x := range t.Indexes {
		all = append(all, verifiedPart{name: "the index " + x.Name, status: x.Status, prefix: x.entries.appendPrefix(nil), entry: x.entry})
	}
	if e := t.TTL; e != nil {
		all = append(all, verifiedPart{
			name: "the list of expiry times", status: e.Status, prefix: appendIndexPrefix(nil, t.id, e.index),
			entry: func(item Item, itemKey []byte) (key, value []byte) { return e.entry(t.id, item, itemKey), nil },
		})
	}
	return all
}

// hold looks for the entries of one item. One of an index that is being built
// may not be there yet.
func (all verifiedParts) hold(r store.Reader, item Item, itemKey []byte, v *Verified) error {
	for i := range all {
		x := &all[i]
		if x.status == IndexDeleting {
			continue
		}
		key, want := x.entry(item, itemKey)
		if key == nil {
			continue
		}
		x.want++
		value, found, err := r.Get(key)
		if err != nil {
			return err
		}
		switch {
		case !found && x.status == IndexCreating:
			x.want--
		case !found:
			x.want--
			v.fault("%s has no entry of the item with the key %x", x.name, clip(string(itemKey), 64))
		case !bytes.Equal(value, want):
			v.fault("%s has another image of the item with the key %x", x.name, clip(string(itemKey), 64))
		}
	}
	return nil
}

// count counts the entries of each part. Each holds the key of its item, so
// those that hold was right about are different ones, and any more are of
// nothing.
func (all verifiedParts) count(ctx context.Context, r store.Reader, v *Verified) error {
	for i := range all {
		x := &all[i]
		n, err := countKeys(ctx, r, x.prefix)
		if err != nil {
			return err
		}
		v.Entries += n
		if n != x.want && x.status != IndexDeleting {
			v.fault("%s has %d entries, and %d of them belong to items", x.name, n, x.want)
		}
	}
	return nil
}

// countKeys reads every key with a prefix.
func countKeys(ctx context.Context, r store.Reader, prefix []byte) (n int64, err error) {
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if n++; n&0xfff == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
	}
	return n, it.Error()
}
