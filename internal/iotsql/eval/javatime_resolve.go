package eval

import (
	"math"
	"time"
)

// maxYear bounds years as java.time does.
const maxYear = 999_999_999

// resolve makes milliseconds since 1970 of the fields, as java.time's smart
// style does. A missing time is midnight, a missing zone UTC; without a date
// there is none.
func (f *timeFields) resolve() (int64, bool) {
	date, ok := f.date()
	if !ok {
		return 0, false
	}
	clock, ok := f.clock()
	if !ok {
		return 0, false
	}
	return f.instant(date, clock)
}

// between says whether a field, if it is set, is in its range.
func (f *timeFields) between(field timeField, low, high int64) bool {
	return !f.has(field) || f.of[field] >= low && f.of[field] <= high
}

// date returns the days since 1970.
func (f *timeFields) date() (days int64, ok bool) {
	if !f.prolepticYear() || !f.between(month, 1, 12) || !f.between(day, 1, 31) || !f.between(dayOfYear, 1, 366) || !f.between(weekday, 1, 7) {
		return 0, false
	}
	y := f.of[year]
	switch {
	case !f.has(year):
		return 0, false
	case f.has(month) && f.has(day):
		last := daysIn(y, f.of[month])
		days = daysBefore(y) + dayInYear(y, f.of[month], min(f.of[day], last)) - 1
	case f.has(dayOfYear):
		if f.of[dayOfYear] == 366 && !isLeap(y) {
			return 0, false
		}
		days = daysBefore(y) + f.of[dayOfYear] - 1
	default:
		return 0, false
	}
	return days, f.agrees(days)
}

// agrees says whether the fields that the date was not made of fit it.
func (f *timeFields) agrees(days int64) bool {
	y := f.of[year]
	inYear := days - daysBefore(y) + 1
	if f.has(weekday) && ((days+3)%7+7)%7+1 != f.of[weekday] || f.has(dayOfYear) && f.of[dayOfYear] != inYear {
		return false
	}
	if !f.has(month) {
		return !f.has(day) || inYear == f.dayFromStart(y, inYear)
	}
	first := dayInYear(y, f.of[month], 1)
	return inYear >= first && inYear < first+daysIn(y, f.of[month])
}

// dayFromStart is the day of the year that has the day of the month that is
// set, in the month that inYear is in.
func (f *timeFields) dayFromStart(y, inYear int64) int64 {
	m := int64(12)
	for dayInYear(y, m, 1) > inYear {
		m--
	}
	return dayInYear(y, m, f.of[day])
}

// prolepticYear sets the year from the year of an era.
func (f *timeFields) prolepticYear() bool {
	if !f.between(yearOfEra, 1, maxYear) || !f.between(year, -maxYear, maxYear) {
		return false
	}
	if !f.has(yearOfEra) {
		return !f.has(era) || !f.has(year) || (f.of[year] > 0) == (f.of[era] == 1)
	}
	y := f.of[yearOfEra]
	if f.has(era) && f.of[era] == 0 || !f.has(era) && f.has(year) && f.of[year] <= 0 {
		y = 1 - y
	}
	return f.set(year, y)
}

func isLeap(y int64) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

var daysBeforeMonth = [...]int64{0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365}

func daysIn(y, month int64) int64 {
	if month == 2 && isLeap(y) {
		return 29
	}
	return daysBeforeMonth[month] - daysBeforeMonth[month-1]
}

// dayInYear counts from 1.
func dayInYear(y, month, day int64) int64 {
	n := daysBeforeMonth[month-1] + day
	if month > 2 && isLeap(y) {
		n++
	}
	return n
}

// daysBefore is the number of days from 1970 to the first of a year.
func daysBefore(y int64) int64 {
	before := y - 1
	return y*365 + floorDiv(before, 4) - floorDiv(before, 100) + floorDiv(before, 400) - (1970*365 + 477)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

const nanosPerDay = 24 * int64(time.Hour)

// clock returns the nanoseconds since midnight; 24:00 is the end of the day.
func (f *timeFields) clock() (int64, bool) {
	if !f.dayHour() || !f.splitDay() {
		return 0, false
	}
	if !f.has(hour) {
		return 0, f.is&(1<<minute|1<<second|1<<nano|1<<amPM|1<<hourOfHalf) == 0
	}
	if !f.has(minute) && (f.has(second) || f.has(nano)) || f.has(minute) && !f.has(second) && f.has(nano) {
		return 0, false
	}
	if f.of[hour] == 24 && f.of[minute] == 0 && f.of[second] == 0 && f.of[nano] == 0 {
		return nanosPerDay, true
	}
	if !f.between(hour, 0, 23) || !f.between(minute, 0, 59) || !f.between(second, 0, 59) || !f.between(nano, 0, 999_999_999) {
		return 0, false
	}
	if f.has(amPM) && f.of[hour]/12 != f.of[amPM] || f.has(hourOfHalf) && f.of[hour]%12 != f.of[hourOfHalf] {
		return 0, false
	}
	return (f.of[hour]*3600+f.of[minute]*60+f.of[second])*int64(time.Second) + f.of[nano], true
}

// dayHour sets the hour of the day from the others.
func (f *timeFields) dayHour() bool {
	if !f.between(clockHour, 0, 24) || !f.between(clockHalf, 0, 12) || !f.between(hourOfHalf, 0, 11) {
		return false
	}
	ok := true
	if f.has(clockHour) {
		ok = f.set(hour, f.of[clockHour]%24)
	}
	if f.has(clockHalf) {
		ok = ok && f.set(hourOfHalf, f.of[clockHalf]%12)
	}
	if f.has(amPM) && f.has(hourOfHalf) {
		ok = ok && f.set(hour, f.of[amPM]*12+f.of[hourOfHalf])
	}
	return ok
}

// splitDay sets hour, minute, second and nanosecond from those of the day.
func (f *timeFields) splitDay() bool {
	for field, unit := range map[timeField]int64{milliOfDay: int64(time.Millisecond), nanoOfDay: 1} {
		if !f.has(field) {
			continue
		}
		if !f.between(field, 0, nanosPerDay/unit-1) {
			return false
		}
		n := f.of[field] * unit
		if !f.set(hour, n/int64(time.Hour)) || !f.set(minute, n/int64(time.Minute)%60) || !f.set(second, n/int64(time.Second)%60) || !f.set(nano, n%int64(time.Second)) {
			return false
		}
	}
	return true
}

// instant is the time at a day and a time of it, in the zone that was set. A
// time that a change of the clocks leaves out is moved behind it, and of one
// that comes twice the first is taken.
func (f *timeFields) instant(days, clock int64) (int64, bool) {
	local := days*86400 + floorDiv(clock, int64(time.Second))
	offset := int64(0)
	switch {
	case f.has(offsetSeconds):
		offset = f.of[offsetSeconds]
	case f.zone != nil:
		offset = offsetOf(local, f.zone)
	}
	seconds := local - offset
	if seconds > math.MaxInt64/1000-1 || seconds < math.MinInt64/1000+1 {
		return 0, false
	}
	return seconds*1000 + clock%int64(time.Second)/int64(time.Millisecond), true
}

// offsetOf is the offset in seconds that a zone has at a local time.
func offsetOf(local int64, zone *time.Location) int64 {
	const day = 24 * 3600
	at := func(unix int64) int64 {
		_, o := time.Unix(unix, 0).In(zone).Zone()
		return int64(o)
	}
	before, after := at(local-day), at(local+day)
	if at(local-before) != before && at(local-after) == after {
		return after
	}
	return before
}
