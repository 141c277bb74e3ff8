package mqtt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mote/internal/mqtt"
	"mote/internal/mqtt/client"
	"mote/internal/mqtt/mqtttest"
	"mote/internal/watch"
)

func TestLevelsOfTheTopicMakeNames(t *testing.T) {
	for _, c := range []struct{ template, filter, topic, want string }{
		{"{topic:2}", "home/+/+", "home/kitchen/temp", "kitchen"},
		{"{topic:3}.{topic:4}", "homie/+/+/+", "homie/dev/air/temp", "air.temp"},
		{"{topic:1}-x", "+/sensor/+/state", "node/sensor/t/state", "node-x"},
		{"temp", "#", "a", "temp"},
		{"", "#", "a", ""},
		{"{topic:3}", "#", "a/b", ""},
		{"x{topic:3}", "a/#", "a/b/c/d", "xc"},
		{"{topic:2}", "+/+", "a/", ""},
		{"{topic:4}", "a/+/+", "", "error: the topic \"a/+/+\" has no level 4: its levels count from 1"},
		{"{topic:0}", "#", "", `error: "{topic:0}": a level of the topic is written {topic:2}, they count from 1`},
		{"{topic:x}", "#", "", `error: "{topic:x}": a level of the topic is written {topic:2}, they count from 1`},
		{"{topic:1", "#", "", `error: "{topic:1": a level of the topic is written {topic:2}, they count from 1`},
	} {
		n, err := newName(c.template, c.filter)
		got := n.of(c.topic)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.template, c.topic, got, c.want)
		}
	}
}

// TestValuesHaveTheNamesOfTheirTopics: a Homie board's attributes and what the
// broker retained are passed over, also by their acknowledgement.
func TestValuesHaveTheNamesOfTheirTopics(t *testing.T) {
	m := mqtttest.Start(t, nil)
	board := publisher(t, m.Addr)
	publish(t, board, "homie/dev/air/temp", "20", true)
	c := dial(t, Options{Address: m.Addr, Filter: "homie/+/+/+", Board: "{topic:2}", Value: "{topic:3}.{topic:4}", ClientID: "gateway"})
	for _, p := range []struct{ topic, text string }{
		{"homie/dev/air/$name", "Air"}, {"homie/dev/$stats/uptime", "7"}, {"homie/dev/air/temp", "21.5"}, {"homie/dev/air/$unit", "%"}, {"homie/other/soil/moisture", "nan"},
	} {
		publish(t, board, p.topic, p.text, true)
	}
	var got []string
	for len(got) < 2 {
		ctx, cancel := context.WithTimeout(t.Context(), watch.Patience)
		messages, err := c.Messages(ctx)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			got = append(got, m.Board+" "+m.Name+" "+string(m.Data))
		}
	}
	if want := []string{"dev air.temp 21.5", "other soil.moisture nan"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// hear has a board follow a topic.
func hear(t *testing.T, addr, filter string) <-chan string {
	t.Helper()
	heard := make(chan string, 100)
	c, err := client.Dial(t.Context(), client.Options{Addr: addr, ClientID: "ears", CleanStart: true, OnMessage: func(p *mqtt.Publish) {
		text := p.Topic + " " + string(p.Payload)
		if p.Retain {
			text += " retained"
		}
		heard <- text
	}})
	if err == nil {
		t.Cleanup(func() { c.Close() })
		_, err = c.Subscribe(t.Context(), mqtt.Subscription{Filter: filter, QoS: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	return heard
}

func listen(t *testing.T, heard <-chan string) string {
	t.Helper()
	select {
	case text := <-heard:
		return text
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is heard")
		return ""
	}
}

func tell(t *testing.T, c *Conn, board string, rate time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), watch.Patience)
	defer cancel()
	return c.Tell(ctx, board, rate)
}

func TestBoardsAreToldOnTheirTopics(t *testing.T) {
	for _, version := range []byte{mqtt.V5, mqtt.V311} {
		m := mqtttest.Start(t, nil)
		c := dial(t, Options{Address: m.Addr, Filter: "sensors/+/air", Board: "{topic:2}", ClientID: "gateway", Version: version, Command: "boards/{id}/set"})
		heard := hear(t, m.Addr, "boards/#")
		for board, want := range map[string]string{"roof": "boards/roof/set {rate:10}", "a:b_c-1": "boards/a:b_c-1/set {rate:10}"} {
			if err := tell(t, c, board, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			if got := listen(t, heard); got != want {
				t.Errorf("version %d: heard %q, want %q", version, got, want)
			}
		}
		for _, board := range []string{"a/b", "+", "#", "a+", "", "\xff", "a\x00"} {
			if err := tell(t, c, board, time.Second); err == nil {
				t.Errorf("version %d: %q became part of a topic", version, board)
			}
		}
		c.Close()
		if err := tell(t, c, "roof", time.Second); err == nil {
			t.Error("a connection that ended takes a command")
		}
		late := hear(t, m.Addr, "boards/#")
		publish(t, publisher(t, m.Addr), "boards/x", "last", false)
		if got := listen(t, late); got != "boards/x last" {
			t.Errorf("the broker kept %q", got)
		}
	}
}

func TestCommandsByTemplateAreRetainedWhenAsked(t *testing.T) {
	m := mqtttest.Start(t, nil)
	c := dial(t, Options{Address: m.Addr, Filter: "+/sensor/+/state", ClientID: "gateway", Command: "{id}/number/rate/command", Payload: `{"every":{rate},"s":"{rate}"}`, Retain: true})
	if err := tell(t, c, "roof", 1500*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got, want := listen(t, hear(t, m.Addr, "roof/#")), `roof/number/rate/command {"every":1.5,"s":"1.5"} retained`; got != want {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// TestCommandsThatCannotBe: without a topic, and where the broker forbids it.
func TestCommandsThatCannotBe(t *testing.T) {
	acl := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(acl, []byte("topic read #\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m := mqtttest.Start(t, nil, "acl_file "+acl)
	silent := dial(t, Options{Address: m.Addr, Filter: "a", ClientID: "silent"})
	if err := tell(t, silent, "roof", time.Second); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "set command") {
		t.Errorf("%v", err)
	}
	barred := dial(t, Options{Address: m.Addr, Filter: "a", ClientID: "barred", Command: "boards/{id}/set"})
	var no *client.PubackError
	if err := tell(t, barred, "roof", time.Second); !errors.As(err, &no) || !strings.Contains(err.Error(), "boards/roof/set") {
		t.Errorf("%v", err)
	}
}

func FuzzCommandTopic(f *testing.F) {
	for _, seed := range []string{"roof", "a/b", "+", "#", "", "\xff", "a\x00", "{id}", "$x", "air"} {
		f.Add(seed, "boards/{id}/set")
		f.Add(seed, "{id}")
	}
	f.Fuzz(func(t *testing.T, board, command string) {
		o := Options{Filter: "sensors/+/air", Command: command}
		if o.checkCommand() != nil {
			return
		}
		topic, err := o.commandTopic(board)
		if err != nil || command == "" {
			return
		}
		if mqtt.ValidTopic(topic) != nil || !utf8.ValidString(topic) || mqtt.Match(o.Filter, topic) || strings.Count(topic, "/") != strings.Count(command, "/") {
			t.Errorf("%q with %q becomes %q", command, board, topic)
		}
	})
}
