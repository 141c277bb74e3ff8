package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

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
	Attributes []string // AttributesToGet, from before expressions: the projection on them; nil: none
	Consistent bool     // every read is; it only doubles the units
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
	want, err := projectionOf(r.Projection, r.Attributes, newScope(r.Names, nil))
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
	if err := want.checkScalar(t); err != nil {
		return GetResult{}, err
	}
	item, size, err := db.read(t, key)
	if err != nil || item == nil {
		return GetResult{Units: readUnits(0, r.Consistent)}, err
	}
	return GetResult{Item: want.item(item), Units: readUnits(size, r.Consistent)}, nil
}

// projectionOf returns the projection that stands alone in a request, nil when
// there is none.
func projectionOf(src *string, attributes []string, s *scope) (want *projection, err error) {
	if want, err = eitherProjection(src, attributes, s); err != nil {
		return nil, err
	}
	return want, s.unused()
}

func eitherProjection(src *string, attributes []string, s *scope) (*projection, error) {
	switch {
	case src != nil:
		return parseProjection(*src, s)
	case attributes != nil:
		return projectionOn(attributes)
	}
	return nil, nil
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

	// Each gets the items instead of Page.Items, one at a time in their order:
	// the members in the order of their names, which are valid for the call. It
	// is called for nothing when the request is refused, and may have been
	// called when reading fails.
	Each func(members []Member)

	Index         string // IndexName; "": the table itself
	PartiQL       bool   // the filter may look at the key of a query, and sees no more than the index holds
	AllAttributes bool   // Select=ALL_ATTRIBUTES: of a local index, the whole items

	// The parameters from before expressions.
	Conditions []AttributeCondition // QueryFilter or ScanFilter
	AnyOf      bool                 // ConditionalOperator OR: one of Conditions is enough
	Attributes []string             // AttributesToGet; nil: none
}

// QueryRequest asks for the items of one partition in the order of their sort key.
type QueryRequest struct {
	Reading
	KeyCondition  string               // KeyConditionExpression
	KeyConditions []AttributeCondition // in its place: the parameter from before expressions
	Descending    bool
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
	Count   int         // items that passed the filter
	Scanned int         // items evaluated
	LastKey Item        // where to go on
	Units   float64     // read capacity units
	Index   *IndexUnits // of Units: of the index that was read; nil: none was
}

// expressions are the parsed ones of a Reading.
type expressions struct {
	filter *node
	want   *projection
}

func (r *Reading) parse(s *scope) (e expressions, err error) {
	if r.Filter != nil {
		e.filter, err = parseChecked("FilterExpression", *r.Filter, s)
	} else {
		e.filter, err = legacyCondition(r.Conditions, r.AnyOf)
	}
	if err != nil {
		return e, err
	}
	if e.want, err = eitherProjection(r.Projection, r.Attributes, s); err != nil {
		return e, err
	}
	return e, s.unused()
}

// scope checks the values, which the engine itself encodes into keys.
func (r *Reading) scope() (*scope, error) {
	if _, err := checkMap(r.Values, maxNested); err != nil {
		return nil, err
	}
	_, err := checkMap(r.StartKey, maxNested)
	return newScope(r.Names, r.Values), err
}

// Query returns a page of one partition.
func (db *DB) Query(r QueryRequest) (Page, error) {
	terms, e, err := r.parse()
	if err != nil {
		return Page{}, err
	}
	t, err := db.table(r.Table)
	if err != nil {
		return Page{}, err
	}
	from, err := t.source(&r.Reading, e)
	if err != nil {
		return Page{}, err
	}
	part, err := r.span(from.t, terms)
	if err != nil {
		return Page{}, err
	}
	if r.PartiQL {
		err = e.want.checkScalar(t)
	} else {
		err = e.checkQuery(t, from.t, r.Filter == nil)
	}
	if err != nil {
		return Page{}, err
	}
	return db.page(from, part, r.Descending, &r.Reading, e)
}

// parse parses what the request says by itself.
func (r *QueryRequest) parse() (terms []keyTerm, e expressions, err error) {
	s, err := r.scope()
	if err != nil {
		return nil, e, err
	}
	var cond *node
	if r.KeyConditions == nil {
		if cond, err = parseChecked("KeyConditionExpression", r.KeyCondition, s); err != nil {
			return nil, e, err
		}
	}
	if e, err = r.Reading.parse(s); err != nil {
		return nil, e, err
	}
	if cond == nil {
		terms, err = legacyTerms(r.KeyConditions)
	} else {
		terms, err = keyTerms(cond)
	}
	return terms, e, err
}

// span is what the query walks: the key condition from the start key on.
func (r *QueryRequest) span(t *Table, terms []keyTerm) (span, error) {
	if err := t.checkTerms(terms, r.StartKey); err != nil {
		return span{}, err
	}
	part, hash := t.keySpan(terms)
	if r.StartKey == nil {
		return part, nil
	}
	key, err := t.encodeKey(r.StartKey)
	if err != nil {
		return span{}, err
	}
	start := r.StartKey[t.Hash.Name]
	switch here := equal(&start, &hash); {
	case len(terms) == 1 && !here:
		return span{}, invalid("The provided starting key is outside query boundaries based on provided conditions")
	case len(terms) == 2 && !t.inRange(terms, r.StartKey):
		return span{}, invalid("The provided starting key does not match the range key predicate")
	case !here:
		return span{}, invalid("The query can return at most one row and cannot be restarted")
	}
	part.startAfter(key, r.Descending)
	return part, nil
}

// inRange says whether the sort key of start is what the terms select.
func (t *Table) inRange(terms []keyTerm, start Item) bool {
	hash := start[t.Hash.Name]
	partition := t.appendPartition(nil, &hash)
	s := span{partition, store.PrefixEnd(partition)}
	s.narrow(partition, termOf(terms, t.Range.Name))
	rng := start[t.Range.Name]
	return s.holds(appendKeyValue(partition, &rng))
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

// checkQuery refuses a query's filter that looks at the key of what it reads, and
// paths into keys of the table t.
func (e *expressions) checkQuery(t, from *Table, legacy bool) error {
	if err := e.want.checkScalar(t); err != nil {
		return err
	}
	name := "Filter Expression"
	if legacy {
		name = "QueryFilter"
	}
	paths := e.filter.paths()
	for _, k := range from.keys() {
		if slices.ContainsFunc(paths, func(steps []step) bool { return steps[0].name == k.Name }) {
			return invalid("%s can only contain non-primary key attributes: Primary key attribute: %s", name, k.Name)
		}
	}
	return t.checkScalar(paths...)
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
	from, err := t.source(&r.Reading, e)
	if err != nil {
		return Page{}, err
	}
	part, err := r.span(from.t)
	if err != nil {
		return Page{}, err
	}
	if err := e.want.checkScalar(t); err != nil {
		return Page{}, err
	}
	if err := t.checkScalar(e.filter.paths()...); err != nil {
		return Page{}, err
	}
	return db.page(from, part, false, &r.Reading, e)
}

// span is what the scan walks: its segment from the start key on.
func (r *ScanRequest) span(t *Table) (span, error) {
	part := t.segment(r.Segment, max(r.Segments, 1))
	if r.StartKey == nil {
		return part, nil
	}
	key, err := t.encodeKey(r.StartKey)
	var refused *Error
	if errors.As(err, &refused) {
		return part, invalid("The provided starting key is invalid: %s", refused.Message)
	}
	if err != nil {
		return part, err
	}
	if !part.holds(key) {
		return part, invalid("The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct Segment. TotalSegments: %d Segment: %d", r.Segments, r.Segment)
	}
	part.startAfter(key, false)
	return part, nil
}

// segment is the i-th of n parts of a table: a range of slots.
func (t *Table) segment(i, n int) span {
	const slots = 1 << 16
	bound := func(i int) []byte {
		prefix := t.appendPrefix(nil)
		slot := int64(i) * slots / int64(n)
		if slot == slots {
			return store.PrefixEnd(prefix)
		}
		return binary.BigEndian.AppendUint16(prefix, uint16(slot))
	}
	return span{bound(i), bound(i + 1)}
}

// page walks the span until the limit or the size of a page is reached.
func (db *DB) page(from source, part span, descending bool, r *Reading, e expressions) (p Page, err error) {
	if bytes.Compare(part.lower, part.upper) >= 0 { // the start key was the last one
		p.charge(from, readUnits(0, r.Consistent), 0)
		return p, nil
	}
	if r.plain(from, e) {
		p, size, err := db.rows(from.t, part, descending, r)
		p.charge(from, readUnits(size, r.Consistent), 0)
		return p, err
	}
	var state store.Reader = db.st
	if from.base != nil {
		snap := db.st.Snapshot()
		defer snap.Close()
		state = snap
	}
	it, err := state.Iterator(part.lower, part.upper)
	if err != nil {
		return p, err
	}
	defer it.Close()
	size, fetched, fetches := 0, 0, 0.0
	for ok := begin(it, descending); ok; ok = advance(it, descending) {
		item, err := from.t.decode(it.Key(), it.Value())
		if err != nil {
			return Page{}, err
		}
		n, _ := checkMap(item, maxDepth)
		size += n
		if from.base != nil {
			if item, n, err = from.fetch(state, item); err != nil {
				return Page{}, err
			}
			fetched += n
			fetches += readUnits(n, r.Consistent)
		}
		p.add(item, r, e)
		if p.Scanned == r.Limit || size+fetched >= maxPage {
			p.LastKey = from.t.keyOf(item)
			break
		}
	}
	p.charge(from, readUnits(size, r.Consistent), fetches)
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
	switch {
	case r.CountOnly:
	case r.Each != nil:
		r.Each(membersOf(nil, e.want.item(item)))
	default:
		p.Items = append(p.Items, e.want.item(item))
	}
}
