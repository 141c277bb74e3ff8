package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
	"mote/internal/watch"
)

// page is an open stream as a browser has it.
type page struct {
	t      testing.TB
	lines  *bufio.Reader
	close  func() error
	status int
}

func openPage(t testing.TB, url string) *page {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watch.Patience)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url+"/console/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answer.Body.Close() })
	return &page{t, bufio.NewReader(answer.Body), answer.Body.Close, answer.StatusCode}
}

// next returns the data of the next event with a name; other events are passed over.
func (p *page) next(name string, v any) {
	p.t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", name, err)
		}
		if line != "event: "+name+"\n" {
			continue
		}
		data, err := p.lines.ReadString('\n')
		text, ok := strings.CutPrefix(data, "data: ")
		if err != nil || !ok {
			p.t.Fatalf("event %s has %q: %v", name, data, err)
		}
		if err := json.Unmarshal([]byte(text), v); err != nil {
			p.t.Fatal(err)
		}
		return
	}
}

func (p *page) ended() bool {
	for {
		if _, err := p.lines.ReadString('\n'); err != nil {
			return true
		}
	}
}

// serve serves k until the end of the test.
func serve(t testing.TB, k *Console) *httptest.Server {
	server := httptest.NewServer(k)
	t.Cleanup(func() {
		_ = k.Close() // ends the streams, for which server.Close would wait
		server.Close()
	})
	return server
}

func TestEventsAreLive(t *testing.T) {
	t.Parallel()
	p := newParts(t)
	k := p.console(t)
	server := serve(t, k)
	p.broker.publish("sensors/1/air", `{"id":"1","dust":35.2}`)
	watch.Until(t, "board 1", func() bool { return len(get[boardList](t, k, "/console/api/boards").Boards) == 1 })

	page := openPage(t, server.URL)
	var h hello
	page.next("hello", &h)
	if len(h.Boards) != 1 || h.Boards[0].Fields[0].Text != "35.2" || h.Counters.Received != 1234 || h.Refused.Refusals == nil {
		t.Errorf("hello %+v", h)
	}
	p.broker.publish("rest/prod/dust", `{"id":"2","dust":"7.5","note":"<b>"}`)
	var b state
	for b.ID != "2" {
		var n news
		page.next("boards", &n)
		b = n.Boards[len(n.Boards)-1]
	}
	if len(b.Points) != 1 || b.Points[0].Values["dust"] != 7.5 || len(b.Points[0].Values) != 1 || b.State != alive || b.Fields[1].Text != "<b>" {
		t.Errorf("news %+v", b)
	}
	p.refusals.Add(refusal.Refusal{Where: "tls", Action: "TLS handshake", Reason: "another CA"})
	var r refused
	page.next("refused", &r)
	if r.Total != 1 || len(r.Refusals) != 1 || r.Refusals[0].Reason != "another CA" {
		t.Errorf("refused %+v", r)
	}
	var c Counters
	page.next("counters", &c)
	if c.Connections != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestStreamsEnd(t *testing.T) {
	p := newParts(t)
	k := p.console(t)
	base, stop := context.WithCancel(context.Background())
	server := httptest.NewUnstartedServer(k)
	server.Config.BaseContext = func(net.Listener) context.Context { return base }
	server.Start()
	defer server.Close()
	gone, open := openPage(t, server.URL), openPage(t, server.URL)
	watch.Until(t, "two streams", func() bool { return k.hub.size() == 2 })
	_ = gone.close()
	watch.Until(t, "one stream after its page is closed", func() bool { return k.hub.size() == 1 })
	stop() // what the server does when it stops
	if !open.ended() {
		t.Error("the stream goes on")
	}
	watch.Until(t, "no stream after the server's stop", func() bool { return k.hub.size() == 0 })
}

func TestCloseEndsStreams(t *testing.T) {
	p := newParts(t)
	k := p.console(t)
	server := serve(t, k)
	page := openPage(t, server.URL)
	if err := k.Close(); err != nil || !page.ended() || p.broker.watched() != 0 {
		t.Errorf("after Close: %v, %d watchers", err, p.broker.watched())
	}
	if again := openPage(t, server.URL); again.status != http.StatusServiceUnavailable {
		t.Errorf("a closed console answers %d", again.status)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	k := newParts(t).console(t)
	server := serve(t, k)
	for i := range maxStreams {
		if page := openPage(t, server.URL); page.status != http.StatusOK {
			t.Fatalf("stream %d: %d", i, page.status)
		}
	}
	watch.Until(t, "all streams", func() bool { return k.hub.size() == maxStreams })
	if page := openPage(t, server.URL); page.status != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: %d", page.status)
	}
}

func TestASlowPageIsCutOff(t *testing.T) {
	h := newHub()
	slow, quick := h.join(), h.join()
	for i := range streamBuffer + 1 {
		h.send(fmt.Appendf(nil, "event %d", i))
		if got := string(<-quick); got != fmt.Sprint("event ", i) {
			t.Fatalf("the quick page gets %q", got)
		}
	}
	n := 0
	for range slow { // ends only when the channel is closed
		n++
	}
	if n != streamBuffer || h.size() != 1 {
		t.Errorf("the slow page got %d events, %d streams are left", n, h.size())
	}
	h.leave(slow) // as its handler does in the end
	h.close()
	h.leave(quick)
}

// deadlines is a writer that fails when the time for a write is over, like a
// connection whose page does not read.
type deadlines struct {
	httptest.ResponseRecorder
	at time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error { d.at = at; return nil }

func (d *deadlines) Write([]byte) (int, error) {
	time.Sleep(time.Until(d.at))
	return 0, context.DeadlineExceeded
}

func TestAStuckPageIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		stream(t.Context(), &deadlines{}, make(chan []byte), []byte("x"))
		if took := time.Since(begin); took != writeWithin {
			t.Errorf("the stream ended after %s, want %s", took, writeWithin)
		}
	})
}

// A flood on one topic costs a bounded amount of work and does not hide the
// other boards.
func TestAFloodIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &Console{boards: newBoards(), hub: newHub()}
		k.ctx, k.stop = context.WithCancel(t.Context())
		messages := make(chan *message.Message, 20_000)
		k.done.Go(func() { k.run(messages, nil) })
		defer k.Close()
		for i := range 5000 {
			messages <- &message.Message{Topic: "flood", Payload: fmt.Appendf(nil, `{"id":"flood","n":%d}`, i), Time: time.Now()}
		}
		for i := range 40 {
			messages <- &message.Message{Topic: fmt.Sprint("other/", i), Payload: fmt.Appendf(nil, `{"id":"b%d"}`, i), Time: time.Now()}
		}
		synctest.Wait()
		list := k.boards.states(time.Now())
		if len(list) != 41 || list[len(list)-1].ID != "flood" || list[len(list)-1].Count != topicBudget {
			t.Fatalf("%d boards, the last %+v", len(list), list[len(list)-1])
		}
		for i := range 3 * tickBudget {
			messages <- &message.Message{Topic: fmt.Sprint("t/", i), Payload: []byte(`{"id":"many"}`), Time: time.Now()}
		}
		synctest.Wait()
		if left := len(messages); left < 2*tickBudget || left > 2*tickBudget+400 {
			t.Errorf("%d messages wait for the next tick", left)
		}
		time.Sleep(4 * tick)
		synctest.Wait()
		if len(messages) != 0 {
			t.Errorf("%d messages were never looked at", len(messages))
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &Console{boards: newBoards(), hub: newHub()}
		k.ctx, k.stop = context.WithCancel(t.Context())
		k.done.Go(func() { k.run(nil, nil) })
		defer k.Close()
		ch := k.hub.join()
		defer k.hub.leave(ch)
		counters, comments := 0, 0
		for range heartbeat/slowTicks + 1 {
			if e := string(<-ch); strings.HasPrefix(e, ":") {
				comments++
			} else if strings.HasPrefix(e, "event: counters\n") && strings.HasSuffix(e, "}\n\n") {
				counters++
			}
		}
		if comments != 1 || counters != heartbeat/slowTicks {
			t.Errorf("%d comments and %d counters", comments, counters)
		}
	})
}
