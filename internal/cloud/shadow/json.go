package shadow

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind says what a node is. The letters are also those of the stored form
// (FORMAT.md).
type kind byte

const (
	object  kind = 'o'
	array   kind = 'a'
	text    kind = 's'
	number  kind = 'n'
	isTrue  kind = 't'
	isFalse kind = 'f'
	null    kind = 'z'
)

// node is one JSON value with the time of its last change. Nodes are shared
// between documents and never change once a request is read.
type node struct {
	kind    kind
	text    string   // of a string; the digits of a number, as they came
	members []member // of an object, in the order in which they came first
	items   []*node  // of an array
	at      int64    // seconds since 1970; of leaves
}

type member struct {
	name  string
	value *node
}

// indexFrom is how many members an object has before looking them up one by
// one costs more than a map.
const indexFrom = 16

// lookup returns a function that finds the place of a member, or -1.
func (n *node) lookup() func(name string) int {
	if n == nil || len(n.members) < indexFrom {
		return func(name string) int {
			if n != nil {
				for i := range n.members {
					if n.members[i].name == name {
						return i
					}
				}
			}
			return -1
		}
	}
	places := make(map[string]int, len(n.members))
	for i := range n.members {
		places[n.members[i].name] = i
	}
	return func(name string) int {
		if i, ok := places[name]; ok {
			return i
		}
		return -1
	}
}

// member returns the value of a member, or nil.
func (n *node) member(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.members {
		if n.members[i].name == name {
			return n.members[i].value
		}
	}
	return nil
}

// stamp sets the time of all leaves.
func (n *node) stamp(at int64) {
	if n.kind != object && n.kind != array {
		n.at = at
	}
	for i := range n.members {
		n.members[i].value.stamp(at)
	}
	for _, item := range n.items {
		item.stamp(at)
	}
}

// depth counts the levels of objects and arrays.
func (n *node) depth() int {
	if n.kind != object && n.kind != array {
		return 0
	}
	most := 0
	for i := range n.members {
		most = max(most, n.members[i].value.depth())
	}
	for _, item := range n.items {
		most = max(most, item.depth())
	}
	return most + 1
}

// nullInArray says whether some array holds a null, however deep.
func (n *node) nullInArray(inside bool) bool {
	if n.kind == null {
		return inside
	}
	for i := range n.members {
		if n.members[i].value.nullInArray(inside) {
			return true
		}
	}
	for _, item := range n.items {
		if item.nullInArray(true) {
			return true
		}
	}
	return false
}

// Errors of parse.
var (
	errSyntax = errors.New("not JSON")
	errDepth  = errors.New("nested too deeply")
)

// maxNesting bounds the parser; what may be stored is less (maxDepth).
const maxNesting = 32

// parse reads one JSON text (RFC 8259). Of members with one name the last
// counts, at the place of the first. The error is errSyntax or errDepth.
func parse(data []byte) (*node, error) {
	p := parser{data: data}
	p.space()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(data) {
		return nil, errSyntax
	}
	return n, nil
}

type parser struct {
	data []byte
	at   int
}

func (p *parser) space() {
	for p.at < len(p.data) && strings.IndexByte(" \t\r\n", p.data[p.at]) >= 0 {
		p.at++
	}
}

// next returns the next byte that is no space, or 0 at the end.
func (p *parser) next() byte {
	if p.space(); p.at == len(p.data) {
		return 0
	}
	return p.data[p.at]
}

// take goes past c, the next byte that is no space.
func (p *parser) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (*node, error) {
	switch c := p.next(); c {
	case '{', '[':
		if depth == maxNesting {
			return nil, errDepth
		}
		p.at++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case '"':
		s, err := p.text()
		return &node{kind: text, text: s}, err
	case 't':
		return p.word("true", isTrue)
	case 'f':
		return p.word("false", isFalse)
	case 'n':
		return p.word("null", null)
	}
	return p.number()
}

func (p *parser) word(word string, k kind) (*node, error) {
	if !strings.HasPrefix(string(p.data[p.at:min(p.at+len(word), len(p.data))]), word) {
		return nil, errSyntax
	}
	p.at += len(word)
	return &node{kind: k}, nil
}

func (p *parser) object(depth int) (*node, error) {
	n := &node{kind: object}
	if p.take('}') {
		return n, nil
	}
	places := map[string]int{}
	for {
		if p.next() != '"' {
			return nil, errSyntax
		}
		name, err := p.text()
		if err != nil || !p.take(':') {
			return nil, errSyntax
		}
		value, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		if i, again := places[name]; again {
			n.members[i].value = value
		} else {
			places[name] = len(n.members)
			n.members = append(n.members, member{name, value})
		}
		if p.take('}') {
			return n, nil
		}
		if !p.take(',') {
			return nil, errSyntax
		}
	}
}

func (p *parser) array(depth int) (*node, error) {
	n := &node{kind: array}
	if p.take(']') {
		return n, nil
	}
	for {
		item, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
		if p.take(']') {
			return n, nil
		}
		if !p.take(',') {
			return nil, errSyntax
		}
	}
}

// text reads a string; the next byte is its opening quote.
func (p *parser) text() (string, error) {
	p.at++
	start := p.at
	for p.at < len(p.data) {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			return string(p.data[start : p.at-1]), nil
		case c < ' ':
			return "", errSyntax
		case c == '\\':
			return p.escaped(append([]byte{}, p.data[start:p.at]...))
		}
		p.at++
	}
	return "", errSyntax
}

// escaped reads the rest of a string that has escapes.
func (p *parser) escaped(out []byte) (string, error) {
	for p.at < len(p.data) {
		c := p.data[p.at]
		p.at++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			out = append(out, c)
		default:
			var ok bool
			if out, ok = p.escape(out); !ok {
				return "", errSyntax
			}
		}
	}
	return "", errSyntax
}

// escape reads what follows a backslash.
func (p *parser) escape(out []byte) ([]byte, bool) {
	if p.at == len(p.data) {
		return nil, false
	}
	c := p.data[p.at]
	p.at++
	if c == 'u' {
		r, ok := p.unit()
		if utf16.IsSurrogate(r) {
			r = p.pair(r)
		}
		return utf8.AppendRune(out, r), ok
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return nil, false
	}
	return append(out, "\"\\/\b\f\n\r\t"[i]), true
}

// unit reads the four digits of one UTF-16 code unit.
func (p *parser) unit() (rune, bool) {
	if p.at+4 > len(p.data) {
		return 0, false
	}
	v, err := strconv.ParseUint(string(p.data[p.at:p.at+4]), 16, 16)
	p.at += 4
	return rune(v), err == nil
}

// pair reads the second half of a surrogate pair. A half that stands alone is
// no character: it becomes U+FFFD.
func (p *parser) pair(first rune) rune {
	start := p.at
	if p.at+2 <= len(p.data) && string(p.data[p.at:p.at+2]) == `\u` {
		p.at += 2
		if second, ok := p.unit(); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return r
			}
		}
	}
	p.at = start
	return utf8.RuneError
}

// number reads a number and keeps its digits as they are.
func (p *parser) number() (*node, error) {
	start := p.at
	if p.at < len(p.data) && p.data[p.at] == '-' {
		p.at++
	}
	whole := p.at
	if p.digits() == 0 || p.data[whole] == '0' && p.at > whole+1 {
		return nil, errSyntax
	}
	if p.at < len(p.data) && p.data[p.at] == '.' {
		if p.at++; p.digits() == 0 {
			return nil, errSyntax
		}
	}
	if p.at < len(p.data) && p.data[p.at]|0x20 == 'e' {
		p.at++
		if p.at < len(p.data) && (p.data[p.at] == '+' || p.data[p.at] == '-') {
			p.at++
		}
		if p.digits() == 0 {
			return nil, errSyntax
		}
	}
	return &node{kind: number, text: string(p.data[start:p.at])}, nil
}

func (p *parser) digits() (n int) {
	for p.at < len(p.data) && p.data[p.at] >= '0' && p.data[p.at] <= '9' {
		p.at++
		n++
	}
	return n
}

// appendTo appends the JSON text of n without spaces.
func (n *node) appendTo(b []byte) []byte {
	switch n.kind {
	case object:
		return n.appendMembers(b, (*node).appendTo)
	case array:
		return n.appendItems(b, (*node).appendTo)
	case text:
		return appendString(b, n.text)
	case number:
		return append(b, n.text...)
	case isTrue:
		return append(b, "true"...)
	case isFalse:
		return append(b, "false"...)
	}
	return append(b, "null"...)
}

// appendTimes appends the metadata of n: its shape, with the time of the last
// change in the place of each leaf (AWS IoT developer guide, "Device Shadow
// service documents").
func (n *node) appendTimes(b []byte) []byte {
	switch n.kind {
	case object:
		return n.appendMembers(b, (*node).appendTimes)
	case array:
		return n.appendItems(b, (*node).appendTimes)
	}
	b = append(b, `{"timestamp":`...)
	return append(strconv.AppendInt(b, n.at, 10), '}')
}

func (n *node) appendMembers(b []byte, value func(*node, []byte) []byte) []byte {
	b = append(b, '{')
	for i, m := range n.members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, m.name), ':')
		b = value(m.value, b)
	}
	return append(b, '}')
}

func (n *node) appendItems(b []byte, value func(*node, []byte) []byte) []byte {
	b = append(b, '[')
	for i, item := range n.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = value(item, b)
	}
	return append(b, ']')
}

// appendString appends s in quotes, with no more escapes than JSON asks for.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}
