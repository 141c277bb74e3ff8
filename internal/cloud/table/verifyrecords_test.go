package table

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/store"
	"mote/internal/watch"
)

// TestVerifyRecords damages what hangs on a table, one thing at a time.
func TestVerifyRecords(t *testing.T) {
	db, st := openDB(t)
	_, err := db.Create(CreateRequest{Name: "air", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}}, Schema: []KeyElement{{"id", "HASH"}}, Stream: ViewBoth})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.UpdateTTL("air", "until", true); err != nil {
		t.Fatal(err)
	}
	later := number(t, fmt.Sprint(time.Now().Add(time.Hour).Unix()))
	for i := range 20 {
		if _, err := db.PutItem(PutRequest{Table: "air", Item: Item{"id": String(fmt.Sprint(i % 10)), "n": number(t, fmt.Sprint(i)), "until": later}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.DeleteItem(DeleteRequest{Table: "air", Key: Item{"id": String("3")}}); err != nil {
		t.Fatal(err)
	}
	watch.Until(t, "expiry", func() bool { now := db.mustTable(t, "air"); return now.TTL != nil && now.TTL.Status == IndexActive })
	wantVerified(t, st)
	air := db.mustTable(t, "air")
	s, e := air.Stream, air.TTL
	item := Item{"id": String("4"), "n": number(t, "14"), "until": later}
	key, err := air.appendKey(nil, item, inItem)
	if err != nil {
		t.Fatal(err)
	}
	other := Item{"id": String("4"), "n": number(t, "15"), "until": later}
	otherValue, _ := air.appendItem(nil, other, nil)
	last := s.recordKey(db.sequence.Load())
	insert := Change{Event: "INSERT", At: time.Now(), Keys: Item{"id": String("9")}, New: Item{"id": String("9")}}
	wrongKey, wrongView := insert, insert
	wrongKey.New = Item{"id": String("8")}
	wrongView.Old = wrongView.New
	expired := insert
	expired.Expired = true
	strange := append([]byte{}, last...)
	strange[5]++ // the table
	early := append(last[:len(last)-8:len(last)-8], make([]byte, 8)...)
	orphan := appendBackupKey(nil, backupItems, backupID{1})
	for _, c := range []struct {
		name       string
		key, value []byte // nil: it goes
		want       string
	}{
		{"record with a bad byte", last, []byte{recordVersion, 0, 9}, "damaged"},
		{"record with more behind it", last, append(insert.encode(), 0), "damaged"},
		{"record of an item that is another", last, wrongKey.encode(), "of another item"},
		{"record with an image too many", last, wrongView.encode(), "has not the images"},
		{"record of an expired item that stays", last, expired.encode(), "expires in it that stays"},
		{"record that is gone", last, nil, "do not agree: the last record is MODIFY, the item is there: false"},
		{"record of no stream", strange, insert.encode(), "its stream is not there"},
		{"record from before the stream", early, insert.encode(), "is none of its stream's"},
		{"short key", append([]byte{byte(store.SpaceStream), streamChanges}, 1, 2), nil, ""},
		{"item without its record", key, otherValue, "another image of it"},
		{"stream", appendStreamKey(streamHead, s.table, s.id), []byte(`{"version":1,"view":"X"}`), "no view called"},
		{"expiry time that is gone", e.entry(air.id, item, key), nil, "the list of expiry times has no entry"},
		{"expiry time too many", e.entry(air.id, Item{"until": number(t, "7")}, key), []byte{}, "has 10 entries, and 9 of them"},
		{"entry of no index", appendIndexPrefix(nil, air.id, 77), []byte{}, "index with the id 77"},
		{"item of no backup", orphan, []byte{}, "no record of it"},
		{"key of nothing", []byte{byte(store.SpaceBackup), '?'}, []byte{}, "no backup and no export"},
	} {
		before, was, err := st.Get(c.key)
		if err != nil {
			t.Fatal(err)
		}
		change := func(value []byte, there bool) {
			t.Helper()
			b := st.NewBatch()
			if b.Set(c.key, value); !there {
				b.Delete(c.key)
			}
			if err := st.Commit(b); err != nil {
				t.Fatal(err)
			}
		}
		change(c.value, c.value != nil)
		var faults []string
		tables, err := Verify(t.Context(), st, func(int64) {})
		for _, v := range tables {
			faults = append(faults, v.Faults...)
		}
		records, err2 := VerifyRecords(t.Context(), st, func(int64) {})
		faults = append(faults, records.Faults...)
		if all := strings.Join(faults, "\n"); err != nil || err2 != nil || !strings.Contains(all, c.want) || (c.want == "") != (all == "") {
			t.Errorf("%s: want %q, found %q, %v, %v", c.name, c.want, all, err, err2)
		}
		change(before, was)
	}
	wantVerified(t, st)
}

func TestVerifyClosedStream(t *testing.T) {
	db, st := openDB(t)
	if _, err := db.Create(CreateRequest{Name: "air", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}}, Schema: []KeyElement{{"id", "HASH"}}, Stream: ViewKeys}); err != nil {
		t.Fatal(err)
	}
	put := func(id string) {
		t.Helper()
		if _, err := db.PutItem(PutRequest{Table: "air", Item: Item{"id": String(id)}}); err != nil {
			t.Fatal(err)
		}
	}
	put("1")
	if _, err := db.Update(TableUpdate{Name: "air", Stream: new("")}); err != nil {
		t.Fatal(err)
	}
	put("2") // no record of it
	wantVerified(t, st)
	s := db.mustTable(t, "air").Stream
	b := st.NewBatch()
	r := Change{Event: "INSERT", At: time.Now(), Keys: Item{"id": String("2")}}
	b.Set(s.recordKey(s.Last+1), r.encode())
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	if v, err := VerifyRecords(t.Context(), st, func(int64) {}); err != nil || v.Streams != 1 || v.Changes != 2 || v.Wrong != 1 || !strings.Contains(v.Faults[0], "is none of its stream's") {
		t.Errorf("%+v, %v", v, err)
	}
}
