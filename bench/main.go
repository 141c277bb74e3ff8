// Command bench measures mote beside baselines, in one run, and prints one
// table of ratios. It writes to a temporary directory only, which it removes.
//
// What is compared is CPU, user and system time of the measured process:
// elapsed time says more about the disk and the neighbours than about mote.
// Baseline and mote take turns, several times, and medians are printed, since
// no machine is quiet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run of the program.
type bench struct {
	ctx    context.Context
	dir    string // temporary, for everything
	mote   string // the release build
	edge   string // the gateway-only release build
	rounds int    // how often each measurement is repeated
	span   time.Duration
	match  string // of the loads of broker and table, only those whose name has it
	items  int    // how many the growing table gets
	idle   int    // how many connections are left idle
	report report

	waiting int  // how many readings wait in a gateway's spool at most
	oneCore bool // what is started shares one core
}

// part is a group of measurements.
type part struct {
	name string
	run  func(*bench) error
}

// parts are in the order in which they run.
var parts = []part{
	{"spool", (*bench).spool},
	{"sql", (*bench).sql},
	{"broker", (*bench).broker},
	{"rest", (*bench).rest},
	{"table", (*bench).table},
	{"gateway", (*bench).gateway},
	{"sizes", (*bench).sizes},
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == floorVerb {
		if err := floor(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.mote, "mote", "bin/mote", "release build to measure")
	flags.StringVar(&b.edge, "mote-gateway", "bin/mote-gateway", "gateway-only release build to measure")
	flags.IntVar(&b.rounds, "rounds", 5, "how often each measurement is repeated")
	flags.DurationVar(&b.span, "span", 800*time.Millisecond, "length of one measurement under load")
	flags.StringVar(&b.match, "match", "", "of the loads of broker and table, only those whose name contains this, such as 100×16")
	flags.IntVar(&b.items, "items", 1_000_000, "how many items the growing table gets: 100000, 1000000 or 10000000")
	flags.IntVar(&b.idle, "idle", 10_000, "how many idle TLS connections there are to be; fewer where ulimit -n does not let a cloud serve as many")
	flags.IntVar(&b.waiting, "waiting", 1_000_000, "how many readings wait in a gateway's spool while its memory is looked at, beside a million")
	only := flags.String("only", "", "parts to run, with commas between: spool, sql, broker, rest, table, gateway, sizes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if b.rounds < 1 || b.span <= 0 || b.idle < 1 {
		return errors.New("-rounds, -span and -idle must be above 0")
	}
	var stop context.CancelFunc
	b.ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if b.dir, err = os.MkdirTemp("", "mote-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	return b.all(*only)
}

// all runs the chosen parts; one that cannot be measured does not keep the
// others from it.
func (b *bench) all(only string) error {
	chosen := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, name := range chosen {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	fmt.Printf("%s, %s/%s, %d CPUs; medians of %d turns\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.rounds)
	var errs []error
	for _, p := range parts {
		if len(chosen) > 0 && !slices.Contains(chosen, p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s\n", p.name)
		if err := p.run(b); err != nil {
			errs = append(errs, fmt.Errorf("%s: not measured: %w", p.name, err))
		}
	}
	b.report.print(os.Stdout)
	return errors.Join(errs...)
}
