package eval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"mote/internal/iotsql"
)

var benchPayload = []byte(`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40,"co2":412,"rssi":-67}`)

// benchSpaced is benchPayload as many clients write it.
var benchSpaced = []byte(`{"time": "2026-11-22T10:15:30.123Z", "id": "1", "dust": 35.2, "temp": 21.5, "humid": 40, "co2": 412, "rssi": -67}`)

var benchSamples = func() []byte {
	var b strings.Builder
	b.WriteString(`{"site":"roof","samples":[`)
	for i := range 20 {
		fmt.Fprintf(&b, `{"n":%d,"v":%d.5,"unit":"C"},`, i, i)
	}
	return []byte(strings.TrimSuffix(b.String(), ",") + `]}`)
}()

// The statements of BenchmarkProgram.
const (
	benchAll      = `SELECT * FROM 'sensors/+/air'`
	benchThree    = `SELECT id, temp * 1.8 + 32 AS f, topic(2) AS board FROM 'sensors/+/air' WHERE dust > 20.5`
	benchUnwanted = `SELECT id, temp * 1.8 + 32 AS f, topic(2) AS board FROM 'sensors/+/air' WHERE dust > 100`
	benchNested   = `SELECT site, (SELECT n, v * 2 AS w FROM samples WHERE v > 10) AS r FROM 'sensors/+/air'`
)

// benchCases are the cases of BenchmarkProgram: a statement, a payload, and the
// same by hand.
var benchCases = []struct {
	name, sql   string
	payload     []byte
	handwritten func(dst []byte, topic string, payload []byte) ([]byte, bool, error)
}{
	{"all", benchAll, benchPayload, handAllOf},
	{"all-spaced", benchAll, benchSpaced, handAllOf},
	{"three", benchThree, benchPayload, func(dst []byte, topic string, payload []byte) ([]byte, bool, error) {
		return handThree(dst, topic, payload, dec{205, -1})
	}},
	{"unwanted", benchUnwanted, benchPayload, func(dst []byte, topic string, payload []byte) ([]byte, bool, error) {
		return handThree(dst, topic, payload, dec{100, 0})
	}},
	{"nested", benchNested, benchSamples, func(dst []byte, _ string, payload []byte) ([]byte, bool, error) {
		dst, err := handNested(dst, payload)
		return dst, err == nil, err
	}},
}

func handAllOf(dst []byte, _ string, payload []byte) ([]byte, bool, error) {
	dst, err := handAll(dst, payload)
	return dst, err == nil, err
}

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

const benchTopic = "sensors/1/air"

// runInto is one message through a program, down to the bytes of the result.
func runInto(p *Program, m *Message, dst []byte) ([]byte, bool, error) {
	r, fired := p.Run(m)
	if !fired {
		m.Release()
		return dst, false, nil
	}
	dst, err := r.AppendPayload(dst)
	m.Release()
	return dst, true, err
}

// BenchmarkProgram is one message: mote from the payload to the bytes of the
// result, beside Go that was written for the statement.
func BenchmarkProgram(b *testing.B) {
	for _, c := range benchCases {
		b.Run(c.name+"/mote", func(b *testing.B) {
			p, now, dst := compileFor(b, c.sql), time.Now(), make([]byte, 0, 4096)
			var m Message // the engine keeps it, too
			b.ReportAllocs()
			b.SetBytes(int64(len(c.payload)))
			defer reportCPU(b, cpuTime())
			for b.Loop() {
				m = Message{Topic: benchTopic, Payload: c.payload, Time: now}
				if _, _, err := runInto(p, &m, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/handwritten", func(b *testing.B) {
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			b.SetBytes(int64(len(c.payload)))
			defer reportCPU(b, cpuTime())
			for b.Loop() {
				if _, _, err := c.handwritten(dst, benchTopic, c.payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// cpuTime is the time that this process had on a processor: what the machine's
// other work does not blur.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports the time on a processor since start for each message.
func reportCPU(b *testing.B, start time.Duration) {
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
}

// What is measured beside each other gives the same bytes.
func TestHandwrittenDoesTheSame(t *testing.T) {
	for _, c := range benchCases {
		got, fired, err := runInto(compileFor(t, c.sql), &Message{Topic: benchTopic, Payload: c.payload}, nil)
		hand, handFired, handErr := c.handwritten(nil, benchTopic, c.payload)
		if err != nil || handErr != nil || fired != handFired || fired != (c.name != "unwanted") || !bytes.Equal(got, hand) {
			t.Errorf("%s: %s %v %v\n   by hand %s %v %v", c.name, got, fired, err, hand, handFired, handErr)
		}
	}
}

func TestUnwantedMessageTakesNoMemory(t *testing.T) {
	p := compileFor(t, benchUnwanted)
	var m Message
	n := testing.AllocsPerRun(200, func() {
		m = Message{Topic: benchTopic, Payload: benchPayload}
		if _, fired, _ := runInto(p, &m, nil); fired {
			t.Fatal("fired")
		}
	})
	if n > 0.5 { // a collection in between empties the pool
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAddToAll(b *testing.B) {
	benchmark(b, `SELECT *, timestamp() AS at FROM 'sensors/+/air'`)
}

// BenchmarkDivide has a quotient of 34 digits.
func BenchmarkDivide(b *testing.B) {
	benchmark(b, `SELECT (temp - 32) * 5 / 9 AS celsius FROM 'sensors/+/air'`)
}

func benchmark(b *testing.B, sql string) {
	p, dst := compileFor(b, sql), make([]byte, 0, 4096)
	var m Message
	b.ReportAllocs()
	b.SetBytes(int64(len(benchPayload)))
	for b.Loop() {
		m = Message{Topic: benchTopic, Payload: benchPayload}
		if _, fired, err := runInto(p, &m, dst); !fired || err != nil {
			b.Fatal(fired, err)
		}
	}
}

// The standard library's decoder into a map, for comparison.
func BenchmarkEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var v map[string]any
		if err := json.Unmarshal(benchPayload, &v); err != nil {
			b.Fatal(err)
		}
	}
}
