package edge

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge/clock"
	"mote/internal/edge/spool"
	"mote/internal/watch"
)

// TestADayWithoutTroubleHasNoLines runs a gateway on two boards for a day, with a
// spool on the disk and an uplink that takes its time, and reads the log.
func TestADayWithoutTroubleHasNoLines(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var lines watch.Log
		log := lines.Logger()
		sp, err := spool.Open(dir, spool.Options{Readers: []string{"cloud"}, MaxBytes: 256 << 10, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		defer sp.Close()
		hands, err := clock.Open(clock.Options{Dir: dir, MaxBytes: 16 << 10, Log: log, Machine: kept(time.Now())})
		if err != nil {
			t.Fatal(err)
		}
		defer hands.Close()
		reader, one, two := sp.Reader("cloud"), newPipes("one"), newPipes("two")
		_, stop := start(t, Options{
			Lines: []Line{{Source: one, Format: format(t, seedPattern)}, {Source: two, Format: format(t, seedPattern)}},
			Spool: sp, Clock: hands, Log: log,
			Uplinks: []Uplink{{Name: "cloud", Run: func(ctx context.Context) error { return slowly(ctx, reader) }}},
		})
		ends := []*pipes{one, two}
		var boards []interface{ Write([]byte) (int, error) }
		for _, p := range ends {
			boards = append(boards, <-p.ends)
		}
		synctest.Wait()
		if n := lines.Count("\n"); n != 2 || lines.Count("line is open") != 2 {
			t.Errorf("the start has %d lines:\n%s", n, &lines)
		}
		for minute := range 24 * 60 {
			for i, b := range boards {
				if _, err := fmt.Fprintf(b, "{%d:%d.5:21.5:40:60}\r\n", i+1, minute); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		if n := lines.Count("\n"); n != 2 {
			t.Errorf("a day has %d lines more:\n%s", n-2, &lines)
		}
		if s := sp.Stats(); s.Appended != 2*24*60 || s.Readers[0].Waiting != 0 {
			t.Errorf("%d readings, %d wait", s.Appended, s.Readers[0].Waiting)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := lines.Count("\n"); n != 2 {
			t.Errorf("the stop has lines:\n%s", &lines)
		}
	})
}

// kept is a machine whose clock somebody keeps; that of the test is too early
// to be believed.
func kept(start time.Time) clock.Machine {
	return clock.Machine{
		Boot:    "11111111-2222-3333-4444-555555555555",
		Now:     func() time.Time { return time.Now().AddDate(30, 0, 0) },
		Uptime:  func() time.Duration { return time.Hour + time.Since(start) },
		Awaited: func() bool { return false },
	}
}

// slowly delivers a record in a second.
func slowly(ctx context.Context, r *spool.Reader) error {
	r.Rewind()
	for {
		seq, _, err := r.Next(ctx)
		if err != nil {
			return nil
		}
		time.Sleep(time.Second)
		r.Ack(seq)
	}
}
