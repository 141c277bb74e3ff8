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
		e, err := parseRecord(it.Key(), it.Value())
		if err != nil {
			if err := o.setAside(it.Key(), it.Value(), err); err != nil {
				return errors.Join(err, it.Close())
			}
			ok = it.Next()
			continue
		}
		o.loadLane(it.Key(), e)
		end := store.PrefixEnd(it.Key()[:2+len(laneID{})])
		if it.SeekLT(end) {
			if _, seq, whole := splitKey(it.Key()); whole {
				o.seq = max(o.seq, seq)
			}
		}
		ok = it.SeekGE(end)
	}
	o.first = o.seq + 1
	o.reportStranded()
	return errors.Join(it.Error(), it.Close())
}

// loadLane makes the lane whose first entry is e.
func (o *Outbox) loadLane(key []byte, e *Entry) {
	id, _, _ := splitKey(key)
	l := &lane{id: id, kind: e.Kind, rule: e.Rule, name: e.Lane, cursor: e.seq, oldest: e.Added}
	if newLaneID(e.Kind, e.Rule, e.Lane) != id {
		l.name = ""
	}
	if o.opt.Deliverers[e.Kind] == nil {
		l.state = stranded
	}
	o.lanes[id] = l
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
		if _, err := parseRecord(key, it.Value()); err != nil {
			o.damaged.Add(1)
			continue
		}
		b.Set(key, it.Value())
		b.Delete(it.Key())
		if b.Count() < 2*restoreTogether {
			continue
		}
		if err := o.st.Commit(b); err != nil {
			return errors.Join(err, it.Close())
		}
		b = o.st.NewBatch()
	}
	return errors.Join(it.Error(), it.Close(), o.st.Commit(b))
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
		if l := count.lanes[id]; l != nil {
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
