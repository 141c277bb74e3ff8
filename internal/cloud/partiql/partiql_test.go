package partiql

import (
	"errors"
	"strings"
	"testing"
)

// statements are in pairs: what is written, and what it is printed as.
var statements = [][2]string{
	{`SELECT * FROM Music`, `SELECT * FROM "Music"`},
	{`select Artist, "Song Title", Tags[0].x, a['b'] from "Music"."by-year" where Artist='Acme' and Year > 1999 order by Year desc, Artist ASC;`,
		`SELECT "Artist", "Song Title", "Tags"[0]."x", "a"."b" FROM "Music"."by-year" WHERE "Artist" = 'Acme' AND "Year" > 1999 ORDER BY "Year" DESC, "Artist"`},
	{`SELECT * FROM t WHERE a = ? AND (b = 1 OR NOT c <= -2.5e3) AND d BETWEEN 1 AND 2 + 3`,
		`SELECT * FROM "t" WHERE "a" = ? AND ("b" = 1 OR NOT "c" <= -2.5e3) AND "d" BETWEEN 1 AND 2 + 3`},
	{`SELECT * FROM t WHERE a IN [1, 2] AND b IN ('x') AND c NOT IN ? AND d IS MISSING AND e IS NOT NULL AND f NOT BETWEEN 1 AND 2`,
		`SELECT * FROM "t" WHERE "a" IN [1, 2] AND "b" IN ['x'] AND "c" NOT IN ? AND "d" IS MISSING AND "e" IS NOT NULL AND "f" NOT BETWEEN 1 AND 2`},
	{`SELECT * FROM t WHERE begins_with("a", 'x''y') OR CONTAINS(b, 5) or size(c) != 3 -- the end`,
		`SELECT * FROM "t" WHERE begins_with("a", 'x''y') OR contains("b", 5) OR size("c") <> 3`},
	{`INSERT INTO "Music" VALUE {'a': 'x', 'l': [1, {'m': true}, null], 's': <<1, 2>>, 'p': ?}`,
		`INSERT INTO "Music" VALUE {'a': 'x', 'l': [1, {'m': true}, NULL], 's': <<1, 2>>, 'p': ?}`},
	{`UPDATE "Music" SET a=1 SET b.c[2] = list_append(b, [?]), n = n - -1 REMOVE d, e WHERE k='v' RETURNING ALL OLD *`,
		`UPDATE "Music" SET "a" = 1 SET "b"."c"[2] = list_append("b", [?]) SET "n" = "n" - -1 REMOVE "d" REMOVE "e" WHERE "k" = 'v' RETURNING ALL OLD *`},
	{`FROM Music WHERE k='v' SET a=.5e3 REMOVE d RETURNING ALL NEW *`, `UPDATE "Music" SET "a" = .5e3 REMOVE "d" WHERE "k" = 'v' RETURNING ALL NEW *`},
	{`DELETE FROM Music WHERE k = 'v' AND (NOT x = 1) = true RETURNING MODIFIED NEW *`, `DELETE FROM "Music" WHERE "k" = 'v' AND (NOT "x" = 1) = true RETURNING MODIFIED NEW *`},
	{`EXISTS(SELECT * FROM t WHERE k = 'v' AND n > 5)`, `EXISTS(SELECT * FROM "t" WHERE "k" = 'v' AND "n" > 5)`},
	{"SELECT /* what */ größe\nFROM t", `SELECT "größe" FROM "t"`},
}

func TestPrint(t *testing.T) {
	for _, c := range statements {
		s, _, err := Parse(c[0])
		if err != nil {
			t.Errorf("%s: %v", c[0], err)
			continue
		}
		if got := s.String(); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

func TestRefusals(t *testing.T) {
	for src, want := range map[string]string{
		``:                                                  "Expected data manipulation",
		`SLECT * FROM t`:                                    "Expected data manipulation",
		"SELECT *\nFROM t WHERE":                            "Expected a name (one that is a word of the language in double quotes), found the end of the statement at 2:13:0",
		`SELECT * FROM t WHERE a = 'x`:                      "the quotation does not end: close it with ' at 1:27:1",
		`SELECT * FROM t WHERE ü = ;`:                       "Expected an expression, found ; at 1:27:1",
		`SELECT * FROM t WHERE a = 1 b`:                     "Unexpected token after expression",
		`SELECT * FROM t ORDER BY a WHERE a = 1`:            "Unexpected token after expression",
		`DELETE FROM t WHERE a = 1 ORDER BY a`:              "Unexpected token after expression",
		`INSERT INTO t x VALUE {'a': 1}`:                    "Unexpected token after expression",
		`SELECT * FROM t x WHERE a = 1`:                     "Aliasing is not supported",
		`SELECT * FROM t AS x`:                              "Aliasing is not supported",
		`UPDATE t "x" SET a = 1 WHERE b = 1`:                "Aliasing is not supported",
		`FROM t x WHERE b = 1 SET a = 1`:                    "Aliasing is not supported",
		`FROM t SET a = 1 WHERE b = 1`:                      "Unexpected token after expression",
		`FROM t WHERE b = 1`:                                "Expected SET or REMOVE, found the end of the statement at 1:19:0",
		`SELECT * FROM t.i.x`:                               "A path may contain at most 2 components in the FROM clause",
		`INSERT INTO t.i VALUE {'a': 1}`:                    "FROM clause may only contain a single table name",
		`UPDATE t.i SET a = 1 WHERE b = 1`:                  "This operation is not supported on an index",
		`DELETE FROM t.i WHERE b = 1`:                       "This operation is not supported on an index",
		`SELECT * FROM ""`:                                  "Path component cannot be an empty string",
		`DELETE FROM "" WHERE a = 1`:                        "Path component cannot be an empty string",
		`SELECT a.inner FROM t`:                             "Invalid path dot component",
		`SELECT * FROM t WHERE a = 1 # note`:                "",
		`SELECT * FROM t /* note`:                           "",
		`SELECT * FROM t WHERE a = 1e2147483648`:            "",
		`SELECT * FROM t WHERE a = 1.5e-2147483647`:         "",
		`SELECT * FROM a, b`:                                "Only one table can be named in a statement: joins are not supported at 1:16:1",
		`SELECT * FROM a JOIN b ON a.x = b.x`:               "Unsupported clause: JOIN (a statement reads one table) at 1:17:4",
		`SELECT * FROM a GROUP BY x`:                        "Unsupported clause: GROUP (aggregate the items in the client) at 1:17:5",
		`SELECT * FROM a LIMIT 5`:                           "Unsupported clause: LIMIT (give the parameter Limit) at 1:17:5",
		`SELECT COUNT(*) FROM a`:                            "Unexpected path component at 1:8:5",
		`SELECT a AS b FROM t`:                              "Aliasing is not supported at 1:10:2",
		`SELECT * FROM (SELECT * FROM t)`:                   "Nested SELECT is not supported: name a table at 1:15:1",
		`SELECT * FROM t WHERE a IN (SELECT b)`:             "Nested SELECT is not supported: write the values out at 1:29:6",
		`SELECT * FROM t WHERE a LIKE 'x%'`:                 "Unsupported operator: LIKE at 1:25:4",
		`INSERT INTO t VALUES (1)`:                          `Inserting several items, or columns, in one statement is not supported: use INSERT INTO "table" VALUE {...} at 1:15:6`,
		`INSERT INTO t VALUE {'a': 1, 'a': 2}`:              "the name 'a' is there twice at 1:30:3",
		`UPDATE t WHERE a = 1`:                              "Expected SET or REMOVE, found WHERE at 1:10:5",
		"SELECT * FROM t WHERE a = `x`":                     "Ion literals are not supported: write the value as PartiQL does, or give it as a parameter at 1:27:1",
		`SELECT * FROM t WHERE ` + strings.Repeat("(", 100): "expressions stand in each other more than 40 deep at 1:63:1",
		strings.Repeat("x", MaxLength+1):                    "the statement has 32769 bytes: at most 32768 are taken at 1:1:1",
		`SELECT * FROM t WHERE a[99999999999] = 1`:          "List index is not within the allowable range; index: [99999999999] at 1:25:11",
	} {
		_, _, err := Parse(src)
		var e *Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%.60s\n got %v\nwant %s", src, err, want)
		}
	}
}

func TestParameters(t *testing.T) {
	s, n, err := Parse(`UPDATE t SET a = ?, b = [?, ?] WHERE k = ?`)
	if err != nil || n != 4 || s.(*Update).Where.Args[1].Index != 3 {
		t.Errorf("%v, %d, %v", s, n, err)
	}
}

// FuzzParse holds that nothing panics and that what is printed is parsed to
// what prints the same.
func FuzzParse(f *testing.F) {
	for _, c := range statements {
		f.Add(c[0])
	}
	f.Add("SELECT * FROM t WHERE NOT a NOT IN [1] NOT IN [2] = b IS NOT NULL IS NULL")
	f.Add("SELECT value FROM t WHERE a = 5. AND .5 = - 6 AND \"x\"\"y\".\"\" = 1")
	f.Fuzz(func(t *testing.T, src string) {
		s, n, err := Parse(src)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.At.Line < 1 || e.At.Column < 1 {
				t.Fatalf("%q: %v", src, err)
			}
			return
		}
		text := s.String()
		if len(text) > MaxLength {
			return // quotes and spaces have made it longer
		}
		again, m, err := Parse(text)
		if err != nil || m != n {
			t.Fatalf("%q\nprints %q: %v, %d parameters, want %d", src, text, err, m, n)
		}
		if got := again.String(); got != text {
			t.Fatalf("%q\nprints %q\nthen   %q", src, text, got)
		}
	})
}
