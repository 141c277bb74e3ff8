package eval

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A number is the same value for both readers and for the quick way, which takes
// those that are small.
func TestNumberReadTwice(t *testing.T) {
	texts := []string{
		"0", "-0", "0.0", "-0.000", "1", "-67", "35.20", "0.00000000000000001", "123456789012345678", "-12345678901234567.8",
		"1234567890123456789", "0.0000000000000000000001", "9223372036854775807", "99999999999999999999", "1e5", "-1.50E-3", "12.5e400",
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		texts = append(texts, fmt.Sprintf("%.*f", rng.IntN(12), rng.NormFloat64()*float64(rng.Int64N(1e12))))
	}
	for _, text := range texts {
		want, err := readTree("[" + text + "]")
		var d document
		if !d.read("["+text+"]") || err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, other := d.at(1), want.ref.elems[0]
		if got != other {
			t.Errorf("%s is %+v, want %+v", text, got, other)
		}
		if q := d.quick(1, false); q != other.quick() {
			t.Errorf("%s is %+v in the quick way, want %+v", text, q, other.quick())
		}
		if q := d.quick(1, true); q != other.reduce().quick() {
			t.Errorf("%s is %+v in the quick way, want %+v", text, q, other.reduce().quick())
		}
	}
	for _, text := range []string{"-", "01", "-00", "1.", ".5", "1.e5", "1e", "1e+", "+1", "1..2", "0x1"} {
		if v, err := readJSON("[" + text + "]"); err == nil {
			t.Errorf("%s is read as %+v", text, v.ref.elems)
		}
	}
}

// Of members with one name the last counts, in the place of the first, however
// the names are told apart.
func TestNamesAgain(t *testing.T) {
	names := []string{"", "a", "b", "ab", "ba", "aab", "abb", "time", "tame", "dust", "rssi", "é", "temp", "t__p", "co2", "c_2", "humid"}
	rng := rand.New(rand.NewPCG(5, 6))
	again := 0
	for range 5000 {
		want := &node{}
		var src []string
		for i := range rng.IntN(20) {
			name := names[rng.IntN(len(names))]
			src = append(src, fmt.Sprintf("%q: %d", name, i))
			if find(want.members, name) >= 0 {
				again++
			}
			want.set(name, number(fmt.Sprint(i)))
		}
		text := "{" + strings.Join(src, " , ") + "\n}"
		got, err := readJSON(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		expected := Value{kind: Object, ref: want}
		if a, b := string(got.appendJSON(nil, false, 1<<20)), string(expected.appendJSON(nil, false, 1<<20)); a != b {
			t.Fatalf("%s is read as %s, want %s", text, a, b)
		}
		for _, name := range names {
			if !equal(got.Get(name), expected.Get(name)) {
				t.Fatalf("%q of %s is not %s", name, text, expected.Get(name).Text())
			}
		}
	}
	if again < 1000 {
		t.Errorf("only %d names came again", again)
	}
}

// A long division without apd gives what apd gives.
func TestDivideLong(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	random := func() Value {
		c := rng.Int64() >> rng.IntN(62)
		if rng.IntN(2) == 0 {
			c = -c
		}
		return Value{kind: Decimal, small: true, coef: c, exp: int32(rng.IntN(21) - 15)}
	}
	long := 0
	for range 10_000 {
		a, b := random(), random()
		switch rng.IntN(4) {
		case 0:
			b.coef %= 1000
		case 1: // 35 digits, of which the last is 5
			a.coef, b.coef, a.exp, b.exp = 2*rng.Int64N(500)+1, 1<<(50+rng.IntN(3)), 14, 0
		}
		got, ok := divideLong(a, b)
		if !ok {
			continue
		}
		long++
		if want := divide(big(a), big(b)); got.kind != want.kind || got.Text() != want.Text() {
			t.Fatalf("%s / %s = %s, apd says %s", a.Text(), b.Text(), got.Text(), want.Text())
		}
	}
	if long < 3_000 {
		t.Errorf("only %d long quotients", long)
	}
}
