package iotsql

import (
	"fmt"
	"strings"
)

// String prints the statement in its normal form: one line, keywords in upper
// case, strings in single quotes, the parentheses that are needed.
func (st *Statement) String() string {
	var pr printer
	for i, a := range st.Set {
		pr.text(pick(i == 0, "SET ", ", ") + "@" + a.Name + " = ")
		pr.expr(a.X, powerNone)
	}
	if len(st.Set) > 0 {
		pr.text(" ")
	}
	pr.selection(st.Select)
	if st.From != nil {
		pr.text(" FROM ")
		pr.quote(st.From.Text)
	}
	pr.where(st.Where)
	return pr.b.String()
}

// ExprString prints an expression as [Statement.String] would.
func ExprString(x Expr) string {
	var pr printer
	pr.expr(x, powerNone)
	return pr.b.String()
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

type printer struct{ b strings.Builder }

func (pr *printer) text(s string) { pr.b.WriteString(s) }

func (pr *printer) where(x Expr) {
	if x != nil {
		pr.text(" WHERE ")
		pr.expr(x, powerNone)
	}
}

func (pr *printer) selection(s Selection) {
	pr.text("SELECT ")
	if s.Value != nil {
		pr.text("VALUE ")
		pr.value(s.Value)
		return
	}
	for i, it := range s.Items {
		if i > 0 {
			pr.text(", ")
		}
		if i == 0 && beginsWithValue(it.X) { // else "value (…" would read as VALUE
			pr.text("(")
			pr.expr(it.X, powerNone)
			pr.text(")")
		} else {
			pr.expr(it.X, powerNone)
		}
		if it.Spread {
			pr.text(".*")
		}
		if it.Alias != nil {
			pr.text(" AS " + strings.Join(it.Alias, "."))
		}
	}
}

// value prints the expression of SELECT VALUE, in parentheses where "value"
// would read as a name before it.
func (pr *printer) value(x Expr) {
	s := ExprString(x)
	if strings.HasPrefix(s, "-") {
		s = "(" + s + ")"
	}
	pr.text(s)
}

// beginsWithValue says whether a printed x starts with the word value in a way
// that the parser takes for the keyword.
func beginsWithValue(x Expr) bool {
	s := ExprString(x)
	if len(s) < 6 || !strings.EqualFold(s[:5], "VALUE") {
		return false
	}
	p, err := newParser(s)
	return err == nil && p.tok.keyword("VALUE") && p.valueIsKeyword()
}

func (pr *printer) quote(s string) {
	pr.text("'")
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			pr.b.WriteByte('\\')
			pr.b.WriteRune(r)
		case r == '\n':
			pr.text(`\n`)
		case r == '\t':
			pr.text(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&pr.b, `\u%04x`, r)
		default:
			pr.b.WriteRune(r)
		}
	}
	pr.text("'")
}

// expr prints x in a place where operators must hold tighter than power.
func (pr *printer) expr(x Expr, power int) {
	own := powerPostfix
	switch x := x.(type) {
	case *Binary:
		own = x.Op.power()
	case *Unary:
		own = x.Op.power()
	}
	if own <= power {
		pr.text("(")
		defer pr.text(")")
	}
	switch x := x.(type) {
	case *Binary:
		pr.expr(x.L, own-1)
		pr.text(" " + x.Op.String() + " ")
		pr.expr(x.R, own)
	case *Unary:
		pr.text(pick(x.Op == OpNot, "NOT ", "-"))
		if again, ok := x.X.(*Unary); ok && x.Op == OpNeg && again.Op == OpNeg {
			own++ // -(-x), since -- begins a comment elsewhere
		}
		pr.expr(x.X, own-1)
	case *Field:
		pr.base(x.X)
		pr.text("." + x.Name)
	case *Index:
		pr.base(x.X)
		pr.text("[")
		pr.expr(x.I, powerNone)
		pr.text("]")
	default:
		pr.primary(x)
	}
}

// base prints what .name or [i] applies to.
func (pr *printer) base(x Expr) { pr.expr(x, powerPostfix-1) }

func (pr *printer) primary(x Expr) {
	switch x := x.(type) {
	case *Literal:
		pr.literal(x)
	case *Star:
		pr.text("*")
	case *Name:
		pr.text(x.Name)
	case *Var:
		pr.text("@" + x.Name)
	case *Call:
		pr.call(x)
	case *Cast:
		pr.text("cast(")
		pr.expr(x.X, powerNone)
		pr.text(" AS " + x.Type + ")")
	case *Case:
		pr.caseOf(x)
	case *Array:
		pr.text("[")
		pr.list(x.Elems)
		pr.text("]")
	case *Object:
		pr.object(x)
	case *Nested:
		pr.nested(x)
	}
}

func (pr *printer) call(x *Call) {
	pr.text(x.Name)
	if len(x.Args) == 1 && strings.EqualFold(x.Name, "exists") {
		if n, ok := x.Args[0].(*Nested); ok { // has parentheses itself
			pr.nested(n)
			return
		}
	}
	pr.text("(")
	pr.list(x.Args)
	pr.text(")")
}

func (pr *printer) literal(x *Literal) {
	switch x.Kind {
	case LitNull:
		pr.text("NULL")
	case LitTrue:
		pr.text("true")
	case LitFalse:
		pr.text("false")
	case LitNumber:
		pr.text(x.Text)
	case LitString:
		pr.quote(x.Text)
	}
}

func (pr *printer) list(xs []Expr) {
	for i, x := range xs {
		if i > 0 {
			pr.text(", ")
		}
		pr.expr(x, powerNone)
	}
}

func (pr *printer) object(x *Object) {
	pr.text("{")
	for i, m := range x.Members {
		if i > 0 {
			pr.text(", ")
		}
		pr.quote(m.Name)
		pr.text(": ")
		pr.expr(m.X, powerNone)
	}
	pr.text("}")
}

func (pr *printer) caseOf(x *Case) {
	pr.text("CASE ")
	pr.expr(x.X, powerNone)
	for _, w := range x.Whens {
		pr.text(" WHEN ")
		pr.expr(w.If, powerNone)
		pr.text(" THEN ")
		pr.expr(w.Then, powerNone)
	}
	if x.Else != nil {
		pr.text(" ELSE ")
		pr.expr(x.Else, powerNone)
	}
	pr.text(" END")
}

func (pr *printer) nested(x *Nested) {
	pr.text("(")
	pr.selection(x.Select)
	pr.text(" FROM ")
	pr.expr(x.From, powerNone)
	if x.Alias != "" {
		pr.text(" AS " + x.Alias)
	}
	pr.where(x.Where)
	pr.text(")")
}
