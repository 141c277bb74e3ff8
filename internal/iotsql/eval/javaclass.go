package eval

import (
	"strconv"
	"strings"
)

// class translates a character class behind its opening bracket.
func (t *reTranslator) class() (string, error) {
	var out strings.Builder
	out.WriteByte('[')
	if t.take("^") {
		out.WriteByte('^')
	}
	items := 0
	for ; ; items++ {
		switch {
		case t.done():
			return "", errPattern
		case t.take("["):
			return "", &foreignError{inRegexp, "a class within a class, […[…]…]", "write one class with all characters, and \\[ for the bracket itself"}
		case strings.HasPrefix(t.src[t.at:], "&&"):
			return "", &foreignError{inRegexp, "an intersection of classes, […&&…]", "write one class with the characters that are left"}
		case items > 0 && t.take("]"):
			out.WriteByte(']')
			return out.String(), nil
		}
		if err := t.classItem(&out); err != nil {
			return "", err
		}
	}
}

// classItem translates a character, a range or a predefined class.
func (t *reTranslator) classItem(out *strings.Builder) error {
	if t.take(`\`) {
		if t.done() {
			return errPattern
		}
		if set, ok, err := t.setEscape(); ok || err != nil {
			out.WriteString(set)
			return err
		}
		if t.take("Q") {
			return t.quoted(func(r rune) { writeRange(out, r, r) })
		}
		t.at--
	}
	from, err := t.classChar()
	if err != nil || from < 0 {
		return err
	}
	rest := t.src[t.at:]
	if len(rest) < 2 || rest[0] != '-' || rest[1] == ']' || rest[1] == '[' || rest[1] == '\\' && len(rest) > 2 && reClasses[rest[2]] != "" {
		writeRange(out, from, from)
		return nil
	}
	t.at++
	to, err := t.classChar()
	if err != nil {
		return err
	}
	if to < from {
		return errPattern
	}
	writeRange(out, from, to)
	return nil
}

// classChar reads one character of a class; -1 for white space that the flag x
// skips.
func (t *reTranslator) classChar() (rune, error) {
	r := t.char()
	switch {
	case r == '\\':
		if t.done() {
			return 0, errPattern
		}
		return t.charEscape()
	case t.flags.comments && t.comment(r):
		return -1, nil
	}
	return r, nil
}

func writeRange(out *strings.Builder, from, to rune) {
	out.WriteString(`\x{` + strconv.FormatInt(int64(from), 16) + `}`)
	if to > from {
		out.WriteString(`-\x{` + strconv.FormatInt(int64(to), 16) + `}`)
	}
}
