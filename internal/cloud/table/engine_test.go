package table

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"mote/internal/cloud/store"
)

// model is what the engine should hold: the items of one partition by sort key.
type model map[string][]Value // hash text → sort keys in order

func (m model) add(hash string, sort Value) {
	at, found := slices.BinarySearchFunc(m[hash], sort, func(a, b Value) int { return compareKeyValues(&a, &b) })
	if !found {
		m[hash] = slices.Insert(m[hash], at, sort)
	}
}

// randomSort returns a sort key of the kind, often close to others.
func randomSort(r *rand.Rand, kind Kind) Value {
	if kind == N {
		return Value{Kind: N, Str: randomNumber(r)}
	}
	b := make([]byte, 1+r.IntN(3))
	for i := range b {
		b[i] = []byte{0, 1, 'a', 'b', 0x7f}[r.IntN(5)]
	}
	if kind == S {
		return String(string(b) + []string{"", "ü", "z"}[r.IntN(3)])
	}
	return Binary(append(b, []byte{0xff, 0xfe}[:r.IntN(2)]...))
}

// TestQueryAgainstModel holds order, conditions and paging of queries against
// a sorted list, for the three kinds of sort keys.
func TestQueryAgainstModel(t *testing.T) {
	for _, kind := range []Kind{S, N, B} {
		t.Run(kind.String(), func(t *testing.T) {
			db, st := openDB(t)
			_, err := db.Create(CreateRequest{Name: "model", Billing: PayPerRequest, Attributes: []KeyAttr{{"h", S}, {"r", kind}}, Schema: []KeyElement{{"h", "HASH"}, {"r", "RANGE"}}})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(5, uint64(kind)))
			m := model{}
			b := st.NewBatch()
			for range 400 {
				hash, sort := []string{"a", "a\x00", "b"}[r.IntN(3)], randomSort(r, kind)
				m.add(hash, sort)
				if err := db.Put(b, "model", Item{"h": String(hash), "r": sort, "x": number(t, fmt.Sprint(r.IntN(2)))}); err != nil {
					t.Fatal(err)
				}
			}
			if err := st.Commit(b); err != nil {
				t.Fatal(err)
			}
			for range 300 {
				checkQuery(t, db, m, r, kind)
			}
		})
	}
}

func checkQuery(t *testing.T, db *DB, m model, r *rand.Rand, kind Kind) {
	t.Helper()
	low, high := randomSort(r, kind), randomSort(r, kind)
	if compareKeyValues(&low, &high) > 0 {
		low, high = high, low
	}
	hash := []string{"a", "a\x00", "b", "none"}[r.IntN(4)]
	conds := []string{"", "=", "<", "<=", ">", ">=", "BETWEEN", "begins_with"}
	if kind == N {
		conds = conds[:7]
	}
	op := conds[r.IntN(len(conds))]
	q := QueryRequest{Descending: r.IntN(2) == 0, Reading: Reading{Table: "model", Limit: r.IntN(9), Values: map[string]Value{":h": String(hash), ":low": low}}}
	switch op {
	case "":
		q.KeyCondition = ":h = h"
		delete(q.Values, ":low")
	case "BETWEEN":
		q.KeyCondition = "r BETWEEN :low AND :high AND h = :h"
		q.Values[":high"] = high
	case "begins_with":
		q.KeyCondition = "h = :h AND begins_with(r, :low)"
	default:
		q.KeyCondition = "h = :h AND r " + op + " :low"
	}
	want := slices.DeleteFunc(slices.Clone(m[hash]), func(v Value) bool {
		switch op {
		case "":
			return false
		case "BETWEEN":
			return !ordered(&low, &v, "<=") || !ordered(&v, &high, "<=")
		case "begins_with":
			return !beginsWith(&v, &low)
		case "=":
			return !equal(&v, &low)
		}
		return !ordered(&v, &low, op)
	})
	if q.Descending {
		slices.Reverse(want)
	}
	var got []Value
	for {
		p, err := db.Query(q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if q.Limit > 0 && (p.Scanned > q.Limit || p.Scanned == q.Limit != (p.LastKey != nil)) {
			t.Fatalf("limit %d: scanned %d, last key %v", q.Limit, p.Scanned, p.LastKey)
		}
		for _, item := range p.Items {
			got = append(got, item["r"])
		}
		if q.StartKey = p.LastKey; p.LastKey == nil {
			break
		}
	}
	if !slices.EqualFunc(got, want, func(a, b Value) bool { return equal(&a, &b) }) {
		t.Fatalf("%s descending %v limit %d\n got %v\nwant %v", q.KeyCondition, q.Descending, q.Limit, got, want)
	}
}

func TestScanSegmentsHoldEveryItemOnce(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	b := st.NewBatch()
	const n = 500
	for i := range n {
		if err := db.Put(b, "air", reading(fmt.Sprint(i), "t", fmt.Sprint(i%10))); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	for _, segments := range []int{0, 1, 3, 7, 100, 1_000_000} {
		seen, scanned, largest := map[string]int{}, 0, 0
		walk := func(segment int) {
			r := ScanRequest{Segment: segment, Segments: segments, Reading: Reading{Table: "air", Limit: 9, Filter: new("dust < :five"), Values: map[string]Value{":five": number(t, "5")}}}
			before := scanned
			for {
				p, err := db.Scan(r)
				if err != nil {
					t.Fatal(err)
				}
				scanned += p.Scanned
				for _, item := range p.Items {
					seen[item["id"].Str]++
				}
				if r.StartKey = p.LastKey; p.LastKey == nil {
					break
				}
			}
			largest = max(largest, scanned-before)
		}
		if segments > 1<<16 { // too many to walk: those around the one that holds an item
			next := int64(slot(appendKeyValue(nil, new(String("1"))))) + 1
			at := int((next*int64(segments)+1<<16-1)>>16) - 1
			for i := at - 1; i <= at+1; i++ {
				walk(i)
			}
			if seen["1"] != 1 {
				t.Errorf("%d segments: the item is in %d of three neighbours", segments, seen["1"])
			}
			continue
		}
		for i := range max(segments, 1) {
			walk(i)
		}
		if scanned != n || len(seen) != n/2 {
			t.Errorf("%d segments: %d scanned, %d found", segments, scanned, len(seen))
		}
		if segments == 7 && largest > n/2 {
			t.Errorf("one of 7 segments holds %d of %d items", largest, n)
		}
	}
}

func TestPageEndsAtOneMegabyte(t *testing.T) {
	db, _ := openDB(t)
	createAir(t, db)
	for i := range 4 {
		item := reading("1", fmt.Sprint(i), "1")
		item["x"] = String(strings.Repeat("x", 350<<10))
		if _, err := db.PutItem(PutRequest{Table: "air", Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	q := QueryRequest{KeyCondition: "id = :id", Reading: Reading{Table: "air", Values: map[string]Value{":id": String("1")}, CountOnly: true}}
	p, err := db.Query(q)
	if err != nil || p.Count != 3 || p.LastKey["time"].Str != "2" || p.Items != nil || p.Units < 100 {
		t.Fatalf("%+v, %v", p, err)
	}
	q.StartKey = p.LastKey
	if p, err = db.Query(q); err != nil || p.Count != 1 || p.LastKey != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestConditionsAreIsolatedFromBlindWrites lets conditional writers of one key
// race with blind writers of it: each success of a conditional write must have
// seen the item as it was right before it.
func TestConditionsAreIsolatedFromBlindWrites(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	var wg sync.WaitGroup
	var mu sync.Mutex
	old := map[string]int{} // old value → conditional writes that replaced it
	put := func(value string) {
		b := st.NewBatch()
		if err := db.Put(b, "air", reading("1", "t", value)); err != nil {
			t.Error(err)
		}
		if err := st.Commit(b); err != nil {
			t.Error(err)
		}
	}
	put("0")
	const writers, each = 4, 60
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				value := fmt.Sprint(1 + w*each + i) // every value is written once
				if w == 0 {
					put(value)
					continue
				}
				r, err := db.PutItem(PutRequest{
					Table: "air", Item: reading("1", "t", value), ReturnOld: true,
					Condition: Condition{Expression: new("attribute_exists(dust)")},
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				old[r.Old["dust"].Str]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for value, n := range old {
		if n != 1 {
			t.Errorf("value %s was replaced %d times", value, n)
		}
	}
}

func TestOnlyOneCreatorWins(t *testing.T) {
	db, _ := openDB(t)
	createAir(t, db)
	var wg sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() {
			_, results[i] = db.PutItem(PutRequest{Table: "air", Item: reading("1", "t", fmt.Sprint(i)), Condition: Condition{Expression: new("attribute_not_exists(id)"), ReturnItem: true}})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range results {
		var e *Error
		switch {
		case err == nil:
			won++
		case !errors.As(err, &e) || e.Code != CodeConditionCheck || e.Item["id"].Str != "1":
			t.Errorf("got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers created the item", won)
	}
}

func TestDeleteItem(t *testing.T) {
	db, _ := openDB(t)
	createAir(t, db)
	key := Item{"id": String("1"), "time": String("t")}
	r := DeleteRequest{Table: "air", Key: key, ReturnOld: true}
	if got, err := db.DeleteItem(r); err != nil || got.Old != nil {
		t.Errorf("a missing item: %+v, %v", got, err)
	}
	if _, err := db.PutItem(PutRequest{Table: "air", Item: reading("1", "t", "5")}); err != nil {
		t.Fatal(err)
	}
	r.Condition = Condition{Expression: new("dust > :n"), Values: map[string]Value{":n": number(t, "5")}}
	if _, err := db.DeleteItem(r); message(err) != "The conditional request failed" {
		t.Errorf("got %v", err)
	}
	r.Condition = Condition{}
	if got, err := db.DeleteItem(r); err != nil || got.Old["dust"].Str != "5" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := db.GetItem(GetRequest{Table: "air", Key: key}); err != nil || got.Item != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDroppedTableLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	db, err := Open(st, Options{})
	if err != nil {
		t.Fatal(err)
	}
	createAir(t, db)
	late := st.NewBatch()
	if err := db.Put(late, "air", reading("late", "t", "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Delete("air"); err != nil {
		t.Fatal(err)
	}
	if err := db.Put(late, "air", reading("1", "t", "1")); message(err) != "Requested resource not found" {
		t.Errorf("put into no table: %v", err)
	}
	if err := st.Commit(late); err != nil {
		t.Fatal(err)
	}
	again := createAir(t, db)
	if n := db.Count(again); n.Items != 0 {
		t.Errorf("the new table holds %d items of the old one", n.Items)
	}
	if _, err := db.PutItem(PutRequest{Table: "air", Item: reading("2", "t", "1")}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(st, Options{}); err != nil { // sweeps
		t.Fatal(err)
	}
	defer db.Close()
	it, err := st.Iterator([]byte{byte(store.SpaceItem)}, store.PrefixEnd([]byte{byte(store.SpaceItem)}))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	items := 0
	for it.First(); it.Valid(); it.Next() {
		items++
	}
	if items != 1 {
		t.Errorf("the store holds %d items, want 1", items)
	}
}

func TestCatalogueSurvivesReopen(t *testing.T) {
	dir := t.TempDir()
	reopen := func() (*DB, *store.Store) {
		return openWith(t, dir, Options{Region: "eu-west-1", Account: "123456789012"})
	}
	db, st := reopen()
	made, err := db.Create(CreateRequest{
		Name: "num", Read: 5, Write: 6, Class: "STANDARD", Tags: []Tag{{"k", "v"}},
		Attributes: []KeyAttr{{"n", N}}, Schema: []KeyElement{{"n", "HASH"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	createAir(t, db)
	if _, err := db.PutItem(PutRequest{Table: "num", Item: Item{"n": number(t, "1e3")}}); err != nil {
		t.Fatal(err)
	}
	_, _ = db.Close(), st.Close()
	db, st = reopen()
	defer st.Close()
	defer db.Close()
	got, err := db.Describe("num")
	if err != nil {
		t.Fatal(err)
	}
	made.live = got.live // a pointer, which says nothing of what is in it
	if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *made) || got.ARN != "arn:aws:dynamodb:eu-west-1:123456789012:table/num" {
		t.Errorf("got %+v, %v\nwant %+v", got, err, made)
	}
	item, err := db.GetItem(GetRequest{Table: "num", Key: Item{"n": number(t, "1000.0")}})
	if err != nil || len(item.Item) != 1 {
		t.Errorf("%+v, %v", item, err)
	}
	if names, last := db.List("", 1); len(names) != 1 || names[0] != "air" || last != "air" {
		t.Errorf("first page %v, %q", names, last)
	}
	if names, last := db.List("air", 1); len(names) != 1 || names[0] != "num" || last != "" {
		t.Errorf("second page %v, %q", names, last)
	}
}

func TestWriteBatchIsAllOrNothing(t *testing.T) {
	db, _ := openDB(t)
	tab := createAir(t, db)
	writes := []BatchWrite{{Table: "air", Item: reading("1", "t", "1")}, {Table: "air", Item: Item{"id": String("2")}}}
	if _, err := db.WriteBatch(writes, false); message(err) != "The provided key element does not match the schema" {
		t.Errorf("got %v", err)
	}
	if n, err := db.countItems(tab); err != nil || n.Items != 0 {
		t.Errorf("%d items, %v", n.Items, err)
	}
	writes[1] = BatchWrite{Table: "air", Key: Item{"id": String("2"), "time": String("t")}}
	if units, err := db.WriteBatch(writes, false); err != nil || units["air"].Units != 2 {
		t.Errorf("%v, %v", units, err)
	}
	if n, err := db.countItems(tab); err != nil || n.Items != 1 {
		t.Errorf("%d items, %v", n.Items, err)
	}
}

func TestBatchGetLeavesWhatDoesNotFit(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	var keys []Item
	for i := range 50 {
		b := st.NewBatch()
		item := reading("1", fmt.Sprint(i), "1")
		item["x"] = String(strings.Repeat("x", 390<<10))
		if err := db.Put(b, "air", item); err != nil {
			t.Fatal(err)
		}
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, Item{"id": String("1"), "time": String(fmt.Sprint(i))})
	}
	r, err := db.GetBatch([]BatchGet{{Table: "air", Keys: keys}})
	if err != nil || len(r.Items["air"])+len(r.Left["air"]) != 50 || len(r.Left["air"]) == 0 || len(r.Items["air"]) < 40 {
		t.Errorf("%d items, %d left, %v", len(r.Items["air"]), len(r.Left["air"]), err)
	}
}
