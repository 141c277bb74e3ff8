package eval

import (
	"strings"
	"time"
)

// javaTime parses times with a pattern of java.time.format.DateTimeFormatter
// (JDK 11), in English and strict as there: upper and lower case count, and
// numbers have the width of their letters.
type javaTime struct{ elements []timeElement }

// timeElement parses one part of a text; false when it is not there.
type timeElement interface {
	parse(s string, at int, f *timeFields) (end int, ok bool)
}

// timeField is a field that a text can set.
type timeField uint8

const (
	era           timeField = iota // 0: BC, 1: AD
	yearOfEra                      // y
	year                           // u, proleptic
	month                          // 1 to 12
	day                            // of month
	dayOfYear                      //
	weekday                        // 1: Monday
	amPM                           // 1: PM
	clockHalf                      // h, 1 to 12
	hourOfHalf                     // K, 0 to 11
	hour                           // H, 0 to 23
	clockHour                      // k, 1 to 24
	minute                         //
	second                         //
	nano                           // of second
	milliOfDay                     //
	nanoOfDay                      //
	offsetSeconds                  //
	numTimeFields
)

// timeFields is what a text has set.
type timeFields struct {
	is   uint32 // bits by field
	of   [numTimeFields]int64
	zone *time.Location // nil: none
}

func (f *timeFields) has(field timeField) bool { return f.is>>field&1 != 0 }

// set sets a field; false when it has another value already.
func (f *timeFields) set(field timeField, v int64) bool {
	if f.has(field) {
		return f.of[field] == v
	}
	f.is |= 1 << field
	f.of[field] = v
	return true
}

// millis parses a text that has a date at least, and returns milliseconds
// since 1970.
func (p *javaTime) millis(s string) (int64, bool) {
	var f timeFields
	end, ok := parseAll(p.elements, s, 0, &f)
	if !ok || end != len(s) {
		return 0, false
	}
	return f.resolve()
}

func parseAll(elements []timeElement, s string, at int, f *timeFields) (int, bool) {
	ok := true
	for _, e := range elements {
		if at, ok = e.parse(s, at, f); !ok {
			return 0, false
		}
	}
	return at, true
}

// patternReader reads the text of a pattern.
type patternReader struct {
	src   string
	at    int
	open  [][]timeElement // what is before each [ that is open
	list  []timeElement
	value *numberElement // of list, if numbers right behind it may take digits from it
}

const inTimePattern = "the pattern of the time"

// compileJavaTime compiles a pattern. The error is errTimePattern or a
// *foreignError.
func compileJavaTime(src string) (*javaTime, error) {
	if len(src) > maxTimePattern {
		return nil, errTimePattern
	}
	r := &patternReader{src: src}
	for r.at < len(src) {
		if err := r.next(); err != nil {
			return nil, err
		}
	}
	for len(r.open) > 0 {
		r.closeOptional()
	}
	return &javaTime{r.list}, nil
}

func (r *patternReader) add(e timeElement) {
	r.list = append(r.list, e)
	r.value = nil
}

// next reads one letter run, quoted text or other character.
func (r *patternReader) next() error {
	c := r.src[r.at]
	if isLetter(c) {
		return r.letters()
	}
	r.at++
	switch c {
	case '\'':
		return r.quoted()
	case '[':
		r.open = append(r.open, r.list)
		r.list, r.value = nil, nil
	case ']':
		if len(r.open) == 0 {
			return errTimePattern
		}
		r.closeOptional()
	case '{', '}', '#':
		return errTimePattern
	default:
		r.add(literalElement(r.src[r.at-1 : r.at]))
	}
	return nil
}

func (r *patternReader) closeOptional() {
	inner := r.list
	r.list, r.open = r.open[len(r.open)-1], r.open[:len(r.open)-1]
	r.add(optionalElement(inner))
}

func (r *patternReader) quoted() error {
	var out strings.Builder
	for r.at < len(r.src) {
		c := r.src[r.at]
		r.at++
		if c == '\'' {
			if r.at == len(r.src) || r.src[r.at] != '\'' {
				if out.Len() == 0 { // '' alone is a quote
					out.WriteByte('\'')
				}
				r.add(literalElement(out.String()))
				return nil
			}
			r.at++
		}
		out.WriteByte(c)
	}
	return errTimePattern
}

// letters reads a run of one letter, with p before it the width that spaces
// fill.
func (r *patternReader) letters() error {
	c, n := r.src[r.at], letterRun(r.src[r.at:])
	r.at += n
	if c != 'p' {
		return r.field(c, n)
	}
	if r.at == len(r.src) || !isLetter(r.src[r.at]) || r.src[r.at] == 'p' {
		return errTimePattern
	}
	width, outer := n, r.list
	r.list, r.value = nil, nil
	if err := r.letters(); err != nil {
		return err
	}
	inner := r.list
	r.list = outer
	r.add(padElement{width, inner})
	return nil
}

// numberFields are the letters whose one or two stand for a number.
var numberFields = map[byte]timeField{
	'M': month, 'L': month, 'd': day, 'h': clockHalf, 'H': hour, 'k': clockHour, 'K': hourOfHalf, 'm': minute, 's': second,
}

// field adds what a run of a letter stands for (DateTimeFormatterBuilder,
// appendPattern).
func (r *patternReader) field(c byte, n int) error {
	if f, ok := numberFields[c]; ok && n <= 2 {
		r.number(f, n)
		return nil
	}
	switch c {
	case 'u', 'y':
		r.year(c, n)
	case 'D':
		if n > 3 {
			return errTimePattern
		}
		r.variable(numberElement{field: dayOfYear, min: n, max: 3, sign: noSign}, n == 1)
	case 'S':
		if n > 9 {
			return errTimePattern
		}
		r.append(&numberElement{field: nano, min: n, max: n, sign: noSign, fraction: true})
	case 'A':
		r.append(&numberElement{field: milliOfDay, min: n, max: maxDigits, sign: noSign})
	case 'n':
		r.append(&numberElement{field: nano, min: n, max: maxDigits, sign: noSign})
	case 'N':
		r.append(&numberElement{field: nanoOfDay, min: n, max: maxDigits, sign: noSign})
	default:
		return r.text(c, n)
	}
	return nil
}

// year adds a year: two digits are of this century.
func (r *patternReader) year(c byte, n int) {
	f := yearOfEra
	if c == 'u' {
		f = year
	}
	switch {
	case n == 2:
		r.append(&numberElement{field: f, min: 2, max: 2, sign: noSign, base: 2000})
	case n < 4:
		r.append(&numberElement{field: f, min: n, max: maxDigits, sign: minus})
	default:
		r.append(&numberElement{field: f, min: n, max: maxDigits, sign: longYear})
	}
}

// number adds a number of one or more digits, or of exactly two.
func (r *patternReader) number(f timeField, n int) {
	r.variable(numberElement{field: f, min: n, max: n, sign: noSign}, n == 1)
}

// variable adds a number that may have many digits if its letter stands alone.
func (r *patternReader) variable(e numberElement, alone bool) {
	if alone {
		e.max, e.sign = maxDigits, minus
	}
	r.append(&e)
}

// append adds a number. One of a fixed width right behind a number takes its
// digits from it, so that yyyyMMdd can be read.
func (r *patternReader) append(e *numberElement) {
	before := r.value
	r.add(e)
	if before != nil && e.min == e.max && e.sign == noSign {
		before.after += e.max
		r.value = before
		return
	}
	r.value = e
}

// text adds a field that is a text or a zone.
func (r *patternReader) text(c byte, n int) error {
	switch c {
	case 'M', 'L':
		return r.names(month, n, monthNames, 1)
	case 'E', 'e', 'c':
		return r.weekday(c, n)
	case 'G':
		if n == 4 {
			r.add(textElement{era, []string{"Before Christ", "Anno Domini"}, 0})
			return nil
		}
		return r.names(era, max(n, 3), []string{"BC", "AD"}, 0)
	case 'a':
		if n > 1 {
			return errTimePattern
		}
		r.add(textElement{amPM, []string{"AM", "PM"}, 0})
	case 'Y', 'w', 'W', 'F', 'Q', 'q', 'g':
		return &foreignError{inTimePattern, "the letter " + string(c), "write the date with year, month and day (u or y, M, d)"}
	default:
		return r.zone(c, n)
	}
	return nil
}

var (
	monthNames   = namesOf(12, func(i int) string { return time.Month(i + 1).String() })
	weekdayNames = namesOf(7, func(i int) string { return time.Weekday((i + 1) % 7).String() })
)

func namesOf(n int, name func(i int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = name(i)
	}
	return out
}

// names adds a text, of three letters its short form and of four its full one.
func (r *patternReader) names(f timeField, n int, names []string, base int64) error {
	switch {
	case n == 5:
		return &foreignError{inTimePattern, "five letters for the narrow form of a text", "use three or four letters"}
	case n > 5:
		return errTimePattern
	case n == 3:
		names = namesOf(len(names), func(i int) string { return names[i][:min(3, len(names[i]))] })
	}
	r.add(textElement{f, names, base})
	return nil
}

// weekday adds a day of the week; e and c count from Sunday when they are
// numbers, as in the United States.
func (r *patternReader) weekday(c byte, n int) error {
	switch {
	case c != 'E' && n == 1, c == 'e' && n == 2:
		r.append(&numberElement{field: weekday, min: n, max: 2, sign: noSign, sunday: true})
		return nil
	case c == 'c' && n == 2:
		return errTimePattern
	}
	return r.names(weekday, max(n, 3), weekdayNames, 1)
}

// zone adds a zone or an offset.
func (r *patternReader) zone(c byte, n int) error {
	switch {
	case c == 'V' && n == 2:
		r.add(zoneElement{})
	case (c == 'z' && n < 4):
		r.add(zoneElement{names: zoneNames().short})
	case c == 'z' && n == 4:
		r.add(zoneElement{names: zoneNames().long})
	case c == 'v' && (n == 1 || n == 4):
		r.add(zoneElement{names: zoneNames().generic})
	case c == 'O' && (n == 1 || n == 4), c == 'Z' && n == 4:
		r.add(localOffsetElement{full: n == 4})
	case (c == 'X' || c == 'x') && n <= 5:
		zero := "Z"
		if c == 'x' {
			zero = [...]string{"+00", "+0000", "+00:00", "+0000", "+00:00"}[n-1]
		}
		r.add(offsetElement{offsetForms[n-1], zero})
	case c == 'Z' && n < 4:
		r.add(offsetElement{offsetForms[1], "+0000"})
	case c == 'Z' && n == 5:
		r.add(offsetElement{offsetForms[4], "Z"})
	default:
		return errTimePattern
	}
	return nil
}
