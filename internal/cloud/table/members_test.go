package table

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"mote/internal/cloud/store"
)

// pair is two tables with one schema: one for Put, one for PutMembers.
type pair struct {
	*testing.T
	db              *DB
	st              *store.Store
	b               *store.Batch
	byMap, byMember *Table
}

func newPair(t *testing.T, req CreateRequest) *pair {
	t.Helper()
	db, st := openDB(t)
	p := &pair{T: t, db: db, st: st, b: st.NewBatch()}
	var err error
	for _, c := range []struct {
		name string
		to   **Table
	}{{"byMap", &p.byMap}, {"byMember", &p.byMember}} {
		req.Name = c.name
		if *c.to, err = db.Create(req); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// put writes the members both ways and wants the same error, which it returns.
func (p *pair) put(members []Member) error {
	p.Helper()
	item := Item{}
	for _, m := range members {
		item[m.Name] = m.Value
	}
	before := p.b.Count()
	want := p.db.Put(p.b, "byMap", item)
	err := p.db.PutMembers(p.b, "byMember", members)
	var refused *Error
	if fmt.Sprint(err) != fmt.Sprint(want) || err != nil && !errors.As(err, &refused) {
		p.Fatalf("PutMembers of %.300v: %v; Put: %v", members, err, want)
	}
	if n := p.b.Count() - before; err == nil && n != 2 || err != nil && n != 0 {
		p.Fatalf("%d writes of two puts: %v", n, err)
	}
	return err
}

// compare commits and wants the same bytes in both tables, for n items.
func (p *pair) compare(n int) {
	p.Helper()
	if err := p.st.Commit(p.b); err != nil {
		p.Fatal(err)
	}
	want, got := p.stored(p.byMap), p.stored(p.byMember)
	if len(want) != n || !maps.Equal(got, want) {
		p.Errorf("Put stored %d items, PutMembers %d, want the same %d", len(want), len(got), n)
	}
}

func (p *pair) stored(t *Table) map[string]string {
	p.Helper()
	prefix := appendTablePrefix(nil, t.id)
	it, err := p.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		p.Fatal(err)
	}
	defer it.Close()
	all := map[string]string{}
	for it.First(); it.Valid(); it.Next() {
		all[string(it.Key()[len(prefix):])] = string(it.Value())
	}
	return all
}

var airRequest = CreateRequest{
	Billing: PayPerRequest, Attributes: []KeyAttr{{"time", S}, {"id", S}},
	Schema: []KeyElement{{"id", "HASH"}, {"time", "RANGE"}},
}

func TestPutMembersWritesWhatPutWrites(t *testing.T) {
	air := newPair(t, airRequest)
	counts := newPair(t, CreateRequest{Billing: PayPerRequest, Attributes: []KeyAttr{{"n", N}}, Schema: []KeyElement{{"n", "HASH"}}})
	names := []string{"id", "time", "n", "", "a", "b", "dust", "co2", "temp", "\x00", "é"}
	rng := rand.New(rand.NewPCG(1, 2))
	ids, ns := map[string]bool{}, map[string]bool{}
	for i := range 3000 {
		id, n := fmt.Sprint("\x00", i), fmt.Sprint(i-1500)
		members := []Member{{"id", String(id)}, {"time", String("2026-11-22T10:15:30Z")}, {"n", number(t, n)}}
		for range rng.IntN(8) { // also a name again
			members = append(members, Member{names[3+rng.IntN(len(names)-3)], randomValue(t, rng, 3)})
		}
		switch rng.IntN(4) {
		case 0:
			members = members[1:]
		case 1: // often a key of another type
			members = append(members, Member{names[rng.IntN(2)], randomValue(t, rng, 0)})
		}
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		if air.put(members) == nil {
			ids[fmt.Sprint(itemOf(members)["id"], itemOf(members)["time"])] = true
		}
		if counts.put(members) == nil {
			ns[n] = true
		}
	}
	air.compare(len(ids))
	counts.compare(len(ns))
	if len(ids) == len(ns) {
		t.Error("no item without id was tried")
	}
}

func randomValue(t *testing.T, rng *rand.Rand, depth int) Value {
	switch rng.IntN(9) {
	case 0:
		return number(t, fmt.Sprint(rng.IntN(2000)-1000))
	case 1:
		return number(t, fmt.Sprintf("%.3f", rng.NormFloat64()))
	case 2:
		return Bool(rng.IntN(2) == 0)
	case 3:
		return Null()
	case 4:
		return Binary(bytes.Repeat([]byte{0}, rng.IntN(3)))
	case 5:
		if depth == 0 {
			return Value{Kind: SS, Set: []string{"a", "b"}}
		}
		return List(randomValue(t, rng, depth-1), randomValue(t, rng, depth-1))
	case 6:
		if depth == 0 {
			return Value{Kind: NS, Set: []string{"1", "-2.5"}}
		}
		return Map(Item{"x": randomValue(t, rng, depth-1), "y": randomValue(t, rng, depth-1)})
	}
	return String(strings.Repeat("x\x00", rng.IntN(5)))
}

func TestPutMembersRefusesWhatPutRefuses(t *testing.T) {
	p := newPair(t, airRequest)
	deep := String("x")
	for range maxNested {
		deep = List(deep)
	}
	rest := maxItemSize - len("id1time2a") // what the value of a may take beside the key attributes
	many := make([]Member, 3000)
	for i := range many {
		many[i] = Member{fmt.Sprint("m", i*7919%3000), Bool(true)}
	}
	for _, c := range []struct {
		name    string
		members []Member
		want    string
	}{
		{"fits", []Member{{"a", String(strings.Repeat("x", rest))}}, ""},
		{"too large", []Member{{"a", String(strings.Repeat("x", rest+1))}}, "Item size"},
		{"deep", []Member{{"a", deep}}, ""},
		{"too deep", []Member{{"a", List(deep)}}, "Nesting Levels"},
		{"no number", []Member{{"a", Value{Kind: N, Str: "01"}}}, "numeric value"},
		{"no value", []Member{{"a", Value{}}}, "empty"},
		{"empty set", []Member{{"a", Value{Kind: SS}}}, "may not be empty"},
		{"long name", []Member{{strings.Repeat("a", maxName+1), Null()}}, "name is too large"},
		{"hash of another type", []Member{{"id", number(t, "1")}}, "Type mismatch for key id expected: S actual: N"},
		{"empty hash", []Member{{"id", String("")}}, "empty string value. Key: id"},
		{"long hash", []Member{{"id", String(strings.Repeat("x", maxHashSize+1))}}, "hashkey"},
		{"long range", []Member{{"time", String(strings.Repeat("x", maxRangeSize+1))}}, "range keys"},
		{"bad value before the bad key", []Member{{"id", number(t, "1")}, {"a", Value{}}}, "empty"},
		{"many", many, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			members := append([]Member{{"time", String("2")}, {"id", String("1")}}, c.members...) // the last of one name counts
			err := p.put(members)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for _, members := range [][]Member{nil, {{"id", String("1")}}, {{"time", String("1")}}} {
		if p.put(members) == nil {
			t.Errorf("an item without its key was taken: %v", members)
		}
	}
	p.compare(1)
	if err := p.db.PutMembers(p.b, "none", nil); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("%v, want that there is no such table", err)
	}
}
