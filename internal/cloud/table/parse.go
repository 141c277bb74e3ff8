package table

import (
	"slices"
	"strconv"
	"strings"
)

// Limits of expressions (DynamoDB developer guide, "Quotas in Amazon DynamoDB").
const (
	maxExpression = 4096 // bytes
	maxOperators  = 300
	maxIn         = 100 // operands of IN
)

// nodeKind is what a node of a condition is.
type nodeKind uint8

const (
	nodePath nodeKind = iota
	nodeValue
	nodeCompare // = <> < <= > >=
	nodeBetween
	nodeIn
	nodeAnd
	nodeOr
	nodeNot
	nodeFunc // also + and - of updates
)

// node is one node of a condition. op is how DynamoDB calls it in its errors.
type node struct {
	kind nodeKind
	op   string // operator or function
	args []*node

	steps []step // nodePath
	ref   string // nodeValue: the placeholder
	value Value  // nodeValue, after resolve

	parens bool // it stood in parentheses
}

// step is one part of a document path: an attribute or a list index.
type step struct {
	name  string // as written; after resolve without placeholder
	index int
	list  bool // index is meant
}

// clone copies the tree, so that the placeholders of one request can be
// resolved in it.
func (n *node) clone() *node {
	c := *n
	c.steps = slices.Clone(n.steps)
	c.args = make([]*node, len(n.args))
	for i, arg := range n.args {
		c.args[i] = arg.clone()
	}
	return &c
}

// operand says whether n stands for a value rather than for true or false. A
// function may be either: checkShape decides.
func (n *node) operand() bool { return n.kind == nodePath || n.kind == nodeValue }

// parser builds the tree of one expression by precedence climbing.
type parser struct {
	kind      string // "ConditionExpression" …: opens every message
	src       string
	tokens    []token
	keywords  []string // words that are no names here, in capitals
	at        int
	operators int
	redundant bool // ((x)) was seen
}

// syntaxError refuses the token that comes next; near is it with its neighbours.
func (p *parser) syntaxError() error {
	t := p.tokens[p.at]
	from, to := t.start, t.end
	if p.at > 0 {
		from = p.tokens[p.at-1].start
		if t.kind == tokEOF {
			to = p.tokens[p.at-1].end
		}
	}
	if p.at+1 < len(p.tokens) && p.tokens[p.at+1].kind != tokEOF {
		to = p.tokens[p.at+1].end
	}
	near := strings.ToValidUTF8(p.src[from:to], "\uFFFD")
	return p.errorf(`Syntax error; token: "%s", near: "%s"`, strings.ToValidUTF8(t.text, "\uFFFD"), near)
}

func (p *parser) errorf(format string, args ...any) *Error {
	return invalid("Invalid "+p.kind+": "+format, args...)
}

func newParser(kind, src string, keywords ...string) (*parser, error) {
	p := &parser{kind: kind, src: src, keywords: keywords}
	if len(src) > maxExpression {
		return nil, p.tooLong()
	}
	p.tokens = lex(src)
	if len(p.tokens) == 1 {
		return nil, p.errorf("The expression can not be empty;")
	}
	return p, nil
}

// tooLong is the refusal of a text beyond maxExpression; DynamoDB tells its
// size for some kinds only.
func (p *parser) tooLong() error {
	const text = "Expression size has exceeded the maximum allowed size;"
	if p.kind == "ConditionExpression" || p.kind == "FilterExpression" {
		return p.errorf(text+" expression size: %d", len(p.src))
	}
	return p.errorf(text)
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) isSymbol(text string) bool {
	t := p.peek()
	return t.kind == tokSymbol && t.text == text
}

func (p *parser) takeSymbol(text string) bool {
	if !p.isSymbol(text) {
		return false
	}
	p.at++
	return true
}

func (p *parser) expect(text string) error {
	if !p.takeSymbol(text) {
		return p.syntaxError()
	}
	return nil
}

// keyword returns the upper-case keyword that comes next, or "".
func (p *parser) keyword() string {
	t := p.peek()
	if t.kind != tokWord || len(t.text) > len("BETWEEN") {
		return ""
	}
	if word := strings.ToUpper(t.text); slices.Contains(p.keywords, word) {
		return word
	}
	return ""
}

// binding is how strongly an infix operator holds its sides; 0 is no operator.
func (p *parser) binding() (op string, power int) {
	switch word := p.keyword(); word {
	case "OR":
		return word, 1
	case "AND":
		return word, 2
	case "IN", "BETWEEN":
		return word, 4
	}
	if t := p.peek(); t.kind == tokSymbol {
		switch t.text {
		case "=", "<>", "<", "<=", ">", ">=":
			return t.text, 4
		}
	}
	return "", 0
}

// notPower is between AND and the comparisons: NOT a = b AND c is (NOT (a = b)) AND c.
const notPower = 3

// parseCondition parses a whole condition. Only syntax errors are reported;
// the rest is for checks that look at the tree.
func parseCondition(kind, src string) (*syntax, error) {
	p, err := newParser(kind, src, "AND", "OR", "NOT", "IN", "BETWEEN")
	if err != nil {
		return nil, err
	}
	n, err := p.expression(0)
	if err == nil && (p.peek().kind != tokEOF || n.operand()) {
		err = p.syntaxError()
	}
	if err != nil {
		return nil, err
	}
	return &syntax{condition: n, redundant: p.redundant}, p.countOperators()
}

func (p *parser) countOperators() error {
	if p.operators > maxOperators {
		return p.errorf("The expression contains too many operators; operator count: %d", p.operators)
	}
	return nil
}

// expression parses operators that bind more strongly than power.
func (p *parser) expression(power int) (*node, error) {
	left, err := p.prefix()
	for err == nil {
		op, binds := p.binding()
		if binds <= power {
			break
		}
		logical := op == "AND" || op == "OR"
		if logical && left.operand() || !logical && !left.operand() && left.kind != nodeFunc {
			return nil, p.syntaxError()
		}
		p.at++
		p.operators++
		left, err = p.infix(op, binds, left)
	}
	return left, err
}

func (p *parser) infix(op string, power int, left *node) (*node, error) {
	switch op {
	case "AND", "OR":
		right, err := p.expression(power)
		if err == nil && right.operand() {
			err = p.syntaxError()
		}
		kind := nodeAnd
		if op == "OR" {
			kind = nodeOr
		}
		return &node{kind: kind, op: op, args: []*node{left, right}}, err
	case "BETWEEN":
		return p.between(left)
	case "IN":
		if err := p.expect("("); err != nil {
			return nil, err
		}
		list, err := p.operands()
		return &node{kind: nodeIn, op: op, args: append([]*node{left}, list...)}, err
	}
	right, err := p.operandNode()
	return &node{kind: nodeCompare, op: op, args: []*node{left, right}}, err
}

func (p *parser) between(left *node) (*node, error) {
	low, err := p.operandNode()
	if err != nil {
		return nil, err
	}
	if p.keyword() != "AND" {
		return nil, p.syntaxError()
	}
	p.at++
	high, err := p.operandNode()
	return &node{kind: nodeBetween, op: "BETWEEN", args: []*node{left, low, high}}, err
}

// prefix parses what can begin a condition or an operand.
func (p *parser) prefix() (*node, error) {
	if p.keyword() == "NOT" {
		p.at++
		p.operators++
		n, err := p.expression(notPower)
		if err == nil && n.operand() {
			err = p.syntaxError()
		}
		return &node{kind: nodeNot, op: "NOT", args: []*node{n}}, err
	}
	if p.takeSymbol("(") {
		n, err := p.expression(0)
		if err == nil {
			err = p.expect(")")
		}
		return p.inParens(n), err
	}
	return p.operandNode()
}

func (p *parser) inParens(n *node) *node {
	if n == nil {
		return nil
	}
	p.redundant = p.redundant || n.parens
	n.parens = true
	return n
}

// operandNode parses a path, a value, a function call, or one in parentheses.
func (p *parser) operandNode() (*node, error) {
	t := p.peek()
	switch {
	case t.kind == tokValue:
		p.at++
		return &node{kind: nodeValue, ref: t.text}, nil
	case t.kind == tokWord && p.keyword() == "" && p.next().text == "(" && p.next().kind == tokSymbol:
		return p.call()
	case t.kind == tokName || t.kind == tokWord && p.keyword() == "":
		steps, err := p.path()
		return &node{kind: nodePath, steps: steps}, err
	case p.takeSymbol("("):
		n, err := p.operandNode()
		if err == nil {
			err = p.expect(")")
		}
		return p.inParens(n), err
	}
	return nil, p.syntaxError()
}

// next is the token after the one that comes next.
func (p *parser) next() token { return p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) call() (*node, error) {
	name := p.peek().text
	p.at += 2
	p.operators++
	args, err := p.operands()
	return &node{kind: nodeFunc, op: name, args: args}, err
}

// operands parses "a, b)"; the opening parenthesis is already taken.
func (p *parser) operands() ([]*node, error) {
	var list []*node
	for {
		n, err := p.operandNode()
		if err != nil {
			return nil, err
		}
		list = append(list, n)
		if p.takeSymbol(",") {
			continue
		}
		return list, p.expect(")")
	}
}

// path parses name{.name|[index]}.
func (p *parser) path() ([]step, error) {
	first, err := p.pathName()
	steps := []step{first}
	for err == nil {
		switch {
		case p.takeSymbol("."):
			var s step
			s, err = p.pathName()
			steps = append(steps, s)
		case p.takeSymbol("["):
			var s step
			s, err = p.pathIndex()
			steps = append(steps, s)
		default:
			return steps, nil
		}
	}
	return nil, err
}

func (p *parser) pathName() (step, error) {
	t := p.peek()
	if t.kind != tokName && (t.kind != tokWord || p.keyword() != "") {
		return step{}, p.syntaxError()
	}
	p.at++
	return step{name: t.text}, nil
}

func (p *parser) pathIndex() (step, error) {
	t := p.peek()
	if t.kind != tokNumber {
		return step{}, p.syntaxError()
	}
	index, err := strconv.ParseInt(t.text, 10, 32)
	if err != nil {
		return step{}, p.errorf("List index is not within the allowable range; index: [%s]", clip(t.text, 64))
	}
	p.at++
	return step{index: int(index), list: true}, p.expect("]")
}

// parsePaths parses a whole projection: path{, path}.
func parsePaths(kind, src string) (*syntax, error) {
	p, err := newParser(kind, src)
	if err != nil {
		return nil, err
	}
	s := &syntax{}
	for {
		steps, err := p.path()
		if err != nil {
			return nil, err
		}
		s.paths = append(s.paths, steps)
		if p.takeSymbol(",") {
			continue
		}
		if p.peek().kind != tokEOF {
			return nil, p.syntaxError()
		}
		return s, nil
	}
}

// showPath writes a path as DynamoDB's errors do: [a, b, [0]].
func showPath(steps []step) string {
	parts := make([]string, len(steps))
	for i, s := range steps {
		parts[i] = s.name
		if s.list {
			parts[i] = "[" + strconv.Itoa(s.index) + "]"
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
