package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mote/internal/config"
	"mote/internal/edge"
	"mote/internal/edge/spool"
)

// configPoll is how often the configuration file is looked at. A change counts
// when the file is the same at two looks: an editor may still be writing it.
const configPoll = 2 * time.Second

// made are the parts that the last configuration has made, kept with what they
// were made of, so that the next one can go on with those that stay the same.
type made struct {
	sources []madeSource
	uplink  config.Uplinks
	thing   string            // of [gateway]
	kinds   map[string]sender // uplinks by their table in the file
}

type madeSource struct {
	config config.Source
	lines  []edge.Line
}

// lines returns the lines of one [[source]]: those of before when it is the same.
func (m *made) lines(c *config.Source) ([]edge.Line, bool) {
	for _, s := range m.sources {
		if reflect.DeepEqual(s.config, *c) {
			return s.lines, true
		}
	}
	return nil, false
}

// reload makes the running gateway follow file. What cannot change while it
// runs is named in the log; all else is as in file afterwards.
func (g *gateway) reload(ctx context.Context, file *config.File) error {
	e := g.work.edge.Load()
	if e == nil {
		return errors.New("the gateway does not run yet")
	}
	var held []string
	if f := file.Gateway; f != nil {
		held = g.hold(f)
	}
	next, err := remake(ctx, g, file, g.log)
	if err != nil {
		return err
	}
	var uplinks []edge.Uplink
	for _, u := range next.uplinks {
		if q, ok := g.work.queues[u.Name()]; ok {
			uplinks = append(uplinks, edge.Deliver(u, q))
		}
	}
	if err := e.Reload(next.lines, uplinks); err != nil {
		return err
	}
	g.work.control.Store(next.control)
	if held = append(held, g.readersHeld(next)...); len(held) > 0 {
		g.log.Warn("part of the new configuration needs a restart of the gateway; until then it goes on as before there", "settings", strings.Join(held, ", "))
	}
	g.log.Info("configuration is reloaded", "sources", len(next.lines), "uplinks", len(uplinks))
	g.work.mu.Lock()
	g.uplinks = next.uplinks
	g.work.mu.Unlock()
	g.lines, g.made, g.control = next.lines, next.made, next.control
	return nil
}

// hold names the settings of f that cannot change in a running gateway, and
// puts those of now into their place.
func (g *gateway) hold(f *config.Gateway) (names []string) {
	if f.Spool != g.spool {
		names = append(names, "gateway.spool")
	}
	if f.Listen != g.listen {
		names = append(names, "gateway.listen")
	}
	if live := f.Live == nil || *f.Live; live != g.live {
		names = append(names, "gateway.live")
	}
	if f.Spool.Dir != g.spool.Dir {
		g.tellMove(f.Spool.Dir)
	}
	f.Spool, f.Listen, f.Live = g.spool, g.listen, &g.live
	return names
}

// tellMove says what the next start with another spool leaves behind.
func (g *gateway) tellMove(to string) {
	waiting := uint64(0)
	for _, r := range g.work.edge.Load().Status().Spool.Readers {
		waiting = max(waiting, r.Waiting)
	}
	if waiting > 0 {
		g.log.Warn("spool.dir changes with the next start, and what waits would stay behind: restart when nothing waits any more, or move the directory while no gateway runs", "from", g.spool.Dir, "to", to, "waiting", waiting)
	}
}

// readersHeld names the uplinks of next that have no place in the spool yet, and
// those that lost theirs: a reader that is missing when the spool is opened is
// forgotten with all that waits for it, and a file that was saved by halves must
// not do that.
func (g *gateway) readersHeld(next *gateway) (names []string) {
	there := map[string]bool{}
	for _, u := range next.uplinks {
		there[u.Name()] = true
		if g.work.queues[u.Name()] == nil {
			names = append(names, "uplink."+u.Name()+" (new)")
		}
	}
	for name := range g.work.queues {
		if !there[name] {
			names = append(names, "uplink."+name+" (gone; its readings are kept, and count in a full spool, until then)")
		}
	}
	return names
}

// follow reloads the configuration at path on SIGHUP and when the file
// changes, until ctx ends. A file that is refused is logged, and nothing
// changes. A SIGHUP because the terminal has gone calls stop instead.
func (g *gateway) follow(ctx context.Context, path string, n *notifier, stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	tick := time.NewTicker(configPoll)
	defer tick.Stop()
	f := newFollowed(path)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if terminalGone() {
				stop()
				return
			}
			f = newFollowed(path)
		case <-tick.C:
			if !f.changed() {
				continue
			}
		}
		n.reloading()
		if file, err := config.Load(path); err != nil {
			g.log.Error("configuration is refused; the gateway goes on with the one before", "error", err)
		} else if err := g.reload(ctx, file); err != nil {
			g.log.Error("configuration is refused; the gateway goes on with the one before", "file", path, "error", err)
		}
		n.ready()
	}
}

// terminalGone says whether the log went to a terminal that is there no more
// (termios(3): a terminal that hung up answers EIO).
func terminalGone() bool {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	return errors.Is(err, unix.EIO)
}

// followed is a file and how it looked before.
type followed struct {
	path       string
	used, seen fileState
}

// fileState is what changes with a file's content; zero for a file that is not
// there.
type fileState struct {
	modified time.Time
	size     int64
	inode    uint64
}

func newFollowed(path string) *followed {
	now := stateOf(path)
	return &followed{path: path, used: now, seen: now}
}

// changed reports once that the file is another than before and at rest.
func (f *followed) changed() bool {
	now := stateOf(f.path)
	rests := now == f.seen
	f.seen = now
	if !rests || now == f.used || now == (fileState{}) { // a file that is being replaced may be away
		return false
	}
	f.used = now
	return true
}

func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	s := fileState{modified: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// policyOf is what the spool does when it is full.
func policyOf(s config.Spool) spool.Policy {
	if s.Full == "block" {
		return spool.Block
	}
	return spool.DropOldest
}
