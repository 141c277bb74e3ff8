package table

import (
	"bytes"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"mote/internal/cloud/store"
)

// maxPage is how many bytes of items Query and Scan read for one page, before
// the filter.
const maxPage = 1 << 20

// GetRequest asks for one item.
type GetRequest struct {
	Table      string
	Key        Item    // exactly the key attributes
	Projection *string // nil: the whole item
	Names      map[string]string
	Consistent bool // every read is; it only doubles the units
}

// GetResult is the answer to a GetRequest.
type GetResult struct {
	Item  Item    // nil when there is none
	Units float64 // read capacity units
}

// GetItem reads one item.
func (db *DB) GetItem(r GetRequest) (GetResult, error) {
	if _, err := checkItem(r.Key); err != nil {
		return GetResult{}, err
	}
	want, err := projectionOf(r.Projection, r.Names)
	if err != nil {
		return GetResult{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return GetResult{}, err
	}
	key, err := t.encodeKey(r.Key)
	if err != nil {
		return GetResult{}, err
	}
	item, size, err := db.read(t, key)
	if err != nil || item == nil {
		return GetResult{Units: readUnits(0, r.Consistent)}, err
	}
	return GetResult{Item: want.item(item), Units: readUnits(size, r.Consistent)}, nil
}

// projectionOf parses a projection that stands alone.
func projectionOf(src *string, names map[string]string) (*projection, error) {
	s := newScope(names, nil)
	var want *projection
	if src != nil {
		var err error
		if want, err = parseProjection(*src, s); err != nil {
			return nil, err
		}
	}
	return want, s.unused()
}

// read returns the item with a store key and its size, nil when there is none.
func (db *DB) read(t *Table, key []byte) (Item, int, error) {
	data, found, err := db.st.Get(key)
	if err != nil || !found {
		return nil, 0, err
	}
	item, err := t.decode(key, data)
	if err != nil {
		return nil, 0, err
	}
	size, _ := checkMap(item, maxDepth)
	return item, size, nil
}

// Reading is what Query and Scan have in common.
type Reading struct {
	Table      string
	Filter     *string
	Projection *string
	Names      map[string]string
	Values     map[string]Value
	Limit      int  // items to evaluate, before the filter; 0: as many as fit a page
	StartKey   Item // LastKey of the page before; nil: from the beginning
	Consistent bool // every read is; it only doubles the units
	CountOnly  bool // leave Page.Items empty
}

// QueryRequest asks for the items of one partition in the order of their sort key.
type QueryRequest struct {
	Reading
	KeyCondition string
	Descending   bool
}

// ScanRequest asks for the items of a table, in no useful order.
type ScanRequest struct {
	Reading
	Segment, Segments int // the part of a parallel scan; Segments 0 is the whole
}

// Page is one page of items. There may be more, if LastKey is not nil, also
// when the page is empty.
type Page struct {
	Items   []Item
	Count   int     // items that passed the filter
	Scanned int     // items evaluated
	LastKey Item    // where to go on
	Units   float64 // read capacity units
}

// expressions are the parsed ones of a Reading.
type expressions struct {
	filter *node
	want   *projection
}

func (r *Reading) parse(s *scope) (e expressions, err error) {
	if r.Filter != nil {
		if e.filter, err = parseChecked("FilterExpression", *r.Filter, s); err != nil {
			return e, err
		}
	}
	if r.Projection != nil {
		if e.want, err = parseProjection(*r.Projection, s); err != nil {
			return e, err
		}
	}
	return e, s.unused()
}

// scope checks the values, which the engine itself encodes into keys.
func (r *Reading) scope() (*scope, error) {
	if _, err := checkMap(r.Values, maxDepth); err != nil {
		return nil, err
	}
	_, err := checkMap(r.StartKey, maxDepth)
	return newScope(r.Names, r.Values), err
}

// Query returns a page of one partition.
func (db *DB) Query(r QueryRequest) (Page, error) {
	s, err := r.scope()
	if err != nil {
		return Page{}, err
	}
	cond, err := parseChecked("KeyConditionExpression", r.KeyCondition, s)
	if err != nil {
		return Page{}, err
	}
	e, err := r.parse(s)
	if err != nil {
		return Page{}, err
	}
	terms, err := keyTerms(cond)
	if err != nil {
		return Page{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return Page{}, err
	}
	part, err := r.span(t, terms)
	if err != nil {
		return Page{}, err
	}
	if err := t.checkFilter(e.filter); err != nil {
		return Page{}, err
	}
	return db.page(t, part, r.Descending, &r.Reading, e)
}

// span is what the query walks: the key condition from the start key on.
func (r *QueryRequest) span(t *Table, terms []keyTerm) (span, error) {
	if err := t.checkStartHash(r.StartKey); err != nil {
		return span{}, err
	}
	part, hash, err := t.keySpan(terms)
	if err != nil || r.StartKey == nil {
		return part, err
	}
	key, err := t.startKey(r.StartKey)
	if err != nil {
		return span{}, err
	}
	if start := r.StartKey[t.Hash.Name]; !equal(&start, &hash) {
		return span{}, invalid("The provided starting key is outside query boundaries based on provided conditions")
	}
	if !part.holds(key) {
		return span{}, invalid("The provided starting key does not match the range key predicate")
	}
	part.startAfter(key, r.Descending)
	return part, nil
}

func (s *span) holds(key []byte) bool {
	return bytes.Compare(key, s.lower) >= 0 && bytes.Compare(key, s.upper) < 0
}

func (s *span) startAfter(key []byte, descending bool) {
	if descending {
		s.upper = key
	} else {
		s.lower = after(key)
	}
}

// checkStartHash refuses a start key that can be of no partition.
func (t *Table) checkStartHash(start Item) error {
	if start == nil {
		return nil
	}
	hash, ok := start[t.Hash.Name]
	if !ok || len(start) != t.keyCount() {
		return invalid("The provided starting key is invalid")
	}
	if hash.Kind != t.Hash.Kind {
		return errSchema
	}
	return nil
}

// startKey returns the store key of a start key that checkStartHash let through.
func (t *Table) startKey(start Item) ([]byte, error) {
	if t.Range != nil {
		if _, ok := start[t.Range.Name]; !ok {
			return nil, invalid("The provided starting key is invalid")
		}
	}
	return t.encodeKey(start)
}

// checkFilter refuses a query's filter that looks at the key.
func (t *Table) checkFilter(filter *node) error {
	if filter == nil {
		return nil
	}
	var err error
	filter.eachAttribute(func(name string) {
		if err == nil && t.isKey(name) {
			err = invalid("Filter Expression can only contain non-primary key attributes: Primary key attribute: %s", name)
		}
	})
	return err
}

// maxSegments is DynamoDB's limit of TotalSegments.
const maxSegments = 1_000_000

// Scan returns a page of a table or of one segment of it.
func (db *DB) Scan(r ScanRequest) (Page, error) {
	if r.Segments < 0 || r.Segments > maxSegments || r.Segment < 0 || r.Segment >= max(r.Segments, 1) {
		return Page{}, invalid("The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: %d is not less than TotalSegments: %d", r.Segment, r.Segments)
	}
	s, err := r.scope()
	if err != nil {
		return Page{}, err
	}
	e, err := r.parse(s)
	if err != nil {
		return Page{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return Page{}, err
	}
	part := t.segment(r.Segment, max(r.Segments, 1))
	if r.StartKey != nil {
		if err := t.checkStartHash(r.StartKey); err != nil {
			return Page{}, err
		}
		key, err := t.startKey(r.StartKey)
		if err != nil {
			return Page{}, err
		}
		if !part.holds(key) {
			return Page{}, invalid("The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: %d Segment: %d", r.Segments, r.Segment)
		}
		part.startAfter(key, false)
	}
	return db.page(t, part, false, &r.Reading, e)
}

// segment is the i-th of n parts of a table: a range of slots.
func (t *Table) segment(i, n int) span {
	const slots = 1 << 16
	bound := func(i int) []byte {
		prefix := appendTablePrefix(nil, t.id)
		slot := int64(i) * slots / int64(n)
		if slot == slots {
			return store.PrefixEnd(prefix)
		}
		return binary.BigEndian.AppendUint16(prefix, uint16(slot))
	}
	return span{bound(i), bound(i + 1)}
}

// page walks the span until the limit or the size of a page is reached.
func (db *DB) page(t *Table, part span, descending bool, r *Reading, e expressions) (p Page, err error) {
	if bytes.Compare(part.lower, part.upper) >= 0 { // the start key was the last one
		return Page{Units: readUnits(0, r.Consistent)}, nil
	}
	it, err := db.st.Iterator(part.lower, part.upper)
	if err != nil {
		return p, err
	}
	defer it.Close()
	size := 0
	for ok := begin(it, descending); ok; ok = advance(it, descending) {
		item, err := t.decode(it.Key(), it.Value())
		if err != nil {
			return Page{}, err
		}
		n, _ := checkMap(item, maxDepth)
		size += n
		p.add(item, r, e)
		if p.Scanned == r.Limit || size >= maxPage {
			p.LastKey = t.keyOf(item)
			break
		}
	}
	p.Units = readUnits(size, r.Consistent)
	return p, it.Error()
}

func begin(it *pebble.Iterator, descending bool) bool {
	if descending {
		return it.Last()
	}
	return it.First()
}

func advance(it *pebble.Iterator, descending bool) bool {
	if descending {
		return it.Prev()
	}
	return it.Next()
}

// add evaluates one item.
func (p *Page) add(item Item, r *Reading, e expressions) {
	p.Scanned++
	if e.filter != nil && !e.filter.holds(item) {
		return
	}
	p.Count++
	if !r.CountOnly {
		p.Items = append(p.Items, e.want.item(item))
	}
}
