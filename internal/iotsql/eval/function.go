package eval

import (
	"strings"

	"mote/internal/iotsql"
)

// function is one function of the language. A call with a wrong count of
// arguments is Undefined (AWS IoT SQL reference, "Functions").
type function struct {
	min, max int  // arguments; max -1: any number
	new      bool // needs version 2016-03-23
	call     callFn
	compile  func(c *compiler, x *iotsql.Call) (callFn, error) // makes call for one place in a statement; nil: it is the same everywhere
}

// callFn calls a function with arguments whose number is right.
type callFn func(c *compiler, m *Message, args []Value) Value

// withMessage makes a function that needs only the message.
func withMessage(f func(m *Message) Value) function {
	return function{call: func(_ *compiler, m *Message, _ []Value) Value { return f(m) }}
}

// ofValue makes a function of one value as it is.
func ofValue(f func(v Value) Value) function {
	return function{min: 1, max: 1, call: func(_ *compiler, _ *Message, a []Value) Value { return f(a[0]) }}
}

// ofNumber makes a function of one number, or a String that is one.
func ofNumber(f func(n Value) Value) function {
	return ofValue(func(v Value) Value {
		if n := v.number(); n.kind != Undefined {
			return f(n)
		}
		return undef
	})
}

// ofText makes a function of one value as a String.
func ofText(f func(s string) Value) function {
	return function{min: 1, max: 1, call: func(c *compiler, _ *Message, a []Value) Value {
		if s, ok := a[0].toText(c.reduce); ok {
			return f(s)
		}
		return undef
	}}
}

// ofTexts makes a function of two values as Strings.
func ofTexts(f func(a, b string) Value) function {
	return function{min: 2, max: 2, call: func(c *compiler, _ *Message, v []Value) Value {
		a, okA := v[0].toText(c.reduce)
		b, okB := v[1].toText(c.reduce)
		if !okA || !okB {
			return undef
		}
		return f(a, b)
	}}
}

// ofNumbers makes a function of two numbers.
func ofNumbers(f func(a, b Value) Value) function {
	return function{min: 2, max: 2, call: func(_ *compiler, _ *Message, v []Value) Value {
		a, b := v[0].number(), v[1].number()
		if a.kind == Undefined || b.kind == Undefined {
			return undef
		}
		return f(a, b)
	}}
}

// since2016 marks a function of the newer version.
func since2016(f function) function { f.new = true; return f }

// lacking makes a function that needs a service that mote does not have: it is
// Undefined, and its program says so.
func lacking(least, most int) function {
	return function{min: least, max: most, compile: func(c *compiler, x *iotsql.Call) (callFn, error) {
		c.notOffer(x.Name)
		return func(*compiler, *Message, []Value) Value { return undef }, nil
	}}
}

func (c *compiler) call(x *iotsql.Call) (fn, error) {
	name := strings.ToLower(x.Name)
	f, ok := functions[name]
	if !ok {
		return nil, c.noFunction(x)
	}
	if f.new {
		if err := c.only2016(x.Pos, "function "+x.Name); err != nil {
			return nil, err
		}
	}
	args, err := c.exprs(x.Args)
	if err != nil {
		return nil, err
	}
	if len(args) < f.min || f.max >= 0 && len(args) > f.max {
		return func(*Message) Value { return undef }, nil
	}
	if f.compile != nil {
		if f.call, err = f.compile(c, x); err != nil {
			return nil, err
		}
	}
	if constant(x.Args) {
		return c.invokeFixed(f, args), nil
	}
	if name == "encode" && isStar(x.Args[0]) {
		args[0] = rawStar
	}
	return c.invoke(f, args), nil
}

// invoke calls a function within the budget of the message.
func (c *compiler) invoke(f function, args []fn) fn {
	if len(args) == 0 {
		return func(m *Message) Value { return f.call(c, m, nil) }
	}
	return func(m *Message) Value {
		values, cost := m.work.room(len(args)), callCost
		for i, a := range args {
			values[i] = a(m)
			cost += m.weight(values[i])
		}
		if !m.spend(cost) {
			return undef
		}
		v := f.call(c, m, values)
		if v.kind == String && (len(v.text) > maxText || !m.spend(len(v.text))) {
			return undef
		}
		return c.whole(v)
	}
}

// invokeFixed is invoke with literals as arguments.
func (c *compiler) invokeFixed(f function, args []fn) fn {
	var values []Value
	for _, a := range args {
		values = append(values, a(nil))
	}
	return func(m *Message) Value {
		if !m.spend(callCost) {
			return undef
		}
		v := f.call(c, m, values)
		if v.kind == String && (len(v.text) > maxText || !m.spend(len(v.text))) {
			return undef
		}
		return c.whole(v)
	}
}

func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

func isStar(x iotsql.Expr) bool { _, ok := x.(*iotsql.Star); return ok }

// rawStar is the star of encode(*, …): the bytes of the payload as they came.
func rawStar(m *Message) Value {
	if len(m.work.scopes) > 0 {
		return star(m)
	}
	return text(string(m.Payload))
}
