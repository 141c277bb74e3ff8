package eval

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// ofDouble makes a function of one number that is computed with double
// precision. What is not a real, finite number is Undefined.
func ofDouble(f func(x float64) float64) function {
	return ofNumber(func(n Value) Value { return double(f(n.float())) })
}

// ofDoubles makes a function of two numbers that is computed with double precision.
func ofDoubles(f func(x, y float64) float64) function {
	return ofNumbers(func(a, b Value) Value { return double(f(a.float(), b.float())) })
}

// float rounds a number to double precision; one that is too large is infinite.
func (v Value) float() float64 {
	f, _ := strconv.ParseFloat(v.Text(), 64)
	return f
}

// double makes a Decimal of the shortest digits that give the same float64,
// with the scale that Java's BigDecimal.valueOf gives it: 32.0 for 32, 1.0E+10
// for ten to the tenth.
func double(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return undef
	}
	form, size := byte('f'), math.Abs(f)
	if size != 0 && (size < 1e-3 || size >= 1e7) {
		form = 'e'
	}
	s := strconv.FormatFloat(f, form, -1, 64)
	if !strings.Contains(s, ".") {
		mantissa, exponent, _ := strings.Cut(s, "e")
		s = mantissa + ".0"
		if exponent != "" {
			s += "e" + exponent
		}
	}
	return normal(number(s))
}

func random() Value { return double(rand.Float64()) }

// wholeNumber rounds a number down to an Int that the bit functions compute
// with; false when it has more digits than an Int.
func (v Value) wholeNumber() (*apd.BigInt, bool) {
	v = v.round(apd.RoundFloor)
	if v.kind != Int {
		return nil, false
	}
	if v.small {
		return apd.NewBigInt(v.coef), true
	}
	d, ok := v.decimal()
	if !ok || d.Exponent != 0 || d.NumDigits() > digits {
		return nil, false
	}
	if d.Negative {
		d.Coeff.Neg(&d.Coeff)
	}
	return &d.Coeff, true
}

// ofBits makes a function of two Ints in two's complement.
func ofBits(f func(z, a, b *apd.BigInt) *apd.BigInt) function {
	return ofNumbers(func(a, b Value) Value {
		x, okX := a.wholeNumber()
		y, okY := b.wholeNumber()
		if !okX || !okY {
			return undef
		}
		return fromBits(f(new(apd.BigInt), x, y))
	})
}

// bitNot is the complement, so bitnot(13) is -14 (AWS IoT developer
// guide, "Functions": its example, 2, inverts four bits only).
func bitNot(n Value) Value {
	x, ok := n.wholeNumber()
	if !ok {
		return undef
	}
	return fromBits(new(apd.BigInt).Not(x))
}

func fromBits(z *apd.BigInt) Value {
	d := apd.NewWithBigInt(z, 0)
	if d.NumDigits() > digits {
		return undef
	}
	return fromDecimal(d, Int)
}
