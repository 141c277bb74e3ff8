package sim

import (
	"math/rand/v2"
	"strconv"
)

// Walk is a slow random walk that looks like the air of a room.
type Walk struct {
	rng               *rand.Rand
	dust, temp, humid float64
}

// newWalk begins somewhere usual.
func newWalk(rng *rand.Rand) *Walk {
	return &Walk{rng: rng, dust: 20 + 30*rng.Float64(), temp: 19 + 5*rng.Float64(), humid: 35 + 15*rng.Float64()}
}

// Next returns the next values: dust in µg/m³, temperature in °C, relative
// humidity in percent, with the digits that such sensors give. It has no end.
func (w *Walk) Next() (Values, error) {
	w.dust = w.step(w.dust, 35, 1.5, 1, 400)
	if w.rng.IntN(400) == 0 { // somebody cooks
		w.dust = min(w.dust+60+80*w.rng.Float64(), 400)
	}
	w.temp = w.step(w.temp, 21.5, 0.08, -10, 45)
	w.humid = w.step(w.humid, 42, 0.25, 5, 98)
	return Values{Dust: oneDigit(w.dust), Temp: oneDigit(w.temp), Humid: strconv.Itoa(int(w.humid + 0.5))}, nil
}

// step goes a little way at random and is drawn a little towards the mean.
func (w *Walk) step(at, mean, size, low, high float64) float64 {
	return min(max(at+size*w.rng.NormFloat64()+0.01*(mean-at), low), high)
}

func oneDigit(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// Counter numbers the frames in the field dust, so that a test can tell which
// were lost and which came twice.
type Counter struct {
	next uint64
	end  uint64 // the first number that is not sent; 0 means none
}

// NewCounter counts from first; count 0 means without end.
func NewCounter(first, count uint64) *Counter {
	c := &Counter{next: first}
	if count > 0 {
		c.end = first + count
	}
	return c
}

// Next returns the next number as dust, beside a fixed temperature and
// humidity.
func (c *Counter) Next() (Values, error) {
	if c.end > 0 && c.next >= c.end {
		return Values{}, errEnd
	}
	v := Values{Dust: strconv.FormatUint(c.next, 10), Temp: "21.5", Humid: "40"}
	c.next++
	return v, nil
}
