package edge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// uplink is one uplink under supervision.
type uplink struct {
	Uplink
	log  *slog.Logger
	span // its stop is guarded by the gateway's mu

	mu        sync.Mutex
	running   bool  // guarded by mu
	failures  int64 // guarded by mu
	lastError string
	failedAt  time.Time
}

func newUplink(g *Gateway, u Uplink) *uplink {
	return &uplink{Uplink: u, log: g.log.With("uplink", u.Name), span: span{gone: make(chan struct{})}}
}

func (u *uplink) life() *span { return &u.span }

// errReturned is what an uplink that stops without a reason is said to have.
var errReturned = errors.New("it stopped without a reason")

// run keeps the uplink running until ctx ends.
func (u *uplink) run(ctx context.Context) {
	again := backoff{first: 500 * time.Millisecond, most: 30 * time.Second}
	for {
		begun := time.Now()
		u.set(true, nil)
		err := u.Run(ctx)
		if ctx.Err() != nil {
			u.set(false, nil)
			return
		}
		if err == nil {
			err = errReturned
		}
		u.set(false, err)
		if time.Since(begun) > time.Minute {
			again.reset()
		}
		if !again.wait(ctx) {
			return
		}
	}
}

// set notes whether the uplink runs; an error that is new is logged.
func (u *uplink) set(running bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.running = running
	if err == nil {
		return
	}
	u.failures++
	u.failedAt = time.Now()
	if text := err.Error(); text != u.lastError {
		u.lastError = text
		u.log.Error("uplink failed; it is started again", "error", text)
	}
}

func (u *uplink) status() UplinkStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	return UplinkStatus{Name: u.Name, Running: u.running, Failures: u.failures, LastError: u.lastError, FailedAt: u.failedAt}
}
