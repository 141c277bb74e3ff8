package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
)

// fakeBroker lets a test publish to whoever watches.
type fakeBroker struct {
	mu       sync.Mutex
	watchers []chan<- *message.Message
}

func (f *fakeBroker) Watch(ch chan<- *message.Message) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers = append(f.watchers, ch)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.watchers = slices.DeleteFunc(f.watchers, func(c chan<- *message.Message) bool { return c == ch })
	}
}

func (f *fakeBroker) watched() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers)
}

func (f *fakeBroker) publish(topic, payload string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, ch := range f.watchers {
		ch <- &message.Message{Topic: topic, Payload: []byte(payload), Time: time.Now()}
	}
}

// parts are a console's surroundings: a fake broker, real tables.
type parts struct {
	broker   *fakeBroker
	store    *store.Store
	tables   *table.DB
	refusals *refusal.Log
}

func newParts(t testing.TB) *parts {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := table.Open(st, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = db.Close(), st.Close() })
	return &parts{&fakeBroker{}, st, db, refusal.New(nil)}
}

func (p *parts) console(t testing.TB) *Console {
	t.Helper()
	k := New(p.config())
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func (p *parts) config() Config {
	return Config{Messages: p.broker, Tables: p.tables, Refusals: p.refusals, Counters: func() Counters {
		return Counters{Builds: []Build{{Table: "air", Index: "by-place", Done: 0.456}}, Connections: 1, Sessions: 2, Received: 1234, Queued: 7, Dropped: 3, Rules: []Rule{
			{Name: "store_air", Filter: "sensors/+/air", Enabled: true, Matched: 1234, Fired: 1230, Failed: 2, LastError: &RuleError{Text: "missing the key id in the item", Action: "DynamoDBv2Action", Topic: "sensors/1/air", Payload: `{"dust":1}`}},
			{Name: "store_rest", Filter: "rest/prod/dust"},
		}}
	}}
}

// create makes a table with a text hash key and, unless it is "", a range key.
func (p *parts) create(t testing.TB, name, hash, sort string, kind table.Kind) {
	t.Helper()
	r := table.CreateRequest{Name: name, Billing: table.PayPerRequest,
		Attributes: []table.KeyAttr{{Name: hash, Kind: table.S}}, Schema: []table.KeyElement{{Name: hash, Type: "HASH"}}}
	if sort != "" {
		r.Attributes = append(r.Attributes, table.KeyAttr{Name: sort, Kind: kind})
		r.Schema = append(r.Schema, table.KeyElement{Name: sort, Type: "RANGE"})
	}
	if _, err := p.tables.Create(r); err != nil {
		t.Fatal(err)
	}
}

func (p *parts) put(t testing.TB, name string, items ...table.Item) {
	t.Helper()
	b := p.store.NewBatch()
	for _, item := range items {
		if err := p.tables.Put(b, name, item); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.store.Commit(b); err != nil {
		t.Fatal(err)
	}
}

const timeLayout = "2006-01-02T15:04:05.000Z"

// row is a reading as a rule stores it.
func row(id string, at time.Time, dust float64) table.Item {
	n, err := table.Number(fmt.Sprint(dust))
	if err != nil {
		panic(err)
	}
	return table.Item{"id": table.String(id), "time": table.String(at.UTC().Format(timeLayout)), "dust": n}
}

// request is one from a browser on this machine.
func request(method, target string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost:8080"+target, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	return r
}

// get reads a JSON answer of the console.
func get[T any](t testing.TB, k *Console, target string) T {
	t.Helper()
	w := httptest.NewRecorder()
	k.ServeHTTP(w, request("GET", target))
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: status %d: %s", target, w.Code, w.Body)
	}
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("GET %s: %v: %s", target, err, w.Body)
	}
	return v
}

type boardList struct{ Boards []state }
