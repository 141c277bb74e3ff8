package uplink

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestPaceKeepsEverySecondBelowItsBounds counts what goes out in every window
// of a second, after pauses and among large and small deliveries.
func TestPaceKeepsEverySecondBelowItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Pace{Messages: AWSMessages, Bytes: AWSBytes}
		type sent struct {
			at    time.Time
			bytes int
		}
		var all []sent
		begun := time.Now()
		for i := range 3000 {
			if i%500 == 499 {
				time.Sleep(5 * time.Second) // an idle line earns no burst
			}
			bytes := 200
			if i%1000 > 700 {
				bytes = rand.IntN(128 << 10)
			}
			if err := p.Wait(t.Context(), bytes); err != nil {
				t.Fatal(err)
			}
			all = append(all, sent{time.Now(), bytes})
		}
		first, volume := 0, 0
		for i, s := range all {
			volume += s.bytes
			for s.at.Sub(all[first].at) >= time.Second {
				volume -= all[first].bytes
				first++
			}
			if n := i - first + 1; n > AWSMessages || volume-s.bytes > AWSBytes {
				t.Fatalf("a second ending with delivery %d has %d deliveries of %d bytes", i, n, volume)
			}
		}
		small := all[400].at.Sub(all[0].at)
		if small != 4*time.Second {
			t.Errorf("400 small deliveries took %v of the 4 s that they need", small)
		}
		if time.Since(begun) < 25*time.Second {
			t.Error("the pauses were not kept")
		}
	})
}

func TestPaceOffAndInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off Pace
		begun := time.Now()
		for range 10_000 {
			if err := off.Wait(t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(begun) != 0 {
			t.Error("a pace without bounds waits")
		}
		slow := Pace{Messages: 1}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		for range 2 {
			if err := slow.Wait(ctx, 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := slow.Wait(ctx, 1); err == nil {
			t.Error("waited beyond its context")
		}
	})
}
