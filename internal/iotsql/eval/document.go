package eval

import (
	"math/bits"
	"unicode/utf8"
)

// MaxDepth is how deep a payload may nest; a deeper one counts as not JSON.
const MaxDepth = 128

// document is a JSON text (RFC 8259) that was checked in one walk, as the
// places of its values. A value is decoded when something looks at it: nothing
// else of a message costs more than the walk.
type document struct {
	src    string
	tokens []token // room for all that the text can have
	used   int     // of tokens
	depth  int
	odd    int        // how often the text differs from how appendJSON writes it
	lazy   node       // what values of the document that are not opened refer to
	work   *workspace // for what is opened; nil: it outlives the document

	byName   map[uint32]map[string]uint32 // of objects with many members: the tokens of the values
	lastAt   uint32                       // the object or array that was opened last,
	lastNode *node                        // nil: none
}

// token is one value or one name of a document. An object is followed by the
// name and the value of each member, an array by its elements.
type token struct {
	start, end uint32 // in the text: of a string between the quotes
	next       uint32 // the token after the value; of a name, that of its object
	info       uint32 // the Kind, flags, and a count: of members, of elements, of bytes of a name, of digits behind the point
	data       uint64 // of a name, its print; of a small number, its digits as an int64
}

// The Kind, the flags of tokens, each for some kinds, and where the count begins.
const (
	kindBits   = 7
	isSmall    = 1 << 3 // a number, and nothing else, of at most smallDigits digits without exponent
	isTrue     = 1 << 4 // a Bool that is true
	isEscaped  = 1 << 5 // a string with a backslash
	mayBeWhole = 1 << 6 // a Decimal that may be a whole number
	isDistinct = 1 << 5 // an Object in which surely no name comes twice
	isPlain    = 1 << 7 // an Object or Array that is written as appendJSON writes it, but for names that come twice
	countBits  = 8
)

// printOf tells most names of one length apart, and all of up to eight bytes.
func printOf(s string) uint64 {
	if n := len(s); n > 8 {
		return load(s, 0) ^ bits.RotateLeft64(load(s, n-8), 20)
	}
	print := uint64(0)
	for i := range len(s) {
		print |= uint64(s[i]) << (8 * i)
	}
	return print
}

// nameInfo is the info of a name without escapes.
func nameInfo(length int) uint32 { return uint32(length)<<countBits | uint32(String) }

func (t *token) kind() Kind           { return Kind(t.info & kindBits) }
func (t *token) has(flag uint32) bool { return t.info&flag != 0 }
func (t *token) count() int           { return int(t.info >> countBits) }

// maxDocument is how large a JSON text may be, in bytes; a larger one counts as
// not JSON. No message is as large.
const maxDocument = 16 << 20

// read takes a text in. It returns false when that is not JSON.
func (d *document) read(src string) bool {
	if len(src) > maxDocument || !utf8.ValidString(src) {
		return false
	}
	d.src, d.used, d.depth, d.odd, d.lazy.doc = src, 0, 0, 0, d
	if most := len(src)/2 + MaxDepth + 2; len(d.tokens) < most { // two bytes for each, but for what is not closed yet
		d.tokens = make([]token, most+most/4)
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

// value reads the value at i, also behind white space. As all that follow, it
// returns the place behind what it read, or -1 when that is not JSON.
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
		return d.word(i, "true", uint32(Bool)|isTrue)
	case 'f':
		return d.word(i, "false", uint32(Bool))
	case 'n':
		return d.word(i, "null", uint32(Null))
	case ' ', '\t', '\n', '\r':
		return d.value(d.skipSpace(i))
	}
	return d.number(i)
}

func (d *document) push(start, end int, info uint32) *token {
	t := &d.tokens[d.used]
	d.used++
	t.start, t.end, t.next, t.info = uint32(start), uint32(end), uint32(d.used), info
	return t
}

func (d *document) word(i int, w string, info uint32) int {
	end := i + len(w)
	if end > len(d.src) || d.src[i:end] != w {
		return -1
	}
	d.push(i, end, info)
	return end
}

// close ends the object or array whose token is at open.
func (d *document) close(open, end, count, odd int) int {
	t := &d.tokens[open]
	t.end, t.next = uint32(end), uint32(d.used)
	t.info |= uint32(count) << countBits
	if d.odd == odd {
		t.info |= isPlain
	}
	d.depth--
	return end
}

func (d *document) object(at int) int {
	if d.depth++; d.depth > MaxDepth {
		return -1
	}
	s, open, odd := d.src, d.used, d.odd
	d.push(at, 0, uint32(Object))
	i := d.space(at + 1)
	if i < len(s) && s[i] == '}' {
		return d.close(open, i+1, 0, odd)
	}
	seen, unsure := uint64(0), false // of the names: one bit for each print
	for count := 1; ; count++ {
		var t *token
		if t, i = d.name(i, open); i < 0 {
			return -1
		}
		bit := uint64(1) << (t.data * 0x9e3779b97f4a7c15 >> 58)
		if seen&bit != 0 || t.info&isEscaped != 0 {
			unsure = unsure || count > manyNames || d.again(open, t)
		}
		seen |= bit
		if i >= len(s) || s[i] != ':' {
			if i = d.skipSpace(i); i >= len(s) || s[i] != ':' {
				return -1
			}
		}
		if i = d.value(i + 1); i < 0 {
			return -1
		}
		if i = d.space(i); i >= len(s) {
			return -1
		}
		switch s[i] {
		case '}':
			if !unsure {
				d.tokens[open].info |= isDistinct
			}
			return d.close(open, i+1, count, odd)
		case ',':
			i++
		default:
			return -1
		}
	}
}

// again says whether a name, the last token, may have come before in the object
// at open, which is being read.
func (d *document) again(open int, name *token) bool {
	return name.has(isEscaped) || d.findBefore(uint32(open), uint32(d.used-1), d.src[name.start:name.end]) != 0
}

func (d *document) array(at int) int {
	if d.depth++; d.depth > MaxDepth {
		return -1
	}
	s, open, odd := d.src, d.used, d.odd
	d.push(at, 0, uint32(Array))
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
			i++
		default:
			return -1
		}
	}
}

// Bytes repeated eight times, for looking at eight bytes at once.
const (
	ones   = 0x0101010101010101
	highs  = 0x8080808080808080
	quotes = '"' * ones
	slants = '\\' * ones
	blanks = ' ' * ones
)

// stopIn marks the first byte of w, the lowest, that is a quote, a backslash or
// a control character, by its high bit; marks behind it mean nothing.
func stopIn(w uint64) uint64 {
	q, b := w^quotes, w^slants
	return ((q-ones)&^q | (b-ones)&^b | (w-blanks)&^w) & highs
}

func load(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// plainEnd returns the place of the first byte at or after i that is a quote, a
// backslash or a control character; len(s) when there is none.
func plainEnd(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		if stop := stopIn(load(s, i)); stop != 0 {
			return i + bits.TrailingZeros64(stop)/8
		}
	}
	for i < len(s) && s[i] != '"' && s[i] != '\\' && s[i] >= ' ' {
		i++
	}
	return i
}

// str reads the string whose opening quote is at at.
func (d *document) str(at int) int {
	i := plainEnd(d.src, at+1)
	if i < len(d.src) && d.src[i] == '"' {
		d.push(at+1, i, uint32(String))
		return i + 1
	}
	return d.escaped(at, i)
}

// name reads the name at at, also behind white space, of a member of the object
// whose token is at open.
func (d *document) name(at, open int) (*token, int) {
	s := d.src
	if at >= len(s) || s[at] != '"' {
		if at = d.skipSpace(at); at >= len(s) || s[at] != '"' {
			return nil, -1
		}
	}
	i, print := at+1, uint64(0)
	if i+8 <= len(s) { // nearly always, and most names end within these bytes
		w := load(s, i)
		if stop := stopIn(w); stop != 0 {
			i += bits.TrailingZeros64(stop) / 8
			print = w & (stop&-stop>>7 - 1)
		}
	}
	if i == at+1 {
		i = plainEnd(s, i)
		print = printOf(s[at+1 : i])
	}
	if i >= len(s) || s[i] != '"' {
		if i = d.escaped(at, i); i < 0 {
			return nil, -1
		}
		t := &d.tokens[d.used-1]
		t.next = uint32(open)
		return t, i
	}
	t := d.push(at+1, i, nameInfo(i-at-1))
	t.next, t.data = uint32(open), print
	return t, i + 1
}

// escaped goes on with a string from its first byte that is not plain.
func (d *document) escaped(at, i int) int {
	s := d.src
	for i < len(s) {
		switch c := s[i]; {
		case c == '"':
			d.odd++
			d.push(at+1, i, uint32(String)|isEscaped)
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
	first, info := i, uint32(Int)|isSmall
	i, coef := digitsFrom(s, i, 0)
	if i == first || s[first] == '0' && i > first+1 {
		return -1
	}
	if i < len(s) && s[i] == '.' {
		frac := i + 1
		if i, coef = digitsFrom(s, frac, coef); i == frac {
			return -1
		}
		info = uint32(i-frac)<<countBits | uint32(Decimal) | isSmall
		if s[i-1] == '0' && onlyZeros(s[frac:i]) {
			info |= mayBeWhole
		}
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		exp := i
		if i = skipDigits(s, i); i == exp {
			return -1
		}
		info = uint32(Decimal) | mayBeWhole
	}
	if i-first > smallDigits {
		info &^= isSmall
	}
	if info&mayBeWhole != 0 {
		d.odd++
	}
	if first > at {
		coef = -coef
	}
	d.push(at, i, info).data = coef
	return i
}

// digitsFrom moves past digits and appends them to coef, which is right as long
// as there are at most smallDigits in all.
func digitsFrom(s string, i int, coef uint64) (int, uint64) {
	for i < len(s) && s[i]-'0' <= 9 {
		coef = coef*10 + uint64(s[i]-'0')
		i++
	}
	return i, coef
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
