package eval

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AWS IoT runs regular expressions with Java's engine, whose backtracking can
// take forever; here they run in linear time (RE2). Patterns are translated
// from Java's syntax (java.util.regex.Pattern of JDK 11), whose letters mean
// other things here and there, and what linear time does not allow is refused
// by name.

// Bounds of patterns; longer or larger ones are refused.
const (
	maxPattern = 4096   // bytes, as long as a statement may be
	maxProgram = 10_000 // instructions
	maxGroups  = 100
	maxRepeat  = 1000 // of {n}, as RE2 has it
)

// errPattern is the error of a text that is not a regular expression.
var errPattern = errors.New("this is not a regular expression")

const (
	inRegexp   = "the regular expression"
	linearTime = "patterns here run in linear time, which does not allow it; write the pattern without it"
	spellOut   = "write out which characters are meant, for example [A-Za-z]"
)

// javaPattern is a compiled regular expression.
type javaPattern struct {
	re      *regexp.Regexp
	behind  *regexp.Regexp // re right behind one character, for patterns that match the empty text
	lineEnd bool           // $ or \Z: also matches before a line end that ends the text
	size    int            // instructions
}

// compilePattern compiles a pattern in Java's syntax. The error is errPattern
// or a *foreignError.
func compilePattern(src string) (*javaPattern, error) {
	if len(src) > maxPattern {
		return nil, &foreignError{inRegexp, fmt.Sprintf("more than %d bytes", maxPattern), "write a shorter one"}
	}
	t := reTranslator{src: src, names: map[string]bool{}}
	if err := t.pattern(); err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(t.out.String(), syntax.Perl)
	if err != nil {
		return nil, errPattern
	}
	p := &javaPattern{lineEnd: t.lineEnd, size: programSize(tree)}
	if p.size > maxProgram || t.groups > maxGroups {
		return nil, &foreignError{inRegexp, "too many repeats or groups", "write a smaller one"}
	}
	if p.re, err = regexp.Compile(t.out.String()); err != nil {
		return nil, errPattern
	}
	if matchesEmpty(tree) {
		p.behind, err = regexp.Compile(`\A(?s:.)(?:` + t.out.String() + `)`)
	}
	return p, err
}

// programSize is about how many instructions an expression compiles to.
func programSize(x *syntax.Regexp) int {
	n := 1
	for _, sub := range x.Sub {
		n += programSize(sub)
	}
	switch x.Op {
	case syntax.OpLiteral:
		n += len(x.Rune)
	case syntax.OpRepeat:
		n *= max(x.Min, x.Max, 1)
	}
	return min(n, maxProgram+1)
}

// matchesEmpty says whether an expression may match without a character.
func matchesEmpty(x *syntax.Regexp) bool {
	switch x.Op {
	case syntax.OpLiteral, syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL, syntax.OpNoMatch:
		return len(x.Rune) == 0 && x.Op == syntax.OpLiteral
	case syntax.OpCapture, syntax.OpPlus:
		return matchesEmpty(x.Sub[0])
	case syntax.OpRepeat:
		return x.Min == 0 || matchesEmpty(x.Sub[0])
	case syntax.OpConcat:
		for _, sub := range x.Sub {
			if !matchesEmpty(sub) {
				return false
			}
		}
	case syntax.OpAlternate:
		for _, sub := range x.Sub {
			if matchesEmpty(sub) {
				return true
			}
		}
		return false
	}
	return true
}

// reFlags are the flags of Java that the translation itself heeds.
type reFlags struct{ multiline, dotAll, comments, unixLines, fold bool }

// reTranslator writes a pattern of Java in the syntax of package regexp.
type reTranslator struct {
	src     string
	at      int
	out     strings.Builder
	flags   reFlags
	outer   []reFlags // of the groups around
	names   map[string]bool
	groups  int
	atom    bool // there is something that a quantifier can follow
	lineEnd bool
}

// Character classes of Java, as the inside of a class.
const (
	lineEnds      = `\n\r\x{85}\x{2028}\x{2029}`
	spaces        = `\t\n\x0B\f\r `
	notSpaces     = `\x00-\x08\x0E-\x1F!-\x{10FFFF}`
	horizontal    = `\t \x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}`
	notHorizontal = `\x00-\x08\x0A-\x1F!-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{180D}\x{180F}-\x{1FFF}\x{200B}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF}`
	vertical      = `\x0A-\x0D\x{85}\x{2028}\x{2029}`
	notVertical   = `\x00-\x09\x0E-\x{84}\x{86}-\x{2027}\x{202A}-\x{10FFFF}`
)

// reClasses are the predefined classes by their letter.
var reClasses = map[byte]string{
	'd': `\d`, 'D': `\D`, 'w': `\w`, 'W': `\W`, 's': spaces, 'S': notSpaces,
	'h': horizontal, 'H': notHorizontal, 'v': vertical, 'V': notVertical,
}

// posixClasses are the classes \p{name} of US-ASCII.
var posixClasses = map[string]string{
	"Lower": "lower", "Upper": "upper", "ASCII": "ascii", "Alpha": "alpha", "Digit": "digit", "Alnum": "alnum", "Punct": "punct",
	"Graph": "graph", "Print": "print", "Blank": "blank", "Cntrl": "cntrl", "XDigit": "xdigit", "Space": "space",
}

func (t *reTranslator) done() bool { return t.at >= len(t.src) }

// take moves past s when it is next.
func (t *reTranslator) take(s string) bool {
	if !strings.HasPrefix(t.src[t.at:], s) {
		return false
	}
	t.at += len(s)
	return true
}

// char moves past one character and returns it.
func (t *reTranslator) char() rune {
	r, n := utf8.DecodeRuneInString(t.src[t.at:])
	t.at += n
	return r
}

func (t *reTranslator) pattern() error {
	for !t.done() {
		if err := t.element(); err != nil {
			return err
		}
	}
	if len(t.outer) > 0 {
		return errPattern
	}
	return nil
}

// write writes an atom.
func (t *reTranslator) write(s string) {
	t.out.WriteString(s)
	t.atom = true
}

func (t *reTranslator) literal(r rune) { t.write(regexp.QuoteMeta(string(r))) }

// element translates what comes next on the level of a sequence.
func (t *reTranslator) element() error {
	switch r := t.char(); r {
	case '(':
		return t.group()
	case ')':
		return t.closeGroup()
	case '[':
		set, err := t.class()
		t.write(set)
		return err
	case '\\':
		return t.escape()
	case '*', '+', '?', '{':
		return t.quantifier(r)
	case '|':
		t.out.WriteByte('|')
		t.atom = false
	case '.':
		t.dot()
	case '^':
		if t.flags.multiline {
			t.write(`(?m:^)`)
		} else {
			t.write(`\A`)
		}
	case '$':
		t.dollar()
	default:
		if !t.flags.comments || !t.comment(r) {
			t.literal(r)
		}
	}
	return nil
}

// comment moves past what is not part of a pattern with the flag x.
func (t *reTranslator) comment(r rune) bool {
	switch {
	case r == '#':
		if i := strings.IndexAny(t.src[t.at:], "\n\r"); i >= 0 {
			t.at += i
		} else {
			t.at = len(t.src)
		}
		return true
	case r == ' ' || r >= '\t' && r <= '\r':
		return true
	}
	return false
}

func (t *reTranslator) dot() {
	switch {
	case t.flags.dotAll:
		t.write(`(?s:.)`)
	case t.flags.unixLines:
		t.write(`[^\n]`)
	default:
		t.write(`[^` + lineEnds + `]`)
	}
}

// dollar is the end of the text or, unlike in RE2, the place before a line end
// that ends it; see javaPattern.lineEnd.
func (t *reTranslator) dollar() {
	if t.flags.multiline {
		t.write(`(?m:$)`)
		return
	}
	t.lineEnd = true
	t.write(`\z`)
}

func (t *reTranslator) push() {
	t.outer = append(t.outer, t.flags)
	t.atom = false
}

// group translates what follows an opening parenthesis.
func (t *reTranslator) group() error {
	switch {
	case t.take("?:"):
		t.out.WriteString("(?:")
	case t.take("?="), t.take("?!"):
		return &foreignError{inRegexp, "look-ahead " + t.src[t.at-3:t.at] + "…)", linearTime}
	case t.take("?<="), t.take("?<!"):
		return &foreignError{inRegexp, "look-behind " + t.src[t.at-4:t.at] + "…)", linearTime}
	case t.take("?>"):
		return &foreignError{inRegexp, "the atomic group (?>…)", linearTime}
	case t.take("?<"):
		name, err := t.groupName()
		if err != nil {
			return err
		}
		t.groups++
		t.out.WriteString("(?P<" + name + ">")
	case t.take("?"):
		return t.inlineFlags()
	default:
		t.groups++
		t.out.WriteByte('(')
	}
	t.push()
	return nil
}

// groupName reads a name and the > behind it.
func (t *reTranslator) groupName() (string, error) {
	end := strings.IndexByte(t.src[t.at:], '>')
	if end < 1 {
		return "", errPattern
	}
	name := t.src[t.at : t.at+end]
	for i := range len(name) {
		if !isLetter(name[i]) && (i == 0 || !isDigit(name[i])) {
			return "", errPattern
		}
	}
	if t.names[name] {
		return "", errPattern
	}
	t.names[name] = true
	t.at += end + 1
	return name, nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// inlineFlags translates (?flags) and (?flags:…).
func (t *reTranslator) inlineFlags() error {
	f, on := t.flags, true
	for !t.done() {
		switch c := t.char(); c {
		case 'i':
			f.fold = on
		case 'm':
			f.multiline = on
		case 's':
			f.dotAll = on
		case 'x':
			f.comments = on
		case 'd':
			f.unixLines = on
		case 'u': // case folding is that of Unicode anyway
		case 'U':
			return &foreignError{inRegexp, "the flag (?U)", spellOut}
		case '-':
			if !on {
				return errPattern
			}
			on = false
		case ')', ':':
			t.setFlags(f, c == ':')
			return nil
		default:
			return errPattern
		}
	}
	return errPattern
}

// setFlags sets the flags for the rest of the group, or for one that it opens.
func (t *reTranslator) setFlags(f reFlags, open bool) {
	if open {
		t.push()
	}
	fold := "(?-i"
	if f.fold {
		fold = "(?i"
	}
	if open {
		t.out.WriteString(fold + ":")
	} else {
		t.out.WriteString(fold + ")")
	}
	t.flags, t.atom = f, false
}

func (t *reTranslator) closeGroup() error {
	n := len(t.outer)
	if n == 0 {
		return errPattern
	}
	t.flags, t.outer = t.outer[n-1], t.outer[:n-1]
	t.write(")")
	return nil
}

// quantifier translates * + ? {n} {n,} {n,m} and the ? of a lazy one.
func (t *reTranslator) quantifier(r rune) error {
	if !t.atom {
		return errPattern
	}
	t.atom = false
	if r != '{' {
		t.out.WriteRune(r)
	} else if err := t.repeat(); err != nil {
		return err
	}
	switch {
	case t.take("+"):
		return &foreignError{inRegexp, "a possessive quantifier such as *+", linearTime}
	case t.take("?"):
		t.out.WriteByte('?')
	}
	return nil
}

func (t *reTranslator) repeat() error {
	end := strings.IndexByte(t.src[t.at:], '}')
	if end < 0 {
		return errPattern
	}
	from, to, ranged := strings.Cut(t.src[t.at:t.at+end], ",")
	least, ok := repeats(from)
	if !ok {
		return errPattern
	}
	if ranged && to != "" {
		most, ok := repeats(to)
		if !ok || most < least {
			return errPattern
		}
		least = max(least, most)
	}
	if least > maxRepeat {
		return &foreignError{inRegexp, fmt.Sprintf("more than %d repeats", maxRepeat), "write a smaller count"}
	}
	t.out.WriteString(t.src[t.at-1 : t.at+end+1])
	t.at += end + 1
	return nil
}

// repeats reads a count; a huge one is only known to be too many.
func repeats(s string) (int, bool) {
	if s == "" || skipDigits(s, 0) != len(s) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		n = maxRepeat + 1
	}
	return n, true
}

// escape translates what follows a backslash outside of a class.
func (t *reTranslator) escape() error {
	if t.done() {
		return errPattern
	}
	if set, ok, err := t.setEscape(); ok || err != nil {
		t.write("[" + set + "]")
		return err
	}
	switch c := t.src[t.at]; c {
	case 'A', 'b', 'B', 'z':
		return t.assertion(c)
	case 'Z':
		t.at++
		t.lineEnd = true
		t.write(`\z`)
	case 'R':
		t.at++
		t.write(`(?:\r\n|[` + vertical + `])`)
	case 'Q':
		t.at++
		return t.quoted(t.literal)
	case 'G':
		return &foreignError{inRegexp, `\G`, linearTime}
	case 'X':
		return &foreignError{inRegexp, `\X`, spellOut}
	case 'k':
		return &foreignError{inRegexp, `a back-reference \k<…>`, linearTime}
	default:
		if c >= '1' && c <= '9' {
			return &foreignError{inRegexp, `a back-reference \` + string(c), linearTime}
		}
		r, err := t.charEscape()
		if err != nil {
			return err
		}
		t.literal(r)
	}
	return nil
}

func (t *reTranslator) assertion(c byte) error {
	t.at++
	if c == 'b' && t.take("{g}") {
		return &foreignError{inRegexp, `\b{g}`, spellOut}
	}
	t.write(`\` + string(c))
	return nil
}

// quoted translates the text between \Q and \E.
func (t *reTranslator) quoted(literal func(r rune)) error {
	for !t.done() && !t.take(`\E`) {
		literal(t.char())
	}
	return nil
}

// setEscape translates an escape that stands for a class, as the inside of one.
func (t *reTranslator) setEscape() (set string, ok bool, err error) {
	c := t.src[t.at]
	if set, ok := reClasses[c]; ok {
		t.at++
		return set, true, nil
	}
	if c != 'p' && c != 'P' {
		return "", false, nil
	}
	t.at++
	name := ""
	switch {
	case t.take("{"):
		end := strings.IndexByte(t.src[t.at:], '}')
		if end < 1 {
			return "", false, errPattern
		}
		name = t.src[t.at : t.at+end]
		t.at += end + 1
	case t.done():
		return "", false, errPattern
	default:
		name = string(t.char())
	}
	set, err = property(name, c == 'P')
	return set, true, err
}

// property translates the name of \p{name}.
func property(name string, not bool) (string, error) {
	if posix, ok := posixClasses[name]; ok {
		if posix == "space" { // Go's has no vertical tab
			if not {
				return notSpaces, nil
			}
			return spaces, nil
		}
		if not {
			posix = "^" + posix
		}
		return "[:" + posix + ":]", nil
	}
	short := name
	if key, value, ok := strings.Cut(name, "="); ok {
		switch strings.ToLower(key) {
		case "sc", "script", "gc", "general_category":
			short = value
		default:
			return "", &foreignError{inRegexp, `\p{` + clip(name) + `}`, spellOut}
		}
	}
	short = strings.TrimPrefix(short, "Is")
	letter := `\p`
	if not {
		letter = `\P`
	}
	set := letter + "{" + short + "}"
	if _, err := syntax.Parse(set, syntax.Perl); err != nil || short == "" {
		return "", &foreignError{inRegexp, `\p{` + clip(name) + `}`, spellOut}
	}
	return set, nil
}

// charEscape reads an escape that stands for one character.
func (t *reTranslator) charEscape() (rune, error) {
	switch c := t.char(); c {
	case 't':
		return '\t', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 'f':
		return '\f', nil
	case 'a':
		return '\a', nil
	case 'e':
		return 0x1b, nil
	case 'c':
		if t.done() {
			return 0, errPattern
		}
		return t.char() ^ 64, nil
	case '0':
		return t.octal()
	case 'x':
		return t.hex()
	case 'u':
		return t.unicode()
	case 'N':
		return 0, &foreignError{inRegexp, `\N{…}`, spellOut}
	default:
		if c < utf8.RuneSelf && isLetter(byte(c)) {
			return 0, errPattern
		}
		return c, nil
	}
}

// octal reads \0n, \0nn or \0mnn.
func (t *reTranslator) octal() (rune, error) {
	r, n := rune(0), 0
	for n < 3 && !t.done() && t.src[t.at] >= '0' && t.src[t.at] <= '7' && r*8 < 256 {
		r = r*8 + rune(t.src[t.at]-'0')
		t.at++
		n++
	}
	if n == 0 {
		return 0, errPattern
	}
	return r, nil
}

// hex reads \xhh or \x{h…h}.
func (t *reTranslator) hex() (rune, error) {
	digits := ""
	if t.take("{") {
		end := strings.IndexByte(t.src[t.at:], '}')
		if end < 1 {
			return 0, errPattern
		}
		digits = t.src[t.at : t.at+end]
		t.at += end + 1
	} else if t.at+2 <= len(t.src) {
		digits = t.src[t.at : t.at+2]
		t.at += 2
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || n > utf8.MaxRune {
		return 0, errPattern
	}
	return rune(n), nil
}

// unicode reads \uhhhh, or two of them that are surrogates.
func (t *reTranslator) unicode() (rune, error) {
	buf, n := unescape(nil, `\u`+t.src[t.at:])
	if n == 0 {
		return 0, errPattern
	}
	t.at += n - len(`\u`)
	r, _ := utf8.DecodeRune(buf)
	return r, nil
}
