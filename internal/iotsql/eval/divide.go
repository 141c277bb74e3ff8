package eval

import (
	"math/bits"
	"strconv"
)

const tenTo17 = 1e17

// divideLong divides small numbers when the quotient has more digits than there
// are: it is cut to 34 and rounded half to even, as context does. It leaves the
// quotients that end with a zero, and those with an exponent, to context.
func divideLong(a, b Value) (Value, bool) {
	if !a.small || !b.small || b.coef == 0 || a.coef == 0 {
		return undef, false
	}
	x, y := magnitude(a.coef), magnitude(b.coef)
	shift := digits - decimalDigits(x) + decimalDigits(y) // so that 34 or 35 digits come out
	hi, lo, rest := shiftedQuotient(x, y, shift)
	exp := int(a.exp) - int(b.exp) - shift
	half := compareHalf(rest, y)
	if hi > tenTo34Hi || hi == tenTo34Hi && lo >= tenTo34Lo { // 35 digits
		var last uint64
		hi, lo, last = by10(hi, lo)
		exp++
		if half = compareDigit(last, rest); last == 0 && rest == 0 {
			return undef, false // exact
		}
	} else if rest == 0 {
		return undef, false
	}
	if half > 0 || half == 0 && lo%2 == 1 {
		var carry uint64
		lo, carry = bits.Add64(lo, 1, 0)
		hi += carry
	}
	high, low := bits.Div64(hi, lo, tenTo17) // 17 digits each
	if low%10 == 0 || high >= tenTo17 || exp >= 0 || exp+digits-1 < -6 {
		return undef, false
	}
	return Value{kind: Decimal, text: fixedText(high, low, -exp, (a.coef < 0) != (b.coef < 0))}, true
}

// 10^34 in two words.
const (
	tenTo34Hi = 0x1ed09bead87c0
	tenTo34Lo = 0x378d8e6400000000
)

func decimalDigits(x uint64) int {
	n := 1
	for x >= 10 {
		x /= 10
		n++
	}
	return n
}

// shiftedQuotient divides x × 10^shift by y. The quotient fits two words.
func shiftedQuotient(x, y uint64, shift int) (hi, lo, rest uint64) {
	var n [3]uint64 // the lowest first
	for n[0] = x; shift > 0; shift -= smallDigits {
		factor := uint64(pow10[min(shift, smallDigits)])
		var c0, c1, carry uint64
		c0, n[0] = bits.Mul64(n[0], factor)
		c1, n[1] = bits.Mul64(n[1], factor)
		n[1], carry = bits.Add64(n[1], c0, 0)
		n[2] = n[2]*factor + c1 + carry
	}
	rest = n[2] % y
	hi, rest = bits.Div64(rest, n[1], y)
	lo, rest = bits.Div64(rest, n[0], y)
	return hi, lo, rest
}

// by10 divides two words by ten.
func by10(hi, lo uint64) (h, l, rest uint64) {
	h = hi / 10
	l, rest = bits.Div64(hi%10, lo, 10)
	return h, l, rest
}

// compareHalf compares what is left of a division by y with a half.
func compareHalf(rest, y uint64) int {
	switch {
	case rest > y-rest:
		return 1
	case rest == y-rest:
		return 0
	}
	return -1
}

// compareDigit is compareHalf for a digit that is cut off, and what was left
// before it.
func compareDigit(digit, rest uint64) int {
	switch {
	case digit > 5 || digit == 5 && rest > 0:
		return 1
	case digit == 5:
		return 0
	}
	return -1
}

// fixedText writes 34 digits, 17 in high and 17 in low, with the last places
// behind the point.
func fixedText(high, low uint64, places int, negative bool) string {
	var text [digits]byte
	for i := range text {
		text[i] = '0'
	}
	var buf [20]byte
	first := strconv.AppendUint(buf[:0], high, 10)
	copy(text[digits/2-len(first):], first)
	second := strconv.AppendUint(buf[:0], low, 10)
	copy(text[digits-len(second):], second)
	out := make([]byte, 0, digits+10)
	if negative {
		out = append(out, '-')
	}
	if places >= digits {
		out = append(out, "0.000000"[:2+places-digits]...)
		return string(append(out, text[:]...))
	}
	out = append(out, text[:digits-places]...)
	out = append(out, '.')
	return string(append(out, text[digits-places:]...))
}
