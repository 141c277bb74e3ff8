// Package uplink holds what the uplinks share: the queue that they deliver, the
// order in which deliveries are acknowledged to it, waiting between tries, the
// record of what can never be delivered, and telling a change of state once.
package uplink

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Queue is what an uplink delivers; a *spool.Reader is one. Records come with
// rising sequence numbers, which may have gaps.
type Queue interface {
	// Next waits for the next record, in order.
	Next(ctx context.Context) (seq uint64, record []byte, err error)
	// Ack says that everything up to and including seq is delivered.
	Ack(seq uint64)
	// Rewind makes Next start behind the last acknowledged record.
	Rewind()
}

// Status is the state of an uplink at one moment.
type Status struct {
	Connected   bool
	Since       time.Time // since when it is connected; zero when it is not
	InFlight    int       // taken from the queue, and neither delivered nor refused, or behind one that is not
	Delivered   uint64    // since the start
	Refused     uint64    // since the start
	Failures    uint64    // connections and requests that failed, since the start
	Carrier     string    // of uplinks that stand in for each other, the one that carries now; otherwise ""
	LastError   string    // "" when there was none
	LastErrorAt time.Time
}

// Acks finds how far deliveries that end in any order are complete, so that
// only a prefix without holes is acknowledged. The zero value is ready; it is
// safe for concurrent use.
type Acks struct {
	mu   sync.Mutex
	line []delivery    // guarded by mu; in the order of their sequence
	head int           // guarded by mu; line[:head] is complete
	room chan struct{} // guarded by mu; when not nil, closed at the next progress
}

type delivery struct {
	seq  uint64
	done bool
}

// Sent notes that the delivery of seq has begun; seq is higher than every one
// before.
func (a *Acks) Sent(seq uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.head > 64 && a.head > len(a.line)/2 {
		a.line = a.line[:copy(a.line, a.line[a.head:])]
		a.head = 0
	}
	a.line = append(a.line, delivery{seq: seq})
}

// Done notes that seq is delivered. When ok, everything up to and including
// upTo is. A seq that is not in the line is ignored.
func (a *Acks) Done(seq uint64) (upTo uint64, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(seq)
	if i < 0 {
		return 0, false
	}
	a.line[i].done = true
	for a.head < len(a.line) && a.line[a.head].done {
		upTo, ok = a.line[a.head].seq, true
		a.head++
	}
	if ok {
		a.progress()
	}
	return upTo, ok
}

// progress wakes who waits for room; mu is held.
func (a *Acks) progress() {
	if a.room != nil {
		close(a.room)
		a.room = nil
	}
}

// Room waits until fewer than limit deliveries have begun behind the complete
// prefix. It bounds how far the others run ahead of one that does not succeed.
func (a *Acks) Room(ctx context.Context, limit int) error {
	for {
		a.mu.Lock()
		if len(a.line)-a.head < limit {
			a.mu.Unlock()
			return nil
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		a.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// find returns where seq is in line, or -1; mu is held.
func (a *Acks) find(seq uint64) int {
	lo, hi := a.head, len(a.line)
	for lo < hi {
		if mid := (lo + hi) / 2; a.line[mid].seq < seq {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(a.line) && a.line[lo].seq == seq {
		return lo
	}
	return -1
}

// Len is how many deliveries have begun behind the complete prefix.
func (a *Acks) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.line) - a.head
}

// Reset forgets all, before a Rewind.
func (a *Acks) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line, a.head = a.line[:0], 0
	a.progress()
}

// Backoff gives the pauses between tries that fail: they double from Min to
// Max, and each is between half and all of that, so that many gateways do not
// come back at once. It is for one goroutine.
type Backoff struct {
	Min, Max time.Duration
	tries    int
}

// Next is the next pause.
func (b *Backoff) Next() time.Duration {
	d := b.Max
	if b.tries < 32 {
		d = min(b.Min<<b.tries, b.Max)
		if d <= 0 {
			d = b.Max
		}
	}
	b.tries++
	return d/2 + rand.N(d/2+1)
}

// Reset begins again with Min, after a success.
func (b *Backoff) Reset() { b.tries = 0 }

// Outlive is ctx, but ends d later: for what is under way when ctx ends.
func Outlive(ctx context.Context, d time.Duration) context.Context {
	longer, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(d, end) })
	return longer
}

// Sleep waits for d; it is false when ctx ended before.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
