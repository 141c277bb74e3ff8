package eval

import (
	"math"
	floats "math/big" // the tests have a function big
)

func preciseSin(x float64) float64 {
	if !ordinary(x) {
		return math.Sin(x)
	}
	sin, _ := sinCos(wide(x))
	return narrow(sin)
}

func preciseCos(x float64) float64 {
	if !ordinary(x) {
		return math.Cos(x)
	}
	_, cos := sinCos(wide(x))
	return narrow(cos)
}

func preciseTan(x float64) float64 {
	if !ordinary(x) {
		return math.Tan(x)
	}
	sin, cos := sinCos(wide(x))
	return narrow(sin.Quo(sin, cos))
}

func preciseAtan(x float64) float64 {
	if !ordinary(x) {
		return math.Atan(x)
	}
	return angleOf(wide(x), wide(1))
}

func preciseAtan2(y, x float64) float64 {
	if !ordinary(x) || !ordinary(y) {
		return math.Atan2(y, x)
	}
	return angleOf(wide(y), wide(x))
}

// otherSide is the third side of the right triangle with a side x and the
// longest side 1.
func otherSide(x float64) *floats.Float {
	square := empty().Mul(wide(x), wide(x))
	return empty().Sqrt(square.Sub(wide(1), square))
}

func preciseAsin(x float64) float64 {
	if !ordinary(x) || math.Abs(x) >= 1 {
		return math.Asin(x)
	}
	return angleOf(wide(x), otherSide(x))
}

func preciseAcos(x float64) float64 {
	if !ordinary(x) || math.Abs(x) >= 1 {
		return math.Acos(x)
	}
	return angleOf(otherSide(x), wide(x))
}

// maxExp is beyond what an exponent can be for a result that is finite and not
// zero.
const maxExp = 750

func preciseExp(x float64) float64 {
	if !ordinary(x) || math.Abs(x) > maxExp {
		return math.Exp(x)
	}
	return narrow(expOf(wide(x)))
}

// hyperbolic returns e^x − e^−x and e^x + e^−x.
func hyperbolic(x float64) (difference, sum *floats.Float) {
	e := expOf(wide(x))
	back := empty().Quo(wide(1), e)
	return empty().Sub(e, back), empty().Add(e, back)
}

func preciseSinh(x float64) float64 {
	if !ordinary(x) || math.Abs(x) > maxExp {
		return math.Sinh(x)
	}
	difference, _ := hyperbolic(x)
	return narrow(difference.Quo(difference, wide(2)))
}

func preciseCosh(x float64) float64 {
	if !ordinary(x) || math.Abs(x) > maxExp {
		return math.Cosh(x)
	}
	_, sum := hyperbolic(x)
	return narrow(sum.Quo(sum, wide(2)))
}

func preciseTanh(x float64) float64 {
	if !ordinary(x) || math.Abs(x) > maxExp {
		return math.Tanh(x)
	}
	difference, sum := hyperbolic(x)
	return narrow(difference.Quo(difference, sum))
}

// hasLog says whether x is positive, finite and not 1.
func hasLog(x float64) bool { return x > 0 && x != 1 && !math.IsInf(x, 0) }

func preciseLog(x float64) float64 {
	if !hasLog(x) {
		return math.Log(x)
	}
	return narrow(logOf(wide(x), math.Log(x)))
}

func preciseLog10(x float64) float64 {
	if !hasLog(x) {
		return math.Log10(x)
	}
	y := logOf(wide(x), math.Log(x))
	return narrow(y.Quo(y, ln10()))
}

func precisePower(x, y float64) float64 {
	near := math.Pow(x, y)
	size := math.Abs(x)
	if near == 0 || math.IsNaN(near) || math.IsInf(near, 0) || !hasLog(size) || y == 0 {
		return near
	}
	log := logOf(wide(size), math.Log(size))
	return math.Copysign(narrow(expOf(log.Mul(log, wide(y)))), near)
}
