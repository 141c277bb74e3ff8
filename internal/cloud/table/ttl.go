package table

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/store"
)

// TTL says which attribute of the items of a table holds the time they expire
// (DynamoDB developer guide, "Time to Live"). It does not change once it is made.
type TTL struct {
	Attribute string
	Status    IndexStatus // IndexCreating until all items are entered, IndexDeleting until no entry is left

	index uint16
}

// Expired items are removed in chunks, as items are entered in builds.
const (
	expireItems  = 64
	expirePause  = 50 * time.Millisecond
	expireEvery  = 2 * time.Second
	maxExpired   = 5 * 365 * 24 * time.Hour // what expired before is taken for a mistake, and stays
	maxExpirySec = 1 << 40                  // entries are made for times up to this, in seconds
)

// UpdateTTL sets or unsets the attribute that holds the expiry time of the
// items. Items that have expired are removed in the background, each only if
// it has still expired then; until that they are there as all others.
func (db *DB) UpdateTTL(name, attribute string, enabled bool) error {
	err := db.alter(name, func(t *Table) error {
		switch e := t.TTL; {
		case e != nil && e.Status == IndexDeleting:
			return invalid("Time to live has been modified multiple times within a fixed interval")
		case e == nil && !enabled:
			return invalid("TimeToLive is already disabled")
		case e != nil && e.Attribute != attribute:
			return invalid("TimeToLive is active on a different AttributeName: current AttributeName is %s", e.Attribute)
		case e != nil && enabled:
			return invalid("TimeToLive is already enabled")
		case enabled:
			t.nextIndex++
			t.TTL = &TTL{Attribute: attribute, Status: IndexCreating, index: t.nextIndex}
		default:
			t.setStatus(e.index, IndexDeleting)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if t, err := db.Describe(name); err == nil {
		db.resume(t)
	}
	return nil
}

// seconds is the expiry time of an item, in seconds since 1970; false when it
// has none.
func (e *TTL) seconds(item Item) (uint64, bool) {
	v, ok := item[e.Attribute]
	if !ok || v.Kind != N {
		return 0, false
	}
	whole, _, _ := strings.Cut(v.Str, ".")
	n, err := strconv.ParseUint(whole, 10, 64)
	return n, err == nil && n > 0 && n <= maxExpirySec
}

// entry is the key of an item's entry by its expiry time, nil when it has none.
func (e *TTL) entry(table uint32, item Item, itemKey []byte) []byte {
	at, ok := e.seconds(item)
	if !ok {
		return nil
	}
	return append(e.keyAt(table, at), itemKey[prefixLen-2:]...)
}

// keyAt is what all entries of one second begin with.
func (e *TTL) keyAt(table uint32, seconds uint64) []byte {
	return binary.BigEndian.AppendUint64(appendIndexPrefix(nil, table, e.index), seconds)
}

const entryHead = 1 + 4 + 2 + 8 // of an expiry entry: what is before slot and key of the item

// move brings the entry of an item from its old to its new image.
func (e *TTL) move(b *store.Batch, t *Table, c *change) {
	old, key := e.entry(t.id, c.old, c.key), e.entry(t.id, c.item, c.key)
	if slices.Equal(old, key) {
		return
	}
	if old != nil {
		b.Delete(old)
	}
	if key != nil {
		b.Set(key, nil)
	}
}

// expired are the bounds of the expiry times that are over, in seconds: from
// the first up to but not including the second.
func (db *DB) expired() (from, to uint64) {
	now := db.opt.Now()
	return uint64(max(0, now.Add(-maxExpired).Unix())), uint64(max(0, now.Unix()))
}

// expireLoop removes expired items of a table while it has a TTL.
func (db *DB) expireLoop(t *Table) {
	for {
		n, err := db.expireStep(t)
		if err != nil {
			db.log.Warn("expired items wait: their removal will be tried again", "table", t.Name, "err", err)
		}
		pause := expireEvery
		if n == expireItems {
			pause = expirePause
		}
		if now := t.now(); now == nil || now.TTL == nil || !db.pause(pause) {
			return
		}
	}
}

// expireStep removes up to expireItems expired items and returns how many it found.
func (db *DB) expireStep(t *Table) (int, error) {
	now := t.now()
	if now == nil || now.TTL == nil || now.TTL.Status == IndexDeleting {
		return 0, nil
	}
	keys, err := db.expiredKeys(now)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	b := db.st.NewBatch()
	for _, key := range keys {
		c := &change{t: now, key: key, expires: true}
		c.next = func(old Item) (Item, error) {
			if old != nil && !db.hasExpired(now.TTL, old) {
				return old, nil // it was given more time
			}
			return nil, nil
		}
		db.write(b, c)
	}
	return len(keys), db.st.Commit(b)
}

func (db *DB) hasExpired(e *TTL, item Item) bool {
	at, ok := e.seconds(item)
	from, to := db.expired()
	return ok && at >= from && at < to
}

// expiredKeys are the store keys of the items that expired first.
func (db *DB) expiredKeys(t *Table) (keys [][]byte, err error) {
	from, to := db.expired()
	it, err := db.st.Iterator(t.TTL.keyAt(t.id, from), t.TTL.keyAt(t.id, to))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for it.First(); it.Valid() && len(keys) < expireItems; it.Next() {
		if len(it.Key()) < entryHead+2 {
			return nil, errDamaged
		}
		keys = append(keys, append(appendTablePrefix(nil, t.id), it.Key()[entryHead:]...))
	}
	return keys, it.Error()
}
