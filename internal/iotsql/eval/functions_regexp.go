package eval

import (
	"strings"
	"unicode/utf8"

	"mote/internal/iotsql"
)

// regexpFunction makes a function of a text, a pattern and further texts. A
// pattern that is written in the statement is compiled once, and refused when
// it uses what is not offered; any other one that is, or that is no regular
// expression, makes the call Undefined (AWS IoT SQL reference,
// "regexp_matches").
func regexpFunction(args int, run func(m *Message, p *javaPattern, s string, more []string) Value) function {
	compile := func(c *compiler, x *iotsql.Call) (callFn, error) {
		patterns := &patterned[*javaPattern]{compile: compilePattern}
		if err := patterns.prepare(c, x.Args[1]); err != nil {
			return nil, err
		}
		return func(c *compiler, m *Message, a []Value) Value {
			texts := make([]string, len(a))
			for i, v := range a {
				s, ok := v.toText(c.reduce)
				if !ok {
					return undef
				}
				texts[i] = s
			}
			p := patterns.of(m, texts[1])
			if p == nil || !m.spend(p.work(len(texts[0]))) {
				return undef
			}
			return run(m, p, texts[0], texts[2:])
		}, nil
	}
	return function{min: args, max: args, compile: compile}
}

// regexpSteps is how many instructions per byte of text count as one byte of
// the budget.
const regexpSteps = 4

// work is what it takes of the budget to look for p in n bytes; the order of
// its factors keeps it in 32 bits.
func (p *javaPattern) work(n int) int { return (n/regexpSteps + 1) * p.size }

// beforeLineEnd returns s without a line end at its end.
func beforeLineEnd(s string) string {
	for _, end := range [...]string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if cut, ok := strings.CutSuffix(s, end); ok {
			return cut
		}
	}
	return s
}

// matches says whether s contains a match.
func (p *javaPattern) matches(s string) bool {
	if p.re.MatchString(s) {
		return true
	}
	if !p.lineEnd {
		return false
	}
	cut := beforeLineEnd(s)
	return len(cut) < len(s) && p.re.MatchString(cut)
}

// substr returns the first match.
func (p *javaPattern) substr(s string) (string, bool) {
	at := p.re.FindStringIndex(s)
	if cut := beforeLineEnd(s); p.lineEnd && len(cut) < len(s) {
		if other := p.re.FindStringIndex(cut); other != nil && (at == nil || other[0] < at[0]) {
			at = other
		}
	}
	if at == nil {
		return "", false
	}
	return s[at[0]:at[1]], true
}

func regexpMatches(_ *Message, p *javaPattern, s string, _ []string) Value {
	return boolean(p.matches(s))
}

func regexpSubstr(_ *Message, p *javaPattern, s string, _ []string) Value {
	if found, ok := p.substr(s); ok {
		return text(found)
	}
	return undef
}

func regexpReplace(m *Message, p *javaPattern, s string, more []string) Value {
	rep, ok := p.replacement(more[0])
	if !ok {
		return undef
	}
	if p.lineEnd {
		if cut := beforeLineEnd(s); len(cut) < len(s) && len(p.re.FindAllStringIndex(cut, -1)) > len(p.re.FindAllStringIndex(s, -1)) {
			return p.replace(m, cut, rep, s[len(cut):])
		}
	}
	return p.replace(m, s, rep, "")
}

// replace replaces all matches in s and appends the tail.
func (p *javaPattern) replace(m *Message, s string, rep replacement, tail string) Value {
	if rep.groups && !m.spend(len(p.re.FindAllStringIndex(s, -1))*16*(p.re.NumSubexp()+1)) {
		return undef
	}
	var found [][]int
	if rep.groups {
		found = p.re.FindAllStringSubmatchIndex(s, -1)
	} else {
		found = p.re.FindAllStringIndex(s, -1)
	}
	var out strings.Builder
	last := 0
	for i, at := range found {
		out.WriteString(s[last:at[0]])
		rep.write(&out, s, at)
		last = at[1]
		adjacent := i+1 < len(found) && found[i+1][0] == last
		if at[1] > at[0] && !adjacent && p.behind != nil {
			if empty, ok := p.emptyAt(m, s, last); !ok {
				return undef
			} else if empty != nil {
				rep.write(&out, s, empty)
			}
		}
		if out.Len() > maxText {
			return undef
		}
	}
	out.WriteString(s[last:])
	out.WriteString(tail)
	return text(out.String())
}

// emptyAt returns the match of the empty text right behind a match that ends
// at i, which Java finds and Go leaves out; false when the budget is used up.
func (p *javaPattern) emptyAt(m *Message, s string, i int) ([]int, bool) {
	if !m.spend(p.work(len(s) - i)) {
		return nil, false
	}
	_, size := utf8.DecodeLastRuneInString(s[:i])
	at := p.behind.FindStringSubmatchIndex(s[i-size:])
	if at == nil {
		return nil, true
	}
	for j := range at {
		if at[j] >= 0 {
			at[j] += i - size
		}
	}
	at[0] += size
	return at, true
}

// replacement is a parsed replacement text of Java (Matcher.appendReplacement).
type replacement struct {
	parts  []replacementPart
	groups bool // it refers to groups
}

// replacementPart is a text, or the group of a number.
type replacementPart struct {
	text  string
	group int // -1: text
}

// replacement parses $n, ${name} and \x; false when it is not valid.
func (p *javaPattern) replacement(src string) (replacement, bool) {
	var out replacement
	plain := strings.Builder{}
	for i := 0; i < len(src); {
		switch c := src[i]; c {
		case '\\':
			if i+1 == len(src) {
				return out, false
			}
			plain.WriteByte(src[i+1])
			i += 2
		case '$':
			group, size := p.groupReference(src[i:])
			if group < 0 {
				return out, false
			}
			out.parts = append(out.parts, replacementPart{plain.String(), -1}, replacementPart{group: group})
			out.groups = true
			plain.Reset()
			i += size
		default:
			plain.WriteByte(c)
			i++
		}
	}
	out.parts = append(out.parts, replacementPart{plain.String(), -1})
	return out, true
}

// groupReference reads $n or ${name} at the start of s and returns the number
// of the group and its length; the group is -1 when there is none such.
func (p *javaPattern) groupReference(s string) (group, size int) {
	if strings.HasPrefix(s, "${") {
		end := strings.IndexByte(s, '}')
		if end < 3 {
			return -1, 0
		}
		return p.re.SubexpIndex(s[2:end]), end + 1
	}
	if len(s) < 2 || !isDigit(s[1]) {
		return -1, 0
	}
	group, size = int(s[1]-'0'), 2
	for size < len(s) && isDigit(s[size]) && group*10+int(s[size]-'0') <= p.re.NumSubexp() {
		group = group*10 + int(s[size]-'0')
		size++
	}
	if group > p.re.NumSubexp() {
		return -1, 0
	}
	return group, size
}

// write writes the replacement of the match at in s.
func (r replacement) write(out *strings.Builder, s string, at []int) {
	for _, part := range r.parts {
		if part.group < 0 {
			out.WriteString(part.text)
		} else if from := at[2*part.group]; from >= 0 && out.Len() <= maxText {
			out.WriteString(s[from:at[2*part.group+1]])
		}
	}
}
