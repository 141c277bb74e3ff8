package table

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// What Each gets are the items that Page.Items would hold, whether they were
// looked into on the way or not.
func TestEachGetsTheItemsOfThePage(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	rng := rand.New(rand.NewPCG(9, 9))
	b := st.NewBatch()
	for n := range 60 {
		item := Item{"id": String(fmt.Sprint(n % 2)), "time": String(fmt.Sprintf("%03d", n)), "a": randomValue(t, rng, 3), "zone": randomValue(t, rng, 1), "x": Bool(n%3 == 0)}
		if err := db.Put(b, "air", item); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	filter, projection := "x = :yes", "a, x"
	for _, r := range []QueryRequest{
		{}, {Descending: true}, {Reading: Reading{Limit: 7}}, {Reading: Reading{Limit: 7}, Descending: true},
		{Reading: Reading{Filter: &filter, Values: Item{":yes": Bool(true)}}}, {Reading: Reading{Projection: &projection}},
		{Reading: Reading{CountOnly: true}}, {Reading: Reading{StartKey: Item{"id": String("1"), "time": String("031")}}},
	} {
		r.Table, r.KeyCondition = "air", "id = :id"
		r.Values = withValue(r.Values, ":id", String("1"))
		want, err := db.Query(r)
		if err != nil {
			t.Fatal(err)
		}
		var got []Item
		r.Each = func(members []Member) {
			if !slices.IsSortedFunc(members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) }) {
				t.Errorf("not in the order of names: %v", members)
			}
			got = append(got, itemOf(members))
		}
		page, err := db.Query(r)
		if err != nil {
			t.Fatal(err)
		}
		if page.Items != nil || !reflect.DeepEqual(got, want.Items) {
			t.Errorf("%+v: got %v, want %v", r.Reading, got, want.Items)
		}
		if page.Items = got; !reflect.DeepEqual(page, want) {
			t.Errorf("%+v: page %+v, want %+v", r.Reading, page, want)
		}
	}
}

func withValue(values Item, name string, v Value) Item {
	out := Item{name: v}
	for k, w := range values {
		out[k] = w
	}
	return out
}

func TestPageOfRowsEndsAtItsSize(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	for n := range 4 {
		b := st.NewBatch()
		if err := db.Put(b, "air", Item{"id": String("1"), "time": String(fmt.Sprint(n)), "x": String(strings.Repeat("x", 390<<10))}); err != nil {
			t.Fatal(err)
		}
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	page, err := db.Scan(ScanRequest{Reading: Reading{Table: "air", Each: func([]Member) { got++ }}})
	if err != nil || got != 3 || page.Count != 3 || !reflect.DeepEqual(page.LastKey, Item{"id": String("1"), "time": String("2")}) {
		t.Errorf("%d items, count %d, last %v, %v", got, page.Count, page.LastKey, err)
	}
}
