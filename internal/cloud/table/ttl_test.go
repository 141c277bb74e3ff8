package table

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/cloud/store"
	"mote/internal/watch"
)

// TestExpiredItemsGo moves an injected clock over the expiry times of items.
func TestExpiredItemsGo(t *testing.T) {
	var now atomic.Int64
	now.Store(1_000_000_000)
	db, st := openWith(t, t.TempDir(), Options{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	defer closeDB(t, db, st)
	if _, err := db.Create(indexed("air")); err != nil {
		t.Fatal(err)
	}
	put := func(r int, expiry Value) {
		t.Helper()
		item := Item{"h": String("a"), "r": number(t, fmt.Sprint(r)), "g": String("g"), "n": number(t, "1"), "exp": expiry}
		if _, err := db.PutItem(PutRequest{Table: "air", Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	put(1, number(t, "1000000010.5"))
	put(2, number(t, "1000000020"))
	put(3, String("1000000001"))   // no number
	put(4, number(t, "800000000")) // more than five years past
	put(5, number(t, "-5"))
	db.works.Store(counterKey{db.tableNamed(t, "air").id, 0}, true) // the steps are made here
	if err := db.UpdateTTL("air", "exp", true); err != nil {
		t.Fatal(err)
	}
	await(t, db)
	put(6, number(t, "1000000010"))
	const different = "TimeToLive is active on a different AttributeName: current AttributeName is exp"
	for _, c := range []struct {
		attribute string
		enabled   bool
		want      string
	}{{"exp", true, "TimeToLive is already enabled"}, {"other", true, different}, {"other", false, different}} {
		if err := db.UpdateTTL("air", c.attribute, c.enabled); message(err) != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	tab := db.tableNamed(t, "air")
	left := func() (all string) {
		p, err := db.Query(QueryRequest{KeyCondition: "h = :h", Reading: Reading{Table: "air", Values: map[string]Value{":h": String("a")}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range p.Items {
			all += item["r"].Str
		}
		return all
	}
	step := func(at int64, want string) {
		t.Helper()
		now.Store(at)
		if _, err := db.expireStep(tab); err != nil {
			t.Fatal(err)
		}
		if got := left(); got != want {
			t.Errorf("at %d: got %s, want %s", at, got, want)
		}
	}
	step(1_000_000_010, "123456")
	// The time of an item is looked at again when it is removed.
	tab = db.tableNamed(t, "air")
	now.Store(1_000_000_011)
	keys, err := db.expiredKeys(tab)
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d expired keys, %v", len(keys), err)
	}
	put(6, number(t, "1000000030"))
	step(1_000_000_011, "23456")
	step(1_000_000_025, "3456")
	step(1_000_000_099, "345")
	if p, err := db.Scan(ScanRequest{Reading: Reading{Table: "air", Index: "all"}}); err != nil || len(p.Items) != 3 {
		t.Errorf("%d items in the index, %v", len(p.Items), err)
	}
	if err := db.UpdateTTL("air", "exp", false); err != nil {
		t.Fatal(err)
	}
	await(t, db)
	if err := db.UpdateTTL("air", "exp", false); message(err) != "TimeToLive is already disabled" {
		t.Error(err)
	}
	if n := spaceCount(t, st, store.SpaceIndex); n != 9 {
		t.Errorf("%d entries, want those of three indexes", n)
	}
}

// TestExpiryRunsByItself leaves the removal to the engine, also after a restart.
func TestExpiryRunsByItself(t *testing.T) {
	dir := t.TempDir()
	db, st := openAt(t, dir)
	if _, err := db.Create(plainTable("air")); err != nil {
		t.Fatal(err)
	}
	if err := db.UpdateTTL("air", "exp", true); err != nil {
		t.Fatal(err)
	}
	past := fmt.Sprint(time.Now().Add(-time.Hour).Unix())
	closeDB(t, db, st)
	db, st = openAt(t, dir)
	defer func() { closeDB(t, db, st) }()
	for i := range 100 {
		if _, err := db.PutItem(PutRequest{Table: "air", Item: Item{"h": String("a"), "r": number(t, fmt.Sprint(i)), "exp": number(t, past)}}); err != nil {
			t.Fatal(err)
		}
	}
	watch.Until(t, "no expired item is there", func() bool { return spaceCount(t, st, store.SpaceItem) == 0 })
}
