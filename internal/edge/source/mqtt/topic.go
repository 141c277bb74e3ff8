package mqtt

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"mote/internal/edge/frame"
	"mote/internal/mqtt"
)

// levelMark stands in a template of a name for a level of the topic.
var levelMark = regexp.MustCompile(`\{topic:([1-9][0-9]?)\}`)

// name is a template of a name, such as {topic:3}.{topic:4}.
type name []part

// part is a level of the topic, from 1, or with level 0 text.
type part struct {
	level int
	text  string
}

// newName reads a template; filter is what the topics match.
func newName(template, filter string) (n name, err error) {
	if strings.ContainsAny(levelMark.ReplaceAllString(template, ""), "{}") {
		return nil, fmt.Errorf("%.80q: a level of the topic is written {topic:2}, they count from 1", template)
	}
	levels, at := strings.Split(filter, "/"), 0
	for _, m := range levelMark.FindAllStringSubmatchIndex(template, -1) {
		level, _ := strconv.Atoi(template[m[2]:m[3]])
		if level > len(levels) && levels[len(levels)-1] != "#" {
			return nil, fmt.Errorf("the topic %q has no level %d: its levels count from 1", filter, level)
		}
		n = append(n, part{text: template[at:m[0]]}, part{level: level})
		at = m[1]
	}
	return append(n, part{text: template[at:]}), nil
}

// of returns the name by a topic, "" for one that has too few levels.
func (n name) of(topic string) string {
	var b strings.Builder
	for _, p := range n {
		text := p.text
		if p.level > 0 {
			var ok bool
			if text, ok = level(topic, p.level); !ok {
				return ""
			}
		}
		b.WriteString(text)
	}
	return b.String()
}

// level returns the nth level of a topic, from 1, if it has so many.
func level(topic string, n int) (text string, ok bool) {
	for ; n > 1; n-- {
		if _, topic, ok = strings.Cut(topic, "/"); !ok {
			return "", false
		}
	}
	text, _, _ = strings.Cut(topic, "/")
	return text, true
}

// attribute says that a topic is not of a value, but of what describes a board or
// a value: such levels begin with $ (Homie convention, "Topology").
func attribute(topic string) bool { return strings.Contains(topic, "/$") }

// boardMark stands in the topic of commands for the board's id.
const boardMark = "{id}"

// checkCommand checks what commands are made of.
func (o *Options) checkCommand() error {
	switch {
	case o.Command == "":
		return nil
	case strings.ContainsAny(strings.ReplaceAll(o.Command, boardMark, ""), "{}"):
		return fmt.Errorf("the topic of commands %.80q: the board's id is written %s, nothing else stands in braces", o.Command, boardMark)
	case strings.HasPrefix(o.Command, "$"):
		return fmt.Errorf("the topic of commands %.80q begins with $, which is for the broker", o.Command)
	}
	_, err := o.commandTopic("x")
	return err
}

// commandTopic returns where commands for a board go: never to another board, and
// not to where the source itself reads.
func (o *Options) commandTopic(board string) (string, error) {
	if board == "" || strings.ContainsAny(board, "/+#") {
		return "", fmt.Errorf("the board's id %.80q cannot be part of a topic", board)
	}
	topic := strings.ReplaceAll(o.Command, boardMark, board)
	if err := mqtt.ValidTopic(topic); err != nil {
		return "", fmt.Errorf("the topic of commands %.80q: %w", o.Command, err)
	}
	if mqtt.Match(o.Filter, topic) {
		return "", fmt.Errorf("commands on %.80q would come back as messages of boards, since the topic %q takes them in: let one of them be another", topic, o.Filter)
	}
	return topic, nil
}

// command makes the message that tells a board its rate.
func (o *Options) command(board string, rate time.Duration) (*mqtt.Publish, error) {
	topic, err := o.commandTopic(board)
	if err != nil {
		return nil, err
	}
	return &mqtt.Publish{Topic: topic, Payload: frame.RateCommand(o.Payload, rate), QoS: 1, Retain: o.Retain}, nil
}
