package outbox

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// taker does nothing, well.
type taker struct{}

func (taker) Deliver(context.Context, []*Entry) []error { return nil }

// BenchmarkAdd is what one action costs the message's path, without the commit:
// batches of 100 messages.
func BenchmarkAdd(b *testing.B) {
	box := openBox(b, b.TempDir(), with(taker{}))
	data := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		batch := box.st.NewBatch()
		for range 100 {
			if err := box.Add(batch, &Entry{Kind: "test", Rule: "rule", Lane: "https://example.com/path", Data: data}); err != nil {
				b.Fatal(err)
			}
		}
		batch.Discard()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/entry")
}

// BenchmarkAddDeliverRemove is the whole way of an entry, from Add until it is
// removed from the disk, in batches of 100 as a busy broker makes them.
func BenchmarkAddDeliverRemove(b *testing.B) {
	for _, lanes := range []int{1, 100} {
		b.Run(fmt.Sprint("lanes=", lanes), func(b *testing.B) {
			box := startBox(b, b.TempDir(), with(taker{}))
			data := make([]byte, 200)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				batch := box.st.NewBatch()
				for range 100 {
					n++
					if err := box.Add(batch, &Entry{Kind: "test", Rule: "rule", Lane: fmt.Sprint("https://example.com/", n%lanes), Data: data}); err != nil {
						b.Fatal(err)
					}
				}
				box.st.CommitAsync(batch, func(error) {})
				for box.total.entries.Load() > 20_000 {
					time.Sleep(time.Millisecond)
				}
			}
			for box.total.entries.Load() > 0 {
				time.Sleep(time.Millisecond)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
