package iotsql

import "strings"

// Template is a text with substitutions (AWS IoT developer guide,
// "Substitution templates"): its parts in order.
type Template struct {
	Source string
	Parts  []Part
}

// Part is a piece of literal text, or an expression when X is set.
type Part struct {
	Text string
	X    Expr
}

// ParseTemplate reads a text in which ${expression} stands for the value of
// the expression. An error is an *Error whose place is in the whole text.
func ParseTemplate(src string) (*Template, error) {
	t := &Template{Source: src}
	if err := checkText(src); err != nil {
		return nil, err
	}
	rest := 0
	for {
		i := strings.Index(src[rest:], "${")
		if i < 0 {
			break
		}
		if i > 0 {
			t.Parts = append(t.Parts, Part{Text: src[rest : rest+i]})
		}
		x, end, err := templateExpr(src, rest+i+2)
		if err != nil {
			return nil, err
		}
		t.Parts = append(t.Parts, Part{X: x})
		rest = end
	}
	if rest < len(src) {
		t.Parts = append(t.Parts, Part{Text: src[rest:]})
	}
	return t, nil
}

// templateExpr reads the expression at the offset at of src and returns the
// offset behind its closing brace.
func templateExpr(src string, at int) (Expr, int, error) {
	p := &parser{src: src, tok: token{end: Pos(at)}}
	if err := p.next(); err != nil {
		return nil, 0, err
	}
	x, err := p.expr(powerNone)
	if err != nil {
		return nil, 0, err
	}
	if !p.tok.is("}") {
		return nil, 0, p.unexpected("an operator or the closing `}` of ${…}")
	}
	return x, int(p.tok.end), nil
}

// Constant returns the text of a template without substitutions.
func (t *Template) Constant() (string, bool) {
	switch {
	case len(t.Parts) == 0:
		return "", true
	case len(t.Parts) == 1 && t.Parts[0].X == nil:
		return t.Parts[0].Text, true
	}
	return "", false
}
