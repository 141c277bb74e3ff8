package reading

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Decimal is an exact decimal number: what boards send is scaled and compared
// as it is written, without the noise of binary fractions. The zero value is 0.
// Values are immutable.
type Decimal struct {
	digits big.Int // value = digits × 10^-places
	places int
}

// ParseDecimal reads a number as boards write it. It refuses text that is none,
// and numbers that no table takes (see [Value]).
func ParseDecimal(text string) (Decimal, error) {
	n, ok := number(text)
	if !ok {
		return Decimal{}, fmt.Errorf("%.40q is not a number of at most %d digits", text, mostDigits)
	}
	mantissa, exp := n, 0
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		mantissa = n[:i]
		exp, _ = strconv.Atoi(n[i+1:]) // number has checked it; an absurd one stands only behind 0
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	var d Decimal
	d.digits.SetString(whole+frac, 10) // digits with a sign: number has checked them
	d.places = len(frac) - exp
	if d.digits.Sign() == 0 { // such as 0e9999
		d.places = min(max(d.places, 0), len(frac))
	}
	return d, nil
}

// tenTo is 10^n; n is not negative.
func tenTo(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// at returns the digits of d with so many places, at least d.places.
func (d *Decimal) at(places int) *big.Int {
	if places == d.places {
		return &d.digits
	}
	return new(big.Int).Mul(&d.digits, tenTo(places-d.places))
}

// Mul returns d × e, with the places of both.
func (d Decimal) Mul(e Decimal) (r Decimal) {
	r.digits.Mul(&d.digits, &e.digits)
	r.places = d.places + e.places
	return r
}

// Add returns d + e, with the places of the finer one.
func (d Decimal) Add(e Decimal) (r Decimal) {
	r.places = max(d.places, e.places)
	r.digits.Add(d.at(r.places), e.at(r.places))
	return r
}

// Sub returns d − e, with the places of the finer one.
func (d Decimal) Sub(e Decimal) Decimal {
	var n Decimal
	n.digits.Neg(&e.digits)
	n.places = e.places
	return d.Add(n)
}

// Abs returns the distance of d from 0.
func (d Decimal) Abs() (r Decimal) {
	r.digits.Abs(&d.digits)
	r.places = d.places
	return r
}

// Cmp returns -1, 0 or 1 when d is less than, equal to or more than e.
func (d Decimal) Cmp(e Decimal) int {
	places := max(d.places, e.places)
	return d.at(places).Cmp(e.at(places))
}

// Round returns d with at most so many places after the point, halves away from
// zero.
func (d Decimal) Round(places int) (r Decimal) {
	if d.places <= places {
		return d
	}
	unit := tenTo(d.places - places)
	half := new(big.Int).Quo(unit, big.NewInt(2))
	if d.digits.Sign() < 0 {
		half.Neg(half)
	}
	r.digits.Quo(half.Add(half, &d.digits), unit)
	r.places = places
	return r
}

// String returns d as a JSON number without exponent; the zeros at the end of
// what was computed stay, since they say how fine it is.
func (d Decimal) String() string {
	if d.places <= 0 {
		return d.at(0).String()
	}
	sign, text := "", d.digits.String()
	if text[0] == '-' {
		sign, text = "-", text[1:]
	}
	if missing := d.places + 1 - len(text); missing > 0 {
		text = strings.Repeat("0", missing) + text
	}
	point := len(text) - d.places
	return sign + text[:point] + "." + text[point:]
}
