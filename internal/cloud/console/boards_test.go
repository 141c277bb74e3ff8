package console

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/table"
	"mote/internal/watch"
)

func TestMessagesThatAreReadings(t *testing.T) {
	came := time.Date(2026, 11, 22, 10, 15, 31, 0, time.UTC)
	at := came.Add(-877 * time.Millisecond)
	for _, c := range []struct {
		topic, payload string
		want           string // id, time, fields; "" is no reading
	}{
		{"sensors/1/air", `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40}`, "1 0 dust=35.2# humid=40# temp=21.5#"},
		{"rest/prod/dust", `{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":"35.2","temp":"warm","ok":true}`, "1 0 dust=35.2# ok=true temp=warm"},
		{"t", `{"id":7,"time":1795342530123,"v":1e3}`, "7 0 v=1e3#"},
		{"t", `{"id":7,"time":1795342530,"v":1}`, "7 -123 v=1#"},
		{"t", `{"id":"x"}`, "x 877"},
		{"t", `{"id":"x","time":"2030-01-01T00:00:00Z"}`, "x 877"},
		{"t", `{"id":"x","time":"yesterday"}`, "x 877"},
		{"t", `{"id":"x","a":{"b":1},"c":[1],"d":null,"e":"0x10","f":"Inf","g":"1e999"}`, "x 877 e=0x10 f=Inf g=1e999"},
		{"t", `{"id":"x","a":1,"a":2}`, "x 877 a=2#"},
		{"t", "\t{ \"id\" : \"x\" ,\r\n\"a\" : -1 , \"b\":true\n}\n", "x 877 a=-1# b=true"},
		{"t", `{"n":{"a":"}\"","b":[{"c":"]"}]},"\u0069d":"x\"\u00e9\\","é":"{","e":""}`, `x"é\ 877 e= é={`},
		{"t", `{}`, ""},
		{"t", `{"id":"1"} {"id":"2"}`, ""},
		{"t", `{"dust":1}`, ""},
		{"t", `{"id":""}`, ""},
		{"t", `{"id":{"a":1}}`, ""},
		{"t", `{"id":"` + strings.Repeat("x", maxID+1) + `"}`, ""},
		{"t", `{"id":"1"`, ""},
		{"t", `["id"]`, ""},
		{"t", ``, ""},
		{"t", `{"id":"1","pad":"` + strings.Repeat(" ", maxPayload) + `"}`, ""},
		{"$aws/things/a/shadow/update", `{"id":"1"}`, ""},
	} {
		s, ok := sampleOf(&message.Message{Topic: c.topic, Payload: []byte(c.payload), Time: came})
		got := ""
		if ok {
			got = fmt.Sprintf("%s %d", s.id, s.at.Sub(at).Milliseconds())
			for _, f := range s.fields {
				got += " " + f.Name + "=" + f.Text
				if f.Value != nil {
					got += "#"
				}
			}
		}
		if got != c.want {
			t.Errorf("%.80s: %q, want %q", c.payload, got, c.want)
		}
	}
	if _, ok := sampleOf(&message.Message{Topic: "t", Payload: []byte(`{"id":"1"}`), Depth: 1}); ok {
		t.Error("what a rule republished is counted again")
	}
}

func FuzzSampleOf(f *testing.F) {
	for _, seed := range []string{`{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2}`, `{"id":7,"a":"\ud800","b":[{}]}`, `{"id":"1"}{`, "\x00", `{"id":"\u0000","":1,"é":1e-400}`} {
		f.Add([]byte(seed))
	}
	now := time.Now()
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, ok := sampleOf(&message.Message{Topic: "t", Payload: payload, Time: now})
		if !ok {
			return
		}
		if s.id == "" || len(s.id) > maxID || len(s.fields) > maxFields || s.at.After(now.Add(aheadAtMost)) {
			t.Fatalf("beyond the limits: %+v", s)
		}
		bs := newBoards()
		bs.add(s, now, "t")
		event("boards", bs.states(now)) // panics on what is no JSON
	})
}

// FuzzObjectMembers holds the members to what encoding/json makes of them.
func FuzzObjectMembers(f *testing.F) {
	for _, seed := range []string{`{"time":"2026","id":"1","dust":35.2}`, ` { "a\"" : [ {"b":"]"} , "\\" ] ,"\ud800":{}, "a":null}`, "{\"\xff\":1e9,\"b\":\t-0\n}", `{},`, `,{}`, `{"a":tru}`, `{"a"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		list, ok := objectMembers(payload)
		var want map[string]json.RawMessage
		if err := json.Unmarshal(payload, &want); err != nil || want == nil {
			if ok {
				t.Fatalf("%q is no object", payload)
			}
			return
		}
		if !ok && len(payload) < 8*maxFields {
			t.Fatalf("%q is an object", payload)
		}
		got := map[string]json.RawMessage{}
		for _, m := range list {
			got[m.name] = m.value
		}
		if ok && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %q, want %q", payload, got, want)
		}
	})
}

func reading(id string, at time.Time, fields ...string) sample {
	s := sample{id: id, at: at}
	for i, name := range fields {
		s.add(name, fmt.Sprint(i))
	}
	return s
}

func TestAliveFollowsTheLearnedInterval(t *testing.T) {
	bs, at := newBoards(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	add := func(after time.Duration) {
		at = at.Add(after)
		bs.add(reading("1", at, "dust"), at, "t")
	}
	check := func(when string, after time.Duration, want string) {
		t.Helper()
		if got := bs.states(at.Add(after))[0].State; got != want {
			t.Errorf("%s, %s after the last reading: %s, want %s", when, after, got, want)
		}
	}
	add(0)
	check("after one reading", 59*time.Second, alive)
	check("after one reading", 61*time.Second, silent)
	for range 5 {
		add(10 * time.Second)
	}
	check("every 10 s", 29*time.Second, alive)
	check("every 10 s", 31*time.Second, silent)
	add(time.Hour)
	check("after one pause", 31*time.Second, silent)
	for range 3 {
		add(time.Minute)
	}
	check("every minute now", 2*time.Minute, alive)
	check("every minute now", 4*time.Minute, silent)
	for range 20 {
		add(100 * time.Millisecond)
	}
	check("very often", 4*time.Second, alive)
	check("very often", 6*time.Second, silent)
}

func TestABoardWhoseGatewayCatchesUp(t *testing.T) {
	bs, now := newBoards(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range 10 {
		bs.add(reading("1", now.Add(-time.Hour+time.Duration(i)*5*time.Second), "dust"), now.Add(time.Duration(i)*time.Millisecond), "t")
	}
	if got := bs.states(now.Add(time.Second))[0]; got.State != catchingUp || got.Interval != 5000 {
		t.Errorf("state %s, interval %d", got.State, got.Interval)
	}
}

func TestTheSameReadingAgainIsNotNew(t *testing.T) {
	bs, at := newBoards(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	bs.add(reading("1", at, "dust"), at, "mqtt")
	bs.add(reading("1", at, "dust"), at.Add(time.Second), "rest")
	bs.add(reading("1", at.Add(-time.Minute), "old"), at.Add(time.Second), "rest")
	news, _ := bs.take(at.Add(time.Second))
	if len(news) != 1 || len(news[0].Points) != 1 || news[0].Source != "mqtt" || news[0].Interval != 0 || news[0].Seen != at.Add(time.Second).UnixMilli() {
		t.Errorf("news %+v", news)
	}
	if again, _ := bs.take(at.Add(2 * time.Second)); len(again) != 0 {
		t.Errorf("nothing happened, and the news are %+v", again)
	}
	if later, _ := bs.take(at.Add(2 * time.Minute)); len(later) != 1 || later[0].State != silent {
		t.Errorf("the board fell silent, and the news are %+v", later)
	}
}

func TestBoardsAreBounded(t *testing.T) {
	bs, at := newBoards(), time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	names := make([]string, maxFields)
	for i := range names {
		names[i] = fmt.Sprint("f", i)
	}
	for i := range maxBoards + 20 {
		bs.add(reading(fmt.Sprint(i), at.Add(time.Duration(i)*time.Second), names...), at.Add(time.Duration(i)*time.Second), "t")
	}
	for i := range 2 * maxPoints {
		bs.add(reading("519", at.Add(time.Hour+time.Duration(i)*time.Second), names...), at.Add(time.Hour), "t")
	}
	now := at.Add(time.Hour)
	news, gone := bs.take(now)
	if len(news) != maxBoards || len(gone) != 20 || !slices.Contains(gone, "0") || slices.Contains(gone, "20") {
		t.Errorf("%d boards, gone %v", len(news), gone)
	}
	rings := 0
	for _, b := range bs.byID {
		rings += len(b.rings)
		for _, r := range b.rings {
			if len(r.at) > maxPoints {
				t.Fatalf("%d points are kept", len(r.at))
			}
		}
	}
	if rings > maxSeries || rings != bs.series || bs.series < maxSeries-2*maxFields {
		t.Errorf("%d rings, counted %d", rings, bs.series)
	}
	if last := news[len(news)-1]; last.ID != "519" || len(last.Points) != maxNewTick {
		t.Errorf("board %s has %d new points", last.ID, len(last.Points))
	}
}

func TestWarmUp(t *testing.T) {
	p := newParts(t)
	p.create(t, "air", "id", "time", table.S)
	p.create(t, "other", "name", "time", table.S)
	now := time.Now()
	for i := range 40 {
		p.put(t, "air", row("1", now.Add(time.Duration(i-40)*5*time.Second), float64(i)), row("2", now.Add(-time.Hour+time.Duration(i)*time.Second), 1))
	}
	p.put(t, "other", table.Item{"name": table.String("3"), "time": table.String("2026-11-22T10:00:00Z"), "id": table.String("3")})
	k := p.console(t)
	watch.Until(t, "both boards of the table", func() bool { return len(get[boardList](t, k, "/console/api/boards").Boards) == 2 })
	var list []state
	watch.Until(t, "their newest rows", func() bool {
		list = get[boardList](t, k, "/console/api/boards").Boards
		return list[0].Fields[0].Text == "39" && list[1].Count == warmRows
	})
	if list[0].ID != "1" || list[0].State != alive || list[0].Interval != 5000 || list[0].Source != "table air" || *list[0].Fields[0].Value != 39 {
		t.Errorf("board 1: %+v", list[0])
	}
	if list[1].ID != "2" || list[1].State != silent {
		t.Errorf("board 2: %+v", list[1])
	}
	p.broker.publish("sensors/2/air", `{"id":"2","dust":"8"}`)
	watch.Until(t, "the live reading of board 2", func() bool {
		b := get[boardList](t, k, "/console/api/boards").Boards[1]
		return b.Fields[0].Text == "8" && b.State == alive && b.Source == "sensors/2/air"
	})
}
