package table

import (
	"cmp"
	"strconv"
	"strings"
)

// The range of numbers (DynamoDB developer guide, "Supported data types and
// naming rules in Amazon DynamoDB").
const (
	maxDigits = 38
	maxPoint  = 126  // 9.99E+125 = 0.999 × 10^126
	minPoint  = -129 // 1E-130 = 0.1 × 10^-129
)

// decimal is a number as 0.d1d2…dn × 10^point, with d1 and dn not zero; zero
// has no digits.
type decimal struct {
	neg    bool
	n      int             // count of digits
	point  int             // place of the decimal point relative to d1
	digits [maxDigits]byte // values 0 to 9
}

// isCanonical says whether text is what decimal.String would write and short
// enough to need no range check: the fast path of everything that takes numbers.
func isCanonical(text string) bool {
	if text == "0" {
		return true
	}
	i := 0
	if i < len(text) && text[i] == '-' {
		i++
	}
	whole := i
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	if i == whole || text[whole] == '0' && i > whole+1 || i-whole > maxDigits {
		return false
	}
	if i == len(text) {
		return text[whole] != '0'
	}
	fraction := text[i+1:]
	if text[i] != '.' || len(fraction) == 0 || len(fraction)+i-whole > maxDigits || fraction[len(fraction)-1] == '0' {
		return false
	}
	for j := range len(fraction) {
		if !isDigit(fraction[j]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parseDecimal reads a decimal number: sign, digits with or without a point,
// exponent. Its errors carry DynamoDB's texts.
func parseDecimal(text string) (decimal, error) {
	var d decimal
	rest, exp, ok := cutExponent(text)
	if !ok || rest == "" {
		return d, notNumeric(text)
	}
	if rest[0] == '-' || rest[0] == '+' {
		d.neg = rest[0] == '-'
		rest = rest[1:]
	}
	if err := d.readDigits(text, rest); err != nil {
		return d, err
	}
	if d.n == 0 {
		return decimal{}, nil // also -0, with any exponent
	}
	d.point += exp
	return d, d.checkRange()
}

// cutExponent splits "1.5e-3" into "1.5" and -3. The exponent is clamped far
// outside the range of numbers, and is none when it takes more than 64 bits.
func cutExponent(text string) (mantissa string, exp int, ok bool) {
	i := strings.IndexAny(text, "eE")
	if i < 0 {
		return text, 0, true
	}
	digits := text[i+1:]
	neg := strings.HasPrefix(digits, "-")
	if neg || strings.HasPrefix(digits, "+") {
		digits = digits[1:]
	}
	for j := range len(digits) {
		if !isDigit(digits[j]) {
			return "", 0, false
		}
		exp = min(exp*10+int(digits[j]-'0'), 1<<27) // ten times as much fits into 32 bits
	}
	if neg {
		exp = -exp
	}
	if exp == 1<<27 || exp == -1<<27 {
		if _, err := strconv.ParseInt(text[i+1:], 10, 64); err != nil {
			return "", 0, false
		}
	}
	return text[:i], exp, digits != ""
}

// readDigits fills digits, n and point from a mantissa without sign.
func (d *decimal) readDigits(text, mantissa string) error {
	var seen, inFraction bool // any digit; after the point
	zeros := 0                // zeros since the last other digit: they count only when another follows
	for i := range len(mantissa) {
		c := mantissa[i]
		if c == '.' && !inFraction {
			inFraction = true
			continue
		}
		if !isDigit(c) {
			return notNumeric(text)
		}
		seen = true
		leading := d.n == 0 && c == '0'
		switch {
		case leading && inFraction:
			d.point--
		case !leading && !inFraction:
			d.point++
		}
		if c == '0' {
			zeros++
			continue
		}
		if d.n > 0 {
			d.n += zeros // the array holds zeros there already
		}
		zeros = 0
		if d.n >= maxDigits {
			return invalid("Attempting to store more than 38 significant digits in a Number")
		}
		d.digits[d.n] = c - '0'
		d.n++
	}
	if !seen {
		return notNumeric(text)
	}
	return nil
}

func (d *decimal) checkRange() error {
	if d.point > maxPoint {
		return invalid("Number overflow. Attempting to store a number with magnitude larger than supported range")
	}
	if d.point < minPoint {
		return invalid("Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return nil
}

func notNumeric(text string) error {
	if text == "" {
		return invalid("The parameter cannot be converted to a numeric value")
	}
	return invalid("The parameter cannot be converted to a numeric value: %s", clip(text, 256))
}

// clip bounds a text of a stranger that an error repeats.
func clip(text string, max int) string {
	if len(text) <= max {
		return text
	}
	return strings.ToValidUTF8(text[:max], "") + "…"
}

// String writes the canonical text: plain digits, no exponent, no zero that
// does not count.
func (d *decimal) String() string { return string(d.append(make([]byte, 0, d.n+8))) }

func (d *decimal) append(out []byte) []byte {
	if d.n == 0 {
		return append(out, '0')
	}
	if d.neg {
		out = append(out, '-')
	}
	if d.point <= 0 {
		out = append(out, "0."...)
		for range -d.point {
			out = append(out, '0')
		}
	}
	for i := range d.n {
		if i == d.point && i > 0 {
			out = append(out, '.')
		}
		out = append(out, '0'+d.digits[i])
	}
	for i := d.n; i < d.point; i++ {
		out = append(out, '0')
	}
	return out
}

// compareNumbers orders two canonical texts by their values.
func compareNumbers(a, b string) int {
	if a == b {
		return 0
	}
	if len(a) <= 9 && len(b) <= 9 {
		x, errA := strconv.Atoi(a)
		y, errB := strconv.Atoi(b)
		if errA == nil && errB == nil {
			return cmp.Compare(x, y)
		}
	}
	x, _ := parseDecimal(a)
	y, _ := parseDecimal(b)
	return x.compare(&y)
}

func (d *decimal) sign() int {
	switch {
	case d.n == 0:
		return 0
	case d.neg:
		return -1
	}
	return 1
}

func (d *decimal) compare(e *decimal) int {
	if c := cmp.Compare(d.sign(), e.sign()); c != 0 || d.n == 0 {
		return c
	}
	c := cmp.Compare(d.point, e.point)
	if c == 0 {
		c = strings.Compare(string(d.digits[:]), string(e.digits[:])) // zeros fill both to the same length
	}
	if d.neg {
		return -c
	}
	return c
}
