package table

// The tokens of the expression language (DynamoDB developer guide,
// "Using expressions in DynamoDB").

type tokenKind uint8

const (
	tokEOF    tokenKind = iota
	tokWord             // a bare name or keyword
	tokName             // #name
	tokValue            // :value
	tokNumber           // digits
	tokSymbol           // an operator, a bracket, a separator, or a byte that fits nowhere
)

type token struct {
	kind       tokenKind
	text       string
	start, end int // bytes in the source
}

// lex splits an expression. It never fails: what fits nowhere becomes a
// symbol, which the parser then refuses with its place.
func lex(src string) []token {
	tokens := make([]token, 0, 16)
	for i := 0; i < len(src); {
		if isSpace(src[i]) {
			i++
			continue
		}
		kind, end := lexOne(src, i)
		tokens = append(tokens, token{kind, src[i:end], i, end})
		i = end
	}
	return append(tokens, token{tokEOF, "<EOF>", len(src), len(src)})
}

func lexOne(src string, i int) (kind tokenKind, end int) {
	c := src[i]
	end = i + 1
	switch {
	case isLetter(c):
		return tokWord, wordEnd(src, end)
	case isDigit(c):
		for end < len(src) && isDigit(src[end]) {
			end++
		}
		return tokNumber, end
	case c == '#' || c == ':':
		if end = wordEnd(src, end); end == i+1 {
			return tokSymbol, end
		}
		if c == '#' {
			return tokName, end
		}
		return tokValue, end
	case c == '<' && end < len(src) && (src[end] == '=' || src[end] == '>'), c == '>' && end < len(src) && src[end] == '=':
		return tokSymbol, end + 1
	}
	for end < len(src) && src[end]&0xc0 == 0x80 { // the rest of a UTF-8 sequence
		end++
	}
	return tokSymbol, end
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func wordEnd(src string, i int) int {
	for i < len(src) && (isLetter(src[i]) || isDigit(src[i]) || src[i] == '_') {
		i++
	}
	return i
}
