package outbox

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/cloud/store"
)

// recorder is a deliverer that writes down what it gets.
type recorder struct {
	// answer says how a delivery ends; nil: well.
	answer func(ctx context.Context, entries []*Entry) []error

	mu    sync.Mutex
	calls []call // guarded by mu
}

type call struct {
	at      time.Time
	entries []Entry
}

func (r *recorder) Deliver(ctx context.Context, entries []*Entry) []error {
	c := call{at: time.Now()}
	for _, e := range entries {
		c.entries = append(c.entries, *e)
	}
	r.mu.Lock()
	r.calls = append(r.calls, c)
	r.mu.Unlock()
	if r.answer == nil {
		return nil
	}
	return r.answer(ctx, entries)
}

// data lists what was delivered: entries of one call joined by +.
func (r *recorder) data() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, c := range r.calls {
		var parts []string
		for _, e := range c.entries {
			parts = append(parts, string(e.Data))
		}
		out = append(out, strings.Join(parts, "+"))
	}
	return out
}

func (r *recorder) all() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call{}, r.calls...)
}

// box is an outbox under test with its store.
type box struct {
	t   testing.TB
	dir string
	st  *store.Store
	*Outbox
}

func openBox(t testing.TB, dir string, o Options) *box {
	t.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ob, err := Open(st, o)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, dir: dir, st: st, Outbox: ob}
	t.Cleanup(b.close)
	return b
}

func startBox(t testing.TB, dir string, o Options) *box {
	t.Helper()
	b := openBox(t, dir, o)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *box) close() {
	if b.st == nil {
		return
	}
	if err := b.Outbox.Close(context.Background()); err != nil {
		b.t.Error(err)
	}
	if err := b.st.Close(); err != nil {
		b.t.Error(err)
	}
	b.st = nil
}

// add commits entries in one batch.
func (b *box) add(entries ...*Entry) {
	b.t.Helper()
	batch := b.st.NewBatch()
	for _, e := range entries {
		if err := b.Add(batch, e); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := b.st.Commit(batch); err != nil {
		b.t.Fatal(err)
	}
}

// stored counts the keys of the outbox.
func (b *box) stored() int {
	b.t.Helper()
	it, err := b.st.Iterator(waitingPrefix, store.PrefixEnd(waitingPrefix))
	if err != nil {
		b.t.Fatal(err)
	}
	defer it.Close()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n
}

func entry(lane string, data any) *Entry {
	return &Entry{Kind: "test", Rule: "r", Lane: lane, Data: []byte(fmt.Sprint(data))}
}

func with(d Deliverer) Options { return Options{Deliverers: map[string]Deliverer{"test": d}} }

// sleep lets time pass in a bubble of synctest, and what happens then come to its end.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
