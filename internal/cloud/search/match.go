package search

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// Document is what a query is asked about.
type Document interface {
	// Values are those of a field: string, float64 and bool; none when it has
	// no such field.
	Values(field string) []any
	// All are the values of all fields.
	All() []any
}

// Match says whether d fits the query. Letters are compared without their case.
func (q *Query) Match(d Document) bool { return q.root.fits(d) }

func (n all) fits(d Document) bool {
	for _, x := range n {
		if !x.fits(d) {
			return false
		}
	}
	return true
}

func (n some) fits(d Document) bool {
	for _, x := range n {
		if x.fits(d) {
			return true
		}
	}
	return false
}

func (n not) fits(d Document) bool { return !n.of.fits(d) }

func (t *term) fits(d Document) bool {
	if t.field == "" && t.text == "*" && !t.exact {
		return true
	}
	values := d.Values(t.field)
	if t.field == "" {
		values = d.All()
	}
	for _, v := range values {
		if t.accepts(v) {
			return true
		}
	}
	return false
}

// accepts says whether one value is as the term wants it.
func (t *term) accepts(v any) bool {
	switch {
	case t.ranged:
		return within(v, t.low, ">") && within(v, t.high, "<")
	case t.op != "":
		return compare(v, t.op, t.text)
	}
	switch v := v.(type) {
	case string:
		return t.acceptsText(v)
	case float64:
		n, ok := number(t.text)
		return ok && n == v || !t.exact && t.text == "*"
	case bool:
		return strings.EqualFold(t.text, strconv.FormatBool(v)) || !t.exact && t.text == "*"
	}
	return false
}

// acceptsText compares with a text; a term without a field may be one of its
// words.
func (t *term) acceptsText(v string) bool {
	if t.exact && strings.EqualFold(t.text, v) || !t.exact && matches(t.text, v) {
		return true
	}
	if t.field != "" {
		return false
	}
	for w := range strings.FieldsFuncSeq(v, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if !t.exact && matches(t.text, w) {
			return true
		}
	}
	return false
}

// within says whether v is on the right side of an end of a range; side is the
// comparison without the end itself.
func within(v any, b bound, side string) bool {
	if b.text == "*" {
		return true
	}
	if b.inclusive {
		side += "="
	}
	return compare(v, side, b.text)
}

// compare compares as numbers where both sides are numbers, as texts otherwise.
func compare(v any, op, text string) bool {
	var order int
	switch v := v.(type) {
	case float64:
		n, ok := number(text)
		if !ok {
			return false
		}
		order = cmp.Compare(v, n)
	case string:
		a, ok := number(v)
		b, also := number(text)
		if order = cmp.Compare(a, b); !ok || !also {
			order = strings.Compare(strings.ToLower(v), strings.ToLower(text))
		}
	default:
		return false
	}
	switch op {
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

func number(text string) (float64, bool) {
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && !math.IsNaN(n)
}

// matches compares a text with a pattern in which * stands for any characters
// and ? for one.
func matches(pattern, text string) bool {
	p, s := []rune(strings.ToLower(pattern)), []rune(strings.ToLower(text))
	i, j := 0, 0
	star, mark := -1, 0 // the last *, and where its part of the text ends for now
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
