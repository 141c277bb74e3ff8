// Package search is the language of fleet queries (AWS IoT developer guide,
// "Query syntax"): terms, phrases, wildcards, comparisons, ranges and their
// combination with AND, OR, NOT and brackets. It parses a query and says
// whether a document fits it; what documents there are is for others to know.
package search

import (
	"fmt"
	"slices"
	"strings"
)

// MaxQuery is the longest query in bytes (AWS IoT Device Management quotas,
// "Maximum length of a query").
const MaxQuery = 1000

// Query is a parsed query. It never changes.
type Query struct{ root node }

// Error says why a text is no query.
type Error struct{ Msg string }

func (e *Error) Error() string { return e.Msg }

func errorf(format string, args ...any) *Error { return &Error{fmt.Sprintf(format, args...)} }

// node is a part of a query.
type node interface {
	fits(d Document) bool
	terms(f func(*term))
}

type (
	all  []node // AND
	some []node // OR
	not  struct{ of node }
)

// term asks for a value, of a field or of any.
type term struct {
	field  string // "": any
	text   string // as it was meant: without quotes and escapes
	exact  bool   // it stood in quotes: no wildcards
	op     string // "<", "<=", ">", ">=" or "" for equality
	ranged bool
	low    bound
	high   bound
}

// bound is one end of a range.
type bound struct {
	text      string // "*": open
	inclusive bool
}

// Parse reads a query. Its errors are [*Error] values.
func Parse(text string) (*Query, error) {
	if len(text) > MaxQuery {
		return nil, errorf("the query has %d bytes, the limit is %d", len(text), MaxQuery)
	}
	p := &parser{lexer: lexer{text: text}}
	if err := p.next(); err != nil {
		return nil, err
	}
	if p.token.kind == end {
		return nil, errorf("the query is empty")
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != end {
		return nil, errorf("%s has nothing that it belongs to", p.token)
	}
	return &Query{root}, nil
}

// Fields are the names of the fields that the query asks for, sorted.
func (q *Query) Fields() []string {
	var out []string
	q.root.terms(func(t *term) {
		if t.field != "" {
			out = append(out, t.field)
		}
	})
	slices.Sort(out)
	return slices.Compact(out)
}

func (t *term) terms(f func(*term)) { f(t) }
func (n not) terms(f func(*term))   { n.of.terms(f) }

func (n all) terms(f func(*term)) {
	for _, x := range n {
		x.terms(f)
	}
}

func (n some) terms(f func(*term)) { all(n).terms(f) }

type parser struct {
	lexer
	token token // the one that is looked at
}

func (p *parser) next() (err error) {
	p.token, err = p.scan()
	return err
}

func (p *parser) or() (node, error) {
	first, err := p.and()
	if err != nil {
		return nil, err
	}
	list := some{first}
	for p.token.is("OR") {
		if err := p.next(); err != nil {
			return nil, err
		}
		n, err := p.and()
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	if len(list) == 1 {
		return first, nil
	}
	return list, nil
}

// and reads what is joined by AND, or by nothing at all.
func (p *parser) and() (node, error) {
	first, err := p.unary()
	if err != nil {
		return nil, err
	}
	list := all{first}
	for p.token.kind != end && p.token.kind != closing && !p.token.is("OR") {
		if p.token.is("AND") {
			if err := p.next(); err != nil {
				return nil, err
			}
		}
		n, err := p.unary()
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	if len(list) == 1 {
		return first, nil
	}
	return list, nil
}

func (p *parser) unary() (node, error) {
	token := p.token
	if err := p.next(); err != nil {
		return nil, err
	}
	switch {
	case token.kind == minus, token.is("NOT"):
		n, err := p.unary()
		return not{n}, err
	case token.kind == opening:
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.token.kind != closing {
			return nil, errorf("a bracket is not closed: there is %s", p.token)
		}
		return n, p.next()
	case token.is("AND"), token.is("OR"), token.kind == end, token.kind == closing:
		return nil, errorf("a term is missing before %s", token)
	}
	return p.term(token)
}

// term reads the rest of a term that begins with a word or a phrase.
func (p *parser) term(first token) (node, error) {
	switch {
	case first.kind == word && p.token.kind == colon:
		return p.ofField(first, "")
	case first.kind == word && p.token.kind == comparison:
		return p.ofField(first, p.token.text)
	case first.kind == word, first.kind == phrase:
		return &term{text: first.text, exact: first.kind == phrase}, nil
	}
	return nil, errorf("%s is not a term: it must look like thingName:board-1", first)
}

func (p *parser) ofField(field token, op string) (node, error) {
	if err := p.next(); err != nil { // past the colon or the comparison
		return nil, err
	}
	if op == "=" {
		op = ""
	}
	if op == "" && p.token.kind == comparison && p.token.text != "=" { // field:>3
		op = p.token.text
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	negative := ""
	if p.token.kind == minus {
		negative = "-"
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	t := &term{field: field.text, op: op, text: negative + p.token.text, exact: p.token.kind == phrase}
	switch {
	case p.token.kind == ranged && op == "" && negative == "":
		t.ranged, t.low, t.high = true, p.token.low, p.token.high
	case p.token.kind != word && p.token.kind != phrase:
		return nil, errorf("the field %.200q has no value: there is %s", field.text, p.token)
	}
	return t, p.next()
}

// kind is a kind of token.
type kind int

const (
	end kind = iota
	word
	phrase
	opening
	closing
	minus
	colon
	comparison
	ranged
)

type token struct {
	kind      kind
	text      string
	keyword   bool // nothing of the word was escaped
	low, high bound
}

// is says whether t is a keyword of the language.
func (t token) is(keyword string) bool { return t.kind == word && t.keyword && t.text == keyword }

func (t token) String() string {
	if t.kind == end {
		return "the end of the query"
	}
	return fmt.Sprintf("%.200q", t.text)
}

type lexer struct {
	text string
	at   int
}

// scan returns the next token.
func (l *lexer) scan() (token, error) {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
	if l.at == len(l.text) {
		return token{kind: end}, nil
	}
	switch c := l.text[l.at]; c {
	case '(', ')', ':':
		l.at++
		return token{kind: map[byte]kind{'(': opening, ')': closing, ':': colon}[c], text: string(c)}, nil
	case '-', '!':
		l.at++
		return token{kind: minus, text: string(c)}, nil
	case '<', '>', '=':
		return l.comparison(), nil
	case '"':
		return l.phrase()
	case '[', '{':
		return l.ranged()
	}
	return l.word()
}

func (l *lexer) comparison() token {
	n := 1
	if rest := l.text[l.at:]; len(rest) > 1 && rest[0] != '=' && rest[1] == '=' {
		n = 2
	}
	l.at += n
	return token{kind: comparison, text: l.text[l.at-n : l.at]}
}

func (l *lexer) phrase() (token, error) {
	var b strings.Builder
	for l.at++; l.at < len(l.text); l.at++ {
		switch c := l.text[l.at]; {
		case c == '"':
			l.at++
			return token{kind: phrase, text: b.String()}, nil
		case c == '\\' && l.at+1 < len(l.text):
			l.at++
			b.WriteByte(l.text[l.at])
		default:
			b.WriteByte(c)
		}
	}
	return token{}, errorf("a quotation mark is not closed")
}

// word reads up to what ends a word; a backslash takes the next character as it
// is.
func (l *lexer) word() (token, error) {
	var b strings.Builder
	keyword := true
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n():<>=\"[]{}", l.text[l.at]) < 0 {
		if l.text[l.at] == '\\' && l.at+1 < len(l.text) {
			keyword = false
			l.at++
		}
		b.WriteByte(l.text[l.at])
		l.at++
	}
	if b.Len() == 0 {
		return token{}, errorf("there is a %q where none can be: put it into quotation marks", l.text[l.at])
	}
	return token{kind: word, text: b.String(), keyword: keyword}, nil
}

// ranged reads [low TO high], with { and } for a bound that is left out.
func (l *lexer) ranged() (token, error) {
	length := strings.IndexAny(l.text[l.at:], "]}")
	if length < 0 {
		return token{}, errorf("a range is not closed: write it as [1 TO 10]")
	}
	text := l.text[l.at : l.at+length+1]
	l.at += len(text)
	f := strings.Fields(text[1 : len(text)-1])
	if len(f) != 3 || f[1] != "TO" {
		return token{}, errorf("%.200q is no range: write it as [1 TO 10]", text)
	}
	return token{kind: ranged, text: text, low: bound{f[0], text[0] == '['}, high: bound{f[2], text[len(text)-1] == ']'}}, nil
}
