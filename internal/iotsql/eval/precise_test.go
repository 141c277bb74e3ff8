package eval

import (
	"math"
	"testing"
)

// The precise functions are near those of package math everywhere, and give
// known values to the last digit.
func TestPrecise(t *testing.T) {
	near := func(name string, x, got, want float64) {
		if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-13*math.Max(math.Abs(want), 1e-3) && got != want {
			t.Errorf("%s(%g) is %g, math says %g", name, x, got, want)
		}
	}
	xs := []float64{0, 1, -1, 0.5, -0.999999, 1e-9, 1e-300, 3, -20, 699.5, -745, 750, 1e9, 1e300, math.Inf(1), math.Inf(-1)}
	for i := range 2000 {
		xs = append(xs, float64(i-1000)*0.0371, float64(i)*12.7)
	}
	for _, x := range xs {
		for name, f := range map[string][2]func(float64) float64{
			"sin": {preciseSin, math.Sin}, "cos": {preciseCos, math.Cos}, "atan": {preciseAtan, math.Atan},
			"asin": {preciseAsin, math.Asin}, "acos": {preciseAcos, math.Acos}, "exp": {preciseExp, math.Exp},
			"sinh": {preciseSinh, math.Sinh}, "cosh": {preciseCosh, math.Cosh}, "tanh": {preciseTanh, math.Tanh},
			"log": {preciseLog, math.Log}, "log10": {preciseLog10, math.Log10},
		} {
			near(name, x, f[0](x), f[1](x))
		}
		near("power 1.7", x, precisePower(x, 1.7), math.Pow(x, 1.7))
		near("power -3", x, precisePower(x, -3), math.Pow(x, -3))
		near("atan2", x, preciseAtan2(x, -2.5), math.Atan2(x, -2.5))
	}
	for got, want := range map[float64]float64{
		preciseTan(1): 1.5574077246549023, preciseLog10(1e15): 15, preciseLog10(1000): 3, preciseSin(100): -0.5063656411097588,
		precisePower(10, -5): 1e-5, precisePower(-2, 3): -8, preciseAcos(-0.5): 2.0943951023931957, preciseSinh(1): 1.1752011936438014,
	} {
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
