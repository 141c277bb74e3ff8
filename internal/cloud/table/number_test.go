package table

import (
	"bytes"
	"errors"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestNumberIsCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "0.000": "0", "+7": "7", "007": "7", "35.20": "35.2", ".5": "0.5", "5.": "5", "-0.50": "-0.5", "1e3": "1000", "1.50E-3": "0.0015",
		"100": "100", "1000000000000000000000000000000000000000000": "1" + strings.Repeat("0", 42), "12345678901234567890123456789012345678": "12345678901234567890123456789012345678",
		"1e125": "1" + strings.Repeat("0", 125), "1e-130": "0." + strings.Repeat("0", 129) + "1", "9.9999999999999999999999999999999999999e125": strings.Repeat("9", 38) + strings.Repeat("0", 88),
		"0e999999999999": "0", "123000e-3": "123", "-12.340": "-12.34", "0.1e1": "1", "10e-1": "1", "00.0100": "0.01",
	} {
		v, err := Number(in)
		if err != nil || v.Str != want || v.Kind != N {
			t.Errorf("Number(%s) = %q, %v, want %q", in, v.Str, err, want)
		}
		if again, err := Number(v.Str); err != nil || again.Str != v.Str || !isNumber(v.Str) {
			t.Errorf("canonical %q becomes %q, %v", v.Str, again.Str, err)
		}
	}
}

func TestNumberRefusals(t *testing.T) {
	for in, want := range map[string]string{
		"": "The parameter cannot be converted to a numeric value", " 1": "cannot be converted to a numeric value:  1", "1 ": "numeric value: 1 ", "abc": "numeric value: abc",
		"1.2.3": "numeric value", "--1": "numeric value", "-": "numeric value", ".": "numeric value", "e5": "numeric value", "1e": "numeric value", "1e+": "numeric value", "1e1.5": "numeric value",
		"NaN": "numeric value", "Infinity": "numeric value", "0x10": "numeric value", "1_000": "numeric value", "١": "numeric value",
		"123456789012345678901234567890123456789": "more than 38 significant digits", "1.00000000000000000000000000000000000001": "more than 38 significant digits",
		"1e126": "Number overflow", "1e999999999999": "Number overflow", "1e-131": "Number underflow", "-1e-999999999999": "Number underflow",
	} {
		_, err := Number(in)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeValidation || !strings.Contains(e.Message, want) {
			t.Errorf("Number(%q): %v, want %q", in, err, want)
		}
	}
}

// randomNumber returns a canonical number, of all sizes, often a short one.
func randomNumber(r *rand.Rand) string {
	digits := 1 + r.IntN(38)
	exp := r.IntN(256) - 130 - digits
	if r.IntN(2) == 0 {
		digits, exp = 1+r.IntN(4), -r.IntN(3)
	}
	text := []byte{"-+"[r.IntN(2)]}
	for range digits {
		text = append(text, '0'+byte(r.IntN(10)))
	}
	v, err := Number(string(text) + "e" + big.NewInt(int64(exp)).String())
	if err != nil {
		return randomNumber(r) // just out of range
	}
	return v.Str
}

func TestNumbersSortByValue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rat := func(s string) *big.Rat { x, _ := new(big.Rat).SetString(s); return x }
	for range 20000 {
		a, b := randomNumber(r), randomNumber(r)
		want := rat(a).Cmp(rat(b))
		if got := compareNumbers(a, b); got != want {
			t.Fatalf("compareNumbers(%s, %s) = %d", a, b, got)
		}
		x, y := appendKeyValue(nil, &Value{Kind: N, Str: a}), appendKeyValue(nil, &Value{Kind: N, Str: b})
		if got := bytes.Compare(x, y); got != want {
			t.Fatalf("keys of %s and %s compare as %d: %x %x", a, b, got, x, y)
		}
		v, rest, err := readKeyValue(N, append(x, 7))
		if err != nil || v.Str != a || len(rest) != 1 {
			t.Fatalf("key of %s reads as %q, %v", a, v.Str, err)
		}
	}
}

func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "-0", "35.20", "1e125", "1e-130", ".5", "5.", "1e999999999999999999999", "00012", "-1.5E+3", "123456789012345678901234567890123456789"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := Number(text)
		if err != nil {
			return
		}
		if len(text) < 64 && !strings.ContainsAny(text, "eE") {
			want, ok := new(big.Rat).SetString(text)
			got, _ := new(big.Rat).SetString(v.Str)
			if !ok || want.Cmp(got) != 0 {
				t.Fatalf("Number(%q) = %q", text, v.Str)
			}
		}
		if !isNumber(v.Str) || len(v.Str) > 170 {
			t.Fatalf("%q is not canonical", v.Str)
		}
		back, rest, err := readKeyValue(N, appendKeyValue(nil, &v))
		if err != nil || len(rest) != 0 || back.Str != v.Str {
			t.Fatalf("key of %q reads as %q, %v", v.Str, back.Str, err)
		}
	})
}
