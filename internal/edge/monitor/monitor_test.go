package monitor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/edge"
	"mote/internal/edge/spool"
	"mote/internal/edge/uplink"
	"mote/internal/reading"
)

var base = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// well is a gateway that lacks nothing, at the moment at.
func well(at time.Time) Snapshot {
	return Snapshot{
		Name: "roof", Version: "1.2.3",
		Status: edge.Status{
			Started: base, ClockSet: true,
			Sources: []edge.SourceStatus{{Name: "hc-05", State: edge.Connected, Since: base, Dials: 3, Bytes: 100, Frames: 5, Rejects: 2, Thinned: 11, Odd: 3, Skipped: 7, Lost: 1}},
			Boards: []edge.BoardStatus{{ID: "1", Source: "hc-05", Seen: at.Add(-3 * time.Second), Rate: 7 * time.Second, Alive: true, Frames: 5,
				Last: reading.Reading{ID: "1", Fields: []reading.Field{{Name: "dust", Text: "35.2"}}}}},
			Uplinks: []edge.UplinkStatus{{Name: "iot", Running: true, Failures: 1}},
			Spool: spool.Stats{Bytes: 4 << 20, MaxBytes: 1 << 30, Appended: 5, DeviceBytes: 8192,
				Readers: []spool.ReaderStats{{Name: "iot", Acked: 5}}},
		},
		Delivery: map[string]uplink.Status{"iot": {Connected: true, Delivered: 5, Refused: 2, Failures: 4}},
	}
}

func TestHealth(t *testing.T) {
	at := base.Add(time.Hour)
	for name, c := range map[string]struct {
		change func(*Snapshot)
		after  time.Duration // since an earlier look
		want   string        // problem; "" for none
	}{
		"well":                         {func(*Snapshot) {}, 0, ""},
		"line down just now":           {func(s *Snapshot) { s.Sources[0].State, s.Sources[0].Since = edge.Down, at.Add(-time.Second) }, 0, ""},
		"line down":                    {func(s *Snapshot) { s.Sources[0].State, s.Sources[0].LastError = edge.Down, "no route" }, 0, "source hc-05 is down: no route"},
		"never connected":              {func(s *Snapshot) { s.Sources[0].State = edge.Connecting }, 0, "source hc-05 is down: no answer yet"},
		"spool is full":                {func(s *Snapshot) { s.Sources[0].Waiting = true }, 0, "the spool takes nothing: source hc-05 is not read"},
		"board silent":                 {func(s *Snapshot) { s.Boards[0].Alive, s.Boards[0].Seen = false, at.Add(-5*time.Minute) }, 0, "board 1 is silent: its last reading is 5m0s old"},
		"clock not set":                {func(s *Snapshot) { s.ClockSet, s.Untimed = false, 12 }, 0, "the clock is not set: 12 readings wait for their times"},
		"clock not set, nothing waits": {func(s *Snapshot) { s.ClockSet = false }, 0, ""},
		"clock just set":               {func(s *Snapshot) { s.Untimed = 12 }, 0, ""},
		"clock not set just now":       {func(s *Snapshot) { s.ClockSet, s.Untimed, s.Started = false, 12, at.Add(-time.Second) }, 0, ""},
		"board late":                   {func(s *Snapshot) { s.Boards[0].Alive, s.Boards[0].Seen = false, at.Add(-22*time.Second) }, 0, ""},
		"uplink away":                  {away, 5 * time.Minute, "uplink iot does not deliver, 9 readings wait: refused"},
		"uplink away briefly":          {away, 30 * time.Second, ""},
		"uplink away and nothing waits": {func(s *Snapshot) {
			s.Delivery["iot"] = uplink.Status{LastError: "refused"}
		}, 5 * time.Minute, ""},
		"uplink broken": {func(s *Snapshot) { s.Uplinks[0].Running, s.Uplinks[0].LastError = false, "no spool" }, 0, "uplink iot does not run: no spool"},
	} {
		t.Run(name, func(t *testing.T) {
			s := well(at)
			c.change(&s)
			w := NewWatch(func() Snapshot { return s })
			w.look(s, at.Add(-c.after))
			h := w.health(s, at)
			if got := strings.Join(h.Problems, "; "); got != c.want || h.OK != (c.want == "") {
				t.Errorf("ok %v: %q, want %q", h.OK, got, c.want)
			}
		})
	}
}

func away(s *Snapshot) {
	s.Delivery["iot"] = uplink.Status{LastError: "refused"}
	s.Spool.Readers[0].Waiting = 9
}

func TestAnUplinkThatWasBackInBetweenIsNotAway(t *testing.T) {
	s := well(base)
	w := NewWatch(func() Snapshot { return s })
	away(&s)
	w.look(s, base)
	w.look(well(base), base.Add(time.Minute))
	w.look(s, base.Add(2*time.Minute))
	if h := w.health(s, base.Add(2*time.Minute+30*time.Second)); !h.OK && len(h.Uplinks) != 1 {
		t.Errorf("%q", h.Problems)
	}
	if d := w.downFor("iot", base.Add(150*time.Second)); d != 30*time.Second {
		t.Errorf("down for %v", d)
	}
}

func TestDrainIsEstimatedFromTheLastMinute(t *testing.T) {
	w := NewWatch(nil)
	s := well(base)
	set := func(appended, acked uint64) {
		s.Spool.Appended = appended
		s.Spool.Readers[0].Acked, s.Spool.Readers[0].Waiting = acked, appended-acked
	}
	set(10_000, 0)
	if _, ok := w.drain(s, "iot", base); ok {
		t.Error("an estimate without a look")
	}
	for i := range 20 { // 100 delivered and 20 new ones each 10 s: 8 a second fewer
		set(10_000+20*uint64(i), 100*uint64(i))
		w.look(s, base.Add(time.Duration(i)*look))
	}
	d, ok := w.drain(s, "iot", base.Add(19*look))
	if want := time.Duration(10_000+20*19-1900) * time.Second / 8; !ok || d.Round(time.Second) != want.Round(time.Second) {
		t.Errorf("%v %v, want %v", d, ok, want)
	}
	for i := range 10 { // and now nobody takes them
		set(10_380+20*uint64(i), 1900)
		w.look(s, base.Add(time.Duration(20+i)*look))
	}
	if d, ok := w.drain(s, "iot", base.Add(29*look)); ok {
		t.Errorf("a growing backlog is gone in %v", d)
	}
	set(10_380, 10_380)
	if d, ok := w.drain(s, "iot", base); !ok || d != 0 {
		t.Errorf("nothing waits: %v %v", d, ok)
	}
}

func TestWrittenIsOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		now := func() Snapshot { // a byte a second
			s := well(time.Now())
			s.Spool.DeviceBytes = uint64(time.Since(begin) / time.Second)
			return s
		}
		w := NewWatch(now)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.Run(ctx); close(done) }()
		for _, c := range []struct{ after, least, most time.Duration }{
			{time.Hour, time.Hour, time.Hour},
			{30 * time.Hour, 23 * time.Hour, 24*time.Hour + look},
			{100 * time.Hour, 23 * time.Hour, 24*time.Hour + look},
		} {
			time.Sleep(c.after - time.Since(begin))
			bytes, span := w.written(now(), time.Now())
			if span < c.least || span > c.most || bytes != uint64(span/time.Second) {
				t.Errorf("after %v: %d bytes in %v", c.after, bytes, span)
			}
		}
		stop()
		<-done
	})
}

func TestMetricsAreInThePrometheusTextFormat(t *testing.T) {
	at := base.Add(time.Minute)
	s := well(at)
	s.Sources[0].Name = "a\\b\"c\nd\xff"
	got := parseMetrics(t, NewWatch(nil).metrics(s, at))
	for name, want := range map[string]float64{
		`mote_info{gateway="roof",version="1.2.3"}`: 1,
		`mote_healthy`:                                1,
		`mote_start_time_seconds`:                     float64(base.Unix()),
		"mote_source_up{source=\"a\\b\"c\nd\uFFFD\"}": 1,
		"mote_source_rejected_frames_total{source=\"a\\b\"c\nd\uFFFD\"}":      2,
		`mote_board_last_reading_timestamp_seconds{board="1",source="hc-05"}`: float64(base.Unix() + 57),
		"mote_source_thinned_frames_total{source=\"a\\b\"c\nd\uFFFD\"}":       11,
		"mote_source_implausible_values_total{source=\"a\\b\"c\nd\uFFFD\"}":   3,
		`mote_clock_set`:                          1,
		`mote_untimed_readings`:                   0,
		`mote_uplink_retries_total{uplink="iot"}`: 5,
		`mote_uplink_refused_total{uplink="iot"}`: 2,
		`mote_uplink_drain_seconds{uplink="iot"}`: 0,
		`mote_spool_max_bytes`:                    1 << 30,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%q is %v (%v), want %v", name, v, ok, want)
		}
	}
	if n := len(parseMetrics(t, NewWatch(nil).metrics(Snapshot{}, at))); n < 5 {
		t.Errorf("%d metrics of a gateway that has not begun", n)
	}
}

// parseMetrics reads the format by its definition (Prometheus documentation,
// "Exposition formats") and fails the test where the text breaks it: every
// sample belongs to the family last begun, names are legal, no family or sample
// comes twice.
func parseMetrics(t *testing.T, text string) map[string]float64 {
	t.Helper()
	samples, families, family := map[string]float64{}, map[string]bool{}, ""
	if !strings.HasSuffix(text, "\n") {
		t.Fatal("the last line has no end")
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if families[family] {
				t.Errorf("family %s twice", family)
			}
			families[family] = true
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if name != family || kind != "counter" && kind != "gauge" || (kind == "counter") != strings.HasSuffix(name, "_total") {
				t.Errorf("%s", line)
			}
			continue
		}
		name, value := parseSample(t, line)
		if base, _, _ := strings.Cut(name, "{"); base != family {
			t.Errorf("sample %q in the family %s", name, family)
		}
		if _, twice := samples[name]; twice {
			t.Errorf("sample %q twice", name)
		}
		samples[name] = value
	}
	return samples
}

func parseSample(t *testing.T, line string) (string, float64) {
	t.Helper()
	i := strings.IndexAny(line, "{ ")
	if i < 0 || strings.Trim(line[:i], "abcdefghijklmnopqrstuvwxyz_0123456789") != "" {
		t.Fatalf("bad sample %q", line)
	}
	name, rest := line[:i], line[i:]
	for sep := "{"; strings.HasPrefix(rest, sep); sep = "," {
		label, after, ok := strings.Cut(rest[1:], `="`)
		if !ok {
			t.Fatalf("bad label in %q", line)
		}
		var value strings.Builder
		for after[0] != '"' {
			c := after[0]
			if after = after[1:]; c == '\\' {
				c, after = map[byte]byte{'\\': '\\', 'n': '\n', '"': '"'}[after[0]], after[1:]
			}
			if c == 0 {
				t.Fatalf("bad escape in %q", line)
			}
			value.WriteByte(c)
		}
		rest = after[1:]
		name += sep + label + `="` + value.String() + `"`
	}
	if after, ok := strings.CutPrefix(rest, "}"); ok {
		name, rest = name+"}", after
	}
	v, err := strconv.ParseFloat(strings.TrimPrefix(rest, " "), 64)
	if err != nil || rest[0] != ' ' {
		t.Fatalf("bad value in %q", line)
	}
	return name, v
}

func TestThePageTakesTextAsText(t *testing.T) {
	at := base.Add(time.Minute)
	s := well(at)
	const evil = `<script>alert(1)</script>&"'`
	s.Name, s.Version = evil, evil
	s.Sources[0].Name, s.Sources[0].LastError, s.Sources[0].LastOdd = evil, evil, evil
	s.ClockSet, s.Untimed = false, 17
	s.Sources[0].LastReject = &edge.Reject{Text: evil, Reason: evil}
	s.Boards[0].ID = evil
	s.Boards[0].Last.Fields[0] = reading.Field{Name: evil, Text: evil + "\xff"}
	s.Delivery["iot"] = uplink.Status{LastError: evil}
	s.Uplinks[0].Running = false
	s.Spool.LastError = evil
	page := NewWatch(nil).page(s, at)
	if strings.Contains(page, "<script") || strings.Contains(page, "\xff") || strings.Count(page, "&lt;script&gt;") < 13 {
		t.Errorf("%s", page)
	}
	for _, want := range []string{"3s ago", "4.0 MiB", "1.0 GiB", "Something needs a look", "left out: ", "17 readings wait", `name="viewport"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func get(t *testing.T, h http.Handler, method, path, host string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func TestOnlyNamesThatNobodyElseCanPointHereAreAnswered(t *testing.T) {
	w := NewWatch(func() Snapshot { return well(time.Now()) })
	h := w.Handler("gw.example.net")
	for host, want := range map[string]int{
		"127.0.0.1:9101": 200, "localhost:9101": 200, "[::1]:9101": 200, "192.168.1.7": 200, "LOCALHOST.": 200, "gw.example.net:9101": 200,
		"evil.example:9101": 403, "": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403,
	} {
		for _, path := range []string{"/", "/healthz", "/metrics"} {
			if got := get(t, h, "GET", path, host); got.StatusCode != want {
				t.Errorf("%s of %q: %d, want %d", path, host, got.StatusCode, want)
			} else if got.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(got.Header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("%s of %q: headers %v", path, host, got.Header)
			}
		}
	}
	for _, c := range []struct {
		method, path string
		want         int
	}{{"POST", "/", 405}, {"DELETE", "/metrics", 405}, {"GET", "/etc/passwd", 404}, {"GET", "/style.css", 200}, {"HEAD", "/healthz", 200}} {
		if got := get(t, h, c.method, c.path, "localhost"); got.StatusCode != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got.StatusCode, c.want)
		}
	}
}

func TestHealthzSaysByStatusWhatTheBodyTells(t *testing.T) {
	s := well(time.Now())
	w := NewWatch(func() Snapshot { return s })
	for _, want := range []int{200, 503} {
		resp := get(t, w.Handler(), "GET", "/healthz", "localhost")
		var h Health
		if err := json.NewDecoder(resp.Body).Decode(&h); err != nil || resp.StatusCode != want || h.OK != (want == 200) || h.Boards[0].Age < 3 || h.Boards[0].Age > 60 {
			t.Errorf("%d: %+v, %v", resp.StatusCode, h, err)
		}
		s.Sources[0].Waiting = true
	}
}

func TestServeEndsAndBoundsItsConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewWatch(func() Snapshot { return well(time.Now()) }).Serve(ctx, l) }()
	for range maxConns { // who says nothing
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	late, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	fmt.Fprintf(late, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	_ = late.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := late.Read(make([]byte, 1)); err == nil {
		t.Error("one more connection than may be is answered")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
