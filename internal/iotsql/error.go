package iotsql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with a text, and where.
type Error struct {
	Line, Column int    // 1-based; the column counts characters
	Msg          string // what is wrong and what was expected
	excerpt      string // the line, cut to a bounded length
	caret        int    // characters of excerpt before the place
}

// excerptWidth is how many characters of the source an error shows.
const excerptWidth = 72

// Errorf returns an error at the byte offset pos of src.
func Errorf(src string, pos Pos, format string, args ...any) *Error {
	at := min(max(int(pos), 0), len(src))
	start := strings.LastIndexByte(src[:at], '\n') + 1
	end := len(src)
	if i := strings.IndexByte(src[at:], '\n'); i >= 0 {
		end = at + i
	}
	before, after := []rune(src[start:at]), []rune(src[at:end])
	e := &Error{
		Line:   1 + strings.Count(src[:start], "\n"),
		Column: 1 + len(before),
		Msg:    fmt.Sprintf(format, args...),
	}
	if drop := len(before) - excerptWidth*2/3; drop > 0 && len(before)+len(after) > excerptWidth {
		before = append([]rune("…"), before[drop:]...)
	}
	if room := excerptWidth - len(before); len(after) > room {
		after = append(append([]rune{}, after[:room-1]...), '…')
	}
	e.caret = len(before)
	e.excerpt = strings.Map(oneCell, string(before)+string(after))
	return e
}

// oneCell keeps control characters and tabs from moving the caret.
func oneCell(r rune) rune {
	if r < ' ' || r == 0x7f || r == utf8.RuneError {
		return ' '
	}
	return r
}

// Error returns the place and the message in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Msg)
}

// Detail returns the message, the line of the source, and a caret under the
// place.
func (e *Error) Detail() string {
	return e.Error() + "\n  " + e.excerpt + "\n  " + strings.Repeat(" ", e.caret) + "^"
}
