package table

import "mote/internal/cloud/store"

// IndexUnits are capacity units of one index.
type IndexUnits struct {
	Name   string
	Global bool
	Units  float64
}

// Consumed are capacity units of one table.
type Consumed struct {
	Units   float64      // in all
	Indexes []IndexUnits // of Units: of the indexes that took part, each once
}

// Costs are capacity units by table.
type Costs map[string]Consumed

// Add counts units of the named table, of which some are of its indexes.
func (c Costs) Add(table string, units float64, indexes ...IndexUnits) {
	sum := c[table]
	sum.Units += units
	for _, x := range indexes {
		sum.addIndex(x)
	}
	c[table] = sum
}

func (c *Consumed) addIndex(x IndexUnits) {
	for i := range c.Indexes {
		if have := &c.Indexes[i]; have.Name == x.Name {
			have.Units += x.Units
			return
		}
	}
	c.Indexes = append(c.Indexes, x)
}

// times is what the same costs n times.
func (c *Consumed) times(n float64) {
	c.Units *= n
	for i := range c.Indexes {
		c.Indexes[i].Units *= n
	}
}

// Collection is an item collection: the items of a table with one hash key, and
// their entries in its local indexes.
type Collection struct {
	Key   Item   // the hash key alone
	Bytes uint64 // about how much of the disk it takes, compressed; what was written last is not in it
}

// Collection returns the item collection to which an item, or its key, belongs;
// false of a table without local indexes, which DynamoDB has no collections of.
func (db *DB) Collection(name string, of Item) (c Collection, ok bool, err error) {
	t, err := db.table(name)
	if err != nil || !t.hasLocal() {
		return c, false, err
	}
	hash := of[t.Hash.Name]
	c.Key = Item{t.Hash.Name: hash}
	parts := []*Table{t}
	for _, x := range t.Indexes {
		if !x.Global {
			parts = append(parts, x.entries)
		}
	}
	for _, part := range parts {
		prefix := part.appendPartition(nil, &hash)
		n, err := db.st.DiskUsage(prefix, store.PrefixEnd(prefix))
		if err != nil {
			return c, false, err
		}
		c.Bytes += n
	}
	return c, true, nil
}

func (t *Table) hasLocal() bool {
	for _, x := range t.Indexes {
		if !x.Global {
			return true
		}
	}
	return false
}
