package table

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"mote/internal/cloud/store"
	"mote/internal/watch"
)

// plainTable is the table of indexed, without its indexes.
func plainTable(name string) CreateRequest {
	r := indexed(name)
	r.Local, r.Global, r.Attributes = nil, nil, r.Attributes[:2]
	return r
}

func newIndex(r CreateRequest, i int) TableUpdate {
	return TableUpdate{Name: r.Name, Attributes: r.Attributes, Create: r.Global[i : i+1]}
}

// await waits until nothing is built or removed any more.
func await(t *testing.T, db *DB) {
	t.Helper()
	if !watch.Soon(func() bool { return len(db.Builds()) == 0 }) {
		t.Fatalf("still building: %+v", db.Builds())
	}
}

// fillTable gives a table items that no model step touches.
func fillTable(t *testing.T, db *DB, m itemModel, name string, from, to int) {
	t.Helper()
	for i := from; i < to; i += 25 {
		var writes []BatchWrite
		for j := i; j < min(i+25, to); j++ {
			item := Item{"h": String(fmt.Sprint("fill", j%50)), "r": number(t, fmt.Sprint(j)), "g": String(fmt.Sprint("g", j%3)), "n": number(t, fmt.Sprint(j%7)), "x": number(t, "1")}
			m[m.key(item)] = item
			writes = append(writes, BatchWrite{Table: name, Item: item})
		}
		if _, err := db.WriteBatch(writes, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexIsBuiltUnderWrites makes indexes of a table that is written to at
// the same time, with a batch that was filled before the index was asked for.
func TestIndexIsBuiltUnderWrites(t *testing.T) {
	db, st := openDB(t)
	if _, err := db.Create(plainTable("air")); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 9))
	m := itemModel{}
	fillTable(t, db, m, "air", 0, 1500)
	for range 40 {
		m.step(t, db, st, r, "air")
	}
	// A value that can be no key of the index was there before it: it is not in it.
	odd := Item{"h": String("odd"), "r": number(t, "1"), "g": number(t, "1")}
	m[m.key(odd)] = odd
	if _, err := db.PutItem(PutRequest{Table: "air", Item: odd}); err != nil {
		t.Fatal(err)
	}
	old := st.NewBatch()
	late := Item{"h": String("late"), "r": number(t, "1"), "g": String("late"), "n": number(t, "1")}
	gone := Item{"h": String("late"), "r": number(t, "2"), "g": String("gone"), "n": number(t, "1")}
	for _, item := range []Item{late, gone} {
		if err := db.Put(old, "air", item); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Remove(old, "air", Item{"h": gone["h"], "r": gone["r"]}); err != nil {
		t.Fatal(err)
	}
	if old.Deferred() {
		t.Fatal("the batch is not blind")
	}
	made, err := db.Update(newIndex(indexed("air"), 0))
	if err != nil || made.Indexes[0].Status != IndexCreating {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := db.Query(QueryRequest{KeyCondition: "g = :g", Reading: Reading{Table: "air", Index: "all", Values: map[string]Value{":g": String("g")}}}); len(db.Builds()) > 0 && message(err) != "Cannot read from backfilling global secondary index: all" {
		t.Error(err)
	}
	if _, err := db.Update(newIndex(indexed("air"), 1)); len(db.Builds()) > 0 && message(err) != errOneIndex.Message {
		t.Error(err)
	}
	for range 60 {
		m.step(t, db, st, r, "air")
	}
	await(t, db)
	if err := st.Commit(old); err != nil {
		t.Fatal(err)
	}
	m[m.key(late)] = late
	m.checkIndexes(t, db, r, "air")
	if _, err := db.Update(TableUpdate{Name: "air", Drop: []string{"all"}}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		m.step(t, db, st, r, "air")
	}
	await(t, db)
	if n := spaceCount(t, st, store.SpaceIndex); n != 0 {
		t.Errorf("%d entries are left of a dropped index", n)
	}
}

// TestBuildGoesOnAfterReopen ends the engine in the middle of a build.
func TestBuildGoesOnAfterReopen(t *testing.T) {
	dir := t.TempDir()
	db, st := openAt(t, dir)
	if _, err := db.Create(plainTable("air")); err != nil {
		t.Fatal(err)
	}
	m := itemModel{}
	fillTable(t, db, m, "air", 0, 3000)
	if _, err := db.Update(newIndex(indexed("air"), 1)); err != nil {
		t.Fatal(err)
	}
	watch.Until(t, "the index has begun", func() bool { return len(db.Builds()) == 0 || db.Builds()[0].Done > 0 })
	closeDB(t, db, st)
	db, st = openAt(t, dir)
	defer func() { closeDB(t, db, st) }()
	r := rand.New(rand.NewPCG(3, 3))
	for range 30 {
		m.step(t, db, st, r, "air")
	}
	await(t, db)
	m.checkIndexes(t, db, r, "air")
	if n := spaceCount(t, st, store.SpaceIndex); n != len(m.entriesOf(db.tableNamed(t, "air").Indexes[0])) {
		t.Errorf("%d keys in the space of indexes", n)
	}
}

func (db *DB) tableNamed(t *testing.T, name string) *Table {
	t.Helper()
	tab, err := db.Describe(name)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestUpdateTable(t *testing.T) {
	dir := t.TempDir()
	db, st := openAt(t, dir)
	if _, err := db.Create(indexed("air")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Update(TableUpdate{Name: "air", Billing: Provisioned, HasProvision: true, Read: 3, Write: 4, Class: "STANDARD", Protected: new(true)}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Update(TableUpdate{Name: "air", Capacity: []IndexCapacity{{Name: "some", Read: 7, Write: 8, HasProvision: true}}}); err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]TableUpdate{
		"At least one of ProvisionedThroughput":                  {Name: "air"},
		"The provisioned throughput for the table will not":      {Name: "air", HasProvision: true, Read: 3, Write: 4},
		"Requested resource not found: Table: none not found":    {Name: "none", Class: "STANDARD"},
		"Index: local not found":                                 {Name: "air", Drop: []string{"local"}},
		"Attempting to create an index which already exists":     {Name: "air", Create: []IndexRequest{{Name: "all"}}},
		"Only 1 online index can be created":                     {Name: "air", Drop: []string{"all", "some"}},
		"ProvisionedThroughput must be specified for index: new": {Name: "air", Create: []IndexRequest{{Name: "new", Global: true, Schema: []KeyElement{{"g", "HASH"}}, Projection: ProjectAll}}},
		"Some index key attributes are not defined":              {Name: "air", Create: []IndexRequest{{Name: "new", Global: true, Schema: []KeyElement{{"z", "HASH"}}, Projection: ProjectAll}}},
		"Only one global secondary index update per index":       {Name: "air", Capacity: []IndexCapacity{{Name: "all", Read: 1, Write: 1, HasProvision: true}, {Name: "all", Read: 2, Write: 2, HasProvision: true}}},
	} {
		if _, err := db.Update(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	ceiling := indexed("most")
	ceiling.Billing, ceiling.Ceiling = PayPerRequest, Ceiling{Read: 5, Write: noCeiling}
	if _, err := db.Create(ceiling); err != nil {
		t.Fatal(err)
	}
	closeDB(t, db, st)
	db, st = openAt(t, dir)
	defer func() { closeDB(t, db, st) }()
	if got := db.tableNamed(t, "most").Ceiling; got != (Ceiling{Read: 5}) {
		t.Errorf("the ceiling is %+v when it is opened again", got)
	}
	got := db.tableNamed(t, "air")
	if got.Billing != Provisioned || got.Read != 3 || got.Write != 4 || got.Class != "STANDARD" || got.IndexNamed("some").Write != 8 {
		t.Errorf("%+v", got)
	}
	var refused *Error
	if _, err := db.Delete("air"); !errors.As(err, &refused) || refused.Code != CodeValidation {
		t.Errorf("a protected table: %v", err)
	}
	if _, err := db.Update(TableUpdate{Name: "air", Protected: new(false)}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Delete("air"); err != nil {
		t.Error(err)
	}
}
