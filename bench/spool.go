package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// spool runs the benchmarks of package spool: the raw file, the spool and its
// drain take turns there as everywhere.
func (b *bench) spool() error {
	binary := filepath.Join(b.dir, "spool.test")
	build := exec.CommandContext(b.ctx, "go", "test", "-c", "-o", binary, "./internal/edge/spool")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	all := map[string][]float64{} // by benchmark and unit
	for range b.rounds {
		cmd := exec.CommandContext(b.ctx, binary, "-test.run", "^$", "-test.bench", "^Benchmark(RawAppend|Append|AppendBacklog|Drain)$", "-test.benchtime", "300ms", "-test.cpu", "2")
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		collect(all, string(out))
	}
	return b.spoolRows(all)
}

// collect adds the figures of one run: a line is a name, a count, and pairs of
// value and unit.
func collect(all map[string][]float64, out string) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimSuffix(strings.TrimPrefix(f[0], "Benchmark"), "-2")
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				all[name+" "+f[i+1]] = append(all[name+" "+f[i+1]], v)
			}
		}
	}
}

func (b *bench) spoolRows(all map[string][]float64) error {
	const cpu, device = "cpu-µs/frame", "device-B/payload-B"
	var missing []string
	get := func(name, unit string) float64 {
		v := all[name+" "+unit]
		if len(v) == 0 {
			missing = append(missing, name)
			return 0
		}
		return median(v)
	}
	for _, n := range []int{1, 64, 1024} {
		raw := get(fmt.Sprint("RawAppend/", n), cpu)
		goal := 0.0
		if n == 64 {
			goal = 1.5
		}
		b.report.add(row{what: fmt.Sprint("spool append, groups of ", n), unit: "CPU µs/frame", baseline: "append+fdatasync", base: raw, value: get(fmt.Sprint("Append/", n), cpu), goal: goal})
		b.report.add(row{what: fmt.Sprint("spool append in an outage, groups of ", n), unit: "CPU µs/frame", baseline: "append+fdatasync", base: raw, value: get(fmt.Sprint("AppendBacklog/", n), cpu)})
	}
	raw := get("RawAppend/64", cpu)
	b.report.add(row{what: "spool drain and acknowledge", unit: "CPU µs/frame", baseline: "append+fdatasync of 64", base: raw, value: get("Drain", cpu)})
	for _, n := range []int{1, 64, 1024} {
		w := row{what: fmt.Sprint("spool writes, groups of ", n), unit: "B/payload B", baseline: "append+fdatasync", base: get(fmt.Sprint("RawAppend/", n), device), value: get(fmt.Sprint("Append/", n), device)}
		if n == 64 {
			w.goal, w.absolute = 2, true
		}
		b.report.add(w)
	}
	if len(missing) > 0 {
		return fmt.Errorf("package spool has no figures of %s", strings.Join(missing, ", "))
	}
	return nil
}
