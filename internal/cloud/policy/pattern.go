package policy

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// template is a text of a policy with wildcards and variables (AWS IoT
// developer guide, "AWS IoT Core policies" and "AWS IoT Core policy variables").
type template struct {
	src   string
	parts []part
	vars  bool
}

type part struct {
	kind partKind
	text string   // of a literal
	v    variable // of a variable
}

type partKind byte

const (
	literal partKind = iota
	anyRun           // "*"
	anyOne           // "?"
	value            // "${name}"
)

// parseTemplate cuts s into its parts. Without wild, "*" and "?" are literal.
func parseTemplate(s string, wild bool) (template, error) {
	t := template{src: s}
	for rest := s; rest != ""; {
		i := strings.IndexAny(rest, "*?$")
		if i < 0 {
			i = len(rest)
		}
		t.literal(rest[:i])
		if rest = rest[i:]; rest == "" {
			break
		}
		switch {
		case strings.HasPrefix(rest, "${"):
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				return t, fmt.Errorf(`%q has a "${" without "}"`, s)
			}
			t.variable(rest[2:end])
			rest = rest[end+1:]
			continue
		case wild && rest[0] == '*':
			t.parts = append(t.parts, part{kind: anyRun})
		case wild && rest[0] == '?':
			t.parts = append(t.parts, part{kind: anyOne})
		default:
			t.literal(rest[:1])
		}
		rest = rest[1:]
	}
	return t, nil
}

func (t *template) literal(s string) {
	if s == "" {
		return
	}
	if n := len(t.parts); n > 0 && t.parts[n-1].kind == literal {
		t.parts[n-1].text += s
		return
	}
	t.parts = append(t.parts, part{kind: literal, text: s})
}

func (t *template) variable(name string) {
	switch name {
	case "*", "?", "$": // the way to write them as themselves
		t.literal(name)
		return
	}
	t.parts = append(t.parts, part{kind: value, v: parseVariable(name)})
	t.vars = true
}

// maxValue is how long a variable's value may be to be put in, in bytes.
const maxValue = 1024

// bind puts the values of s in place of the variables. What it puts in is
// literal: a wildcard in a value never becomes a pattern. The error says which
// variable has no value and why; the statement then matches nothing.
func (t template) bind(s *scope) ([]part, error) {
	if !t.vars {
		return t.parts, nil
	}
	out := make([]part, 0, len(t.parts))
	for _, p := range t.parts {
		if p.kind == value {
			text, err := s.substitute(p.v)
			if err != nil {
				return nil, fmt.Errorf("${%s} has no value: %w", p.v.name, err)
			}
			p = part{kind: literal, text: text}
		}
		out = append(out, p)
	}
	return out, nil
}

// substitute returns the value to put into a pattern.
func (s *scope) substitute(v variable) (string, error) {
	values, err := s.lookup(v)
	switch {
	case err != nil:
		return "", err
	case v.multi():
		return "", errors.New("it is a list, which only a condition can look at")
	case len(values[0]) > maxValue:
		return "", fmt.Errorf("its value has more than %d bytes", maxValue)
	case v.id != varClientID && strings.ContainsAny(values[0], "*$+?#"):
		return "", fmt.Errorf("its value %q has one of the characters * $ + ? #, which are not put into a policy", values[0])
	}
	return values[0], nil
}

// matcher is a compiled pattern: runs between stars. It needs at most
// len(pattern) × len(text) steps and usually one pass.
type matcher struct {
	star   bool      // there is at least one "*"
	prefix segment   // before the first star, or everything
	middle []segment // between stars, none empty
	suffix segment   // behind the last star
}

// segment is a run without star: some "?", then a text, and so on.
type segment []piece

type piece struct {
	skip int    // characters of any kind before text
	text string // may be empty in the last piece
}

// compileParts compiles parts without variables.
func compileParts(parts []part) matcher {
	var m matcher
	var cur segment
	flush := func(last bool) {
		switch {
		case !m.star:
			m.prefix = cur
		case last:
			m.suffix = cur
		case len(cur) > 0:
			m.middle = append(m.middle, cur)
		}
		cur = nil
	}
	for _, p := range parts {
		switch n := len(cur); p.kind {
		case anyRun:
			flush(false)
			m.star = true
		case anyOne:
			if n == 0 || cur[n-1].text != "" {
				cur = append(cur, piece{})
			}
			cur[len(cur)-1].skip++
		default:
			if n == 0 {
				cur = append(cur, piece{})
			}
			cur[len(cur)-1].text += p.text
		}
	}
	flush(true)
	return m
}

// match says whether the whole of s fits the pattern.
func (m *matcher) match(s string) bool {
	n, ok := m.prefix.at(s)
	if !ok {
		return false
	}
	if !m.star {
		return n == len(s)
	}
	s = s[n:]
	if n, ok = m.suffix.atEnd(s); !ok {
		return false
	}
	s = s[:len(s)-n]
	for _, g := range m.middle {
		if n, ok = g.find(s); !ok {
			return false
		}
		s = s[n:]
	}
	return true
}

// at matches g at the start of s and returns how many bytes it took.
func (g segment) at(s string) (int, bool) {
	n := 0
	for _, p := range g {
		for range p.skip {
			if n == len(s) {
				return 0, false
			}
			_, w := utf8.DecodeRuneInString(s[n:])
			n += w
		}
		if !strings.HasPrefix(s[n:], p.text) {
			return 0, false
		}
		n += len(p.text)
	}
	return n, true
}

// atEnd matches g at the end of s and returns how many bytes it took.
func (g segment) atEnd(s string) (int, bool) {
	end := len(s)
	for i := len(g) - 1; i >= 0; i-- {
		if !strings.HasSuffix(s[:end], g[i].text) {
			return 0, false
		}
		end -= len(g[i].text)
		for range g[i].skip {
			if end == 0 {
				return 0, false
			}
			_, w := utf8.DecodeLastRuneInString(s[:end])
			end -= w
		}
	}
	return len(s) - end, true
}

// find matches g at its first place in s and returns where it ends.
func (g segment) find(s string) (int, bool) {
	for from := 0; ; {
		if g[0].skip == 0 {
			i := strings.Index(s[from:], g[0].text)
			if i < 0 {
				return 0, false
			}
			from += i
		}
		if n, ok := g.at(s[from:]); ok {
			return from + n, true
		}
		if from == len(s) {
			return 0, false
		}
		_, w := utf8.DecodeRuneInString(s[from:])
		from += w
	}
}
