package rules

import (
	"encoding/json"
	"fmt"
	"time"

	"mote/internal/cloud/message"
)

// origin is what the outbox keeps with an entry, in its Context: the message
// that caused it, so that the rule's error action can still run when the entry
// fails. FORMAT.md describes its form.
type origin struct {
	Action     string `json:"action"` // as failedAction names it
	Target     string `json:"target"`
	Trace      string `json:"trace"`
	ErrorRun   bool   `json:"error_run,omitempty"`   // the entry is the error action itself
	Across     bool   `json:"across,omitempty"`      // batched with messages of other topics
	Companions bool   `json:"companions,omitempty"`  // the rule has other outgoing actions
	Basic      string `json:"basic_topic,omitempty"` // what topic() returns, when it is not Topic

	Topic     string    `json:"topic"`
	Payload   []byte    `json:"payload"`
	ClientID  string    `json:"client_id,omitempty"`
	Principal string    `json:"principal,omitempty"`
	SourceIP  string    `json:"source_ip,omitempty"`
	Time      time.Time `json:"time"`
	Depth     int       `json:"depth,omitempty"`

	ContentType     string                 `json:"content_type,omitempty"`
	ResponseTopic   string                 `json:"response_topic,omitempty"`
	CorrelationData []byte                 `json:"correlation_data,omitempty"`
	UTF8Payload     bool                   `json:"utf8_payload,omitempty"`
	UserProperties  []message.UserProperty `json:"user_properties,omitempty"`
}

// originVersion is the first byte of every encoded origin.
const originVersion = 1

// origin describes the message for a request.
func (x *execution) origin(o *outgoing) *origin {
	m := x.in
	out := &origin{
		Action: o.action, Target: o.target, Trace: x.msg.TraceID(), ErrorRun: x.failing, Across: o.across, Companions: x.companions(),
		Topic: m.Topic, Payload: m.Payload, ClientID: m.ClientID, Principal: m.Principal, SourceIP: m.SourceIP, Time: x.msg.Time, Depth: m.Depth,
		ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData, UTF8Payload: m.UTF8Payload,
		UserProperties: m.UserProperties,
	}
	if x.msg.Topic != m.Topic {
		out.Basic = x.msg.Topic
	}
	return out
}

// companions says whether the rule has other actions that go through the outbox.
func (x *execution) companions() bool {
	if x.away() {
		return len(x.rule.actions) > 1
	}
	return x.rule.outgoing > 1
}

func (o *origin) encode() ([]byte, error) {
	data, err := json.Marshal(o)
	return append([]byte{originVersion}, data...), err
}

func decodeOrigin(data []byte) (*origin, error) {
	if len(data) == 0 || data[0] != originVersion {
		return nil, fmt.Errorf("the message of an action that waited is stored in a form that this mote does not read")
	}
	o := &origin{}
	if err := json.Unmarshal(data[1:], o); err != nil {
		return nil, fmt.Errorf("the message of an action that waited is damaged: %w", err)
	}
	return o, nil
}

// message is the message again.
func (o *origin) message() *message.Message {
	return &message.Message{
		Topic: o.Topic, Payload: o.Payload, ClientID: o.ClientID, Principal: o.Principal, SourceIP: o.SourceIP, Time: o.Time, Depth: o.Depth,
		ContentType: o.ContentType, ResponseTopic: o.ResponseTopic, CorrelationData: o.CorrelationData, UTF8Payload: o.UTF8Payload,
		UserProperties: o.UserProperties,
	}
}
