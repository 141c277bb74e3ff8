package eval

import "mote/internal/iotsql"

// Most arithmetic and comparing is of small numbers from the message and the
// statement. It is compiled a second time, for them alone, without the cost of
// values of any kind: quick of an expression is its value, or of kind Undefined
// when the ordinary way has to look.
type (
	quick struct {
		coef int64
		exp  int32
		kind Kind
	}
	quickFn func(m *Message) quick
)

// operand is a compiled expression that is tried in the quick way: an
// operator, a member of the payload, or a number. These are no closures of
// their own, since a call takes longer than what they do.
type operand struct {
	operator quickFn // nil: none
	member   path    // nil: none
	number   quick
	reduce   bool
}

func (o *operand) get(m *Message) quick {
	switch {
	case o.member != nil:
		d, at := m.find(o.member)
		if at == 0 {
			return quick{}
		}
		return d.quick(at, o.reduce)
	case o.operator != nil:
		return o.operator(m)
	}
	return o.number
}

// maxQuick is how many operators are tried in the quick way together: what is
// tried in vain must not cost much.
const maxQuick = 12

func (q quick) value() Value { return Value{kind: q.kind, small: true, exp: q.exp, coef: q.coef} }

func (v Value) quick() quick {
	if !v.small {
		return quick{}
	}
	return quick{v.coef, v.exp, v.kind}
}

// orSlow joins both ways; try may be nil.
func orSlow(try *operand, slow fn) fn {
	if try == nil {
		return slow
	}
	return func(m *Message) Value {
		if q := try.get(m); q.kind != Undefined {
			return q.value()
		}
		return slow(m)
	}
}

// quick compiles x in the quick way, nil when that does not go.
func (c *compiler) quick(x iotsql.Expr) *operand {
	operators := 0
	return c.quickly(x, &operators)
}

func (c *compiler) quickly(x iotsql.Expr, operators *int) *operand {
	if *operators > maxQuick {
		return nil
	}
	switch x := x.(type) {
	case *iotsql.Literal:
		if x.Kind != iotsql.LitNumber {
			return nil
		}
		if q := c.numberLiteral(x.Text).quick(); q.kind != Undefined {
			return &operand{number: q}
		}
	case *iotsql.Name, *iotsql.Field:
		if names := memberPath(x, nil); names != nil {
			return &operand{member: newPath(names), reduce: c.reduce}
		}
	case *iotsql.Binary:
		if !x.Op.IsArithmetic() {
			return nil
		}
		*operators++
		l, r := c.quickly(x.L, operators), c.quickly(x.R, operators)
		if l != nil && r != nil {
			return &operand{operator: c.quickOperator(x.Op, l, r)}
		}
	}
	return nil
}

// memberPath returns the names of a chain of members of the payload, nil for
// other expressions.
func memberPath(x iotsql.Expr, names []string) []string {
	switch x := x.(type) {
	case *iotsql.Name:
		return append([]string{x.Name}, names...)
	case *iotsql.Field:
		return memberPath(x.X, append([]string{x.Name}, names...))
	}
	return nil
}

// quick is the number of a token.
func (d *document) quick(at uint32, reduce bool) quick {
	if t := &d.tokens[at]; t.info&(isSmall|mayBeWhole) == isSmall {
		return quick{int64(t.data), -int32(t.count()), t.kind()}
	}
	v := d.at(at)
	if reduce && v.mayBeWhole() {
		v = v.reduce()
	}
	return v.quick()
}

// reduce is Value.reduce.
func (q quick) reduce() quick {
	if q.kind != Decimal {
		return q
	}
	if i, ok := whole(q.coef, q.exp); ok {
		return quick{i, 0, Int}
	}
	if q.exp < 0 {
		return q
	}
	return q.value().reduce().quick()
}

func (c *compiler) quickOperator(op iotsql.Op, l, r *operand) quickFn {
	reduce := c.reduce
	return func(m *Message) quick {
		a := l.get(m)
		if a.kind == Undefined {
			return a
		}
		b := r.get(m)
		if b.kind == Undefined {
			return b
		}
		q := quick{}
		switch op {
		case iotsql.OpAdd:
			q = quickAdd(a, b)
		case iotsql.OpSub:
			q = quickSubtract(a, b)
		case iotsql.OpMul:
			q = quickMultiply(a, b)
		case iotsql.OpDiv:
			q = divide(a.value(), b.value()).quick()
		case iotsql.OpMod:
			q = remainder(a.value(), b.value()).quick()
		}
		if reduce {
			return q.reduce()
		}
		return q
	}
}

// quickKind is the type of the result of arithmetic: Int only of two Ints.
func quickKind(a, b quick) Kind {
	if a.kind == Int && b.kind == Int {
		return Int
	}
	return Decimal
}

// quickAlign brings two numbers to one exponent.
func quickAlign(a, b quick) (x, y int64, exp int32, ok bool) {
	x, y, exp, ok = a.coef, b.coef, a.exp, true
	switch {
	case a.exp > b.exp:
		exp = b.exp
		x, ok = scale(x, a.exp-b.exp)
	case a.exp < b.exp:
		y, ok = scale(y, b.exp-a.exp)
	}
	return x, y, exp, ok
}

func quickAdd(a, b quick) quick {
	x, y, exp, ok := quickAlign(a, b)
	sum := x + y
	if !ok || (sum > x) != (y > 0) {
		return quick{}
	}
	return quick{sum, exp, quickKind(a, b)}
}

func quickSubtract(a, b quick) quick {
	x, y, exp, ok := quickAlign(a, b)
	diff := x - y
	if !ok || (diff < x) != (y > 0) {
		return quick{}
	}
	return quick{diff, exp, quickKind(a, b)}
}

func quickMultiply(a, b quick) quick {
	c, ok := mul(a.coef, b.coef)
	if !ok || a.exp+b.exp < -smallExp || a.exp+b.exp > smallExp {
		return quick{}
	}
	return quick{c, a.exp + b.exp, quickKind(a, b)}
}

// truth is what a condition says: undefined, fails or holds.
type truth uint8

const (
	undecided truth = iota
	fails
	holds
)

// cond is a compiled condition.
type cond func(m *Message) truth

func decided(is bool) truth {
	if is {
		return holds
	}
	return fails
}

// cond compiles an expression as a condition, as WHERE needs it.
func (c *compiler) cond(x iotsql.Expr) (cond, error) {
	switch x := x.(type) {
	case *iotsql.Unary:
		if x.Op == iotsql.OpNot {
			of, err := c.cond(x.X)
			return func(m *Message) truth {
				switch of(m) {
				case holds:
					return fails
				case fails:
					return holds
				}
				return undecided
			}, err
		}
	case *iotsql.Binary:
		switch x.Op {
		case iotsql.OpAnd, iotsql.OpOr:
			return c.condLogic(x)
		case iotsql.OpEq, iotsql.OpNe, iotsql.OpLt, iotsql.OpLe, iotsql.OpGt, iotsql.OpGe:
			return c.condCompare(x)
		}
	}
	f, err := c.expr(x)
	return slowCond(f), err
}

func slowCond(f fn) cond {
	return func(m *Message) truth {
		is, defined := f(m).toBool()
		if !defined {
			return undecided
		}
		return decided(is)
	}
}

// condLogic is logic as a condition.
func (c *compiler) condLogic(x *iotsql.Binary) (cond, error) {
	l, err := c.cond(x.L)
	if err != nil {
		return nil, err
	}
	r, err := c.cond(x.R)
	or := x.Op == iotsql.OpOr
	return func(m *Message) truth {
		a := l(m)
		if a == undecided {
			return undecided
		}
		b := r(m)
		switch {
		case b == undecided:
			return undecided
		case or:
			return max(a, b)
		}
		return min(a, b)
	}, err
}

func (c *compiler) condCompare(x *iotsql.Binary) (cond, error) {
	f, err := c.binary(x)
	if err != nil {
		return nil, err
	}
	slow, l, r, op := slowCond(f), c.quick(x.L), c.quick(x.R), x.Op
	if l == nil || r == nil {
		return slow, nil
	}
	return func(m *Message) truth {
		a := l.get(m)
		if a.kind == Undefined {
			return slow(m)
		}
		b := r.get(m)
		if b.kind == Undefined {
			return slow(m)
		}
		p, q, _, ok := quickAlign(a, b)
		if !ok {
			return slow(m)
		}
		switch op {
		case iotsql.OpEq:
			return decided(p == q)
		case iotsql.OpNe:
			return decided(p != q)
		case iotsql.OpLt:
			return decided(p < q)
		case iotsql.OpLe:
			return decided(p <= q)
		case iotsql.OpGt:
			return decided(p > q)
		}
		return decided(p >= q)
	}, nil
}
