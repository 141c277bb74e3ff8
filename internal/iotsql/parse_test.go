package iotsql

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// field holds statements of rules in the field. A line of the file that begins
// with white space continues the statement before it.
func field(t testing.TB) []string {
	var out []string
	more := false
	for _, line := range lines(t, "testdata/field.sql", 200) {
		switch {
		case strings.HasPrefix(line, "#"):
			more = false
		case more && (line == "" || strings.ContainsAny(line[:1], " \t")):
			out[len(out)-1] += "\n" + line
		case line != "":
			out, more = append(out, line), true
		}
	}
	return out
}

// lines returns the lines of a file that has at least so many.
func lines(t testing.TB, name string, atLeast int) []string {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.Split(string(data), "\n")
	if len(out) < atLeast {
		t.Fatalf("%s has %d lines", name, len(out))
	}
	return out
}

func TestFieldStatementsParseAndPrintStable(t *testing.T) {
	for _, src := range field(t) {
		st, err := Parse(src)
		if err != nil {
			t.Errorf("%s\n%v", src, err)
			continue
		}
		checkStable(t, st)
	}
}

func checkStable(t *testing.T, st *Statement) {
	t.Helper()
	one := st.String()
	again, err := Parse(one)
	if err != nil {
		var e *Error
		errors.As(err, &e)
		t.Fatalf("printed form does not parse\nsource: %s\n%s", st.Source, e.Detail())
	}
	if two := again.String(); two != one {
		t.Fatalf("printing is not stable\nsource: %s\nfirst:  %s\nsecond: %s", st.Source, one, two)
	}
}

func TestFieldTemplatesParse(t *testing.T) {
	for _, src := range lines(t, "testdata/templates.txt", 30) {
		if src == "" || strings.HasPrefix(src, "#") {
			continue
		}
		tpl, err := ParseTemplate(src)
		if err != nil {
			t.Errorf("%s\n%v", src, err)
		} else if _, constant := tpl.Constant(); constant {
			t.Errorf("%s: nothing to substitute", src)
		}
	}
}

func TestPrint(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`select * from 'a/b'`, `SELECT * FROM 'a/b'`},
		{`SELECT * FROM topic/#`, `SELECT * FROM 'topic/#'`},
		{`SELECT * FROM $aws/things/+/x WHERE a=1`, `SELECT * FROM '$aws/things/+/x' WHERE a = 1`},
		{`SELECT *`, `SELECT *`},
		{`SELECT a+b*c-d FROM 't'`, `SELECT a + b * c - d FROM 't'`},
		{`SELECT (a+b)*c FROM 't'`, `SELECT (a + b) * c FROM 't'`},
		{`SELECT a-(b-c) FROM 't'`, `SELECT a - (b - c) FROM 't'`},
		{`SELECT ((a)) FROM 't'`, `SELECT a FROM 't'`},
		{`SELECT a FROM 't' WHERE NOT a=1 AND b OR c`, `SELECT a FROM 't' WHERE NOT a = 1 AND b OR c`},
		{`SELECT a FROM 't' WHERE NOT (a AND b)`, `SELECT a FROM 't' WHERE NOT (a AND b)`},
		{`SELECT a FROM 't' WHERE (NOT a) = b`, `SELECT a FROM 't' WHERE (NOT a) = b`},
		{`SELECT a FROM 't' WHERE a != "x"`, `SELECT a FROM 't' WHERE a <> 'x'`},
		{`SELECT - -a.b, -(a+b), a - -b FROM 't'`, `SELECT -(-a.b), -(a + b), a - -b FROM 't'`},
		{`SELECT a – b − c FROM 't'`, `SELECT a - b - c FROM 't'`},
		{`SELECT {'a': 1,} AS o FROM 't' WHERE Exists( select * from a as b )`, `SELECT {'a': 1} AS o FROM 't' WHERE Exists(SELECT * FROM a AS b)`},
		{`SELECT VALUE a.b FROM 't'`, `SELECT VALUE a.b FROM 't'`},
		{`SELECT VALUE * FROM 't'`, `SELECT VALUE * FROM 't'`},
		{`SELECT VALUE (-5) FROM 't'`, `SELECT VALUE (-5) FROM 't'`},
		{`SELECT value FROM 't'`, `SELECT value FROM 't'`},
		{`SELECT value, b FROM 't'`, `SELECT value, b FROM 't'`},
		{`SELECT value * 2 AS f FROM 't'`, `SELECT value * 2 AS f FROM 't'`},
		{`SELECT value - 32 FROM 't'`, `SELECT value - 32 FROM 't'`},
		{`SELECT value AS v FROM 't'`, `SELECT value AS v FROM 't'`},
		{`SELECT value.x FROM 't'`, `SELECT value.x FROM 't'`},
		{`SELECT (value(1)) FROM 't'`, `SELECT (value(1)) FROM 't'`},
		{`SELECT a.* , * AS p.q FROM 't'`, `SELECT a.*, * AS p.q FROM 't'`},
		{`SELECT a.end.value FROM 't'`, `SELECT a.end.value FROM 't'`},
		{`SELECT 'it''s', "a\"b", '\d+', '\\d', 'é\u00e9', '\ud83d\ude00', 'a\nb' FROM 't'`,
			`SELECT 'it\'s', 'a"b', '\\d+', '\\d', 'éé', '😀', 'a\nb' FROM 't'`},
		{`SELECT 1, 1.50, 2e5, 1E-3 FROM 't'`, `SELECT 1, 1.50, 2e5, 1E-3 FROM 't'`},
		{`SELECT cast(a as Decimal), a[0][b].c FROM 't'`, `SELECT cast(a AS Decimal), a[0][b].c FROM 't'`},
		{`SELECT {a: 1, 'b c': *, "x": [1,[], {}]} as o FROM 't'`, `SELECT {'a': 1, 'b c': *, 'x': [1, [], {}]} AS o FROM 't'`},
		{`SET @a = 1, @b = @a.x SELECT @b FROM 't'`, `SET @a = 1, @b = @a.x SELECT @b FROM 't'`},
		{`SELECT (SELECT VALUE n FROM e.f AS g WHERE n in [1,2]) FROM 't'`, `SELECT (SELECT VALUE n FROM e.f AS g WHERE n IN [1, 2]) FROM 't'`},
		{`SELECT case a when 1 then 2 when 3 then 4 else 5 end as c FROM 't'`, `SELECT CASE a WHEN 1 THEN 2 WHEN 3 THEN 4 ELSE 5 END AS c FROM 't'`},
		{`SELECT encode(*, 'base64') FROM 't'`, `SELECT encode(*, 'base64') FROM 't'`},
		{`SELECT температура FROM 't'`, `SELECT температура FROM 't'`},
		{"SELECT a\n\tFROM 't'\r\nWHERE b", `SELECT a FROM 't' WHERE b`},
	} {
		st, err := Parse(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := st.String(); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
		checkStable(t, st)
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, `line 1, column 1: expected SELECT, found the end`},
		{`SELECT`, `line 1, column 7: expected an expression, found the end`},
		{`SELEC * FROM 'a'`, "line 1, column 1: expected SELECT, found `SELEC`; did you mean SELECT?"},
		{`SELECT a, FROM 'a'`, `line 1, column 11: expected an expression after the comma, found the keyword FROM; remove the comma`},
		{`SELECT a b FROM 'a'`, "line 1, column 10: expected `,` or AS between items, FROM, WHERE or the end, found `b`"},
		{`SELECT * FROM`, `line 1, column 14: expected a topic filter after FROM, found the end`},
		{`SELECT * FROM 'a`, `line 1, column 15: the string has no closing '`},
		{`SELECT * FROM ‘a’`, `line 1, column 15: typographic quote: use ' or "`},
		{`SELECT a FROM 'a' WHERE b = “x”`, `line 1, column 29: typographic quote “: use ' or "`},
		{"SELECT *\nFROM 'a'\nWHERE é = ", `line 3, column 11: expected an expression, found the end`},
		{`SELECT * FROM 'a' ORDER BY b`, `line 1, column 19: IoT SQL has no ORDER: a rule sees one message at a time`},
		{`SELECT * FROM 'a' WHERE (a = 1`, "line 1, column 31: expected an operator or `)`, found the end"},
		{`SELECT f(a b) FROM 'a'`, "line 1, column 12: expected `,` or `)`, found `b`"},
		{`SELECT a. FROM 'a'`, "line 1, column 16: expected `,`, FROM, WHERE or the end, found a string"},
		{`SELECT a.1 FROM 'a'`, "line 1, column 10: expected the name of a member after `.`, found `1`; read such a member with get(object, \"name\")"},
		{`SELECT 2fast FROM 'a'`, `line 1, column 8: a name cannot begin with a digit; read such a member with get(object, "name")`},
		{"SELECT `a` FROM 'a'", `line 1, column 8: names are not quoted in IoT SQL; read an unusual name with get(object, "name")`},
		{`SELECT CASE WHEN a THEN b END FROM 'a'`, `line 1, column 13: CASE needs a value before WHEN: write CASE condition WHEN true THEN …`},
		{`SELECT CASE a WHEN 1 THEN 2 FROM 'a'`, "line 1, column 29: expected WHEN, ELSE or END, found `FROM`"},
		{`SELECT a.* AS b FROM 'a'`, "line 1, column 12: `.*` takes no alias: it gives every member its own name"},
		{`SELECT (a+1).* FROM 'a'`, "line 1, column 13: `.*` needs a path before it"},
		{`SELECT a + * FROM 'a'`, "line 1, column 12: `*` stands alone in SELECT, as an argument of a function, or as a member of an object"},
		{`SELECT a AS 'b' FROM 'a'`, `line 1, column 13: expected a name (letters, digits and _), found a string; leave the quotes out`},
		{`SELECT SELECT a FROM b FROM 'a'`, `line 1, column 8: a nested SELECT stands in parentheses`},
		{`SET @a = 1, @a = 2 SELECT * FROM 'a'`, `line 1, column 13: @a is assigned twice`},
		{`SET a = 1 SELECT * FROM 'a'`, "line 1, column 5: expected a variable such as @name, found `a`"},
		{`SET @é = 1 SELECT * FROM 'a'`, `line 1, column 6: the name of a variable has the letters a to z, digits and _`},
		{`SET @` + strings.Repeat("x", 65) + ` = 1 SELECT * FROM 'a'`, `line 1, column 5: the name of a variable has at most 64 characters`},
		{`SET ` + strings.Repeat("@a = 1, ", 2) + ` SELECT * FROM 'a'`, `line 1, column 13: @a is assigned twice`},
		{`SET @a=1,@b=1,@c=1,@d=1,@e=1,@f=1,@g=1,@h=1,@i=1,@j=1,@k=1 SELECT * FROM 'a'`, `line 1, column 55: SET has at most 10 variables`},
		{`SELECT a AS FROM 'a'`, "line 1, column 13: expected a name after AS, found `FROM`"},
		{`SELECT VALUE a AS b FROM 'a'`, "line 1, column 16: expected FROM, WHERE or the end, found `AS`; the value of SELECT VALUE has no name"},
		{`SELECT @ FROM 'a'`, `line 1, column 8: expected the name of a variable after @`},
		{`SELECT a ; FROM 'a'`, `line 1, column 10: IoT SQL has no ` + "`;`" + `: a rule is one statement, which ends without it`},
		{"SELECT \xff FROM 'a'", `line 1, column 1: the text is not valid UTF-8`},
		{`SELECT ` + strings.Repeat("(", 200) + `a`, `line 1, column 108: expressions are nested deeper than 100`},
		{`SELECT ` + strings.Repeat("- ", 200) + `a`, `line 1, column 208: expressions are nested deeper than 100`},
		{strings.Repeat(" ", MaxLength) + `SELECT`, `line 1, column 1: the text has 16390 bytes, the limit is 16384`},
	} {
		_, err := Parse(c.in)
		if err == nil || err.Error() != c.want {
			t.Errorf("%.60q\n got %v\nwant %s", c.in, err, c.want)
		}
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%.60q: %T is not an *Error", c.in, err)
		}
	}
}

func TestErrorDetailPointsAtThePlace(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"SELECT *\nFROM 'é' WHER x = 1\n", "line 2, column 10: expected WHERE or the end, found `WHER`; did you mean WHERE?\n  FROM 'é' WHER x = 1\n           ^"},
		{"SELECT " + strings.Repeat("a,", 100) + "; FROM 'a'", "line 1, column 208: IoT SQL has no `;`: a rule is one statement, which ends without it\n  …" +
			strings.Repeat("a,", 24) + "; FROM 'a'\n   " + strings.Repeat(" ", 48) + "^"},
	} {
		_, err := Parse(c.in)
		var e *Error
		if !errors.As(err, &e) || e.Detail() != c.want {
			t.Errorf("got\n%s\nwant\n%s", e.Detail(), c.want)
		}
	}
}

func TestParseTemplate(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`plain`, `[plain]`},
		{``, ``},
		{`${topic(2)}`, `<topic(2)>`},
		{`a/${ b.c }/${"}"}#`, `[a/]<b.c>[/]<'}'>[#]`},
		{`${ {'a': 1} }$x$`, `<{'a': 1}>[$x$]`},
		{`# ; ${a}`, `[# ; ]<a>`},
		{`$$aws/things/${a}`, `[$$aws/things/]<a>`},
	} {
		tpl, err := ParseTemplate(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		got := ""
		for _, p := range tpl.Parts {
			if p.X != nil {
				got += "<" + ExprString(p.X) + ">"
			} else {
				got += "[" + p.Text + "]"
			}
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
	for in, want := range map[string]string{
		`a${b`:    "line 1, column 5: expected an operator or the closing `}` of ${…}, found the end",
		`${}`:     "line 1, column 3: expected an expression, found `}`",
		`${a}${;`: "line 1, column 7: IoT SQL has no `;`: a rule is one statement, which ends without it",
	} {
		if _, err := ParseTemplate(in); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", in, err, want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{"": V2015, "2015-10-08": V2015, "2016-03-23": V2016, "beta": V2016} {
		if got, err := ParseVersion(in); got != want || err != nil {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
	if _, err := ParseVersion("2017-01-01"); err == nil {
		t.Error("an unknown version is accepted")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range field(f) {
		f.Add(s)
	}
	f.Add(`SET @a = {'b': [*]} SELECT VALUE (-1), value(1), value.* , not a = -- b[1 .c FROM 'x\u00'`)
	f.Fuzz(func(t *testing.T, src string) {
		if st, err := Parse(src); err == nil {
			checkStable(t, st)
		} else {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T", err)
			}
			if d := e.Detail(); len(d) > 4*MaxLength {
				t.Fatalf("detail of %d bytes", len(d))
			}
		}
		if tpl, err := ParseTemplate(src); err == nil {
			for _, p := range tpl.Parts {
				if p.X == nil {
					continue
				}
				one := ExprString(p.X)
				again, err := ParseExpr(one)
				if err != nil {
					t.Fatalf("%s: %v", one, err)
				}
				if two := ExprString(again); two != one {
					t.Fatalf("not stable: %s, %s", one, two)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	src := `SELECT *, topic(2) AS id, (temp - 32) * 5 / 9 AS celsius FROM 'sensors/+/air' WHERE temp > 20 AND NOT isUndefined(dust)`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(src); err != nil {
			b.Fatal(err)
		}
	}
}
