package table

import (
	"bytes"
	"context"

	"mote/internal/cloud/store"
)

// verifiedIndex is one index, and how many entries the items say it has.
type verifiedIndex struct {
	*Index
	want int64
}

type verifiedIndexes []verifiedIndex

// hold looks for the entries of one item. One of an index that is being built
// may not be there yet.
func (all verifiedIndexes) hold(r store.Reader, item Item, itemKey []byte, v *Verified) error {
	for i := range all {
		x := &all[i]
		if x.Status == IndexDeleting {
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
		case !found && x.Status == IndexCreating:
			x.want--
		case !found:
			x.want--
			v.fault("the index %s has no entry of the item with the key %x", x.Name, clip(string(itemKey), 64))
		case !bytes.Equal(value, want):
			v.fault("the index %s has another image of the item with the key %x", x.Name, clip(string(itemKey), 64))
		}
	}
	return nil
}

// count counts the entries of each index. Each holds the key of its item, so
// those that hold was right about are different ones, and any more are of
// nothing.
func (all verifiedIndexes) count(ctx context.Context, r store.Reader, v *Verified) error {
	for i := range all {
		x := &all[i]
		n, err := x.entries.walkEntries(ctx, r)
		if err != nil {
			return err
		}
		v.Entries += n
		if n != x.want && x.Status != IndexDeleting {
			v.fault("the index %s has %d entries, and %d of them belong to items", x.Name, n, x.want)
		}
	}
	return nil
}

// walkEntries reads every entry of an index.
func (t *Table) walkEntries(ctx context.Context, r store.Reader) (n int64, err error) {
	prefix := t.appendPrefix(nil)
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
