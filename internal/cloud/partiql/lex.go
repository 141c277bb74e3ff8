package partiql

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEOF    tokenKind = iota
	tokWord             // a bare name or keyword
	tokQuoted           // "name"; text is the name
	tokString           // 'text'; text is the text
	tokNumber
	tokSymbol
)

type token struct {
	kind       tokenKind
	text       string
	start, end int // bytes in the source
}

// symbols of two characters.
var longSymbols = []string{"<<", ">>", "<=", ">=", "<>", "!=", "||"}

// lex splits a statement. The last token is tokEOF.
func lex(src string) ([]token, error) {
	var tokens []token
	for i := 0; ; {
		var err error
		if i, err = passBlank(src, i); err != nil {
			return nil, err
		}
		if i == len(src) {
			return append(tokens, token{tokEOF, "end of statement", i, i}), nil
		}
		t, err := lexOne(src, i)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		i = t.end
	}
}

// passBlank passes over blanks and comments.
func passBlank(src string, i int) (int, error) {
	for i < len(src) {
		switch c := src[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f':
			i++
		case strings.HasPrefix(src[i:], "--"):
			n := strings.IndexByte(src[i:], '\n')
			if n < 0 {
				return len(src), nil
			}
			i += n
		case strings.HasPrefix(src[i:], "/*"):
			n := strings.Index(src[i+2:], "*/")
			if n < 0 {
				return i, unreadable(src, i, i+2)
			}
			i += n + 4
		default:
			return i, nil
		}
	}
	return i, nil
}

func lexOne(src string, i int) (token, error) {
	switch c := src[i]; {
	case isLetter(c):
		end := i + 1
		for end < len(src) && (isLetter(src[end]) || isDigit(src[end])) {
			end++
		}
		return token{tokWord, src[i:end], i, end}, nil
	case isDigit(c), c == '.' && i+1 < len(src) && isDigit(src[i+1]):
		end := numberEnd(src, i)
		if !scales(src[i:end]) {
			return token{}, unreadable(src, i, end)
		}
		return token{tokNumber, src[i:end], i, end}, nil
	case c == '#':
		return token{}, unreadable(src, i, i+1)
	case c == '\'':
		return lexQuoted(src, i, tokString)
	case c == '"':
		return lexQuoted(src, i, tokQuoted)
	case c == '`':
		return token{}, &Error{At: place(src, i, i+1), Problem: "Ion literals are not supported: write the value as PartiQL does, or give it as a parameter", Unsupported: true}
	}
	for _, s := range longSymbols {
		if strings.HasPrefix(src[i:], s) {
			return token{tokSymbol, s, i, i + len(s)}, nil
		}
	}
	_, n := utf8.DecodeRuneInString(src[i:])
	return token{tokSymbol, src[i : i+n], i, i + n}, nil
}

// unreadable refuses what DynamoDB refuses without a word.
func unreadable(src string, start, end int) error {
	return &Error{At: place(src, start, end), Placeless: true}
}

// scales says whether the exponent of a number, and its scale, the digits behind
// the point less the exponent, are within 32 bits.
func scales(number string) bool {
	digits, power, found := strings.Cut(strings.ToLower(number), "e")
	if !found {
		return true
	}
	exponent, err := strconv.ParseInt(power, 10, 32)
	_, fraction, _ := strings.Cut(digits, ".")
	scale := int64(len(fraction)) - exponent
	return err == nil && scale == int64(int32(scale))
}

// lexQuoted takes a text between quotes, in which the quote stands twice.
func lexQuoted(src string, i int, kind tokenKind) (token, error) {
	quote := src[i]
	for end := i + 1; end < len(src); end++ {
		if src[end] != quote {
			continue
		}
		if end+1 < len(src) && src[end+1] == quote {
			end++
			continue
		}
		q := string(quote)
		return token{kind, strings.ReplaceAll(src[i+1:end], q+q, q), i, end + 1}, nil
	}
	return token{}, &Error{At: place(src, i, i+1), Problem: "the quotation does not end: close it with " + string(quote)}
}

// numberEnd is where the number that begins at i ends.
func numberEnd(src string, i int) int {
	digits := func() {
		for i < len(src) && isDigit(src[i]) {
			i++
		}
	}
	digits()
	if i < len(src) && src[i] == '.' {
		i++
		digits()
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		j := i + 1
		if j < len(src) && (src[j] == '+' || src[j] == '-') {
			j++
		}
		if j < len(src) && isDigit(src[j]) {
			i = j
			digits()
		}
	}
	return i
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// place is the line and column of a span of the source.
func place(src string, start, end int) Place {
	before := src[:start]
	line := strings.LastIndexByte(before, '\n') + 1
	return Place{
		Line:   strings.Count(before, "\n") + 1,
		Column: utf8.RuneCountInString(before[line:]) + 1,
		Length: utf8.RuneCountInString(src[start:end]),
	}
}
