package eval

import (
	"strings"

	"github.com/cockroachdb/apd/v3"

	"mote/internal/iotsql"
)

// castType is a target of cast (AWS IoT SQL reference, "cast()").
type castType struct {
	new     bool // needs version 2016-03-23
	convert func(c *compiler, v Value) Value
}

var castTypes = map[string]castType{
	"string": {convert: castText}, "nvarchar": {convert: castText}, "text": {convert: castText},
	"ntext": {convert: castText}, "varchar": {convert: castText},
	"int": {convert: castInt}, "integer": {convert: castInt},
	"double":  {convert: castDouble},
	"decimal": {new: true, convert: castDecimal},
	"bool":    {new: true, convert: castBool}, "boolean": {new: true, convert: castBool},
}

func (c *compiler) cast(x *iotsql.Cast) (fn, error) {
	t, ok := castTypes[strings.ToLower(x.Type)]
	if !ok {
		return nil, iotsql.Errorf(c.src, x.TypePos, "there is no type %s: use String, Int, Decimal, Double or Boolean", clip(x.Type))
	}
	if t.new {
		if err := c.only2016(x.TypePos, "cast to "+x.Type); err != nil {
			return nil, err
		}
	}
	of, err := c.expr(x.X)
	return func(m *Message) Value {
		v := of(m)
		if !m.spend(m.weight(v)) {
			return undef
		}
		return c.whole(t.convert(c, v))
	}, err
}

func castText(c *compiler, v Value) Value {
	if s, ok := v.toText(c.reduce); ok {
		return text(s)
	}
	return undef
}

// castNumber is what the casts to numbers share: a Boolean is 1 or 0.
func castNumber(v Value) Value {
	if v.kind == Bool {
		return integer(v.coef)
	}
	return v.number()
}

func castInt(_ *compiler, v Value) Value {
	if n := castNumber(v); n.kind != Undefined {
		return n.round(apd.RoundFloor)
	}
	return undef
}

func castDecimal(_ *compiler, v Value) Value {
	n := castNumber(v)
	if n.kind == Int {
		n.kind = Decimal
	}
	return n
}

// castDouble rounds to double precision.
func castDouble(_ *compiler, v Value) Value {
	n := castNumber(v)
	if n.kind == Undefined {
		return undef
	}
	return double(n.float())
}

func castBool(_ *compiler, v Value) Value {
	if v.isNumber() {
		return boolean(compare(v, integer(0)) != 0)
	}
	if is, ok := v.toBool(); ok {
		return boolean(is)
	}
	return undef
}
