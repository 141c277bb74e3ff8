package outbox

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/cloud/store"
)

func TestBatches(t *testing.T) {
	limits := func(b Batching) func(*Entry) { return func(e *Entry) { c := b; e.Batch = &c } }
	ms := time.Millisecond
	for _, c := range []struct {
		name string
		set  func(*Entry)
		add  string // data; a space is 10 ms
		want []string
		took time.Duration // until the last delivery
	}{
		{"size", limits(Batching{MaxSize: 3, MaxOpen: 200 * ms}), "abcdef", []string{"a+b+c", "d+e+f"}, 0},
		{"time", limits(Batching{MaxOpen: 50 * ms}), "abc", []string{"a+b+c"}, 50 * ms},
		{"default time", limits(Batching{}), "ab c  d", []string{"a+b+c", "d"}, 50 * ms},
		{"default size", limits(Batching{}), "abcdefghijk", []string{"a+b+c+d+e+f+g+h+i+j", "k"}, 20 * ms},
		{"bytes", limits(Batching{MaxBytes: 10, Weight: 4, MaxOpen: 200 * ms}), "abcd", []string{"a+b", "c+d"}, 200 * ms},
		{"one that is too large", limits(Batching{MaxBytes: 10, Weight: 40, MaxOpen: 200 * ms}), "ab", []string{"a", "b"}, 0},
		{"does not wait", limits(Batching{MaxOpen: -1}), "a b", []string{"a", "b"}, 10 * ms},
		{"none", func(*Entry) {}, "ab", []string{"a", "b"}, 0},
		{"changed limits", func(e *Entry) {
			e.Batch = &Batching{MaxOpen: 100 * ms}
			if e.Data[0] >= 'c' {
				e.Batch.MaxSize = 5
			}
		}, "abcd", []string{"a+b", "c+d"}, 100 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				b := startBox(t, t.TempDir(), with(r))
				begin := time.Now()
				for _, d := range c.add {
					if d == ' ' {
						time.Sleep(10 * ms)
						continue
					}
					e := entry("a", string(d))
					c.set(e)
					b.add(e)
				}
				sleep(time.Second)
				if got := r.data(); !slices.Equal(got, c.want) {
					t.Errorf("delivered %v, want %v", got, c.want)
				}
				if calls := r.all(); len(calls) > 0 {
					if took := calls[len(calls)-1].at.Sub(begin); took < c.took || took > c.took+2*ms {
						t.Errorf("took %v, want %v", took, c.took)
					}
				}
				b.close()
			})
		})
	}
}

func TestABacklogIsDeliveredInFullBatchesAndRetriedAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		r := &recorder{answer: func(_ context.Context, e []*Entry) []error {
			if fail {
				fail = false
				return all(len(e), errors.New("503"))
			}
			return nil
		}}
		b := openBox(t, t.TempDir(), with(r))
		for i := range 301 {
			e := entry("a", i)
			e.Batch = &Batching{MaxSize: 50}
			b.add(e)
		}
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		var sizes []int
		for _, c := range r.all() {
			sizes = append(sizes, len(c.entries))
		}
		if want := []int{50, 50, 50, 50, 50, 50, 50, 1}; !slices.Equal(sizes, want) || b.stored() != 0 {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
		b.close()
	})
}

func TestPartsOfABatchMayFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		r.answer = func(_ context.Context, e []*Entry) []error {
			if len(r.all()) > 1 {
				return nil
			}
			return []error{nil, errors.New("503"), Fail(Permanent, errors.New("400")), nil}
		}
		o := with(r)
		var lost []string
		o.Failed = func(_ context.Context, _ *store.Batch, f []Failure) error {
			for _, one := range f {
				lost = append(lost, string(one.Entry.Data))
			}
			return nil
		}
		b := startBox(t, t.TempDir(), o)
		for _, d := range "abcd" {
			e := entry("a", string(d))
			e.Batch = &Batching{MaxSize: 4}
			b.add(e)
		}
		sleep(10 * time.Second)
		if got := r.data(); !slices.Equal(got, []string{"a+b+c+d", "b"}) || !slices.Equal(lost, []string{"c"}) || b.stored() != 0 {
			t.Errorf("delivered %v, lost %v, stored %d", got, lost, b.stored())
		}
		b.close()
	})
}
