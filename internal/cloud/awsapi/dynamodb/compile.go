package dynamodb

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"mote/internal/cloud/partiql"
	"mote/internal/cloud/table"
)

// statement is a parsed statement with its parameters.
type statement struct {
	partiql.Statement
	values []attribute
}

// parseStatement parses a statement and counts its parameters.
func parseStatement(text string, parameters []attribute) (st statement, err error) {
	s, n, err := partiql.Parse(text)
	if err != nil {
		return st, malformed(err)
	}
	if n != len(parameters) {
		return st, refused("Number of parameters in request and statement don't match.")
	}
	for _, p := range parameters {
		if p.fault != nil {
			return st, p.fault
		}
	}
	st = statement{s, parameters}
	return st, st.checkOperands(whereOf(s))
}

// whereOf is the condition of a statement, nil when it has none.
func whereOf(s partiql.Statement) *partiql.Expr {
	switch s := s.(type) {
	case *partiql.Select:
		return s.Where
	case *partiql.Update:
		return s.Where
	case *partiql.Delete:
		return s.Where
	case *partiql.Exists:
		return s.Select.Where
	}
	return nil
}

// checkOperands refuses to order what has no order, which DynamoDB does before
// it looks for the table.
func (st *statement) checkOperands(e *partiql.Expr) error {
	if e == nil {
		return nil
	}
	orders := e.Kind == partiql.Between || e.Kind == partiql.Binary && strings.ContainsAny(e.Text, "<>") && e.Text != "<>"
	for _, arg := range e.Args {
		if err := st.checkOperands(arg); err != nil {
			return err
		}
		if v, ok, err := st.value(arg); orders && ok && err == nil && v.Kind != table.S && v.Kind != table.N && v.Kind != table.B {
			op := e.Text
			if e.Kind == partiql.Between {
				op = "BETWEEN"
			}
			return refused("Incorrect operand type for operator or function; operator or function: " + op + ", operand type: " + v.Kind.String())
		}
	}
	return nil
}

func malformed(err error) error {
	if e, ok := err.(*partiql.Error); ok && e.Unsupported {
		return refused(e.Error())
	}
	return refused("Statement wasn't well formed, can't be processed: " + err.Error())
}

func refusedAt(e *partiql.Expr, text string) error { return refused(text + " at " + e.At.String()) }

// value returns what a literal or parameter is; false for other expressions.
func (st *statement) value(e *partiql.Expr) (table.Value, bool, error) { return st.valueAt(e, "root") }

// valueAt is value for what is at a place within a value, as refusals call it;
// "" is the item of an INSERT.
func (st *statement) valueAt(e *partiql.Expr, at string) (v table.Value, ok bool, err error) {
	switch e.Kind {
	case partiql.Text:
		return table.String(e.Text), true, nil
	case partiql.Number:
		if v, err = table.Number(e.Text); err != nil {
			err = refused(messageOf(err) + " under " + at)
		}
		return v, true, err
	case partiql.Bool:
		return table.Bool(e.Text == "true"), true, nil
	case partiql.Null:
		return table.Null(), true, nil
	case partiql.Param:
		return st.values[e.Index].Value, true, nil
	case partiql.List, partiql.Struct, partiql.Bag:
		v, err = st.document(e, at)
		return v, true, err
	}
	return v, false, nil
}

// document is the value of a list, structure or set, of which every part must
// be one.
func (st *statement) document(e *partiql.Expr, at string) (table.Value, error) {
	values := make([]table.Value, len(e.Args))
	for i, arg := range e.Args {
		v, ok, err := st.valueAt(arg, inside(e, at, i))
		switch {
		case err != nil || ok:
		case arg.Kind == partiql.Call:
			err = refusedAt(arg, "Unsupported data type: "+arg.Text+" under key "+inside(e, at, i))
		default:
			err = refusedAt(arg, "Unsupported data type: a value or a parameter is needed here")
		}
		if err != nil {
			return v, err
		}
		values[i] = v
	}
	switch e.Kind {
	case partiql.List:
		return table.List(values...), nil
	case partiql.Bag:
		return bag(e, values)
	}
	m := table.Item{}
	for i, name := range e.Names {
		m[name] = values[i]
	}
	return table.Map(m), nil
}

// inside is the place of the i-th part of what is at a place.
func inside(e *partiql.Expr, at string, i int) string {
	switch {
	case at == "":
		return "root"
	case e.Kind == partiql.Struct:
		return at + "." + e.Names[i]
	}
	return at + "[" + strconv.Itoa(i) + "]"
}

// bag is a set.
func bag(e *partiql.Expr, values []table.Value) (table.Value, error) {
	if len(values) == 0 {
		return table.Value{}, refused("Empty bags are not supported")
	}
	v := table.Value{Kind: map[table.Kind]table.Kind{table.S: table.SS, table.N: table.NS, table.B: table.BS}[values[0].Kind]}
	for _, x := range values {
		if v.Kind == 0 || x.Kind != values[0].Kind {
			return v, refusedAt(e, "Unsupported data type in Bag: its members are all texts, all numbers or all binaries")
		}
		if x.Kind == table.B {
			x.Str = string(x.Bin)
		}
		v.Set = append(v.Set, x.Str)
	}
	return v, table.CheckValue(v)
}

// builder writes expressions of the engine, with placeholders for every name
// and value.
type builder struct {
	st     *statement
	names  map[string]string // "#n0" → name
	known  map[string]string // name → "#n0"
	values map[string]table.Value
}

func (st *statement) builder() *builder {
	return &builder{st, map[string]string{}, map[string]string{}, map[string]table.Value{}}
}

func (b *builder) name(name string) string {
	ref, ok := b.known[name]
	if !ok {
		ref = "#n" + strconv.Itoa(len(b.known))
		b.known[name], b.names[ref] = ref, name
	}
	return ref
}

func (b *builder) path(p partiql.Path) string {
	var text strings.Builder
	for i, s := range p {
		switch {
		case s.List:
			text.WriteString("[" + strconv.Itoa(s.Index) + "]")
		case i > 0:
			text.WriteString("." + b.name(s.Name))
		default:
			text.WriteString(b.name(s.Name))
		}
	}
	return text.String()
}

func (b *builder) constant(v table.Value) string {
	ref := ":v" + strconv.Itoa(len(b.values))
	b.values[ref] = v
	return ref
}

// placeholders are what a request gives with its expressions: none is nil.
func (b *builder) condition(text string) table.Condition {
	c := table.Condition{Names: b.names, Values: b.values}
	if text != "" {
		c.Expression = &text
	}
	return c
}

// operand writes a path, a value or one of the functions that give one.
func (b *builder) operand(e *partiql.Expr, functions ...string) (string, error) {
	v, ok, err := b.st.value(e)
	switch {
	case err != nil:
		return "", err
	case ok:
		return b.constant(v), nil
	case e.Kind == partiql.PathExpr:
		return b.path(e.Path), nil
	case e.Kind == partiql.Missing:
		return "", refused("MISSING must be compared using IS operator")
	case e.Kind == partiql.Call && slices.Contains(functions, e.Text):
		return b.call(e, functions...)
	case e.Kind == partiql.Call:
		return "", refusedAt(e, "Unrecognized function: "+e.Text)
	}
	return "", refusedAt(e, "Unsupported operator in an expression: a path, a value or a parameter is needed here")
}

func (b *builder) call(e *partiql.Expr, inner ...string) (string, error) {
	args, err := b.operands(e.Args, inner...)
	if err == nil && len(args) == 0 {
		err = refused("Incorrect number of operands for operator or function; operator or function: " + e.Text + ", number of operands: 0")
	}
	return e.Text + "(" + strings.Join(args, ", ") + ")", err
}

func (b *builder) operands(list []*partiql.Expr, functions ...string) ([]string, error) {
	texts := make([]string, len(list))
	for i, e := range list {
		var err error
		if texts[i], err = b.operand(e, functions...); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// conditionFunctions are those that are true or false.
var conditionFunctions = []string{"attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"}

// isTypes are the types of IS and what they are in attribute_type.
var isTypes = map[string]string{"NULL": "NULL", "BOOLEAN": "BOOL", "BLOB": "B", "STRING": "S", "NUMERIC": "N", "STRUCT": "M", "TUPLE": "M", "LIST": "L"}

// test writes a condition.
func (b *builder) test(e *partiql.Expr) (string, error) {
	switch e.Kind {
	case partiql.Not:
		text, err := b.test(e.Args[0])
		if isLogical(e.Args[0]) {
			text = "(" + text + ")"
		}
		return "NOT " + text, err
	case partiql.Binary:
		return b.binary(e)
	case partiql.Between:
		args, err := b.operands(e.Args, "size")
		if err != nil {
			return "", err
		}
		return args[0] + " BETWEEN " + args[1] + " AND " + args[2], nil
	case partiql.In:
		return b.in(e)
	case partiql.Is:
		return b.is(e)
	case partiql.Call:
		if slices.Contains(conditionFunctions, e.Text) {
			return b.call(e, "size")
		}
		return "", refusedAt(e, "Unrecognized function: "+e.Text)
	}
	return "", refused("WHERE clause must contain an expression that resolves to a boolean")
}

func isLogical(e *partiql.Expr) bool {
	return e.Kind == partiql.Binary && (e.Text == "AND" || e.Text == "OR")
}

// truth says whether e compares a function that is true or false with what it is
// wanted to be.
func truth(e *partiql.Expr) (call *partiql.Expr, want, ok bool) {
	call, value := e.Args[0], e.Args[1]
	if e.Text != "=" || call.Kind != partiql.Call || !slices.Contains(conditionFunctions, call.Text) || value.Kind != partiql.Bool {
		return nil, false, false
	}
	return call, value.Text == "true", true
}

func (b *builder) binary(e *partiql.Expr) (string, error) {
	if e.Text == "+" || e.Text == "-" {
		return "", refusedAt(e, "Unsupported operator in Condition Expression. Operator: "+e.Text)
	}
	if call, want, ok := truth(e); ok {
		text, err := b.test(call)
		if !want {
			text = "NOT " + text
		}
		return text, err
	}
	side := func(arg *partiql.Expr) (string, error) { return b.operand(arg, "size") }
	if isLogical(e) {
		side = func(arg *partiql.Expr) (string, error) {
			text, err := b.test(arg)
			if isLogical(arg) && arg.Text != e.Text {
				text = "(" + text + ")"
			}
			return text, err
		}
	}
	left, err := side(e.Args[0])
	if err != nil {
		return "", err
	}
	right, err := side(e.Args[1])
	return left + " " + e.Text + " " + right, err
}

// in writes IN; a parameter that is a list stands for its elements.
func (b *builder) in(e *partiql.Expr) (string, error) {
	left, err := b.operand(e.Args[0], "size")
	if err != nil {
		return "", err
	}
	list, err := b.st.members(e)
	if err != nil {
		return "", err
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = b.constant(v)
	}
	return left + " IN (" + strings.Join(texts, ", ") + ")", nil
}

// members are the values on the right side of IN.
func (st *statement) members(e *partiql.Expr) (list []table.Value, err error) {
	for _, arg := range e.Args[1:] {
		v, ok, err := st.value(arg)
		if err == nil && !ok {
			err = refusedAt(arg, "IN takes values and parameters")
		}
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if len(e.Args) == 2 && e.Args[1].Kind == partiql.Param && list[0].Kind == table.L {
		list = list[0].List
	}
	if len(list) == 0 {
		return nil, refused("IN operator must have a left hand argument of type Variable Reference and right hand argument of type Seq with at least one member")
	}
	return list, nil
}

func (b *builder) is(e *partiql.Expr) (string, error) {
	if e.Args[0].Kind != partiql.PathExpr {
		return "", refused("The left hand side argument to IS must be a Variable Reference, Literal, or Path")
	}
	path := b.path(e.Args[0].Path)
	if e.Text == "MISSING" {
		return "attribute_not_exists(" + path + ")", nil
	}
	return "attribute_type(" + path + ", " + b.constant(table.String(isTypes[e.Text])) + ")", nil
}

// all writes the conjunction of conditions, "" for none.
func (b *builder) all(list []*partiql.Expr) (string, error) {
	texts := make([]string, len(list))
	for i, e := range list {
		var err error
		if texts[i], err = b.test(e); err != nil {
			return "", err
		}
		if len(list) > 1 && isLogical(e) {
			texts[i] = "(" + texts[i] + ")"
		}
	}
	return strings.Join(texts, " AND "), nil
}

// conjuncts takes e apart at its ANDs.
func conjuncts(e *partiql.Expr, list []*partiql.Expr) []*partiql.Expr {
	switch {
	case e == nil:
		return list
	case e.Kind == partiql.Binary && e.Text == "AND":
		return conjuncts(e.Args[1], conjuncts(e.Args[0], list))
	}
	return append(list, e)
}

// equality says whether e is name = value, for an attribute.
func (st *statement) equality(e *partiql.Expr, name string) (table.Value, bool, error) {
	if e.Kind != partiql.Binary || e.Text != "=" {
		return table.Value{}, false, nil
	}
	for i := range 2 {
		if isAttribute(e.Args[i], name) {
			return st.value(e.Args[1-i])
		}
	}
	return table.Value{}, false, nil
}

func isAttribute(e *partiql.Expr, name string) bool {
	return e.Kind == partiql.PathExpr && len(e.Path) == 1 && e.Path[0].Name == name
}

// keyOf takes the equalities of the key of t out of a WHERE and returns the key
// and the other conditions. The key is nil when one is not there once.
func (st *statement) keyOf(t *table.Table, where *partiql.Expr) (key table.Item, rest []*partiql.Expr, err error) {
	key = table.Item{}
	names := []string{t.Hash.Name}
	if t.Range != nil {
		names = append(names, t.Range.Name)
	}
next:
	for _, e := range conjuncts(where, nil) {
		for _, name := range names {
			v, ok, err := st.equality(e, name)
			if err != nil {
				return nil, nil, err
			}
			if _, again := key[name]; ok && again {
				return nil, nil, refused("Multiple conditions on same key " + name + ". Only single item Update/Insert/Delete are supported")
			}
			if ok {
				key[name] = v
				continue next
			}
		}
		rest = append(rest, e)
	}
	if len(key) != len(names) {
		return nil, rest, nil
	}
	return key, rest, nil
}

// duplicate is the refusal of an INSERT of what is there.
func duplicate() error {
	return &wireError{status: http.StatusBadRequest, space: service, code: "DuplicateItemException", message: duplicateText}
}

const duplicateText = "Duplicate primary key exists in table"
