package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"mote/internal/edge/spool"
)

// Run works until ctx ends, and returns nil then, after the stop in order that
// the package promises. Any other return means that nothing can be made
// durable any more.
func (g *Gateway) Run(ctx context.Context) error {
	now := time.Now()
	g.started.Store(&now)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	delivering, stopUplinks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopUplinks()
	appending, stopAppends := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAppends()
	op := &operation{lines: ctx, appending: appending, delivering: delivering, fail: stop}
	g.mu.Lock()
	g.op = op
	g.startAll(nil, nil)
	g.mu.Unlock()
	op.followed.Go(func() { g.clock.Run(ctx, g.spool.Append) })

	<-ctx.Done()
	g.mu.Lock()
	g.op = nil // a Reload starts nothing any more
	g.mu.Unlock()
	grace := time.AfterFunc(appendGrace, stopAppends)
	op.followed.Wait()
	grace.Stop()
	g.awaitDelivered()
	stopUplinks()
	op.delivered.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, spool.ErrClosed) {
		return fmt.Errorf("gateway: %w", cause)
	}
	return nil
}

// awaitDelivered waits until every uplink has delivered all there is, or the
// time for that is over. What is left stays in the spool.
func (g *Gateway) awaitDelivered() {
	for end := time.Now().Add(g.drain); g.waiting() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// waiting is how many records the uplinks have not delivered yet.
func (g *Gateway) waiting() (n uint64) {
	stats := g.spool.Stats()
	_, uplinks := g.parts()
	for _, u := range uplinks {
		for i := range stats.Readers {
			if stats.Readers[i].Name == u.Name {
				n += stats.Readers[i].Waiting
			}
		}
	}
	return n
}

// backoff is the pause before the next attempt: it doubles from first to most,
// and half of it is random, so that boards that were lost together do not come
// back together.
type backoff struct {
	first, most time.Duration
	next        time.Duration
}

// reset is called after a success.
func (b *backoff) reset() { b.next = 0 }

// wait pauses and reports whether ctx is still alive.
func (b *backoff) wait(ctx context.Context) bool {
	if b.next == 0 {
		b.next = b.first
	}
	pause := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.most)
	return sleep(ctx, pause)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
