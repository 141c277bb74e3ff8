package rfcomm

import (
	"context"
	"slices"
	"sync"
)

// adapters holds the turns of this machine's adapters, which all sources of
// the process share as they share the hardware: parallel dials queue up in the
// controller and run into each other's time-outs.
var adapters turns

// turns lets one dial at a time use an adapter, first come, first served. The
// zero address stands for whatever adapter the kernel chooses, which may be any
// of them. The zero value is ready.
type turns struct {
	mu      sync.Mutex
	holding []Address // guarded by mu: the adapters in use
	waiting []*turn   // guarded by mu: in order of arrival
}

type turn struct {
	adapter Address
	ready   chan struct{} // closed when the turn has come
}

func conflict(a, b Address) bool { return a == b || a == Address{} || b == Address{} }

// take waits for the adapter and returns what gives it back.
func (t *turns) take(ctx context.Context, adapter Address) (release func(), err error) {
	mine := &turn{adapter: adapter, ready: make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, mine)
	t.admit()
	t.mu.Unlock()
	release = sync.OnceFunc(func() { t.release(adapter) })
	select {
	case <-mine.ready:
		return release, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(t.waiting, mine)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		t.admit()
	}
	t.mu.Unlock()
	if i < 0 { // the turn came at the same moment
		release()
	}
	return nil, ctx.Err()
}

func (t *turns) release(adapter Address) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.holding, adapter); i >= 0 {
		t.holding = slices.Delete(t.holding, i, i+1)
	}
	t.admit()
}

// admit gives the turn to everybody who conflicts neither with a holder nor
// with one who waits longer. The caller holds mu.
func (t *turns) admit() {
	var still []*turn
	for _, w := range t.waiting {
		blocked := slices.ContainsFunc(t.holding, func(a Address) bool { return conflict(a, w.adapter) }) ||
			slices.ContainsFunc(still, func(o *turn) bool { return conflict(o.adapter, w.adapter) })
		if blocked {
			still = append(still, w)
			continue
		}
		t.holding = append(t.holding, w.adapter)
		close(w.ready)
	}
	t.waiting = still
}
