package eval

import (
	"crypto/rand"
	"fmt"
	"time"
	"unsafe"
)

// Message is what a statement runs over. It is used by one goroutine at a
// time; several statements that run over the same Message share its parsing.
type Message struct {
	Topic     string // without the prefix of Basic Ingest
	Payload   []byte // must not change any more: values share it
	ClientID  string // MQTT client id; "" when unknown
	MQTT      bool   // it came over MQTT; a ClientID says so too
	Principal string // certificate id or access key id; "" when unknown
	SourceIP  string // "" when unknown
	Account   string // 12 digits
	Time      time.Time

	// MQTT 5 properties; "", nil and FormatAbsent when absent.
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	FormatIndicator FormatIndicator
	UserProperties  []UserProperty

	Services Services // nil: what asks for one is Undefined

	state parseState
	work  *workspace
	trace string
	spent int // of budget, by the statement that runs
}

// FormatIndicator is the payload format indicator of MQTT 5 (section 3.3.2.3.2).
type FormatIndicator uint8

// The payload format indicators.
const (
	FormatAbsent FormatIndicator = iota
	FormatBytes                  // 0, unspecified bytes
	FormatUTF8                   // 1, UTF-8 text
)

// UserProperty is one MQTT 5 user property; names may repeat.
type UserProperty struct{ Name, Value string }

// Services is what functions read from outside the message. An answer is one
// JSON text, whose numbers keep their digits; false stands for "there is
// none", and for what may not be read. The methods are called while a statement
// runs and must not block for long.
type Services interface {
	// Item returns the item of a table with the given key attributes, one or
	// two, as a plain JSON object (get_dynamodb).
	Item(table string, keys []Key) (json []byte, ok bool)
	// Shadow returns the document of a thing's shadow with state, metadata,
	// version and timestamp; shadow is "" for the classic one
	// (get_thing_shadow).
	Shadow(thing, shadow string) (json []byte, ok bool)
	// RegistryData returns the answer of an API of the registry,
	// "DescribeThing" or "ListThingGroupsForThing" (get_registry_data).
	RegistryData(api, thing string) (json []byte, ok bool)
}

// Key is one attribute of the key of an item: a String, or a Number with its
// digits.
type Key struct {
	Name   string
	Text   string
	Number bool
}

// overMQTT says whether the message came over MQTT.
func (m *Message) overMQTT() bool { return m.MQTT || m.ClientID != "" }

type parseState uint8

const (
	notParsed parseState = iota
	isJSON
	isNotJSON
)

// Root returns the payload as a value, and whether it is JSON.
func (m *Message) Root() (Value, bool) {
	if !m.isJSON() {
		return undef, false
	}
	return m.work.doc.at(0), true
}

// isJSON says whether the payload is JSON, and reads it the first time.
func (m *Message) isJSON() bool {
	if m.state == notParsed {
		m.state = isNotJSON
		w := m.space()
		if w.doc.work = w; w.doc.read(unsafe.String(unsafe.SliceData(m.Payload), len(m.Payload))) {
			m.state = isJSON
		}
	}
	return m.state == isJSON
}

// budget bounds the work and the memory that one statement may take for one
// message, in bytes looked at or made, so that a nested SELECT over a large
// array cannot hold up the rest. Beyond it everything is Undefined, and the
// result is an error.
const budget = 64 << 20

// rowCost and callCost are what a row of a nested SELECT and a call of a
// function take at least.
const (
	rowCost  = 256
	callCost = 16
)

// spend takes n bytes from the budget and says whether it was enough.
func (m *Message) spend(n int) bool {
	if m.spent > budget { // and stays so: no overflow where an int has 32 bits
		return false
	}
	m.spent += n
	return m.spent <= budget
}

// weight is about how many bytes it takes to look at v once.
func (m *Message) weight(v Value) int {
	switch v.kind {
	case Array, Object:
		if d, at := v.unopened(); d != nil {
			return int(d.tokens[at].end-d.tokens[at].start) + callCost
		}
		return len(m.Payload) + callCost
	}
	return len(v.text)
}

// equal is the operator = of defined values, within the budget.
func (m *Message) equal(a, b Value) Value {
	if !m.spend(min(m.weight(a), m.weight(b))) {
		return undef
	}
	return boolean(equal(a, b))
}

// TraceID is the id of the message, a UUID that stays the same.
func (m *Message) TraceID() string {
	if m.trace == "" {
		m.trace = newUUID()
	}
	return m.trace
}

// SetTraceID gives the message an id that it had before.
func (m *Message) SetTraceID(id string) { m.trace = id }

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
