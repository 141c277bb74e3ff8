package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/config"
	"mote/internal/edge"
	"mote/internal/edge/clock"
	"mote/internal/edge/control"
	"mote/internal/edge/source/rfcomm"
	"mote/internal/edge/source/serial"
	"mote/internal/edge/source/sim"
	"mote/internal/edge/source/tcp"
	"mote/internal/edge/spool"
	"mote/internal/edge/uplink"
)

type gatewayCmd struct {
	Config string `help:"Configuration file; default: mote.toml in this directory." type:"path" default:"mote.toml" placeholder:"FILE" short:"c"`
	Check  bool   `help:"Check the configuration and the files that it names, and end."`
}

// Run carries readings until Ctrl-C.
func (c gatewayCmd) Run(s *session) error {
	file, err := config.Load(c.Config)
	if err != nil {
		return usageError{err}
	}
	log := s.logger(slog.LevelInfo)
	g, err := newGateway(s.ctx, file, log)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", c.Config, err)}
	}
	if c.Check {
		if err := g.check(); err != nil {
			return usageError{fmt.Errorf("%s: %w", c.Config, err)}
		}
		_, err := fmt.Fprintf(s.stdout, "%s is good: %s, %s\n", c.Config, plural(len(g.lines), "source"), plural(len(g.uplinks), "uplink"))
		return err
	}
	log.Info("gateway starts", "name", file.Gateway.Name, "sources", len(g.lines), "uplinks", len(g.uplinks), "spool", file.Gateway.Spool.Dir)
	tellLeftBehind(log, leftBehind(c.Config, file.Gateway.Spool.Dir))
	settle(log)
	return g.attended(s.ctx, c.Config)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// gateway is a checked configuration, ready to run. Nothing is open yet.
type gateway struct {
	name    string
	spool   config.Spool
	live    bool   // new readings go beside a backlog
	listen  string // address of health, metrics and the page; "" for none
	log     *slog.Logger
	lines   []edge.Line
	uplinks []sender         // guarded by work.mu while the gateway runs
	control *control.Control // nil when the boards' shadows are left alone
	made    made
	work    *work
}

// work is what a gateway has only while it runs; the parts that a reload makes
// share it.
type work struct {
	edge    atomic.Pointer[edge.Gateway]
	control atomic.Pointer[control.Control]
	queues  map[string]uplink.Queue // by the names of the spool's readers; set before the edge is
	mu      sync.Mutex              // see gateway.uplinks
}

// newGateway makes the parts that file describes and checks what can be
// checked without opening a device or a connection.
func newGateway(ctx context.Context, file *config.File, log *slog.Logger) (*gateway, error) {
	return remake(ctx, &gateway{work: &work{}}, file, log)
}

// remake is newGateway beside a gateway of before: parts that file describes as
// they were are its parts.
func remake(ctx context.Context, old *gateway, file *config.File, log *slog.Logger) (*gateway, error) {
	switch {
	case file.Gateway == nil:
		return nil, errors.New("there is no [gateway]: give it a name")
	case len(file.Sources) == 0:
		return nil, errors.New("there is no [[source]]: nothing to read from")
	case file.Uplink.None():
		return nil, errors.New("there is no uplink: add [uplink.iot], [uplink.rest] or [uplink.dynamodb]")
	}
	g := &gateway{name: file.Gateway.Name, spool: file.Gateway.Spool, live: file.Gateway.Live == nil || *file.Gateway.Live, listen: file.Gateway.Listen, log: log, work: old.work}
	g.made = made{uplink: file.Uplink, thing: file.Gateway.Thing}
	for i := range file.Sources {
		lines, ok := old.made.lines(&file.Sources[i])
		if !ok || old.name != g.name {
			var err error
			if lines, err = newLines(&file.Sources[i], g.name); err != nil {
				return nil, fmt.Errorf("source %d: %w", i+1, err)
			}
		}
		g.lines = append(g.lines, lines...)
		g.made.sources = append(g.made.sources, madeSource{file.Sources[i], lines})
	}
	if old.made.thing == g.made.thing && reflect.DeepEqual(old.made.uplink, g.made.uplink) {
		g.uplinks, g.control, g.made.kinds = old.uplinks, old.control, old.made.kinds
		return g, nil
	}
	if err := g.addUplinks(ctx, old, file); err != nil {
		return nil, err
	}
	return g, nil
}

// check looks at what does not keep a gateway from spooling but would keep it
// from delivering: the dates of certificates.
func (g *gateway) check() error {
	for _, u := range g.uplinks {
		if dated, ok := u.(interface{ Check(now time.Time) error }); ok {
			if err := dated.Check(time.Now()); err != nil {
				return fmt.Errorf("uplink.%s: %w", u.Name(), err)
			}
		}
	}
	return nil
}

// newLines makes the lines of one [[source]]; only sim makes several.
func newLines(c *config.Source, gateway string) ([]edge.Line, error) {
	format, err := newFormat(c)
	if err != nil {
		return nil, err
	}
	sources, err := newSources(c, gateway)
	if err != nil {
		return nil, err
	}
	var lines []edge.Line
	for _, s := range sources {
		if c.Name != "" {
			s = named{s, c.Name}
		}
		lines = append(lines, edge.Line{Source: s, Format: format, Silence: c.SilenceAfter, Every: c.EveryTime, Heartbeat: c.HeartbeatAfter})
	}
	return lines, nil
}

func newSources(c *config.Source, gateway string) ([]edge.Source, error) {
	switch {
	case c.Bluetooth != "":
		s, err := rfcomm.New(rfcomm.Options{Address: c.Bluetooth, Channel: c.Channel, Adapter: c.Adapter})
		return []edge.Source{s}, err
	case c.Serial != "":
		s, err := serial.New(serial.Options{Path: c.Serial, Baud: c.Baud})
		return []edge.Source{s}, err
	case c.TCP != "":
		s, err := tcp.New(tcp.Options{Address: c.TCP})
		return []edge.Source{s}, err
	case c.MQTT != "":
		s, err := newMQTTSource(c, gateway)
		return []edge.Source{s}, err
	}
	boards, err := sim.Sources(c.Sim, sim.Options{})
	if err != nil {
		return nil, err
	}
	var sources []edge.Source
	for _, b := range boards {
		sources = append(sources, b)
	}
	return sources, nil
}

// named is a source with the name that the configuration gives it.
type named struct {
	edge.Source
	name string
}

func (n named) Name() string { return n.name }

// attended runs the gateway as a service does: with its page, its
// configuration followed, and systemd told how it is.
func (g *gateway) attended(ctx context.Context, path string) error {
	l, err := g.monitoring()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n := newNotifier()
	var beside sync.WaitGroup
	if l != nil {
		beside.Go(func() {
			if err := g.serve(ctx, l); err != nil {
				g.log.Error("health, metrics and the page are served no more", "error", err)
			}
		})
	}
	err = g.run(ctx, func() {
		n.ready()
		beside.Go(func() { g.follow(ctx, path, n, stop) })
		beside.Go(func() { g.feed(ctx, n) })
		beside.Go(func() { <-ctx.Done(); n.stopping() })
	})
	stop()
	beside.Wait()
	return err
}

// run opens the spool and works until ctx ends. begun, which may be nil, is
// called when the spool is open.
func (g *gateway) run(ctx context.Context, begun func()) (err error) {
	var names []string
	for _, u := range g.uplinks {
		names = append(names, u.Name())
	}
	sp, err := spool.Open(g.spool.Dir, spool.Options{MaxBytes: g.spool.MaxBytes, Full: policyOf(g.spool), Readers: names, Log: g.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sp.Close()) }()
	hands, err := clock.Open(clock.Options{Dir: g.spool.Dir, MaxBytes: g.spool.MaxBytes / 16, Full: policyOf(g.spool), Log: g.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hands.Close()) }()
	o := edge.Options{Lines: g.lines, Spool: sp, Clock: hands, Log: g.log, Seen: g.seen}
	g.work.queues = map[string]uplink.Queue{}
	for _, u := range g.uplinks {
		q := g.queue(sp.Reader(u.Name()))
		g.work.queues[u.Name()] = q
		o.Uplinks = append(o.Uplinks, edge.Deliver(u, q))
	}
	e, err := edge.New(o)
	if err != nil {
		return err
	}
	g.work.control.Store(g.control)
	g.work.edge.Store(e)
	if begun != nil {
		begun()
	}
	return e.Run(ctx)
}

// queue is what an uplink delivers of a reader's records.
func (g *gateway) queue(r *spool.Reader) uplink.Queue {
	if g.live {
		return r.Live()
	}
	return r
}

// seen tells the one that steers the boards.
func (g *gateway) seen(board string, rate time.Duration) {
	if c := g.work.control.Load(); c != nil {
		c.Seen(board, rate)
	}
}
