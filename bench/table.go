package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// table measures the tables: the engine beside a raw file, the DynamoDB API
// beside dynalite, and what grows with the items. With -match, only the loads
// of the API that it names.
func (b *bench) table() error {
	if b.match != "" {
		return b.tableCalls()
	}
	return errors.Join(b.tableEngine(), b.tableCalls(), b.tableGrowth())
}

// tableEngine runs the benchmarks of package table, which take turns there.
func (b *bench) tableEngine() error {
	binary := filepath.Join(b.dir, "table.test")
	build := exec.CommandContext(b.ctx, "go", "test", "-c", "-o", binary, "./internal/cloud/table")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	all := map[string][]float64{} // by benchmark and unit
	for range b.rounds {
		for _, n := range engineGroups {
			// As many commits as fill the memtable more than once, so that flushes
			// and compactions are in the figures.
			commits := max(1000, 256_000/n)
			if n == 1 {
				commits = 1000
			}
			cmd := exec.CommandContext(b.ctx, binary, "-test.run", "^$", "-test.bench", fmt.Sprintf("^Benchmark(RawAppend|Put|PutMembers)$/^%d$", n), "-test.benchtime", fmt.Sprint(commits, "x"), "-test.cpu", "2")
			cmd.Dir = b.dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			collect(all, string(out))
		}
	}
	return b.engineRows(all)
}

// engineGroups are how many items share a commit.
var engineGroups = []int{1, 64, 1024}

func (b *bench) engineRows(all map[string][]float64) error {
	for _, n := range engineGroups {
		figures := map[string]float64{}
		for _, name := range []string{"RawAppend", "Put", "PutMembers"} {
			v := all[fmt.Sprintf("%s/%d cpu-µs/item", name, n)]
			if len(v) == 0 {
				return fmt.Errorf("package table has no figures of %s", name)
			}
			figures[name] = median(v)
		}
		goal := 0.0
		if n == 64 {
			goal = 10
		}
		b.report.add(row{what: fmt.Sprint("table engine, items put in groups of ", n), unit: "CPU µs/item", baseline: "append+fdatasync", base: figures["RawAppend"], value: figures["Put"], goal: goal})
		b.report.add(row{what: fmt.Sprint("table engine, as rules put them, groups of ", n), unit: "CPU µs/item", baseline: "append+fdatasync", base: figures["RawAppend"], value: figures["PutMembers"], goal: goal})
	}
	return nil
}

const (
	boards      = 1000
	perBoard    = 20   // readings of each board
	longHistory = 2000 // readings of board 0
)

func deviceID(n int) string { return fmt.Sprintf("dev-%04d", n) }

// load is one kind of work.
type load struct {
	what  string
	items int // of one call
	conns int
	write bool
	call  func(c *caller, s *shift, n int) error
}

// shift is what one connection of a load has to itself for one turn.
type shift struct{ run, conn, conns int }

func (s *shift) own(n int) string { return fmt.Sprintf("r%03d%03d%d", s.run%1000, s.conn, n%10) }

func putOne(c *caller, s *shift, n int) error { return c.putReading(s.own(n), minute(n)) }

func putMany(c *caller, s *shift, n int) error {
	keys := make([][2]string, batchSize)
	for i := range keys {
		keys[i] = [2]string{s.own(i), minute(n*batchSize + i)}
	}
	return c.putBatch(keys)
}

func get(c *caller, _ *shift, _ int) error {
	return c.getReading(deviceID(c.rng.IntN(boards)), c.rng.IntN(perBoard))
}

func query(c *caller, _ *shift, _ int) error {
	first := c.rng.IntN(longHistory - 1000)
	return c.queryRange(deviceID(0), first, first+999, 1000)
}

// update counts up on boards that no other connection has.
func update(c *caller, s *shift, n int) error {
	i := (n*s.conns+s.conn)%boards/s.conns*s.conns + s.conn
	if i >= boards {
		i = s.conn
	}
	was := c.to.revisions[i]
	c.to.revisions[i]++
	return c.updateReading(deviceID(i), 0, was)
}

func latest(c *caller, _ *shift, n int) error { return c.queryLast(deviceID(n % boards)) }

func (b *bench) loads() []load {
	return []load{
		{"PutItem, writers: 1", 1, 1, true, putOne},
		{"PutItem, writers: 16", 1, 16, true, putOne},
		{"PutItem, writers: 64", 1, 64, true, putOne},
		{"BatchWriteItem of 25, writers: 1", batchSize, 1, true, putMany},
		{"BatchWriteItem of 25, writers: 16", batchSize, 16, true, putMany},
		{"UpdateItem on a condition, writers: 16", 1, 16, true, update},
		{"GetItem, connections: 16", 1, 16, false, get},
		{"Query, 1,000 items of one board", 1000, 4, false, query},
		{"Query, newest item of each of 1,000 boards", 1, 16, false, latest},
	}
}

// tableCalls measures the DynamoDB API beside dynalite, which gets the same
// calls, signed too: as it is, and, for writes, made to sync each.
func (b *bench) tableCalls() error {
	c, err := b.newCloud()
	if err != nil {
		return err
	}
	defer c.stop()
	own, err := tablesOf(c)
	if err != nil {
		return err
	}
	peer, err := b.dynalite(false)
	if err != nil {
		return err
	}
	defer peer.stop()
	durable, err := b.dynalite(true)
	if err != nil {
		return err
	}
	defer durable.stop()
	for _, s := range []*tables{durable, peer, own} {
		if err := s.fill(); err != nil {
			return err
		}
	}
	for _, l := range b.loads() {
		if !strings.Contains(l.what, b.match) {
			continue
		}
		servers := []*tables{own, peer}
		if l.write {
			servers = append(servers, durable)
		}
		if err := b.compare(servers, l); err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
	}
	return nil
}

// compare measures CPU, and the time that passes, of one load: of mote, of
// dynalite, and maybe of dynalite that syncs, which is what a durable write of
// mote is held against.
func (b *bench) compare(servers []*tables, l load) error {
	passed := make([][]float64, len(servers))
	var work []func() (float64, error)
	for i, s := range servers {
		work = append(work, b.working(s, l, &passed[i]))
	}
	cpu, err := b.turns(work...)
	if err != nil {
		return err
	}
	for i, baseline := range []string{"dynalite, not synced", "dynalite, synced"}[:len(servers)-1] {
		goal := 0.0
		if baseline == "dynalite, synced" {
			goal = 1.0 / 20
		}
		b.report.add(row{what: l.what, unit: "CPU µs/item", baseline: baseline, base: median(cpu[i+1]), value: median(cpu[0]), goal: goal})
		b.report.add(row{what: l.what + ", time that passes", unit: "µs/item", baseline: baseline, base: median(passed[i+1]), value: median(passed[0]), goal: goal})
	}
	return nil
}

// working measures the CPU of s for each item of the load, and notes the time.
func (b *bench) working(s *tables, l load, passed *[]float64) func() (float64, error) {
	return func() (float64, error) {
		runs++
		run := runs
		return s.perItem(func() (int, error) {
			begin := time.Now()
			calls, err := s.work(l, run, begin.Add(b.span/2))
			items := calls * l.items
			*passed = append(*passed, float64(time.Since(begin).Microseconds())/float64(max(items, 1)))
			return items, err
		})
	}
}

// work makes calls over all connections of the load until the deadline and
// returns how many.
func (s *tables) work(l load, run int, deadline time.Time) (int, error) {
	var g errgroup.Group
	calls := make([]int, l.conns)
	for i := range l.conns {
		g.Go(func() error {
			c, err := s.dial(uint64(run)<<16 | uint64(i))
			if err != nil {
				return err
			}
			defer c.conn.Close()
			own := &shift{run, i, l.conns}
			for ; time.Now().Before(deadline); calls[i]++ {
				if err := l.call(c, own, calls[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	sum := 0
	for _, n := range calls {
		sum += n
	}
	return sum, err
}

// fill puts what the loads read.
func (s *tables) fill() error {
	c, err := s.dial(1)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	keys := make([][2]string, 0, batchSize)
	put := func(id string, n int) error {
		keys = append(keys, [2]string{id, minute(n)})
		if len(keys) < batchSize {
			return nil
		}
		err := c.putBatch(keys)
		keys = keys[:0]
		return err
	}
	for n := range longHistory {
		if err := put(deviceID(0), n); err != nil {
			return err
		}
	}
	for i := 1; i <= boards; i++ { // one more than there are, so that the last batch is a full one
		for n := range perBoard {
			if err := put(deviceID(i), n); err != nil {
				return err
			}
		}
	}
	return nil
}

// dynalite starts the npm package of that name with its LevelDB on the disk;
// synced has it wait for the disk at every write.
func (b *bench) dynalite(synced bool) (*tables, error) {
	command, err := b.dynaliteCommand()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(addr, ":")
	if synced {
		hook, err := filepath.Abs("bench/dynalite-sync.cjs")
		if err != nil {
			return nil, err
		}
		command = append([]string{"env", "NODE_OPTIONS=--require=" + hook}, command...)
	}
	args := append(command[1:], "--host", host, "--port", port, "--path", filepath.Join(b.dir, "dynalite"+port), "--createTableMs", "0")
	p, err := b.start(command[0], args...)
	if err != nil {
		return nil, err
	}
	s := &tables{process: p, addr: addr}
	s.sign("AKIDDYNALITE", "secret", "us-east-1")
	if err := p.ready(func() error { return listening(addr) }); err != nil {
		p.stop()
		return nil, err
	}
	if err := s.createTable(); err != nil {
		p.stop()
		return nil, err
	}
	return s, nil
}

// dynaliteCommand finds the program; its process must be the one that serves,
// since its CPU is measured.
func (b *bench) dynaliteCommand() ([]string, error) {
	if _, err := exec.LookPath("node"); err != nil {
		return nil, errors.New("there is no node in PATH, which dynalite needs: install Node.js 20 or later (Debian: nodejs, npm)")
	}
	if path, err := exec.LookPath("dynalite"); err == nil {
		return []string{path}, nil
	}
	script := filepath.Join(".cache", "dynalite", "node_modules", "dynalite", "cli.js")
	if _, err := os.Stat(script); err != nil {
		return nil, errors.New("there is no dynalite in PATH or .cache/dynalite: npm install --prefix .cache/dynalite dynalite@4.0.0")
	}
	return []string{"node", script}, nil
}

// createTable makes the table that mote has from its configuration.
func (s *tables) createTable() error {
	c, err := s.dial(1)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	c.body = []byte(`{"TableName":"air","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"},{"AttributeName":"time","AttributeType":"S"}],` +
		`"KeySchema":[{"AttributeName":"id","KeyType":"HASH"},{"AttributeName":"time","KeyType":"RANGE"}]}`)
	if err := c.call("CreateTable"); err != nil {
		return err
	}
	return s.ready(func() error {
		c.body = []byte(`{"TableName":"air"}`)
		if err := c.call("DescribeTable"); err != nil {
			return err
		}
		if !strings.Contains(string(c.answer), `"ACTIVE"`) {
			return errors.New("its table is not active")
		}
		return nil
	})
}
