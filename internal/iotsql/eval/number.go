package eval

import (
	"cmp"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Numbers have 34 digits and exponents up to 999 (AWS IoT SQL reference, "Data
// types"), as Java's MathContext.DECIMAL128, which rounds half to even. A
// small number, a 64-bit coefficient and an exponent near zero, is computed
// without apd.
const (
	digits      = 34
	maxExponent = 999
	smallDigits = 18  // decimal digits that always fit an int64
	smallExp    = 300 // of small numbers, so that their sums stay in an int32 and cheap
)

var context = apd.Context{
	Precision:   digits,
	MaxExponent: maxExponent,
	MinExponent: -maxExponent,
	Rounding:    apd.RoundHalfEven,
	Traps:       apd.Overflow | apd.DivisionByZero | apd.DivisionUndefined | apd.InvalidOperation | apd.DivisionImpossible,
}

var pow10 = [smallDigits + 1]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

// number makes the value of a JSON number: Int without dot and exponent, else
// Decimal. The text must be valid JSON.
func number(s string) Value {
	v := Value{kind: Int, text: s, small: true}
	neg, point, seen := false, false, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-':
			neg = true
		case c == '.':
			point, v.kind = true, Decimal
		case c == 'e' || c == 'E':
			v.kind = Decimal
			e, err := strconv.Atoi(s[i+1:])
			if err != nil || e > smallExp || e < -smallExp {
				v.small = false
				return v
			}
			v.exp += int32(e)
			return v.signed(neg)
		default:
			if seen > 0 || c != '0' {
				seen++
			}
			if seen > smallDigits {
				v.small = false
			} else {
				v.coef = v.coef*10 + int64(c-'0')
			}
			if point {
				v.exp--
			}
		}
	}
	return v.signed(neg)
}

// signed ends number: it sets the sign, and gives up on what is not small.
func (v Value) signed(neg bool) Value {
	if v.exp < -smallExp {
		v.small = false
	}
	if neg {
		v.coef = -v.coef
	}
	return v
}

// maxNumberText is how much of the text of a number is computed with; the
// digits beyond only say whether the rest is zero.
const maxNumberText = 200

// decimal returns the number as apd has it; false when it is outside the
// range of IoT SQL.
func (v Value) decimal() (*apd.Decimal, bool) {
	if v.small {
		return apd.New(v.coef, v.exp), true
	}
	s, exp := v.text, int64(0)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.ParseInt(s[i+1:], 10, 32)
		if err != nil {
			return nil, false
		}
		s, exp = s[:i], e
	}
	neg := strings.HasPrefix(s, "-")
	whole, frac, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	all := strings.TrimLeft(whole+frac, "0")
	exp -= int64(len(frac))
	if len(all) > maxNumberText {
		sticky := "0"
		if strings.Trim(all[maxNumberText:], "0") != "" {
			sticky = "1"
		}
		exp += int64(len(all) - maxNumberText - 1)
		all = all[:maxNumberText] + sticky
	}
	if all == "" {
		return apd.New(0, int32(min(max(exp, -smallExp), smallExp))), true
	}
	if adjusted := exp + int64(len(all)) - 1; adjusted > maxExponent || adjusted < -maxExponent {
		return nil, false
	}
	d := new(apd.Decimal)
	if _, ok := d.Coeff.SetString(all, 10); !ok {
		return nil, false
	}
	d.Exponent, d.Negative = int32(exp), neg
	return d, true
}

// fromDecimal makes a value of a result of apd; kind Int needs a whole number.
func fromDecimal(d *apd.Decimal, kind Kind) Value {
	if d.Form != apd.Finite {
		return undef
	}
	if kind == Int && d.Exponent != 0 {
		whole := new(apd.Decimal)
		if _, err := context.Quantize(whole, d, 0); err != nil {
			kind = Decimal // beyond 34 digits
		} else {
			d = whole
		}
	}
	if d.Coeff.IsInt64() && d.Exponent >= -smallExp && d.Exponent <= smallExp {
		v := Value{kind: kind, small: true, coef: d.Coeff.Int64(), exp: d.Exponent}
		if d.Negative {
			v.coef = -v.coef
		}
		return v
	}
	return Value{kind: kind, text: d.String()}
}

// appendNumber appends the number as JSON: as the payload wrote it, or in
// Java's notation, which has an exponent only when it is long otherwise.
func (v *Value) appendNumber(dst []byte) []byte {
	switch {
	case v.text != "":
		return append(dst, v.text...)
	case v.exp == 0:
		return strconv.AppendInt(dst, v.coef, 10)
	case v.exp < 0 && v.exp >= -6:
		return appendFixed(dst, v.coef, int(-v.exp))
	}
	return append(dst, apd.New(v.coef, v.exp).String()...)
}

// appendFixed appends coef with the last digits behind the point.
func appendFixed(dst []byte, coef int64, places int) []byte {
	if coef < 0 {
		dst = append(dst, '-')
	}
	var buf [24]byte
	digits := strconv.AppendUint(buf[:0], magnitude(coef), 10)
	if len(digits) <= places {
		dst = append(dst, "0.000000"[:2+places-len(digits)]...)
		return append(dst, digits...)
	}
	dst = append(dst, digits[:len(digits)-places]...)
	dst = append(dst, '.')
	return append(dst, digits[len(digits)-places:]...)
}

// whole returns coef × 10^exp when that is a whole number that fits.
func whole(coef int64, exp int32) (int64, bool) {
	for exp < 0 && coef%10 == 0 && coef != 0 {
		coef, exp = coef/10, exp+1
	}
	if coef == 0 || exp == 0 {
		return coef, true
	}
	return scale(coef, exp)
}

// mayBeWhole says whether reduce may change v.
func (v *Value) mayBeWhole() bool {
	if v.kind != Decimal || !v.small || v.exp >= 0 {
		return v.kind == Decimal
	}
	_, ok := whole(v.coef, v.exp)
	return ok
}

// reduce makes an Int of a whole Decimal, as version 2016-03-23 does.
func (v Value) reduce() Value {
	if v.kind != Decimal {
		return v
	}
	if v.small {
		if i, ok := whole(v.coef, v.exp); ok {
			return integer(i)
		}
		if v.exp < 0 {
			return v
		}
	}
	if last := len(v.text) - 1; last > 0 && v.text[last] != '0' && strings.IndexByte(v.text, '.') > 0 && !strings.ContainsAny(v.text, "eE") {
		return v // a fraction that does not end with zero
	}
	d, ok := v.decimal()
	if !ok {
		return v
	}
	d.Reduce(d)
	if d.Exponent < 0 || int64(d.Exponent)+d.NumDigits() > digits {
		return v
	}
	return fromDecimal(d, Int)
}

// scale returns c × 10^by when it fits.
func scale(c int64, by int32) (int64, bool) {
	if uint32(by) <= 9 && int64(int32(c)) == c { // nearly always: it surely fits
		return c * pow10[by], true
	}
	return scaleLarge(c, by)
}

func scaleLarge(c int64, by int32) (int64, bool) {
	if by < 0 || by > smallDigits {
		return 0, c == 0
	}
	return mul(c, pow10[by])
}

func mul(a, b int64) (int64, bool) {
	if int64(int32(a)) == a && int64(int32(b)) == b { // nearly always: it surely fits
		return a * b, true
	}
	neg := (a < 0) != (b < 0)
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if neg {
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

// align brings two small numbers to one exponent.
func align(a, b Value) (x, y int64, exp int32, ok bool) {
	if !a.small || !b.small {
		return 0, 0, 0, false
	}
	x, y, exp, ok = a.coef, b.coef, a.exp, true
	switch {
	case a.exp > b.exp:
		exp = b.exp
		x, ok = scale(x, a.exp-b.exp)
	case a.exp < b.exp:
		y, ok = scale(y, b.exp-a.exp)
	}
	return x, y, exp, ok
}

// compare orders two numbers. Numbers outside the range of IoT SQL count as
// infinite, or as zero when they are too near to it.
func compare(a, b Value) int {
	if x, y, _, ok := align(a, b); ok {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	x, okX := a.decimal()
	y, okY := b.decimal()
	switch {
	case !okX && !okY:
		return cmp.Compare(a.outside(), b.outside())
	case !okX:
		return a.outside()
	case !okY:
		return -b.outside()
	}
	return x.Cmp(y)
}

// outside is the direction of a number that is out of range: its sign when it
// is too large, 0 when it is too near to zero.
func (v Value) outside() int {
	sign := 1
	if strings.HasPrefix(v.text, "-") {
		sign = -1
	}
	if i := strings.IndexAny(v.text, "eE"); i >= 0 && v.text[i+1] == '-' {
		return 0
	}
	return sign
}

// kindOf is the type of the result of arithmetic: Int only of two Ints.
func kindOf(a, b Value) Kind {
	if a.kind == Int && b.kind == Int {
		return Int
	}
	return Decimal
}

func add(a, b Value) Value {
	if x, y, exp, ok := align(a, b); ok {
		if sum := x + y; (sum > x) == (y > 0) {
			return Value{kind: kindOf(a, b), small: true, coef: sum, exp: exp}
		}
	}
	return compute(a, b, context.Add)
}

func negate(v Value) Value {
	if v.small && v.coef != math.MinInt64 {
		return Value{kind: v.kind, small: true, coef: -v.coef, exp: v.exp}
	}
	return subtract(integer(0), v)
}

func subtract(a, b Value) Value {
	if x, y, exp, ok := align(a, b); ok {
		if diff := x - y; (diff < x) == (y > 0) {
			return Value{kind: kindOf(a, b), small: true, coef: diff, exp: exp}
		}
	}
	return compute(a, b, context.Sub)
}

func multiply(a, b Value) Value {
	if a.small && b.small {
		if c, ok := mul(a.coef, b.coef); ok && a.exp+b.exp >= -smallExp && a.exp+b.exp <= smallExp {
			return Value{kind: kindOf(a, b), small: true, coef: c, exp: a.exp + b.exp}
		}
	}
	return compute(a, b, context.Mul)
}

// divide is exact when the result is: Int of two Ints that divide, else
// Decimal with 34 digits (AWS IoT developer guide, "Operators": its examples
// need it).
// Division by zero is Undefined.
func divide(a, b Value) Value {
	if q, ok := divideSmall(a, b); ok {
		return q
	}
	if q, ok := divideLong(a, b); ok {
		return q
	}
	x, okX := a.decimal()
	y, okY := b.decimal()
	if !okX || !okY || y.IsZero() {
		return undef
	}
	q := new(apd.Decimal)
	if _, err := context.Quo(q, x, y); err != nil {
		return undef
	}
	ideal := x.Exponent - y.Exponent
	reduced, zeros := new(apd.Decimal).Reduce(q)
	if q.Exponent < ideal && zeros > 0 { // as Java: no more zeros at the end than the operands ask for
		q = reduced
		if q.Exponent > ideal {
			if _, err := context.Quantize(q, reduced, ideal); err != nil {
				q = reduced
			}
		}
	}
	if kindOf(a, b) == Int && q.Exponent >= 0 {
		return fromDecimal(q, Int)
	}
	return fromDecimal(q, Decimal)
}

// divideSmall divides small numbers when the result has few digits.
func divideSmall(a, b Value) (Value, bool) {
	switch {
	case !a.small || !b.small || b.coef == 0 || b.coef == -1:
		return undef, false
	case a.coef == 0:
		return Value{kind: kindOf(a, b), small: true}, true
	}
	for k := range int32(7) {
		x, ok := scale(a.coef, k)
		if !ok {
			break
		}
		if x%b.coef != 0 {
			continue
		}
		exp := a.exp - b.exp - k
		if exp < -smallExp || exp > smallExp {
			break
		}
		kind := Decimal
		if k == 0 {
			kind = kindOf(a, b)
		}
		return Value{kind: kind, small: true, coef: x / b.coef, exp: exp}, true
	}
	return undef, false
}

// remainder has the sign of the dividend; by zero it is Undefined.
func remainder(a, b Value) Value {
	if x, y, exp, ok := align(a, b); ok && y != 0 && y != -1 {
		return Value{kind: kindOf(a, b), small: true, coef: x % y, exp: exp}
	}
	x, okX := a.decimal()
	y, okY := b.decimal()
	if !okX || !okY || y.IsZero() {
		return undef
	}
	// The quotient may have as many digits as the exponents are apart: more
	// room than for other operations, still bounded.
	wide := context
	wide.Precision = 2*maxExponent + 2*maxNumberText + 2
	wide.Traps &^= apd.Overflow
	r := new(apd.Decimal)
	if _, err := wide.Rem(r, x, y); err != nil {
		return undef
	}
	if _, err := context.Round(r, r); err != nil {
		return undef
	}
	return fromDecimal(r, kindOf(a, b))
}

// compute runs an operation of apd.
func compute(a, b Value, op func(d, x, y *apd.Decimal) (apd.Condition, error)) Value {
	x, okX := a.decimal()
	y, okY := b.decimal()
	if !okX || !okY {
		return undef
	}
	d := new(apd.Decimal)
	if _, err := op(d, x, y); err != nil {
		return undef
	}
	return fromDecimal(d, kindOf(a, b))
}

// round makes an Int by the given rule, for example apd.RoundFloor.
func (v Value) round(rule apd.Rounder) Value {
	if v.kind == Int {
		return v
	}
	d, ok := v.decimal()
	if !ok {
		return undef
	}
	c := context
	c.Rounding = rule
	c.Precision = maxExponent + maxNumberText
	if _, err := c.RoundToIntegralValue(d, d); err != nil {
		return undef
	}
	if _, err := context.Round(d, d); err != nil {
		return undef
	}
	return fromDecimal(d, Int)
}

// index returns a number, rounded to an Int, as an int; false when it is far
// out of range.
func (v Value) index(rule apd.Rounder) (int, bool) {
	v = v.round(rule)
	if v.kind != Int || !v.small || v.coef > math.MaxInt32 || v.coef < math.MinInt32 {
		return 0, false
	}
	return int(v.coef), true
}
