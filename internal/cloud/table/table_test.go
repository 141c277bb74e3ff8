package table

import (
	"testing"

	"mote/internal/cloud/store"
)

func openDB(t testing.TB) (*DB, *store.Store) {
	t.Helper()
	db, st := openAt(t, t.TempDir())
	t.Cleanup(func() { _, _ = db.Close(), st.Close() })
	return db, st
}

// openAt opens what is in dir; who calls it closes both.
func openAt(t testing.TB, dir string) (*DB, *store.Store) {
	t.Helper()
	return openWith(t, dir, Options{})
}

func openWith(t testing.TB, dir string, o Options) (*DB, *store.Store) {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := Open(st, o)
	if err != nil {
		t.Fatal(err)
	}
	return db, st
}

func createAir(t testing.TB, db *DB) *Table {
	t.Helper()
	tab, err := db.Create(CreateRequest{
		Name: "air", Billing: PayPerRequest,
		Attributes: []KeyAttr{{"time", S}, {"id", S}},
		Schema:     []KeyElement{{"id", "HASH"}, {"time", "RANGE"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func reading(id, time, dust string) Item {
	n, err := Number(dust)
	if err != nil {
		panic(err)
	}
	return Item{"id": String(id), "time": String(time), "dust": n}
}

func TestPutIsABlindWriteIntoTheBatch(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	b := st.NewBatch()
	for _, at := range []string{"1", "2", "2"} {
		if err := db.Put(b, "air", reading("7", at, "35.20")); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	tab, err := db.Describe("air")
	if err != nil {
		t.Fatal(err)
	}
	if n := db.Count(tab); n.Items != 2 {
		t.Errorf("%d items, want 2: the same key again is the same item", n.Items)
	}
}
