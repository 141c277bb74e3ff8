package eval

import (
	"encoding/json"
	"testing"
	"time"

	"mote/internal/iotsql"
)

var benchPayload = []byte(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40,"co2":412,"rssi":-67}`)

func compileFor(b testing.TB, sql string) *Program {
	st, err := iotsql.Parse(sql)
	if err != nil {
		b.Fatal(err)
	}
	p, err := Compile(st, iotsql.V2016)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

func benchmark(b *testing.B, sql string) {
	p := compileFor(b, sql)
	now := time.Now()
	b.ReportAllocs()
	b.SetBytes(int64(len(benchPayload)))
	for b.Loop() {
		m := Message{Topic: "sensors/1/air", Payload: benchPayload, Time: now}
		if r, fired := p.Run(&m); !fired || r.Value().Kind() != Object {
			b.Fatal("did not fire")
		}
	}
}

func BenchmarkSelectAll(b *testing.B) { benchmark(b, `SELECT * FROM 'sensors/+/air'`) }

func BenchmarkThreeFields(b *testing.B) {
	benchmark(b, `SELECT id, (temp - 32) * 5 / 9 AS celsius, topic(2) AS board FROM 'sensors/+/air' WHERE dust > 20.5`)
}

func BenchmarkAddToAll(b *testing.B) {
	benchmark(b, `SELECT *, timestamp() AS at FROM 'sensors/+/air'`)
}

// The standard library's decoder, for comparison.
func BenchmarkEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var v map[string]any
		if err := json.Unmarshal(benchPayload, &v); err != nil {
			b.Fatal(err)
		}
	}
}
