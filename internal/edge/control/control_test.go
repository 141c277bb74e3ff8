package control

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

// rig is a control on a connection to mosquitto, and a client beside it that
// plays the shadow service and keeps what it is sent.
type rig struct {
	t       *testing.T
	certs   *mqtttest.Certs
	server  *mqtttest.Mosquitto
	control *Control
	service *client.Conn
	log     watch.Log

	mu   sync.Mutex
	told []string // guarded by mu; commands
	sent []string // guarded by mu; what the gateway published, "topic payload"
}

func newRig(t *testing.T, o Options, lines ...string) *rig {
	t.Helper()
	certs := mqtttest.NewCerts(t)
	r := &rig{t: t, certs: certs, server: mqtttest.Start(t, certs, lines...)}
	o.Log = r.log.Logger()
	o.Command = func(board string, rate time.Duration) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, fmt.Sprint(board, " ", rate))
		return true
	}
	var err error
	if r.control, err = New(o); err != nil {
		t.Fatal(err)
	}
	r.service = r.dial("service", func(p *mqtt.Publish) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent = append(r.sent, strings.TrimPrefix(p.Topic, topicPrefix)+" "+string(p.Payload))
	})
	for _, what := range []string{getTopic, updateTopic} {
		if _, err := r.service.Subscribe(t.Context(), mqtt.Subscription{Filter: topic("+", what), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *rig) dial(id string, each func(*mqtt.Publish)) *client.Conn {
	r.t.Helper()
	c, err := client.Dial(r.t.Context(), client.Options{
		Addr: r.server.Addr, ClientID: id, CleanStart: true, OnMessage: each,
		TLS: &tls.Config{RootCAs: r.certs.CA, Certificates: []tls.Certificate{r.certs.Client}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// attend lets the control use a connection until leave.
func (r *rig) attend() (leave func()) {
	conn := r.dial("gateway", r.control.Handle)
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.control.Attend(ctx, conn)
	}()
	go func() { // as the uplink does; ends with the connection, which leave closes
		<-conn.Done()
		cancel()
	}()
	leave = sync.OnceFunc(func() {
		conn.Close()
		cancel()
		<-done
	})
	r.t.Cleanup(leave)
	return leave
}

// answer publishes as the shadow service.
func (r *rig) answer(thing, what, payload string) {
	r.t.Helper()
	if err := r.service.Publish(r.t.Context(), &mqtt.Publish{Topic: topic(thing, what), Payload: []byte(payload), QoS: 1}, nil); err != nil {
		r.t.Fatal(err)
	}
}

// await waits for a line of what was sent or told.
func (r *rig) await(list *[]string, want string) {
	r.t.Helper()
	if !watch.Soon(func() bool { return r.count(list, want) > 0 }) {
		r.t.Fatalf("want %q, got %q; log:\n%s", want, *list, &r.log)
	}
}

func (r *rig) count(list *[]string, want string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range *list {
		if s == want {
			n++
		}
	}
	return n
}

func TestADeltaBecomesACommandAndAReport(t *testing.T) {
	r := newRig(t, Options{Thing: "board-{id}"})
	r.attend()
	r.control.Seen("1", 7*time.Second)
	r.await(&r.sent, "board-1/shadow/get ")
	r.await(&r.sent, `board-1/shadow/update {"state":{"reported":{"rate":7}}}`)
	r.answer("board-1", deltaTopic, `{"version":3,"state":{"rate":10}}`)
	r.await(&r.told, "1 10s")
	r.answer("board-1", deltaTopic, `{"version":2,"state":{"rate":5}}`) // overtaken
	r.answer("board-1", deltaTopic, `{"version":4,"state":{"rate":0.5}}`)
	r.await(&r.told, "1 500ms")
	r.control.Seen("1", 500*time.Millisecond)
	r.await(&r.sent, `board-1/shadow/update {"state":{"reported":{"rate":0.5}}}`)
	r.answer("board-1", deltaTopic, `{"version":6,"state":{"rate":0.5}}`) // the report crossed it
	r.answer("board-1", deltaTopic, `{"version":7,"state":{"rate":8}}`)
	r.await(&r.told, "1 8s")
	if got := strings.Join(r.told, ", "); got != "1 10s, 1 500ms, 1 8s" {
		t.Errorf("told %s", got)
	}
}

// TestAWishIsAskedAboutBeforeItIsRepeated: what was wished while the gateway was
// away is found, and a withdrawn wish is not carried out.
func TestAWishIsAskedAboutBeforeItIsRepeated(t *testing.T) {
	r := newRig(t, Options{})
	leave := r.attend()
	r.control.Seen("1", 7*time.Second)
	r.await(&r.sent, "1/shadow/get ")
	r.answer("1", gotTopic, `{"version":3,"state":{"desired":{"rate":10},"reported":{"rate":7},"delta":{"rate":10}}}`)
	r.await(&r.told, "1 10s")
	r.control.mu.Lock()
	b := r.control.boards["1"]
	b.asked = b.asked.Add(-b.patience)
	r.control.mu.Unlock()
	r.control.Seen("1", 7*time.Second) // it did not obey
	watch.Until(t, "the shadow is asked again", func() bool { return r.count(&r.sent, "1/shadow/get ") == 2 })
	r.answer("1", gotTopic, `{"version":4,"state":{"reported":{"rate":7}}}`) // withdrawn
	r.answer("1", deltaTopic, `{"version":5,"state":{"rate":11}}`)
	r.await(&r.told, "1 11s")
	if n := r.count(&r.told, "1 10s"); n != 1 {
		t.Errorf("the withdrawn wish was told %d times", n)
	}
	leave()
	r.attend()
	r.answer("1", gotTopic, `{"version":1,"state":{"delta":{"rate":12}}}`) // the shadow began anew
	watch.Until(t, "the new connection asks", func() bool { return r.count(&r.sent, "1/shadow/get ") == 3 })
	r.answer("1", gotTopic, `{"version":1,"state":{"delta":{"rate":12}}}`)
	r.await(&r.told, "1 12s")
}

func TestManyBoardsShareTwoSubscriptions(t *testing.T) {
	const boards = 60
	r := newRig(t, Options{}, "log_type all")
	r.attend()
	for i := range boards {
		r.control.Seen(fmt.Sprint(i), time.Second)
	}
	for i := range boards {
		r.await(&r.sent, fmt.Sprintf("%d/shadow/get ", i))
		r.answer(fmt.Sprint(i), deltaTopic, `{"version":1,"state":{"rate":9}}`)
	}
	for i := range boards {
		r.await(&r.told, fmt.Sprintf("%d 9s", i))
	}
	r.answer("stranger", deltaTopic, `{"version":1,"state":{"rate":9}}`)
	if n := strings.Count(r.server.Log(), "gateway 1 $aws"); n > 50 {
		t.Errorf("%d subscriptions, AWS IoT Core takes 50", n)
	}
}

// TestADenialLeavesTheConnectionAlone: mosquitto answers a denied publish and
// then closes the connection; the next one must be the readings' alone.
func TestADenialLeavesTheConnectionAlone(t *testing.T) {
	acl := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(acl, []byte("topic readwrite other/#\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, Options{}) // the service is not denied anything
	r.server = mqtttest.Start(t, r.certs, "acl_file "+acl)
	leave := r.attend()
	r.control.Seen("1", time.Second)
	if !watch.Soon(func() bool { return r.log.Count("cannot be steered") > 0 }) {
		t.Fatalf("nothing was logged:\n%s\n%s", &r.log, r.server.Log())
	}
	leave()
	const asking = "Received SUBSCRIBE"
	watch.Until(t, "the log, which comes by a pipe", func() bool { return strings.Contains(r.server.Log(), asking) })
	asked := strings.Count(r.server.Log(), asking)
	leave = r.attend()
	r.control.Seen("2", time.Second)
	time.Sleep(100 * time.Millisecond)
	leave()
	if n := strings.Count(r.server.Log(), asking); n != asked || r.log.Count("cannot be steered") != 1 {
		t.Errorf("the shadows were asked about %d times more, log:\n%s", n-asked, &r.log)
	}
}

// TestAServerThatHangsUpIsNotAskedAgain: AWS IoT Core closes the connection of
// version 3.1.1 for what a policy does not allow; the next one must be the
// readings' alone.
func TestAServerThatHangsUpIsNotAskedAgain(t *testing.T) {
	c, err := New(Options{Command: func(string, time.Duration) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	a := &attendance{Control: c}
	a.unanswered.Add(1)
	a.ended(fmt.Errorf("read: %w", client.ErrServerClosed))
	if wait := a.leftAlone(); wait <= 0 {
		t.Error("the shadows are asked again at once")
	}
	c.denied = time.Time{}
	a.unanswered.Add(-1)
	a.ended(fmt.Errorf("read: %w", client.ErrServerClosed))
	if wait := a.leftAlone(); wait > 0 {
		t.Error("a connection that broke with nothing open says nothing about shadows")
	}
}

func TestWishesAreRead(t *testing.T) {
	for _, c := range []struct {
		what, payload string
		want          wish
		bad           bool
	}{
		{deltaTopic, `{"version":7,"timestamp":1,"state":{"rate":10},"metadata":{}}`, wish{rate: 10 * time.Second, version: 7}, false},
		{deltaTopic, `{"version":7,"state":{"rate":0.25}}`, wish{rate: 250 * time.Millisecond, version: 7}, false},
		{deltaTopic, `{"state":{"rate":"10"}}`, wish{refused: `rate "10" is no number of seconds`}, false},
		{deltaTopic, `{"state":{"rate":0}}`, wish{refused: "rate 0 is out of range: want 0.001 to 604800 seconds"}, false},
		{deltaTopic, `{"state":{"rate":-1}}`, wish{refused: "rate -1 is out of range: want 0.001 to 604800 seconds"}, false},
		{deltaTopic, `{"state":{"color":"red"}}`, wish{refused: `"color" is no setting of a board: it has rate`}, false},
		{deltaTopic, `{"state":{"rate":null}}`, wish{refused: "rate null is out of range: want 0.001 to 604800 seconds"}, false},
		{deltaTopic, `{}`, wish{}, false},
		{deltaTopic, `[]`, wish{}, true},
		{deltaTopic, ``, wish{}, true},
		{deltaTopic, `{"state":5}`, wish{}, true},
		{gotTopic, `{"version":9,"state":{"desired":{"rate":5},"delta":{"rate":5}}}`, wish{rate: 5 * time.Second, version: 9}, false},
		{gotTopic, `{"version":9,"state":{"desired":{"rate":5},"reported":{"rate":5}}}`, wish{version: 9}, false},
		{gotTopic, `{"version":9}`, wish{version: 9}, true},
	} {
		got, err := readWish(c.what, []byte(c.payload))
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%s %s: %+v, %v", c.what, c.payload, got, err)
		}
	}
}

func FuzzReadWish(f *testing.F) {
	f.Add([]byte(`{"version":7,"state":{"rate":10}}`), true)
	f.Add([]byte(`{"version":9,"state":{"desired":{"rate":5},"delta":{"rate":5}}}`), false)
	f.Fuzz(func(t *testing.T, payload []byte, delta bool) {
		what := gotTopic
		if delta {
			what = deltaTopic
		}
		w, err := readWish(what, payload)
		if err == nil && w.rate != 0 && (w.rate < leastRate || w.rate > mostRate) {
			t.Errorf("rate %v", w.rate)
		}
		if w.rate != 0 && !json.Valid(report(w.rate)) {
			t.Errorf("report %s", report(w.rate))
		}
	})
}

func TestNamesOfThingsAreChecked(t *testing.T) {
	for _, thing := range []string{"x", "a b{id}", "{id}/x", "{name}"} {
		if _, err := New(Options{Thing: thing}); err == nil {
			t.Errorf("thing %q is taken", thing)
		}
	}
	r := newRig(t, Options{})
	r.attend()
	r.control.Seen("a/b", time.Second)
	r.control.Seen("a/b", time.Second)
	r.control.Seen("1", time.Second)
	r.await(&r.sent, "1/shadow/get ")
	if r.log.Count("cannot be part of a thing's name") != 1 || len(r.control.things) != 1 {
		t.Errorf("things %v, log:\n%s", r.control.things, &r.log)
	}
}
