package table

import (
	"encoding/binary"
	"slices"
	"strings"

	"mote/internal/cloud/store"
)

// Member is one attribute of an item that comes as a list.
type Member struct {
	Name  string
	Value Value
}

// PutMembers is [DB.Put] for an item that comes as a list, in any order, which
// costs less than a map. Of several members with one name the last one counts.
// The members are not kept.
func (db *DB) PutMembers(b *store.Batch, table string, members []Member) error {
	t, err := db.table(table)
	if err != nil {
		return err
	}
	s := db.scratch.Get().(*scratch)
	defer db.release(s)
	if !s.sort(members) {
		return db.put(b, t, itemOf(members))
	}
	return s.put(db, b, t)
}

func itemOf(members []Member) Item {
	item := make(Item, len(members))
	for i := range members {
		item[members[i].Name] = members[i].Value
	}
	return item
}

// sort takes the members and brings s.order into the order of their names. It
// says whether these are distinct.
func (s *scratch) sort(members []Member) bool {
	s.members = members
	if len(s.order) != len(members) {
		s.order = slices.Grow(s.order[:0], len(members))
		for i := range members {
			s.order = append(s.order, i)
		}
	}
	if s.ascending() {
		return true
	}
	slices.SortFunc(s.order, func(i, j int) int { return strings.Compare(members[i].Name, members[j].Name) })
	return s.ascending()
}

// ascending says whether the names are in order, and no two the same.
func (s *scratch) ascending() bool {
	last := ""
	for n, i := range s.order {
		name := s.members[i].Name
		if n > 0 && name <= last {
			return false
		}
		last = name
	}
	return true
}

// put adds the item in s.members to b: it checks and encodes it in one walk. It
// refuses in the order that DB.put does: values, size, key.
func (s *scratch) put(db *DB, b *store.Batch, t *Table) error {
	hash, rng := s.keys(t)
	if err := s.encode(hash, rng); err != nil {
		return err
	}
	key, err := t.appendKeyValues(s.key[:0], hash.value(), rng.value(), inItem)
	if err != nil {
		return err
	}
	s.key = key
	return s.write(db, b, t)
}

func (m *Member) value() *Value {
	if m == nil {
		return nil
	}
	return &m.Value
}

// keys returns the key attributes, nil for one that is missing.
func (s *scratch) keys(t *Table) (hash, rng *Member) {
	for i := range s.members {
		m := &s.members[i]
		switch {
		case m.Name == t.Hash.Name:
			hash = m
		case t.Range != nil && m.Name == t.Range.Name:
			rng = m
		}
	}
	return hash, rng
}

// encode makes s.value of the members but the key attributes, as appendItem
// does, and checks all of them, as checkItem does.
func (s *scratch) encode(hash, rng *Member) error {
	count := len(s.members)
	for _, key := range [...]*Member{hash, rng} {
		if key != nil {
			count--
		}
	}
	dst := binary.AppendUvarint(append(s.value[:0], itemVersion), uint64(count))
	size := 0
	for _, i := range s.order {
		m := &s.members[i]
		n, err := checkMember(m.Name, &m.Value, maxNested)
		if err != nil {
			return err
		}
		if size += n; m != hash && m != rng {
			dst = appendValue(appendString(dst, m.Name), &m.Value)
		}
	}
	s.value = dst
	return checkSize(size)
}
