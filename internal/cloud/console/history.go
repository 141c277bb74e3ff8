package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"mote/internal/cloud/table"
)

// ranges are what the charts can show.
var ranges = map[string]time.Duration{"15m": 15 * time.Minute, "1h": time.Hour, "24h": 24 * time.Hour}

// history is the answer to a history request. Times are Unix milliseconds.
type history struct {
	From   int64    `json:"from"`
	To     int64    `json:"to"`
	Series []series `json:"series"`
}

// series is one field of one board.
type series struct {
	Board   string    `json:"board"`
	Field   string    `json:"field"`
	Step    int64     `json:"step"`              // milliseconds that were put together into two points; 0: every reading is there
	Sampled bool      `json:"sampled,omitempty"` // not all readings were looked at
	T       []int64   `json:"t"`
	V       []float64 `json:"v"`
}

// historyQuery is a parsed history request.
type historyQuery struct {
	from, to time.Time
	boards   []string
	fields   []string // nil: all
}

func (k *Console) parseHistory(q url.Values, now time.Time) (h historyQuery, err error) {
	name := q.Get("range")
	if name == "" {
		name = "15m"
	}
	d, ok := ranges[name]
	if !ok {
		return h, fmt.Errorf("range %q is none of 15m, 1h and 24h", clip(name, 20))
	}
	h = historyQuery{from: now.Add(-d), to: now, boards: q["board"], fields: q["field"]}
	if len(h.boards) == 0 {
		h.boards = k.boards.ids(historyBoards)
	}
	if len(h.boards) > historyBoards {
		return h, fmt.Errorf("%d boards are asked for, %d at most: ask in parts", len(h.boards), historyBoards)
	}
	if len(h.fields) > maxFields {
		return h, fmt.Errorf("%d fields are asked for, %d at most: name none for all", len(h.fields), maxFields)
	}
	return h, nil
}

func (k *Console) serveHistory(w http.ResponseWriter, r *http.Request) {
	q, err := k.parseHistory(r.URL.Query(), time.Now())
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	out := history{From: q.from.UnixMilli(), To: q.to.UnixMilli(), Series: []series{}}
	for _, id := range q.boards {
		list, err := k.boardHistory(r.Context(), id, &q)
		if err != nil {
			k.writeFailure(w, r, err)
			return
		}
		out.Series = append(out.Series, list...)
	}
	writeJSON(w, out)
}

// boardHistory is what the tables hold of a board; of a board that no table
// holds, what is in memory.
func (k *Console) boardHistory(ctx context.Context, id string, q *historyQuery) ([]series, error) {
	lines, sampled := map[string]*line{}, false
	for _, t := range k.readingTables(historyTables) {
		hash, ok := keyOf(t.Hash.Kind, id)
		if !ok {
			continue
		}
		part, err := k.readLines(ctx, t, hash, q, lines)
		if err != nil {
			return nil, err
		}
		sampled = sampled || part
	}
	if len(lines) == 0 {
		lines = k.boards.remembered(id, q.from.UnixMilli(), q.to.UnixMilli())
	}
	names := make([]string, 0, len(lines))
	for name := range lines {
		if q.fields == nil || slices.Contains(q.fields, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []series
	for _, name := range names[:min(len(names), maxFields)] {
		l, step := lines[name].sorted().thinned(q.from.UnixMilli(), q.to.UnixMilli())
		out = append(out, series{id, name, step, sampled, l.at, l.values})
	}
	return out, nil
}

// keyOf is a board's id as a hash key.
func keyOf(kind table.Kind, id string) (table.Value, bool) {
	if kind == table.S {
		return table.String(id), true
	}
	v, err := table.Number(id)
	return v, err == nil
}

// readLines adds the readings of a partition to lines: all of them, or samples
// when there are more than historyRows.
func (k *Console) readLines(ctx context.Context, t *table.Table, hash table.Value, q *historyQuery, lines map[string]*line) (sampled bool, err error) {
	bound, ok, err := k.boundsOf(t, hash)
	if err != nil || !ok {
		return false, err
	}
	all := map[string]*line{}
	// A board whose clock is a little ahead has readings after q.to.
	_, whole, err := k.readSpan(ctx, t, hash, bound(q.from), bound(q.to.Add(aheadAtMost)), historyRows, all)
	if err == nil && !whole {
		clear(all)
		err = k.readSlices(ctx, t, hash, q, bound, all)
	}
	for name, l := range all {
		if lines[name] == nil {
			lines[name] = &line{}
		}
		lines[name].at = append(lines[name].at, l.at...)
		lines[name].values = append(lines[name].values, l.values...)
	}
	return !whole, err
}

// readSlices samples a range: of each of its slices the first readings, as
// many as the limit leaves for it.
func (k *Console) readSlices(ctx context.Context, t *table.Table, hash table.Value, q *historyQuery, bound func(time.Time) table.Value, all map[string]*line) error {
	span := q.to.Sub(q.from) / historySlices
	rest := historyRows
	for i := range historySlices {
		from := q.from.Add(time.Duration(i) * span)
		part := rest / (historySlices - i)
		left, _, err := k.readSpan(ctx, t, hash, bound(from), bound(from.Add(span-time.Millisecond)), part, all)
		if err != nil {
			return err
		}
		rest -= part - left
	}
	return nil
}

// boundsOf returns how a partition writes times in its sort key; ok is false
// when it has none that the console reads.
func (k *Console) boundsOf(t *table.Table, hash table.Value) (bound func(time.Time) table.Value, ok bool, err error) {
	rows, err := k.newest(t, hash, nil, 1)
	if err != nil || len(rows) == 0 {
		return nil, false, err
	}
	key := rows[0][timeName]
	if _, ok := itemTime(key); !ok {
		return nil, false, nil
	}
	n, isNumber := parseNumber(key.Str)
	return func(at time.Time) table.Value {
		switch {
		case !isNumber:
			return table.String(at.UTC().Format("2006-01-02T15:04:05.000Z"))
		case n < 1e11:
			return numberKey(t.Range.Kind, at.Unix())
		}
		return numberKey(t.Range.Kind, at.UnixMilli())
	}, true, nil
}

func numberKey(kind table.Kind, n int64) table.Value {
	return table.Value{Kind: kind, Str: strconv.FormatInt(n, 10)}
}

// readSpan adds up to limit readings between two sort keys to lines. It
// returns how much of the limit is left and whether it read them all.
func (k *Console) readSpan(ctx context.Context, t *table.Table, hash, from, to table.Value, limit int, lines map[string]*line) (left int, whole bool, err error) {
	request := table.QueryRequest{
		Reading: table.Reading{Table: t.Name, Names: map[string]string{"#h": t.Hash.Name, "#r": t.Range.Name},
			Values: map[string]table.Value{":h": hash, ":from": from, ":to": to}},
		KeyCondition: "#h = :h AND #r BETWEEN :from AND :to",
	}
	now := time.Now()
	for limit > 0 {
		request.Limit = limit
		page, err := k.c.Tables.Query(request)
		if err != nil || ctx.Err() != nil {
			return limit, false, firstError(err, ctx.Err())
		}
		for _, item := range page.Items {
			if s, ok := sampleOfItem(item, now); ok {
				addSample(lines, s)
			}
		}
		limit -= page.Scanned
		if request.StartKey = page.LastKey; page.LastKey == nil {
			return limit, true, nil
		}
	}
	return limit, false, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func addSample(lines map[string]*line, s sample) {
	for _, f := range s.fields {
		if f.Value == nil {
			continue
		}
		l := lines[f.Name]
		if l == nil {
			if len(lines) >= 2*maxFields {
				continue
			}
			l = &line{}
			lines[f.Name] = l
		}
		l.add(s.at.UnixMilli(), *f.Value)
	}
}

// line is the points of one field of one board.
type line struct {
	at     []int64
	values []float64
}

func (l *line) add(at int64, value float64) {
	l.at, l.values = append(l.at, at), append(l.values, value)
}

// sorted returns the points in the order of time; one point for each time.
func (l *line) sorted() *line {
	order := make([]int, len(l.at))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(l.at[i], l.at[j]) })
	out := &line{}
	for _, i := range order {
		if n := len(out.at); n > 0 && out.at[n-1] == l.at[i] {
			continue
		}
		out.add(l.at[i], l.values[i])
	}
	return out
}

// thinned returns at most maxPoints points between two times. When there are
// more, each step keeps its lowest and its highest value, so that no spike is
// lost; it returns the step in milliseconds, 0 when nothing was left out.
func (l *line) thinned(from, to int64) (*line, int64) {
	if len(l.at) <= maxPoints {
		return l.nonNil(), 0
	}
	step := (to-from)/(maxPoints/2) + 1
	out := &line{}
	for i := 0; i < len(l.at); {
		bucket, low, high := (l.at[i]-from)/step, i, i
		for ; i < len(l.at) && (l.at[i]-from)/step == bucket; i++ {
			if l.values[i] < l.values[low] {
				low = i
			}
			if l.values[i] > l.values[high] {
				high = i
			}
		}
		out.add(l.at[min(low, high)], l.values[min(low, high)])
		if low != high {
			out.add(l.at[max(low, high)], l.values[max(low, high)])
		}
	}
	return out, step
}

func (l *line) nonNil() *line {
	return &line{append([]int64{}, l.at...), append([]float64{}, l.values...)}
}
