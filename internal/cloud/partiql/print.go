package partiql

import (
	"strconv"
	"strings"
)

func (s *Select) String() string {
	text := "SELECT "
	if s.Paths == nil {
		text += "*"
	}
	text += joined(s.Paths, Path.String) + " FROM " + s.From.String() + where(s.Where)
	if s.Order != nil {
		text += " ORDER BY " + joined(s.Order, Order.String)
	}
	return text
}

// String prints the source with quotes.
func (s Source) String() string {
	if s.Index == "" {
		return quoted(s.Table)
	}
	return quoted(s.Table) + "." + quoted(s.Index)
}

// String prints the path and, if it is so, DESC.
func (o Order) String() string {
	if o.Descending {
		return o.Path.String() + " DESC"
	}
	return o.Path.String()
}

func (s *Insert) String() string {
	return "INSERT INTO " + quoted(s.Table) + " VALUE " + s.Value.String()
}

func (s *Update) String() string {
	text := "UPDATE " + quoted(s.Table)
	for _, a := range s.Actions {
		if a.Value == nil {
			text += " REMOVE " + a.Path.String()
		} else {
			text += " SET " + a.Path.String() + " = " + a.Value.above(comparePower)
		}
	}
	return text + where(s.Where) + s.Returning.String()
}

func (s *Delete) String() string {
	return "DELETE FROM " + quoted(s.Table) + where(s.Where) + s.Returning.String()
}

func (s *Exists) String() string { return "EXISTS(" + s.Select.String() + ")" }

// String prints the clause with a space before it; nil is "".
func (r *Returning) String() string {
	if r == nil {
		return ""
	}
	text := " RETURNING MODIFIED "
	if r.All {
		text = " RETURNING ALL "
	}
	if r.New {
		return text + "NEW *"
	}
	return text + "OLD *"
}

// String prints the path with its names in quotes.
func (p Path) String() string {
	var text strings.Builder
	for i, s := range p {
		switch {
		case s.List:
			text.WriteString("[" + strconv.Itoa(s.Index) + "]")
		case i > 0:
			text.WriteString("." + quoted(s.Name))
		default:
			text.WriteString(quoted(s.Name))
		}
	}
	return text.String()
}

// String prints the expression, with no more parentheses than it needs.
func (e *Expr) String() string {
	switch e.Kind {
	case PathExpr:
		return e.Path.String()
	case Text:
		return literal(e.Text)
	case Number, Bool:
		return e.Text
	case Null:
		return "NULL"
	case Missing:
		return "MISSING"
	case Param:
		return "?"
	case List:
		return "[" + joined(e.Args, (*Expr).String) + "]"
	case Bag:
		return "<<" + joined(e.Args, (*Expr).String) + ">>"
	case Struct:
		members := make([]string, len(e.Args))
		for i, v := range e.Args {
			members[i] = literal(e.Names[i]) + ": " + v.String()
		}
		return "{" + strings.Join(members, ", ") + "}"
	case Call:
		return e.Text + "(" + joined(e.Args, (*Expr).String) + ")"
	}
	return e.operator()
}

// power is how strongly the expression holds together.
func (e *Expr) power() int {
	switch e.Kind {
	case Not:
		if e.negated() {
			return comparePower
		}
		return notPower
	case Between, In, Is:
		return comparePower
	case Binary:
		switch e.Text {
		case "OR":
			return orPower
		case "AND":
			return andPower
		case "+", "-":
			return sumPower
		}
		return comparePower
	}
	return sumPower + 1
}

// negated says whether NOT stands within the operator: a NOT IN [b].
func (e *Expr) negated() bool {
	k := e.Args[0].Kind
	return k == In || k == Between || k == Is
}

// operator prints an operator with its sides. Those on the left may be as
// strong as it is, those on the right are stronger.
func (e *Expr) operator() string {
	not := ""
	if e.Kind == Not {
		if !e.negated() {
			return "NOT " + e.Args[0].above(notPower)
		}
		e, not = e.Args[0], "NOT "
	}
	left := e.Args[0].above(e.power() - 1)
	switch e.Kind {
	case Between:
		return left + " " + not + "BETWEEN " + e.Args[1].above(comparePower) + " AND " + e.Args[2].above(comparePower)
	case In:
		if len(e.Args) == 2 && e.Args[1].Kind == Param {
			return left + " " + not + "IN ?"
		}
		return left + " " + not + "IN [" + joined(e.Args[1:], (*Expr).String) + "]"
	case Is:
		return left + " IS " + not + e.Text
	}
	return left + " " + e.Text + " " + e.Args[1].above(e.power())
}

// above prints the expression, in parentheses unless it is stronger than power.
func (e *Expr) above(power int) string {
	if e.power() <= power {
		return "(" + e.String() + ")"
	}
	return e.String()
}

func where(e *Expr) string {
	if e == nil {
		return ""
	}
	return " WHERE " + e.String()
}

func joined[T any](list []T, show func(T) string) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = show(e)
	}
	return strings.Join(parts, ", ")
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
