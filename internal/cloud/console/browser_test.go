package console

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/refusal"
	"mote/internal/cloud/table"
)

// site serves a console at an address that stays the same over restarts.
type site struct {
	t      testing.TB
	addr   string
	server *http.Server
}

func (s *site) start(h http.Handler) {
	s.t.Helper()
	if s.addr == "" {
		s.addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	s.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.server.Serve(l) }()
	s.t.Cleanup(func() { _ = s.server.Close(); <-done })
}

// openPhone opens the page of a console in a browser as narrow as a phone's, and
// waits until it is live.
func openPhone(t testing.TB, k *Console) (*site, *browser) {
	t.Helper()
	site := &site{t: t}
	site.start(k)
	b := openBrowser(t)
	call[any](b, "Emulation.setDeviceMetricsOverride", map[string]any{"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": true})
	b.open("http://" + site.addr + "/")
	b.until("the stream is live", `document.querySelector("#link").textContent === "live"`)
	return site, b
}

// In a real browser: the page shows boards, draws charts, follows the events,
// shows hostile text as text, asks nobody else for anything, and survives a
// restart of the server.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	p.create(t, "air", "id", "time", table.S)
	now := time.Now()
	for i := range 80 {
		if i < 40 || i >= 60 { // the board was silent for 100 s
			p.put(t, "air", row("1", now.Add(time.Duration(i-80)*5*time.Second), 30+float64(i%7)))
		}
	}
	k := p.console(t)
	site, b := openPhone(t, k)
	b.until("board 1 from the table", `document.querySelector("[data-board='1'] .state")?.textContent === "alive"`)
	b.until("a chart of dust", `document.querySelectorAll("[data-field='dust'] canvas").length === 1`)
	b.until("something is drawn", drawn)
	b.until("a gap in the line", `document.querySelector("[data-field='dust']").chart.u.data[1].filter((v) => v === null).length === 1`)
	b.until("rows of the table", `document.querySelectorAll("#rows tbody tr").length === 50`)
	b.until("the rules", `document.querySelector("#rules").innerText.includes("store_air")`)

	b.until("what waits and what was dropped", `(text => text.includes("sessions away1") && text.includes("waiting for subscribers7") && text.includes("dropped3") && !text.includes("retained"))(document.querySelector("#figures").textContent)`)
	b.until("the index in the making", `document.querySelector("#figures").innerText.includes("air by-place 45 %")`)

	live := fmt.Sprintf(`{"time":%q,"id":"1","dust":77.7}`, time.Now().UTC().Format(timeLayout))
	p.broker.publish("sensors/1/air", live)
	b.until("the live reading on the card", `document.querySelector("[data-board='1'] dd").textContent === "77.7"`)
	b.until("the live reading in the chart", `document.querySelector("[data-field='dust'] .keys").textContent.includes("77.7")`)

	evil := `<img src=x onerror="document.title='taken'">`
	p.broker.publish("evil", fmt.Sprintf(`{"id":%q,%q:5,"text":%q}`, evil, evil+"f", evil))
	p.refusals.Add(refusal.Refusal{Where: "mqtt", Action: "iot:Connect", ClientID: evil, Reason: evil})
	b.until("markup as an id", `document.querySelector("#boards").innerText.includes("board <img src=x")`)
	b.until("markup as a field", `document.querySelector("#charts").innerText.includes("<img src=x")`)
	b.until("markup in a refusal", `document.querySelector("#refusals").innerText.includes("onerror")`)
	if title := b.eval("document.title + document.querySelectorAll('main img').length"); title != "mote0" {
		t.Errorf("markup came alive: %v", title)
	}
	if wide := b.eval("document.documentElement.scrollWidth > innerWidth"); wide != false {
		t.Error("the page is wider than a phone")
	}
	chooseRangeAndBoards(b)
	if list := b.troubles(); len(list) != 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(list, "\n"))
	}
	onlyFrom(t, b, "http://"+site.addr+"/")
	restart(b, site, p)
}

// drawn says whether a chart's canvas has anything in the colour of board 1.
const drawn = `(() => {
	const c = document.querySelector("[data-field='dust'] canvas");
	const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
	let n = 0;
	for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && d[i + 2] - d[i] > 60) n++;
	return n > 50;
})()`

func chooseRangeAndBoards(b *browser) {
	b.t.Helper()
	b.eval(`document.querySelector("input[value='1h']").click()`)
	b.until("the range", `document.querySelector("#charts-note").textContent === "last hour"`)
	b.until("a chart of an hour", `document.querySelector("[data-field='dust'] .plot")?.ariaLabel.endsWith("last hour")`)
	b.eval(`document.querySelector("[data-board='1'] input").click()`)
	b.until("no chart of dust without board 1", `!document.querySelector("[data-field='dust']")`)
	b.eval(`document.querySelector("[data-board='1'] input").click()`)
	b.until("the chart is back", drawn)
}

func onlyFrom(t *testing.T, b *browser, origin string) {
	t.Helper()
	list := b.requested()
	if len(list) < 8 {
		t.Errorf("only %d requests were seen: %v", len(list), list)
	}
	for _, url := range list {
		if !strings.HasPrefix(url, origin) {
			t.Errorf("the page asks for %s", url)
		}
	}
}

func restart(b *browser, s *site, p *parts) {
	b.t.Helper()
	_ = s.server.Close()
	b.until("the loss is shown", `document.querySelector("#link").textContent.startsWith("connection lost")`)
	again := p.console(b.t)
	s.start(again)
	b.until("the page is live again", `document.querySelector("#link").textContent === "live"`)
	b.until("only what the new server knows", `document.querySelectorAll("#boards > li").length === 1`)
}

func TestAnEmptyConsoleSaysWhatToDo(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	k := New(Config{Messages: p.broker, Tables: p.tables, Refusals: p.refusals})
	defer k.Close()
	site := &site{t: t}
	site.start(k)
	b := openBrowser(t)
	b.open("http://" + site.addr + "/")
	b.until("the stream is live", `document.querySelector("#link").textContent === "live"`)
	for _, text := range []string{"No board has sent anything yet", "mote pub", "There is no table yet", "Nobody has been refused", "There is no topic rule yet", "A chart appears"} {
		b.until("it says "+text, fmt.Sprintf("document.body.innerText.includes(%q)", text))
	}
	p.create(t, "air", "id", "time", table.S)
	p.broker.publish("sensors/1/air", `{"id":"1","dust":1}`)
	b.until("the hint goes", `!document.body.innerText.includes("No board has sent")`)
	if list := b.troubles(); len(list) != 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(list, "\n"))
	}
}
