package table

import (
	"maps"
	"slices"
)

// plain says whether the items of a page can be handed out as they are stored,
// without making a map of each: nothing looks into them on the way.
func (r *Reading) plain(from source, e expressions) bool {
	return (r.Each != nil || r.CountOnly) && from.t.index == 0 && e.filter == nil && e.want == nil
}

// rows walks a span of plain items, each in the room of the one before.
func (db *DB) rows(t *Table, part span, descending bool, r *Reading) (p Page, size int, err error) {
	it, err := db.st.Iterator(part.lower, part.upper)
	if err != nil {
		return p, 0, err
	}
	defer it.Close()
	keys := t.keyOrder()
	var row []Member
	for ok := begin(it, descending); ok; ok = advance(it, descending) {
		if row, err = t.decodeRow(row[:0], keys, it.Key(), it.Value()); err != nil {
			return Page{}, 0, err
		}
		for i := range row {
			n, _ := checkMember(row[i].Name, &row[i].Value, maxDepth)
			size += n
		}
		p.Scanned++
		p.Count++
		if !r.CountOnly {
			r.Each(row)
		}
		if p.Scanned == r.Limit || size >= maxPage {
			p.LastKey = t.keyOf(itemOf(row))
			break
		}
	}
	return p, size, it.Error()
}

// keyOrder returns the key attributes in the order of their names, as members
// without values.
func (t *Table) keyOrder() []Member {
	var keys []Member
	for _, k := range t.keys() {
		keys = append(keys, Member{Name: k.Name, Value: Value{Kind: k.Kind}})
	}
	if len(keys) == 2 && keys[0].Name > keys[1].Name {
		keys[0], keys[1] = keys[1], keys[0]
	}
	return keys
}

// decodeRow appends the members of a stored item in the order of their names.
// keys is what keyOrder returns; it is used for the values.
func (t *Table) decodeRow(dst, keys []Member, key, data []byte) ([]Member, error) {
	if err := t.decodeKeyInto(keys, key); err != nil {
		return nil, err
	}
	if len(data) == 0 || data[0] != itemVersion {
		return nil, errDamaged
	}
	d := decoder{rest: string(data[1:])} // one copy; all texts of the item share it
	for range d.count() {
		name := d.text()
		for len(keys) > 0 && keys[0].Name <= name {
			dst, keys = append(dst, keys[0]), keys[1:]
		}
		dst = append(dst, Member{Name: name})
		d.into(&dst[len(dst)-1].Value, maxDepth)
		if d.bad {
			break
		}
	}
	if d.bad || d.rest != "" {
		return nil, errDamaged
	}
	return append(dst, keys...), nil
}

// decodeKeyInto reads the values of a store key into keys.
func (t *Table) decodeKeyInto(keys []Member, key []byte) error {
	if len(key) < t.prefixLen() {
		return errDamaged
	}
	rest := key[t.prefixLen():]
	for _, k := range t.keys() {
		i := slices.IndexFunc(keys, func(m Member) bool { return m.Name == k.Name })
		var err error
		if keys[i].Value, rest, err = readKeyValue(k.Kind, rest); err != nil {
			return err
		}
	}
	if len(rest) != 0 {
		return errDamaged
	}
	return nil
}

// membersOf is an item as a list in the order of the names.
func membersOf(dst []Member, item Item) []Member {
	for _, name := range slices.Sorted(maps.Keys(item)) {
		dst = append(dst, Member{name, item[name]})
	}
	return dst
}
