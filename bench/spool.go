package main

import "fmt"

// spool runs the benchmarks of package spool: the raw file, the spool and its
// drain take turns there as everywhere.
func (b *bench) spool() error {
	f, err := b.goBench("./internal/edge/spool", "^Benchmark(RawAppend|Append|AppendBacklog|Drain)$", "300ms", b.rounds)
	if err != nil {
		return err
	}
	const cpu, device = "cpu-µs/frame", "device-B/payload-B"
	for _, n := range []int{1, 64, 1024} {
		raw := f.get(fmt.Sprint("RawAppend/", n), cpu)
		goal := 0.0
		if n == 64 {
			goal = 1.5
		}
		b.report.add(row{what: fmt.Sprint("spool append, groups of ", n), unit: "CPU µs/frame", baseline: "append+fdatasync", base: raw, value: f.get(fmt.Sprint("Append/", n), cpu), goal: goal})
		b.report.add(row{what: fmt.Sprint("spool append in an outage, groups of ", n), unit: "CPU µs/frame", baseline: "append+fdatasync", base: raw, value: f.get(fmt.Sprint("AppendBacklog/", n), cpu)})
	}
	raw := f.get("RawAppend/64", cpu)
	b.report.add(row{what: "spool drain and acknowledge", unit: "CPU µs/frame", baseline: "append+fdatasync of 64", base: raw, value: f.get("Drain", cpu)})
	for _, n := range []int{1, 64, 1024} {
		w := row{what: fmt.Sprint("spool writes, groups of ", n), unit: "B/payload B", baseline: "append+fdatasync", base: f.get(fmt.Sprint("RawAppend/", n), device), value: f.get(fmt.Sprint("Append/", n), device)}
		if n == 64 {
			w.goal, w.absolute = 2, true
		}
		b.report.add(w)
		b.report.add(row{what: fmt.Sprint("spool writes in a first outage, groups of ", n), unit: "B/payload B", value: f.get(fmt.Sprint("AppendBacklog/", n), device)})
	}
	return f.err()
}
