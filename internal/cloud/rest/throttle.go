package rest

import (
	"sync"
	"time"
)

// maxBuckets bounds the memory of the buckets; past it they start full again.
const maxBuckets = 20000

// buckets are the token buckets of usage plans, one for each plan and key.
type buckets struct {
	mu   sync.Mutex
	full map[string]*bucket // guarded by mu; by plan and key id
}

type bucket struct {
	tokens float64
	filled time.Time
}

// take takes one token from the bucket, and says whether there was one.
func (b *buckets) take(id string, t *Throttle, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full == nil || len(b.full) >= maxBuckets {
		b.full = map[string]*bucket{}
	}
	size := float64(t.BurstLimit)
	if size == 0 { // only a rate was given
		size = max(1, t.RateLimit)
	}
	one := b.full[id]
	if one == nil {
		one = &bucket{tokens: size, filled: now}
		b.full[id] = one
	}
	one.tokens = min(size, one.tokens+max(0, now.Sub(one.filled).Seconds())*t.RateLimit)
	one.filled = now
	if one.tokens < 1 {
		return false
	}
	one.tokens--
	return true
}
