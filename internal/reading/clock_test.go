package reading

import (
	"testing"
	"time"
)

// TestAFloodBelowTheFloorSharesNoTime: a burst that comes right after a start,
// or after a step back, is larger than the numbers of a millisecond.
func TestAFloodBelowTheFloorSharesNoTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 15, 30, 0, time.UTC)
	var c Clock
	c.After(now.Add(time.Second))
	seen, before := map[time.Time]bool{}, time.Time{}
	stamp := func(at time.Time) {
		s := c.Stamp("1", at)
		if seen[s] {
			t.Fatalf("%v given twice", s)
		}
		if !s.After(before) {
			t.Fatalf("%v given after %v", s, before)
		}
		before = s
		if s.Before(at) || s.Sub(at) > borrowed {
			t.Fatalf("%v given at %v", s, at)
		}
		seen[s] = true
	}
	for i := range 40_000 { // four frames a microsecond: ahead of the clock all the time
		stamp(now.Add(time.Duration(i/4) * time.Microsecond))
	}
	for i := range 3000 { // and on beyond the floor
		stamp(now.Add(100*time.Millisecond + time.Duration(i)*time.Millisecond))
	}
	if high := c.High(); !seen[high] || high.Before(now.Add(2*time.Second)) {
		t.Errorf("the highest time is %v", high)
	}
}
