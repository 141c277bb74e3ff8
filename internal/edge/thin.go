package edge

import (
	"time"

	"mote/internal/edge/frame"
	"mote/internal/reading"
)

// early is which part of Every a frame may come early: boards are not exact,
// and a board that sends once a minute is meant by every minute.
const early = 10

// mostSent bounds the values of one board that are thinned out each alone. One
// more, and all begin again.
const mostSent = 64

// wanted decides whether a frame that was complete at now becomes a reading. The
// first of a board does, where frames are bare values the first of each; one
// with a rate in the place of the value does not.
func (l *line) wanted(fr frame.Frame, now time.Time) bool {
	if fr.Value != "" && len(fr.Fields) == 0 {
		return false
	}
	if l.Every <= 0 && !l.Format.Bands() {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.boards[fr.ID]
	before, thinning := b.sent[fr.Value]
	since := now.Sub(before.at)
	switch {
	case !thinning:
	case l.Every > 0 && since < l.Every-l.Every/early:
		return false
	case l.Format.Bands() && (l.Heartbeat <= 0 || since < l.Heartbeat-l.Heartbeat/early) && !l.Format.Changed(before.values, fr.Fields):
		return false
	}
	if b.sent == nil || !thinning && len(b.sent) == mostSent {
		b.sent = map[string]sent{}
	}
	b.sent[fr.Value] = sent{fr.Fields, now}
	return true
}

// noteThinned keeps what the frames that made no reading tell of their boards.
func (l *line) noteThinned(readings []reading.Reading, seen time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status.Thinned += int64(len(readings))
	for _, r := range readings {
		l.boards[r.ID].spoke(r, seen)
	}
}

// odd counts values that were left out as implausible. The log shows the
// latest, at most every half minute.
func (l *line) odd(fr frame.Frame) {
	if len(fr.Left) == 0 {
		return
	}
	l.mu.Lock()
	l.status.Odd += int64(len(fr.Left))
	l.status.LastOdd = fr.Left[len(fr.Left)-1]
	odd := l.status.Odd
	l.mu.Unlock()
	if now := time.Now(); l.oddAt.IsZero() || now.Sub(l.oddAt) >= rejectLogPause {
		l.log.Warn("value left out", "board", fr.ID, "reason", fr.Left[len(fr.Left)-1], "left_out_so_far", odd)
		l.oddAt = now
	}
}

// ahead is how far a board's clock may be ahead of this machine's.
const ahead = 24 * time.Hour

// read makes a reading of a frame that was complete at now, and its record. It
// has the board's time, when the board has a clock that is set; or this
// machine's; or none yet.
func (g *Gateway) read(fr frame.Frame, now time.Time) (r reading.Reading, record []byte, untimed bool) {
	set := g.clock.Set()
	r = fr.Reading(now)
	switch {
	case !fr.Time.IsZero() && (!set || fr.Time.Sub(now) <= ahead):
		r.Time = g.clock.Own(fr.ID, fr.Time, fr.Fields)
	case set:
		r.Time = g.clock.Stamp(fr.ID, now)
	default:
		return r, g.clock.Untimed(r), true
	}
	return r, r.AppendJSON(nil), false
}
