package table

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	db, st := openDB(t)
	createAir(t, db)
	b := st.NewBatch()
	for i := range 3000 {
		item := Item{"id": String(fmt.Sprint(i % 7)), "time": String(fmt.Sprint(i)), "set": {Kind: SS, Set: []string{"b", "a"}}, "n": number(t, "-1.5")}
		if err := db.Put(b, "air", item); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	verify := func() []Verified {
		t.Helper()
		seen := int64(0)
		found, err := Verify(context.Background(), st, func(n int64) { seen += n })
		if err != nil || len(found) == 0 || found[0].Name != "air" || seen != found[0].Items {
			t.Fatalf("%+v, %v, %d seen", found, err, seen)
		}
		return found
	}
	n, err := db.countItems(db.mustTable(t, "air"))
	if got := verify()[0]; err != nil || got.Wrong != 0 || got.Items != n.Items || got.Bytes != n.Bytes {
		t.Errorf("%+v, want %+v, %v", got, n, err)
	}
	air := db.mustTable(t, "air")
	item := Item{"id": String("x"), "time": String("y"), "b": String("1"), "a": String("2")}
	key, err := air.appendKey(nil, item, inItem)
	if err != nil {
		t.Fatal(err)
	}
	value, _ := air.appendItem(nil, item, nil)
	wrongSlot := append([]byte{}, key...)
	wrongSlot[5] ^= 1
	unordered := append([]byte{itemVersion, 2}, appendValue(appendString(nil, "b"), new(String("1")))...)
	unordered = append(unordered, appendValue(appendString(nil, "a"), new(String("2")))...)
	strange := append([]byte{}, key...)
	strange[1] = 0x7f
	for _, c := range []struct {
		key, value []byte
		want       string
	}{
		{wrongSlot, value, "a key that is not its own"},
		{key, unordered, "not written as"},
		{key, value[:len(value)-1], "damaged"},
		{key[:len(key)-1], value, "damaged"},
		{strange, value, "no table has had"},
		{key[:3], value, "too short"},
	} {
		b := st.NewBatch()
		b.Set(c.key, c.value)
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
		found := verify()
		if last := found[len(found)-1]; last.Wrong != 1 || !strings.Contains(last.Faults[0], c.want) {
			t.Errorf("want %q, found %+v", c.want, last)
		}
		b = st.NewBatch()
		b.Delete(c.key)
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVerifyIndexes(t *testing.T) {
	db, st := openDB(t)
	_, err := db.Create(CreateRequest{Name: "air", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}, {"n", N}},
		Schema: []KeyElement{{"id", "HASH"}}, Global: []IndexRequest{{Name: "by-n", Global: true, Schema: []KeyElement{{"n", "HASH"}}, Projection: ProjectAll}}})
	if err != nil {
		t.Fatal(err)
	}
	b := st.NewBatch()
	for i := range 50 {
		item := Item{"id": String(fmt.Sprint(i)), "x": String("x")}
		if i%2 == 0 {
			item["n"] = number(t, fmt.Sprint(i%5))
		}
		if err := db.Put(b, "air", item); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	verify := func() Verified {
		t.Helper()
		found, err := Verify(context.Background(), st, func(int64) {})
		if err != nil || len(found) != 1 {
			t.Fatalf("%+v, %v", found, err)
		}
		return found[0]
	}
	if v := verify(); v.Entries != 25 || v.Wrong != 0 {
		t.Errorf("%+v", v)
	}
	air := db.mustTable(t, "air")
	item := Item{"id": String("4"), "x": String("x"), "n": number(t, "4")}
	itemKey, err := air.appendKey(nil, item, inItem)
	if err != nil {
		t.Fatal(err)
	}
	key, value := air.Indexes[0].entry(item, itemKey)
	orphan, _ := air.Indexes[0].entry(Item{"id": String("4"), "n": number(t, "77")}, itemKey)
	for _, c := range []struct {
		key, value []byte
		wrong      int64
		want       string
	}{
		{key, nil, 1, "no entry of the item"},
		{key, value[:len(value)-1], 1, "another image"},
		{orphan, value, 1, "has 26 entries, and 25 of them"},
	} {
		b := st.NewBatch()
		if b.Set(c.key, c.value); c.value == nil {
			b.Delete(c.key)
		}
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
		if v := verify(); v.Wrong != c.wrong || !strings.Contains(v.Faults[0], c.want) {
			t.Errorf("want %q: %+v", c.want, v)
		}
		b = st.NewBatch()
		b.Delete(orphan)
		b.Set(key, value)
		if err := st.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
}

func (db *DB) mustTable(t *testing.T, name string) *Table {
	t.Helper()
	found, err := db.table(name)
	if err != nil {
		t.Fatal(err)
	}
	return found
}
