package eval

import (
	"slices"
	"strings"

	"mote/internal/iotsql"
)

// fn is a compiled expression.
type fn func(m *Message) Value

// Program is a compiled statement. It is safe for concurrent use.
type Program struct {
	variables  []variable // of the SET clause
	version    iotsql.Version
	notOffered []string

	where  cond // nil: none
	sel    selection
	whole  bool // the payload as it is
	reduce bool
	old    bool // version 2015-10-08
}

// item is one compiled entry of a SELECT list.
type item struct {
	x      fn
	star   bool     // * without alias
	spread bool     // path.*
	name   []string // segments

	path  path     // x is this member of the payload, or of the element of a nested SELECT; nil otherwise
	quick *operand // x for small numbers; nil: none
}

// Compile makes a Program. An error is an *iotsql.Error that names what is
// wrong or not offered, and the place.
func Compile(st *iotsql.Statement, v iotsql.Version) (*Program, error) {
	c := &compiler{src: st.Source, version: v, reduce: v == iotsql.V2016}
	return c.program(st)
}

func (c *compiler) program(st *iotsql.Statement) (*Program, error) {
	p := &Program{version: c.version, reduce: c.reduce, old: c.version == iotsql.V2015}
	if err := c.set(st.Set); err != nil {
		return nil, err
	}
	var err error
	if p.sel, err = c.selection(st.Select); err != nil {
		return nil, err
	}
	p.whole = isWhole(st.Select)
	if st.Where != nil {
		p.where, err = c.cond(st.Where)
	}
	p.variables, p.notOffered = c.variables, c.notOffered
	return p, err
}

// NotOffered returns the names of the functions in the statement that need a
// service that mote does not have, in lower case and each once. Their calls are
// Undefined.
func (p *Program) NotOffered() []string { return p.notOffered }

// isWhole says whether a selection is "*" or "VALUE *" alone: the payload as
// it is, also when it is not JSON.
func isWhole(s iotsql.Selection) bool {
	x, alone := s.Value, s.Value != nil
	if len(s.Items) == 1 && s.Items[0].Alias == nil {
		x, alone = s.Items[0].X, true
	}
	_, star := x.(*iotsql.Star)
	return alone && star
}

// Run runs the program over a message. It returns false when WHERE was not
// true, and a result with an Err when that took too much work or the variables
// of SET are too large.
func (p *Program) Run(m *Message) (r Result, fired bool) {
	m.spent = 0
	m.space()
	fired = p.run(m, &r)
	if m.spent > budget {
		return Result{err: errWork}, true
	}
	return r, fired
}

// run is Run without the budget; r is zero.
func (p *Program) run(m *Message, r *Result) (fired bool) {
	if len(p.variables) > 0 {
		if r.err = p.assign(m); r.err != nil {
			return true
		}
	}
	if p.where != nil && p.where(m) != holds {
		return false
	}
	r.reduce = p.reduce
	switch {
	case !p.whole:
		p.sel.run(m, &r.value)
	case m.isJSON():
		r.value = m.work.doc.at(0)
	default:
		r.raw, r.binary = m.Payload, true
	}
	if p.old && p.sel.value != nil && r.value.kind == Array { // only version 2016-03-23 can select an array
		r.value = undef
	}
	return true
}

// selection is a compiled SELECT list.
type selection struct {
	value fn // SELECT VALUE; nil otherwise
	items []item
	plain bool // all items have names of one segment, which differ
}

// run sets dst, which is Undefined, to what the list selects.
func (s *selection) run(m *Message, dst *Value) {
	switch {
	case s.value != nil:
		*dst = s.value(m)
	case s.plain:
		dst.kind, dst.ref = Object, s.members(m)
	default:
		*dst = s.merge(m)
	}
}

// members is run of a plain list.
func (s *selection) members(m *Message) *node {
	out := m.work.object(len(s.items))
	members, n := out.members[:len(s.items)], 0
	for i := range s.items {
		it, to := &s.items[i], &members[n]
		if it.put(m, &to.Value); to.Value.kind != Undefined {
			to.Name = it.name[0]
			n++
		}
	}
	if out.members = members[:n]; n > manyMembers {
		out.makeIndex()
	}
	return out
}

// put sets dst, which is Undefined, to the value of an item: a Value is large.
func (it *item) put(m *Message, dst *Value) {
	if it.quick != nil {
		if q := it.quick.get(m); q.kind != Undefined {
			dst.kind, dst.small, dst.exp, dst.coef = q.kind, true, q.exp, q.coef
			return
		}
	}
	if it.path != nil {
		if d, at := m.find(it.path); at != 0 && d.put(at, dst) {
			return
		}
	}
	*dst = it.x(m)
}

// merge is run where later items may change what earlier ones gave.
func (s *selection) merge(m *Message) Value {
	room := len(s.items)
	if s.items[0].star {
		room += star(m).Len()
	}
	out := m.work.object(room)
	out.ours = true
	for i := range s.items {
		it := &s.items[i]
		switch v := it.x(m); {
		case it.star || it.spread:
			out.spread(v)
		case v.kind != Undefined:
			out.setPath(it.name, v)
		}
	}
	return Value{kind: Object, ref: out}
}

// plainNames says whether the items have names of one segment, which differ.
func plainNames(items []item) bool {
	seen := map[string]bool{}
	for _, it := range items {
		if it.star || it.spread || len(it.name) != 1 || seen[it.name[0]] {
			return false
		}
		seen[it.name[0]] = true
	}
	return true
}

// spread sets the members of an Object.
func (n *node) spread(v Value) {
	members := v.Members()
	if len(n.members) > 0 {
		for i := range members {
			n.set(members[i].Name, members[i].Value)
		}
		return
	}
	n.members = append(n.members, members...)
	if len(members) > manyMembers {
		n.makeIndex()
	}
}

// setPath sets a member by its path. Objects on the way that are not ours are
// copied first, since others share them.
func (n *node) setPath(path []string, v Value) {
	if len(path) == 1 {
		n.set(path[0], v)
		return
	}
	old := n.get(path[0])
	child := old.ref
	if old.kind != Object || !child.ours {
		child = &node{ours: true}
		child.spread(old)
		n.set(path[0], Value{kind: Object, ref: child})
	}
	child.setPath(path[1:], v)
}

// compiler compiles the expressions of one text.
type compiler struct {
	src     string
	version iotsql.Version
	reduce  bool // version 2016-03-23: whole Decimals are Ints
	nested  int  // how many SELECTs are around

	variables     []variable // of SET, up to where the compiler is
	usesVariables bool
	notOffered    []string
	readsItem     bool // get_dynamodb was called
}

// notOffer takes down that a function needs a service that mote does not have:
// its calls are Undefined.
func (c *compiler) notOffer(name string) {
	if name = strings.ToLower(name); !slices.Contains(c.notOffered, name) {
		c.notOffered = append(c.notOffered, name)
	}
}

func (c *compiler) unsupported(pos iotsql.Pos, what string) error {
	return iotsql.Errorf(c.src, pos, "%s is not supported here", what)
}

// only2016 refuses a feature of the newer version.
func (c *compiler) only2016(pos iotsql.Pos, what string) error {
	if c.version == iotsql.V2016 {
		return nil
	}
	return iotsql.Errorf(c.src, pos, "%s needs awsIotSqlVersion %q; this rule has %q", what, iotsql.V2016, c.version)
}

func (c *compiler) selection(s iotsql.Selection) (out selection, err error) {
	if s.Value != nil {
		out.value, err = c.expr(s.Value)
		return out, err
	}
	for _, it := range s.Items {
		x, err := c.expr(it.X)
		if err != nil {
			return out, err
		}
		_, star := it.X.(*iotsql.Star)
		one := item{x: x, star: star && it.Alias == nil, spread: it.Spread, name: it.Alias}
		if names := memberPath(it.X, nil); names != nil {
			one.path = newPath(names)
		}
		if b, ok := it.X.(*iotsql.Binary); ok && b.Op.IsArithmetic() {
			one.quick = c.quick(b)
		}
		if one.name == nil {
			one.name = []string{defaultName(it)}
		}
		out.items = append(out.items, one)
	}
	out.plain = plainNames(out.items)
	return out, nil
}

// defaultName is the name of an item without alias: the last segment of a
// path, the name of a function, else its source (AWS IoT developer
// guide, "SELECT clause").
func defaultName(it iotsql.Item) string {
	switch x := it.X.(type) {
	case *iotsql.Name:
		return x.Name
	case *iotsql.Field:
		return x.Name
	case *iotsql.Var:
		return x.Name
	case *iotsql.Call:
		return x.Name
	case *iotsql.Cast:
		return "cast"
	}
	return it.Text
}

func (c *compiler) expr(x iotsql.Expr) (fn, error) {
	switch x := x.(type) {
	case *iotsql.Literal:
		return c.literal(x), nil
	case *iotsql.Star:
		return star, nil
	case *iotsql.Name:
		return c.path(x, nil)
	case *iotsql.Field:
		return c.path(x, nil)
	case *iotsql.Index:
		return c.index(x)
	case *iotsql.Unary:
		return c.unary(x)
	case *iotsql.Binary:
		return c.binary(x)
	case *iotsql.Call:
		return c.call(x)
	case *iotsql.Cast:
		return c.cast(x)
	case *iotsql.Case:
		return c.caseOf(x)
	case *iotsql.Object:
		return c.object(x)
	case *iotsql.Array:
		return c.array(x)
	case *iotsql.Nested:
		return c.nestedSelect(x)
	case *iotsql.Var:
		return c.variable(x)
	}
	return nil, c.unsupported(x.Position(), "this expression")
}

func (c *compiler) exprs(xs []iotsql.Expr) ([]fn, error) {
	out := make([]fn, len(xs))
	for i, x := range xs {
		var err error
		if out[i], err = c.expr(x); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *compiler) literal(x *iotsql.Literal) fn {
	v := null
	switch x.Kind {
	case iotsql.LitTrue:
		v = yes
	case iotsql.LitFalse:
		v = no
	case iotsql.LitString:
		v = text(x.Text)
	case iotsql.LitNumber:
		v = c.numberLiteral(x.Text)
	}
	return func(*Message) Value { return v }
}

func (c *compiler) numberLiteral(s string) Value {
	v := number(s)
	if strings.HasPrefix(s, "0") && len(s) > 1 && s[1] >= '0' && s[1] <= '9' { // not how JSON writes it
		v = normal(v)
	}
	if c.reduce {
		v = v.reduce()
	}
	return v
}

// path compiles a chain of members, the most common expression. names holds
// the members behind x.
func (c *compiler) path(x iotsql.Expr, names []string) (fn, error) {
	switch x := x.(type) {
	case *iotsql.Field:
		return c.path(x.X, append([]string{x.Name}, names...))
	case *iotsql.Name:
		return c.member(append([]string{x.Name}, names...)), nil
	}
	base, err := c.expr(x)
	return func(m *Message) Value { return c.whole(getAll(base(m), names)) }, err
}

// member reads a member of the payload; inside a nested SELECT, of the element
// that it is at when that has one, also of those around it.
func (c *compiler) member(names []string) fn {
	p := newPath(names)
	if c.nested == 0 {
		return func(m *Message) Value {
			d, at := m.find(p)
			if at == 0 {
				return undef
			}
			return c.whole(d.at(at))
		}
	}
	return func(m *Message) Value {
		if d, at := m.find(p); at != 0 {
			return c.whole(d.at(at))
		}
		for i := len(m.work.scopes) - 1; i >= 0; i-- {
			if v := m.work.scopes[i].get(names[0]); v.kind != Undefined {
				return c.whole(getAll(v, names[1:]))
			}
		}
		root, _ := m.Root()
		return c.whole(getAll(root, names))
	}
}

// find is the quick way to a member of the payload, or of the element that a
// nested SELECT is at: the token of it. In a nested SELECT, 0 says only that
// there may be another way.
func (m *Message) find(p path) (d *document, at uint32) {
	if n := len(m.work.scopes); n > 0 {
		s := &m.work.scopes[n-1]
		if d, at = s.doc, s.at; d == nil || s.alias != "" {
			return nil, 0
		}
	} else {
		if m.state != isJSON && !m.isJSON() {
			return nil, 0
		}
		d = &m.work.doc
	}
	for i := range p {
		if at = d.step(at, &p[i]); at == 0 {
			return d, 0
		}
	}
	return d, at
}

func (c *compiler) index(x *iotsql.Index) (fn, error) {
	base, err := c.expr(x.X)
	if err != nil {
		return nil, err
	}
	i, err := c.expr(x.I)
	return func(m *Message) Value { return c.whole(get(base(m), i(m))) }, err
}

// whole applies the rule of version 2016-03-23 to a result.
func (c *compiler) whole(v Value) Value {
	if c.reduce && v.mayBeWhole() {
		return v.reduce()
	}
	return v
}

func (c *compiler) caseOf(x *iotsql.Case) (fn, error) {
	v, err := c.expr(x.X)
	if err != nil {
		return nil, err
	}
	type branch struct{ when, then fn }
	var branches []branch
	for _, w := range x.Whens {
		when, err := c.expr(w.If)
		if err != nil {
			return nil, err
		}
		then, err := c.expr(w.Then)
		if err != nil {
			return nil, err
		}
		branches = append(branches, branch{when, then})
	}
	otherwise := func(*Message) Value { return undef }
	if x.Else != nil {
		if otherwise, err = c.expr(x.Else); err != nil {
			return nil, err
		}
	}
	return func(m *Message) Value {
		of := v(m)
		if of.kind == Undefined { // also with ELSE (AWS IoT SQL reference, "CASE statements")
			return undef
		}
		for _, b := range branches {
			if w := b.when(m); w.kind != Undefined && m.equal(of, w).Bool() {
				return b.then(m)
			}
		}
		return otherwise(m)
	}, nil
}

func (c *compiler) object(x *iotsql.Object) (fn, error) {
	if err := c.only2016(x.Pos, "an object literal"); err != nil {
		return nil, err
	}
	xs := make([]iotsql.Expr, len(x.Members))
	for i, m := range x.Members {
		xs[i] = m.X
	}
	values, err := c.exprs(xs)
	return func(m *Message) Value {
		n := m.work.object(len(values))
		for i, f := range values {
			if v := f(m); v.kind != Undefined {
				n.set(x.Members[i].Name, v)
			}
		}
		return Value{kind: Object, ref: n}
	}, err
}

func (c *compiler) array(x *iotsql.Array) (fn, error) {
	if err := c.only2016(x.Pos, "an array literal"); err != nil {
		return nil, err
	}
	values, err := c.exprs(x.Elems)
	if constant(x.Elems) && err == nil {
		return fixed(values), nil
	}
	return func(m *Message) Value {
		elems := m.work.room(len(values))[:0]
		for _, f := range values {
			if v := f(m); v.kind != Undefined {
				elems = append(elems, v)
			}
		}
		return m.work.array(elems)
	}, err
}

// constant says whether all expressions are literals.
func constant(xs []iotsql.Expr) bool {
	for _, x := range xs {
		if _, ok := x.(*iotsql.Literal); !ok {
			return false
		}
	}
	return true
}

// fixed is an Array of literals, which is made once.
func fixed(values []fn) fn {
	elems := make([]Value, len(values))
	for i, f := range values {
		elems[i] = f(nil)
	}
	v := array(elems)
	return func(*Message) Value { return v }
}

// scope is what names mean inside a nested SELECT: the members of the element
// that it is at, or the element by its alias.
type scope struct {
	doc   *document // that the element is in, as its token at; nil: it is elem
	at    uint32
	elem  Value
	alias string
}

func (s *scope) value() Value {
	if s.doc != nil {
		return s.doc.at(s.at)
	}
	return s.elem
}

func (s *scope) get(name string) Value {
	switch {
	case s.alias != "" && name == s.alias:
		return s.value()
	case s.doc != nil:
		return s.doc.get(s.at, name)
	}
	return s.elem.Get(name)
}

// star is the payload, or the element that a nested SELECT is at.
func star(m *Message) Value {
	if n := len(m.work.scopes); n > 0 {
		return m.work.scopes[n-1].value()
	}
	v, _ := m.Root()
	return v
}

// maxNested is how deep SELECT nests. How much work that makes is bounded by
// Message.spend.
const maxNested = 8

// nested is a compiled nested SELECT.
type nested struct {
	from  fn
	alias string
	where cond // nil: none
	sel   selection
}

// nestedSelect compiles (SELECT … FROM path WHERE …): of an Array, an Array of what
// each element that passes WHERE gives; of an Object, what it gives itself
// (AWS IoT SQL reference, "Nested object queries"). Names are looked up in the
// element, then outside (AWS IoT developer guide, "Nested object
// queries").
func (c *compiler) nestedSelect(x *iotsql.Nested) (fn, error) {
	if err := c.only2016(x.Pos, "a nested SELECT"); err != nil {
		return nil, err
	}
	n := &nested{alias: x.Alias}
	var err error
	if n.from, err = c.expr(x.From); err != nil { // FROM is outside
		return nil, err
	}
	if c.nested++; c.nested > maxNested {
		return nil, iotsql.Errorf(c.src, x.Pos, "SELECT is nested deeper than %d", maxNested)
	}
	defer func() { c.nested-- }()
	if n.sel, err = c.selection(x.Select); err != nil {
		return nil, err
	}
	if x.Where != nil {
		n.where, err = c.cond(x.Where)
	}
	return n.run, err
}

func (n *nested) run(m *Message) Value {
	of := n.from(m)
	if of.kind != Object && of.kind != Array {
		return undef
	}
	w := m.work
	level := len(w.scopes)
	d, at := of.unopened()
	w.scopes = append(w.scopes, scope{doc: d, at: at, elem: of, alias: n.alias})
	var out Value
	switch {
	case of.kind == Object:
		n.row(m, &out)
	case d != nil:
		out = n.tokens(m, d, at)
	default:
		out = n.elems(m, of.ref.elems)
	}
	w.scopes = w.scopes[:level]
	return out
}

// tokens makes an Array of what the elements of an unopened Array give.
func (n *nested) tokens(m *Message, d *document, at uint32) Value {
	t, level := &d.tokens[at], len(m.work.scopes)-1
	out, rows := m.work.room(t.count()), 0
	for i := at + 1; i < t.next; i = d.tokens[i].next {
		m.work.scopes[level].at = i
		if n.row(m, &out[rows]) {
			rows++
		}
	}
	return m.work.array(out[:rows])
}

// elems makes an Array of what the elements of an Array give.
func (n *nested) elems(m *Message, elems []Value) Value {
	level, out, rows := len(m.work.scopes)-1, m.work.room(len(elems)), 0
	for _, e := range elems {
		s := &m.work.scopes[level]
		if s.doc, s.at = e.unopened(); s.doc == nil {
			s.elem = e
		}
		if n.row(m, &out[rows]) {
			rows++
		}
	}
	return m.work.array(out[:rows])
}

// row sets dst, which is Undefined, to what the element gives that the SELECT is
// at. It returns false when that is nothing, since it does not pass WHERE.
func (n *nested) row(m *Message, dst *Value) bool {
	if !m.spend(rowCost) || n.where != nil && n.where(m) != holds {
		return false
	}
	n.sel.run(m, dst)
	return dst.kind != Undefined
}
