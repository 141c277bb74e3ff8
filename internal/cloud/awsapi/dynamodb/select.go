package dynamodb

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"mote/internal/cloud/partiql"
	"mote/internal/cloud/table"
)

// plan is what a SELECT reads: partitions one after the other by their hash
// keys, or, without any, the whole table or index.
type plan struct {
	sel       *partiql.Select
	reading   table.Reading
	index     *table.Index // nil: none
	hash      string       // name of the key attribute
	hashes    []table.Value
	condition string // on the sort key; "": none
	backwards bool
}

// pageUnits are the read capacity units, of reads that need not be consistent,
// after which a page ends: 1 MB.
const pageUnits = 128

// maxHashes bounds the partitions of one SELECT (Amazon DynamoDB Developer
// Guide, "PartiQL select statements for DynamoDB": 50 hash key values in IN).
const maxHashes = 50

// schema is the key of what a SELECT reads.
func (h *Handler) schema(from partiql.Source) (t *table.Table, hash, rng *table.KeyAttr, err error) {
	if t, err = h.tableOf(from.Table); err != nil || from.Index == "" {
		if err == nil {
			hash, rng = &t.Hash, t.Range
		}
		return t, hash, rng, err
	}
	i := slices.IndexFunc(t.Indexes, func(x *table.Index) bool { return x.Name == from.Index })
	if i < 0 {
		return t, nil, nil, refused("The table does not have the specified index")
	}
	return t, t.Indexes[i].Hash, t.Indexes[i].Range, nil
}

// planSelect compiles a SELECT.
func (h *Handler) planSelect(st *statement, s *partiql.Select) (p plan, err error) {
	t, hash, rng, err := h.schema(s.From)
	if err != nil {
		return p, err
	}
	p = plan{sel: s, hash: hash.Name, index: t.IndexNamed(s.From.Index)}
	if err := p.checkPaths(); err != nil {
		return p, err
	}
	b := st.builder()
	var rest []*partiql.Expr
	for _, e := range conjuncts(s.Where, nil) {
		took, err := p.take(b, e, rng)
		if err != nil {
			return p, err
		}
		if !took {
			rest = append(rest, e)
		}
	}
	if p.hashes == nil && p.condition != "" { // it helps nothing without the hash key
		b, rest, p.condition = st.builder(), conjuncts(s.Where, nil), ""
	}
	if err := p.order(rng); err != nil {
		return p, err
	}
	if err := p.checkProjected(rest); err != nil {
		return p, err
	}
	filter, err := b.all(rest)
	if err != nil {
		return p, err
	}
	p.reading = table.Reading{Table: s.From.Table, Index: s.From.Index, Names: b.names, Values: b.values, PartiQL: true, Attributes: p.attributes()}
	if filter != "" {
		p.reading.Filter = &filter
	}
	return p, nil
}

// attributes are those that a SELECT on an index names, each once; nil: all, or
// they are in what is read.
func (p *plan) attributes() (names []string) {
	if p.index == nil {
		return nil
	}
	for _, path := range p.sel.Paths {
		if !slices.Contains(names, path[0].Name) {
			names = append(names, path[0].Name)
		}
	}
	return names
}

// checkProjected refuses conditions beside one on the hash key of an index that
// look at what the index does not hold. A condition without the hash key finds
// nothing there.
func (p *plan) checkProjected(rest []*partiql.Expr) error {
	if p.index == nil || p.hashes == nil {
		return nil
	}
	var lacks []string
	for _, e := range rest {
		e.EachPath(func(path partiql.Path) {
			if name := path[0].Name; !p.index.Projects(name) && !slices.Contains(lacks, name) {
				lacks = append(lacks, name)
			}
		})
	}
	if lacks == nil {
		return nil
	}
	return refused("One or more parameter values were invalid: Secondary index " + p.index.Name + " does not project one or more filter attributes: [" + quoteless(strings.Join(lacks, ", ")) + "]")
}

// take makes e the condition on the hash key or that on the sort key, if it
// can be and there is none yet.
func (p *plan) take(b *builder, e *partiql.Expr, rng *table.KeyAttr) (bool, error) {
	if p.hashes == nil {
		v, ok, err := b.st.equality(e, p.hash)
		if ok && err == nil {
			p.hashes = []table.Value{v}
		}
		if ok || err != nil {
			return ok, err
		}
		if e.Kind == partiql.In && isAttribute(e.Args[0], p.hash) {
			return true, p.takeList(b.st, e)
		}
	}
	if rng == nil || p.condition != "" || !b.st.onSortKey(e, rng.Name) {
		return false, nil
	}
	text, err := b.test(e)
	p.condition = text
	return true, err
}

func (p *plan) takeList(st *statement, e *partiql.Expr) error {
	list, err := st.members(e)
	if len(list) > maxHashes {
		err = refused("Too many decomposed read operations for a given query.")
	}
	for _, v := range list {
		if !slices.ContainsFunc(p.hashes, func(have table.Value) bool {
			return have.Kind == v.Kind && have.Str == v.Str && bytes.Equal(have.Bin, v.Bin)
		}) {
			p.hashes = append(p.hashes, v)
		}
	}
	return err
}

// onSortKey says whether e is what a query can look for in the sort key.
func (st *statement) onSortKey(e *partiql.Expr, name string) bool {
	constant := func(e *partiql.Expr) bool {
		return e.Kind == partiql.Text || e.Kind == partiql.Number || e.Kind == partiql.Param
	}
	switch e.Kind {
	case partiql.Binary:
		if e.Text == "<>" || isLogical(e) {
			return false
		}
		return isAttribute(e.Args[0], name) && constant(e.Args[1]) || isAttribute(e.Args[1], name) && constant(e.Args[0])
	case partiql.Between:
		return isAttribute(e.Args[0], name) && constant(e.Args[1]) && constant(e.Args[2])
	case partiql.Call:
		return e.Text == "begins_with" && len(e.Args) == 2 && isAttribute(e.Args[0], name) && constant(e.Args[1])
	}
	return false
}

// order compiles ORDER BY, which only the keys can give.
func (p *plan) order(rng *table.KeyAttr) error {
	list := p.sel.Order
	if list == nil {
		return nil
	}
	switch {
	case p.sel.Where == nil:
		return refused("Must have WHERE clause in the statement when using ORDER BY clause.")
	case p.hashes == nil:
		return refused("Must have at least one non-optional hash key condition in WHERE clause when using ORDER BY clause.")
	case len(p.hashes) > 1:
		return refused("ORDER BY is not supported over several hash keys: read them one by one")
	}
	for _, o := range list {
		switch {
		case len(o.Path) == 1 && o.Path[0].Name == p.hash: // all are the same
		case rng != nil && len(o.Path) == 1 && o.Path[0].Name == rng.Name:
			p.backwards = o.Descending
		default:
			return refused("Variable reference " + showName(o.Path) + " in ORDER BY clause must be part of the primary key")
		}
	}
	return nil
}

// checkPaths refuses two paths that would have the same name.
func (p *plan) checkPaths() error {
	seen := map[string]bool{}
	for _, path := range p.sel.Paths {
		name := showName(path)
		if seen[name] {
			return refused("Duplicate identifiers in select clause: " + name)
		}
		seen[name] = true
	}
	return nil
}

// showName is the name under which a path is answered: its last name, with the
// indexes behind it.
func showName(path partiql.Path) string {
	i := len(path) - 1
	indexes := ""
	for ; path[i].List; i-- {
		indexes = "[" + strconv.Itoa(path[i].Index) + "]" + indexes
	}
	return path[i].Name + indexes
}

// shown is what a SELECT answers of an item.
func shown(s *partiql.Select, it table.Item) table.Item {
	if s.Paths == nil {
		return it
	}
	out := table.Item{}
	for _, path := range s.Paths {
		if v, ok := lookup(it, path); ok {
			out[showName(path)] = v
		}
	}
	return out
}

func lookup(it table.Item, path partiql.Path) (v table.Value, ok bool) {
	v = table.Map(it)
	for _, s := range path {
		switch {
		case s.List && v.Kind == table.L && s.Index < len(v.List):
			v = v.List[s.Index]
		case !s.List && v.Kind == table.M:
			if v, ok = v.Map[s.Name]; !ok {
				return v, false
			}
		default:
			return v, false
		}
	}
	return v, true
}

// read reads a page, from where a token says.
func (h *Handler) read(p *plan, limit int, from position) (page table.Page, next *position, err error) {
	for {
		r := p.reading
		r.StartKey, from.key = from.key, nil
		if limit > 0 {
			r.Limit = limit - page.Scanned
		}
		part, err := h.readPart(p, r, from.part)
		if err != nil {
			return page, nil, err
		}
		page.Items = append(page.Items, part.Items...)
		page.Scanned += part.Scanned
		page.Units += part.Units
		addIndex(&page, part.Index)
		if part.LastKey != nil {
			return page, &position{from.part, part.LastKey}, nil
		}
		if from.part++; from.part >= len(p.hashes) {
			return page, nil, nil
		}
		units := page.Units
		if r.Consistent {
			units /= 2
		}
		if units >= pageUnits || limit > 0 && page.Scanned >= limit {
			return page, &from, nil
		}
	}
}

func addIndex(page *table.Page, part *table.IndexUnits) {
	switch {
	case part == nil:
	case page.Index == nil:
		page.Index = part
	default:
		page.Index.Units += part.Units
	}
}

// readPart reads of one partition, or of everything.
func (h *Handler) readPart(p *plan, r table.Reading, part int) (table.Page, error) {
	if p.hashes == nil {
		return h.db.Scan(table.ScanRequest{Reading: r})
	}
	r.Names, r.Values = cloneWith(r.Names, "#hash", p.hash), cloneWith(r.Values, ":hash", p.hashes[part])
	q := table.QueryRequest{Reading: r, KeyCondition: "#hash = :hash", Descending: p.backwards}
	if p.condition != "" {
		q.KeyCondition += " AND " + p.condition
	}
	return h.db.Query(q)
}

func cloneWith[V any](m map[string]V, key string, v V) map[string]V {
	out := make(map[string]V, len(m)+1)
	for k, have := range m {
		out[k] = have
	}
	out[key] = v
	return out
}

// position is where a SELECT goes on: the partition among plan.hashes, and the
// last key in it, nil at its beginning.
type position struct {
	part int
	key  table.Item
}

var (
	errToken      = refused("Invalid NextToken")
	errOtherToken = refused("NextToken does not match request")
)

const tokenPrint = 16 // bytes of the statement's fingerprint in a NextToken

// print tells statements with their parameters apart.
func (st *statement) print() []byte {
	text := []byte(st.String())
	for _, v := range st.values {
		text = appendValue(append(text, 0), &v.Value)
	}
	sum := sha256.Sum256(text)
	return sum[:tokenPrint]
}

// nextToken writes a position for the client: the fingerprint of the
// statement, the partition, and the key as JSON.
func (st *statement) nextToken(at *position) string {
	token := append(st.print(), byte(at.part))
	if at.key != nil {
		token = appendItem(token, at.key)
	}
	return base64.StdEncoding.EncodeToString(token)
}

// position reads a NextToken; nil is the beginning.
func (st *statement) position(token *string, parts int) (at position, err error) {
	if token == nil {
		return at, nil
	}
	data, err := base64.StdEncoding.DecodeString(*token)
	if err != nil || len(data) <= tokenPrint {
		return at, errToken
	}
	if !bytes.Equal(data[:tokenPrint], st.print()) {
		return at, errOtherToken
	}
	at.part = int(data[tokenPrint])
	key := data[tokenPrint+1:]
	if at.part >= max(parts, 1) || len(key) > 0 && !json.Valid(key) {
		return at, errToken
	}
	if len(key) > 0 {
		s := &scanner{data: key}
		it := s.item(maxNesting)
		if s.err != nil || it == nil || it.fault != nil {
			return at, errToken
		}
		at.key = it.Item
	}
	return at, nil
}

// keyOnly compiles the SELECT of a batch or transaction, which names one item
// of a table by its key and nothing else; within says where, for its refusal.
func (h *Handler) keyOnly(st *statement, within string) (s *partiql.Select, key table.Item, err error) {
	s = st.Statement.(*partiql.Select)
	t, err := h.tableOf(s.From.Table)
	if err != nil {
		return s, nil, err
	}
	p := plan{sel: s}
	if err := p.checkPaths(); err != nil {
		return s, nil, err
	}
	key, rest, err := st.keyOf(t, s.Where)
	if err == nil && (key == nil || len(rest) > 0 || s.From.Index != "" || s.Order != nil) {
		err = refused("Select statements within " + within + " must specify the primary key in the where clause.")
	}
	return s, key, err
}

// errorCode is the code of an error as a batch has it for each statement.
func errorCode(e *wireError) string {
	if e.code == table.CodeValidation {
		return table.ReasonValidation
	}
	return strings.TrimSuffix(e.code, "Exception")
}

// asDuplicates turns the reasons of INSERTs that found an item into their own.
func asDuplicates(err error, inserts []bool) error {
	var e *table.Error
	if !errors.As(err, &e) || e.Reasons == nil {
		return err
	}
	codes := make([]string, len(e.Reasons))
	for i := range e.Reasons {
		r := &e.Reasons[i]
		if inserts[i] && r.Code == table.ReasonCondition {
			r.Code, r.Message = "DuplicateItem", duplicateText
		}
		codes[i] = r.Code
	}
	before, _, _ := strings.Cut(e.Message, "[")
	e.Message = before + "[" + strings.Join(codes, ", ") + "]"
	return e
}
