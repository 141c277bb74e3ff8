package eval

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// errTimePattern is the error of a text that is no pattern.
var errTimePattern = errors.New("this is not a pattern of a time")

// maxTimePattern is how long a pattern of a time may be, in bytes.
const maxTimePattern = 1024

// jodaPattern formats times with a pattern of Joda-Time (class DateTimeFormat),
// in English.
type jodaPattern []jodaToken

// jodaToken is a run of one letter, or a literal text when the letter is 0.
type jodaToken struct {
	letter byte
	count  int
	text   string
}

const jodaLetters = "GCYxweEyDMdaKhHkmsSzZ"

func compileJoda(src string) (jodaPattern, error) {
	if src == "" || len(src) > maxTimePattern {
		return nil, errTimePattern
	}
	var out jodaPattern
	for i := 0; i < len(src); {
		if !isLetter(src[i]) {
			text, n := jodaLiteral(src[i:])
			if text != "" {
				out = append(out, jodaToken{text: text})
			}
			i += n
			continue
		}
		count := letterRun(src[i:])
		if strings.IndexByte(jodaLetters, src[i]) < 0 {
			return nil, errTimePattern
		}
		out = append(out, jodaToken{letter: src[i], count: count})
		i += count
	}
	if out == nil {
		return nil, errTimePattern
	}
	return out, nil
}

// letterRun is how often the first byte is repeated.
func letterRun(s string) int {
	n := 1
	for n < len(s) && s[n] == s[0] {
		n++
	}
	return n
}

// jodaLiteral reads up to the next letter that is not quoted. A quote that is
// not closed lasts to the end.
func jodaLiteral(s string) (text string, size int) {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			out.WriteByte('\'')
			i++
		case s[i] == '\'':
			quoted = !quoted
		case !quoted && isLetter(s[i]):
			return out.String(), i
		default:
			out.WriteByte(s[i])
		}
	}
	return out.String(), len(s)
}

func (p jodaPattern) format(t time.Time) string {
	var out []byte
	for _, tok := range p {
		if tok.letter == 0 {
			out = append(out, tok.text...)
		} else {
			out = tok.append(out, t)
		}
	}
	return string(out)
}

// append appends a field that is a number, or what text says.
func (tok jodaToken) append(dst []byte, t time.Time) []byte {
	if s, ok := tok.textOf(t); ok {
		return append(dst, s...)
	}
	year, week := t.ISOWeek()
	switch tok.letter {
	case 'y', 'Y':
		return tok.appendYear(dst, t.Year(), tok.letter == 'Y')
	case 'x':
		return tok.appendYear(dst, year, false)
	case 'C':
		return appendPadded(dst, eraYear(t.Year())/100, tok.count)
	case 'w':
		return appendPadded(dst, week, tok.count)
	case 'S':
		return tok.appendFraction(dst, t.Nanosecond()/1e6)
	}
	return appendPadded(dst, tok.number(t), tok.count)
}

// number is a field that prints as it is.
func (tok jodaToken) number(t time.Time) int {
	switch tok.letter {
	case 'e':
		return (int(t.Weekday())+6)%7 + 1
	case 'D':
		return t.YearDay()
	case 'M':
		return int(t.Month())
	case 'd':
		return t.Day()
	case 'K':
		return t.Hour() % 12
	case 'h':
		return (t.Hour()+11)%12 + 1
	case 'H':
		return t.Hour()
	case 'k':
		return (t.Hour()+23)%24 + 1
	case 'm':
		return t.Minute()
	}
	return t.Second()
}

// textOf returns a field that prints as text.
func (tok jodaToken) textOf(t time.Time) (string, bool) {
	switch {
	case tok.letter == 'G' && t.Year() > 0:
		return "AD", true
	case tok.letter == 'G':
		return "BC", true
	case tok.letter == 'a' && t.Hour() < 12:
		return "AM", true
	case tok.letter == 'a':
		return "PM", true
	case tok.letter == 'E' && tok.count < 4:
		return t.Weekday().String()[:3], true
	case tok.letter == 'E':
		return t.Weekday().String(), true
	case tok.letter == 'M' && tok.count == 3:
		return t.Month().String()[:3], true
	case tok.letter == 'M' && tok.count > 3:
		return t.Month().String(), true
	case tok.letter == 'z':
		return nameAt(t, tok.count > 3), true
	case tok.letter == 'Z':
		return tok.offset(t), true
	}
	return "", false
}

func (tok jodaToken) offset(t time.Time) string {
	_, offset := t.Zone()
	offset -= offset % 60 // there is no room for the seconds of old times
	switch tok.count {
	case 1:
		return offsetText(offset, "")
	case 2:
		return offsetText(offset, ":")
	}
	return t.Location().String()
}

// eraYear is the year of the era: 1 BC is the year 0.
func eraYear(year int) int {
	if year <= 0 {
		return 1 - year
	}
	return year
}

// appendYear appends a year; two letters make two digits of it.
func (tok jodaToken) appendYear(dst []byte, year int, ofEra bool) []byte {
	switch {
	case tok.count == 2:
		return appendPadded(dst, max(year, -year)%100, 2)
	case ofEra:
		year = eraYear(year)
	}
	return appendPadded(dst, year, tok.count)
}

func appendPadded(dst []byte, n, width int) []byte {
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	s := strconv.Itoa(n)
	for range width - len(s) {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// appendFraction appends as many digits of the second as there are letters.
func (tok jodaToken) appendFraction(dst []byte, millis int) []byte {
	digits := appendPadded(nil, millis, 3)
	dst = append(dst, digits[:min(tok.count, len(digits))]...)
	for range tok.count - len(digits) {
		dst = append(dst, '0')
	}
	return dst
}

// jodaZone returns the zone of an id or of an offset such as +02:00
// (DateTimeZone.forID).
func jodaZone(id string) (*time.Location, bool) {
	if id == "" || id[0] != '+' && id[0] != '-' {
		return zoneByID(id)
	}
	for _, form := range [...]offsetForm{{colon: true, minutes: true, seconds: true}, {colon: true, minutes: true}, {minutes: true, seconds: true}, {minutes: true}, {}} {
		if offset, end, ok := form.read(id, 0); ok && end == len(id) {
			return fixedZone(offset), true
		}
	}
	return nil, false
}
