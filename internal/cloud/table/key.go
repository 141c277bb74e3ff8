package table

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"

	"mote/internal/cloud/store"
)

// Limits of keys (DynamoDB developer guide, "Quotas in Amazon DynamoDB"), in bytes.
const (
	maxHashSize  = 2048
	maxRangeSize = 1024
)

// The order-preserving encoding of key values is described in FORMAT.md.
const (
	tagNegative = 0x01
	tagZero     = 0x02
	tagPositive = 0x03

	escape     = 0x00 // in S and B: a zero byte is 00 FF, the end is 00 01
	escapedNul = 0xff
	endOfText  = 0x01

	prefixLen = 1 + 4 + 2 // space, table id, slot
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendKeyValue appends the order-preserving encoding of a key value.
func appendKeyValue(dst []byte, v *Value) []byte {
	switch v.Kind {
	case S:
		return append(appendText(dst, v.Str), escape, endOfText)
	case B:
		return append(appendText(dst, v.Bin), escape, endOfText)
	}
	d, _ := parseDecimal(v.Str) // canonical: it was checked when it came in
	return appendNumber(dst, &d)
}

// appendText appends the bytes of a text or binary key without its end, which
// is the common prefix of all keys that begin with it.
func appendText[T string | []byte](dst []byte, text T) []byte {
	start := 0
	for i := range len(text) {
		if text[i] == escape {
			dst = append(append(dst, text[start:i+1]...), escapedNul)
			start = i + 1
		}
	}
	return append(dst, text[start:]...)
}

// appendNumber appends sign, exponent and digit pairs; a negative number has
// all bytes after the sign inverted, so that a larger magnitude sorts first.
func appendNumber(dst []byte, d *decimal) []byte {
	switch d.sign() {
	case 0:
		return append(dst, tagZero)
	case 1:
		dst = append(dst, tagPositive)
	default:
		dst = append(dst, tagNegative)
	}
	start := len(dst)
	dst = append(dst, byte(d.point-minPoint))
	for i := 0; i < d.n; i += 2 {
		pair := 10 * d.digits[i]
		if i+1 < d.n {
			pair += d.digits[i+1]
		}
		dst = append(dst, pair+1)
	}
	dst = append(dst, 0)
	if d.neg {
		for i := start; i < len(dst); i++ {
			dst[i] ^= 0xff
		}
	}
	return dst
}

// readKeyValue reads one encoded key value of the given kind and returns what follows.
func readKeyValue(kind Kind, key []byte) (v Value, rest []byte, err error) {
	if kind == N {
		d, rest, ok := readNumber(key)
		if !ok {
			return v, nil, errDamaged
		}
		return Value{Kind: N, Str: d.String()}, rest, nil
	}
	if end := bytes.IndexByte(key, escape); kind == S && end >= 0 && end+1 < len(key) && key[end+1] == endOfText { // as nearly all
		return Value{Kind: S, Str: string(key[:end])}, key[end+2:], nil
	}
	text, rest, ok := readText(key)
	if !ok {
		return v, nil, errDamaged
	}
	if kind == B {
		return Value{Kind: B, Bin: text}, rest, nil
	}
	return Value{Kind: S, Str: string(text)}, rest, nil
}

func readText(key []byte) (text, rest []byte, ok bool) {
	out := make([]byte, 0, len(key))
	for {
		i := bytes.IndexByte(key, escape)
		if i < 0 || i+1 == len(key) {
			return nil, nil, false
		}
		out = append(out, key[:i]...)
		mark := key[i+1]
		key = key[i+2:]
		switch mark {
		case endOfText:
			return out, key, true
		case escapedNul:
			out = append(out, escape)
		default:
			return nil, nil, false
		}
	}
}

func readNumber(key []byte) (d decimal, rest []byte, ok bool) {
	if len(key) == 0 {
		return d, nil, false
	}
	tag, key := key[0], key[1:]
	if tag == tagZero {
		return d, key, true
	}
	d.neg = tag == tagNegative
	if tag != tagPositive && !d.neg || len(key) == 0 {
		return d, nil, false
	}
	flip := byte(0)
	if d.neg {
		flip = 0xff
	}
	d.point = int(key[0]^flip) + minPoint
	for i, c := range key[1:] {
		c ^= flip
		if c == 0 {
			return d, key[i+2:], d.trim()
		}
		if c > 100 || d.n+2 > maxDigits {
			return d, nil, false
		}
		d.digits[d.n], d.digits[d.n+1] = (c-1)/10, (c-1)%10
		d.n += 2
	}
	return d, nil, false
}

// trim drops the zero that fills the last pair and says whether the digits
// are what appendNumber writes.
func (d *decimal) trim() bool {
	if d.n > 0 && d.digits[d.n-1] == 0 {
		d.n--
	}
	return d.n > 0 && d.digits[0] != 0 && d.digits[d.n-1] != 0
}

// slot spreads partitions over the key space of a table as DynamoDB does, so
// that the segments of a parallel scan are ranges of about the same size.
func slot(encodedHash []byte) uint16 {
	return uint16(crc32.Checksum(encodedHash, castagnoli) >> 16)
}

// appendTablePrefix appends what all items of a table begin with.
func appendTablePrefix(dst []byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, byte(store.SpaceItem)), id)
}

// tableOf is the id of the table that a store key of an item belongs to.
func tableOf(key []byte) uint32 { return binary.BigEndian.Uint32(key[1:]) }

// appendPrefix appends what all items, or all entries, of t begin with.
func (t *Table) appendPrefix(dst []byte) []byte {
	if t.index == 0 {
		return appendTablePrefix(dst, t.id)
	}
	return appendIndexPrefix(dst, t.id, t.index)
}

// prefixLen is the length of what is before the encoded hash key.
func (t *Table) prefixLen() int {
	if t.index == 0 {
		return prefixLen
	}
	return prefixLen + 2 // the id of the index
}

// appendPartition appends what all items of one hash key begin with.
func (t *Table) appendPartition(dst []byte, hash *Value) []byte {
	dst = t.appendPrefix(dst)
	at := len(dst)
	dst = appendKeyValue(append(dst, 0, 0), hash)
	binary.BigEndian.PutUint16(dst[at:], slot(dst[at+2:]))
	return dst
}

// appendKey appends the store key of the item that has these key attributes.
// It refuses a missing, mistyped, empty or too long key attribute; where says
// whether they come from an item or from a Key, which DynamoDB words differently.
func (t *Table) appendKey(dst []byte, item Item, where keyPlace) ([]byte, error) {
	var rng *Value
	if t.Range != nil {
		rng = item.get(t.Range.Name)
	}
	return t.appendKeyValues(dst, item.get(t.Hash.Name), rng, where)
}

// get returns the attribute of that name, nil when there is none.
func (item Item) get(name string) *Value {
	if v, ok := item[name]; ok {
		return &v
	}
	return nil
}

// appendKeyValues is appendKey for key attributes that have been looked up; nil
// is a missing one.
func (t *Table) appendKeyValues(dst []byte, hash, rng *Value, where keyPlace) ([]byte, error) {
	if err := t.Hash.check(hash, where); err != nil {
		return nil, err
	}
	if err := hash.checkKeySize(true); err != nil {
		return nil, err
	}
	dst = t.appendPartition(dst, hash)
	if t.Range == nil {
		return dst, nil
	}
	if err := t.Range.check(rng, where); err != nil {
		return nil, err
	}
	if err := rng.checkKeySize(false); err != nil {
		return nil, err
	}
	return appendKeyValue(dst, rng), nil
}

// keyPlace is where key attributes come from.
type keyPlace bool

const (
	inItem keyPlace = false
	inKey  keyPlace = true
)

// errSchema is the refusal of a Key that is not exactly the key of the table.
var errSchema = invalid("The provided key element does not match the schema")

// check refuses what is no value for the key attribute; nil is a missing one.
func (k *KeyAttr) check(v *Value, where keyPlace) error {
	switch {
	case v != nil && v.Kind == k.Kind:
		return k.checkEmpty(v)
	case where == inKey:
		return errSchema
	case v == nil:
		return invalidParam("Missing the key %s in the item", k.Name)
	}
	return invalidParam("Type mismatch for key %s expected: %s actual: %s", k.Name, k.Kind, v.Kind)
}

// checkEmpty refuses an empty text or binary as a key.
func (k *KeyAttr) checkEmpty(v *Value) error {
	if v.Kind == S && v.Str == "" {
		return invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: %s", k.Name)
	}
	if v.Kind == B && len(v.Bin) == 0 {
		return invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty binary value. Key: %s", k.Name)
	}
	return nil
}

// checkKeySize refuses a value that is too long for a hash key or range key.
func (v *Value) checkKeySize(isHash bool) error {
	size := len(v.Str)
	if v.Kind == B {
		size = len(v.Bin)
	}
	switch {
	case isHash && size > maxHashSize:
		return invalidParam("Size of hashkey has exceeded the maximum size limit of2048 bytes")
	case !isHash && size > maxRangeSize:
		return invalidParam("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
	}
	return nil
}

// encodeKey returns the store key for a Key, which holds exactly the key attributes.
func (t *Table) encodeKey(key Item) ([]byte, error) {
	if len(key) != t.keyCount() {
		return nil, errSchema
	}
	k, err := t.appendKey(nil, key, inKey)
	if err != nil {
		return nil, err
	}
	return t.appendTail(k, key)
}

// appendTail appends the key of the table to the key of an index's entry.
func (t *Table) appendTail(dst []byte, key Item) ([]byte, error) {
	for i := range t.tail {
		v := key.get(t.tail[i].Name)
		if err := t.tail[i].check(v, inKey); err != nil {
			return nil, err
		}
		if err := v.checkKeySize(i == 0); err != nil {
			return nil, err
		}
		dst = appendKeyValue(dst, v)
	}
	return dst, nil
}

func (t *Table) keyCount() int {
	if len(t.tail) == 0 {
		return len(t.keys())
	}
	names := map[string]bool{}
	for _, k := range t.allKeys() {
		names[k.Name] = true
	}
	return len(names)
}

// allKeys are the parts of a store key; of an index's entry some may be there
// twice.
func (t *Table) allKeys() []KeyAttr { return append(t.keys(), t.tail...) }

// decodeKey reads the key attributes of a store key into item.
func (t *Table) decodeKey(item Item, key []byte) error {
	if len(key) < t.prefixLen() {
		return errDamaged
	}
	v, rest, err := readKeyValue(t.Hash.Kind, key[t.prefixLen():])
	if err != nil {
		return err
	}
	item[t.Hash.Name] = v
	if t.Range != nil {
		if v, rest, err = readKeyValue(t.Range.Kind, rest); err != nil {
			return err
		}
		item[t.Range.Name] = v
	}
	for _, k := range t.tail {
		if v, rest, err = readKeyValue(k.Kind, rest); err != nil {
			return err
		}
		item[k.Name] = v
	}
	if len(rest) != 0 {
		return errDamaged
	}
	return nil
}

// keyOf returns the key attributes of an item.
func (t *Table) keyOf(item Item) Item {
	key := Item{t.Hash.Name: item[t.Hash.Name]}
	if t.Range != nil {
		key[t.Range.Name] = item[t.Range.Name]
	}
	for _, k := range t.tail {
		key[k.Name] = item[k.Name]
	}
	return key
}

// compareKeyValues orders two values of the same kind S, N or B.
func compareKeyValues(a, b *Value) int {
	switch a.Kind {
	case N:
		return compareNumbers(a.Str, b.Str)
	case B:
		return bytes.Compare(a.Bin, b.Bin)
	}
	return strings.Compare(a.Str, b.Str)
}
