package iotsql

import "strings"

// expr reads an expression whose operators hold tighter than power (Pratt's
// method: a prefix, then every operator that holds tight enough).
func (p *parser) expr(power int) (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	left, err := p.prefix()
	for err == nil {
		op := p.operator()
		if op == 0 || op.power() <= power {
			break
		}
		b := &Binary{Op: op, Pos: p.tok.pos, L: left}
		if err = p.next(); err != nil {
			break
		}
		b.R, err = p.expr(op.power())
		left = b
	}
	return left, err
}

// operator is the binary operator at the current token, 0 for none.
func (p *parser) operator() Op {
	if p.tok.kind == tokIdent {
		switch {
		case p.tok.keyword("AND"):
			return OpAnd
		case p.tok.keyword("OR"):
			return OpOr
		case p.tok.keyword("IN"):
			return OpIn
		}
		return 0
	}
	if p.tok.kind != tokSymbol {
		return 0
	}
	switch p.tok.text {
	case "=":
		return OpEq
	case "<>":
		return OpNe
	case "<":
		return OpLt
	case "<=":
		return OpLe
	case ">":
		return OpGt
	case ">=":
		return OpGe
	case "+":
		return OpAdd
	case "-":
		return OpSub
	case "*":
		return OpMul
	case "/":
		return OpDiv
	case "%":
		return OpMod
	}
	return 0
}

func (p *parser) prefix() (Expr, error) {
	op := Op(0)
	switch {
	case p.tok.is("-"):
		op = OpNeg
	case p.tok.keyword("NOT"):
		op = OpNot
	default:
		x, err := p.primary()
		if err != nil {
			return nil, err
		}
		return p.postfix(x)
	}
	u := &Unary{Pos: p.tok.pos, Op: op}
	err := p.next()
	if err == nil {
		u.X, err = p.expr(op.power() - 1) // -1: the operator may follow itself
	}
	return u, err
}

// postfix reads .name and [index]; it stops before ".*".
func (p *parser) postfix(x Expr) (Expr, error) {
	for {
		switch {
		case p.tok.is("."):
			t := p.peek()
			if t.is("*") {
				return x, nil
			}
			if err := p.next(); err != nil {
				return nil, err
			}
			if t.kind != tokIdent {
				return nil, p.misplaced("the name of a member after `.`", pick(t.kind == tokNumber || t.kind == tokString,
					"read such a member with get(object, \"name\")", ""))
			}
			x = &Field{X: x, Pos: t.pos, Name: t.text}
			if err := p.next(); err != nil {
				return nil, err
			}
		case p.tok.is("["):
			ix := &Index{X: x, Pos: p.tok.pos}
			var err error
			if ix.I, err = p.nextExpr(); err != nil {
				return nil, err
			}
			if err := p.take("]"); err != nil {
				return nil, err
			}
			x = ix
		default:
			return x, nil
		}
	}
}

func (p *parser) primary() (Expr, error) {
	t := p.tok
	switch t.kind {
	case tokNumber:
		return &Literal{t.pos, LitNumber, t.text}, p.next()
	case tokString:
		return &Literal{t.pos, LitString, t.text}, p.next()
	case tokVar:
		return &Var{t.pos, t.text}, p.next()
	case tokIdent:
		return p.word()
	}
	switch {
	case t.is("("):
		return p.parens()
	case t.is("{"):
		return p.object()
	case t.is("["):
		return p.array()
	case t.is("*"):
		return nil, p.errorf(t.pos, "`*` stands alone in SELECT, as an argument of a function, or as a member of an object")
	}
	return nil, p.misplaced("an expression", pick(p.afterComma(), "remove the comma before it", ""))
}

// word reads an expression that begins with a word: a constant, CASE, a
// function call or a path.
func (p *parser) word() (Expr, error) {
	t := p.tok
	switch strings.ToUpper(t.text) {
	case "NULL":
		return &Literal{Pos: t.pos, Kind: LitNull}, p.next()
	case "TRUE":
		return &Literal{Pos: t.pos, Kind: LitTrue}, p.next()
	case "FALSE":
		return &Literal{Pos: t.pos, Kind: LitFalse}, p.next()
	case "CASE":
		return p.caseOf()
	case "SELECT":
		return nil, p.errorf(t.pos, "a nested SELECT stands in parentheses")
	case "FROM", "WHERE", "AS", "AND", "OR", "IN", "WHEN", "THEN", "ELSE", "END", "SET":
		if p.afterComma() {
			return nil, p.errorf(t.pos, "expected an expression after the comma, found the keyword %s; remove the comma", strings.ToUpper(t.text))
		}
		return nil, p.errorf(t.pos, "expected an expression, found the keyword %s; read a member of that name with get(*, %q)", strings.ToUpper(t.text), t.text)
	}
	if !p.peek().is("(") {
		return &Name{t.pos, t.text}, p.next()
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if t.keyword("CAST") {
		return p.cast(t)
	}
	return p.call(t)
}

// call reads the arguments of the function name; "(" is the current token.
func (p *parser) call(name token) (Expr, error) {
	c := &Call{Pos: name.pos, Name: name.text}
	open := p.tok.pos
	if err := p.next(); err != nil {
		return nil, err
	}
	if name.keyword("EXISTS") && p.tok.keyword("SELECT") { // exists (SELECT …), without more parentheses
		x, err := p.nested(open)
		if err != nil {
			return nil, err
		}
		c.Args = []Expr{x}
		return c, p.take(")")
	}
	for !p.tok.is(")") {
		if len(c.Args) > 0 {
			if !p.tok.is(",") {
				return nil, p.unexpected("`,` or `)`")
			}
			if err := p.next(); err != nil {
				return nil, err
			}
		}
		x, err := p.argument()
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, x)
	}
	return c, p.next()
}

// argument reads an expression, or a star.
func (p *parser) argument() (Expr, error) {
	if p.tok.is("*") {
		return &Star{p.tok.pos}, p.next()
	}
	return p.expr(powerNone)
}

// cast reads cast(x AS type); "(" is the current token.
func (p *parser) cast(name token) (Expr, error) {
	c := &Cast{Pos: name.pos}
	var err error
	if c.X, err = p.nextExpr(); err != nil {
		return nil, err
	}
	if err := p.takeWord("AS"); err != nil {
		return nil, err
	}
	if p.tok.kind != tokIdent {
		return nil, p.unexpected("the name of a type")
	}
	c.TypePos, c.Type = p.tok.pos, p.tok.text
	if err := p.next(); err != nil {
		return nil, err
	}
	return c, p.take(")")
}

func (p *parser) caseOf() (Expr, error) {
	c := &Case{Pos: p.tok.pos}
	if p.peek().keyword("WHEN") {
		return nil, p.errorf(p.peek().pos, "CASE needs a value before WHEN: write CASE condition WHEN true THEN …")
	}
	var err error
	if c.X, err = p.nextExpr(); err != nil {
		return nil, err
	}
	if !p.tok.keyword("WHEN") {
		return nil, p.unexpected("WHEN")
	}
	for p.tok.keyword("WHEN") {
		var w When
		if w.If, err = p.nextExpr(); err != nil {
			return nil, err
		}
		if !p.tok.keyword("THEN") {
			return nil, p.unexpected("THEN")
		}
		if w.Then, err = p.nextExpr(); err != nil {
			return nil, err
		}
		c.Whens = append(c.Whens, w)
	}
	if p.tok.keyword("ELSE") {
		if c.Else, err = p.nextExpr(); err != nil {
			return nil, err
		}
	}
	if !p.tok.keyword("END") {
		return nil, p.unexpected("WHEN, ELSE or END")
	}
	return c, p.next()
}

// parens reads what stands in parentheses: an expression or a nested SELECT.
func (p *parser) parens() (Expr, error) {
	open := p.tok.pos
	if err := p.next(); err != nil {
		return nil, err
	}
	var x Expr
	var err error
	if p.tok.keyword("SELECT") {
		x, err = p.nested(open)
	} else {
		x, err = p.expr(powerNone)
	}
	if err != nil {
		return nil, err
	}
	if !p.tok.is(")") {
		return nil, p.misplaced("an operator or `)`", pick(p.tok.is(","), "an array is written in brackets: [1, 2]", ""))
	}
	return x, p.next()
}

func (p *parser) nested(open Pos) (Expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	n := &Nested{Pos: open}
	var err error
	if n.Select, err = p.selection(); err != nil {
		return nil, err
	}
	if !p.tok.keyword("FROM") {
		return nil, p.unexpected("`,` or FROM")
	}
	if n.From, err = p.nextExpr(); err != nil {
		return nil, err
	}
	if p.tok.keyword("AS") {
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.tok.kind != tokIdent {
			return nil, p.unexpected("a name")
		}
		n.Alias = p.tok.text
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	if p.tok.keyword("WHERE") {
		n.Where, err = p.nextExpr()
	}
	return n, err
}

func (p *parser) object() (Expr, error) {
	o := &Object{Pos: p.tok.pos}
	if err := p.next(); err != nil {
		return nil, err
	}
	for !p.tok.is("}") {
		if len(o.Members) > 0 {
			if !p.tok.is(",") {
				return nil, p.unexpected("`,` or `}`")
			}
			if err := p.next(); err != nil {
				return nil, err
			}
			if p.tok.is("}") { // a comma behind the last member, as rules in the field have
				break
			}
		}
		m := Member{Pos: p.tok.pos, Name: p.tok.text}
		if p.tok.kind != tokString && p.tok.kind != tokIdent {
			return nil, p.unexpected("the name of a member")
		}
		if err := p.next(); err != nil {
			return nil, err
		}
		err := p.take(":")
		if err == nil {
			m.X, err = p.argument()
		}
		if err != nil {
			return nil, err
		}
		o.Members = append(o.Members, m)
	}
	return o, p.next()
}

func (p *parser) array() (Expr, error) {
	a := &Array{Pos: p.tok.pos}
	if err := p.next(); err != nil {
		return nil, err
	}
	for !p.tok.is("]") {
		if len(a.Elems) > 0 {
			if !p.tok.is(",") {
				return nil, p.unexpected("`,` or `]`")
			}
			if err := p.next(); err != nil {
				return nil, err
			}
		}
		x, err := p.expr(powerNone)
		if err != nil {
			return nil, err
		}
		a.Elems = append(a.Elems, x)
	}
	return a, p.next()
}
