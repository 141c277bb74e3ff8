package uplinktest

import (
	"context"
	"sync"
	"testing"

	"mote/internal/edge/uplink"
)

// Run has u deliver q until the test ends, or stop is called; it must return nil.
func Run(t *testing.T, u interface {
	Run(context.Context, uplink.Queue) error
}, q uplink.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx, q) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
