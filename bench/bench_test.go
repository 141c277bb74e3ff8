package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"mote/internal/mqtt"
)

func TestMedianAndMean(t *testing.T) {
	if m := median([]float64{9, 1, 2}); m != 2 {
		t.Errorf("median of three %v", m)
	}
	if m := median([]float64{9, 1, 2, 4}); m != 3 {
		t.Errorf("median of four %v", m)
	}
	if m := mean([]float64{9, 1, 2}); m != 4 {
		t.Errorf("mean %v", m)
	}
}

func TestReportJudgesTheRatioOrTheFigure(t *testing.T) {
	r := report{}
	r.add(row{what: "ratio over", unit: "µs", baseline: "b", base: 2, value: 4, goal: 1.5})
	r.add(row{what: "ratio under", unit: "µs", baseline: "b", base: 4, value: 2, goal: 1.5})
	r.add(row{what: "figure over", unit: "MB", value: 21, goal: 20, absolute: true})
	r.add(row{what: "nothing asked", unit: "MB", value: 21})
	r.add(row{what: "no baseline measured", unit: "µs", baseline: "b", base: 0, value: 0, goal: 1})
	r.add(row{what: "none", unit: "allocations", value: 0, zero: true})
	r.add(row{what: "one", unit: "allocations", value: 1, zero: true})
	var out bytes.Buffer
	r.print(&out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")[2:]
	for i, want := range []string{"goal missed", "reached", "goal missed", "", "goal missed", "reached", "goal missed"} {
		cells := strings.Split(lines[i], "|")
		if got := strings.TrimSpace(cells[len(cells)-2]); got != want {
			t.Errorf("%s: %q, want %q", lines[i], got, want)
		}
	}
}

func TestCollectReadsGoBenchmarks(t *testing.T) {
	all := map[string][]float64{}
	collect(all, "goos: linux\nBenchmarkAppend/64-2  \t  50\t 1000 ns/op\t 0.41 cpu-µs/frame\t 1.64 device-B/payload-B\nPASS\n")
	collect(all, "BenchmarkAppend/64-2  \t  50\t 1000 ns/op\t 0.43 cpu-µs/frame\n")
	if got := all["Append/64 cpu-µs/frame"]; len(got) != 2 || got[0] != 0.41 || got[1] != 0.43 {
		t.Errorf("CPU %v of %v", got, all)
	}
	if got := all["Append/64 device-B/payload-B"]; len(got) != 1 || got[0] != 1.64 {
		t.Errorf("bytes %v", got)
	}
}

// Every message is its own: another packet id, another row.
func TestPublisherPatchesTheMessage(t *testing.T) {
	p := &publisher{qos: 1}
	if err := p.prepare("sensors/7/air", "3.99"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"30.000000001Z", "30.000000002Z"} {
		d := mqtt.Decoder{Version: mqtt.V311, From: mqtt.FromClient}
		f, n, err := d.Next(p.next())
		var v mqtt.PublishView
		if err == nil {
			err = d.Publish(f, &v)
		}
		if err != nil || n != len(p.packet) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if len(v.Payload) != 100 || !strings.Contains(string(v.Payload), want) || int(v.PacketID) != i+2 {
			t.Errorf("packet %d: %s", v.PacketID, v.Payload)
		}
	}
}

// The CPU time of a process grows while it works.
func TestProcessCPU(t *testing.T) {
	b := &bench{}
	p, err := b.start("sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.cmd.Process.Kill(); <-p.done }()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if d, err := p.cpu(); err != nil {
			t.Fatal(err)
		} else if d >= 2*tick {
			return
		}
	}
	t.Error("a busy process has used no CPU after a minute")
}

func TestStatusMB(t *testing.T) {
	v, err := statusMB("Name:\tx\nVmRSS:\t   20000 kB\n", "VmRSS:")
	if err != nil || v != 20.48 {
		t.Errorf("%v %v", v, err)
	}
	if _, err := statusMB("Name:\tx\n", "VmRSS:"); err == nil {
		t.Error("a missing field is not an error")
	}
}

func TestUnknownPartIsRefused(t *testing.T) {
	if err := run([]string{"-only", "nothing"}); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("%v", err)
	}
}
