package broker

import (
	"strings"
	"time"

	"mote/internal/cloud/crowd"
	"mote/internal/mqtt"
)

// Limits are what one client can ask of the broker. The zero value of a field
// means its default, which is AWS IoT Core's where AWS has one (AWS IoT Core
// endpoints and quotas, "message broker and protocol limits"). Where a listener
// of the mode Spec has another default, it stands behind it.
type Limits struct {
	Payload       int // bytes of a PUBLISH payload; default 131072; 1 MiB
	Packet        int // bytes of a whole packet; default Payload + 18 KiB, the Maximum Packet Size of CONNACK; Payload + 128 KiB
	Connect       int // bytes of a CONNECT, before anything is known of the client but its certificate; default 64 KiB; 128 KiB
	Topic         int // bytes of a topic or filter, its reserved prefix not counted; default 256; 65535
	Slashes       int // in a topic or filter, those of its reserved prefix not counted; default 7; 200
	ClientID      int // bytes; default 128; 1024
	Filters       int // in one SUBSCRIBE; default 8; 1000
	Subscriptions int // of one session; default 50; 1000
	Inbound       int // unacknowledged publishes from a client, Receive Maximum of CONNACK; default 100
	Outbound      int // unacknowledged publishes to a client; default 100
	TopicAliases  int // of a client's publishes, and of those to it; default 8; 64

	KeepAliveMin, KeepAliveMax time.Duration // default 30 s and 1200 s; absent counts as the most; with Spec as the client wants, and no more than the most where one is set
	ConnectWithin              time.Duration // for the TLS handshake, and again for CONNECT; default 10 s
	ReturnWithin               time.Duration // for clients after a kill of the server, before their wills are published; default 30 s
	WriteWithin                time.Duration // for one write to a client that reads slowly; default 30 s
	SessionExpiry              time.Duration // of 3.1.1 sessions with CleanSession=0; default 1 h; for ever
	SessionExpiryMax           time.Duration // what a v5 client gets at most; default 7 days; for ever

	// Rates keeps AWS's rates too: messages and bytes per second of a
	// connection, CONNECTs per client id, stored messages per second.
	Rates bool

	// The fields from here on are about the broker as a whole.
	Connections int // at a time; default 20000
	// Address is the connections from one address at a time; default three
	// quarters of Connections, so that no address shuts out all others. Those
	// of this machine are not counted.
	Address int

	countLoopback bool // for tests
	Sessions      int  // live ones and persistent ones that are away; default 100000
	// QueueMessages and QueueBytes bound what is kept for one session. A
	// message that does not fit is dropped for this session and counted: the
	// newest goes, so that what was promised first stays. Defaults 10000 and
	// 64 MiB on disk for persistent sessions; clean sessions get a tenth of
	// both, in memory.
	QueueMessages int
	QueueBytes    int
	// QueuesBytes bounds what is kept on disk for all sessions and shared
	// subscriptions together; default 1 GiB. It is dropped and counted as above.
	QueuesBytes int
	// Retained and RetainedBytes bound the retained messages; more are refused.
	// Defaults 100000 and 256 MiB.
	Retained      int
	RetainedBytes int
	// Output is how many bytes may wait for the network of one client before
	// QoS 0 messages to it are dropped (and counted) and QoS 1 messages stay
	// queued; default 1 MiB.
	Output int
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

func (l *Limits) setDefaults() {
	orDefault(&l.Payload, 128<<10)
	orDefault(&l.Packet, l.Payload+18<<10)
	orDefault(&l.Connect, min(l.Packet, 64<<10))
	orDefault(&l.Topic, 256)
	orDefault(&l.Slashes, 7)
	orDefault(&l.ClientID, 128)
	orDefault(&l.Filters, 8)
	orDefault(&l.Subscriptions, 50)
	orDefault(&l.Inbound, 100)
	orDefault(&l.Outbound, 100)
	orDefault(&l.TopicAliases, 8)
	orDefault(&l.KeepAliveMin, 30*time.Second)
	orDefault(&l.KeepAliveMax, 1200*time.Second)
	orDefault(&l.ConnectWithin, 10*time.Second)
	orDefault(&l.ReturnWithin, 30*time.Second)
	orDefault(&l.WriteWithin, 30*time.Second)
	orDefault(&l.SessionExpiry, time.Hour)
	orDefault(&l.SessionExpiryMax, 7*24*time.Hour)
	orDefault(&l.Connections, 20000)
	orDefault(&l.Address, crowd.Share(l.Connections))
	orDefault(&l.Sessions, 100000)
	orDefault(&l.QueueMessages, 10000)
	orDefault(&l.QueueBytes, 64<<20)
	orDefault(&l.QueuesBytes, 1<<30)
	orDefault(&l.Retained, 100000)
	orDefault(&l.RetainedBytes, 256<<20)
	orDefault(&l.Output, 1<<20)
}

// ingestPrefix begins the topics of Basic Ingest: $aws/rules/<rule>/<topic>.
const ingestPrefix = "$aws/rules/"

// counted returns the part of a topic or filter that its limits are about:
// what comes after $aws/rules/<rule>/ or $share/<name>/ (AWS IoT Core quotas).
func counted(topic string) string {
	rest, ok := strings.CutPrefix(topic, ingestPrefix)
	if !ok {
		if rest, ok = strings.CutPrefix(topic, "$share/"); !ok {
			return topic
		}
	}
	_, rest, _ = strings.Cut(rest, "/")
	return rest
}

// checkShape refuses a topic or filter (what says which) that is too long or
// too deep for AWS.
func (l *Limits) checkShape(what, topic string, code mqtt.ReasonCode) *refused {
	part := counted(topic)
	if len(part) > l.Topic {
		return refuse(code, "the %s has %d bytes, the most are %d: shorten it", what, len(part), l.Topic)
	}
	if n := strings.Count(part, "/"); n > l.Slashes {
		return refuse(code, "the %s has %d slashes, the most are %d: use fewer levels", what, n, l.Slashes)
	}
	return nil
}

// checkTopic refuses what nobody may publish on: a bad topic name, one beyond
// the limits, and the reserved ones (AWS IoT developer guide, "Reserved topics");
// also those that are of use only to who is answered.
func (b *Broker) checkTopic(topic string, answered bool) *refused {
	if err := mqtt.ValidTopic(topic); err != nil {
		return refuse(mqtt.TopicNameInvalid, "%v", err)
	}
	if r := b.limits.checkShape("topic", topic, mqtt.TopicNameInvalid); r != nil {
		return r
	}
	if topic[0] != '$' {
		return nil
	}
	if strings.HasPrefix(topic, eventPrefix) {
		return refuse(mqtt.TopicNameInvalid, "only the server publishes on %s…: publish on a topic without $", eventPrefix)
	}
	if !strings.HasPrefix(topic, ingestPrefix) {
		return b.checkReserved(topic, answered)
	}
	if !b.cfg.BasicIngest {
		return refuse(mqtt.TopicNameInvalid, "basic ingest ($aws/rules/…) is not served: publish on a topic that the rule selects from")
	}
	if rule, rest, _ := strings.Cut(topic[len(ingestPrefix):], "/"); rule == "" || rest == "" {
		return refuse(mqtt.TopicNameInvalid, "basic ingest wants $aws/rules/<rule>/<topic>, got %q", topic)
	}
	return nil
}

func (b *Broker) checkReserved(topic string, answered bool) *refused {
	if b.cfg.Reserved == nil {
		return refuse(mqtt.TopicNameInvalid, "topics that begin with $ are reserved, and nothing is served on %q: publish on a topic without $", topic)
	}
	if err := b.cfg.Reserved.CheckTopic(topic, answered); err != nil {
		return refuse(mqtt.TopicNameInvalid, "%v", err)
	}
	return nil
}

// isIngest says whether a topic is for one rule only (AWS IoT developer guide,
// "Basic Ingest").
func isIngest(topic string) bool { return strings.HasPrefix(topic, ingestPrefix) }

// checkRetain refuses retained messages on reserved topics.
func checkRetain(topic string) *refused {
	if topic != "" && topic[0] == '$' {
		return refuse(mqtt.TopicNameInvalid, "retained messages are not kept on reserved topics: publish on %q without RETAIN", topic)
	}
	return nil
}

func (l *Limits) checkPayload(n int) *refused {
	if n > l.Payload {
		return refuse(mqtt.PacketTooLarge, "the payload has %d bytes, the most are %d", n, l.Payload)
	}
	return nil
}

// shareName is the name in $share/<name>/<filter>, "" for other filters.
func shareName(filter string) string {
	rest, _ := strings.CutPrefix(filter, sharePrefix)
	if len(rest) == len(filter) {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func errShareName(name string) *refused {
	return refuse(mqtt.TopicFilterInvalid, "the name of the shared subscription has %d bytes, the most are %d: choose a shorter one", len(name), shareNameMost)
}

// checkFilter refuses what nobody may subscribe to.
func (b *Broker) checkFilter(filter string) *refused {
	if err := mqtt.ValidFilter(filter); err != nil {
		return refuse(mqtt.TopicFilterInvalid, "%v", err)
	}
	if name := shareName(filter); len(name) > shareNameMost {
		return errShareName(name)
	}
	if r := b.limits.checkShape("topic filter", filter, mqtt.TopicFilterInvalid); r != nil {
		return r
	}
	switch filter, _ = sharedFilter(filter); {
	case filter[0] != '$', isEventFilter(filter):
		return nil
	case b.cfg.Reserved == nil:
		return refuse(mqtt.TopicFilterInvalid, "topics that begin with $ are reserved, and nothing is served on %q: subscribe to a topic without $", filter)
	}
	if err := b.cfg.Reserved.CheckFilter(filter); err != nil {
		return refuse(mqtt.TopicFilterInvalid, "%v", err)
	}
	return nil
}
