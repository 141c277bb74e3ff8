package table

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"mote/internal/cloud/store"
)

// openWithTable opens an engine with the table air, whose key is the text id.
func openWithTable(t *testing.T) *DB {
	t.Helper()
	db, _ := openDB(t)
	_, err := db.Create(CreateRequest{Name: "air", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}}, Schema: []KeyElement{{"id", "HASH"}}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// flat shows an item of texts.
func flat(item Item) string {
	var parts []string
	for name, v := range item {
		parts = append(parts, name+"="+v.Str)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func never(t *testing.T) func(error) {
	return func(err error) { t.Errorf("late: %v", err) }
}

func TestSetAttributeKeepsTheOthers(t *testing.T) {
	db := openWithTable(t)
	key := Item{"id": String("1")}
	set := func(b *store.Batch, name string, v Value) {
		t.Helper()
		if err := db.SetAttribute(b, "air", key, name, v, never(t)); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(b *store.Batch, want string) {
		t.Helper()
		if err := db.st.Commit(b); err != nil {
			t.Fatal(err)
		}
		got, err := db.GetItem(GetRequest{Table: "air", Key: key})
		if err != nil || flat(got.Item) != want {
			t.Errorf("item %s, %v, want %s", flat(got.Item), err, want)
		}
	}
	b := db.st.NewBatch()
	set(b, "a", String("1"))
	set(b, "b", String("1"))
	commit(b, "a=1 b=1 id=1")

	b = db.st.NewBatch()
	set(b, "a", String("2"))
	commit(b, "a=2 b=1 id=1")

	// The writes of one batch keep their order.
	b = db.st.NewBatch()
	set(b, "c", String("3"))
	if err := db.PutMembers(b, "air", []Member{{"id", String("1")}, {"d", String("4")}}); err != nil {
		t.Fatal(err)
	}
	set(b, "e", String("5"))
	commit(b, "d=4 e=5 id=1")

	b = db.st.NewBatch()
	set(b, "f", String("6"))
	if err := db.Remove(b, "air", key); err != nil {
		t.Fatal(err)
	}
	commit(b, "")

	b = db.st.NewBatch()
	if err := db.Remove(b, "air", key); err != nil {
		t.Fatal(err)
	}
	set(b, "g", String("7"))
	commit(b, "g=7 id=1")
}

func TestSetAttributeRefusals(t *testing.T) {
	db := openWithTable(t)
	big := String(strings.Repeat("x", maxItemSize))
	for _, c := range []struct {
		table string
		key   Item
		name  string
		value Value
		want  string
	}{
		{"none", Item{"id": String("1")}, "a", String("1"), "ResourceNotFoundException: Requested resource not found"},
		{"air", Item{"id": {Kind: N, Str: "1"}}, "a", String("1"), "ValidationException: The provided key element does not match the schema"},
		{"air", Item{"id": String("1"), "x": String("1")}, "a", String("1"), "ValidationException: The provided key element does not match the schema"},
		{"air", Item{"id": String("1")}, "id", String("1"), "ValidationException: One or more parameter values were invalid: Cannot update attribute id. This attribute is part of the key"},
		{"air", Item{"id": String("1")}, "a", big, "ValidationException: Item size to update has exceeded the maximum allowed size"},
	} {
		b := db.st.NewBatch()
		if err := db.SetAttribute(b, c.table, c.key, c.name, c.value, never(t)); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if !b.Empty() || b.Deferred() {
			t.Errorf("%s: left something in the batch", c.want)
		}
		b.Discard()
	}
	if err := db.Remove(nil, "air", Item{"x": String("1")}); err == nil {
		t.Error("a key of another schema is taken")
	}
}

// An item that only all writes of a batch together make too large stays as the
// last fitting write leaves it, and the batch is not refused.
func TestSetAttributeTooLargeLate(t *testing.T) {
	db := openWithTable(t)
	half := String(strings.Repeat("x", maxItemSize/2))
	var late []error
	b := db.st.NewBatch()
	for _, name := range []string{"a", "b", "c"} {
		err := db.SetAttribute(b, "air", Item{"id": String("1")}, name, half, func(err error) { late = append(late, err) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.st.Commit(b); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if len(late) != 2 || !errors.As(late[0], &e) {
		t.Fatalf("late %v", late)
	}
	got, err := db.GetItem(GetRequest{Table: "air", Key: Item{"id": String("1")}})
	if err != nil || len(got.Item) != 2 {
		t.Errorf("%d attributes, %v", len(got.Item), err)
	}
}

// Every one of many writers finds its own attribute again.
func TestSetAttributeIsIsolated(t *testing.T) {
	db := openWithTable(t)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 8 {
				b := db.st.NewBatch()
				name := string(rune('a'+w)) + string(rune('0'+i))
				if err := db.SetAttribute(b, "air", Item{"id": String("1")}, name, Bool(true), never(t)); err != nil {
					t.Error(err)
				}
				if err := db.st.Commit(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := db.GetItem(GetRequest{Table: "air", Key: Item{"id": String("1")}})
	if err != nil || len(got.Item) != 1+4*8 {
		t.Errorf("%d attributes, %v", len(got.Item), err)
	}
}
