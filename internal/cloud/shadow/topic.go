package shadow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// The topics of shadows (AWS IoT developer guide, "Device Shadow MQTT topics").
const (
	topicPrefix = "$aws/things/"
	classicPart = "/shadow/"
	namedPart   = "/shadow/name/"
)

// operations are the topics that clients publish on.
var operations = []string{"get", "update", "delete"}

// answers are the topics that the service alone publishes on.
var answers = []string{
	"get/accepted", "get/rejected",
	"update/accepted", "update/rejected", "update/documents", "update/delta",
	"delete/accepted", "delete/rejected",
}

// prefix is what the topics of a shadow begin with.
func (n Name) prefix() string {
	if n.Shadow == "" {
		return topicPrefix + n.Thing + classicPart
	}
	return topicPrefix + n.Thing + namedPart + n.Shadow + "/"
}

// missing refuses a request for a shadow that is not there.
func (n Name) missing() *Error {
	name := n.Thing
	if n.Shadow != "" {
		name = n.Shadow
	}
	return &Error{http.StatusNotFound, missingText + name + "'"}
}

const missingText = "No shadow exists with name: '"

// Spoken is the text of a refusal for a client of HTTP, where a named shadow
// that is missing has its thing's name beside its own, as captured from AWS.
func (n Name) Spoken(e *Error) string {
	if n.Shadow != "" && strings.HasPrefix(e.Message, missingText) {
		return missingText + n.Thing + "~" + n.Shadow + "'"
	}
	return e.Message
}

// parseTopic returns the shadow that a topic is about and what follows its
// prefix, such as "update" or "update/accepted".
func parseTopic(topic string) (n Name, rest string, ok bool) {
	topic, ok = strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return n, "", false
	}
	n.Thing, rest, ok = strings.Cut(topic, classicPart)
	if !ok {
		return n, "", false
	}
	if named, is := strings.CutPrefix(rest, "name/"); is {
		if n.Shadow, rest, _ = strings.Cut(named, "/"); n.Shadow == "" {
			return n, "", false
		}
	}
	return n, rest, n.check() == nil
}

// Serves says whether a topic or filter is about a shadow.
func (e *Engine) Serves(topic string) bool {
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	_, rest, more := strings.Cut(rest, "/")
	level, _, _ := strings.Cut(rest, "/")
	return ok && more && level == "shadow"
}

// CheckTopic says why nobody may publish on a topic that begins with $, or nil.
// The answers of shadows are for all who subscribe to them.
func (e *Engine) CheckTopic(topic string, _ bool) error {
	_, rest, ok := parseTopic(topic)
	switch {
	case ok && slices.Contains(operations, rest):
		return nil
	case ok && slices.Contains(answers, rest):
		return fmt.Errorf("only the shadow service publishes on %.300q: publish on …/shadow/get, update or delete", topic)
	case strings.HasPrefix(topic, topicPrefix) && strings.Contains(topic, "/shadow"):
		return fmt.Errorf("%.300q is no topic of a shadow: publish on %s<thing>/shadow[/name/<shadow>]/get, update or delete", topic, topicPrefix)
	}
	return fmt.Errorf("topics that begin with $ are reserved, and nothing is served on %.300q: publish on a topic without $", topic)
}

// CheckFilter says why clients may not subscribe to a filter that begins with
// $, or nil. It may have wildcards below $aws/things/.
func (e *Engine) CheckFilter(filter string) error {
	if strings.HasPrefix(filter, topicPrefix) {
		for _, part := range []string{classicPart, namedPart + "+/"} {
			for _, end := range slices.Concat(operations, answers) {
				if mqtt.OverlapAWS(filter, topicPrefix+"+"+part+end) {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("topics that begin with $ are reserved, and nothing is served on %.300q: subscribe to a topic without $, or to %s<thing>/shadow/…", filter, topicPrefix)
}

// Hold reserves the shadow that messages on topic change for b until b is
// applied or given up. It says no when another batch has it and wait is false;
// b must hold nothing when wait is true. A topic that changes nothing is free.
func (e *Engine) Hold(b *store.Batch, topic string, wait bool) bool {
	n, rest, ok := parseTopic(topic)
	if !ok || rest != "update" && rest != "delete" {
		return true
	}
	return e.hold(b, n, wait) != nil || wait
}

// Apply does what a message on a shadow's topic asks for, adds the writes to b
// and returns the messages that answer it; the error, if not nil, is *[Error].
// Other messages, the service's own among them, are none of its business.
func (e *Engine) Apply(b *store.Batch, m *message.Message) (_ []*message.Message, refused error) {
	n, rest, ok := parseTopic(m.Topic)
	if !ok {
		return nil, nil
	}
	var a Answer
	switch rest {
	case "get":
		a = e.Get(b, n, m.Payload)
	case "update":
		a = e.Update(b, n, m.Payload)
	case "delete":
		a = e.Delete(b, n, m.Payload)
	default:
		return nil, nil
	}
	if a.Refused != nil {
		refused = a.Refused
		a.say(n, rest+"/rejected", rejected(a.Refused, a.token))
	}
	for _, out := range a.Messages {
		out.Time, out.Depth = m.Time, m.Depth+1 // rules that answer these feed themselves as those that republish do
	}
	return a.Messages, refused
}

// The keys of the store (FORMAT.md).
const (
	keyShadow   = 's'
	keyDeletion = 'd'
)

func (n Name) key() []byte {
	return n.append([]byte{byte(store.SpaceShadow), keyShadow})
}

func (n Name) append(b []byte) []byte {
	return append(append(append(b, n.Thing...), 0), n.Shadow...)
}

func parseName(b []byte) Name {
	thing, shadow, _ := bytes.Cut(b, []byte{0})
	return Name{string(thing), string(shadow)}
}

// deletions is the first key of the shadows that were deleted at a time or later.
func deletions(at int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.SpaceShadow), keyDeletion}, uint64(max(at, 0)))
}

func (n Name) deletionKey(at int64) []byte { return n.append(deletions(at)) }

// List returns up to limit names of the named shadows of a thing that come
// after the given one, in byte order; more says that there are others. The
// error is *[Error] or one of the store.
func (e *Engine) List(thing, after string, limit int) (names []string, more bool, err error) {
	n := Name{thing, after}
	if refused := n.check(); refused != nil {
		return nil, false, refused
	}
	it, err := e.st.Iterator(append(n.key(), 0), store.PrefixEnd(Name{Thing: thing}.key()))
	if err != nil {
		return nil, false, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		d, err := readRecord(it.Value())
		switch {
		case err != nil:
			e.log.Error("a shadow cannot be read", "thing", thing, "err", err)
			continue
		case d.deleted:
			continue
		case len(names) == limit:
			more = true
		default:
			names = append(names, parseName(it.Key()[2:]).Shadow)
			continue
		}
		break
	}
	return names, more, it.Close()
}
