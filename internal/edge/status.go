package edge

import (
	"sort"
	"strconv"
	"time"

	"mote/internal/edge/spool"
	"mote/internal/reading"
)

// State is what a source is doing.
type State string

// The states of a source.
const (
	Connecting State = "connecting" // first attempt
	Connected  State = "connected"
	Down       State = "down" // and dialled again
	Stopped    State = "stopped"
)

// Status is a snapshot of a gateway. Counts are of this run.
type Status struct {
	Started time.Time // zero before Run
	Sources []SourceStatus
	Boards  []BoardStatus // by id, then source
	Uplinks []UplinkStatus
	Spool   spool.Stats
	// ClockSet says whether the machine's clock is believed; Untimed readings
	// wait for that.
	ClockSet bool
	Untimed  uint64
}

// SourceStatus is the state of one source.
type SourceStatus struct {
	Name       string
	State      State
	Since      time.Time // of the state
	LastError  string    // why it was down last, or ""
	Waiting    bool      // for the spool, which is full or failing: the boards are not read
	Dials      int64
	Bytes      int64
	Frames     int64   // made durable
	Thinned    int64   // frames that made no reading: too soon, or no change
	Odd        int64   // values left out as implausible
	LastOdd    string  // why the last one was, or ""
	Rejects    int64   // frames refused
	LastReject *Reject // or nil
	Skipped    int64   // bytes between frames
	Lost       int64   // readings that the spool refused for good
}

// Reject is a frame that was refused.
type Reject struct {
	At     time.Time
	Reason string
	Length int    // bytes
	Hex    string // the first bytes
	Text   string // the same, printable
}

// BoardStatus is the state of one board.
type BoardStatus struct {
	ID     string
	Source string
	Last   reading.Reading // the last that is durable; without id while all are thinned out
	Seen   time.Time       // when the last frame was complete
	Rate   time.Duration   // as the board reports it; 0 while unknown
	Alive  bool            // seen within three times its rate
	Frames int64
}

// UplinkStatus is the state of one uplink's supervision; how much waits for it
// is in the spool's statistics.
type UplinkStatus struct {
	Name      string
	Running   bool
	Failures  int64 // returns before the end
	LastError string
	FailedAt  time.Time
}

// Status returns a snapshot. It is cheap, and safe to call at any time.
func (g *Gateway) Status() Status {
	s := Status{Spool: g.spool.Stats(), ClockSet: g.clock.Set(), Untimed: g.clock.Held()}
	if t := g.started.Load(); t != nil {
		s.Started = *t
	}
	now := time.Now()
	lines, uplinks := g.parts()
	for _, l := range lines {
		source, boards := l.snapshot(now)
		s.Sources = append(s.Sources, source)
		s.Boards = append(s.Boards, boards...)
	}
	sort.SliceStable(s.Boards, func(i, j int) bool { return s.Boards[i].ID < s.Boards[j].ID })
	for _, u := range uplinks {
		s.Uplinks = append(s.Uplinks, u.status())
	}
	return s
}

func (l *line) snapshot(now time.Time) (SourceStatus, []BoardStatus) {
	l.mu.Lock()
	defer l.mu.Unlock()
	source := l.status
	if r := l.reject; !l.rejectAt.IsZero() {
		source.LastReject = &Reject{At: l.rejectAt, Reason: r.Reason.Error(), Length: r.Length, Hex: r.Hex(), Text: r.Text()}
	}
	source.Waiting = !l.asked.IsZero() && now.Sub(l.asked) > time.Second
	boards := make([]BoardStatus, 0, len(l.boards))
	for id, b := range l.boards {
		if b.frames > 0 {
			boards = append(boards, BoardStatus{ID: id, Source: l.name, Last: b.last, Seen: b.seen, Rate: b.rate, Alive: b.alive(now), Frames: b.frames})
		}
	}
	return source, boards
}

// A board is alive when it was seen within aliveRates times its rate, at least
// aliveLeast, since lines have delays of their own; without a rate, within
// aliveUnknown.
const (
	aliveRates   = 3
	aliveLeast   = 2 * time.Second
	aliveUnknown = 2 * time.Minute
)

func (b *board) alive(now time.Time) bool {
	if b.frames == 0 {
		return false
	}
	limit := max(aliveRates*b.rate, aliveLeast)
	if b.rate == 0 {
		limit = aliveUnknown
	}
	return now.Sub(b.seen) <= limit
}

// mostRate is the slowest rate that is believed.
const mostRate = 7 * 24 * time.Hour

// rate reads an upload period in seconds.
func rate(text string) (time.Duration, bool) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds > 0 && seconds <= mostRate.Seconds()) {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
