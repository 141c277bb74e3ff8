package rules

import (
	"fmt"
	"maps"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/cloud/store/storetest"
	"mote/internal/cloud/table"
)

// discard takes every item.
type discard struct{}

func (discard) Put(*store.Batch, string, table.Item) error { return nil }

func (discard) PutMembers(*store.Batch, string, []table.Member) error { return nil }

func (discard) SetAttribute(*store.Batch, string, table.Item, string, table.Value, func(error)) error {
	return nil
}

func (discard) Remove(*store.Batch, string, table.Item) error { return nil }

func (discard) GetItem(table.GetRequest) (table.GetResult, error) { return table.GetResult{}, nil }

func benchmarkApply(b *testing.B, tables Tables, setup func(e *Engine), topic string) {
	st := storetest.Open(b, b.TempDir())
	if tables == nil {
		db, err := table.Open(st, table.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		_, err = db.Create(table.CreateRequest{
			Name: "air", Billing: table.PayPerRequest, Attributes: []table.KeyAttr{{Name: "id", Kind: table.S}, {Name: "time", Kind: table.S}},
			Schema: []table.KeyElement{{Name: "id", Type: "HASH"}, {Name: "time", Type: "RANGE"}},
		})
		if err != nil {
			b.Fatal(err)
		}
		tables = db
	}
	e, err := Open(st, tables, Options{})
	if err != nil {
		b.Fatal(err)
	}
	setup(e)
	m := &message.Message{Topic: topic, Time: time.Now(), ClientID: "dev1",
		Payload: []byte(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40,"co2":412,"rssi":-67}`)}
	batch := st.NewBatch()
	runtime.GC() // of what compiling the rules left
	b.ReportAllocs()
	defer func(start time.Duration) { b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op") }(cpuTime())
	for i := 0; b.Loop(); i++ {
		if out := e.Apply(batch, m); len(out.Failed) > 0 {
			b.Fatal(out.Failed[0])
		}
		if i%1024 == 1023 { // a batch holds so many messages in a burst
			batch.Discard()
			batch = st.NewBatch()
		}
	}
	batch.Discard()
}

// cpuTime is the time that this process had on a processor: what the machine's
// other work does not blur.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func with(b *testing.B, sql string) func(e *Engine) {
	return func(e *Engine) {
		if err := e.Create("r", payload(sql, toAir)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApply is a message that no rule wants by its topic, or by WHERE, one
// that one rule wants, and the latter beside 9,999 rules for other boards.
func BenchmarkApply(b *testing.B) {
	b.Run("none", func(b *testing.B) {
		benchmarkApply(b, discard{}, with(b, `SELECT * FROM 'sensors/+/air'`), "other/1/air")
	})
	b.Run("turned-away", func(b *testing.B) {
		benchmarkApply(b, discard{}, with(b, `SELECT * FROM 'sensors/+/air' WHERE dust > 100`), "sensors/1/air")
	})
	b.Run("one", func(b *testing.B) {
		benchmarkApply(b, discard{}, func(e *Engine) { e.publish(map[string]*compiled{"r77": boards()["r77"]}) }, "sensors/77/air")
	})
	b.Run("one-of-10000", func(b *testing.B) {
		benchmarkApply(b, discard{}, func(e *Engine) { e.publish(maps.Clone(boards())) }, "sensors/77/air")
	})
	b.Run("none-of-10000", func(b *testing.B) {
		benchmarkApply(b, discard{}, func(e *Engine) { e.publish(maps.Clone(boards())) }, "sensors/other/air")
	})
}

// boards are 10,000 rules, one for each board. They are compiled once, so that
// what that leaves to the collector is there for every benchmark alike.
var boards = sync.OnceValue(func() map[string]*compiled {
	byName := map[string]*compiled{}
	for i := range 10_000 {
		name := fmt.Sprintf("r%d", i)
		c, err := compile(Rule{Name: name, Payload: payload(fmt.Sprintf(`SELECT * FROM 'sensors/%d/air'`, i), toAir)})
		if err != nil {
			panic(err)
		}
		byName[name] = c
	}
	return byName
})

func BenchmarkSelectAllRealTable(b *testing.B) {
	benchmarkApply(b, nil, with(b, `SELECT * FROM 'sensors/+/air'`), "sensors/1/air")
}

func BenchmarkThreeFields(b *testing.B) {
	benchmarkApply(b, discard{}, with(b, `SELECT id, temp * 1.8 + 32 AS f, topic(2) AS board FROM 'sensors/+/air' WHERE dust > 20.5`), "sensors/1/air")
}
