package table

import (
	"encoding/binary"
	"errors"
	"slices"
)

// itemVersion is the first byte of every stored item (FORMAT.md).
const itemVersion = 1

// errDamaged is returned for stored bytes that this package did not write.
var errDamaged = errors.New("stored item is damaged or was written by a newer mote")

// appendItem appends the stored form of an item without its key attributes,
// which are in the store key. scratch is reused for the sorted names.
func (t *Table) appendItem(dst []byte, item Item, scratch []string) ([]byte, []string) {
	names := scratch[:0]
	for name := range item {
		if !t.isKey(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	dst = append(dst, itemVersion)
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, name := range names {
		v := item[name]
		dst = appendValue(appendString(dst, name), &v)
	}
	return dst, names
}

func appendMap(dst []byte, m Item) []byte {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, name := range names {
		v := m[name]
		dst = appendValue(appendString(dst, name), &v)
	}
	return dst
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendValue(dst []byte, v *Value) []byte {
	dst = append(dst, byte(v.Kind))
	switch v.Kind {
	case S, N:
		return appendString(dst, v.Str)
	case B:
		return appendString(dst, v.Bin)
	case BOOL:
		if v.Bool {
			return append(dst, 1)
		}
		return append(dst, 0)
	case L:
		dst = binary.AppendUvarint(dst, uint64(len(v.List)))
		for i := range v.List {
			dst = appendValue(dst, &v.List[i])
		}
	case M:
		dst = appendMap(dst, v.Map)
	case SS, NS, BS:
		dst = binary.AppendUvarint(dst, uint64(len(v.Set)))
		for _, s := range v.Set {
			dst = appendString(dst, s)
		}
	}
	return dst
}

// decodeItem reads what appendItem wrote, into item. It never reads outside
// data and never makes room for more than data can hold.
func decodeItem(item Item, data []byte) error {
	if len(data) == 0 || data[0] != itemVersion {
		return errDamaged
	}
	d := decoder{rest: string(data[1:])} // one copy; all texts of the item share it
	d.attributes(item, maxDepth)
	if d.bad || d.rest != "" {
		return errDamaged
	}
	return nil
}

// decoder reads the stored form; the first error empties it and sets bad.
type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) fail() { d.rest, d.bad = "", true }

func (d *decoder) byte() byte {
	if d.rest == "" {
		d.fail()
		return 0
	}
	c := d.rest[0]
	d.rest = d.rest[1:]
	return c
}

// count reads a length, which can not be larger than what is left.
func (d *decoder) count() int {
	var n uint64
	for shift := 0; shift < 35; shift += 7 {
		c := d.byte()
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if n > uint64(len(d.rest)) {
				d.fail()
				return 0
			}
			return int(n)
		}
	}
	d.fail()
	return 0
}

func (d *decoder) text() string {
	n := d.count()
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) attributes(item Item, depth int) {
	for range d.count() {
		name := d.text()
		v := d.value(depth)
		if d.bad {
			return
		}
		item[name] = v
	}
}

func (d *decoder) value(depth int) (v Value) {
	d.into(&v, depth)
	return v
}

// into reads a value into v, which is empty.
func (d *decoder) into(v *Value, depth int) {
	v.Kind = Kind(d.byte())
	switch v.Kind {
	case S:
		v.Str = d.text()
	case N:
		if v.Str = d.text(); !isNumber(v.Str) {
			d.fail()
		}
	case B:
		v.Bin = []byte(d.text())
	case BOOL:
		v.Bool = d.byte() == 1
	case NULL:
	case L:
		d.list(v, depth-1)
	case M:
		d.mapping(v, depth-1)
	case SS, NS, BS:
		v.Set = make([]string, d.count())
		for i := range v.Set {
			if v.Set[i] = d.text(); v.Kind == NS && !isNumber(v.Set[i]) {
				d.fail()
			}
		}
	default:
		d.fail()
	}
}

func (d *decoder) list(v *Value, depth int) {
	if depth < 0 {
		d.fail()
		return
	}
	n := d.count()
	v.List = make([]Value, 0, min(n, 64)) // grows with what is really there
	for range n {
		v.List = append(v.List, d.value(depth))
		if d.bad {
			return
		}
	}
}

func (d *decoder) mapping(v *Value, depth int) {
	if depth < 0 {
		d.fail()
		return
	}
	v.Map = Item{}
	d.attributes(v.Map, depth)
}

// isNumber says whether text is a number in canonical form.
func isNumber(text string) bool {
	if isCanonical(text) {
		return true
	}
	d, err := parseDecimal(text)
	return err == nil && d.String() == text
}
