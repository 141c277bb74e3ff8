package eval

import (
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// maxText is how long a String may become by computing, in bytes: longer ones
// are Undefined. It is twice what a message may hold.
const maxText = 256 << 10

// toText is the conversion to String (AWS IoT SQL reference, "Conversions");
// false stands for Undefined.
func (v Value) toText(reduce bool) (string, bool) {
	switch v.kind {
	case String:
		return v.text, true
	case Bool:
		if v.coef != 0 {
			return "true", true
		}
		return "false", true
	case Int, Decimal:
		if reduce {
			v = v.reduce()
		}
		return v.Text(), true
	case Array, Object:
		out := v.appendJSON(nil, reduce, maxText)
		return string(out), len(out) <= maxText
	}
	return "", false
}

// toDecimal is the conversion to Decimal; the result is a number, Null or
// Undefined.
func (v Value) toDecimal() Value {
	switch v.kind {
	case Int, Decimal, Null:
		return v
	case String:
		return parseNumber(v.text)
	}
	return undef
}

// number is v as an operand of arithmetic: a number, also one in a String;
// anything else is Undefined.
func (v Value) number() Value {
	if v = v.toDecimal(); v.kind == Null {
		return undef
	}
	return v
}

// parseNumber reads ^-?\d+(\.\d+)?((?i)E-?\d+)?$ as a Decimal.
func parseNumber(s string) Value {
	i := 0
	if strings.HasPrefix(s, "-") {
		i++
	}
	first := i
	if i = skipDigits(s, i); i == first {
		return undef
	}
	if i < len(s) && s[i] == '.' {
		frac := i + 1
		if i = skipDigits(s, frac); i == frac {
			return undef
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && s[i] == '-' {
			i++
		}
		exp := i
		if i = skipDigits(s, i); i == exp {
			return undef
		}
	}
	if i != len(s) {
		return undef
	}
	v := normal(number(s))
	if v.kind == Int {
		v.kind = Decimal
	}
	return v
}

// normal drops how a number was written, which may not be JSON ("007").
func normal(v Value) Value {
	if v.small {
		v.text = ""
		return v
	}
	d, ok := v.decimal()
	if !ok {
		return undef
	}
	if _, err := context.Round(d, d); err != nil {
		return undef
	}
	return fromDecimal(d, v.kind)
}

// toBool is the conversion to Boolean; the second result is false for Undefined.
func (v Value) toBool() (is, defined bool) {
	switch v.kind {
	case Bool:
		return v.coef != 0, true
	case String:
		switch {
		case strings.EqualFold(v.text, "true"):
			return true, true
		case strings.EqualFold(v.text, "false"):
			return false, true
		}
	}
	return false, false
}

// toInt is the conversion to Int: to the nearest one, of a String by cutting
// the fraction off.
func (v Value) toInt() Value {
	switch v.kind {
	case Int, Null:
		return v
	case Decimal:
		return v.round(apd.RoundHalfUp)
	case String:
		if n := parseNumber(v.text); n.isNumber() {
			return n.round(apd.RoundDown)
		}
	}
	return undef
}

// position converts to an index; false when there is none.
func (v Value) position() (int, bool) {
	if v.kind == Int && v.small && v.coef == int64(int32(v.coef)) { // nearly always
		return int(v.coef), true
	}
	n := v.toInt()
	if n.kind != Int {
		return 0, false
	}
	return n.index(apd.RoundDown)
}
