package iotsql

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// tokenKind says what a token is; operators and punctuation are their text.
type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokIdent
	tokNumber
	tokString
	tokVar
	tokSymbol
)

// token is one word of the source. For a string, text is its value; for a
// variable, its name without @.
type token struct {
	kind     tokenKind
	text     string
	pos, end Pos
}

// is says whether the token is the symbol s.
func (t token) is(s string) bool { return t.kind == tokSymbol && t.text == s }

// keyword says whether the token is the word w (upper case), in any case.
func (t token) keyword(w string) bool {
	return t.kind == tokIdent && len(t.text) == len(w) && strings.EqualFold(t.text, w)
}

func (t token) describe() string {
	switch t.kind {
	case tokEOF:
		return "the end"
	case tokString:
		return "a string"
	case tokVar:
		return "@" + t.text
	}
	if len(t.text) > 40 {
		return "`" + strings.ToValidUTF8(t.text[:40], "") + "…`"
	}
	return "`" + t.text + "`"
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isLetter(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// letterAt is the length of the letter at src[at], 0 when there is none.
func letterAt(src string, at int) int {
	if at >= len(src) {
		return 0
	}
	if c := src[at]; c < utf8.RuneSelf {
		if isLetter(c) {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(src[at:])
	if unicode.IsLetter(r) || unicode.IsMark(r) {
		return n
	}
	return 0
}

func skipSpace(src string, at int) int {
	for at < len(src) && isSpace(src[at]) {
		at++
	}
	return at
}

// lex returns the first token of src at or after the offset at. Letters of all
// scripts are letters.
func lex(src string, at int) (token, error) {
	at = skipSpace(src, at)
	if at == len(src) {
		return token{kind: tokEOF, pos: Pos(at), end: Pos(at)}, nil
	}
	switch c := src[at]; {
	case letterAt(src, at) > 0:
		end := endOfIdent(src, at)
		return token{tokIdent, src[at:end], Pos(at), Pos(end)}, nil
	case isDigit(c):
		return lexNumber(src, at)
	case c == '\'' || c == '"':
		return lexString(src, at)
	case c == '@':
		end := at + 1 // letters, digits and _ (AWS IoT SQL reference, "SET clause syntax")
		for end < len(src) && (isLetter(src[end]) || isDigit(src[end])) {
			end++
		}
		switch {
		case end < len(src) && src[end] >= utf8.RuneSelf && letterAt(src, end) > 0:
			return token{}, Errorf(src, Pos(end), "the name of a variable has the letters a to z, digits and _")
		case end == at+1:
			return token{}, Errorf(src, Pos(at), "expected the name of a variable after @")
		}
		return token{tokVar, src[at+1 : end], Pos(at), Pos(end)}, nil
	}
	return lexSymbol(src, at)
}

func endOfIdent(src string, at int) int {
	for at < len(src) {
		n := letterAt(src, at)
		if n == 0 && !isDigit(src[at]) {
			break
		}
		at += max(n, 1)
	}
	return at
}

func lexSymbol(src string, at int) (token, error) {
	if msg, ok := foreignSymbol(src[at:]); ok && !strings.HasPrefix(src[at:], "!=") {
		return token{}, Errorf(src, Pos(at), "%s", msg)
	}
	if at+1 < len(src) {
		switch two := src[at : at+2]; two {
		case "<>", "<=", ">=":
			return token{tokSymbol, two, Pos(at), Pos(at + 2)}, nil
		case "!=":
			return token{tokSymbol, "<>", Pos(at), Pos(at + 2)}, nil
		}
	}
	switch src[at] {
	case '(', ')', '[', ']', '{', '}', ',', '.', ':', '*', '/', '%', '+', '-', '=', '<', '>':
		return token{tokSymbol, src[at : at+1], Pos(at), Pos(at + 1)}, nil
	}
	r, n := utf8.DecodeRuneInString(src[at:])
	switch r {
	case '‘', '’', '“', '”':
		return token{}, Errorf(src, Pos(at), "typographic quote %c: use ' or \"", r)
	case '–', '−': // as AWS prints it (AWS IoT SQL reference, "SELECT clause")
		return token{tokSymbol, "-", Pos(at), Pos(at + n)}, nil
	}
	return token{}, Errorf(src, Pos(at), "unexpected character %q", r)
}

func lexNumber(src string, at int) (token, error) {
	end := at
	digits := func() bool {
		start := end
		for end < len(src) && isDigit(src[end]) {
			end++
		}
		return end > start
	}
	digits()
	if end+1 < len(src) && src[end] == '.' && isDigit(src[end+1]) {
		end++
		digits()
	}
	if end < len(src) && (src[end] == 'e' || src[end] == 'E') {
		end++
		if end < len(src) && (src[end] == '+' || src[end] == '-') {
			end++
		}
		if !digits() {
			return token{}, Errorf(src, Pos(end), "expected the digits of the exponent")
		}
	}
	if letterAt(src, end) > 0 {
		return token{}, Errorf(src, Pos(at), "a name cannot begin with a digit; read such a member with get(object, \"name\")")
	}
	return token{tokNumber, src[at:end], Pos(at), Pos(end)}, nil
}

// lexString reads a string in either kind of quotes. The quote is escaped by a
// backslash or by doubling it; a backslash before any other letter than those
// of unescape stays, so that regular expressions work as people write them
// ('\d+').
func lexString(src string, at int) (token, error) {
	quote := src[at]
	i := at + 1
	for plain := i; i < len(src); i++ { // the common string has nothing to decode
		if src[i] == '\\' || src[i] == quote && i+1 < len(src) && src[i+1] == quote {
			return decodeString(src, at)
		}
		if src[i] == quote {
			return token{tokString, src[plain:i], Pos(at), Pos(i + 1)}, nil
		}
	}
	return token{}, unterminated(src, at)
}

func unterminated(src string, at int) error {
	return Errorf(src, Pos(at), "the string has no closing %c", src[at])
}

func decodeString(src string, at int) (token, error) {
	quote := src[at]
	var b strings.Builder
	for i := at + 1; i < len(src); {
		switch c := src[i]; {
		case c == quote && i+1 < len(src) && src[i+1] == quote:
			b.WriteByte(quote)
			i += 2
		case c == quote:
			return token{tokString, b.String(), Pos(at), Pos(i + 1)}, nil
		case c == '\\' && i+1 < len(src):
			i += unescape(&b, src[i:])
		default:
			b.WriteByte(c)
			i++
		}
	}
	return token{}, unterminated(src, at)
}

// unescape writes what the escape at the start of s stands for, and returns
// its length.
func unescape(b *strings.Builder, s string) int {
	switch s[1] {
	case '\\', '\'', '"':
		b.WriteByte(s[1])
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'u':
		r, ok := hex4(s[2:])
		if !ok {
			b.WriteByte('\\')
			return 1
		}
		if utf16.IsSurrogate(r) && len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if low, ok := hex4(s[8:]); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					b.WriteRune(pair)
					return 12
				}
			}
		}
		b.WriteRune(r) // a lone surrogate becomes U+FFFD
		return 6
	default:
		b.WriteByte('\\')
		return 1
	}
	return 2
}

func hex4(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		c := s[i]
		switch {
		case isDigit(c):
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
