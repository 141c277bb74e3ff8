package iotsql

import (
	"fmt"
	"strconv"
	"strings"
)

// Tree prints the statement as a tree, one node a line, parts indented by two
// spaces below their whole: for people who ask how a statement was understood.
func Tree(st *Statement) string {
	t := &tree{}
	for _, a := range st.Set {
		t.line("set @%s", a.Name)
		t.inside(func() { t.expr(a.X) })
	}
	t.selection(st.Select)
	if st.From != nil {
		t.line("from topic filter %q", st.From.Text)
	} else {
		t.line("from nothing: the rule runs for Basic Ingest only")
	}
	t.part("where", st.Where)
	return t.b.String()
}

type tree struct {
	b     strings.Builder
	depth int
}

func (t *tree) line(format string, args ...any) {
	for range t.depth {
		t.b.WriteString("  ")
	}
	fmt.Fprintf(&t.b, format+"\n", args...)
}

func (t *tree) inside(f func()) {
	t.depth++
	f()
	t.depth--
}

// part prints a named part, if it is there.
func (t *tree) part(name string, x Expr) {
	if x != nil {
		t.line("%s", name)
		t.inside(func() { t.expr(x) })
	}
}

func (t *tree) selection(s Selection) {
	if s.Value != nil {
		t.part("select value", s.Value)
		return
	}
	t.line("select")
	t.inside(func() {
		for _, it := range s.Items {
			t.item(it)
		}
	})
}

func (t *tree) item(it Item) {
	switch {
	case it.Alias != nil:
		t.line("as %s", strings.Join(it.Alias, "."))
		t.inside(func() { t.expr(it.X) })
	case it.Spread:
		t.line("every member of")
		t.inside(func() { t.expr(it.X) })
	default:
		t.expr(it.X)
	}
}

func (t *tree) exprs(xs ...Expr) {
	t.inside(func() {
		for _, x := range xs {
			t.expr(x)
		}
	})
}

func (t *tree) expr(x Expr) {
	switch x := x.(type) {
	case *Literal:
		t.line("%s", literalText(x))
	case *Star:
		t.line("* (the whole payload)")
	case *Name:
		t.line("member %s", x.Name)
	case *Var:
		t.line("variable @%s", x.Name)
	case *Field:
		t.field(x)
	case *Index:
		t.line("element")
		t.exprs(x.X, x.I)
	case *Unary:
		t.line("%s", x.Op)
		t.exprs(x.X)
	case *Binary:
		t.line("%s", x.Op)
		t.exprs(x.L, x.R)
	case *Call:
		t.line("%s()", x.Name)
		t.exprs(x.Args...)
	case *Cast:
		t.line("cast as %s", x.Type)
		t.exprs(x.X)
	default:
		t.larger(x)
	}
}

// larger prints the expressions that have named parts.
func (t *tree) larger(x Expr) {
	switch x := x.(type) {
	case *Case:
		t.caseOf(x)
	case *Object:
		t.line("object")
		t.inside(func() {
			for _, m := range x.Members {
				t.part("member "+strconv.Quote(m.Name), m.X)
			}
		})
	case *Array:
		t.line("array")
		t.exprs(x.Elems...)
	case *Nested:
		t.nested(x)
	default:
		t.line("%T", x)
	}
}

// field prints a path of plain names in one line.
func (t *tree) field(x *Field) {
	path := x.Name
	for up := x.X; ; {
		switch y := up.(type) {
		case *Field:
			path, up = y.Name+"."+path, y.X
			continue
		case *Name:
			t.line("member %s.%s", y.Name, path)
		case *Var:
			t.line("variable @%s.%s", y.Name, path)
		default:
			t.line("member .%s of", path)
			t.exprs(y)
		}
		return
	}
}

func (t *tree) caseOf(x *Case) {
	t.line("case")
	t.inside(func() {
		t.expr(x.X)
		for _, when := range x.Whens {
			t.part("when", when.If)
			t.part("then", when.Then)
		}
		t.part("else", x.Else)
	})
}

func (t *tree) nested(x *Nested) {
	t.line("for each of")
	t.exprs(x.From)
	if x.Alias != "" {
		t.line("called %s", x.Alias)
	}
	t.inside(func() {
		t.part("where", x.Where)
		t.selection(x.Select)
	})
}

func literalText(x *Literal) string {
	switch x.Kind {
	case LitNull:
		return "NULL"
	case LitTrue:
		return "true"
	case LitFalse:
		return "false"
	case LitString:
		return strconv.Quote(x.Text)
	}
	return x.Text
}
