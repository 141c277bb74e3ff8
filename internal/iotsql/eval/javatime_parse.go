package eval

import (
	"strings"
	"time"
)

// literalElement is a text that must be there as it is.
type literalElement string

func (e literalElement) parse(s string, at int, _ *timeFields) (int, bool) {
	if !strings.HasPrefix(s[at:], string(e)) {
		return 0, false
	}
	return at + len(e), true
}

// optionalElement is what stands in [ ]: all of it or nothing.
type optionalElement []timeElement

func (e optionalElement) parse(s string, at int, f *timeFields) (int, bool) {
	before := *f
	if end, ok := parseAll(e, s, at, f); ok {
		return end, true
	}
	*f = before
	return at, true
}

// padElement is a field that spaces before it bring to a width.
type padElement struct {
	width int
	inner []timeElement
}

func (e padElement) parse(s string, at int, f *timeFields) (int, bool) {
	end := at + e.width
	if end > len(s) {
		return 0, false
	}
	for at < end && s[at] == ' ' {
		at++
	}
	got, ok := parseAll(e.inner, s[:end], at, f)
	return end, ok && got == end
}

// maxDigits is how many digits a number of any width has at most.
const maxDigits = 19

// signRule is which signs a number may have.
type signRule uint8

const (
	noSign   signRule = iota
	minus             // minus only
	longYear          // minus, and plus exactly when there are more digits than letters
)

// numberElement is a number (NumberPrinterParser).
type numberElement struct {
	field    timeField
	min, max int
	sign     signRule
	after    int   // digits that belong to the numbers right behind it
	base     int64 // is added
	fraction bool  // of a second, in digits behind the point
	sunday   bool  // weekdays from Sunday, 1
}

func (e *numberElement) parse(s string, at int, f *timeFields) (int, bool) {
	plus, negative := strings.HasPrefix(s[at:], "+"), strings.HasPrefix(s[at:], "-")
	if plus && e.sign != longYear || negative && e.sign == noSign {
		return 0, false
	}
	if plus || negative {
		at++
	}
	digits := skipDigits(s, at) - at
	digits = min(digits, e.max+e.after)
	if e.after > 0 {
		digits = max(min(digits-e.after, e.max), e.min)
	}
	if digits < e.min || digits > maxDigits-1 || at+digits > len(s) || skipDigits(s[:at+digits], at) != at+digits {
		return 0, false
	}
	if e.sign == longYear && !negative && plus != (digits > e.min) {
		return 0, false
	}
	n := int64(0)
	for _, c := range []byte(s[at : at+digits]) {
		n = n*10 + int64(c-'0')
	}
	if negative {
		if n = -n; n == 0 {
			return 0, false
		}
	}
	return at + digits, f.set(e.field, e.value(n, digits))
}

func (e *numberElement) value(n int64, digits int) int64 {
	switch {
	case e.fraction:
		return n * pow10[9-digits]
	case e.sunday && n >= 1 && n <= 7:
		return (n+5)%7 + 1
	}
	return n + e.base
}

// textElement is one of several texts; the first stands for base.
type textElement struct {
	field timeField
	texts []string
	base  int64
}

func (e textElement) parse(s string, at int, f *timeFields) (int, bool) {
	for i, t := range e.texts {
		if strings.HasPrefix(s[at:], t) {
			return at + len(t), f.set(e.field, e.base+int64(i))
		}
	}
	return 0, false
}

// offsetForm is how an offset is written: +HH, and what follows.
type offsetForm struct {
	colon, minutes bool
	maybe          bool // the minutes may be missing
	seconds        bool // seconds may follow
}

// offsetForms are those of one to five letters X.
var offsetForms = [...]offsetForm{
	{minutes: true, maybe: true}, {minutes: true}, {colon: true, minutes: true},
	{minutes: true, seconds: true}, {colon: true, minutes: true, seconds: true},
}

// read reads an offset in seconds.
func (o offsetForm) read(s string, at int) (offset, end int, ok bool) {
	if at >= len(s) || s[at] != '+' && s[at] != '-' {
		return 0, 0, false
	}
	negative := s[at] == '-'
	h, at, ok := twoDigits(s, at+1, false)
	if !ok {
		return 0, 0, false
	}
	total := h * 3600
	if o.minutes {
		m, next, ok := twoDigits(s, at, o.colon)
		switch {
		case ok && m < 60:
			total, at = total+m*60, next
		case ok || !o.maybe:
			return 0, 0, false
		}
	}
	if o.seconds {
		if sec, next, ok := twoDigits(s, at, o.colon); ok && sec < 60 {
			total, at = total+sec, next
		}
	}
	if total > maxOffset {
		return 0, 0, false
	}
	if negative {
		total = -total
	}
	return total, at, true
}

// twoDigits reads two digits, behind a colon when there must be one.
func twoDigits(s string, at int, colon bool) (n, end int, ok bool) {
	if colon {
		if at >= len(s) || s[at] != ':' {
			return 0, 0, false
		}
		at++
	}
	if at+2 > len(s) || !isDigit(s[at]) || !isDigit(s[at+1]) {
		return 0, 0, false
	}
	return int(s[at]-'0')*10 + int(s[at+1]-'0'), at + 2, true
}

// offsetElement is an offset, or a text that stands for none.
type offsetElement struct {
	form offsetForm
	zero string
}

func (e offsetElement) parse(s string, at int, f *timeFields) (int, bool) {
	if strings.HasPrefix(s[at:], e.zero) {
		return at + len(e.zero), f.set(offsetSeconds, 0)
	}
	offset, end, ok := e.form.read(s, at)
	return end, ok && f.set(offsetSeconds, int64(offset))
}

// localOffsetElement is an offset behind GMT: GMT+8, or in full GMT+08:00.
type localOffsetElement struct{ full bool }

func (e localOffsetElement) parse(s string, at int, f *timeFields) (int, bool) {
	if !strings.HasPrefix(s[at:], "GMT") {
		return 0, false
	}
	at += len("GMT")
	if at == len(s) || s[at] != '+' && s[at] != '-' {
		return at, f.set(offsetSeconds, 0)
	}
	text, grown := s, 0
	if !e.full && (at+2 >= len(s) || !isDigit(s[at+2])) { // one digit
		text, grown = s[:at+1]+"0"+s[at+1:], 1
	}
	form := offsetForm{colon: true, minutes: true, seconds: true, maybe: !e.full}
	offset, end, ok := form.read(text, at)
	return end - grown, ok && f.set(offsetSeconds, int64(offset))
}

// zoneElement is the id of a zone, an offset, or one of the names.
type zoneElement struct {
	names map[string]string // zones by name; nil: ids only
}

func (e zoneElement) parse(s string, at int, f *timeFields) (int, bool) {
	rest := s[at:]
	for _, prefix := range [...]string{"UTC", "UT", "GMT0", "GMT", ""} {
		if !strings.HasPrefix(rest, prefix) {
			continue
		}
		from := at + len(prefix)
		if offset, end, ok := offsetForms[4].read(s, from); ok {
			return end, f.setZone(fixedZone(offset))
		}
		if prefix != "" {
			return from, f.setZone(time.UTC)
		}
	}
	if end, loc := e.longest(rest); loc != nil {
		return at + end, f.setZone(loc)
	}
	if strings.HasPrefix(rest, "Z") {
		return at + 1, f.setZone(time.UTC)
	}
	return 0, false
}

// maxZoneName is how long the name of a zone may be.
const maxZoneName = 64

// longest finds the longest id or name that s begins with.
func (e zoneElement) longest(s string) (int, *time.Location) {
	for n := min(len(s), maxZoneName); n > 0; n-- {
		id, named := e.names[s[:n]]
		if !named {
			if n > maxZoneID || n < len(s) && inZoneID(s[n]) && inZoneID(s[n-1]) {
				continue // within a word
			}
			if id = s[:n]; !isRegion(id) {
				continue
			}
		}
		if loc, ok := zoneByID(id); ok {
			return n, loc
		}
	}
	return 0, nil
}

// isRegion says whether an id is of the kind that Java's zones have: not an
// abbreviation such as EST.
func isRegion(id string) bool { return id != "EST" && id != "MST" && id != "HST" && isZoneID(id) }

// setZone sets the zone; false when there is another one already.
func (f *timeFields) setZone(loc *time.Location) bool {
	if f.zone != nil {
		return f.zone.String() == loc.String()
	}
	f.zone = loc
	return true
}
