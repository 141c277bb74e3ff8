package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// figures are what Go benchmarks reported: by benchmark and unit, one for each
// turn.
type figures struct {
	all     map[string][]float64
	missing []string // benchmarks that were asked for and not there
}

// get returns the median of what a benchmark reported.
func (f *figures) get(benchmark, unit string) float64 {
	v := f.all[benchmark+" "+unit]
	if len(v) == 0 {
		f.missing = append(f.missing, benchmark)
		return 0
	}
	return median(v)
}

// err names what was asked for and is missing.
func (f *figures) err() error {
	if len(f.missing) > 0 {
		return fmt.Errorf("there are no figures of %s", strings.Join(f.missing, ", "))
	}
	return nil
}

// goBench runs the benchmarks of a package that match, one after the other in
// every turn.
func (b *bench) goBench(pkg, match, benchtime string, turns int) (*figures, error) {
	binary := filepath.Join(b.dir, filepath.Base(pkg)+".test")
	build := exec.CommandContext(b.ctx, "go", "test", "-c", "-o", binary, pkg)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	f := &figures{all: map[string][]float64{}}
	for range turns {
		cmd := exec.CommandContext(b.ctx, binary, "-test.run", "^$", "-test.bench", match, "-test.benchtime", benchtime, "-test.cpu", "2")
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, out)
		}
		collect(f.all, string(out))
	}
	return f, nil
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
