package iotsql

import (
	"strings"
	"unicode/utf8"
)

// Limits of a text. AWS documents no size for a statement; ours leaves room.
const (
	MaxLength = 16 << 10 // bytes of a statement or a template
	maxDepth  = 100      // nested expressions
	maxAlias  = 32       // segments of an alias
)

// Parse reads a statement. An error is an *Error.
func Parse(src string) (*Statement, error) {
	p, err := newParser(src)
	if err != nil {
		return nil, err
	}
	st, err := p.statement()
	if err != nil {
		return nil, err
	}
	st.Source = src
	return st, nil
}

// ParseExpr reads one expression. An error is an *Error.
func ParseExpr(src string) (Expr, error) {
	p, err := newParser(src)
	if err != nil {
		return nil, err
	}
	x, err := p.expr(powerNone)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEOF {
		return nil, p.unexpected("an operator or the end")
	}
	return x, nil
}

// parser reads tokens one at a time, since how the text after FROM is cut
// into tokens depends on where it stands. Offsets index src.
type parser struct {
	src   string
	tok   token
	last  Pos // where the token before tok ended
	depth int
}

func newParser(src string) (*parser, error) {
	if err := checkText(src); err != nil {
		return nil, err
	}
	p := &parser{src: src}
	return p, p.next()
}

// checkText refuses what no parser looks at.
func checkText(src string) error {
	if len(src) > MaxLength {
		return Errorf("", 0, "the text has %d bytes, the limit is %d", len(src), MaxLength)
	}
	if !utf8.ValidString(src) {
		return Errorf(strings.ToValidUTF8(src, "?"), 0, "the text is not valid UTF-8")
	}
	return nil
}

// next moves to the next token.
func (p *parser) next() (err error) {
	p.last = p.tok.end
	p.tok, err = lex(p.src, int(p.tok.end))
	return err
}

// peek returns the token after the current one; a lexical error shows later.
func (p *parser) peek() token {
	t, err := lex(p.src, int(p.tok.end))
	if err != nil {
		return token{kind: tokSymbol}
	}
	return t
}

func (p *parser) errorf(pos Pos, format string, args ...any) error {
	return Errorf(p.src, pos, format, args...)
}

// unexpected says what was wanted in place of the current token, and what to
// do where that is likely known.
func (p *parser) unexpected(want string) error { return p.misplaced(want, "") }

func (p *parser) misplaced(want, advice string) error {
	if p.tok.kind == tokIdent {
		if instead, ok := foreignWords[strings.ToUpper(p.tok.text)]; ok {
			return p.errorf(p.tok.pos, "IoT SQL has no %s: %s", strings.ToUpper(p.tok.text), instead)
		}
		if near := nearKeyword(p.tok.text, want); near != "" {
			advice = "did you mean " + near + "?"
		}
	}
	if advice != "" {
		advice = "; " + advice
	}
	return p.errorf(p.tok.pos, "expected %s, found %s%s", want, p.tok.describe(), advice)
}

// afterComma says whether the token before the current one is a comma.
func (p *parser) afterComma() bool { return strings.HasSuffix(p.src[:p.last], ",") }

// take moves past the symbol s, or says that it was expected.
func (p *parser) take(s string) error {
	if !p.tok.is(s) {
		return p.unexpected("`" + s + "`")
	}
	return p.next()
}

// takeWord moves past the keyword w, or says that it was expected.
func (p *parser) takeWord(w string) error {
	if !p.tok.keyword(w) {
		return p.unexpected(w)
	}
	return p.next()
}

// enter bounds how deep expressions nest; leave undoes it.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.errorf(p.tok.pos, "expressions are nested deeper than %d", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) statement() (*Statement, error) {
	st := &Statement{}
	var err error
	if p.tok.keyword("SET") {
		if st.Set, err = p.set(); err != nil {
			return nil, err
		}
	}
	if !p.tok.keyword("SELECT") {
		return nil, p.misplaced("SELECT", pick(p.tok.keyword("SET"), "SET stands once, with commas between its variables", ""))
	}
	if st.Select, err = p.selection(); err != nil {
		return nil, err
	}
	if p.tok.keyword("FROM") {
		if st.From, err = p.filter(); err != nil {
			return nil, err
		}
	}
	if p.tok.keyword("WHERE") {
		if st.Where, err = p.nextExpr(); err != nil {
			return nil, err
		}
	}
	if p.tok.kind != tokEOF {
		return nil, p.trailing(st)
	}
	return st, nil
}

// trailing refuses what follows a statement.
func (p *parser) trailing(st *Statement) error {
	switch {
	case p.tok.keyword("NOT"):
		return p.misplaced("an operator or the end", "NOT stands before what it negates: NOT x IN […]")
	case st.Where == nil && st.From != nil && (p.tok.is(",") || p.tok.keyword("AS")):
		return p.misplaced("WHERE or the end", "FROM has one topic filter, and it has no alias")
	case st.From == nil && st.Where == nil && st.Select.Value != nil && p.tok.is(","):
		return p.misplaced("FROM, WHERE or the end", "SELECT VALUE selects one expression")
	case st.From == nil && st.Where == nil && st.Select.Value != nil && p.tok.keyword("AS"):
		return p.misplaced("FROM, WHERE or the end", "the value of SELECT VALUE has no name")
	case p.tok.is("*") || p.tok.kind == tokIdent && st.From == nil && st.Where == nil:
		return p.unexpected("`,` or AS between items, FROM, WHERE or the end")
	case st.Where != nil:
		return p.unexpected("an operator or the end")
	case st.From != nil:
		return p.unexpected("WHERE or the end")
	}
	return p.unexpected("`,`, FROM, WHERE or the end")
}

// Limits of SET (AWS IoT SQL reference, "SET clause").
const (
	maxVariables    = 10
	maxVariableName = 64
)

func (p *parser) set() ([]Assign, error) {
	var out []Assign
	for {
		if err := p.next(); err != nil { // SET or a comma
			return nil, err
		}
		a := Assign{Pos: p.tok.pos, Name: p.tok.text}
		switch {
		case p.tok.kind != tokVar:
			return nil, p.unexpected("a variable such as @name")
		case len(a.Name) > maxVariableName:
			return nil, p.errorf(a.Pos, "the name of a variable has at most %d characters", maxVariableName)
		case len(out) == maxVariables:
			return nil, p.errorf(a.Pos, "SET has at most %d variables", maxVariables)
		}
		for _, b := range out {
			if b.Name == a.Name {
				return nil, p.errorf(a.Pos, "@%s is assigned twice", a.Name)
			}
		}
		if err := p.next(); err != nil {
			return nil, err
		}
		if !p.tok.is("=") {
			return nil, p.unexpected("`=`")
		}
		var err error
		if a.X, err = p.nextExpr(); err != nil {
			return nil, err
		}
		if out = append(out, a); !p.tok.is(",") {
			return out, nil
		}
	}
}

// nextExpr moves past the current token and reads an expression.
func (p *parser) nextExpr() (Expr, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	return p.expr(powerNone)
}

// selection reads what follows SELECT, which is the current token.
func (p *parser) selection() (Selection, error) {
	s := Selection{Pos: p.tok.pos}
	if err := p.next(); err != nil {
		return s, err
	}
	if p.tok.keyword("VALUE") && p.valueIsKeyword() {
		if err := p.next(); err != nil {
			return s, err
		}
		var err error
		if p.tok.is("*") {
			s.Value, err = &Star{p.tok.pos}, p.next()
		} else {
			s.Value, err = p.expr(powerNone)
		}
		return s, err
	}
	for {
		it, err := p.item()
		if err != nil {
			return s, err
		}
		s.Items = append(s.Items, it)
		if !p.tok.is(",") {
			return s, nil
		}
		if err := p.next(); err != nil {
			return s, err
		}
	}
}

// valueIsKeyword tells SELECT VALUE x from a member that is called value. An
// operator after it makes it a member; a star is the payload when the
// selection ends behind it.
func (p *parser) valueIsKeyword() bool {
	t := p.peek()
	switch t.kind {
	case tokEOF:
		return false
	case tokSymbol:
		if t.is("*") {
			after, err := lex(p.src, int(t.end))
			return err == nil && (after.kind == tokEOF || after.keyword("FROM") || after.keyword("WHERE") || after.is(")"))
		}
		return t.is("(") || t.is("[") || t.is("{")
	case tokIdent:
		for _, w := range []string{"FROM", "AS", "WHERE", "AND", "OR", "IN"} {
			if t.keyword(w) {
				return false
			}
		}
	}
	return true
}

func (p *parser) item() (Item, error) {
	var it Item
	var err error
	start := p.tok.pos
	if p.tok.keyword("DISTINCT") && p.valueIsKeyword() {
		return it, p.unexpected("an expression")
	}
	if p.tok.is("*") {
		if it.X, err = (&Star{start}), p.next(); err == nil && p.tok.is(".") {
			err = p.errorf(p.tok.pos, "`*` is the whole payload: read a member by its name alone")
		}
	} else {
		it.X, err = p.expr(powerNone)
	}
	if err != nil {
		return it, err
	}
	it.Text = p.src[start:p.last]
	if p.tok.is(".") { // the expression stops here only before ".*"
		if it.Spread = true; !isPath(it.X) {
			return it, p.errorf(p.tok.pos, "`.*` needs a path before it")
		}
		if err := p.next(); err != nil {
			return it, err
		}
		if err := p.take("*"); err != nil {
			return it, err
		}
	}
	if p.tok.keyword("AS") {
		if it.Spread {
			return it, p.errorf(p.tok.pos, "`.*` takes no alias: it gives every member its own name")
		}
		it.Alias, err = p.alias()
	}
	return it, err
}

func isPath(x Expr) bool {
	switch x := x.(type) {
	case *Name, *Var:
		return true
	case *Field:
		return isPath(x.X)
	case *Index:
		return isPath(x.X)
	}
	return false
}

// alias reads what follows AS, which is the current token.
func (p *parser) alias() ([]string, error) {
	var out []string
	for {
		if err := p.next(); err != nil { // AS or a dot
			return nil, err
		}
		if p.tok.kind != tokIdent {
			return nil, p.misplaced("a name (letters, digits and _)", pick(p.tok.kind == tokString, "leave the quotes out", ""))
		}
		if len(out) == 0 && (p.tok.keyword("FROM") || p.tok.keyword("WHERE")) {
			return nil, p.misplaced("a name after AS", "")
		}
		if len(out) == maxAlias {
			return nil, p.errorf(p.tok.pos, "an alias has at most %d segments", maxAlias)
		}
		out = append(out, p.tok.text)
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.tok.is("-") {
			return nil, p.errorf(p.tok.pos, "a name has letters, digits and _: write %s_…", out[len(out)-1])
		}
		if !p.tok.is(".") {
			return out, nil
		}
	}
}

// filter reads the topic filter after FROM, which is the current token:
// quoted, or bare up to the next white space.
func (p *parser) filter() (*Filter, error) {
	at := skipSpace(p.src, int(p.tok.end))
	f := &Filter{Pos: Pos(at)}
	switch {
	case at == len(p.src):
		return nil, p.errorf(f.Pos, "expected a topic filter after FROM, found the end")
	case p.src[at] == '\'' || p.src[at] == '"':
		if err := p.next(); err != nil {
			return nil, err
		}
		f.Text = p.tok.text
		return f, p.next()
	case strings.ContainsAny(p.src[at:at+runeLen(p.src[at:])], "‘’“”"):
		return nil, p.errorf(f.Pos, "typographic quote: use ' or \"")
	}
	end := at
	for end < len(p.src) && !isSpace(p.src[end]) {
		end++
	}
	f.Text = p.src[at:end]
	switch word := (token{kind: tokIdent, text: f.Text}); {
	case word.keyword("WHERE"), word.keyword("SELECT"), word.keyword("FROM"), word.keyword("AS"):
		return nil, p.errorf(f.Pos, "expected a topic filter after FROM, found %s", strings.ToUpper(f.Text))
	case strings.ContainsAny(f.Text, `'"`), strings.ContainsAny(f.Text[len(f.Text)-1:], ",;)"):
		return nil, p.errorf(f.Pos, "a topic filter with a quote inside, or with a sign after it: put the filter alone into quotes")
	}
	p.tok.end = Pos(end)
	return f, p.next()
}

func runeLen(s string) int { _, n := utf8.DecodeRuneInString(s); return n }
