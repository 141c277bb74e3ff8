package reading

import (
	"sync"
	"time"
)

// Clock gives each reading of a board a time that no other reading of that
// board has. The zero value is ready. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	boards map[string]*stamps
}

// stamps is what a Clock remembers of one board.
type stamps struct {
	wall time.Time // the highest wall clock seen, in milliseconds
	last time.Time // the highest time given out
	back int       // sequence of the readings made while the wall clock was behind wall
}

// Stamp returns the time of a reading of board id whose frame was complete at
// now: now in milliseconds, plus a sequence number in the microseconds when
// that millisecond is taken. When the wall clock was set back, the times that
// were already given out may come again, so readings there always carry a
// sequence number. A board that sends more than 999 frames in a millisecond
// borrows from the next one.
func (c *Clock) Stamp(id string, now time.Time) time.Time {
	t := now.UTC().Truncate(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.boards == nil {
		c.boards = map[string]*stamps{}
	}
	b := c.boards[id]
	if b == nil {
		b = &stamps{}
		c.boards[id] = b
	}
	if t.Before(b.wall) {
		b.back = b.back%999 + 1
		return t.Add(time.Duration(b.back) * time.Microsecond)
	}
	b.wall = t
	if !t.After(b.last) {
		t = b.last.Add(time.Microsecond)
	}
	b.last = t
	return t
}
