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

	where  fn   // nil: none
	value  fn   // SELECT VALUE; nil otherwise
	whole  bool // the payload as it is
	items  []item
	reduce bool
	old    bool // version 2015-10-08
}

// item is one compiled entry of a SELECT list.
type item struct {
	x      fn
	star   bool     // * without alias
	spread bool     // path.*
	name   []string // segments
}

// Compile makes a Program. An error is an *iotsql.Error that names what is
// wrong or not offered, and the place.
func Compile(st *iotsql.Statement, v iotsql.Version) (*Program, error) {
	c := &compiler{src: st.Source, version: v, reduce: v == iotsql.V2016}
	p := &Program{version: v, reduce: c.reduce, old: v == iotsql.V2015}
	if err := c.set(st.Set); err != nil {
		return nil, err
	}
	var err error
	if p.value, p.items, err = c.selection(st.Select); err != nil {
		return nil, err
	}
	p.whole = isWhole(st.Select)
	if st.Where != nil {
		p.where, err = c.expr(st.Where)
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
func (p *Program) Run(m *Message) (Result, bool) {
	m.spent = 0
	r, fired := p.run(m)
	if m.spent > budget {
		return Result{err: errWork}, true
	}
	return r, fired
}

func (p *Program) run(m *Message) (Result, bool) {
	if len(p.variables) > 0 {
		if err := p.assign(m); err != nil {
			return Result{err: err}, true
		}
	}
	if p.where != nil {
		if is, _ := p.where(m).toBool(); !is {
			return Result{}, false
		}
	}
	r := Result{reduce: p.reduce}
	switch {
	case p.whole:
		if root, ok := m.Root(); ok {
			r.value = root
		} else {
			r.raw, r.binary = m.Payload, true
		}
	case p.value != nil:
		r.value = p.value(m)
	default:
		r.value = selectItems(p.items, m)
	}
	if p.old && p.value != nil && r.value.kind == Array { // only version 2016-03-23 can select an array
		r.value = undef
	}
	return r, true
}

func selectItems(items []item, m *Message) Value {
	out := &node{members: make([]Member, 0, len(items)), ours: true}
	for i := range items {
		it := &items[i]
		switch v := it.x(m); {
		case it.star || it.spread:
			for _, member := range v.Members() {
				out.set(member.Name, member.Value)
			}
		case v.kind != Undefined:
			out.setPath(it.name, v)
		}
	}
	return Value{kind: Object, ref: out}
}

// setPath sets a member by its path. Objects on the way that are not ours are
// copied first, since others share them.
func (n *node) setPath(path []string, v Value) {
	if len(path) == 1 {
		n.set(path[0], v)
		return
	}
	child := n.Get(path[0])
	if child == nil || !child.ours {
		fresh := &node{ours: true}
		if child != nil {
			for _, m := range child.members {
				fresh.set(m.Name, m.Value)
			}
		}
		n.set(path[0], Value{kind: Object, ref: fresh})
		child = fresh
	}
	child.setPath(path[1:], v)
}

// Get returns the parts of the member called name if it is an Object, else nil.
func (n *node) Get(name string) *node {
	if i := n.find(name); i >= 0 && n.members[i].Value.kind == Object {
		return n.members[i].Value.ref
	}
	return nil
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
}

// notOffer takes down that a function needs a service that mote does not have,
// and returns what its call is: Undefined.
func (c *compiler) notOffer(name string) fn {
	if name = strings.ToLower(name); !slices.Contains(c.notOffered, name) {
		c.notOffered = append(c.notOffered, name)
	}
	return func(*Message) Value { return undef }
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

func (c *compiler) selection(s iotsql.Selection) (value fn, items []item, err error) {
	if s.Value != nil {
		value, err = c.expr(s.Value)
		return value, nil, err
	}
	for _, it := range s.Items {
		x, err := c.expr(it.X)
		if err != nil {
			return nil, nil, err
		}
		_, star := it.X.(*iotsql.Star)
		out := item{x: x, star: star && it.Alias == nil, spread: it.Spread, name: it.Alias}
		if out.name == nil {
			out.name = []string{defaultName(it)}
		}
		items = append(items, out)
	}
	return nil, items, nil
}

// defaultName is the name of an item without alias: the last segment of a
// path, the name of a function, else its source (AWS-REFERENCE 8.5).
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
		return c.member(x.Name, names), nil
	}
	base, err := c.expr(x)
	return func(m *Message) Value { return follow(base(m), names, c.reduce) }, err
}

// member reads a member of the payload, or of the element that a nested SELECT
// is at.
func (c *compiler) member(name string, names []string) fn {
	reduce := c.reduce
	return func(m *Message) Value {
		for i := len(m.scopes) - 1; i >= 0; i-- {
			if v := m.scopes[i].get(name); v.kind != Undefined {
				return follow(v, names, reduce)
			}
		}
		root, _ := m.Root()
		return follow(root.Get(name), names, reduce)
	}
}

func follow(v Value, names []string, reduce bool) Value {
	for _, n := range names {
		v = v.Get(n)
	}
	if reduce && v.kind == Decimal {
		return v.reduce()
	}
	return v
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
	if c.reduce {
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
		n := &node{members: make([]Member, 0, len(values))}
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
	return func(m *Message) Value {
		elems := make([]Value, len(values))
		for i, f := range values {
			elems[i] = f(m)
		}
		return array(elems)
	}, err
}

// scope is what names mean inside a nested SELECT: the members of the element
// that it is at, or the element by its alias.
type scope struct {
	elem  Value
	alias string
}

func (s *scope) get(name string) Value {
	if s.alias != "" && name == s.alias {
		return s.elem
	}
	return s.elem.Get(name)
}

// star is the payload, or the element that a nested SELECT is at.
func star(m *Message) Value {
	if n := len(m.scopes); n > 0 {
		return m.scopes[n-1].elem
	}
	v, _ := m.Root()
	return v
}

// maxNested is how deep SELECT nests. How much work that makes is bounded by
// Message.spend.
const maxNested = 8

// nestedSelect compiles (SELECT … FROM path WHERE …): of an Array, an Array of what
// each element that passes WHERE gives; of an Object, what it gives itself
// (AWS IoT SQL reference, "Nested object queries"). Names are looked up in the
// element, then outside (AWS-REFERENCE 8.8).
func (c *compiler) nestedSelect(x *iotsql.Nested) (fn, error) {
	if err := c.only2016(x.Pos, "a nested SELECT"); err != nil {
		return nil, err
	}
	if c.nested++; c.nested > maxNested {
		return nil, iotsql.Errorf(c.src, x.Pos, "SELECT is nested deeper than %d", maxNested)
	}
	defer func() { c.nested-- }()
	from, err := c.expr(x.From)
	if err != nil {
		return nil, err
	}
	value, items, err := c.selection(x.Select)
	if err != nil {
		return nil, err
	}
	var where fn
	if x.Where != nil {
		if where, err = c.expr(x.Where); err != nil {
			return nil, err
		}
	}
	one := func(m *Message) Value {
		if where != nil {
			if is, _ := where(m).toBool(); !is {
				return undef
			}
		}
		if value != nil {
			return value(m)
		}
		return selectItems(items, m)
	}
	row := func(m *Message, elem Value) Value {
		if !m.spend(rowCost) {
			return undef
		}
		m.scopes = append(m.scopes, scope{elem, x.Alias})
		v := one(m)
		m.scopes = m.scopes[:len(m.scopes)-1]
		return v
	}
	return func(m *Message) Value {
		switch of := from(m); of.kind {
		case Object:
			return row(m, of)
		case Array:
			elems := make([]Value, len(of.ref.elems))
			for i, e := range of.ref.elems {
				elems[i] = row(m, e)
			}
			return array(elems)
		}
		return undef
	}, nil
}
