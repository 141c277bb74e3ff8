package eval

import "mote/internal/iotsql"

func (c *compiler) unary(x *iotsql.Unary) (fn, error) {
	of, err := c.expr(x.X)
	if err != nil {
		return nil, err
	}
	if x.Op == iotsql.OpNot {
		return func(m *Message) Value {
			is, defined := of(m).toBool()
			if !defined {
				return undef
			}
			return boolean(!is)
		}, nil
	}
	return func(m *Message) Value {
		n := of(m).number()
		if n.kind == Undefined {
			return undef
		}
		return c.whole(negate(n))
	}, nil
}

func (c *compiler) binary(x *iotsql.Binary) (fn, error) {
	l, err := c.expr(x.L)
	if err != nil {
		return nil, err
	}
	r, err := c.expr(x.R)
	if err != nil {
		return nil, err
	}
	f := c.operator(x, l, r)
	if x.Op.IsArithmetic() {
		f = orSlow(c.quick(x), f)
	}
	return f, nil
}

// operator is a binary operator of any two values.
func (c *compiler) operator(x *iotsql.Binary, l, r fn) fn {
	switch x.Op {
	case iotsql.OpAnd, iotsql.OpOr:
		return logic(l, r, x.Op == iotsql.OpOr)
	case iotsql.OpEq, iotsql.OpNe:
		return equality(l, r, x.Op == iotsql.OpNe)
	case iotsql.OpIn:
		return in(l, r)
	case iotsql.OpAdd:
		return c.plus(l, r)
	case iotsql.OpSub:
		return c.arithmetic(l, r, subtract)
	case iotsql.OpMul:
		return c.arithmetic(l, r, multiply)
	case iotsql.OpDiv:
		return c.arithmetic(l, r, divide)
	case iotsql.OpMod:
		return c.arithmetic(l, r, remainder)
	}
	return order(l, r, x.Op)
}

// logic is AND and OR. Both sides must be Boolean, or the texts true and
// false; there is no short cut over Undefined (AWS IoT SQL reference, "AND
// operator", "OR operator").
func logic(l, r fn, or bool) fn {
	return func(m *Message) Value {
		a, okA := l(m).toBool()
		if !okA {
			return undef
		}
		b, okB := r(m).toBool()
		if !okB {
			return undef
		}
		if or {
			return boolean(a || b)
		}
		return boolean(a && b)
	}
}

// equality is = and <>.
func equality(l, r fn, not bool) fn {
	return func(m *Message) Value {
		a, b := l(m), r(m)
		if a.kind == Undefined || b.kind == Undefined {
			return undef
		}
		v := m.equal(a, b)
		if not && v.kind == Bool {
			return boolean(!v.Bool())
		}
		return v
	}
}

// order is <, <=, > and >=, of both sides as Decimals.
func order(l, r fn, op iotsql.Op) fn {
	return func(m *Message) Value {
		a, b := l(m).number(), r(m).number()
		if a.kind == Undefined || b.kind == Undefined {
			return undef
		}
		switch d := compare(a, b); op {
		case iotsql.OpLt:
			return boolean(d < 0)
		case iotsql.OpLe:
			return boolean(d <= 0)
		case iotsql.OpGt:
			return boolean(d > 0)
		default:
			return boolean(d >= 0)
		}
	}
}

// in says whether the array on the right has an element that equals the left.
func in(l, r fn) fn {
	return func(m *Message) Value {
		a, b := l(m), r(m)
		if a.kind == Undefined || b.kind != Array || !m.spend(m.weight(b)) {
			return undef
		}
		for _, e := range b.Elems() {
			if equal(a, e) {
				return yes
			}
		}
		return no
	}
}

// plus is +: it joins when one side is a String, else it adds numbers (AWS IoT
// SQL reference, "+ operator").
func (c *compiler) plus(l, r fn) fn {
	return func(m *Message) Value {
		a, b := l(m), r(m)
		if a.kind == String || b.kind == String {
			return c.join(m, a, b)
		}
		if !a.isNumber() || !b.isNumber() {
			return undef
		}
		return c.whole(add(a, b))
	}
}

func (c *compiler) join(m *Message, parts ...Value) Value {
	out := ""
	for _, p := range parts {
		s, ok := p.toText(c.reduce)
		if !ok || len(out)+len(s) > maxText || !m.spend(len(out)+len(s)) {
			return undef
		}
		out += s
	}
	return text(out)
}

func (c *compiler) arithmetic(l, r fn, op func(a, b Value) Value) fn {
	return func(m *Message) Value {
		a, b := l(m).number(), r(m).number()
		if a.kind == Undefined || b.kind == Undefined {
			return undef
		}
		return c.whole(op(a, b))
	}
}
