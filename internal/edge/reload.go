package edge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// handover is how long a new line waits for those that it follows: the old one
// may hold the same device under another name. After that it is dialled, and
// dialled again, like any other.
const handover = 2 * time.Second

// operation is a gateway at work.
type operation struct {
	lines      context.Context // ends when lines must stop reading
	appending  context.Context // ends when their last readings must be in the spool
	delivering context.Context // ends when uplinks must stop
	fail       context.CancelCauseFunc

	followed, delivered sync.WaitGroup // the goroutines of lines and of uplinks
}

// span is the life of a line's or uplink's goroutine.
type span struct {
	stop context.CancelFunc // nil before its start
	gone chan struct{}
}

// check refuses lines and uplinks that cannot be together.
func check(lines []Line, uplinks []Uplink) error {
	names := map[string]bool{}
	for _, l := range lines {
		if l.Source == nil || l.Format == nil {
			return errors.New("a line needs a source and a format")
		}
		if names[l.Source.Name()] {
			return fmt.Errorf("the source %s is there twice; only one line can read it", l.Source.Name())
		}
		names[l.Source.Name()] = true
	}
	clear(names)
	for _, u := range uplinks {
		if u.Run == nil || u.Name == "" {
			return errors.New("an uplink needs a name and a way to run")
		}
		if names[u.Name] {
			return fmt.Errorf("the uplink %s is there twice; each needs a place of its own in the spool", u.Name)
		}
		names[u.Name] = true
	}
	return nil
}

// Reload makes lines and uplinks those that the gateway follows from now on. A
// line with the very Source and Format of one that is there is that one, and an
// uplink with its Name and Key: they go on and notice nothing. The others that
// are there end, each in order, and new ones begin; a new uplink when the old
// one of its name has ended. Reload does not wait for that. After an error
// nothing has changed.
func (g *Gateway) Reload(lines []Line, uplinks []Uplink) error {
	if err := check(lines, uplinks); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	oldLines, oldUplinks := g.lines, g.uplinks
	g.lines, g.uplinks = nil, nil
	for _, l := range lines {
		g.lines = append(g.lines, sameLine(oldLines, l, func() *line { return newLine(g, l) }))
	}
	for _, u := range uplinks {
		g.uplinks = append(g.uplinks, sameUplink(oldUplinks, u, func() *uplink { return newUplink(g, u) }))
	}
	left := endAll(oldLines, g.lines)
	leftUplinks := endAll(oldUplinks, g.uplinks)
	g.startAll(left, leftUplinks)
	return nil
}

func sameLine(have []*line, want Line, make func() *line) *line {
	for _, l := range have {
		if l.Source == want.Source && l.Format == want.Format {
			return l
		}
	}
	return make()
}

func sameUplink(have []*uplink, want Uplink, make func() *uplink) *uplink {
	for _, u := range have {
		if u.Name == want.Name && u.Key != nil && u.Key == want.Key {
			return u
		}
	}
	return make()
}

// endAll stops what is in had and not in have, and returns it.
func endAll[T interface {
	comparable
	life() *span
}](had, have []T) (left []T) {
	stays := map[T]bool{}
	for _, one := range have {
		stays[one] = true
	}
	for _, one := range had {
		if s := one.life(); !stays[one] && s.stop != nil {
			s.stop()
			left = append(left, one)
		}
	}
	return left
}

// startAll starts what has not been started, while the gateway works; mu is
// held. Lines wait a little for those that left, uplinks for the one whose
// place in the spool they take.
func (g *Gateway) startAll(left []*line, leftUplinks []*uplink) {
	op := g.op
	if op == nil {
		return
	}
	for _, l := range g.lines {
		if l.stop != nil {
			continue
		}
		ctx, stop := context.WithCancel(op.lines)
		l.stop = stop
		op.followed.Go(func() {
			defer close(l.gone)
			defer stop()
			limit := time.Now().Add(handover)
			for _, other := range left {
				awaitEnd(ctx, other.gone, limit)
			}
			l.run(ctx, op.appending, op.fail)
		})
	}
	for _, u := range g.uplinks {
		if u.stop != nil {
			continue
		}
		ctx, stop := context.WithCancel(op.delivering)
		u.stop = stop
		op.delivered.Go(func() {
			defer close(u.gone)
			defer stop()
			for _, other := range leftUplinks {
				if other.Name == u.Name {
					<-other.gone // its time is bounded: it has been told to stop
				}
			}
			u.run(ctx)
		})
	}
}

// awaitEnd waits until ended is closed, ctx ends or it is limit.
func awaitEnd(ctx context.Context, ended <-chan struct{}, limit time.Time) {
	t := time.NewTimer(time.Until(limit))
	defer t.Stop()
	select {
	case <-ended:
	case <-ctx.Done():
	case <-t.C:
	}
}

// parts are the lines and uplinks of now.
func (g *Gateway) parts() ([]*line, []*uplink) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lines, g.uplinks // Reload makes new slices
}
