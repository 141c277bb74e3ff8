package partiql

import (
	"slices"
	"strings"
)

// How strongly infix operators hold their sides.
const (
	orPower      = 1
	andPower     = 2
	notPower     = 3
	comparePower = 4
	sumPower     = 5
)

// binding is how strongly the infix operator that comes next holds its sides;
// 0 is no operator.
func (p *parser) binding() (op string, power int) {
	t := p.peek()
	if t.kind == tokSymbol {
		switch t.text {
		case "=", "<>", "<", "<=", ">", ">=", "!=":
			return t.text, comparePower
		case "+", "-":
			return t.text, sumPower
		}
		return "", 0
	}
	if t.kind != tokWord {
		return "", 0
	}
	switch word := strings.ToUpper(t.text); word {
	case "OR":
		return word, orPower
	case "AND":
		return word, andPower
	case "IN", "BETWEEN", "IS":
		return word, comparePower
	case "NOT": // NOT IN, NOT BETWEEN
		if next := p.tokens[p.at+1]; next.kind == tokWord && (strings.EqualFold(next.text, "IN") || strings.EqualFold(next.text, "BETWEEN")) {
			return word, comparePower
		}
	}
	return "", 0
}

// expression parses operators that bind more strongly than power.
func (p *parser) expression(power int) (*Expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("expressions stand in each other more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	left, err := p.prefix(power)
	for err == nil {
		op, binds := p.binding()
		if binds <= power {
			if p.isWord("LIKE") || p.isSymbol("||") || p.isSymbol("*") || p.isSymbol("/") || p.isSymbol("%") {
				return nil, p.unsupported("Unsupported operator: %s", strings.ToUpper(p.peek().text))
			}
			return left, nil
		}
		t := p.peek()
		p.at++
		if left, err = p.infix(op, binds, left); err == nil {
			left.At = p.place(t)
		}
	}
	return nil, err
}

func (p *parser) prefix(power int) (*Expr, error) {
	if t := p.peek(); power < notPower+1 && p.takeWord("NOT") {
		arg, err := p.expression(notPower)
		return &Expr{Kind: Not, Args: []*Expr{arg}, At: p.place(t)}, err
	}
	return p.operand()
}

func (p *parser) infix(op string, power int, left *Expr) (*Expr, error) {
	switch op {
	case "NOT":
		word := strings.ToUpper(p.peek().text)
		p.at++
		e, err := p.infix(word, power, left)
		return &Expr{Kind: Not, Args: []*Expr{e}}, err
	case "IN":
		list, err := p.members()
		return &Expr{Kind: In, Args: append([]*Expr{left}, list...)}, err
	case "BETWEEN":
		return p.between(left)
	case "IS":
		return p.is(left)
	case "!=":
		op = "<>"
	}
	right, err := p.expression(power)
	return &Expr{Kind: Binary, Text: op, Args: []*Expr{left, right}}, err
}

func (p *parser) between(left *Expr) (*Expr, error) {
	low, err := p.expression(comparePower)
	if err == nil {
		err = p.needWord("AND")
	}
	if err != nil {
		return nil, err
	}
	high, err := p.expression(comparePower)
	return &Expr{Kind: Between, Args: []*Expr{left, low, high}}, err
}

// members parses the right side of IN: a list in brackets or parentheses, or
// a parameter that is one.
func (p *parser) members() ([]*Expr, error) {
	switch {
	case p.isSymbol("?"):
		e, err := p.operand()
		return []*Expr{e}, err
	case p.takeSymbol("["):
		return p.list("]", true)
	case p.takeSymbol("("):
		if p.isWord("SELECT") {
			return nil, p.unsupported("Nested SELECT is not supported: write the values out")
		}
		return p.list(")", true)
	}
	return nil, p.expected("a list")
}

// is parses what follows IS.
func (p *parser) is(left *Expr) (*Expr, error) {
	negated := p.takeWord("NOT")
	if p.peek().kind != tokWord {
		return nil, p.expected("MISSING, NULL or a type")
	}
	e := &Expr{Kind: Is, Text: strings.ToUpper(p.peek().text), Args: []*Expr{left}}
	if e.Text == "BOOL" {
		e.Text = "BOOLEAN"
	}
	if types := []string{"MISSING", "NULL", "BOOLEAN", "BLOB", "STRING", "NUMERIC", "STRUCT", "TUPLE", "LIST"}; !slices.Contains(types, e.Text) {
		return nil, p.unsupported("Unsupported data type for IS operator: %s. Supported data types are [%s]", e.Text, strings.Join(types, ", "))
	}
	p.at++
	if negated {
		return &Expr{Kind: Not, Args: []*Expr{e}}, nil
	}
	return e, nil
}

// operand parses a path, a literal, a parameter, a call, or an expression in
// parentheses.
func (p *parser) operand() (*Expr, error) {
	t := p.peek()
	e := &Expr{At: p.place(t)}
	switch t.kind {
	case tokString:
		p.at++
		e.Kind, e.Text = Text, t.text
		return e, nil
	case tokNumber:
		p.at++
		e.Kind, e.Text = Number, t.text
		return e, nil
	case tokSymbol:
		return p.composite(e)
	case tokWord:
		if p.literal(e) {
			return e, nil
		}
		if next := p.tokens[p.at+1]; next.kind == tokSymbol && next.text == "(" {
			return p.call(e)
		}
	}
	var err error
	e.Path, err = p.path()
	return e, err
}

// literal takes a word that is a value.
func (p *parser) literal(e *Expr) bool {
	switch word := strings.ToUpper(p.peek().text); word {
	case "TRUE", "FALSE":
		e.Kind, e.Text = Bool, strings.ToLower(word)
	case "NULL":
		e.Kind = Null
	case "MISSING":
		e.Kind = Missing
	default:
		return false
	}
	p.at++
	return true
}

func (p *parser) call(e *Expr) (*Expr, error) {
	e.Kind, e.Text = Call, strings.ToLower(p.peek().text)
	if slices.Contains(reserved, strings.ToUpper(e.Text)) {
		return nil, p.expected("an expression")
	}
	p.at += 2
	var err error
	e.Args, err = p.list(")", false)
	return e, err
}

// composite parses what begins with a symbol.
func (p *parser) composite(e *Expr) (*Expr, error) {
	t := p.peek()
	p.at++
	var err error
	switch t.text {
	case "?":
		e.Kind, e.Index = Param, p.params
		p.params++
	case "-", "+":
		if p.peek().kind != tokNumber {
			return nil, p.expected("a number")
		}
		e.Kind, e.Text = Number, strings.TrimPrefix(t.text, "+")+p.peek().text
		p.at++
	case "[":
		e.Kind = List
		e.Args, err = p.list("]", false)
	case "<<":
		e.Kind = Bag
		e.Args, err = p.list(">>", false)
	case "{":
		e.Kind = Struct
		err = p.structure(e)
	case "(":
		if p.isWord("SELECT") {
			return nil, p.unsupported("Nested SELECT is not supported: write the value out")
		}
		if e, err = p.expression(0); err == nil {
			err = p.needSymbol(")")
		}
	default:
		p.at--
		return nil, p.expected("an expression")
	}
	return e, err
}

// list parses "a, b" up to the closing symbol; the opening one is taken.
func (p *parser) list(end string, some bool) (list []*Expr, err error) {
	if !some && p.takeSymbol(end) {
		return nil, nil
	}
	for {
		e, err := p.expression(0)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		if !p.takeSymbol(",") {
			return list, p.needSymbol(end)
		}
	}
}

// structure parses "'a': x, 'b': y}".
func (p *parser) structure(e *Expr) error {
	if p.takeSymbol("}") {
		return nil
	}
	for {
		t := p.peek()
		if t.kind != tokString {
			return p.expected("a name in single quotes")
		}
		if slices.Contains(e.Names, t.text) {
			return p.errorf("the name '%s' is there twice", t.text)
		}
		p.at++
		if err := p.needSymbol(":"); err != nil {
			return err
		}
		v, err := p.expression(0)
		if err != nil {
			return err
		}
		e.Names, e.Args = append(e.Names, t.text), append(e.Args, v)
		if !p.takeSymbol(",") {
			return p.needSymbol("}")
		}
	}
}
