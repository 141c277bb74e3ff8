package outbox

import (
	"errors"
	"maps"
	"slices"

	"mote/internal/cloud/store"
)

// load finds the lanes that have entries: two steps of an iterator for each.
func (o *Outbox) load() error {
	if err := o.restore(); err != nil {
		return err
	}
	it, err := o.st.Iterator(waitingPrefix, store.PrefixEnd(waitingPrefix))
	if err != nil {
		return err
	}
	for ok := it.First(); ok; {
		o.saw(it.Key())
		if err := o.loadLane(it.Key(), it.Value()); err != nil {
			if err = o.setAside(it.Key(), it.Value(), err); err != nil && !errors.Is(err, store.ErrFull) {
				return errors.Join(err, it.Close())
			}
			ok = it.Next()
			continue
		}
		end := store.PrefixEnd(it.Key()[:2+len(laneID{})])
		if it.SeekLT(end) {
			o.saw(it.Key())
		}
		ok = it.SeekGE(end)
	}
	o.first = o.seq + 1
	o.reportStranded()
	return errors.Join(it.Error(), it.Close())
}

// saw keeps new sequence numbers away from those of stored keys.
func (o *Outbox) saw(key []byte) {
	if _, seq, whole := splitKey(key); whole {
		o.seq = max(o.seq, seq)
	}
}

// loadLane makes the lane whose first entry is given.
func (o *Outbox) loadLane(key, value []byte) error {
	e, err := parseRecord(key, value)
	if err != nil {
		return err
	}
	prefix, _, _ := splitKey(key)
	k, ok := e.laneOf(prefix)
	if !ok {
		return errDamaged
	}
	l := &lane{laneKey: k, prefix: prefix, cursor: e.seq, oldest: e.Added, fresh: true}
	if o.opt.Deliverers[e.Kind] == nil {
		l.state = stranded
	}
	o.lanes[k] = l
	return nil
}

// laneOf returns the lane with an id if the entry can be in it: in that of its
// destination, or in the one that the rule's other destinations share.
func (e *Entry) laneOf(id laneID) (k laneKey, ok bool) {
	for _, name := range []string{e.Lane, ""} {
		if k = (laneKey{e.Kind, e.Rule, name}); k.id() == id {
			return k, true
		}
	}
	return k, false
}

func (o *Outbox) reportStranded() {
	kinds := map[string]int{}
	for _, l := range o.lanes {
		if l.state == stranded {
			kinds[l.kind]++
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		o.log.Warn("actions wait that nothing performs now; they stay stored until it is set up", "kind", kind, "destinations", kinds[kind])
	}
}

// setAside moves an entry that cannot be read out of the way: it stays stored,
// and is not performed.
func (o *Outbox) setAside(key, value []byte, reason error) error {
	b := o.st.NewBatch()
	b.Set(append(append([]byte{}, asidePrefix...), key[2:]...), value)
	b.Delete(key)
	if err := o.st.Commit(b); err != nil {
		return err
	}
	o.damaged.Add(1)
	o.log.Error("a stored action cannot be read; it is kept aside and not performed", "key", key, "bytes", len(value), "err", reason)
	return nil
}

// restoreTogether is how many entries go back in one commit.
const restoreTogether = 100

// restore moves entries that were set aside back, when this mote reads them.
func (o *Outbox) restore() error {
	it, err := o.st.Iterator(asidePrefix, store.PrefixEnd(asidePrefix))
	if err != nil {
		return err
	}
	b := o.st.NewBatch()
	for ok := it.First(); ok; ok = it.Next() {
		key := append(append([]byte{}, waitingPrefix...), it.Key()[2:]...)
		o.saw(key)
		if _, err := parseRecord(key, it.Value()); err != nil {
			o.damaged.Add(1)
			continue
		}
		b.Set(key, it.Value())
		b.Delete(it.Key())
		if b.Count() < 2*restoreTogether {
			continue
		}
		if err := o.commitRestored(b); err != nil {
			return errors.Join(err, it.Close())
		}
		b = o.st.NewBatch()
	}
	return errors.Join(it.Error(), it.Close(), o.commitRestored(b))
}

// commitRestored commits a part of restore. On a full disk the entries stay
// aside until the next start.
func (o *Outbox) commitRestored(b *store.Batch) error {
	n := b.Count() / 2
	err := o.st.Commit(b)
	if errors.Is(err, store.ErrFull) {
		o.damaged.Add(int64(n))
		return nil
	}
	return err
}

// countStored counts the entries that were there at the start, from it, beside
// their delivery: reading all keys takes a while when many wait.
func (o *Outbox) countStored(count counter) {
	defer count.it.Close()
	var id laneID
	n, bytes := 0, 0
	add := func() {
		o.total.entries.Add(int64(n))
		o.total.bytes.Add(int64(bytes))
		o.mu.Lock()
		if l := count.lanes[id]; l != nil { // if it was dropped since, it does not matter
			l.waiting += n
		}
		o.mu.Unlock()
		n, bytes = 0, 0
	}
	for ok := count.it.First(); ok && o.ctx.Err() == nil; ok = count.it.Next() {
		next, seq, whole := splitKey(count.it.Key())
		if !whole || seq >= o.first {
			continue
		}
		if next != id || n >= 4096 {
			add()
			id = next
		}
		n++
		value := count.it.LazyValue()
		bytes += keyLen + value.Len()
	}
	add()
	o.counted.Store(true)
}
