package cloud

import (
	"errors"
	"strings"
	"testing"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// prefixed serves the topics with a prefix.
type prefixed string

func (p prefixed) Serves(topic string) bool { return strings.HasPrefix(topic, string(p)) }

func (p prefixed) CheckTopic(topic string, _ bool) error {
	if topic == string(p)+"in" {
		return nil
	}
	return errors.New(string(p) + " has no such topic")
}

func (p prefixed) CheckFilter(filter string) error {
	if filter == "$aws/#" || p.Serves(filter) && strings.HasSuffix(filter, "out") {
		return nil
	}
	return errors.New(string(p) + " has no such filter")
}

func (p prefixed) Hold(*store.Batch, string, bool) bool { return false }

func (p prefixed) Apply(_ *store.Batch, m *message.Message) ([]*message.Message, error) {
	return []*message.Message{{Topic: string(p) + "out"}}, nil
}

func TestReservedAsksThePartThatServes(t *testing.T) {
	r := reserved{prefixed("$aws/a/"), prefixed("$aws/b/")}
	for topic, want := range map[string]string{
		"$aws/a/in":  "",
		"$aws/b/in":  "",
		"$aws/b/out": "$aws/b/ has no such topic",
		"$aws/c/in":  `nothing is served on "$aws/c/in"`,
	} {
		expect(t, topic, r.CheckTopic(topic, true), want)
	}
	for filter, want := range map[string]string{
		"$aws/b/out": "",
		"$aws/#":     "",
		"$aws/b/no":  "$aws/b/ has no such filter",
		"$aws/c/out": `nothing is served on "$aws/c/out"`,
	} {
		expect(t, filter, r.CheckFilter(filter), want)
	}
	if r.Hold(nil, "$aws/b/in", false) || !r.Hold(nil, "$aws/c/in", false) {
		t.Error("Hold must be asked of the part that serves the topic, and of no other")
	}
	if out, _ := r.Apply(nil, &message.Message{Topic: "$aws/b/in"}); len(out) != 1 || out[0].Topic != "$aws/b/out" {
		t.Errorf("Apply: %v", out)
	}
	if out, _ := r.Apply(nil, &message.Message{Topic: "$aws/c/in"}); out != nil {
		t.Errorf("Apply of a topic that nobody serves: %v", out)
	}
}

func expect(t *testing.T, what string, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}
