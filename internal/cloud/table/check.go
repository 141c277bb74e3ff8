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
type rank int

const (
	rankFunction rank = iota
	rankReserved
	rankName
	rankValue
	rankUse
	rankCount
	rankType
	rankParens
	rankDistinct
	ranks
)

// checker resolves the placeholders of one expression and collects its faults.
type checker struct {
	*parser
	scope  *scope
	faults [ranks]error
}

func (c *checker) fault(r rank, format string, args ...any) {
	if c.faults[r] == nil {
		c.faults[r] = c.errorf(format, args...)
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

// checkCondition resolves and checks a whole condition.
func checkCondition(p *parser, n *node, s *scope) error {
	c := &checker{parser: p, scope: s}
	c.check(n, false)
	if p.redundant {
		c.fault(rankParens, "The expression has redundant parentheses;")
	}
	return c.result()
}

func (c *checker) check(n *node, asOperand bool) {
	switch n.kind {
	case nodePath:
		c.resolvePath(n.steps)
		return
	case nodeValue:
		c.resolveValue(n)
		return
	}
	inside := n.kind != nodeAnd && n.kind != nodeOr && n.kind != nodeNot
	for _, arg := range n.args {
		c.check(arg, inside)
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
		if len(n.args)-1 > maxIn {
			c.fault(rankCount, "Incorrect number of operands for operator or function; operator or function: IN, number of operands: %d", len(n.args))
		}
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
			c.fault(rankReserved, "Attribute name is a reserved keyword; reserved keyword: %s", s.name)
		}
		return
	}
	name, ok := c.scope.names[s.name]
	if !ok {
		c.fault(rankName, "An expression attribute name used in the document path is not defined; attribute name: %s", s.name)
		return
	}
	c.scope.usedNames[s.name] = true
	s.name = name
}

func (c *checker) resolveValue(n *node) {
	v, ok := c.scope.values[n.ref]
	if !ok {
		c.fault(rankValue, "An expression attribute value used in expression is not defined; attribute value: %s", n.ref)
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

func (c *checker) checkTypeName(n *node) {
	arg := n.args[1]
	if arg.kind != nodeValue {
		c.fault(rankType, "Incorrect operand type for operator or function; operator or function: %s, operand type: document path", n.op)
		return
	}
	c.wantTypes(n.op, n.args[1:], S)
	if arg.value.Kind == S && !slices.Contains(kindNames[S:], arg.value.Str) {
		c.fault(rankType, "Invalid attribute type name found; type: %s, valid types: {%s}", clip(arg.value.Str, 64), strings.Join(kindNames[S:], ","))
	}
}

// wantTypes refuses literal values of other kinds than those allowed.
func (c *checker) wantTypes(op string, args []*node, allowed ...Kind) {
	for _, arg := range args {
		if arg.kind == nodeValue && arg.value.Kind != 0 && !slices.Contains(allowed, arg.value.Kind) {
			c.fault(rankType, "Incorrect operand type for operator or function; operator or function: %s, operand type: %s", op, arg.value.Kind)
		}
	}
}

func (c *checker) checkDistinct(n *node) {
	first := n.args[0]
	if first.kind != nodePath {
		return
	}
	for _, arg := range n.args[1:] {
		if arg.kind == nodePath && slices.Equal(arg.steps, first.steps) {
			c.fault(rankDistinct, "The first operand must be distinct from the remaining operands for this operator or function; operator: %s, first operand: %s", n.op, showPath(first.steps))
		}
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
	c.fault(rankDistinct, "The BETWEEN operator requires %s; lower bound operand: AttributeValue: %s, upper bound operand: AttributeValue: %s", problem, showScalar(&low.value), showScalar(&high.value))
}

// showScalar writes a value as DynamoDB's errors do: {N:2}.
func showScalar(v *Value) string {
	text := v.Str
	if v.Kind == B {
		text = base64.StdEncoding.EncodeToString(v.Bin)
	}
	return "{" + v.Kind.String() + ":" + clip(text, 256) + "}"
}

// eachAttribute calls f with the attribute that each path of the tree begins with.
func (n *node) eachAttribute(f func(name string)) {
	if n.kind == nodePath {
		f(n.steps[0].name)
	}
	for _, arg := range n.args {
		arg.eachAttribute(f)
	}
}
