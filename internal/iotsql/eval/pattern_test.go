package eval

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mote/internal/iotsql"
)

// What a pattern multiplies is Undefined, and what is slow is an error.
func TestPatternsAreBounded(t *testing.T) {
	long := strings.Repeat("a", 100_000)
	for _, sql := range []string{
		`SELECT VALUE regexp_replace(a, 'a', '$0$0$0$0') FROM 'a'`,
		`SELECT VALUE regexp_replace(a, '', a) FROM 'a'`,
		`SELECT VALUE concat(a, a, a) FROM 'a'`,
		`SELECT VALUE rpad(a + a, 1000) + a FROM 'a'`,
		`SELECT VALUE regexp_matches('x', a) FROM 'a'`,
		`SELECT VALUE regexp_matches('x', '((((a{9}){9}){9}){9}){9}') FROM 'a'`,
		`SELECT VALUE parse_time(a, 1) FROM 'a'`,
		`SELECT VALUE time_to_epoch('2020', a) FROM 'a'`,
	} {
		st, err := iotsql.Parse(sql)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(st, iotsql.V2016)
		if err != nil {
			continue // refused, which bounds it too
		}
		r, _ := p.Run(&Message{Payload: []byte(`{"a":"` + long + `"}`), Time: time.UnixMilli(1)})
		if r.Err() == nil && r.Value().Kind() != Undefined {
			t.Errorf("%s: %.40q", sql, r.Value().Text())
		}
	}
}

// A pattern that fits many ways over a long text stops at the budget.
func TestRegexpSpendsBudget(t *testing.T) {
	payload := `{"a":"` + strings.Repeat("a", 120_000) + `"}`
	r, _ := run(t, `SELECT VALUE regexp_matches(a, '(a?b?c?d?e?f?){300}$') FROM 'a'`, payload)
	if !errors.Is(r.Err(), errWork) {
		t.Errorf("got %v, %v", r.Value().Text(), r.Err())
	}
	if r, _ := run(t, `SELECT VALUE regexp_matches(a, '^(a+)+b') FROM 'a'`, payload); r.Err() != nil || r.Value().Bool() {
		t.Errorf("got %v, %v", r.Value().Text(), r.Err())
	}
}

func TestFunctionsNotOffered(t *testing.T) {
	for sql, want := range map[string]string{
		`SELECT Aws_Lambda('arn', *), aws_lambda('b', 1) FROM 'a'`:                   "aws_lambda",
		`SELECT get_secret('a', 'b', 'c') FROM 'a'`:                                  "get_secret",
		`SELECT decode(a, 'proto', 'b', 'k', 'f', 'T') FROM 'a'`:                     "decode(…, 'proto', …)",
		`SELECT decode(a, 'base64') FROM 'a' WHERE machinelearning_predict(a, b, c)`: "machinelearning_predict",
		`SELECT md2(a), get_thing_shadow('t', 'r') FROM 'a'`:                         "",
	} {
		if got := strings.Join(compileFor(t, sql).NotOffered(), " "); got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}

// Answers that are too large for get_dynamodb or no JSON are Undefined, and
// without services everything is.
func TestServiceAnswers(t *testing.T) {
	big := `{"x":"` + strings.Repeat("y", maxItem) + `"}`
	for _, s := range []Services{nil, answers{"item t k='v'": big}, answers{"item t k='v'": "{"}, answers{}} {
		m := &Message{Services: s}
		if r, _ := compileFor(t, `SELECT VALUE get_dynamodb('t', 'k', 'v', 'r') FROM 'a'`).Run(m); r.Value().Kind() != Undefined {
			t.Errorf("%.40v: %.40q", s, r.Value().Text())
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache[int]
	for i := range 10 * maxCached {
		c.put(strings.Repeat("x", i), i)
		if got, ok := c.get(strings.Repeat("x", i)); !ok || got != i || len(c.of) > maxCached {
			t.Fatalf("%d of %d", got, len(c.of))
		}
	}
}

// A translated pattern compiles, or the error says which kind it is.
func FuzzRegexp(f *testing.F) {
	for _, s := range []string{`(?<n>a|b)\k<n>`, `[\w-.&&[^a]]`, `\Qa.b\E{2,3}+`, `(?xi-s: a # b
 c)`, `\p{Alpha}\P{L}\pL\x{1F600}\ud83d\ude00\0177\cA`, `^.*$|\Z\R\h`, `a{1000}{2}`, `(((((a{9}){9}){9}){9}){9}){9}`} {
		f.Add(s, "aXb\n", "$1${n}\\$")
	}
	f.Fuzz(func(t *testing.T, pattern, s, rep string) {
		p, err := compilePattern(pattern)
		if foreign := (*foreignError)(nil); err != nil && !errors.Is(err, errPattern) && !errors.As(err, &foreign) {
			t.Fatalf("%q: %v", pattern, err)
		}
		if err != nil {
			return
		}
		found, ok := p.substr(s)
		if ok != p.matches(s) || !strings.Contains(s, found) {
			t.Fatalf("%q in %q: %q, %v", pattern, s, found, ok)
		}
		m := &Message{}
		if v := regexpReplace(m, p, s, []string{rep}); v.kind == String && !ok && v.text != s {
			t.Fatalf("%q in %q: replaced what does not match: %q", pattern, s, v.text)
		}
	})
}

// What parse_time writes, time_to_epoch reads again.
func FuzzTimePattern(f *testing.F) {
	f.Add("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'", int64(1720000000123), "2020-04-03T09:45:18.123Z")
	f.Add("[uuuu][-MM]ppd VV z O XXX EEEE a G n A N", int64(-1), "2020-04 3 Europe/Berlin PST GMT+8 Z Friday AM AD")
	f.Add("x w e C Y K h k zzzz ZZZ", int64(1)<<62, "999999999-12-31")
	f.Add("yyyyMMddHHmmssSSS", int64(0), "20200403094518123")
	f.Fuzz(func(t *testing.T, pattern string, ms int64, s string) {
		if p, err := compileJoda(pattern); err == nil {
			p.format(time.UnixMilli(ms).UTC())
		}
		p, err := compileJavaTime(pattern)
		if err == nil {
			p.millis(s)
		} else if foreign := (*foreignError)(nil); !errors.Is(err, errTimePattern) && !errors.As(err, &foreign) {
			t.Fatalf("%q: %v", pattern, err)
		}
		const stable = "yyyy-MM-dd HH:mm:ss.SSS"
		out, _ := compileJoda(stable)
		in, _ := compileJavaTime(stable)
		if at := time.UnixMilli(ms).UTC(); at.Year() > 0 && at.Year() < 10000 {
			if got, ok := in.millis(out.format(at)); !ok || got != ms {
				t.Fatalf("%d: %s read as %d, %v", ms, out.format(at), got, ok)
			}
		}
	})
}
