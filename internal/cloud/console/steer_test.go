package console

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// fakeShadows has the shadows of two boards, one of them broken.
type fakeShadows struct {
	mu   sync.Mutex
	rate Rate
}

func (f *fakeShadows) Rate(board string) (Rate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if board != "1" {
		return Rate{}, errors.New("no thing can be called that")
	}
	return f.rate, nil
}

func (f *fakeShadows) SetRate(_ context.Context, board string, seconds float64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if board != "1" {
		return errors.New("no thing can be called that")
	}
	f.rate.Desired = seconds
	return nil
}

// confirm is what happens when the board's frames say the rate.
func (f *fakeShadows) confirm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate.Reported = f.rate.Desired
}

func TestARateIsSetOnlyByThePage(t *testing.T) {
	p := newParts(t)
	c := p.config()
	shadows := &fakeShadows{rate: Rate{Reported: 2}}
	c.Shadows = shadows
	k := New(c)
	defer k.Close()
	post := func(body string, header ...string) *httptest.ResponseRecorder {
		target := request("POST", "/console/api/rate").URL.String()
		r := httptest.NewRequest("POST", target, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:40000"
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		k.ServeHTTP(w, r)
		return w
	}
	const good = `{"board":"1","rate":10}`
	for what, c := range map[string]struct {
		answer *httptest.ResponseRecorder
		status int
		says   string
	}{
		"a form":           {post(good, "Content-Type", "text/plain"), 403, "application/json"},
		"no type":          {post(good, "Content-Type", ""), 403, "application/json"},
		"another site":     {post(good, "Sec-Fetch-Site", "cross-site"), 403, "another site"},
		"another port":     {post(good, "Sec-Fetch-Site", "same-site"), 403, "another site's page"},
		"another origin":   {post(good, "Origin", "http://localhost:9999"), 403, "another origin"},
		"an opaque origin": {post(good, "Origin", "null"), 403, "another origin"},
		"no JSON":          {post("rate=10"), 400, "with the rate in seconds"},
		"too much":         {post(`{"board":"` + strings.Repeat("1", maxSteer) + `"}`), 400, "with the rate in seconds"},
		"zero":             {post(`{"board":"1"}`), 400, "a rate of 0 seconds is not possible"},
		"too slow":         {post(`{"board":"1","rate":604801}`), 400, "want 0.001 to 604800"},
		"no such thing":    {post(`{"board":"a b","rate":1}`), 400, "no thing can be called that"},
	} {
		if c.answer.Code != c.status || !strings.Contains(c.answer.Body.String(), c.says) {
			t.Errorf("%s: %d %s, want %d %q", what, c.answer.Code, c.answer.Body, c.status, c.says)
		}
	}
	if shadows.rate.Desired != 0 {
		t.Fatalf("a refused request set the rate to %v", shadows.rate.Desired)
	}
	if w := post(good, "Origin", "http://localhost:8080", "Sec-Fetch-Site", "same-origin"); w.Code != 200 || shadows.rate.Desired != 10 {
		t.Errorf("the page itself: %d %s", w.Code, w.Body)
	}
	if got := get[Rate](t, k, "/console/api/rate?board=1"); got != (Rate{Desired: 10, Reported: 2}) {
		t.Errorf("%+v", got)
	}
}

func TestABoardIsSteeredInABrowser(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	c := p.config()
	shadows := &fakeShadows{rate: Rate{Reported: 2}}
	c.Shadows = shadows
	k := New(c)
	defer k.Close()
	_, b := openPhone(t, k)
	p.broker.publish("sensors/1/air", `{"id":"1","dust":1}`)
	b.until("the board", `document.querySelector("[data-board='1'] .steer") !== null`)
	b.eval(`document.querySelector("[data-board='1'] summary").click()`)
	const note = `document.querySelector("[data-board='1'] .steer .foot").textContent`
	b.until("the rate", note+` === "the board sends every 2 s"`)
	b.until("it stands in the field", `document.querySelector("[data-board='1'] .steer input").value === "2"`)
	b.eval(`document.querySelector("[data-board='1'] .steer input").value = "10"`)
	b.eval(`document.querySelector("[data-board='1'] .steer button").click()`)
	b.until("the wish", note+` === "the board sends every 2 s; waiting for it to take 10 s"`)
	shadows.confirm()
	b.until("the board has it", note+` === "the board sends every 10 s"`)
	if wide := b.eval("document.documentElement.scrollWidth > innerWidth"); wide != false {
		t.Error("the page is wider than a phone")
	}
	if list := b.troubles(); len(list) != 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(list, "\n"))
	}
}
