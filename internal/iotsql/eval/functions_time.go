package eval

import (
	"time"

	"mote/internal/iotsql"
)

// timeLookup is what a look at a zone counts in the budget, in bytes.
const timeLookup = 256

// parseTime compiles parse_time(pattern, milliseconds [, zone]), which formats
// a time (AWS IoT SQL reference, "parse_time").
func parseTime(c *compiler, x *iotsql.Call) (callFn, error) {
	patterns := &patterned[jodaPattern]{compile: compileJoda}
	if err := patterns.prepare(c, x.Args[0]); err != nil {
		return nil, err
	}
	return func(c *compiler, m *Message, a []Value) Value {
		src, ok := a[0].toText(c.reduce)
		ms, isTime := a[1].millis()
		if !ok || !isTime || !m.spend(timeLookup) {
			return undef
		}
		pattern, zone := patterns.of(m, src), "UTC"
		if len(a) == 3 {
			if zone, ok = a[2].toText(c.reduce); !ok {
				return undef
			}
		}
		loc, ok := jodaZone(zone)
		if !ok || pattern == nil {
			return undef
		}
		return text(pattern.format(ms.In(loc)))
	}, nil
}

// timeToEpoch compiles time_to_epoch(text, pattern), which gives milliseconds
// (AWS IoT SQL reference, "time_to_epoch").
func timeToEpoch(c *compiler, x *iotsql.Call) (callFn, error) {
	patterns := &patterned[*javaTime]{compile: compileJavaTime}
	if err := patterns.prepare(c, x.Args[1]); err != nil {
		return nil, err
	}
	return func(c *compiler, m *Message, a []Value) Value {
		s, okS := a[0].toText(c.reduce)
		src, okSrc := a[1].toText(c.reduce)
		if !okS || !okSrc || !m.spend(timeLookup) {
			return undef
		}
		if pattern := patterns.of(m, src); pattern != nil {
			if ms, ok := pattern.millis(s); ok {
				return integer(ms)
			}
		}
		return undef
	}, nil
}

// millis is the time of a number of milliseconds since 1970.
func (v Value) millis() (time.Time, bool) {
	n := v.toInt()
	if n.kind != Int || !n.small || n.exp != 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(n.coef), true
}
