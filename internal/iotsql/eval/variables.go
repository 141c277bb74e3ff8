package eval

import (
	"fmt"

	"mote/internal/iotsql"
)

// maxVariables is how large the variables of a statement may be together, in
// bytes of JSON without white space (AWS IoT SQL reference, "SET clause
// limits").
const maxVariables = 128 << 10

// variable is one compiled assignment of a SET clause.
type variable struct {
	name string
	x    fn
}

// set compiles a SET clause. An assignment sees the variables before it.
func (c *compiler) set(clause []iotsql.Assign) error {
	if len(clause) == 0 {
		return nil
	}
	if err := c.only2016(clause[0].Pos, "the SET clause"); err != nil {
		return err
	}
	for _, a := range clause {
		x, err := c.expr(a.X)
		if err != nil {
			return err
		}
		c.variables = append(c.variables, variable{a.Name, x})
	}
	return nil
}

// variable reads a variable.
func (c *compiler) variable(x *iotsql.Var) (fn, error) {
	for i, v := range c.variables {
		if v.name == x.Name {
			c.usesVariables = true
			return func(m *Message) Value { return m.work.vars[i] }, nil
		}
	}
	if len(c.variables) == 0 {
		return nil, iotsql.Errorf(c.src, x.Pos, "@%s is not set: begin the statement with SET @%s = …", x.Name, x.Name)
	}
	return nil, iotsql.Errorf(c.src, x.Pos, "@%s is not set before it is used here", x.Name)
}

// assign computes the variables of p for the message. With an error, those
// that do not fit are Undefined.
func (p *Program) assign(m *Message) (err error) {
	w := m.space()
	w.varsOf, w.vars = p, w.vars[:0]
	size := 0
	for _, v := range p.variables {
		value := v.x(m)
		if size += value.size(p.reduce, maxVariables-size); size > maxVariables {
			err = fmt.Errorf("the variables of SET have more than %d bytes of JSON; @%s does not fit", maxVariables, v.name)
			value = undef
		}
		w.vars = append(w.vars, value)
	}
	return err
}

// size is how many bytes v has as JSON; it may stop counting beyond limit.
func (v Value) size(reduce bool, limit int) int {
	if v.kind == Undefined {
		return 0
	}
	return len(v.appendJSON(nil, reduce, max(limit, 0)))
}
