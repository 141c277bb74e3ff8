package uplink

import (
	"context"
	"time"
)

// The quotas of AWS IoT Core for one connection ("AWS IoT Core endpoints and
// quotas": publish requests per second per connection, throughput per second
// per connection). What goes beyond them is throttled or disconnected.
const (
	AWSMessages = 100
	AWSBytes    = 512 << 10
)

// Pace spaces deliveries evenly, so that no second has more than Messages of
// them, or more than Bytes. 0 does not bound. It is for one goroutine.
type Pace struct {
	Messages, Bytes int // a second

	free time.Time // before it, nothing may be sent
}

// Wait returns when a delivery of so many bytes may be sent, or the error of
// ctx. Time that went by unused is not made up for.
func (p *Pace) Wait(ctx context.Context, bytes int) error {
	now := time.Now()
	at := now
	if p.free.After(now) {
		at = p.free
		if !Sleep(ctx, at.Sub(now)) {
			return ctx.Err()
		}
		if late := time.Now(); late.After(at) {
			at = late
		}
	}
	var cost time.Duration
	if p.Messages > 0 {
		cost = time.Second / time.Duration(p.Messages)
	}
	if p.Bytes > 0 {
		cost = max(cost, time.Duration(int64(bytes)*int64(time.Second)/int64(p.Bytes)))
	}
	p.free = at.Add(cost)
	return ctx.Err()
}
