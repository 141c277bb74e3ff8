package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
)

// hub sends events to the open pages.
type hub struct {
	mu      sync.Mutex
	streams map[chan []byte]struct{} // guarded by mu; a closed channel ends its stream
	closed  bool                     // guarded by mu
}

func newHub() *hub { return &hub{streams: map[chan []byte]struct{}{}} }

// join opens a stream, nil when there are too many.
func (h *hub) join() chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.streams) >= maxStreams {
		return nil
	}
	ch := make(chan []byte, streamBuffer)
	h.streams[ch] = struct{}{}
	return ch
}

func (h *hub) leave(ch chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.streams, ch)
}

func (h *hub) size() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams)
}

// send gives an event to all streams. One that does not keep up is ended: its
// page connects again and gets the whole state.
func (h *hub) send(event []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.streams {
		select {
		case ch <- event:
		default:
			h.end(ch)
		}
	}
}

// end is called with mu held.
func (h *hub) end(ch chan []byte) {
	delete(h.streams, ch)
	close(ch)
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for ch := range h.streams {
		h.end(ch)
	}
}

// event is one server-sent event (WHATWG HTML, "Server-sent events"). JSON has
// no line breaks, so one data line holds it.
func event(name string, v any) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\ndata: ", name)
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		panic("console: event " + name + ": " + err.Error()) // our own structs, of finite numbers
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// comment keeps a silent connection open and tells either side that it is.
var comment = []byte(": still here\n\n")

// news is what a tick tells of the boards.
type news struct {
	Now    int64    `json:"now"` // the server's clock, Unix milliseconds
	Boards []state  `json:"boards"`
	Gone   []string `json:"gone,omitempty"` // ids that are not kept any more
}

// hello is the first event of a stream: the whole state.
type hello struct {
	news
	Counters Counters `json:"counters"`
	Refused  refused  `json:"refused"`
}

func (k *Console) hello() hello {
	now := time.Now()
	return hello{news{now.UnixMilli(), k.boards.states(now), nil}, k.counters(), k.refusals()}
}

// run takes in messages and refusals, and tells the pages, until Close.
func (k *Console) run(messages <-chan *message.Message, refusals <-chan refusal.Refusal) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	spent := newBudget()
	for n := 1; ; {
		inbox := messages
		if spent.all >= tickBudget {
			inbox = nil // looks again after the tick; until then the broker drops what does not fit
		}
		select {
		case <-k.ctx.Done():
			return
		case m := <-inbox:
			k.look(m, spent)
		case r := <-refusals:
			k.hub.send(event("refused", k.afterRefusal(r)))
		case <-ticker.C:
			spent = newBudget()
			k.tick(n)
			n++
		}
	}
}

// afterRefusal is a new refusal and the count.
func (k *Console) afterRefusal(r refusal.Refusal) refused {
	_, total := k.c.Refusals.Recent(0)
	return refused{total, []refusal.Refusal{r}}
}

// budget is how many messages were looked at in a tick. Its parts keep a
// flooded topic from hiding the others.
type budget struct {
	all    int
	topics map[string]int
}

func newBudget() *budget { return &budget{topics: map[string]int{}} }

func (k *Console) look(m *message.Message, spent *budget) {
	if spent.topics[m.Topic] >= topicBudget {
		return
	}
	spent.all++
	spent.topics[m.Topic]++
	if s, ok := sampleOf(m); ok {
		k.boards.add(s, time.Now(), m.Topic)
	}
}

// tick tells the pages what is new; n counts the ticks.
func (k *Console) tick(n int) {
	now := time.Now()
	boards, gone := k.boards.take(now)
	if k.hub.size() == 0 {
		return
	}
	if len(boards)+len(gone) > 0 {
		k.hub.send(event("boards", news{now.UnixMilli(), boards, gone}))
	}
	if n%slowTicks == 0 {
		k.hub.send(event("counters", k.counters()))
	}
	if n%heartbeat == 0 {
		k.hub.send(comment)
	}
}

// serveEvents is the live stream of a page. It ends with the request, with
// Close, and when the page does not keep up.
func (k *Console) serveEvents(w http.ResponseWriter, r *http.Request) {
	ch := k.hub.join()
	if ch == nil {
		w.Header().Set("Retry-After", "10")
		writeError(w, http.StatusServiceUnavailable, fmt.Errorf("too many consoles are open, %d at most: close one", maxStreams))
		return
	}
	defer k.hub.leave(ch)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return
	}
	stream(r.Context(), w, ch, event("hello", k.hello()))
}

// stream writes events to w, each within a time, until the context or ch ends.
func stream(ctx context.Context, w http.ResponseWriter, ch <-chan []byte, next []byte) {
	control := http.NewResponseController(w)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection may serve other requests
	for {
		_ = control.SetWriteDeadline(time.Now().Add(writeWithin)) // a writer without deadlines is a test's
		if _, err := w.Write(next); err != nil || control.Flush() != nil {
			return
		}
		var ok bool
		select {
		case <-ctx.Done():
			return
		case next, ok = <-ch:
			if !ok {
				return
			}
		}
	}
}
