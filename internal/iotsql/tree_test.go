package iotsql

import (
	"slices"
	"testing"
)

func parsed(t testing.TB, src string) *Statement {
	t.Helper()
	st, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestTree(t *testing.T) {
	st := parsed(t, `SET @t = state.temp SELECT *, a.* , -@t.x + 1 AS v.w, topic(2), "x", get(l, 0).k.m, {'o': [1, NULL]} AS o, cast(a AS Int) AS c,
		(SELECT VALUE n FROM e.list AS r WHERE n > 2) AS n FROM 'a/%d/#' WHERE NOT (CASE a WHEN true THEN 1 ELSE 2 END) = 1`)
	want := `set @t
  member state.temp
select
  * (the whole payload)
  every member of
    member a
  as v.w
    +
      -
        variable @t.x
      1
  topic()
    2
  "x"
  member .k.m of
    get()
      member l
      0
  as o
    object
      member "o"
        array
          1
          NULL
  as c
    cast as Int
      member a
  as n
    for each of
      member e.list
    called r
      where
        >
          member n
          2
      select value
        member n
from topic filter "a/%d/#"
where
  NOT
    =
      case
        member a
        when
          true
        then
          1
        else
          2
      1
`
	if got := Tree(st); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Tree(parsed(t, "SELECT VALUE true")); got != "select value\n  true\nfrom nothing: the rule runs for Basic Ingest only\n" {
		t.Errorf("got %s", got)
	}
}

func TestWalk(t *testing.T) {
	st := parsed(t, `SET @v = f1(1) SELECT f2(f3(a)), [f4(1)] AS l, {'m': f5()} AS o, cast(f6() AS Int) AS c, (SELECT VALUE f7() FROM x.y WHERE f8()) AS n,
		get(f9(), 0).x, NOT f10() AS u, CASE f11() WHEN f12() THEN f13() ELSE f14() END AS w FROM 'a' WHERE f15() = 1`)
	var names []string
	st.Walk(func(x Expr) {
		if call, ok := x.(*Call); ok && call.Name != "get" {
			names = append(names, call.Name)
		}
	})
	want := []string{"f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9", "f10", "f11", "f12", "f13", "f14", "f15"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v", names)
	}
}

func FuzzTree(f *testing.F) {
	f.Add(`SELECT *, topic(2) AS a.b FROM 'a' WHERE x = [1, {'a': (SELECT VALUE b FROM c AS d)}]`)
	f.Fuzz(func(t *testing.T, src string) {
		if st, err := Parse(src); err == nil && Tree(st) == "" {
			t.Fatal("nothing")
		}
	})
}
