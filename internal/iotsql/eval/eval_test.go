package eval

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"mote/internal/iotsql"
)

func run(t *testing.T, sql string, payload string) (Result, bool) {
	t.Helper()
	return compileFor(t, sql).Run(&Message{Topic: "a/b", Payload: []byte(payload), Time: time.UnixMilli(1)})
}

func TestDeepPayloadIsNotJSON(t *testing.T) {
	for depth, binary := range map[int]bool{MaxDepth: false, MaxDepth + 1: true, 100_000: true} {
		r, _ := run(t, `SELECT * FROM 'a'`, strings.Repeat("[", depth)+strings.Repeat("]", depth))
		if _, got := r.Binary(); got != binary {
			t.Errorf("depth %d: binary %v", depth, got)
		}
	}
}

func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"k0":"first"`)
	for i := range 20_000 {
		b.WriteString(`,"k`)
		b.WriteString(string(rune('a' + i%26)))
		b.WriteString(strings.Repeat("x", i%7))
		b.WriteString(`":`)
		b.WriteString(string(rune('0' + i%10)))
	}
	b.WriteString(`,"k0":"last"}`)
	r, _ := run(t, `SELECT * FROM 'a'`, b.String())
	got, err := r.AppendPayload(nil)
	if err != nil {
		t.Fatal(err)
	}
	var ours, theirs map[string]any
	if err := json.Unmarshal(got, &ours); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(b.String()), &theirs); err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(theirs) || ours["k0"] != "last" || len(r.Value().Members()) != len(theirs) {
		t.Errorf("%d members, want %d; k0 is %v", len(ours), len(theirs), ours["k0"])
	}
	for k, v := range theirs {
		if ours[k] != v {
			t.Errorf("%s: got %v, want %v", k, ours[k], v)
		}
	}
}

// A statement that multiplies its payload gets an error, not the memory.
func TestOutputIsBounded(t *testing.T) {
	sql := `SELECT ` + strings.TrimSuffix(strings.Repeat("* AS a, ", 1), ", ")
	for i := range 500 {
		sql += ", * AS a" + strings.Repeat("x", i%10) + string(rune('a'+i%26))
	}
	r, fired := run(t, sql+` FROM 'a'`, `{"x":"`+strings.Repeat("y", 100_000)+`"}`)
	if !fired {
		t.Fatal("did not fire")
	}
	if out, err := r.AppendPayload(nil); err == nil {
		t.Errorf("a result of %d bytes", len(out))
	}
}

func TestWorkIsBounded(t *testing.T) {
	payload := `{"e":[` + strings.TrimSuffix(strings.Repeat("1,", 50_000), ",") + `]}`
	start := time.Now()
	r, _ := run(t, `SELECT VALUE (SELECT VALUE (SELECT VALUE (SELECT VALUE 1 FROM e) FROM e) FROM e) FROM 'a'`, payload)
	if out, err := r.AppendPayload(nil); !errors.Is(err, errWork) || r.Err() == nil || len(out) > 0 {
		t.Errorf("a result of %d bytes, %v", len(out), err)
	}
	if d := time.Since(start); d > 30*time.Second { // unbounded, it takes years
		t.Errorf("took %v", d)
	}
	text := strings.Repeat("z", 100_000)
	if r, _ := run(t, `SELECT VALUE a + a + a + a FROM 'a'`, `{"a":"`+text+`"}`); r.Value().Kind() != Undefined {
		t.Errorf("a text of %d bytes", len(r.Value().Text()))
	}
	if r, _ := run(t, `SELECT VALUE replace(a, '', a) FROM 'a'`, `{"a":"`+text+`"}`); r.Value().Kind() != Undefined {
		t.Errorf("a text of %d bytes", len(r.Value().Text()))
	}
}

// Statements of both versions that run over one message do not disturb each other.
func TestMessageIsShared(t *testing.T) {
	m := Message{Payload: []byte(`{"a":1.0,"s":{"x":1}}`), Time: time.UnixMilli(1)}
	for sql, want := range map[string]string{
		`SELECT *, 2 AS s.y FROM 'a'`: `{"a":1,"s":{"x":1,"y":2}}`,
		`SELECT *, 3 AS s.x FROM 'a'`: `{"a":1,"s":{"x":3}}`,
		`SELECT * FROM 'a'`:           `{"a":1,"s":{"x":1}}`,
	} {
		for range 2 {
			r, _ := compileFor(t, sql).Run(&m)
			if got, err := r.AppendPayload(nil); string(got) != want || err != nil {
				t.Errorf("%s: got %s, want %s (%v)", sql, got, want, err)
			}
		}
	}
}

func TestTemplateConstant(t *testing.T) {
	for src, want := range map[string]bool{"air": true, "": true, "${a}": false, "x${a}": false} {
		tpl, err := templateAlone(src, iotsql.V2015)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := tpl.Constant(); ok != want || ok && s != src {
			t.Errorf("%q: %q %v", src, s, ok)
		}
	}
}

// The reader accepts exactly what the standard library accepts, within depth.
func FuzzReadJSON(f *testing.F) {
	for _, c := range cases(f) {
		f.Add(string(c.msg.Payload))
	}
	f.Add(`{"a":[1e5,-0,0.0,1E+9],"\ud800":"\u12"}`)
	f.Fuzz(func(t *testing.T, src string) {
		v, err := readJSON(src)
		if err == nil != json.Valid([]byte(src)) && validText(src) && !tooDeep(src) {
			t.Fatalf("readJSON: %v; encoding/json says valid: %v", err, json.Valid([]byte(src)))
		}
		if err != nil {
			return
		}
		one := string(v.appendJSON(nil, false, 1<<30))
		w, err := readJSON(one)
		if err != nil {
			t.Fatalf("cannot read %q: %v", one, err)
		}
		if two := string(w.appendJSON(nil, false, 1<<30)); two != one {
			t.Fatalf("not stable: %q, %q", one, two)
		}
		if !equal(v, w) {
			t.Fatalf("%q differs from itself", one)
		}
		reduced := v.appendJSON(nil, true, 1<<30)
		if !json.Valid(reduced) {
			t.Fatalf("not JSON: %q", reduced)
		}
	})
}

func validText(s string) bool { return strings.ToValidUTF8(s, "") == s }

// Arithmetic without apd gives what apd gives.
func FuzzArithmetic(f *testing.F) {
	f.Add("1.50", "3")
	f.Add("-9223372036854775808", "-1")
	f.Add("9999999999999999.99", "0.000001")
	f.Add("1E-300", "1E300")
	f.Add("10", "4")
	f.Add("1", "3")
	f.Add("-92.5", "9")
	f.Add("2", "7000000000000000001")
	f.Add("9223372036854775807", "0.3")
	f.Add("9999999999999999999", "9999999999999999998")
	f.Fuzz(func(t *testing.T, s, u string) {
		a, b := parseNumber(s), parseNumber(u)
		if !a.small || !b.small {
			return
		}
		bigA, bigB := big(a), big(b)
		for name, op := range map[string]func(a, b Value) Value{"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder} {
			got, want := op(a, b), op(bigA, bigB)
			zero := want.isNumber() && compare(want, integer(0)) == 0 // may be written with other exponents
			if got.kind != want.kind || got.kind != Undefined && (compare(got, want) != 0 || !zero && got.Text() != want.Text()) {
				t.Errorf("%s %s %s = %s, apd says %s", a.Text(), name, b.Text(), got.Text(), want.Text())
			}
		}
		if compare(a, b) != compare(bigA, bigB) || a.reduce().Text() != bigA.reduce().Text() {
			t.Errorf("%s and %s compare or reduce differently", s, u)
		}
	})
}

// big is v without its fast form.
func big(v Value) Value { return Value{kind: v.kind, text: v.Text()} }
