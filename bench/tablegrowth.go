package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// growthSteps are the sizes at which the growing table is measured.
var growthSteps = []int{100_000, 1_000_000, 10_000_000}

// grown is what a table of one size costs.
type grown struct {
	resident float64 // MB, after the load
	peak     float64 // MB, the most it ever was
	disk     float64 // bytes for each item
	cpu      float64 // µs for each query of a last hour
	passed   float64 // µs, median
}

// tableGrowth fills a table with the readings of 1,000 boards, one a minute,
// in the order of time, and looks at memory, disk and the query of a board's
// last hour while it grows.
func (b *bench) tableGrowth() error {
	c, err := b.newCloud()
	if err != nil {
		return err
	}
	defer c.stop()
	s, err := tablesOf(c)
	if err != nil {
		return err
	}
	var first grown
	for have, i := 0, 0; i < len(growthSteps) && growthSteps[i] <= b.items; i++ {
		if err := s.grow(have/boards, growthSteps[i]/boards); err != nil {
			return err
		}
		have = growthSteps[i]
		g, err := b.grownTo(c, s, have)
		if err != nil {
			return err
		}
		if i == 0 {
			first = g
		}
		b.growthRows(have, first, g)
	}
	return nil
}

func (b *bench) growthRows(items int, first, g grown) {
	size := fmt.Sprintf(" at %.0e items", float64(items))
	small := fmt.Sprintf("at %.0e items", float64(growthSteps[0]))
	goal := 0.0
	if items > growthSteps[0] {
		goal = 1.5
	}
	b.report.add(row{what: "cloud, resident" + size, unit: "MB", baseline: small, base: first.resident, value: g.resident, goal: goal})
	b.report.add(row{what: "cloud, resident at its most" + size, unit: "MB", baseline: small, base: first.peak, value: g.peak})
	b.report.add(row{what: "Query of a last hour" + size, unit: "CPU µs/query", baseline: small, base: first.cpu, value: g.cpu, goal: goal})
	b.report.add(row{what: "Query of a last hour" + size + ", time that passes", unit: "µs", baseline: small, base: first.passed, value: g.passed})
	disk := row{what: "disk, with the log," + size, unit: "B/item", value: g.disk}
	if items > growthSteps[0] {
		disk.goal, disk.absolute = 200, true // below, most of it is the log
	}
	b.report.add(disk)
}

// grow puts the readings from minute from up to to of every board.
func (s *tables) grow(from, to int) error {
	const conns = 4
	var g errgroup.Group
	for i := range conns {
		g.Go(func() error {
			c, err := s.dial(uint64(from)<<8 | uint64(i))
			if err != nil {
				return err
			}
			defer c.conn.Close()
			keys := make([][2]string, batchSize)
			for n := from; n < to; n++ {
				for first := i * boards / conns; first < (i+1)*boards/conns; first += batchSize {
					for k := range keys {
						keys[k] = [2]string{deviceID(first + k), minute(n)}
					}
					if err := c.putBatch(keys); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// grownTo measures the table when it holds items.
func (b *bench) grownTo(c *cloud, s *tables, items int) (g grown, err error) {
	if _, err := c.settled(); err != nil {
		return g, err
	}
	if g.disk, err = diskUse(filepath.Join(c.data, "store")); err != nil {
		return g, err
	}
	g.disk /= float64(items)
	var cpu, passed []float64
	for range b.rounds {
		var last []float64
		v, err := s.perItem(func() (int, error) { last, err = s.lastHours(items / boards); return len(last), err })
		if err != nil {
			return g, err
		}
		cpu, passed = append(cpu, v), append(passed, median(last))
	}
	g.cpu, g.passed = median(cpu), median(passed)
	if g.resident, _, err = c.resident(); err != nil {
		return g, err
	}
	g.peak, err = c.peak()
	return g, err
}

// lastHours asks for the last hour of every board and returns the microseconds
// that each answer took.
func (s *tables) lastHours(minutes int) ([]float64, error) {
	c, err := s.dial(3)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close()
	took := make([]float64, 0, boards)
	for i := range boards {
		begin := time.Now()
		if err := c.queryRange(deviceID(i*387%boards), minutes-60, minutes-1, 60); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(begin).Microseconds()))
	}
	return took, nil
}

// diskUse is the bytes that the files below dir take on the disk.
func diskUse(dir string) (float64, error) {
	sum := 0.0
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && d.Type().IsRegular() {
			sum += float64(st.Blocks) * 512
		}
		return nil
	})
	return sum, err
}
