package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"mote/internal/cloud/store"
)

// allChanges reads a stream from its beginning, a few records at a time.
func allChanges(t *testing.T, db *DB, arn string) (all []Change) {
	t.Helper()
	s, err := db.Stream(arn)
	if err != nil {
		t.Fatal(err)
	}
	for from := s.Oldest(); ; {
		list, next, err := db.Changes(s, from, 7)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
		if len(list) == 0 || next == 0 {
			return all
		}
		from = next
	}
}

// TestStreamReplaysTheTable plays the records of a stream back: each must fit
// the state that those before it made, and all together make the table.
func TestStreamReplaysTheTable(t *testing.T) {
	dir := t.TempDir()
	db, st := openAt(t, dir)
	request := indexed("air")
	request.Stream = ViewBoth
	made, err := db.Create(request)
	if err != nil {
		t.Fatal(err)
	}
	arn := made.Stream.ARN
	r := rand.New(rand.NewPCG(11, 1))
	m := itemModel{}
	for range 100 {
		m.step(t, db, st, r, "air")
	}
	closeDB(t, db, st)
	db, st = openAt(t, dir)
	defer func() { closeDB(t, db, st) }()
	for range 100 {
		m.step(t, db, st, r, "air")
	}
	state, last := itemModel{}, uint64(0)
	for _, c := range allChanges(t, db, arn) {
		key := m.key(c.Keys)
		if c.Sequence <= last || len(c.Keys) != 2 || c.Size == 0 || !reflect.DeepEqual(c.Old, state[key]) {
			t.Fatalf("record %+v after %d, on %v", c, last, state[key])
		}
		last = c.Sequence
		want := "MODIFY"
		switch {
		case c.Old == nil:
			want = "INSERT"
		case c.New == nil:
			want = "REMOVE"
		case reflect.DeepEqual(c.Old, c.New):
			t.Fatalf("record %+v changes nothing", c)
		}
		if c.Event != want {
			t.Fatalf("record %+v, want %s", c, want)
		}
		if state[key] = c.New; c.New == nil {
			delete(state, key)
		}
	}
	if !maps.EqualFunc(state, m, func(a, b Item) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("the stream makes %d items, the table has %d", len(state), len(m))
	}
}

func TestStreamViews(t *testing.T) {
	db, _ := openDB(t)
	for view, want := range map[string][3][2]bool{ // old and new image of an insertion, a change, a removal
		ViewKeys: {}, ViewNew: {{false, true}, {false, true}}, ViewOld: {1: {true, false}, 2: {true, false}},
		ViewBoth: {{false, true}, {true, true}, {true, false}},
	} {
		request := plainTable(view)
		request.Stream = view
		made, err := db.Create(request)
		if err != nil {
			t.Fatal(err)
		}
		item := Item{"h": String("a"), "r": number(t, "1"), "set": {Kind: SS, Set: []string{"a", "b"}}}
		for _, set := range [][]string{{"a", "b"}, {"b", "a"}, {"c"}} { // the second is the same
			item["set"] = Value{Kind: SS, Set: set}
			if _, err := db.PutItem(PutRequest{Table: view, Item: item}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if _, err := db.DeleteItem(DeleteRequest{Table: view, Key: Item{"h": item["h"], "r": item["r"]}}); err != nil {
				t.Fatal(err)
			}
		}
		list := allChanges(t, db, made.Stream.ARN)
		if len(list) != 3 {
			t.Fatalf("%s: %d records %+v", view, len(list), list)
		}
		for i, c := range list {
			if got := [2]bool{c.Old != nil, c.New != nil}; got != want[i] || c.Event != events[i] {
				t.Errorf("%s: record %d is %+v", view, i, c)
			}
		}
	}
}

// TestStreamsOutliveTheirTable closes streams in both ways, and lets a day pass.
func TestStreamsOutliveTheirTable(t *testing.T) {
	var now atomic.Int64
	now.Store(1_000_000)
	db, st := openWith(t, t.TempDir(), Options{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	defer closeDB(t, db, st)
	db.works.Store("trim", true) // the steps are made here
	if _, err := db.Create(plainTable("air")); err != nil {
		t.Fatal(err)
	}
	put := func(i int) {
		t.Helper()
		if _, err := db.PutItem(PutRequest{Table: "air", Item: Item{"h": String("a"), "r": number(t, fmt.Sprint(i))}}); err != nil {
			t.Fatal(err)
		}
	}
	b := st.NewBatch()
	if err := db.Put(b, "air", Item{"h": String("early"), "r": number(t, "1")}); err != nil {
		t.Fatal(err)
	}
	one, err := db.Update(TableUpdate{Name: "air", Stream: new(ViewNew)})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(b); err != nil { // it was blind, and is in the stream
		t.Fatal(err)
	}
	if _, err := db.Update(TableUpdate{Name: "air", Stream: new(ViewNew)}); message(err) != "Table already has an enabled stream: TableName: air" {
		t.Error(err)
	}
	put(1)
	closed, err := db.Update(TableUpdate{Name: "air", Stream: new("")})
	if err != nil || closed.Stream.Closed.IsZero() {
		t.Fatalf("%+v, %v", closed, err)
	}
	put(2)
	now.Add(3600)
	two, err := db.Update(TableUpdate{Name: "air", Stream: new(ViewKeys)})
	if err != nil {
		t.Fatal(err)
	}
	put(3)
	now.Add(12 * 3600)
	put(4)
	if first := allChanges(t, db, one.Stream.ARN); len(first) != 2 || first[0].Keys["h"].Str != "early" {
		t.Errorf("the first stream: %+v", first)
	}
	if _, next, err := db.Changes(db.streamNamed(t, one.Stream.ARN), 1, 0); next != 0 || err != nil {
		t.Errorf("a closed stream goes on at %d, %v", next, err)
	}
	trim := func(records, streams int) {
		t.Helper()
		for _, s := range db.Streams("") {
			if _, err := db.trim(s.ARN); err != nil {
				t.Fatal(err)
			}
		}
		if n := spaceCount(t, st, store.SpaceStream); n != records+streams || len(db.Streams("air")) != streams {
			t.Errorf("%d keys and %d streams, want %d records of %d", n, len(db.Streams("air")), records, streams)
		}
	}
	trim(4, 2)
	now.Add(11*3600 + 60) // a day and a minute after the first was closed
	trim(2, 1)
	now.Add(3600)
	trim(1, 1)
	if _, _, err := db.Changes(db.streamNamed(t, two.Stream.ARN), two.Stream.First, 0); err != errTrimmed {
		t.Errorf("a removed record: %v", err)
	}
	if _, err := db.Delete("air"); err != nil {
		t.Fatal(err)
	}
	if list := allChanges(t, db, two.Stream.ARN); len(list) != 1 || list[0].Keys["r"].Str != "4" {
		t.Errorf("of the dropped table: %+v", list)
	}
	now.Add(25 * 3600)
	trim(0, 0)
}

func (db *DB) streamNamed(t *testing.T, arn string) *Stream {
	t.Helper()
	s, err := db.Stream(arn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func FuzzChange(f *testing.F) {
	item := Item{"h": String("a"), "n": {Kind: N, Str: "1"}, "s": {Kind: SS, Set: []string{"x"}}}
	for _, c := range []Change{{Event: "INSERT", At: time.UnixMilli(5), Keys: item, New: item}, {Event: "REMOVE", At: time.UnixMilli(6), Keys: item, Old: item, Expired: true}} {
		f.Add(c.encode())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeChange(data)
		if err != nil {
			return
		}
		again, err := decodeChange(c.encode())
		if err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v, %v\nwas %+v", again, err, c)
		}
	})
}

func TestSequenceTexts(t *testing.T) {
	for _, seq := range []uint64{0, 1, 42, 1 << 62} {
		if got, err := ParseSequence(SequenceText(seq)); err != nil || got != seq || len(SequenceText(seq)) != 21 {
			t.Errorf("%d: %s, %d, %v", seq, SequenceText(seq), got, err)
		}
	}
	for _, text := range []string{"", "1", "200000000000000000001", "1000000000000000000x1", "199999999999999999999"} {
		if got, err := ParseSequence(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}
