package eval

import (
	"math"
	floats "math/big" // the tests have a function big
	"sync"
)

// The functions with double precision are computed with bits to spare and
// rounded once, as AWS's do nearly always; package math is one bit off now and
// then. Special values, and what has none, are left to package math.

// preciseBits is the precision on the way; it leaves room for what
// subtractions lose.
const preciseBits = 128

// maxPrecise bounds the arguments that are reduced precisely: pi has to have
// as many more bits.
const maxPrecise = 1 << 30

func wide(x float64) *floats.Float { return new(floats.Float).SetPrec(preciseBits).SetFloat64(x) }
func empty() *floats.Float         { return new(floats.Float).SetPrec(preciseBits) }

func narrow(x *floats.Float) float64 { f, _ := x.Float64(); return f }

// digitsOf reads the digits of a constant once.
func digitsOf(digits string) func() *floats.Float {
	return sync.OnceValue(func() *floats.Float {
		x, _ := empty().SetString(digits)
		return x
	})
}

var (
	pi   = digitsOf("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")
	ln2  = digitsOf("0.693147180559945309417232121458176568075500134360255254120680009493393621969694715605863326996418687542")
	ln10 = digitsOf("2.30258509299404568401799145468436420760110148862877297603332790096757260967735248023599720508959829834")
)

// ordinary says whether x needs no special care.
func ordinary(x float64) bool {
	size := math.Abs(x)
	return size > 1e-8 && size < maxPrecise // NaN is not
}

// sinCos returns sine and cosine: of the rest after quarters of a turn, by
// their series.
func sinCos(x *floats.Float) (sin, cos *floats.Float) {
	half := empty().Quo(pi(), wide(2))
	f, _ := empty().Quo(x, half).Float64()
	turns := math.Round(f)
	r := empty().Sub(x, empty().Mul(wide(turns), half))
	square := empty().Mul(r, r)
	square.Neg(square)
	sin, cos = series(r, square, 1, 2), series(wide(1), square, 0, 2)
	switch q := int64(turns) & 3; q {
	case 1:
		return cos, empty().Neg(sin)
	case 2:
		return empty().Neg(sin), empty().Neg(cos)
	case 3:
		return empty().Neg(cos), sin
	}
	return sin, cos
}

// maxTerms is more terms than a series here needs.
const maxTerms = 64

// inverses are 1/k!.
var inverses = sync.OnceValue(func() *[maxTerms]*floats.Float {
	var out [maxTerms]*floats.Float
	factorial := wide(1)
	for k := range out {
		if k > 0 {
			factorial.Mul(factorial, wide(float64(k)))
		}
		out[k] = empty().Quo(wide(1), factorial)
	}
	return &out
})

// series sums first × factor^i / k! with k from n in steps, as long as that
// changes the sum.
func series(first, factor *floats.Float, n, step int) *floats.Float {
	sum, power, term := empty(), empty().Set(first), empty()
	for k := n; k < maxTerms; k += step {
		term.Mul(power, inverses()[k])
		if term.Sign() == 0 || sum.Sign() != 0 && term.MantExp(nil) < sum.MantExp(nil)-preciseBits {
			break
		}
		sum.Add(sum, term)
		power.Mul(power, factor)
	}
	return sum
}

// expOf is e to the power of x, whose size is bounded.
func expOf(x *floats.Float) *floats.Float {
	f, _ := empty().Quo(x, ln2()).Float64()
	twos := math.Round(f)
	r := empty().Sub(x, empty().Mul(wide(twos), ln2()))
	sum := series(wide(1), r, 0, 1)
	return sum.SetMantExp(sum, int(twos))
}

// logOf is the natural logarithm, by a step of Halley's method from what
// package math gives, which triples the bits that are right.
func logOf(x *floats.Float, near float64) *floats.Float {
	y := wide(near)
	e := expOf(y)
	step := empty().Quo(empty().Sub(x, e), empty().Add(x, e))
	return y.Add(y, step.Add(step, step))
}

// angleOf is the angle of the point (x, y), by such a step.
func angleOf(y, x *floats.Float) float64 {
	a := wide(math.Atan2(narrow(y), narrow(x)))
	sin, cos := sinCos(a)
	across := empty().Sub(empty().Mul(y, cos), empty().Mul(x, sin))
	along := empty().Add(empty().Mul(x, cos), empty().Mul(y, sin))
	return narrow(a.Add(a, across.Quo(across, along)))
}
