package table

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/store"
)

// addTo is a transaction that adds 1 to n of an item.
func addTo(t *testing.T, id, token string) Transaction {
	return Transaction{Token: token, Fingerprint: [32]byte{1}, Writes: []TransactWrite{{Update: &UpdateRequest{
		Table: "tab", Key: Item{"id": String(id)}, Expression: new("ADD n :v"), Condition: Condition{Values: map[string]Value{":v": number(t, "1")}},
	}}}}
}

func wantN(t *testing.T, db *DB, id, want string) {
	t.Helper()
	got, err := db.GetItem(GetRequest{Table: "tab", Key: Item{"id": String(id)}})
	if err != nil || got.Item["n"].Str != want {
		t.Errorf("%s: n is %q (%v), want %s", id, got.Item["n"].Str, err, want)
	}
}

func TestTokensOverRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	db, st := openAt(t, dir)
	if _, err := db.Create(CreateRequest{Name: "tab", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}}, Schema: []KeyElement{{"id", "HASH"}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if u, err := db.TransactWrite(addTo(t, "a", "one")); err != nil || u.Units["tab"].Units != 2 {
			t.Fatal(u, err)
		}
		if err := errors.Join(db.Close(), st.Close()); err != nil {
			t.Fatal(err)
		}
		db, st = openAt(t, dir)
	}
	defer st.Close()
	defer db.Close()
	wantN(t, db, "a", "1")
	u, err := db.TransactWrite(addTo(t, "a", "one"))
	if err != nil || !u.Read {
		t.Errorf("%+v, %v: want it known", u, err)
	}
	other := addTo(t, "a", "one")
	other.Fingerprint[0] = 2
	var e *Error
	if _, err := db.TransactWrite(other); !errors.As(err, &e) || e.Code != CodeMismatch {
		t.Errorf("got %v", err)
	}
	wantN(t, db, "a", "1")
}

func TestTokensEnd(t *testing.T) {
	db, st := openDB(t)
	if _, err := db.Create(CreateRequest{Name: "tab", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}}, Schema: []KeyElement{{"id", "HASH"}}}); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Second).UnixNano()
	b := st.NewBatch()
	for _, token := range []string{"old1", "old2", "used"} {
		record := binary.BigEndian.AppendUint64([]byte{tokenVersion}, uint64(past))
		b.Set(recordKey(token), append(record, make([]byte, 32)...))
		b.Set(endKey(past, token), nil)
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first finds the token out of date, the second is a repeat
		if _, err := db.TransactWrite(addTo(t, "a", "used")); err != nil {
			t.Fatal(err)
		}
	}
	wantN(t, db, "a", "1")
	var left []string
	space := []byte{byte(store.SpaceToken)}
	it, err := st.Iterator(space, store.PrefixEnd(space))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		left = append(left, string(it.Key()[1:2])+strings.TrimLeft(string(it.Key()[len(it.Key())-4:]), "\x00"))
	}
	if strings.Join(left, " ") != "eused rused" {
		t.Errorf("left are %q", left)
	}
}

func TestTransactionIsLimited(t *testing.T) {
	db, _ := openDB(t)
	if _, err := db.Create(CreateRequest{Name: "tab", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}}, Schema: []KeyElement{{"id", "HASH"}}}); err != nil {
		t.Fatal(err)
	}
	var x Transaction
	for i := range 11 {
		x.Writes = append(x.Writes, TransactWrite{Put: &PutRequest{Table: "tab", Item: Item{"id": String(string(rune('a' + i))), "n": String(strings.Repeat("x", 399<<10))}}})
	}
	if _, err := db.TransactWrite(x); !errors.Is(err, errLargeWrite) {
		t.Errorf("got %v", err)
	}
	wantN(t, db, "a", "")
	x.Writes = x.Writes[:10]
	if u, err := db.TransactWrite(x); err != nil || u.Units["tab"].Units != 2*10*400 {
		t.Errorf("%v, %v", u, err)
	}
	for i := range 10 { // what goes does not count
		x.Writes[i] = TransactWrite{Delete: &DeleteRequest{Table: "tab", Key: Item{"id": String(string(rune('a' + i)))}}}
	}
	x.Writes = append(x.Writes, TransactWrite{Put: &PutRequest{Table: "tab", Item: Item{"id": String("z"), "n": String(strings.Repeat("x", 399<<10))}}})
	if _, err := db.TransactWrite(x); err != nil {
		t.Error(err)
	}
	wantN(t, db, "a", "")
	x.Writes = make([]TransactWrite, 101)
	if _, err := db.TransactWrite(x); err == nil {
		t.Error("101 actions were taken")
	}
}
