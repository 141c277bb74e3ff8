package console

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/refusal"
	"mote/internal/cloud/table"
)

func TestOnlyThisMachineSeesTheConsole(t *testing.T) {
	p := newParts(t)
	k := p.console(t)
	for _, c := range []struct {
		remote, host, site string
		status             int
		says               string
	}{
		{"127.0.0.1:5", "localhost:8080", "", 200, ""},
		{"127.8.9.1:5", "127.0.0.1", "same-origin", 200, ""},
		{"[::1]:5", "[::1]:8080", "none", 200, ""},
		{"[::ffff:127.0.0.1]:5", "LOCALHOST.:8080", "", 200, ""},
		{"192.168.1.9:5", "localhost:8080", "", 403, "only for the machine"},
		{"[2001:db8::1]:5", "localhost:8080", "", 403, "only for the machine"},
		{"", "localhost:8080", "", 403, "only for the machine"},
		{"127.0.0.1:5", "evil.example:8080", "", 403, `host name "evil.example"`},
		{"127.0.0.1:5", "localhost.evil.example", "", 403, "host name"},
		{"127.0.0.1:5", "127.0.0.1.nip.io:8080", "", 403, "host name"},
		{"127.0.0.1:5", "", "", 403, "host name"},
		{"127.0.0.1:5", "192.168.1.5:8080", "", 403, "host name"},
		{"127.0.0.1:5", "localhost:8080", "cross-site", 403, "another site"},
	} {
		r := request("GET", "/console/api/boards")
		r.RemoteAddr, r.Host = c.remote, c.host
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		w := httptest.NewRecorder()
		k.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), c.says) {
			t.Errorf("from %s, host %s, site %s: %d %s", c.remote, c.host, c.site, w.Code, w.Body)
		}
	}
	if list, n := p.refusals.Recent(100); n != 9 || list[0].Where != "console" || !strings.Contains(list[0].Reason, "another site") {
		t.Errorf("refusals: %d, the last %+v", n, list[0])
	}
}

func TestHeadersAndMethods(t *testing.T) {
	k := newParts(t).console(t)
	for _, c := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8"},
		{"HEAD", "/", 200, "text/html; charset=utf-8"},
		{"GET", "/console", 200, "text/html; charset=utf-8"},
		{"GET", "/console/app.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/console/uplot/uPlot.iife.min.js", 200, "text/javascript; charset=utf-8"},
		{"GET", "/console/style.css", 200, "text/css; charset=utf-8"},
		{"GET", "/favicon.ico", 200, "image/svg+xml"},
		{"GET", "/console/api/tables", 200, "application/json"},
		{"HEAD", "/console/events", 200, "text/event-stream"},
		{"GET", "/console/uplot/README.md", 404, ""},
		{"GET", "/console/nothing", 404, ""},
		{"GET", "/other", 404, ""},
		{"POST", "/console/api/boards", 405, ""},
		{"DELETE", "/", 405, ""},
	} {
		w := httptest.NewRecorder()
		k.ServeHTTP(w, request(c.method, c.path))
		if w.Code != c.status || c.kind != "" && w.Header().Get("Content-Type") != c.kind {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Header().Get("Content-Type"))
		}
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := w.Header().Get(name); got != want && !(c.status == 404 || c.status == 405) {
				t.Errorf("%s %s: %s is %q", c.method, c.path, name, got)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s %s: policy %q", c.method, c.path, csp)
		}
	}
}

func TestAssetsAreNotSentAgain(t *testing.T) {
	k := newParts(t).console(t)
	w := httptest.NewRecorder()
	k.ServeHTTP(w, request("GET", "/console/app.js"))
	tag := w.Header().Get("ETag")
	r := request("GET", "/console/app.js")
	r.Header.Set("If-None-Match", tag)
	again := httptest.NewRecorder()
	k.ServeHTTP(again, r)
	if tag == "" || again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("tag %q, then %d with %d bytes", tag, again.Code, again.Body.Len())
	}
	if get[any](t, k, "/console/api/boards") == nil {
		t.Error("no answer")
	}
}

func TestRefusalsAndCountersAsJSON(t *testing.T) {
	p := newParts(t)
	k := p.console(t)
	empty := get[refused](t, k, "/console/api/refusals")
	if empty.Refusals == nil || empty.Total != 0 {
		t.Errorf("no refusals are %+v, want an empty list", empty)
	}
	r := refusal.Refusal{Where: "mqtt", Action: "iot:Publish", Resource: "topic/a", Principal: "cert", ClientID: "dev2", SourceIP: "127.0.0.1", Reason: "no statement allows it"}
	for range maxRefusals + 5 {
		p.refusals.Add(r)
	}
	got := get[refused](t, k, "/console/api/refusals")
	if got.Total != maxRefusals+5 || len(got.Refusals) != maxRefusals {
		t.Fatalf("%d refusals of %d", len(got.Refusals), got.Total)
	}
	got.Refusals[0].Time = time.Time{}
	if got.Refusals[0] != r {
		t.Errorf("refusal %+v, want %+v", got.Refusals[0], r)
	}
	if c := get[Counters](t, k, "/console/api/counters"); c.Received != 1234 || len(c.Rules) != 2 || c.Rules[0].Fired != 1230 || len(c.Builds) != 1 || c.Builds[0].Done != 0.456 {
		t.Errorf("counters %+v", c)
	}
}

func TestWithoutOptionalParts(t *testing.T) {
	p := newParts(t)
	k := New(Config{Messages: p.broker, Tables: p.tables})
	if c := get[map[string]any](t, k, "/console/api/counters"); c["rules"] == nil {
		t.Errorf("rules without a source are %v, want an empty list", c["rules"])
	}
	if r := get[refused](t, k, "/console/api/refusals"); r.Total != 0 {
		t.Errorf("refusals without a log: %+v", r)
	}
	if err := k.Close(); err != nil || p.broker.watched() != 0 {
		t.Errorf("after Close: %v, %d watchers", err, p.broker.watched())
	}
}

func TestLatestRows(t *testing.T) {
	p := newParts(t)
	p.create(t, "air", "id", "time", table.S)
	base := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for i := range 40 {
		p.put(t, "air", row("1", base.Add(time.Duration(2*i)*time.Second), float64(i)), row("10", base.Add(time.Duration(2*i+1)*time.Second), float64(i)))
	}
	odd := row("2", base.Add(-time.Hour), 1)
	odd["extra"] = table.Map(table.Item{"a": table.List(table.Bool(true), table.Null()), "b": table.Binary([]byte{1, 2})})
	odd["long"] = table.String(strings.Repeat("ü", 4000))
	p.put(t, "air", odd)
	k := p.console(t)
	got := get[latest](t, k, "/console/api/rows?table=air&limit=5")
	if strings.Join(got.Columns, " ") != "time id dust" || got.Keys != 2 || !got.Ordered || got.Partial || len(got.Rows) != 5 {
		t.Fatalf("rows: %+v", got)
	}
	for i, want := range []string{"10:01:19.000Z 10", "10:01:18.000Z 1", "10:01:17.000Z 10", "10:01:16.000Z 1", "10:01:15.000Z 10"} {
		if line := *got.Rows[i][0] + " " + *got.Rows[i][1]; line != "2026-11-22T"+want {
			t.Errorf("row %d is %s, want %s", i, line, want)
		}
	}
	all := get[latest](t, k, "/console/api/rows?table=air&limit=100000")
	last := all.Rows[len(all.Rows)-1]
	if len(all.Rows) != 81 || strings.Join(all.Columns, " ") != "time id dust extra long" || all.Rows[0][3] != nil {
		t.Fatalf("%d rows, columns %v", len(all.Rows), all.Columns)
	}
	if *last[3] != "{a: [true, null], b: AQI=}" || len(*last[4]) > maxText+3 || !strings.HasSuffix(*last[4], "ü…") {
		t.Errorf("cells %q and %d bytes", *last[3], len(*last[4]))
	}
}

func TestLatestRowsOfOtherTables(t *testing.T) {
	p := newParts(t)
	p.create(t, "plain", "name", "", 0)
	p.create(t, "numbered", "id", "time", table.N)
	p.put(t, "plain", table.Item{"name": table.String("a")}, table.Item{"name": table.String("b")})
	n := func(text string) table.Value { return table.Value{Kind: table.N, Str: text} }
	p.put(t, "numbered", table.Item{"id": table.String("1"), "time": n("9")}, table.Item{"id": table.String("2"), "time": n("10")})
	k := p.console(t)
	if got := get[latest](t, k, "/console/api/rows?table=plain"); got.Ordered || len(got.Rows) != 2 {
		t.Errorf("a table without a sort key: %+v", got)
	}
	if got := get[latest](t, k, "/console/api/rows?table=numbered"); *got.Rows[0][0] != "10" {
		t.Errorf("9 comes before 10: %+v", got)
	}
	for target, status := range map[string]int{"?table=none": 404, "": 400, "?table=plain&limit=x": 400, "?table=plain&limit=0": 400} {
		w := httptest.NewRecorder()
		k.ServeHTTP(w, request("GET", "/console/api/rows"+target))
		if w.Code != status || !strings.Contains(w.Body.String(), `"error":"`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	if list := get[[]tableInfo](t, k, "/console/api/tables"); len(list) != 2 || list[0].Name != "numbered" || list[0].Range != "time" || list[1].Range != "" {
		t.Errorf("tables %+v", list)
	}
}

// Partitions are found one seek each, also when sort keys lie beyond what the
// search takes for the highest.
func TestPartitions(t *testing.T) {
	p := newParts(t)
	p.create(t, "air", "id", "time", table.S)
	for _, id := range []string{"a", "b", "c"} {
		for _, at := range []string{"1", "2", strings.Repeat("\U0010ffff", 9), strings.Repeat("\U0010ffff", 10)} {
			p.put(t, "air", table.Item{"id": table.String(id), "time": table.String(at)})
		}
	}
	k := p.console(t)
	info, err := p.tables.Describe("air")
	if err != nil {
		t.Fatal(err)
	}
	keys, more, err := k.partitions(t.Context(), info, 10)
	if err != nil || len(keys) != 3 || more {
		t.Errorf("partitions %v, more %v, %v", keys, more, err)
	}
	if keys, more, _ := k.partitions(t.Context(), info, 2); len(keys) != 2 || !more {
		t.Errorf("with a limit: %v, more %v", keys, more)
	}
}

func TestNaturalOrder(t *testing.T) {
	want := []string{"", "1", "2", "02", "10", "a", "a2", "a2b", "a10", "b"}
	for i := range want {
		for j := range want {
			if got, order := compareNatural(want[i], want[j]), i-j; got*order < 0 || (got == 0) != (order == 0) {
				t.Errorf("compareNatural(%q, %q) is %d", want[i], want[j], got)
			}
		}
	}
}
