package main

// sqlTurns is how many turns a round has. They are short and many: within one
// the machine is alike for all, and the next may be twice as slow.
const sqlTurns = 3

// sql runs the benchmarks of the statements of rules: mote beside Go that was
// written by hand for one statement, and the rules of a cloud.
func (b *bench) sql() error {
	f, err := b.goBench("./internal/iotsql/eval", "^BenchmarkProgram$", "40ms", sqlTurns*b.rounds)
	if err != nil {
		return err
	}
	const unit, cpu = "CPU ns/message", "cpu-ns/op"
	for _, c := range []struct{ name, what string }{
		{"unwanted", "SQL, WHERE of a field that does not hold"},
		{"all", "SQL, SELECT *"},
		{"all-spaced", "SQL, SELECT *, payload with white space"},
		{"three", "SQL, three fields with arithmetic and WHERE"},
		{"nested", "SQL, nested SELECT over 20 rows"},
	} {
		b.report.add(row{what: c.what, unit: unit, baseline: "written by hand", goal: 2,
			base: f.get("Program/"+c.name+"/handwritten", cpu), value: f.get("Program/"+c.name+"/mote", cpu)})
	}
	if err := f.err(); err != nil {
		return err
	}
	if f, err = b.goBench("./internal/cloud/rules", "^BenchmarkApply$", "40ms", sqlTurns*b.rounds); err != nil {
		return err
	}
	b.report.add(row{what: "10,000 rules, one wants the message", unit: unit, baseline: "one rule, which wants it", goal: 1.2,
		base: f.get("Apply/one", cpu), value: f.get("Apply/one-of-10000", cpu)})
	b.report.add(row{what: "10,000 rules, none wants the message", unit: unit, baseline: "one rule, for other topics",
		base: f.get("Apply/none", cpu), value: f.get("Apply/none-of-10000", cpu)})
	b.report.add(row{what: "message that no rule wants", unit: "allocations", zero: true, value: f.get("Apply/none", "allocs/op")})
	b.report.add(row{what: "message that WHERE turns away", unit: "allocations", zero: true, value: f.get("Apply/turned-away", "allocs/op")})
	return f.err()
}
