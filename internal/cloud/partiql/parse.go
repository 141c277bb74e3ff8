package partiql

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Parse parses one statement and says how many parameters (?) it has. Errors
// are of type [*Error].
func Parse(src string) (s Statement, params int, err error) {
	if len(src) > MaxLength {
		return nil, 0, &Error{At: Place{1, 1, 1}, Problem: fmt.Sprintf("the statement has %d bytes: at most %d are taken", len(src), MaxLength)}
	}
	if !utf8.ValidString(src) {
		return nil, 0, &Error{At: Place{1, 1, 1}, Problem: "the statement is no UTF-8"}
	}
	tokens, err := lex(src)
	if err != nil {
		return nil, 0, err
	}
	p := &parser{src: src, tokens: tokens}
	if s, err = p.statement(); err != nil {
		return nil, 0, err
	}
	p.takeSymbol(";")
	if p.peek().kind != tokEOF {
		return nil, 0, p.unexpectedEnd()
	}
	return s, p.params, nil
}

type parser struct {
	src    string
	tokens []token
	at     int
	params int
	depth  int
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) place(t token) Place { return place(p.src, t.start, t.end) }

// errorf refuses the token that comes next.
func (p *parser) errorf(format string, args ...any) error {
	return &Error{At: p.place(p.peek()), Problem: fmt.Sprintf(format, args...)}
}

func (p *parser) unsupported(format string, args ...any) error {
	return &Error{At: p.place(p.peek()), Problem: fmt.Sprintf(format, args...), Unsupported: true}
}

// placeless refuses the token that comes next in DynamoDB's words.
func (p *parser) placeless(problem string, unsupported bool) error {
	return &Error{At: p.place(p.peek()), Problem: problem, Unsupported: unsupported, Placeless: true}
}

func (p *parser) expected(what string) error {
	text := p.src[p.peek().start:p.peek().end]
	if p.peek().kind == tokEOF {
		return p.errorf("Expected %s, found the end of the statement", what)
	}
	if len(text) > 64 {
		text = strings.ToValidUTF8(text[:64], "") + "…"
	}
	return p.errorf("Expected %s, found %s", what, text)
}

// clauses are parts of SQL that a statement on one table has not, with what
// stands in their place.
var clauses = map[string]string{
	"JOIN": "a statement reads one table", "INNER": "a statement reads one table", "LEFT": "a statement reads one table", "RIGHT": "a statement reads one table",
	"CROSS": "a statement reads one table", "UNION": "a statement is one SELECT", "INTERSECT": "a statement is one SELECT", "EXCEPT": "a statement is one SELECT",
	"GROUP": "aggregate the items in the client", "HAVING": "aggregate the items in the client", "LIMIT": "give the parameter Limit",
	"OFFSET": "go on with the NextToken of the page before", "AS": "there are no aliases", "AT": "there are no aliases", "BY": "there are no aliases",
	"ON": "a statement handles one item without conflict actions", "LET": "write the value out",
}

// unexpectedEnd refuses what follows a whole statement.
func (p *parser) unexpectedEnd() error {
	switch t := p.peek(); {
	case t.kind == tokSymbol && t.text == ",":
		return p.unsupported("Only one table can be named in a statement: joins are not supported")
	case t.kind == tokWord && clauses[strings.ToUpper(t.text)] != "":
		word := strings.ToUpper(t.text)
		return p.unsupported("Unsupported clause: %s (%s)", word, clauses[word])
	}
	return p.placeless("Unexpected token after expression", false)
}

func (p *parser) isWord(word string) bool {
	t := p.peek()
	return t.kind == tokWord && strings.EqualFold(t.text, word)
}

func (p *parser) takeWord(word string) bool {
	if !p.isWord(word) {
		return false
	}
	p.at++
	return true
}

func (p *parser) needWord(word string) error {
	if !p.takeWord(word) {
		return p.expected(word)
	}
	return nil
}

func (p *parser) isSymbol(text string) bool {
	t := p.peek()
	return t.kind == tokSymbol && t.text == text
}

func (p *parser) takeSymbol(text string) bool {
	if !p.isSymbol(text) {
		return false
	}
	p.at++
	return true
}

func (p *parser) needSymbol(text string) error {
	if !p.takeSymbol(text) {
		return p.expected(text)
	}
	return nil
}

func (p *parser) statement() (Statement, error) {
	switch {
	case p.takeWord("SELECT"):
		return p.selects()
	case p.takeWord("INSERT"):
		return p.insert()
	case p.takeWord("UPDATE"):
		return p.update()
	case p.takeWord("DELETE"):
		return p.deletes()
	case p.takeWord("EXISTS"):
		return p.exists()
	case p.takeWord("FROM"):
		return p.fromFirst()
	}
	return nil, p.placeless("Expected data manipulation", false)
}

func (p *parser) exists() (Statement, error) {
	if err := p.needSymbol("("); err != nil {
		return nil, err
	}
	if err := p.needWord("SELECT"); err != nil {
		return nil, err
	}
	s, err := p.selects()
	if err != nil {
		return nil, err
	}
	return &Exists{s}, p.needSymbol(")")
}

func (p *parser) selects() (s *Select, err error) {
	s = &Select{}
	if p.isWord("DISTINCT") || p.isWord("VALUE") && p.tokens[p.at+1].text != "," && !strings.EqualFold(p.tokens[p.at+1].text, "FROM") {
		return nil, p.unsupported("Unsupported clause: %s (name the attributes, or *)", strings.ToUpper(p.peek().text))
	}
	if !p.takeSymbol("*") {
		if s.Paths, err = p.paths(); err != nil {
			return nil, err
		}
	}
	if err := p.needWord("FROM"); err != nil {
		return nil, err
	}
	if s.From, err = p.source(); err != nil {
		return nil, err
	}
	if err := p.noAlias(); err != nil {
		return nil, err
	}
	if s.Where, err = p.where(); err != nil {
		return nil, err
	}
	if p.takeWord("ORDER") {
		s.Order, err = p.order()
	}
	return s, err
}

// paths parses the list of a SELECT or of a REMOVE.
func (p *parser) paths() (list []Path, err error) {
	for {
		if p.peek().kind == tokWord && p.tokens[p.at+1].text == "(" && p.tokens[p.at+1].kind == tokSymbol {
			return nil, p.unsupported("Unexpected path component")
		}
		path, err := p.path()
		if err != nil {
			return nil, err
		}
		list = append(list, path)
		if p.isWord("AS") {
			return nil, p.unsupported("Aliasing is not supported")
		}
		if !p.takeSymbol(",") {
			return list, nil
		}
	}
}

func (p *parser) source() (s Source, err error) {
	if p.isSymbol("(") {
		return s, p.unsupported("Nested SELECT is not supported: name a table")
	}
	if s.Table, err = p.component(); err != nil || !p.takeSymbol(".") {
		return s, err
	}
	if s.Index, err = p.component(); err == nil && p.isSymbol(".") {
		err = p.placeless("A path may contain at most 2 components in the FROM clause", true)
	}
	return s, err
}

// component parses a name of a table or index.
func (p *parser) component() (string, error) {
	if t := p.peek(); t.kind == tokQuoted && t.text == "" {
		return "", p.placeless("Path component cannot be an empty string", true)
	}
	return p.name()
}

// table parses the name of the table that a statement changes.
func (p *parser) table() (string, error) {
	name, err := p.component()
	if err == nil && p.isSymbol(".") {
		err = p.placeless("This operation is not supported on an index", true)
	}
	if err == nil {
		err = p.noAlias()
	}
	return name, err
}

// noAlias refuses another name for what was named.
func (p *parser) noAlias() error {
	t := p.peek()
	word := strings.ToUpper(t.text)
	if t.kind == tokQuoted || t.kind == tokWord && (word == "AS" || clauses[word] == "" && !slices.Contains(reserved, word)) {
		return p.placeless("Aliasing is not supported", true)
	}
	return nil
}

func (p *parser) where() (*Expr, error) {
	if !p.takeWord("WHERE") {
		return nil, nil
	}
	return p.expression(0)
}

func (p *parser) order() (list []Order, err error) {
	if err := p.needWord("BY"); err != nil {
		return nil, err
	}
	for {
		var o Order
		if o.Path, err = p.path(); err != nil {
			return nil, err
		}
		if o.Descending = p.takeWord("DESC"); !o.Descending {
			p.takeWord("ASC")
		}
		list = append(list, o)
		if !p.takeSymbol(",") {
			return list, nil
		}
	}
}

func (p *parser) insert() (s *Insert, err error) {
	s = &Insert{}
	if err := p.needWord("INTO"); err != nil {
		return nil, err
	}
	if s.Table, err = p.component(); err != nil {
		return nil, err
	}
	if p.isSymbol(".") {
		return nil, p.placeless("FROM clause may only contain a single table name", false)
	}
	if p.isWord("VALUES") || p.isSymbol("(") || p.isWord("SELECT") {
		return nil, p.unsupported(`Inserting several items, or columns, in one statement is not supported: use INSERT INTO "table" VALUE {...}`)
	}
	if !p.takeWord("VALUE") {
		return nil, p.unexpectedEnd()
	}
	if !p.isSymbol("{") && !p.isSymbol("?") {
		return nil, p.expected("an item: {'name': value, ...}")
	}
	s.Value, err = p.operand()
	if err == nil && p.isWord("RETURNING") {
		err = p.unsupported("RETURNING is not supported in INSERT")
	}
	return s, err
}

func (p *parser) update() (s *Update, err error) {
	s = &Update{}
	if s.Table, err = p.table(); err != nil {
		return nil, err
	}
	if err := p.changes(s); err != nil {
		return nil, err
	}
	if s.Where, err = p.where(); err == nil {
		s.Returning, err = p.returning()
	}
	return s, err
}

// fromFirst parses FROM table WHERE … SET …, another way to write an update.
func (p *parser) fromFirst() (s *Update, err error) {
	s = &Update{}
	if s.Table, err = p.table(); err != nil {
		return nil, err
	}
	if s.Where, err = p.where(); err != nil {
		return nil, err
	}
	if err := p.changes(s); err != nil {
		return nil, err
	}
	s.Returning, err = p.returning()
	return s, err
}

// changes parses the SETs and REMOVEs of an update.
func (p *parser) changes(s *Update) (err error) {
	for err == nil {
		switch {
		case p.takeWord("SET"):
			err = p.sets(s)
		case p.takeWord("REMOVE"):
			err = p.removes(s)
		case len(s.Actions) == 0:
			return p.expected("SET or REMOVE")
		default:
			return nil
		}
	}
	return err
}

func (p *parser) sets(s *Update) (err error) {
	for {
		var a Action
		if a.Path, err = p.path(); err != nil {
			return err
		}
		if err := p.needSymbol("="); err != nil {
			return err
		}
		if a.Value, err = p.expression(comparePower); err != nil {
			return err
		}
		s.Actions = append(s.Actions, a)
		if !p.takeSymbol(",") {
			return nil
		}
	}
}

func (p *parser) removes(s *Update) error {
	list, err := p.paths()
	for _, path := range list {
		s.Actions = append(s.Actions, Action{Path: path})
	}
	return err
}

func (p *parser) deletes() (s *Delete, err error) {
	s = &Delete{}
	if err := p.needWord("FROM"); err != nil {
		return nil, err
	}
	if s.Table, err = p.table(); err != nil {
		return nil, err
	}
	if s.Where, err = p.where(); err != nil {
		return nil, err
	}
	s.Returning, err = p.returning()
	return s, err
}

func (p *parser) returning() (*Returning, error) {
	if !p.takeWord("RETURNING") {
		return nil, nil
	}
	r := &Returning{}
	if r.All = p.takeWord("ALL"); !r.All && !p.takeWord("MODIFIED") {
		return nil, p.expected("ALL or MODIFIED")
	}
	if r.New = p.takeWord("NEW"); !r.New && !p.takeWord("OLD") {
		return nil, p.expected("OLD or NEW")
	}
	return r, p.needSymbol("*")
}

// reserved are the words that are no names unless they are quoted.
var reserved = []string{
	"SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "MISSING", "TRUE", "FALSE", "ORDER", "SET", "REMOVE",
	"RETURNING", "INSERT", "INTO", "UPDATE", "DELETE", "LIKE", "CASE", "GROUP", "HAVING", "LIMIT", "UNION", "JOIN",
}

// name parses a name of a table, index or attribute.
func (p *parser) name() (string, error) {
	t := p.peek()
	switch {
	case t.kind == tokQuoted && t.text == "":
		return "", p.errorf("a name cannot be empty")
	case t.kind != tokQuoted && (t.kind != tokWord || slices.Contains(reserved, strings.ToUpper(t.text))):
		return "", p.expected("a name (one that is a word of the language in double quotes)")
	}
	p.at++
	return t.text, nil
}

func (p *parser) path() (Path, error) {
	name, err := p.name()
	path := Path{{Name: name}}
	for err == nil {
		var s Step
		switch {
		case p.takeSymbol("."):
			s.Name, err = p.dotted()
		case p.takeSymbol("["):
			s, err = p.index()
		default:
			return path, nil
		}
		if path = append(path, s); len(path) > maxDepth {
			return nil, p.errorf("a path has at most %d steps", maxDepth)
		}
	}
	return nil, err
}

// dotted parses the name behind a dot.
func (p *parser) dotted() (string, error) {
	if t := p.peek(); t.kind == tokWord && clauses[strings.ToUpper(t.text)] != "" {
		return "", p.placeless("Invalid path dot component", false)
	}
	return p.name()
}

// index parses the index of a list, or a name in its place, up to the bracket.
func (p *parser) index() (s Step, err error) {
	t := p.peek()
	switch t.kind {
	case tokString:
		s.Name = t.text
		if s.Name == "" {
			return s, p.errorf("a name cannot be empty")
		}
	case tokNumber:
		s.List = true
		if s.Index, err = strconv.Atoi(t.text); err != nil || s.Index > 1<<30 {
			return s, p.errorf("List index is not within the allowable range; index: [%s]", t.text)
		}
	default:
		return s, p.expected("an index of a list")
	}
	p.at++
	return s, p.needSymbol("]")
}
