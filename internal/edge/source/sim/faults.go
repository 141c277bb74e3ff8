package sim

import (
	"math/rand/v2"
	"time"
)

// splitPause is between the two pieces of a split frame: enough for the other
// side to read the first alone.
const splitPause = 3 * time.Millisecond

// faults happen to a share of the frames. Half of the kinds leave the frame
// whole: a gateway must find it.
type faults struct {
	rate float64
	rng  *rand.Rand
	held []byte // a frame that goes out together with the next
}

// apply returns what is written for frame, in pieces, with pauses between.
func (f *faults) apply(frame string) [][]byte {
	b := []byte(frame)
	if f.rate == 0 || f.rng.Float64() >= f.rate {
		return f.with(b)
	}
	switch f.rng.IntN(6) {
	case 0: // noise before it
		noise := make([]byte, 1+f.rng.IntN(40))
		for i := range noise {
			noise[i] = byte(f.rng.IntN(256))
		}
		return f.with(append(noise, b...))
	case 1: // split
		cut := 1 + f.rng.IntN(len(b)-1)
		return append(f.with(b[:cut]), b[cut:])
	case 2: // merged with the next
		f.held = append(f.held, b...)
		return nil
	case 3: // a byte garbled
		b[f.rng.IntN(len(b))] ^= byte(1 + f.rng.IntN(255))
	case 4: // bytes lost
		at := f.rng.IntN(len(b))
		n := min(1+f.rng.IntN(4), len(b)-at)
		b = append(b[:at], b[at+n:]...)
	case 5: // the end lost
		b = b[:f.rng.IntN(len(b))]
	}
	return f.with(b)
}

// with puts a held frame before b.
func (f *faults) with(b []byte) [][]byte {
	if b = append(f.held, b...); len(b) == 0 {
		return nil
	}
	f.held = nil
	return [][]byte{b}
}

// rest is what was held when the series ended.
func (f *faults) rest() [][]byte { return f.with(nil) }
