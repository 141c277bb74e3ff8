// Package message is the vocabulary of the cloud's parts: a [Message] on its
// way from whoever published it (MQTT client, REST route, data-plane API,
// republishing rule) through the rules to the subscribers, and the [Outcome]
// of running the rules over it.
package message

import "time"

// Message is one published message. It is read-only once it is published.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool

	ClientID  string    // MQTT client id; "" when it was not published over MQTT
	Principal string    // certificate id, or access key id
	SourceIP  string    // address of the publisher, without port
	Time      time.Time // when the cloud received it

	// MQTT 5 properties; nil or zero when absent.
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	UTF8Payload     bool
	Expiry          time.Time // zero: never
	UserProperties  []UserProperty

	// To is the MQTT client id of the one client that gets the message, without
	// a subscription; "": everybody who has one. No rule, watcher or other
	// client sees a message that has it: it may hold what is secret.
	To string

	// Depth counts how many rules republished the message, and shadows answered
	// it, on its way here.
	Depth int
}

// UserProperty is one MQTT 5 user property; names may repeat.
type UserProperty struct{ Name, Value string }

// Outcome is what the rules made of one message. Its table writes are in the
// batch that was handed to the rules.
type Outcome struct {
	// Matched says that some rule selects from the message's topic.
	Matched bool
	// Republish holds the messages that rules publish in turn, in order.
	Republish []*Message
	// Failed holds the failures of actions that no error action took: the
	// message is acknowledged all the same on MQTT, as on AWS; an HTTP caller
	// is told.
	Failed []*Failure
	// Refused says why what a message on a reserved topic asks for was not
	// done. On MQTT the answer says so, if there is one; an HTTP caller is told.
	Refused error
	// Unavailable is set when the store could not take the writes for now
	// (full disk): the message must not be acknowledged, so that its sender
	// keeps it.
	Unavailable error
}

// Failures are the texts of Failed and Refused.
func (o *Outcome) Failures() []string {
	var texts []string
	for _, f := range o.Failed {
		texts = append(texts, f.Error())
	}
	if o.Refused != nil {
		texts = append(texts, o.Refused.Error())
	}
	return texts
}

// Failure is one action of one rule that failed for good.
type Failure struct {
	Rule   string // rule name
	Action string // as in error-action payloads, for example "DynamoDBv2Action"
	Target string // table, topic, …
	Err    error
}

func (f *Failure) Error() string {
	return "rule " + f.Rule + ": " + f.Action + " on " + f.Target + ": " + f.Err.Error()
}

func (f *Failure) Unwrap() error { return f.Err }
