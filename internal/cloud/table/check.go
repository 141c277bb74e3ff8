package table

import (
	"encoding/base64"
	"slices"
	"strings"
)

// scope is the placeholders of one request, shared by its expressions.
type scope struct {
	names      map[string]string
	values     map[string]Value
	usedNames  map[string]bool
	usedValues map[string]bool
}

func newScope(names map[string]string, values map[string]Value) *scope {
	return &scope{names, values, map[string]bool{}, map[string]bool{}}
}

// unused refuses placeholders that no expression of the request uses.
func (s *scope) unused() error {
	if keys := missing(s.names, s.usedNames); keys != "" {
		return invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", keys)
	}
	if keys := missing(s.values, s.usedValues); keys != "" {
		return invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", keys)
	}
	return nil
}

func missing[V any](given map[string]V, used map[string]bool) string {
	var keys []string
	for key := range given {
		if !used[key] {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

// rank orders the faults of an expression: of several, the first is told.
// Those of a condition from rankPlaceholder on count only for the first of its
// comparisons that has any.
type rank int

const (
	rankParens        rank = iota
	rankReservedFirst      // of updates
	rankFunction
	rankUse
	rankReserved
	rankSection
	rankPlaceholder
	rankValue // of updates; in conditions it is rankPlaceholder too
	rankOverlap
	rankConflict
	rankOperand
	rankCount
	rankDistinct
	rankType
	ranks
)

// checker resolves the placeholders of one expression and collects its faults.
type checker struct {
	kind    string // of the expression: opens every message
	scope   *scope
	update  bool // it is an update, whose faults have an order of their own
	faults  [ranks]error
	settled bool // the first comparison with faults is behind
}

func (c *checker) fault(r rank, format string, args ...any) {
	if c.faults[r] == nil && !(c.settled && r >= rankPlaceholder) {
		c.faults[r] = invalid("Invalid "+c.kind+": "+format, args...)
	}
}

func (c *checker) result() error {
	for _, err := range c.faults {
		if err != nil {
			return err
		}
	}
	return nil
}

// settle ends a comparison.
func (c *checker) settle() {
	for _, err := range c.faults[rankPlaceholder:] {
		c.settled = c.settled || err != nil
	}
}

// parseChecked parses a condition, resolves the placeholders and checks it.
func parseChecked(kind, src string, s *scope) (*node, error) {
	parsed, err := syntaxes.parse(kind, src, parseCondition)
	if err != nil {
		return nil, err
	}
	c := &checker{kind: kind, scope: s}
	n := parsed.condition.clone()
	c.check(n, false)
	if parsed.redundant {
		c.redundant()
	}
	return n, c.result()
}

func (c *checker) redundant() { c.fault(rankParens, "The expression has redundant parentheses;") }

func (c *checker) check(n *node, asOperand bool) {
	switch n.kind {
	case nodePath:
		c.resolvePath(n.steps)
		return
	case nodeValue:
		c.resolveValue(n)
		return
	}
	logical := n.kind == nodeAnd || n.kind == nodeOr || n.kind == nodeNot
	for _, arg := range n.args {
		c.check(arg, !logical)
	}
	switch n.kind {
	case nodeFunc:
		c.checkFunc(n, asOperand)
	case nodeCompare:
		c.checkDistinct(n)
		if n.op != "=" && n.op != "<>" {
			c.wantTypes(n.op, n.args, S, N, B)
		}
	case nodeBetween:
		c.checkDistinct(n)
		c.wantTypes(n.op, n.args, S, N, B)
		c.checkBounds(n)
	case nodeIn:
		c.checkDistinct(n)
		if among := len(n.args) - 1; among > maxIn {
			c.fault(rankCount, "The IN operator is provided with too many operands; number of operands: %d", among)
		}
	}
	if !logical && !asOperand {
		c.settle()
	}
}

func (c *checker) resolvePath(steps []step) {
	if len(steps) > maxDepth {
		c.fault(rankCount, "The document path has too many nesting levels; nesting levels: %d", len(steps))
	}
	for i := range steps {
		c.resolveStep(&steps[i])
	}
}

func (c *checker) resolveStep(s *step) {
	if s.list {
		return
	}
	if s.name[0] != '#' {
		if isReserved(s.name) {
			r := rankReserved
			if c.update {
				r = rankReservedFirst
			}
			c.fault(r, "Attribute name is a reserved keyword; reserved keyword: %s", s.name)
		}
		return
	}
	name, ok := c.scope.names[s.name]
	if !ok {
		c.fault(rankPlaceholder, "An expression attribute name used in the document path is not defined; attribute name: %s", s.name)
		return
	}
	c.scope.usedNames[s.name] = true
	s.name = name
}

func (c *checker) resolveValue(n *node) {
	v, ok := c.scope.values[n.ref]
	if !ok {
		r := rankPlaceholder
		if c.update {
			r = rankValue
		}
		c.fault(r, "An expression attribute value used in expression is not defined; attribute value: %s", n.ref)
		return
	}
	c.scope.usedValues[n.ref] = true
	n.value = v
}

// function is a function of conditions.
type function struct {
	operands int
	operand  bool // it gives a value, not true or false
}

var functions = map[string]function{
	"attribute_exists":     {operands: 1},
	"attribute_not_exists": {operands: 1},
	"attribute_type":       {operands: 2},
	"begins_with":          {operands: 2},
	"contains":             {operands: 2},
	"size":                 {operands: 1, operand: true},
}

func (c *checker) checkFunc(n *node, asOperand bool) {
	f, ok := functions[n.op]
	switch {
	case n.op == "if_not_exists" || n.op == "list_append": // of update expressions
		c.fault(rankUse, "The function is not allowed in a condition expression; function: %s", n.op)
	case !ok:
		c.fault(rankFunction, "Invalid function name; function: %s", clip(n.op, 255))
	case f.operand != asOperand:
		c.fault(rankUse, "The function is not allowed to be used this way in an expression; function: %s", n.op)
	case len(n.args) != f.operands:
		c.fault(rankCount, "Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", n.op, len(n.args))
	default:
		c.checkOperands(n)
	}
}

func (c *checker) checkOperands(n *node) {
	switch n.op {
	case "attribute_exists", "attribute_not_exists":
		if n.args[0].kind != nodePath {
			c.fault(rankType, "Operator or function requires a document path; operator or function: %s", n.op)
		}
	case "attribute_type":
		c.checkDistinct(n)
		c.checkTypeName(n)
	case "begins_with":
		c.wantTypes(n.op, n.args, S, B)
		c.checkDistinct(n)
	case "contains":
		c.checkDistinct(n)
	case "size":
		c.wantTypes(n.op, n.args, S, B, SS, NS, BS, L, M)
	}
}

// checkTypeName holds the second operand of attribute_type to the type
// descriptors, which DynamoDB lists in two orders of its own.
func (c *checker) checkTypeName(n *node) {
	arg := n.args[1]
	if arg.kind != nodeValue {
		c.fault(rankType, "Incorrect operand type for operator or function; operator or function: %s, operand type: {NS,SS,L,BS,N,M,B,BOOL,NULL,S}", n.op)
		return
	}
	c.wantTypes(n.op, n.args[1:], S)
	if arg.value.Kind == S && !slices.Contains(kindNames[S:], arg.value.Str) {
		c.fault(rankType, "Invalid attribute type name found; type: %s, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}", clip(arg.value.Str, 64))
	}
}

// wantTypes refuses operands that are known to be of other kinds than those
// allowed.
func (c *checker) wantTypes(op string, args []*node, allowed ...Kind) {
	for _, arg := range args {
		if kind := arg.knownKind(); kind != 0 && !slices.Contains(allowed, kind) {
			c.fault(rankType, "Incorrect operand type for operator or function; operator or function: %s, operand type: %s", op, kind)
		}
	}
}

// knownKind is the kind that an operand has in any item, 0 when that depends.
func (n *node) knownKind() Kind {
	if n.kind == nodeFunc && n.op == "size" {
		return N
	}
	return n.value.Kind
}

// checkDistinct refuses a first operand that is a path and comes again among the
// others.
func (c *checker) checkDistinct(n *node) {
	first := n.args[0].steps
	again := func(other *node) bool { return other.kind == nodePath && slices.Equal(first, other.steps) }
	if n.args[0].kind == nodePath && slices.ContainsFunc(n.args[1:], again) {
		c.fault(rankDistinct, "The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s", n.op, showPath(first))
	}
}

func (c *checker) checkBounds(n *node) {
	low, high := n.args[1], n.args[2]
	if low.kind != nodeValue || high.kind != nodeValue || low.value.Kind == 0 || high.value.Kind == 0 {
		return
	}
	problem := ""
	switch {
	case low.value.Kind != high.value.Kind:
		problem = "same data type for lower and upper bounds"
	case compareKeyValues(&low.value, &high.value) > 0:
		problem = "upper bound to be greater than or equal to lower bound"
	default:
		return
	}
	c.fault(rankType, "The BETWEEN operator requires %s; lower bound operand: AttributeValue: %s, upper bound operand: AttributeValue: %s", problem, showScalar(&low.value), showScalar(&high.value))
}

// showScalar writes a value as DynamoDB's errors do: {N:2}.
func showScalar(v *Value) string {
	text := v.Str
	if v.Kind == B {
		text = base64.StdEncoding.EncodeToString(v.Bin)
	}
	return "{" + v.Kind.String() + ":" + clip(text, 256) + "}"
}

// paths are those of the tree, which may be nil.
func (n *node) paths() (all [][]step) {
	if n != nil {
		n.eachPath(func(steps []step) { all = append(all, steps) })
	}
	return all
}

// eachPath calls f with each path of the tree.
func (n *node) eachPath(f func(steps []step)) {
	if n.kind == nodePath {
		f(n.steps)
	}
	for _, arg := range n.args {
		arg.eachPath(f)
	}
}

// checkPaths refuses two paths of which one is part of the other, and two that
// take the same thing for a map and for a list.
func (c *checker) checkPaths(paths [][]step) {
	const rewrite = "; must remove or rewrite one of these paths; path one: %s, path two: %s"
	for i, steps := range paths {
		for _, other := range paths[:i] {
			n := 0
			for n < len(other) && n < len(steps) && other[n] == steps[n] {
				n++
			}
			switch {
			case n == len(other) || n == len(steps):
				c.fault(rankOverlap, "Two document paths overlap with each other"+rewrite, showPath(other), showPath(steps))
			case other[n].list != steps[n].list:
				c.fault(rankConflict, "Two document paths conflict with each other"+rewrite, showPath(other), showPath(steps))
			}
		}
	}
}

// checkScalar refuses paths into a key attribute of the table or of an index.
func (t *Table) checkScalar(paths ...[]step) error {
	if !slices.ContainsFunc(paths, func(steps []step) bool { return len(steps) > 1 }) {
		return nil
	}
	if err := checkScalar(t.keys(), "Key", paths); err != nil {
		return err
	}
	for _, x := range t.Indexes {
		if err := checkScalar(x.keys(), "IndexKey", paths); err != nil && x.Status != IndexDeleting {
			return err
		}
	}
	return nil
}

func checkScalar(keys []KeyAttr, what string, paths [][]step) error {
	for _, k := range keys {
		for _, steps := range paths {
			if len(steps) > 1 && steps[0].name == k.Name {
				return invalid("Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: %s: %s", what, k.Name)
			}
		}
	}
	return nil
}

// keys are the key attributes, hash first.
func (t *Table) keys() []KeyAttr {
	if t.Range == nil {
		return []KeyAttr{t.Hash}
	}
	return []KeyAttr{t.Hash, *t.Range}
}
