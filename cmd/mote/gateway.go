package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	Config string `help:"Configuration file." type:"path" default:"mote.toml" placeholder:"FILE" short:"c"`
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
	settle(log)
	return g.run(s.ctx)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// gateway is a checked configuration, ready to run. Nothing is open yet.
type gateway struct {
	spool   config.Spool
	live    bool // new readings go beside a backlog
	lines   []edge.Line
	uplinks []sender
	control *control.Control // nil when the boards' shadows are left alone
	running atomic.Pointer[edge.Gateway]
	log     *slog.Logger
}

// newGateway makes the parts that file describes and checks what can be
// checked without opening a device or a connection.
func newGateway(ctx context.Context, file *config.File, log *slog.Logger) (*gateway, error) {
	switch {
	case file.Gateway == nil:
		return nil, errors.New("there is no [gateway]: give it a name")
	case len(file.Sources) == 0:
		return nil, errors.New("there is no [[source]]: nothing to read from")
	case file.Uplink.None():
		return nil, errors.New("there is no uplink: add [uplink.iot], [uplink.rest] or [uplink.dynamodb]")
	}
	g := &gateway{spool: file.Gateway.Spool, live: file.Gateway.Live == nil || *file.Gateway.Live, log: log}
	for i := range file.Sources {
		lines, err := newLines(&file.Sources[i], file.Gateway.Name)
		if err != nil {
			return nil, fmt.Errorf("source %d: %w", i+1, err)
		}
		g.lines = append(g.lines, lines...)
	}
	if err := g.addUplinks(ctx, file); err != nil {
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

// run opens the spool and works until ctx ends.
func (g *gateway) run(ctx context.Context) (err error) {
	full := spool.DropOldest
	if g.spool.Full == "block" {
		full = spool.Block
	}
	var names []string
	for _, u := range g.uplinks {
		names = append(names, u.Name())
	}
	sp, err := spool.Open(g.spool.Dir, spool.Options{MaxBytes: g.spool.MaxBytes, Full: full, Readers: names, Log: g.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sp.Close()) }()
	hands, err := clock.Open(clock.Options{Dir: g.spool.Dir, MaxBytes: g.spool.MaxBytes / 16, Full: full, Log: g.log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hands.Close()) }()
	o := edge.Options{Lines: g.lines, Spool: sp, Clock: hands, Log: g.log}
	for _, u := range g.uplinks {
		o.Uplinks = append(o.Uplinks, edge.Deliver(u, g.queue(sp.Reader(u.Name()))))
	}
	if g.control != nil {
		o.Seen = g.control.Seen
	}
	e, err := edge.New(o)
	if err != nil {
		return err
	}
	g.running.Store(e)
	return e.Run(ctx)
}

// queue is what an uplink delivers of a reader's records.
func (g *gateway) queue(r *spool.Reader) uplink.Queue {
	if g.live {
		return r.Live()
	}
	return r
}
