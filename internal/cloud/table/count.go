package table

import (
	"sync"
	"time"

	"mote/internal/cloud/store"
)

// Count is how many items a table held and how many bytes their keys and
// values took, when it was last counted.
type Count struct {
	Items, Bytes int64
}

// Counting walks the table in the background, asked for by Count, and costs
// the writers nothing. A count is used for countFresh, and for a large table
// for countShare times as long as it took, so that counting takes at most a
// hundredth of the time however often someone asks.
const (
	countFresh = 5 * time.Second
	countShare = 100
	countWait  = 100 * time.Millisecond // how long Count waits for a walk
)

// counter is the count of one table.
type counter struct {
	mu      sync.Mutex
	last    Count         // guarded by mu, as all that follows
	staleAt time.Time     // when last should be counted again
	running chan struct{} // closed when the walk under way ends; nil when there is none
}

// Count returns the size of a table, counted a short time ago; of a large
// table it may be minutes old, and zero until the first walk has ended
// (DynamoDB's own is up to six hours old).
func (db *DB) Count(t *Table) Count {
	c := db.counterOf(counterKey{t.id, t.index})
	if running := db.refresh(c, t); running != nil {
		wait := time.NewTimer(countWait)
		defer wait.Stop()
		select {
		case <-running:
		case <-wait.C:
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// CountIndex is [DB.Count] for an index of the table.
func (db *DB) CountIndex(x *Index) Count { return db.Count(x.entries) }

// counterKey says what is counted: a table, or with index not 0 one of its indexes.
type counterKey struct {
	table uint32
	index uint16
}

func (db *DB) counterOf(key counterKey) *counter {
	c, _ := db.counts.LoadOrStore(key, &counter{})
	return c.(*counter)
}

func (db *DB) forgetCounts(t *Table) {
	db.counts.Delete(counterKey{t.id, 0})
	for _, x := range t.Indexes {
		db.counts.Delete(counterKey{t.id, x.entries.index})
	}
}

// refresh starts a walk when the count is stale, and returns what to wait for.
func (db *DB) refresh(c *counter, t *Table) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil || time.Now().Before(c.staleAt) {
		return c.running
	}
	if !db.startWalk(func() { db.walk(c, t) }) {
		return nil
	}
	c.running = make(chan struct{})
	return c.running
}

// startWalk runs f in a goroutine that Close waits for; false after Close.
func (db *DB) startWalk(f func()) bool {
	db.walkMu.Lock()
	defer db.walkMu.Unlock()
	select {
	case <-db.quit:
		return false
	default:
		db.walks.Go(f)
		return true
	}
}

func (db *DB) walk(c *counter, t *Table) {
	begin := time.Now()
	n, err := db.countItems(t)
	if err != nil {
		db.log.Warn("cannot count the items of a table", "table", t.Name, "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last = n
	}
	now := time.Now()
	c.staleAt = now.Add(max(countFresh, countShare*now.Sub(begin)))
	close(c.running)
	c.running = nil
}

// countItems walks all items of a table; Close ends it early.
func (db *DB) countItems(t *Table) (n Count, err error) {
	prefix := t.appendPrefix(nil)
	it, err := db.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return n, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if n.Items&0xfff == 0 && db.closed() {
			return n, nil
		}
		n.Items++
		value := it.LazyValue() // its length is known without reading it
		n.Bytes += int64(len(it.Key()) - t.prefixLen() + value.Len())
	}
	return n, it.Error()
}

func (db *DB) closed() bool {
	select {
	case <-db.quit:
		return true
	default:
		return false
	}
}
