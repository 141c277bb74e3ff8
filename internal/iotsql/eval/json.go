package eval

import (
	"errors"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

var errNotJSON = errors.New("not JSON")

// documents keeps the documents of readJSON.
var documents = sync.Pool{New: func() any { return new(document) }}

// readJSON reads a whole JSON text into values that are all opened and share
// the text. Numbers keep their text; of two members with one name the last one
// counts, in the place of the first.
func readJSON(src string) (Value, error) {
	d := documents.Get().(*document)
	defer func() {
		if d.forget() {
			documents.Put(d)
		}
	}()
	if !d.read(src) {
		return undef, errNotJSON
	}
	return d.tree(0), nil
}

// smallObject is a node with room for the members of most objects beside it:
// one allocation instead of two.
type smallObject struct {
	node
	room [8]Member
}

func objectNode(members int) *node {
	if members < 5 || members > len(smallObject{}.room) {
		return &node{members: make([]Member, 0, members)}
	}
	n := new(smallObject)
	n.members = n.room[:0:members]
	return &n.node
}

// unescaped is the text of a JSON string with valid escapes.
func unescaped(s string) string {
	buf := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			buf = append(buf, s[i])
			i++
			continue
		}
		var n int
		buf, n = unescape(buf, s[i:])
		i += n
	}
	return string(buf)
}

// unescape appends what the escape at the start of s stands for and returns
// its length, 0 when it is none. A lone surrogate becomes U+FFFD.
func unescape(dst []byte, s string) ([]byte, int) {
	if len(s) < 2 {
		return dst, 0
	}
	switch s[1] {
	case '"', '\\', '/':
		return append(dst, s[1]), 2
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'u':
		u, ok := hex4(s[2:])
		if !ok {
			return dst, 0
		}
		if utf16.IsSurrogate(u) && len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if low, ok := hex4(s[8:]); ok {
				if pair := utf16.DecodeRune(u, low); pair != utf8.RuneError {
					return utf8.AppendRune(dst, pair), 12
				}
			}
		}
		return utf8.AppendRune(dst, u), 6
	}
	return dst, 0
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var u rune
	for i := range 4 {
		c := rune(s[i])
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | c
	}
	return u, true
}

// appendJSON appends v as JSON, without white space. With reduce, whole
// Decimals are written as Ints (see [Value.reduce]). It stops growing dst soon
// after limit bytes; the caller checks.
func (v *Value) appendJSON(dst []byte, reduce bool, limit int) []byte {
	if v.ref != nil && v.ref.doc != nil {
		return v.ref.doc.append(dst, uint32(v.coef), reduce, limit)
	}
	switch v.kind {
	case Null, Undefined:
		return append(dst, "null"...)
	case Bool:
		if v.coef != 0 {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case Int, Decimal:
		if reduce && v.mayBeWhole() {
			whole := v.reduce()
			return whole.appendNumber(dst)
		}
		return v.appendNumber(dst)
	case String:
		return appendString(dst, v.text)
	case Array:
		dst = append(dst, '[')
		for i := range v.ref.elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst = v.ref.elems[i].appendJSON(dst, reduce, limit); len(dst) > limit {
				return dst
			}
		}
		return append(dst, ']')
	}
	dst = append(dst, '{')
	for i := range v.ref.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := &v.ref.members[i]
		dst = append(appendEscaped(append(dst, '"'), m.Name), '"', ':')
		if dst = m.Value.appendJSON(dst, reduce, limit); len(dst) > limit {
			return dst
		}
	}
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

// appendString appends s as JSON.
func appendString(dst []byte, s string) []byte {
	return append(appendEscaped(append(dst, '"'), s), '"')
}

// appendEscaped appends s as JSON without quotes.
func appendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := plainEnd(s, 0); i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(dst, s[start:]...)
}
