package eval

import (
	"strings"

	"mote/internal/iotsql"
)

// Template is a compiled substitution template. It is safe for concurrent use.
type Template struct {
	parts    []templatePart
	constant bool
	reduce   bool

	prog       *Program // whose variables it uses; nil: none
	notOffered []string
}

type templatePart struct {
	text string
	x    fn // nil: text
}

// CompileTemplate makes a Template of a text with ${expression} in it. It sees
// the variables of the statement's SET clause, with the values that the last Run of p gave them; when another
// program ran over the message since, they are computed again.
func (p *Program) CompileTemplate(src string) (*Template, error) {
	c := &compiler{src: src, version: p.version, reduce: p.reduce, variables: p.variables}
	t, err := compileTemplate(c)
	if err == nil && c.usesVariables {
		t.prog = p
	}
	return t, err
}

func compileTemplate(c *compiler) (*Template, error) {
	t, err := iotsql.ParseTemplate(c.src)
	if err != nil {
		return nil, err
	}
	out := &Template{reduce: c.reduce}
	if s, ok := t.Constant(); ok {
		out.parts, out.constant = []templatePart{{text: s}}, true
		return out, nil
	}
	for _, p := range t.Parts {
		part := templatePart{text: p.Text}
		if p.X != nil {
			if part.x, err = c.expr(p.X); err != nil {
				return nil, err
			}
		}
		out.parts = append(out.parts, part)
	}
	out.notOffered = c.notOffered
	return out, nil
}

// NotOffered is what [Program.NotOffered] is for the template.
func (t *Template) NotOffered() []string { return t.notOffered }

// Constant returns the text of a template without substitutions.
func (t *Template) Constant() (string, bool) {
	if t.constant {
		return t.parts[0].text, true
	}
	return "", false
}

// Text evaluates the template over the message, not over what the statement
// selects. What is Undefined becomes nothing (AWS IoT developer guide,
// "Substitution templates").
func (t *Template) Text(m *Message) string {
	m.spent = 0
	m.space()
	if t.constant {
		return t.parts[0].text
	}
	if t.prog != nil && m.work.varsOf != t.prog {
		_ = t.prog.assign(m) // what does not fit is Undefined
	}
	if len(t.parts) == 1 {
		return strings.Clone(t.parts[0].value(m, t.reduce)) // it may share the payload, and be kept for long
	}
	var b strings.Builder
	for _, p := range t.parts {
		s := p.value(m, t.reduce)
		if b.Len()+len(s) > maxText {
			break
		}
		b.WriteString(s)
	}
	return b.String()
}

func (p *templatePart) value(m *Message, reduce bool) string {
	if p.x == nil {
		return p.text
	}
	s, _ := p.x(m).toText(reduce)
	return s
}
