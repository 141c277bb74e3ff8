package console

import (
	"slices"
	"sort"
	"sync"
	"time"
)

// What a board is doing.
const (
	alive      = "alive"       // heard within three of its intervals
	catchingUp = "catching-up" // heard, but with readings from long ago: a gateway empties its spool
	silent     = "silent"
)

const (
	graceLeast   = 5 * time.Second // fast boards jitter
	graceUnknown = time.Minute     // after a single reading
	lagAllowed   = time.Minute     // between a reading's time and now, beyond the grace
)

// board is what is known of one board.
type board struct {
	last     sample
	source   string    // the topic or table of the last reading
	seen     time.Time // when the last reading came
	interval time.Duration
	odd      int // readings in a row that do not fit the interval
	count    uint64
	state    string // as it was told last
	rings    map[string]*ring
	fresh    []point // not told yet
}

// point is one reading on its way to the charts.
type point struct {
	At     int64              `json:"t"` // Unix milliseconds
	Values map[string]float64 `json:"v"`
}

// state is what the page is told of a board. Times are Unix milliseconds.
type state struct {
	ID       string  `json:"id"`
	State    string  `json:"state"`
	Time     int64   `json:"time"` // of the reading
	Seen     int64   `json:"seen"` // when it came
	Interval int64   `json:"interval"`
	Count    uint64  `json:"count"` // readings since the start
	Source   string  `json:"source"`
	Fields   []field `json:"fields"`
	Points   []point `json:"points,omitempty"`
}

// boards are the boards of the cloud.
type boards struct {
	mu      sync.Mutex
	byID    map[string]*board   // guarded by mu; at most maxBoards
	series  int                 // guarded by mu: rings in use, at most maxSeries
	changed map[string]struct{} // guarded by mu: ids since the last take
	gone    []string            // guarded by mu: ids dropped since the last take
}

func newBoards() *boards {
	return &boards{byID: map[string]*board{}, changed: map[string]struct{}{}}
}

// add takes in a reading that came at the given time from a topic or table.
func (bs *boards) add(s sample, came time.Time, source string) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	b := bs.byID[s.id]
	if b == nil {
		b = bs.enter(s.id)
	}
	bs.changed[s.id] = struct{}{}
	if came.After(b.seen) {
		b.seen = came
	}
	b.count++
	if !s.at.After(b.last.at) {
		return // the same reading by another road or again, or an older one
	}
	if !b.last.at.IsZero() {
		b.learn(s.at.Sub(b.last.at))
	}
	b.last, b.source = s, clip(source, maxText)
	bs.draw(b, s)
}

// enter makes room for a new board.
func (bs *boards) enter(id string) *board {
	if len(bs.byID) >= maxBoards {
		bs.dropOldest()
	}
	b := &board{rings: map[string]*ring{}}
	bs.byID[id] = b
	return b
}

func (bs *boards) dropOldest() {
	oldest, at := "", time.Time{}
	for id, b := range bs.byID {
		if oldest == "" || b.seen.Before(at) {
			oldest, at = id, b.seen
		}
	}
	bs.series -= len(bs.byID[oldest].rings)
	delete(bs.byID, oldest)
	delete(bs.changed, oldest)
	if len(bs.gone) < maxBoards {
		bs.gone = append(bs.gone, oldest)
	}
}

// draw keeps the numbers of a reading for the charts.
func (bs *boards) draw(b *board, s sample) {
	p := point{At: s.at.UnixMilli(), Values: map[string]float64{}}
	for _, f := range s.fields {
		if f.Value == nil {
			continue
		}
		p.Values[f.Name] = *f.Value
		r := b.rings[f.Name]
		if r == nil && bs.series < maxSeries && len(b.rings) < maxFields {
			r = &ring{}
			b.rings[f.Name] = r
			bs.series++
		}
		r.add(p.At, *f.Value)
	}
	if len(p.Values) == 0 {
		return
	}
	if len(b.fresh) == maxNewTick {
		b.fresh = slices.Delete(b.fresh, 0, 1)
	}
	b.fresh = append(b.fresh, p)
}

// learn follows the interval between readings. One pause or burst changes
// nothing; three in a row are a new interval.
func (b *board) learn(d time.Duration) {
	switch {
	case b.interval == 0:
		b.interval = d
	case d > 3*b.interval || 3*d < b.interval:
		if b.odd++; b.odd >= 3 {
			b.interval, b.odd = d, 0
		}
	default:
		b.odd = 0
		b.interval += (d - b.interval) / 8
	}
}

// grace is how long the board may be silent and still be alive.
func (b *board) grace() time.Duration {
	if b.interval == 0 {
		return graceUnknown
	}
	return max(3*b.interval, graceLeast)
}

func (b *board) stateAt(now time.Time) string {
	switch grace := b.grace(); {
	case now.Sub(b.seen) > grace:
		return silent
	case now.Sub(b.last.at) > grace+lagAllowed:
		return catchingUp
	}
	return alive
}

func (b *board) tell(id string, now time.Time) state {
	b.state = b.stateAt(now)
	fields := b.last.fields
	if fields == nil {
		fields = []field{}
	}
	return state{ID: id, State: b.state, Time: b.last.at.UnixMilli(), Seen: b.seen.UnixMilli(),
		Interval: b.interval.Milliseconds(), Count: b.count, Source: b.source, Fields: fields}
}

// states returns all boards, in the natural order of their ids.
func (bs *boards) states(now time.Time) []state {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	out := make([]state, 0, len(bs.byID))
	for id, b := range bs.byID {
		out = append(out, b.tell(id, now))
	}
	sortStates(out)
	return out
}

// take returns the boards that have news since the last take, with their new
// points, and the ids of those that are not kept any more.
func (bs *boards) take(now time.Time) (news []state, gone []string) {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	for id, b := range bs.byID {
		if _, changed := bs.changed[id]; !changed && b.state == b.stateAt(now) {
			continue
		}
		s := b.tell(id, now)
		s.Points, b.fresh = b.fresh, nil
		news = append(news, s)
	}
	clear(bs.changed)
	gone, bs.gone = bs.gone, nil
	sortStates(news)
	return news, gone
}

func sortStates(list []state) {
	sort.Slice(list, func(i, j int) bool { return compareNatural(list[i].ID, list[j].ID) < 0 })
}

// ids returns up to n boards in natural order.
func (bs *boards) ids(n int) []string {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	out := make([]string, 0, len(bs.byID))
	for id := range bs.byID {
		out = append(out, id)
	}
	slices.SortFunc(out, compareNatural)
	return out[:min(n, len(out))]
}

// remembered returns the points of a board that are in memory, by field.
func (bs *boards) remembered(id string, from, to int64) map[string]*line {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	out := map[string]*line{}
	if b := bs.byID[id]; b != nil {
		for name, r := range b.rings {
			out[name] = r.between(from, to)
		}
	}
	return out
}

// ring keeps the last maxPoints points of one field. A nil ring keeps nothing.
type ring struct {
	at     []int64
	values []float64
	next   int // the oldest, once it is full
}

func (r *ring) add(at int64, value float64) {
	switch {
	case r == nil:
	case len(r.at) < maxPoints:
		r.at, r.values = append(r.at, at), append(r.values, value)
	default:
		r.at[r.next], r.values[r.next] = at, value
		r.next = (r.next + 1) % maxPoints
	}
}

func (r *ring) between(from, to int64) *line {
	l := &line{}
	for i := range r.at {
		if j := (r.next + i) % len(r.at); r.at[j] >= from && r.at[j] <= to {
			l.add(r.at[j], r.values[j])
		}
	}
	return l
}
