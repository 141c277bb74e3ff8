package eval

import (
	"math"
	"unicode/utf8"
)

// MaxDepth is how deep a payload may nest; a deeper one counts as not JSON.
const MaxDepth = 128

// document is a JSON text (RFC 8259) that was checked in one walk, as the
// places of its values. A value is decoded when something looks at it: nothing
// else of a message costs more than the walk.
type document struct {
	src    string
	tokens []token
	depth  int
	odd    int        // how often the text differs from how appendJSON writes it
	lazy   node       // what values of the document that are not opened refer to
	work   *workspace // for what is opened; nil: it outlives the document

	opened   map[uint32]*node // objects with many members
	lastAt   uint32           // the object or array that was opened last,
	lastNode *node            // nil: none
}

// token is one value or one name of a document. An object is followed by the
// name and the value of each member, an array by its elements.
type token struct {
	start, end uint32 // in the text: of a string between the quotes
	next       uint32 // the token after the value
	count      uint32 // members or elements
	kind       Kind
	flags      uint8
}

// Flags of tokens.
const (
	isTrue     = 1 << iota // a Bool that is true
	isEscaped              // a string with a backslash
	mayBeWhole             // a Decimal that may be a whole number
	isPlain                // an Object or Array that is written as appendJSON writes it, but for names that come twice
)

// read takes a text in. It returns false when that is not JSON.
func (d *document) read(src string) bool {
	d.src, d.tokens, d.depth, d.odd = src, d.tokens[:0], 0, 0
	d.lazy.doc = d
	if uint64(len(src)) > math.MaxUint32 || !utf8.ValidString(src) {
		return false
	}
	i := d.value(d.space(0))
	return i >= 0 && d.space(i) == len(src)
}

// space returns the place of the first byte at or after i that is not white
// space.
func (d *document) space(i int) int {
	if i < len(d.src) && d.src[i] > ' ' { // nearly always
		return i
	}
	return d.skipSpace(i)
}

func (d *document) skipSpace(i int) int {
	for ; i < len(d.src); i++ {
		switch d.src[i] {
		case ' ', '\t', '\n', '\r':
			d.odd++
		default:
			return i
		}
	}
	return i
}

// value reads the value at i. As all that follow, it returns the place behind
// what it read, or -1 when that is not JSON.
func (d *document) value(i int) int {
	if i >= len(d.src) {
		return -1
	}
	switch d.src[i] {
	case '"':
		return d.str(i)
	case '{':
		return d.object(i)
	case '[':
		return d.array(i)
	case 't':
		return d.word(i, "true", Bool, isTrue)
	case 'f':
		return d.word(i, "false", Bool, 0)
	case 'n':
		return d.word(i, "null", Null, 0)
	}
	return d.number(i)
}

func (d *document) push(start, end int, kind Kind, flags uint8) {
	d.tokens = append(d.tokens, token{uint32(start), uint32(end), uint32(len(d.tokens) + 1), 0, kind, flags})
}

func (d *document) word(i int, w string, kind Kind, flags uint8) int {
	end := i + len(w)
	if end > len(d.src) || d.src[i:end] != w {
		return -1
	}
	d.push(i, end, kind, flags)
	return end
}

// close ends the object or array whose token is at open.
func (d *document) close(open, end, count, odd int) int {
	t := &d.tokens[open]
	t.end, t.next, t.count = uint32(end), uint32(len(d.tokens)), uint32(count)
	if d.odd == odd {
		t.flags = isPlain
	}
	d.depth--
	return end
}

func (d *document) object(at int) int {
	if d.depth++; d.depth > MaxDepth {
		return -1
	}
	s, open, odd := d.src, len(d.tokens), d.odd
	d.push(at, 0, Object, 0)
	i := d.space(at + 1)
	if i < len(s) && s[i] == '}' {
		return d.close(open, i+1, 0, odd)
	}
	for count := 1; ; count++ {
		if i >= len(s) || s[i] != '"' {
			return -1
		}
		if i = d.str(i); i < 0 {
			return -1
		}
		if i = d.space(i); i >= len(s) || s[i] != ':' {
			return -1
		}
		if i = d.value(d.space(i + 1)); i < 0 {
			return -1
		}
		if i = d.space(i); i >= len(s) {
			return -1
		}
		switch s[i] {
		case '}':
			return d.close(open, i+1, count, odd)
		case ',':
			i = d.space(i + 1)
		default:
			return -1
		}
	}
}

func (d *document) array(at int) int {
	if d.depth++; d.depth > MaxDepth {
		return -1
	}
	s, open, odd := d.src, len(d.tokens), d.odd
	d.push(at, 0, Array, 0)
	i := d.space(at + 1)
	if i < len(s) && s[i] == ']' {
		return d.close(open, i+1, 0, odd)
	}
	for count := 1; ; count++ {
		if i = d.value(i); i < 0 {
			return -1
		}
		if i = d.space(i); i >= len(s) {
			return -1
		}
		switch s[i] {
		case ']':
			return d.close(open, i+1, count, odd)
		case ',':
			i = d.space(i + 1)
		default:
			return -1
		}
	}
}

// stops are the bytes at which the walk through a string stops.
var stops = func() (t [256]bool) {
	for c := range ' ' {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// str reads the string whose opening quote is at at.
func (d *document) str(at int) int {
	s := d.src
	for i := at + 1; i < len(s); i++ {
		if c := s[i]; stops[c] {
			switch c {
			case '"':
				d.push(at+1, i, String, 0)
				return i + 1
			case '\\':
				return d.escaped(at, i)
			}
			return -1
		}
	}
	return -1
}

// escaped goes on with a string from its first backslash.
func (d *document) escaped(at, i int) int {
	s := d.src
	for i < len(s) {
		switch c := s[i]; {
		case c == '"':
			d.odd++
			d.push(at+1, i, String, isEscaped)
			return i + 1
		case c < ' ':
			return -1
		case c != '\\':
			i++
		default:
			n := escapeLength(s[i:])
			if n == 0 {
				return -1
			}
			i += n
		}
	}
	return -1
}

// escapeLength is the length of the escape at the start of s, 0 when it is none.
func escapeLength(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(s[2:]); ok {
			return 6
		}
	}
	return 0
}

func (d *document) number(at int) int {
	s, i := d.src, at
	if s[i] == '-' {
		i++
	}
	first := i
	if i = skipDigits(s, i); i == first || s[first] == '0' && i > first+1 {
		return -1
	}
	kind, flags := Int, uint8(0)
	if i < len(s) && s[i] == '.' {
		frac := i + 1
		if i = skipDigits(s, frac); i == frac {
			return -1
		}
		kind = Decimal
		if s[i-1] == '0' && onlyZeros(s[frac:i]) {
			flags = mayBeWhole
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		exp := i
		if i = skipDigits(s, i); i == exp {
			return -1
		}
		kind, flags = Decimal, mayBeWhole
	}
	if flags != 0 {
		d.odd++
	}
	d.push(at, i, kind, flags)
	return i
}

func onlyZeros(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}

func skipDigits(s string, i int) int {
	for i < len(s) && s[i]-'0' <= 9 {
		i++
	}
	return i
}
