// Package monitor lets people and programs look at a running gateway: a page
// for a browser or a phone, /healthz for whoever rings a bell, and /metrics in
// the Prometheus text format (Prometheus documentation, "Exposition formats").
//
// It only reads. What boards and servers say is text on the page, never markup,
// and the page has no script. Requests with a Host header that could be another
// site's name are refused, so that no page in a browser can read the gateway by
// way of DNS.
//
// [Watch] looks at the gateway from time to time, because how long a backlog
// takes and how much the card is written in a day are differences between two
// moments.
package monitor

import (
	"context"
	"slices"
	"sync"
	"time"

	"mote/internal/edge"
	"mote/internal/edge/uplink"
)

// Snapshot is a gateway at one moment.
type Snapshot struct {
	Name    string // of the gateway
	Version string // of the program
	edge.Status
	Delivery map[string]uplink.Status // by the uplink's name, for those that tell
}

const (
	look    = 10 * time.Second // between two looks
	recent  = 7                // looks of which the pace is taken: a minute
	hours   = 25               // looks of which the wear is taken: a day
	patient = time.Minute      // what may last so long is no trouble yet
)

// Watch keeps what a gateway looked like before. Its methods are safe for
// concurrent use.
type Watch struct {
	now func() Snapshot

	mu     sync.Mutex
	paces  []pace               // guarded by mu; the latest last, at most recent
	wears  []wear               // guarded by mu; one an hour, at most hours
	downAt map[string]time.Time // guarded by mu; by uplink, since when it was not seen connected
}

// pace is how far everybody was at one look.
type pace struct {
	at       time.Time
	appended uint64
	acked    map[string]uint64 // by uplink
}

// wear is how much had been written to the card at one look.
type wear struct {
	at    time.Time
	bytes uint64
}

// NewWatch watches what now tells.
func NewWatch(now func() Snapshot) *Watch {
	return &Watch{now: now, downAt: map[string]time.Time{}}
}

// Run looks at the gateway until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		w.look(w.now(), time.Now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look keeps what the snapshot tells.
func (w *Watch) look(s Snapshot, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := pace{at: at, appended: s.Spool.Appended, acked: map[string]uint64{}}
	for _, r := range s.Spool.Readers {
		p.acked[r.Name] = r.Acked
	}
	w.paces = keep(w.paces, p, recent)
	if n := len(w.wears); n == 0 || at.Sub(w.wears[n-1].at) >= time.Hour {
		w.wears = keep(w.wears, wear{at, s.Spool.DeviceBytes}, hours)
	}
	w.noteDown(s, at)
}

func keep[T any](list []T, v T, most int) []T {
	list = append(list, v)
	return slices.Delete(list, 0, max(0, len(list)-most))
}

// noteDown keeps since when uplinks are not connected; mu is held.
func (w *Watch) noteDown(s Snapshot, at time.Time) {
	for name, d := range s.Delivery {
		if _, down := w.downAt[name]; d.Connected {
			delete(w.downAt, name)
		} else if !down {
			w.downAt[name] = at
		}
	}
	for name := range w.downAt {
		if _, there := s.Delivery[name]; !there {
			delete(w.downAt, name)
		}
	}
}

// drain estimates how long the uplink takes to deliver what waits, at the pace
// of the last minute; ok is false when it gets no nearer to that.
func (w *Watch) drain(s Snapshot, uplink string, at time.Time) (d time.Duration, ok bool) {
	waiting, acked := uint64(0), uint64(0)
	for _, r := range s.Spool.Readers {
		if r.Name == uplink {
			waiting, acked = r.Waiting, r.Acked
		}
	}
	if waiting == 0 {
		return 0, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.paces) == 0 {
		return 0, false
	}
	first := w.paces[0]
	span := at.Sub(first.at)
	gained := float64(acked-first.acked[uplink]) - float64(s.Spool.Appended-first.appended)
	if span <= 0 || gained <= 0 || acked < first.acked[uplink] {
		return 0, false
	}
	seconds := float64(waiting) / gained * span.Seconds()
	if seconds > mostDrain.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

// mostDrain is the longest estimate that means anything.
const mostDrain = 365 * 24 * time.Hour

// written is how many bytes the card has taken in the last 24 hours, or in as
// many as the gateway runs.
func (w *Watch) written(s Snapshot, at time.Time) (bytes uint64, span time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, first := range w.wears {
		if span := at.Sub(first.at); span <= 24*time.Hour+look {
			return s.Spool.DeviceBytes - min(first.bytes, s.Spool.DeviceBytes), span
		}
	}
	return 0, 0
}

// downFor is how long the uplink was not seen connected.
func (w *Watch) downFor(uplink string, at time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if since, down := w.downAt[uplink]; down {
		return at.Sub(since)
	}
	return 0
}
