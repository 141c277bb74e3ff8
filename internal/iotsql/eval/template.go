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
}

type templatePart struct {
	text string
	x    fn // nil: text
}

// CompileTemplate makes a Template of a text with ${expression} in it.
func CompileTemplate(src string, v iotsql.Version) (*Template, error) {
	t, err := iotsql.ParseTemplate(src)
	if err != nil {
		return nil, err
	}
	c := &compiler{src: src, version: v, reduce: v == iotsql.V2016}
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
	return out, nil
}

// Constant returns the text of a template without substitutions.
func (t *Template) Constant() (string, bool) {
	if t.constant {
		return t.parts[0].text, true
	}
	return "", false
}

// Text evaluates the template over the message, not over what the statement
// selects. What is Undefined becomes nothing (AWS-REFERENCE 8.10).
func (t *Template) Text(m *Message) string {
	m.spent = 0
	if t.constant {
		return t.parts[0].text
	}
	if len(t.parts) == 1 {
		return t.parts[0].value(m, t.reduce)
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
