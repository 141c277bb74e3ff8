package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"mote/internal/edge"
	"mote/internal/edge/monitor"
	"mote/internal/edge/uplink"
)

// snapshot is what the monitor shows.
func (g *gateway) snapshot() monitor.Snapshot {
	s := monitor.Snapshot{Name: g.name, Version: programVersion(), Delivery: map[string]uplink.Status{}}
	if e := g.work.edge.Load(); e != nil {
		s.Status = e.Status()
	}
	g.work.mu.Lock()
	defer g.work.mu.Unlock()
	for _, u := range g.uplinks {
		s.Delivery[u.Name()] = u.Status()
	}
	return s
}

// serve answers on the address listen of [gateway] until ctx ends.
func (g *gateway) serve(ctx context.Context, l net.Listener) error {
	host, _, err := net.SplitHostPort(g.listen)
	if err != nil {
		return err
	}
	return monitor.NewWatch(g.snapshot).Serve(ctx, l, host)
}

// monitoring opens the address that listen names, nil when it names none.
func (g *gateway) monitoring() (net.Listener, error) {
	if g.listen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", g.listen)
	if err != nil {
		return nil, fmt.Errorf("gateway.listen: %w: end the program that has the address, or choose another", err)
	}
	g.log.Info("health, metrics and the page are served", "url", "http://"+l.Addr().String()+"/")
	return l, nil
}

// feed tells systemd how the gateway is until ctx ends, and keeps its watchdog
// quiet while the gateway's own parts move.
func (g *gateway) feed(ctx context.Context, n *notifier) {
	if n == nil {
		return
	}
	every := 30 * time.Second
	if n.watchdog > 0 {
		every = min(every, n.watchdog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for last := ""; ; {
		s, err := g.probe(ctx, every)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			n.alive()
		} else {
			g.log.Error("the gateway does not answer itself; systemd will restart it", "error", err)
		}
		if text := statusLine(s); text != last && err == nil {
			n.status(text)
			last = text
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe asks every line, uplink and the spool for their state. Each answers
// under the lock that it works with: one that holds its lock for good makes the
// watchdog end the process.
func (g *gateway) probe(ctx context.Context, limit time.Duration) (monitor.Snapshot, error) {
	got := make(chan monitor.Snapshot, 1)
	go func() { got <- g.snapshot() }() // left behind when it hangs: the process is about to be ended
	select {
	case s := <-got:
		return s, stuck(s)
	case <-ctx.Done():
		return monitor.Snapshot{}, ctx.Err()
	case <-time.After(limit):
		return monitor.Snapshot{}, errors.New("a part of it holds a lock and does not move")
	}
}

// stuck finds goroutines that should be there and are not. A line that is down,
// a spool that is full and an uplink without a server wait rightly.
func stuck(s monitor.Snapshot) error {
	for _, src := range s.Sources {
		if src.State == edge.Stopped {
			return fmt.Errorf("source %s has stopped", src.Name)
		}
	}
	return nil
}

func statusLine(s monitor.Snapshot) string {
	open, waiting := 0, uint64(0)
	for _, src := range s.Sources {
		if src.State == edge.Connected {
			open++
		}
	}
	for _, r := range s.Spool.Readers {
		waiting = max(waiting, r.Waiting)
	}
	connected := 0
	for _, d := range s.Delivery {
		if d.Connected {
			connected++
		}
	}
	backlog := "nothing waits"
	switch {
	case !s.ClockSet && s.Untimed > 0:
		backlog = "readings wait for the clock to be set"
	case waiting > 100_000:
		backlog = fmt.Sprintf("about %d thousand readings wait", (waiting+500)/1000)
	case waiting > 100: // what is on its way is no backlog
		backlog = fmt.Sprintf("about %d readings wait", (waiting+50)/100*100)
	}
	return fmt.Sprintf("%d of %s open, %d of %s connected, %s", open, plural(len(s.Sources), "source"), connected, plural(len(s.Uplinks), "uplink"), backlog)
}
