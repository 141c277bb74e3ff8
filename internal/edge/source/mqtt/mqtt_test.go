package mqtt

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/edge/spool"
	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

// The gateway's part of the test in a process of its own, which is killed.
const (
	envBroker = "MOTE_TEST_BROKER"
	envSpool  = "MOTE_TEST_SPOOL"
)

func TestMain(m *testing.M) {
	if broker := os.Getenv(envBroker); broker != "" {
		if err := follow(broker, os.Getenv(envSpool)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// follow puts messages into a spool as the gateway does: durable first, then
// the next ones.
func follow(broker, dir string) error {
	s, err := spool.Open(dir, spool.Options{Readers: []string{"test"}})
	if err != nil {
		return err
	}
	source, err := New(Options{Address: broker, Filter: "sensors/+/air", Board: "{topic:2}", ClientID: "gateway"})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for {
		conn, err := source.Dial(ctx)
		if err != nil {
			return err
		}
		for {
			messages, err := conn.(*Conn).Messages(ctx)
			if err != nil {
				return err
			}
			for _, m := range messages {
				time.Sleep(time.Millisecond) // so that kills fall between receiving and appending
				if _, err := s.Append(ctx, m.Data); err != nil {
					return err
				}
			}
		}
	}
}

func publisher(t *testing.T, addr string) *client.Conn {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Options{Addr: addr, ClientID: "board", CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func publish(t *testing.T, c *client.Conn, topic, text string, retain bool) {
	t.Helper()
	done := make(chan error, 1)
	err := c.Publish(t.Context(), &mqtt.Publish{Topic: topic, Payload: []byte(text), QoS: 1, Retain: retain}, func(err error) { done <- err })
	if err == nil {
		err = <-done
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAKillBetweenReceivingAndAppendingLosesNothing kills the gateway again and
// again while boards publish, and looks for every message in its spool.
func TestAKillBetweenReceivingAndAppendingLosesNothing(t *testing.T) {
	m, dir := mqtttest.Start(t, nil), t.TempDir()
	run := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envBroker+"="+m.Addr, envSpool+"="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	gateway := run()
	watch.Until(t, "the gateway has subscribed", func() bool { return strings.Contains(m.Log(), "Sending SUBACK to gateway") })
	board := publisher(t, m.Addr)
	const count = 600
	for n := range count {
		publish(t, board, "sensors/roof/air", fmt.Sprintf(`{"n":%d}`, n), false)
		if n%150 == 149 {
			gateway.Process.Kill()
			gateway.Wait()
			gateway = run()
		}
	}
	var got map[int]int
	for life := 200 * time.Millisecond; ; life *= 2 { // a slow machine needs a long one to begin at all
		time.Sleep(life)
		gateway.Process.Kill()
		gateway.Wait()
		if got = spooled(t, dir); len(got) == count || life > time.Minute {
			break
		}
		gateway = run()
	}
	for n := range count {
		if got[n] == 0 {
			t.Errorf("message %d is lost", n)
		}
	}
}

// spooled counts the messages in a spool.
func spooled(t *testing.T, dir string) map[int]int {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{Readers: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := map[int]int{}
	for {
		records, err := s.Reader("test").Poll(nil, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			return got
		}
		for _, r := range records {
			var m struct{ N int }
			if err := json.Unmarshal(r.Data, &m); err != nil {
				t.Fatal(err)
			}
			got[m.N]++
		}
	}
}

func dial(t *testing.T, o Options) *Conn {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

func next(t *testing.T, c *Conn) (out []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watch.Patience)
	defer cancel()
	messages, err := c.Messages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		out = append(out, m.Board+" "+string(m.Data))
	}
	return out
}

// TestOnlyWhatIsTakenIsAcknowledged: what was returned but not followed by
// another call comes again, also what came while nobody was there; what was
// followed by one does not.
func TestOnlyWhatIsTakenIsAcknowledged(t *testing.T) {
	for _, version := range []byte{mqtt.V5, mqtt.V311} {
		t.Run(fmt.Sprint("level ", version), func(t *testing.T) {
			m := mqtttest.Start(t, nil)
			o := Options{Address: m.Addr, Filter: "sensors/+/air", Board: "{topic:2}", ClientID: "gateway", Version: version}
			board := publisher(t, m.Addr)
			publish(t, board, "sensors/old/air", "retained", true)
			c := dial(t, o)
			publish(t, board, "sensors/1/air", "a", false)
			if got := next(t, c); !slices.Equal(got, []string{"1 a"}) {
				t.Fatalf("%q", got)
			}
			publish(t, board, "sensors/2/air", "b", false)
			if got := next(t, c); !slices.Equal(got, []string{"2 b"}) { // a is acknowledged by this
				t.Fatalf("%q", got)
			}
			c.Close()
			publish(t, board, "sensors/3/air", "c", false)
			publish(t, board, "other/3/air", "x", false)
			c = dial(t, o)
			var got []string
			for len(got) < 2 {
				got = append(got, next(t, c)...)
			}
			if !slices.Equal(got, []string{"2 b", "3 c"}) {
				t.Errorf("%q", got)
			}
		})
	}
}

func TestMessagesEndWithTheConnection(t *testing.T) {
	m := mqtttest.Start(t, nil)
	c := dial(t, Options{Address: m.Addr, Filter: "#", ClientID: "gateway"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Messages(ctx); err != context.DeadlineExceeded {
		t.Errorf("%v", err)
	}
	m.Kill()
	if _, err := c.Messages(t.Context()); err == nil || !strings.Contains(err.Error(), "mqtt broker "+m.Addr) {
		t.Errorf("%v", err)
	}
	if _, err := c.source.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot reach") {
		t.Errorf("%v", err)
	}
}

// TestAFloodWaitsAtTheBroker: what nobody takes is not gathered in memory, and
// Close does not wait for it.
func TestAFloodWaitsAtTheBroker(t *testing.T) {
	m := mqtttest.Start(t, nil)
	c := dial(t, Options{Address: m.Addr, Filter: "#", ClientID: "gateway"})
	board := publisher(t, m.Addr)
	for n := range 5 * waiting {
		if err := board.Publish(t.Context(), &mqtt.Publish{Topic: "t", Payload: []byte{'x', byte(n)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, board, "t", "last", false)
	if got := next(t, c); len(got) == 0 || len(got) > 2*waiting {
		t.Errorf("%d messages at once", len(got))
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case <-closed:
	case <-time.After(watch.Patience):
		t.Error("closing waits for what nobody takes")
	}
}

func TestNewRefuses(t *testing.T) {
	good := Options{Address: "localhost:1883", Filter: "sensors/+/air", ClientID: "g"}
	for want, change := range map[string]func(*Options){
		"bad mqtt address":       func(o *Options) { o.Address = "localhost" },
		"needs a topic":          func(o *Options) { o.Filter = "" },
		`topic "a#"`:             func(o *Options) { o.Filter = "a#" },
		"client id":              func(o *Options) { o.ClientID = "" },
		"id: the topic":          func(o *Options) { o.Board = "{topic:5}" },
		"value: the topic":       func(o *Options) { o.Value = "{topic:5}" },
		"contains a wildcard":    func(o *Options) { o.Command = "boards/+/{id}" },
		"nothing else stands in": func(o *Options) { o.Command = "boards/{ID}" },
		"is for the broker":      func(o *Options) { o.Command = "$SYS/{id}" },
		"come back as messages":  func(o *Options) { o.Command = "sensors/{id}/air" },
		"one of them be another": func(o *Options) { o.Command = "sensors/air/air" },
		"has no level 4":         func(o *Options) { o.Board = "{topic:4}" },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if s, err := New(good); err != nil || s.Name() != "localhost:1883 sensors/+/air" {
		t.Errorf("%v", err)
	}
}
