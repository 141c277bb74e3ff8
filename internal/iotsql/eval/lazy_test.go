package eval

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/iotsql"
)

// overTree runs a statement over the payload as another reader sees it, with
// nothing left unopened: the payload is what a nested SELECT around the
// statement is at.
func overTree(st *iotsql.Statement, v iotsql.Version, m *Message) (Result, bool, error) {
	root, err := readTree(string(m.Payload))
	if err != nil {
		return Result{}, false, err
	}
	c := &compiler{src: st.Source, version: v, reduce: v == iotsql.V2016, nested: 1}
	p, err := c.program(st)
	if err != nil {
		return Result{}, false, err
	}
	outer := *m
	outer.Payload = []byte("0")
	outer.space().scopes = []scope{{elem: root}}
	r, fired := p.Run(&outer)
	if p.whole && fired && r.err == nil {
		r.value = root
	}
	return r, fired, nil
}

// same reports where the two ways to run a statement differ.
func same(t *testing.T, sql string, v iotsql.Version, m Message) {
	st, err := iotsql.Parse(sql)
	if err != nil {
		return
	}
	want, wantFired, err := overTree(st, v, &m)
	if err != nil {
		if _, json := m.Root(); json && err == errNotJSON {
			t.Fatalf("%q is read as JSON", m.Payload)
		}
		return
	}
	p, err := Compile(st, v)
	if err != nil { // one SELECT less deep
		return
	}
	defer m.Release()
	for range 2 { // the second time with what the first one opened
		got, fired := p.Run(&m)
		if got.Err() != nil || want.Err() != nil {
			return
		}
		if fired != wantFired {
			t.Fatalf("%s\nover %s\nfired %v, over the tree %v", sql, m.Payload, fired, wantFired)
		}
		if !fired {
			continue
		}
		a, errA := got.AppendPayload(nil)
		b, errB := want.AppendPayload(nil)
		if !bytes.Equal(a, b) || (errA == nil) != (errB == nil) {
			t.Fatalf("%s\nover %s\ngives       %s %v\nfrom a tree %s %v", sql, m.Payload, a, errA, b, errB)
		}
		if !equal(got.Value(), want.Value()) && got.Value().Kind() != Undefined {
			t.Fatalf("%s\nover %s: %s differs from itself over the tree", sql, m.Payload, a)
		}
	}
}

// repeatable says whether a statement gives the same twice, and does not ask
// for the bytes of the payload.
func repeatable(sql string) bool {
	sql = strings.ToLower(sql)
	for _, w := range []string{"uuid", "rand", "encode", "traceid"} {
		if strings.Contains(sql, w) {
			return false
		}
	}
	return true
}

func FuzzLazyIsTree(f *testing.F) {
	for _, c := range cases(f) {
		if c.template == "" {
			f.Add(c.sql, c.msg.Payload, c.version == iotsql.V2016)
		}
	}
	dup := []byte(`{ "a":1.0,"b" : {"c":[1,2.50,{"d":"\u00e9\/","d":1e2}],"a":null},"a":"\ud83d\ude00","\u0061":[ ],"":{"x":{"x":1,"x":2}},"e":[{"n":1},{"n":2.0}]}`)
	for _, sql := range []string{
		`SELECT * FROM 'a'`, `SELECT VALUE * FROM 'a'`, `SELECT *, b.* FROM 'a'`, `SELECT b.c, a, b AS a.z FROM 'a'`, `SELECT b.*, * AS b.x FROM 'a'`,
		`SELECT (SELECT *, n * 2 AS m FROM e WHERE n > 1) AS r, get(b.c, 2).d FROM 'a' WHERE b = b AND NOT b.c IN e`,
		`SET @b = b, @e = (SELECT VALUE n FROM e) SELECT @b.c AS x, @b AS y, @e, (SELECT @b FROM b) AS z FROM 'a'`,
		`SELECT concat(e, b.c), isNull(b.a), b + '' AS s, get(*, ''), CASE b WHEN {} THEN 1 WHEN b THEN 2 END AS w FROM 'a'`,
	} {
		f.Add(sql, dup, true)
		f.Add(sql, dup, false)
	}
	f.Fuzz(func(t *testing.T, sql string, payload []byte, new bool) {
		v := iotsql.V2015
		if new {
			v = iotsql.V2016
		}
		if repeatable(sql) {
			same(t, sql, v, Message{Topic: "a/b", Payload: payload, ClientID: "c", Time: time.UnixMilli(1)})
		}
	})
}

// Objects with many members are opened where small ones are not.
func TestLazyOverWideObjects(t *testing.T) {
	for _, n := range []int{manyMembers, manyMembers + 1, manyNames, manyNames + 1, 200} {
		var b strings.Builder
		b.WriteString(`{"w":{"k":0`)
		for i := range n {
			b.WriteString(`,"k` + strings.Repeat("x", i) + `":` + string(rune('0'+i%10)) + ".0")
		}
		b.WriteString(`,"k":{"z":"last"}},"v":[{"w":1}]}`)
		for _, sql := range []string{
			`SELECT * FROM 'a'`, `SELECT w.k.z, w.kxx, w.kx AS y, w.nope FROM 'a'`, `SELECT w.*, w.* FROM 'a'`, `SELECT w.*, 1 AS k.z, 2 AS k.y FROM 'a'`,
			`SELECT (SELECT k.z, kxxx FROM w) AS r, (SELECT w, v FROM v) AS o FROM 'a' WHERE w = w`,
		} {
			same(t, sql, iotsql.V2016, Message{Payload: []byte(b.String())})
			same(t, sql, iotsql.V2015, Message{Payload: []byte(b.String())})
		}
	}
}

// What a released message used is used again by others, and texts stay good.
func TestRelease(t *testing.T) {
	p := compileFor(t, `SELECT a, b AS o.x, (SELECT VALUE n FROM e) AS r FROM 'a'`)
	m := Message{Payload: []byte(`{"a":"first","b":{"c":1},"e":[{"n":1},{"n":2}]}`)}
	r, _ := p.Run(&m)
	first := r.Value().Get("a").Text()
	m.Release()
	m.Payload = []byte(`{"a":"other","b":2}`)
	for range 3 {
		r, _ = p.Run(&m)
		out, err := r.AppendPayload(nil)
		if want := `{"a":"other","o":{"x":2}}`; string(out) != want || err != nil {
			t.Fatalf("%s, want %s (%v)", out, want, err)
		}
		m.Release()
	}
	if first != "first" {
		t.Errorf("the text became %q", first)
	}
}

// A program runs over many messages at once, also over ones of other shapes.
func TestProgramIsShared(t *testing.T) {
	p := compileFor(t, `SELECT a, b.c * 2 AS d, (SELECT n FROM e WHERE n > 1) AS r, topic(1) AS t FROM 'a' WHERE a IN ['x', 'y']`)
	payloads := []string{`{"a":"x","b":{"c":1},"e":[{"n":2}]}`, `{"e":[{"m":0,"n":2},{"n":2,"n":0}],"z":[],"b":{"x":0,"c":1},"a":"x"}`}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 500 {
				m := Message{Topic: "a/b", Payload: []byte(payloads[i%2])}
				out, fired, err := runInto(p, &m, nil)
				if want := `{"a":"x","d":2,"r":[{"n":2}],"t":"a"}`; string(out) != want || !fired || err != nil {
					t.Errorf("%s, want %s (%v)", out, want, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Where a member was in the last message is only a hint.
func TestShapesChange(t *testing.T) {
	p := compileFor(t, `SELECT a, a + 1 AS b, o.a AS c, (SELECT VALUE a FROM e) AS d FROM 'a'`)
	for _, c := range []struct{ payload, want string }{
		{`{"z":1,"w":2,"a":5,"o":{"b":1,"a":6},"e":[{"b":1,"a":7},{"a":8}]}`, `{"a":5,"b":6,"c":6,"d":[7,8]}`},
		{`{"z":{"q":1,"a":9},"a":5,"o":{"b":{"a":1},"a":6},"e":[{"b":["a"],"a":7}]}`, `{"a":5,"b":6,"c":6,"d":[7]}`},
		{`{"z":{"q":1,"a":9},"o":{"b":"a"},"e":[{"b":{"a":1}}]}`, `{"d":[]}`},
		{`{"z":["q","p","r","a"],"a":5}`, `{"a":5,"b":6}`},
		{`{"z":1,"w":2,"a":4,"a":5}`, `{"a":5,"b":6}`},
		{`80`, `{}`},
	} {
		got, fired, err := runInto(p, &Message{Payload: []byte(c.payload)}, nil)
		if string(got) != c.want || !fired || err != nil {
			t.Errorf("%s gives %s, want %s (%v)", c.payload, got, c.want, err)
		}
	}
}
