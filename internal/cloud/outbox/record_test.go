package outbox

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

func sampleEntries() []*Entry {
	at := time.UnixMilli(1764000000123)
	return []*Entry{
		{Kind: "http", Rule: "r", Lane: "https://example.com/a", Added: at, Data: []byte("data"), Context: []byte("context"), HasErrorAction: true},
		{Kind: "s3", Added: at, Data: []byte{}, Context: []byte{}},
		{Kind: "http", Added: at, Data: []byte("x"), Context: []byte{}, Batch: &Batching{MaxOpen: 20 * time.Millisecond, MaxSize: 10, MaxBytes: 5120, Weight: 1}},
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	run := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	for _, e := range sampleEntries() {
		key := appendKey(nil, newLaneID(e.Kind, e.Rule, e.Lane), 258)
		got, err := parseRecord(key, appendRecord(nil, e, run))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != "01020304050607080000000000000102" {
			t.Errorf("id %s", got.ID)
		}
		want := *e
		want.ID, want.seq, want.key, want.size = got.ID, 258, key, got.size
		if !reflect.DeepEqual(got, &want) {
			t.Errorf("got %+v, want %+v", got, &want)
		}
	}
}

// TestRecordOfVersion1 holds the bytes of FORMAT.md.
func TestRecordOfVersion1(t *testing.T) {
	value := []byte("\x01\x03\x00\x00\x01\x9a\xb6\xf4\x94\x7b\x01\x02\x03\x04\x05\x06\x07\x08\x04http\x01r\x01u\x14\x0a\x80\x28\x04\x02cxdata")
	e, err := parseRecord(appendKey(nil, laneID{}, 1), value)
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != "http" || e.Rule != "r" || e.Lane != "u" || !e.HasErrorAction || string(e.Context) != "cx" || string(e.Data) != "data" ||
		*e.Batch != (Batching{20 * time.Millisecond, 10, 5120, 4}) || e.Added.UnixMilli() != 0x19ab6f4947b {
		t.Errorf("got %+v %+v", e, e.Batch)
	}
	if again := appendRecord(nil, e, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}); !bytes.Equal(again, value) {
		t.Errorf("written as %q", again)
	}
}

func FuzzParseRecord(f *testing.F) {
	key := appendKey(nil, laneID{1}, 7)
	for _, e := range sampleEntries() {
		value := appendRecord(nil, e, [8]byte{})
		f.Add(key, value)
		f.Add(key, value[:len(value)/2])
	}
	f.Add([]byte("oe"), []byte{recordVersion})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		e, err := parseRecord(key, value)
		if err != nil {
			return
		}
		if e.Kind == "" || len(e.Lane) > maxLane || len(e.Data)+len(e.Context) > maxEntry || e.Batch != nil && e.Batch.MaxSize < 1 {
			t.Errorf("took %+v", e)
		}
		again, err := parseRecord(key, appendRecord(nil, e, [8]byte{}))
		if err != nil {
			t.Fatal(err)
		}
		again.ID, again.size = e.ID, e.size
		if !reflect.DeepEqual(e, again) {
			t.Errorf("%+v came back as %+v", e, again)
		}
	})
}
