package eval

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf8"
)

// This file is what the statements of BenchmarkProgram cost at least: Go
// written by hand for one statement and one kind of message, without a library,
// with the same results. It checks the whole text, as the statement must to tell
// JSON from other payloads, and computes with exact decimals of 64 bits.

var errBench = errors.New("not JSON")

// scan is a walk through a JSON text.
type scan struct {
	s     []byte
	i     int
	depth int
}

func (p *scan) next() byte {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

// str moves past a string and returns it with its quotes; plain says that it
// has no escape.
func (p *scan) str() (s []byte, plain, ok bool) {
	plain = true
	for i := p.i + 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			s, p.i = p.s[p.i:i+1], i+1
			return s, plain, true
		case c < ' ':
			return nil, false, false
		case c == '\\':
			n := escapeLength(string(p.s[i:min(i+6, len(p.s))]))
			if n == 0 {
				return nil, false, false
			}
			plain = false
			i += n - 1
		}
	}
	return nil, false, false
}

// dec is an exact decimal, coef × 10^exp.
type dec struct {
	coef int64
	exp  int
}

// number moves past a number and returns its text and its value, which is right
// up to 18 digits without exponent.
func (p *scan) number() (text []byte, d dec, ok bool) {
	start, i, s := p.i, p.i, p.s
	if i < len(s) && s[i] == '-' {
		i++
	}
	first := i
	for ; i < len(s) && s[i]-'0' < 10; i++ {
		d.coef = d.coef*10 + int64(s[i]-'0')
	}
	if i == first || s[first] == '0' && i > first+1 {
		return nil, d, false
	}
	if i < len(s) && s[i] == '.' {
		i++
		frac := i
		for ; i < len(s) && s[i]-'0' < 10; i++ {
			d.coef = d.coef*10 + int64(s[i]-'0')
		}
		if i == frac {
			return nil, d, false
		}
		d.exp = frac - i
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		return nil, d, false // the messages of the benchmark have none
	}
	if first > start {
		d.coef = -d.coef
	}
	p.i = i
	return s[start:i], d, true
}

func (p *scan) word(w string) bool {
	if !bytes.HasPrefix(p.s[p.i:], []byte(w)) {
		return false
	}
	p.i += len(w)
	return true
}

// skip moves past a value and checks it.
func (p *scan) skip() bool {
	switch p.next() {
	case '"':
		_, _, ok := p.str()
		return ok
	case '{':
		return p.members(func([]byte) bool { return p.skip() })
	case '[':
		return p.elems(p.skip)
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	}
	_, _, ok := p.number()
	return ok
}

// members calls value with the name of each member, in quotes; it must move
// past the value.
func (p *scan) members(value func(name []byte) bool) bool {
	if p.next() != '{' {
		return false
	}
	if p.depth++; p.depth > MaxDepth {
		return false
	}
	p.i++
	if p.next() == '}' {
		p.i++
		p.depth--
		return true
	}
	for {
		if p.next() != '"' {
			return false
		}
		name, _, ok := p.str()
		if !ok || p.next() != ':' {
			return false
		}
		p.i++
		p.next()
		if !value(name) {
			return false
		}
		switch p.next() {
		case ',':
			p.i++
		case '}':
			p.i++
			p.depth--
			return true
		default:
			return false
		}
	}
}

// elems calls value for each element of an array.
func (p *scan) elems(value func() bool) bool {
	if p.next() != '[' {
		return false
	}
	if p.depth++; p.depth > MaxDepth {
		return false
	}
	p.i++
	if p.next() == ']' {
		p.i++
		p.depth--
		return true
	}
	for {
		p.next()
		if !value() {
			return false
		}
		switch p.next() {
		case ',':
			p.i++
		case ']':
			p.i++
			p.depth--
			return true
		default:
			return false
		}
	}
}

func (p *scan) end() bool { return p.next() == 0 && p.i == len(p.s) }

// scaled returns d.coef at a smaller exponent.
func (d dec) scaled(exp int) int64 {
	c := d.coef
	for e := d.exp; e > exp; e-- {
		c *= 10
	}
	return c
}

func (d dec) times(e dec) dec { return dec{d.coef * e.coef, d.exp + e.exp} }

func (d dec) plus(e dec) dec {
	exp := min(d.exp, e.exp)
	return dec{d.scaled(exp) + e.scaled(exp), exp}
}

func (d dec) over(e dec) bool {
	exp := min(d.exp, e.exp)
	return d.scaled(exp) > e.scaled(exp)
}

// append appends d as version 2016-03-23 writes it: without fraction when it is
// whole.
func (d dec) append(dst []byte) []byte {
	c, e := d.coef, d.exp
	for e < 0 && c%10 == 0 {
		c, e = c/10, e+1
	}
	if e == 0 {
		return strconv.AppendInt(dst, c, 10)
	}
	if d.coef < 0 {
		dst = append(dst, '-')
		d.coef = -d.coef
	}
	var buf [20]byte
	digits := strconv.AppendInt(buf[:0], d.coef, 10)
	point := len(digits) + d.exp
	if point <= 0 {
		dst = append(dst, '0', '.')
		for ; point < 0; point++ {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[:point]...)
	dst = append(dst, '.')
	return append(dst, digits[point:]...)
}

// handAll is SELECT *: the text is checked and written without white space.
// Names that come twice and escapes are not in the messages of the benchmark.
func handAll(dst []byte, payload []byte) ([]byte, error) {
	if !utf8.Valid(payload) {
		return dst, errBench
	}
	p := &scan{s: payload}
	dst, ok := p.copyValue(dst)
	if !ok || !p.end() {
		return dst, errBench
	}
	return dst, nil
}

func (p *scan) copyValue(dst []byte) ([]byte, bool) {
	switch c := p.next(); c {
	case '{', '[':
		first := true
		one := func() bool {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			var ok bool
			dst, ok = p.copyValue(dst)
			return ok
		}
		dst = append(dst, c)
		if c == '[' {
			ok := p.elems(one)
			return append(dst, ']'), ok
		}
		ok := p.members(func(name []byte) bool {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(append(dst, name...), ':')
			var ok bool
			dst, ok = p.copyValue(dst)
			return ok
		})
		return append(dst, '}'), ok
	case '"':
		s, _, ok := p.str()
		return append(dst, s...), ok
	case 't', 'f', 'n':
		start := p.i
		ok := p.skip()
		return append(dst, p.s[start:p.i]...), ok
	}
	_, d, ok := p.number()
	return d.append(dst), ok
}

// handThree is benchThree. It returns false when WHERE does not hold.
func handThree(dst []byte, topic string, payload []byte, limit dec) ([]byte, bool, error) {
	if !utf8.Valid(payload) {
		return dst, false, errBench
	}
	var id []byte
	var temp, dust dec
	var hasTemp, hasDust bool
	p := &scan{s: payload}
	ok := p.members(func(name []byte) bool {
		isNumber := p.i < len(p.s) && (p.s[p.i] == '-' || p.s[p.i]-'0' < 10)
		var ok bool
		switch string(name) {
		case `"id"`:
			start := p.i
			ok = p.skip()
			id = p.s[start:p.i]
			return ok
		case `"temp"`:
			if isNumber {
				_, temp, ok = p.number()
				hasTemp = ok
				return ok
			}
		case `"dust"`:
			if isNumber {
				_, dust, ok = p.number()
				hasDust = ok
				return ok
			}
		}
		return p.skip()
	})
	if !ok || !p.end() {
		return dst, false, errBench
	}
	if !hasDust || !dust.over(limit) {
		return dst, false, nil
	}
	dst = append(dst, '{')
	if id != nil {
		dst = append(append(append(dst, `"id":`...), id...), ',')
	}
	if hasTemp {
		dst = append(dst, `"f":`...)
		dst = temp.times(dec{18, -1}).plus(dec{32, 0}).append(dst)
		dst = append(dst, ',')
	}
	dst = append(dst, `"board":`...)
	dst = appendString(dst, level2(topic))
	return append(dst, '}'), true, nil
}

func level2(topic string) string {
	_, rest, _ := bytes.Cut([]byte(topic), []byte("/"))
	level, _, _ := bytes.Cut(rest, []byte("/"))
	return string(level)
}

// handNested is benchNested.
func handNested(dst []byte, payload []byte) ([]byte, error) {
	if !utf8.Valid(payload) {
		return dst, errBench
	}
	p := &scan{s: payload}
	var site []byte
	dst = append(dst, `{"site":`...)
	ok := p.members(func(name []byte) bool {
		switch string(name) {
		case `"site"`:
			start := p.i
			ok := p.skip()
			site = p.s[start:p.i]
			dst = append(dst, site...)
			return ok
		case `"samples"`:
			dst = append(dst, `,"r":[`...)
			first := true
			ok := p.elems(func() bool {
				var n []byte
				var v dec
				ok := p.members(func(name []byte) bool {
					var ok bool
					switch string(name) {
					case `"n"`:
						n, _, ok = p.number()
						return ok
					case `"v"`:
						_, v, ok = p.number()
						return ok
					}
					return p.skip()
				})
				if !ok || !v.over(dec{10, 0}) {
					return ok
				}
				if !first {
					dst = append(dst, ',')
				}
				first = false
				dst = append(append(append(dst, `{"n":`...), n...), `,"w":`...)
				dst = append(v.times(dec{2, 0}).append(dst), '}')
				return true
			})
			dst = append(dst, ']')
			return ok
		}
		return p.skip()
	})
	if !ok || !p.end() {
		return dst, errBench
	}
	return append(dst, '}'), nil
}
