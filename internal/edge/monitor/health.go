package monitor

import (
	"fmt"
	"time"

	"mote/internal/edge"
	"mote/internal/reading"
)

// Health is the answer of /healthz. Times are UTC with milliseconds, durations
// are seconds; a duration that is not known is absent.
type Health struct {
	OK       bool           `json:"ok"`
	Problems []string       `json:"problems"` // what is wrong, for people; empty when OK
	Name     string         `json:"name"`
	Version  string         `json:"version,omitempty"`
	Started  string         `json:"started,omitempty"`
	Clock    ClockHealth    `json:"clock"`
	Boards   []BoardHealth  `json:"boards"`
	Sources  []SourceHealth `json:"sources"`
	Uplinks  []UplinkHealth `json:"uplinks"`
	Spool    SpoolHealth    `json:"spool"`
}

// ClockHealth is the machine's clock, and what waits for it.
type ClockHealth struct {
	Set     bool   `json:"set"`
	Untimed uint64 `json:"untimed_readings"` // they get their times when it is set
}

// BoardHealth is one board.
type BoardHealth struct {
	ID     string  `json:"id"`
	Source string  `json:"source"`
	Alive  bool    `json:"alive"` // seen within three times its rate
	Age    float64 `json:"age"`   // of the last reading
	Rate   float64 `json:"rate,omitempty"`
	Frames int64   `json:"frames"`
}

// SourceHealth is one line.
type SourceHealth struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Since    string `json:"since,omitempty"`
	Dials    int64  `json:"dials"` // the first one and every retry
	Rejected int64  `json:"rejected_frames"`
	Thinned  int64  `json:"thinned_frames"`     // too soon or without a change, as the configuration asks
	Odd      int64  `json:"implausible_values"` // left out of their readings
	LastOdd  string `json:"last_implausible,omitempty"`
	Lost     int64  `json:"lost_readings"`
	Error    string `json:"last_error,omitempty"`
}

// UplinkHealth is one uplink.
type UplinkHealth struct {
	Name      string   `json:"name"`
	Connected bool     `json:"connected"`
	Delivered uint64   `json:"delivered"`
	Refused   uint64   `json:"refused"`
	Retries   uint64   `json:"retries"` // connections and requests that failed
	Waiting   uint64   `json:"waiting"`
	Dropped   uint64   `json:"dropped"`
	Drain     *float64 `json:"drain,omitempty"` // until nothing waits, at the pace of the last minute
	Error     string   `json:"last_error,omitempty"`
}

// SpoolHealth is the spool on the card.
type SpoolHealth struct {
	Bytes       int64  `json:"bytes"`
	MaxBytes    int64  `json:"max_bytes"`
	WrittenDay  uint64 `json:"written_bytes_24h"` // to the card; since the start when that is later
	WriteErrors uint64 `json:"write_errors"`
	ReadErrors  uint64 `json:"read_errors"`
	Damaged     uint64 `json:"damaged_records"`
	Error       string `json:"last_error,omitempty"`
}

// Health judges the gateway now.
func (w *Watch) Health() Health { return w.health(w.now(), time.Now()) }

func (w *Watch) health(s Snapshot, at time.Time) Health {
	h := Health{Name: s.Name, Version: s.Version, Started: timeText(s.Started), Clock: ClockHealth{s.ClockSet, s.Untimed}, Problems: []string{}, Boards: []BoardHealth{}, Sources: []SourceHealth{}, Uplinks: []UplinkHealth{}}
	if s.Untimed > 0 && !s.ClockSet && at.Sub(s.Started) > patient {
		h.problem("the clock is not set: %d readings wait for their times", s.Untimed)
	}
	for _, src := range s.Sources {
		h.source(src, at)
	}
	for _, b := range s.Boards {
		h.board(b, at)
	}
	for _, u := range s.Uplinks {
		w.uplink(&h, s, u, at)
	}
	written, _ := w.written(s, at)
	h.Spool = SpoolHealth{
		Bytes: s.Spool.Bytes, MaxBytes: s.Spool.MaxBytes, WrittenDay: written,
		WriteErrors: s.Spool.WriteErrors, ReadErrors: s.Spool.ReadErrors, Damaged: s.Spool.Lost, Error: s.Spool.LastError,
	}
	h.OK = len(h.Problems) == 0
	return h
}

func (h *Health) problem(format string, args ...any) {
	h.Problems = append(h.Problems, fmt.Sprintf(format, args...))
}

func (h *Health) source(s edge.SourceStatus, at time.Time) {
	h.Sources = append(h.Sources, SourceHealth{
		Name: s.Name, State: string(s.State), Since: timeText(s.Since), Dials: s.Dials,
		Rejected: s.Rejects, Thinned: s.Thinned, Odd: s.Odd, LastOdd: s.LastOdd, Lost: s.Lost, Error: s.LastError,
	})
	switch {
	case s.Waiting:
		h.problem("the spool takes nothing: source %s is not read", s.Name)
	case s.State != edge.Connected && at.Sub(s.Since) > patient:
		why := s.LastError
		if why == "" {
			why = "no answer yet"
		}
		h.problem("source %s is down: %s", s.Name, why)
	}
}

func (h *Health) board(b edge.BoardStatus, at time.Time) {
	age := at.Sub(b.Seen)
	h.Boards = append(h.Boards, BoardHealth{ID: b.ID, Source: b.Source, Alive: b.Alive, Age: seconds(age), Rate: b.Rate.Seconds(), Frames: b.Frames})
	if !b.Alive && age > patient {
		h.problem("board %s is silent: its last reading is %v old", b.ID, age.Round(time.Second))
	}
}

func (w *Watch) uplink(h *Health, s Snapshot, u edge.UplinkStatus, at time.Time) {
	d, tells := s.Delivery[u.Name]
	out := UplinkHealth{
		Name: u.Name, Connected: d.Connected, Delivered: d.Delivered, Refused: d.Refused,
		Retries: d.Failures + uint64(u.Failures), Error: d.LastError,
	}
	if out.Error == "" {
		out.Error = u.LastError
	}
	for _, r := range s.Spool.Readers {
		if r.Name == u.Name {
			out.Waiting, out.Dropped = r.Waiting, r.Dropped
		}
	}
	if left, ok := w.drain(s, u.Name, at); ok {
		drain := seconds(left)
		out.Drain = &drain
	}
	h.Uplinks = append(h.Uplinks, out)
	switch {
	case !u.Running:
		h.problem("uplink %s does not run: %s", u.Name, u.LastError)
	case tells && !d.Connected && out.Waiting > 0 && w.downFor(u.Name, at) > patient:
		h.problem("uplink %s does not deliver, %d readings wait: %s", u.Name, out.Waiting, d.LastError)
	}
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// timeText is "" for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return reading.TimeText(t)
}
