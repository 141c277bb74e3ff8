// Package failover lets several uplinks stand in for each other on one place in
// the spool. One of them carries at a time: the first, until records have waited
// for so long without one of them getting through; then the next, and after the
// last the first again.
//
// While another carries, those that are preferred to it are tried from time to
// time, with a copy of a record that was delivered already. The first that gets
// it through carries again. A trial never delays the one that carries.
//
// A record that one of them delivered, or put aside as refused, is done for all.
// Nothing is lost when another takes over: it begins behind the last
// acknowledgement, and what was on its way may arrive by two roads, with the
// same identity.
package failover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mote/internal/edge/uplink"
)

// Name is the group's name, and that of its place in the spool.
const Name = "failover"

// Uplink is one that may carry. Run begins with a Rewind of its queue.
type Uplink interface {
	Name() string
	Run(ctx context.Context, q uplink.Queue) error
	Status() uplink.Status
}

// Options make a group. Uplinks, in the order in which they are preferred, are
// required, two or more.
type Options struct {
	Uplinks []Uplink
	// After is how long records wait without any getting through before the next
	// uplink takes over, and the pause between trials; default 30 s.
	After time.Duration
	Log   *slog.Logger // default: discard
}

const defaultAfter = 30 * time.Second

// Group is uplinks that stand in for each other.
type Group struct {
	uplinks []Uplink
	after   time.Duration
	log     *slog.Logger

	mu      sync.Mutex
	carrier int // guarded by mu; index in uplinks
}

// New checks the options.
func New(o Options) (*Group, error) {
	if len(o.Uplinks) < 2 {
		return nil, errors.New("failover needs two uplinks or more")
	}
	g := &Group{uplinks: o.Uplinks, after: o.After, log: o.Log}
	if g.after <= 0 {
		g.after = defaultAfter
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	return g, nil
}

// Name is [Name].
func (g *Group) Name() string { return Name }

// Status is the state of the uplink that carries, with the counts of all.
func (g *Group) Status() uplink.Status {
	g.mu.Lock()
	carrier := g.uplinks[g.carrier]
	g.mu.Unlock()
	s := carrier.Status()
	s.Carrier = carrier.Name()
	s.Delivered, s.Refused, s.Failures = 0, 0, 0
	for _, u := range g.uplinks {
		one := u.Status()
		s.Delivered += one.Delivered
		s.Refused += one.Refused
		s.Failures += one.Failures
	}
	return s
}

// Check says whether the certificates of the uplinks are valid at now.
func (g *Group) Check(now time.Time) error {
	for _, u := range g.uplinks {
		if dated, ok := u.(interface{ Check(now time.Time) error }); ok {
			if err := dated.Check(now); err != nil {
				return fmt.Errorf("%s: %w", u.Name(), err)
			}
		}
	}
	return nil
}

// Run delivers q until ctx ends, and returns nil then. Any other error is the
// queue's.
func (g *Group) Run(ctx context.Context, q uplink.Queue) error {
	g.carries(0)
	for i := 0; ; {
		next, why, err := g.carry(ctx, q, i)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		g.log.Warn("another uplink carries the readings now", "uplink", g.uplinks[next].Name(), "before", g.uplinks[i].Name(), "reason", why)
		g.carries(next)
		i = next
	}
}

func (g *Group) carries(i int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.carrier = i
}

// carry lets uplink i carry until another is to do it, and says which and why.
// The error is the queue's.
func (g *Group) carry(ctx context.Context, q uplink.Queue, i int) (next int, why string, err error) {
	t := newTurn(ctx, q)
	returned := make(chan error, 1)
	go func() { returned <- g.uplinks[i].Run(t.ctx, t) }()
	tried, works := g.tryBetter(t, i)
	look := time.NewTicker(g.after / 10)
	defer look.Stop()
	counted := g.uplinks[i].Status()
	ended := false
	for why == "" && err == nil && ctx.Err() == nil {
		select {
		case runErr := <-returned:
			ended = true
			if err = t.failure(); err == nil {
				next, why = (i+1)%len(g.uplinks), fmt.Sprintf("it stopped: %v", runErr)
				err = pause(ctx, g.after) // so that uplinks that all stop at once do not spin
			}
		case next = <-works:
			why = "it is preferred and works again"
		case now := <-look.C:
			s := g.uplinks[i].Status()
			if s.Delivered != counted.Delivered || s.Refused != counted.Refused {
				t.progressed(now)
			}
			counted = s
			if t.stuck(now) >= g.after {
				next, why = (i+1)%len(g.uplinks), firstOf(s.LastError, "nothing gets through")
			}
		case <-ctx.Done():
		}
	}
	t.cancel()
	<-tried
	if !ended {
		<-returned
	}
	t.stop()
	return next, why, err
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func pause(ctx context.Context, d time.Duration) error {
	if !uplink.Sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// tryBetter tries the uplinks before i again and again until the turn ends, and
// tells the first that works. The channel done is closed when it has ended.
func (g *Group) tryBetter(t *turn, i int) (done <-chan struct{}, works <-chan int) {
	ended, found := make(chan struct{}), make(chan int, 1)
	go func() {
		defer close(ended)
		for i > 0 && uplink.Sleep(t.ctx, g.after) {
			record := t.delivered()
			for better := range i {
				if record != nil && g.try(t.ctx, g.uplinks[better], record) {
					found <- better
					return
				}
			}
		}
	}()
	return ended, found
}

// try says whether u gets a record through.
func (g *Group) try(ctx context.Context, u Uplink, record []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, g.after)
	defer cancel()
	one := newSample(record)
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = u.Run(ctx, one) // what it says stands in its own log
	}()
	select {
	case <-one.acked:
	case <-ctx.Done():
	case <-ran:
	}
	cancel()
	<-ran
	return one.isAcked()
}
