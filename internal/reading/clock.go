package reading

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Clock gives each reading of a board a time that no other reading of that
// board has. The zero value is ready. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	boards map[string]*stamps
	floor  time.Time            // times up to it may have been given out before
	high   time.Time            // the highest time given out
	own    map[string]*ownStamp // by board
}

// ownStamp is the last time that a board gave with its own clock.
type ownStamp struct {
	at     time.Time // in milliseconds
	taken  int       // sequence numbers given out at that time
	fields []Field   // of the last reading at that time
}

// stamps is what a Clock remembers of one board.
type stamps struct {
	wall   time.Time // the highest wall clock seen, in milliseconds
	last   time.Time // the highest time given out
	back   int       // next sequence of the readings made while the wall clock was behind wall
	backAt time.Time // the millisecond of the last of these
}

// The sequence numbers, so that readings made after the clock was set back
// never meet those of a burst.
const (
	lastBurst = 499 // bursts have 1 to 499
	firstBack = 500 // readings after a step back have 500 to 999
	countBack = 500
)

// After tells the clock that times up to t may have been given out before it
// was made, or by someone else. Readings there carry a sequence number, as after
// a step back.
func (c *Clock) After(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.floor = t
}

// Stamp returns the time of a reading of board id whose frame was complete at
// now: now in milliseconds. When that millisecond is taken, it is the next one
// plus a sequence number in the microseconds; a board that sends more frames in
// a millisecond than there are numbers borrows from the one after. The texts of
// the times (see [TimeText]), by which tables sort, then have the order of the
// readings: "…124001Z" comes after "…123Z", but "…123001Z" would come before
// it. When the wall clock was set back, the times that were already given out
// may come again, so readings there always carry a sequence number.
func (c *Clock) Stamp(id string, now time.Time) time.Time {
	t := now.UTC().Truncate(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.boards == nil {
		c.boards = map[string]*stamps{}
	}
	b := c.boards[id]
	if b == nil {
		b = &stamps{back: rand.N(countBack)}
		c.boards[id] = b
	}
	if t.Before(b.wall) || !t.After(c.floor) {
		t = b.again(t)
		c.high = latest(c.high, t)
		return t
	}
	b.wall = t
	if !t.After(b.last) || t.Equal(b.last.Truncate(time.Millisecond)) {
		t = b.following()
	}
	b.last = t
	c.high = latest(c.high, t)
	return t
}

// High is the highest time that Stamp has given out; zero for none. A burst can
// bring it ahead of the wall clock.
func (c *Clock) High() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.high
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// borrowed is how far a burst may have brought a board ahead of the wall clock;
// a clock that is further behind was set back once more.
const borrowed = 10 * time.Second

// again is the time of a reading at a millisecond that may have been given out
// before. The numbers rise within a millisecond, and from the last of them it
// goes on with the next one, so that a burst keeps its order.
func (b *stamps) again(t time.Time) time.Time {
	ahead := b.backAt.Sub(t)
	here := ahead >= 0 && ahead < borrowed
	if here {
		t = b.backAt
	}
	if b.back == countBack {
		b.back = 0
		if here {
			t = t.Add(time.Millisecond)
		}
	}
	b.backAt = t
	seq := firstBack + b.back
	b.back++
	return t.Add(time.Duration(seq) * time.Microsecond)
}

// following is the first time behind last that has a sequence number.
func (b *stamps) following() time.Time {
	ms := b.last.Truncate(time.Millisecond)
	if seq := b.last.Sub(ms) / time.Microsecond; seq > 0 && seq < lastBurst {
		return b.last.Add(time.Microsecond)
	}
	return ms.Add(time.Millisecond + time.Microsecond)
}

// Own returns the time of a reading of board id that has one by the board's own
// clock, t: t in milliseconds. A reading that says the same as the one before,
// at the same time, is that one sent again, and keeps its identity; another one
// gets a sequence number in the microseconds.
func (c *Clock) Own(id string, t time.Time, fields []Field) time.Time {
	t = t.UTC().Truncate(time.Millisecond)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == nil {
		c.own = map[string]*ownStamp{}
	}
	b := c.own[id]
	switch {
	case b == nil || !b.at.Equal(t):
		b = &ownStamp{at: t, fields: fields}
		c.own[id] = b
	case !slices.Equal(b.fields, fields):
		b.taken, b.fields = (b.taken+1)%1000, fields
	}
	return t.Add(time.Duration(b.taken) * time.Microsecond)
}
