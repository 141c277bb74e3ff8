package console

import (
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/table"
	"mote/internal/watch"
)

func TestHistory(t *testing.T) {
	p := newParts(t)
	p.create(t, "air", "id", "time", table.S)
	now := time.Now().Truncate(time.Millisecond)
	for i := range 100 {
		at := now.Add(time.Duration(i-100) * 20 * time.Second)
		other := row("2", at.Add(7*time.Second), 1)
		other["humid"] = table.String("40")
		other["note"] = table.String("warm")
		p.put(t, "air", row("1", at, float64(i)), other)
	}
	k := p.console(t)
	watch.Until(t, "both boards", func() bool { return len(get[boardList](t, k, "/console/api/boards").Boards) == 2 })

	got := get[history](t, k, "/console/api/history?field=dust&range=15m")
	if len(got.Series) != 2 || got.To-got.From != (15*time.Minute).Milliseconds() {
		t.Fatalf("history %+v", got)
	}
	s := got.Series[0]
	if s.Board != "1" || s.Field != "dust" || s.Step != 0 || s.Sampled || len(s.T) < 44 || len(s.T) > 45 || s.V[len(s.V)-1] != 99 || s.T[len(s.T)-1] != now.Add(-20*time.Second).UnixMilli() {
		t.Errorf("board 1: %+v", s)
	}
	all := get[history](t, k, "/console/api/history?range=1h&board=2&board=nobody")
	if len(all.Series) != 2 || all.Series[0].Field != "dust" || all.Series[1].Field != "humid" || len(all.Series[1].T) != 100 || all.Series[1].V[0] != 40 {
		t.Errorf("all fields of board 2: %+v", all)
	}
	for _, q := range []string{"range=2h", "field=a" + strings.Repeat("&field=a", maxFields), "board=a" + strings.Repeat("&board=a", historyBoards)} {
		w := httptest.NewRecorder()
		k.ServeHTTP(w, request("GET", "/console/api/history?"+q))
		if w.Code != 400 || !strings.Contains(w.Body.String(), `"error":"`) {
			t.Errorf("%.20s: %d %s", q, w.Code, w.Body)
		}
	}
}

func TestHistoryOfNumberKeys(t *testing.T) {
	p := newParts(t)
	p.create(t, "millis", "id", "time", table.N)
	p.create(t, "seconds", "id", "time", table.N)
	now := time.Now()
	v, _ := table.Number("1.5")
	for i := range 30 {
		at := now.Add(time.Duration(-i) * time.Minute)
		p.put(t, "millis", table.Item{"id": table.String("m"), "time": numberKey(table.N, at.UnixMilli()), "v": v})
		p.put(t, "seconds", table.Item{"id": table.String("s"), "time": numberKey(table.N, at.Unix()), "v": v})
	}
	k := p.console(t)
	got := get[history](t, k, "/console/api/history?range=15m&board=m&board=s")
	if len(got.Series) != 2 || len(got.Series[0].T) != 15 || len(got.Series[1].T) < 15 || len(got.Series[1].T) > 16 {
		t.Errorf("history %+v", got)
	}
}

// A board that no table holds is drawn from memory.
func TestHistoryFromMemory(t *testing.T) {
	p := newParts(t)
	k := p.console(t)
	now := time.Now()
	for i := range 10 {
		p.broker.publish("t", fmt.Sprintf(`{"id":"1","time":%d,"v":%d}`, now.Add(time.Duration(i-10)*time.Minute).UnixMilli(), i))
	}
	watch.Until(t, "the last reading", func() bool {
		b := get[boardList](t, k, "/console/api/boards").Boards
		return len(b) == 1 && b[0].Count == 10
	})
	got := get[history](t, k, "/console/api/history")
	if len(got.Series) != 1 || len(got.Series[0].T) != 10 || got.Series[0].V[9] != 9 {
		t.Errorf("history %+v", got)
	}
}

// More readings than may be read are sampled over the whole range.
func TestHistoryIsSampled(t *testing.T) {
	p := newParts(t)
	p.create(t, "air", "id", "time", table.S)
	now := time.Now()
	const n = historyRows + 4000
	items := make([]table.Item, 0, n)
	for i := range n {
		items = append(items, row("1", now.Add(time.Duration(i-n)*30*time.Millisecond), float64(i)))
	}
	p.put(t, "air", items...)
	k := p.console(t)
	s := get[history](t, k, "/console/api/history?range=15m&board=1").Series[0]
	if !s.Sampled || len(s.T) > maxPoints+2 || !slices.IsSorted(s.T) {
		t.Fatalf("sampled %v, %d points", s.Sampled, len(s.T))
	}
	first, last := time.UnixMilli(s.T[0]), time.UnixMilli(s.T[len(s.T)-1])
	if last.Sub(first) < 11*time.Minute || now.Sub(last) > 15*time.Second {
		t.Errorf("from %s to %s", first, last)
	}
}

func TestThinningKeepsSpikes(t *testing.T) {
	l := &line{}
	for i := range 10_000 {
		l.add(int64(i)*100, math.Sin(float64(i)/500))
	}
	l.values[5003], l.values[7001] = 99, -99
	got, step := l.thinned(0, 1_000_000)
	if len(got.at) > maxPoints+2 || step < 3000 || !slices.IsSorted(got.at) {
		t.Fatalf("%d points, step %d", len(got.at), step)
	}
	for i, want := range map[int]float64{5003: 99, 7001: -99} {
		if j := slices.Index(got.at, int64(i)*100); j < 0 || got.values[j] != want {
			t.Errorf("the spike at %d is lost", i)
		}
	}
	few := &line{[]int64{1, 2}, []float64{3, 4}}
	if got, step := few.thinned(0, 10); step != 0 || len(got.at) != 2 {
		t.Errorf("few points: %+v, step %d", got, step)
	}
	if got := (&line{[]int64{3, 1, 3, 2}, []float64{30, 10, 31, 20}}).sorted(); !slices.Equal(got.at, []int64{1, 2, 3}) || !slices.Equal(got.values, []float64{10, 20, 30}) {
		t.Errorf("sorted: %+v", got)
	}
}

func FuzzParseHistory(f *testing.F) {
	for _, seed := range []string{"field=dust&range=1h", "range=9h", "board=1&board=2", "%zz", "field=&board="} {
		f.Add(seed)
	}
	k := &Console{boards: newBoards()}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		h, err := k.parseHistory(q, time.Now())
		if err == nil && (len(h.boards) > historyBoards || len(h.fields) > maxFields || h.to.Sub(h.from) > 24*time.Hour) {
			t.Fatalf("beyond the limits: %+v", h)
		}
	})
}
