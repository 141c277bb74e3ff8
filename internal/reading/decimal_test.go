package reading

import (
	"math/big"
	"strings"
	"testing"
)

func dec(t testing.TB, text string) Decimal {
	t.Helper()
	d, err := ParseDecimal(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDecimalIsExact(t *testing.T) {
	for _, c := range []struct{ value, scale, offset, want string }{
		{"215", "0.1", "0", "21.5"},
		{"3", "0.1", "0", "0.3"}, // 0.30000000000000004 in binary
		{"1.1", "1.1", "0", "1.21"},
		{"0.1", "1", "0.2", "0.3"},
		{"-5", "0.01", "0", "-0.05"},
		{"250", "0.1", "0", "25.0"},
		{"72", "0.5", "-17.75", "18.25"},
		{"1e3", "1", "0", "1000"},
		{"12E-3", "1", "0", "0.012"},
		{"0e9999", "1", "0", "0"},
		{"0e-9999", "1", "0", "0"},
		{"99999999999999999999999999999999999999", "10", "1", "999999999999999999999999999999999999991"},
		{"+.5", "2", "0", "1.0"},
	} {
		got := dec(t, c.value).Mul(dec(t, c.scale)).Add(dec(t, c.offset)).String()
		if got != c.want {
			t.Errorf("%s × %s + %s = %s, want %s", c.value, c.scale, c.offset, got, c.want)
		}
	}
}

func TestDecimalRounds(t *testing.T) {
	for _, c := range []struct {
		value  string
		places int
		want   string
	}{
		{"21.45", 1, "21.5"}, {"-21.45", 1, "-21.5"}, {"21.449", 1, "21.4"}, {"0.5", 0, "1"}, {"-0.4", 0, "0"}, {"7", 2, "7"}, {"9.99", 1, "10.0"}, {"1e3", 0, "1000"},
	} {
		if got := dec(t, c.value).Round(c.places).String(); got != c.want {
			t.Errorf("%s with %d places is %s, want %s", c.value, c.places, got, c.want)
		}
	}
}

func TestDecimalRefuses(t *testing.T) {
	for _, text := range []string{"", "nan", "1,5", "0x10", "1e200", "--1", strings.Repeat("1", 39)} {
		if d, err := ParseDecimal(text); err == nil {
			t.Errorf("%q is %s", text, d)
		}
	}
}

// FuzzDecimal holds the arithmetic to math/big's rational numbers.
func FuzzDecimal(f *testing.F) {
	for _, s := range [][2]string{{"215", "0.1"}, {"-1.5e3", "0.001"}, {"1e-130", "9e125"}, {"0e9999", "007"}, {".5", "5."}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, errX := ParseDecimal(a)
		y, errY := ParseDecimal(b)
		if errX != nil || errY != nil {
			return
		}
		rx, ry := rat(t, x), rat(t, y)
		if got, want := rat(t, x.Mul(y)), new(big.Rat).Mul(rx, ry); got.Cmp(want) != 0 {
			t.Errorf("%s × %s = %s", a, b, got)
		}
		if got, want := rat(t, x.Sub(y)), new(big.Rat).Sub(rx, ry); got.Cmp(want) != 0 {
			t.Errorf("%s − %s = %s", a, b, got)
		}
		if x.Cmp(y) != rx.Cmp(ry) {
			t.Errorf("%s and %s compare as %d", a, b, x.Cmp(y))
		}
		if again, err := ParseDecimal(x.String()); err != nil || again.Cmp(x) != 0 {
			t.Errorf("%s is written %s: %v", a, x, err)
		}
	})
}

func rat(t *testing.T, d Decimal) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		t.Fatalf("%s is no number", d)
	}
	return r
}
