// Package throttle keeps what happens very often from filling the log.
package throttle

import (
	"sync/atomic"
	"time"
)

// Lines lets one log line of a kind pass per second. The zero Lines is ready, and
// safe for concurrent use.
type Lines struct {
	last   atomic.Int64 // Unix nanoseconds
	missed atomic.Int64
}

// Allow says whether to log now, and how many lines were left out before.
func (l *Lines) Allow() (ok bool, missed int64) {
	now, last := time.Now().UnixNano(), l.last.Load()
	if now-last < int64(time.Second) || !l.last.CompareAndSwap(last, now) {
		l.missed.Add(1)
		return false, 0
	}
	return true, l.missed.Swap(0)
}
