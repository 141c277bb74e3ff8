package rules

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/iotsql/eval"
	"mote/internal/mqtt"
)

// maxDepth is how many rules may republish a message one after the other, so
// that rules that feed each other come to an end. AWS documents no limit.
const maxDepth = 8

// republishAction is the action republish (AWS IoT developer guide,
// "Republish"). What it publishes is never retained.
type republishAction struct {
	topic   *eval.Template
	qos     byte
	headers *headers // nil: none
}

// headers are the MQTT 5 headers of a republished message; each may be nil.
type headers struct {
	format, contentType, responseTopic, correlation, expiry *eval.Template

	properties []pair
}

func (f *fields) republish() action {
	f.role()
	a := &republishAction{topic: f.required("topic"), qos: f.qos()}
	if a.topic != nil {
		if topic, ok := a.topic.Constant(); ok {
			if _, err := publishTopic(topic); err != nil {
				f.fail("topic: %v", err)
			}
		}
	}
	if h := f.sub("headers"); h != nil {
		a.headers = h.headers()
		f.merge(h)
	}
	return a
}

func (f *fields) qos() byte {
	raw, ok := f.take("qos")
	if !ok {
		return 0
	}
	switch string(raw) {
	case "0":
		return 0
	case "1":
		return 1
	}
	f.fail("qos %s: want 0 or 1", cut(string(raw), 20))
	return 0
}

// maxProperties is how many user properties a republish action may add (AWS
// IoT API, MqttHeaders).
const maxProperties = 100

func (f *fields) headers() *headers {
	h := &headers{
		format: f.template("payloadFormatIndicator", ""), contentType: f.template("contentType", ""),
		responseTopic: f.template("responseTopic", ""), correlation: f.template("correlationData", ""),
		expiry: f.template("messageExpiry", ""),
	}
	h.properties = f.pairs("userProperties", maxProperties)
	return h
}

// publishTopic returns the topic that the text of an action means: a leading
// $$ stands for the $ of a reserved topic.
func publishTopic(text string) (string, error) {
	topic, reserved := strings.CutPrefix(text, "$$")
	switch {
	case reserved:
		topic = "$" + topic
	case strings.HasPrefix(text, "$"):
		return "", fmt.Errorf("%.80q: a reserved topic is written with $$ in a rule", text)
	}
	if thing, ok := strings.CutPrefix(topic, "$aws/things/"); ok {
		if _, rest, _ := strings.Cut(thing, "/"); rest == "jobs" || strings.HasPrefix(rest, "jobs/") {
			return "", fmt.Errorf("%.80q: rules cannot publish to topics of jobs", topic)
		}
	}
	return topic, checkTopic(topic)
}

func checkTopic(topic string) error {
	err := mqtt.ValidTopic(topic)
	var e *mqtt.Error
	if errors.As(err, &e) {
		return errors.New(e.Reason)
	}
	return err
}

func (a *republishAction) name() string { return "RepublishAction" }

func (a *republishAction) run(x *execution, r eval.Result) (string, error) {
	text := a.topic.Text(&x.msg)
	topic, err := publishTopic(text)
	if err != nil {
		return text, err
	}
	if x.in.Depth >= maxDepth {
		if ok, missed := x.engine.loops.Allow(); ok {
			x.engine.log.Warn("rules republish to each other without end; the message goes no further",
				"rule", x.rule.rule.Name, "from", x.in.Topic, "to", topic, "depth", x.in.Depth, "not_logged", missed)
		}
		return topic, fmt.Errorf("the message was republished %d times on its way here: rules feed each other", x.in.Depth)
	}
	payload, err := r.AppendPayload(nil)
	if err != nil {
		return topic, err
	}
	m := &message.Message{
		Topic: topic, Payload: payload, QoS: a.qos, Time: x.msg.Time, Depth: x.in.Depth + 1,
		ClientID: x.in.ClientID, Principal: x.in.Principal, SourceIP: x.in.SourceIP,
	}
	if a.headers != nil {
		if err := a.headers.set(m, &x.msg); err != nil {
			return topic, err
		}
	}
	return topic, x.do.publish(m)
}

// text evaluates a header; absent and empty ones are "".
func text(t *eval.Template, m *eval.Message) string {
	if t == nil {
		return ""
	}
	return t.Text(m)
}

// set evaluates the headers into m (AWS IoT API, MqttHeaders).
func (h *headers) set(m *message.Message, ev *eval.Message) error {
	switch s := text(h.format, ev); s {
	case "", "UNSPECIFIED_BYTES":
	case "UTF8_DATA":
		m.UTF8Payload = true
	default:
		return fmt.Errorf("payloadFormatIndicator %.40q: want UNSPECIFIED_BYTES or UTF8_DATA", s)
	}
	m.ContentType = text(h.contentType, ev)
	if m.ResponseTopic = text(h.responseTopic, ev); m.ResponseTopic != "" {
		if err := checkTopic(m.ResponseTopic); err != nil {
			return fmt.Errorf("responseTopic: %w", err)
		}
	}
	if s := text(h.correlation, ev); s != "" {
		data, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fmt.Errorf("correlationData %.40q is not base64", s)
		}
		m.CorrelationData = data
	}
	if s := text(h.expiry, ev); s != "" {
		seconds, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return fmt.Errorf("messageExpiry %.40q: want a number of seconds", s)
		}
		m.Expiry = m.Time.Add(time.Duration(seconds) * time.Second)
	}
	for _, p := range h.properties {
		m.UserProperties = append(m.UserProperties, message.UserProperty{Name: p.key.Text(ev), Value: p.value.Text(ev)})
	}
	return nil
}
