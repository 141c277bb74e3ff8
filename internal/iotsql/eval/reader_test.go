package eval

import (
	"sync"
	"unicode/utf8"
)

// reader is another reader of JSON texts, right into values: what documents are
// compared with.
// Numbers keep their text; of two members with one name the last one counts,
// in the place of the first.
type reader struct {
	src     string
	at      int
	depth   int
	elems   []Value  // stacks of the arrays and
	members []Member // objects that are being read
	most    int      // how long either stack was
}

// readers keeps the stacks; they hold no values between uses.
var readers = sync.Pool{New: func() any { return new(reader) }}

// readTree reads a whole JSON text.
func readTree(src string) (Value, error) {
	if !utf8.ValidString(src) {
		return undef, errNotJSON
	}
	r := readers.Get().(*reader)
	r.src, r.at, r.depth = src, 0, 0
	v, ok := r.value()
	if ok {
		r.space()
		ok = r.at == len(src)
	}
	r.release()
	if !ok {
		return undef, errNotJSON
	}
	return v, nil
}

// release returns the stacks to the pool, unless a huge message made them huge.
func (r *reader) release() {
	const keep = 1 << 10
	if cap(r.elems) > keep || cap(r.members) > keep {
		return
	}
	r.pop(0, 0)
	clear(r.elems[:min(r.most, cap(r.elems))])
	clear(r.members[:min(r.most, cap(r.members))])
	r.src, r.most = "", 0
	readers.Put(r)
}

// pop cuts the stacks back.
func (r *reader) pop(elems, members int) {
	r.most = max(r.most, len(r.elems), len(r.members))
	r.elems, r.members = r.elems[:elems], r.members[:members]
}

func (r *reader) space() {
	for r.at < len(r.src) {
		switch r.src[r.at] {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return
		}
	}
}

// next skips white space and returns the byte there, 0 at the end.
func (r *reader) next() byte {
	if r.at < len(r.src) && r.src[r.at] > ' ' { // nearly always
		return r.src[r.at]
	}
	return r.afterSpace()
}

func (r *reader) afterSpace() byte {
	r.space()
	if r.at < len(r.src) {
		return r.src[r.at]
	}
	return 0
}

// take skips white space and moves past c when it is there.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

func (r *reader) word(w string, v Value) (Value, bool) {
	if len(r.src)-r.at < len(w) || r.src[r.at:r.at+len(w)] != w {
		return undef, false
	}
	r.at += len(w)
	return v, true
}

func (r *reader) value() (Value, bool) {
	switch c := r.next(); c {
	case '{':
		return r.object()
	case '[':
		return r.array()
	case '"':
		s, ok := r.str()
		return text(s), ok
	case 't':
		return r.word("true", yes)
	case 'f':
		return r.word("false", no)
	case 'n':
		return r.word("null", null)
	default:
		return r.number()
	}
}

func (r *reader) enter() bool {
	r.at++
	r.depth++
	return r.depth <= MaxDepth
}

func (r *reader) array() (Value, bool) {
	if !r.enter() {
		return undef, false
	}
	start := len(r.elems)
	if !r.take(']') {
		for {
			v, ok := r.value()
			if !ok {
				return undef, false
			}
			r.elems = append(r.elems, v)
			if r.take(']') {
				break
			}
			if !r.take(',') {
				return undef, false
			}
		}
	}
	n := &node{elems: append([]Value(nil), r.elems[start:]...)}
	r.pop(start, len(r.members))
	r.depth--
	return Value{kind: Array, ref: n}, true
}

func (r *reader) object() (Value, bool) {
	if !r.enter() {
		return undef, false
	}
	start := len(r.members)
	if !r.take('}') {
		for {
			if r.next() != '"' {
				return undef, false
			}
			name, ok := r.str()
			if !ok || !r.take(':') {
				return undef, false
			}
			v, ok := r.value()
			if !ok {
				return undef, false
			}
			r.members = append(r.members, Member{name, v})
			if r.take('}') {
				break
			}
			if !r.take(',') {
				return undef, false
			}
		}
	}
	n := newObject(r.members[start:])
	r.pop(len(r.elems), start)
	r.depth--
	return Value{kind: Object, ref: n}, true
}

// newObject copies the members; the last of several with one name counts.
func newObject(members []Member) *node {
	n := objectNode(len(members))
	switch {
	case len(members) > manyMembers:
		for _, m := range members {
			n.set(m.Name, m.Value)
		}
	case distinct(members):
		n.members = append(n.members, members...)
	default:
		n.addAll(members)
	}
	return n
}

// distinct says whether all names surely differ, without comparing them all.
func distinct(members []Member) bool {
	var seen uint64 // one bit for each length and ends of a name
	for i := range members {
		name := members[i].Name
		if name == "" {
			return false
		}
		bit := uint64(1) << ((31*uint(len(name)) + 7*uint(name[0]) + uint(name[len(name)-1])) % 64)
		if seen&bit != 0 && find(members[:i], name) >= 0 {
			return false
		}
		seen |= bit
	}
	return true
}

func (n *node) addAll(members []Member) {
	for i := range members {
		if j := n.find(members[i].Name); j >= 0 {
			n.members[j].Value = members[i].Value
		} else {
			n.members = append(n.members, members[i])
		}
	}
}

// readDigits moves past digits and appends them to coef, which is right as
// long as there are at most smallDigits in all.
func readDigits(s string, i int, coef int64) (int, int64) {
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		coef = coef*10 + int64(s[i]-'0')
		i++
	}
	return i, coef
}

func (r *reader) number() (Value, bool) {
	start := r.at
	s, i := r.src, r.at
	if i < len(s) && s[i] == '-' {
		i++
	}
	first := i
	i, coef := readDigits(s, i, 0)
	if i == first || s[first] == '0' && i > first+1 {
		return undef, false
	}
	kind, exp := Int, 0
	if i < len(s) && s[i] == '.' {
		frac := i + 1
		if i, coef = readDigits(s, frac, coef); i == frac {
			return undef, false
		}
		kind, exp = Decimal, frac-i
	}
	exponent := i < len(s) && (s[i] == 'e' || s[i] == 'E')
	if !exponent && i-first <= smallDigits { // as number does it, in the same walk
		if first > start {
			coef = -coef
		}
		r.at = i
		return Value{kind: kind, small: true, coef: coef, exp: int32(exp), text: s[start:i]}, true
	}
	if exponent {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		exp := i
		if i = skipDigits(s, i); i == exp {
			return undef, false
		}
	}
	r.at = i
	return number(s[start:i]), true
}

// str reads a string whose opening quote is at r.at.
func (r *reader) str() (string, bool) {
	start := r.at + 1
	for i := start; i < len(r.src); i++ {
		switch c := r.src[i]; {
		case c == '"':
			r.at = i + 1
			return r.src[start:i], true
		case c == '\\':
			return r.escaped(start, i)
		case c < ' ':
			return "", false
		}
	}
	return "", false
}

// escaped goes on with a string from its first backslash.
func (r *reader) escaped(start, i int) (string, bool) {
	buf := append(make([]byte, 0, i-start+16), r.src[start:i]...)
	for i < len(r.src) {
		switch c := r.src[i]; {
		case c == '"':
			r.at = i + 1
			return string(buf), true
		case c < ' ':
			return "", false
		case c == '\\':
			var n int
			if buf, n = unescape(buf, r.src[i:]); n == 0 {
				return "", false
			}
			i += n
		default:
			buf = append(buf, c)
			i++
		}
	}
	return "", false
}
