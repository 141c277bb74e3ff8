package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// counting serves $aws/count/<name>: each message there adds one to a number,
// and $aws/count/<name>/value tells it.
type counting struct {
	st *store.Store

	mu   sync.Mutex
	held map[string]*countHold // by topic; guarded by mu
}

type countHold struct {
	owner *store.Batch
	free  chan struct{}
	value int // -1: not read yet
}

const (
	countPrefix = "$aws/count/"
	countAsked  = countPrefix + "asked"   // is for those alone who are answered
	countNever  = countPrefix + "refused" // is counted and refused
)

func (s *counting) CheckTopic(topic string, answered bool) error {
	if rest, ok := strings.CutPrefix(topic, countPrefix); !ok || strings.Contains(rest, "/") {
		return errors.New("not a counter")
	}
	if topic == countAsked && !answered {
		return errors.New("nobody would be answered")
	}
	return nil
}

func (s *counting) CheckFilter(filter string) error {
	if !strings.HasPrefix(filter, countPrefix) {
		return errors.New("no counters there")
	}
	return nil
}

func (s *counting) Hold(b *store.Batch, topic string, wait bool) bool {
	for {
		s.mu.Lock()
		h := s.held[topic]
		if h == nil {
			h = &countHold{owner: b, free: make(chan struct{}), value: -1}
			s.held[topic] = h
			b.OnApplied(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.held, topic)
				close(h.free)
			})
		}
		s.mu.Unlock()
		if h.owner == b || !wait {
			return h.owner == b
		}
		<-h.free
	}
}

func (s *counting) value(topic string) int {
	v, _, err := s.st.Get([]byte("w" + topic))
	if err != nil {
		panic(err)
	}
	n, _ := strconv.Atoi("0" + string(v))
	return n
}

func (s *counting) Apply(b *store.Batch, m *message.Message) ([]*message.Message, error) {
	if s.CheckTopic(m.Topic, true) != nil {
		return nil, nil
	}
	s.mu.Lock()
	h := s.held[m.Topic]
	s.mu.Unlock()
	if h == nil || h.owner != b {
		panic("applied without being held")
	}
	if h.value < 0 {
		h.value = s.value(m.Topic)
	}
	h.value++
	b.Set([]byte("w"+m.Topic), []byte(strconv.Itoa(h.value)))
	if m.ClientID == "alone" {
		return []*message.Message{{Topic: m.Topic + "/value", Payload: []byte("yours"), QoS: 1, To: m.ClientID}}, nil
	}
	var err error
	if m.Topic == countNever {
		err = errors.New("never")
	}
	return []*message.Message{{Topic: m.Topic + "/value", Payload: []byte(strconv.Itoa(h.value)), QoS: 1, Depth: m.Depth}}, err
}

func newCounting(t *testing.T) (*world, *counting) {
	s := &counting{held: map[string]*countHold{}}
	w := newWorld(t, Limits{}, func(c *Config) { s.st, c.Reserved = c.Store, s })
	return w, s
}

func TestReserved(t *testing.T) {
	t.Parallel()
	w, s := newCounting(t)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	if a := p.subscribe(1, countPrefix+"+", countPrefix+"#", "$aws/other", "#"); fmt.Sprint(a.Codes) != fmt.Sprint([]mqtt.ReasonCode{1, 1, mqtt.TopicFilterInvalid, 1}) {
		t.Errorf("SUBACK %v", a.Codes)
	}
	p.send(&mqtt.Publish{Topic: countPrefix + "a", QoS: 1, PacketID: 9, Payload: []byte("x")})
	if a := expect[*mqtt.Ack](p); a.Code != mqtt.Success || s.value(countPrefix+"a") != 1 {
		t.Errorf("PUBACK %v, counted %d", a.Code, s.value(countPrefix+"a"))
	}
	p.receive(countPrefix+"a", "x")
	p.receive(countPrefix+"a/value", "1")
	if n := w.rules.seen.Load(); n != 2 {
		t.Errorf("the rules saw %d messages, want the question and the answer", n)
	}
	for _, topic := range []string{countPrefix + "a/value", "$aws/x"} {
		if a := p.publish(topic, ""); a.Code != mqtt.TopicNameInvalid {
			t.Errorf("%s: PUBACK %v", topic, a.Code)
		}
	}
	if a := p.publish(countPrefix+"a", "", retained); a.Code != mqtt.TopicNameInvalid {
		t.Errorf("with RETAIN: PUBACK %v", a.Code)
	}

	// What does not come over MQTT is told, too.
	if _, err := w.b.Publish(context.Background(), &message.Message{Topic: countPrefix + "a", Payload: []byte("y")}); err != nil {
		t.Error(err)
	}
	p.receive(countPrefix+"a", "y")
	p.receive(countPrefix+"a/value", "2")
	err := w.b.Transact(context.Background(), func(b *store.Batch) []*message.Message {
		b.Set([]byte("wx"), []byte("1"))
		return []*message.Message{{Topic: countPrefix + "b/value", Payload: []byte("z"), QoS: 1}}
	})
	if v, found, _ := w.store.Get([]byte("wx")); err != nil || !found || string(v) != "1" {
		t.Errorf("%v, %q", err, v)
	}
	p.receive(countPrefix+"b/value", "z")
}

// TestReservedWithoutAnswer: whoever is not answered is refused where only the
// answer is of use, and is told what was refused.
func TestReservedWithoutAnswer(t *testing.T) {
	t.Parallel()
	w, s := newCounting(t)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	p.subscribe(1, countPrefix+"#")
	if a := p.publish(countAsked, "x"); a.Code != mqtt.Success {
		t.Errorf("a client of MQTT: PUBACK %v", a.Code)
	}
	p.receive(countAsked, "x")
	p.receive(countAsked+"/value", "1")
	if _, err := w.b.Publish(t.Context(), &message.Message{Topic: countAsked}); err == nil || err.Error() != "nobody would be answered" {
		t.Errorf("a publish over HTTP: %v", err)
	}
	if err := w.b.Republish(t.Context(), &message.Message{Topic: countAsked}); err != nil || !strings.Contains(w.logs.String(), "nobody would be answered") {
		t.Errorf("a republish is to be dropped: %v", err)
	}
	if n := s.value(countAsked); n != 1 {
		t.Errorf("counted %d", n)
	}
	out, err := w.b.Publish(t.Context(), &message.Message{Topic: countNever, Payload: []byte("y")})
	if err != nil || fmt.Sprint(out.Refused) != "never" || fmt.Sprint(out.Failures()) != "[never]" {
		t.Errorf("refused by the service: %v, %v", out.Refused, err)
	}
	p.receive(countNever, "y")
	p.receive(countNever+"/value", "1")
}

// TestRepublishBeside: what no client may publish, a rule may, up to the topic.
func TestRepublishBeside(t *testing.T) {
	t.Parallel()
	w, s := newCounting(t)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	p.subscribe(1, "big", countPrefix+"#")
	big := strings.Repeat("x", w.b.limits.Payload+1)
	for _, m := range []*message.Message{{Topic: "a/#"}, {Topic: "$aws/events/x"}, {Topic: "big", Payload: []byte(big), QoS: 1}, {Topic: countPrefix + "a"}} {
		if err := w.b.Republish(t.Context(), m); err != nil {
			t.Errorf("%s: %v", m.Topic, err)
		}
	}
	p.receive("big", big)
	p.receive(countPrefix+"a", "")
	p.receive(countPrefix+"a/value", "1")
	if n := s.value(countPrefix + "a"); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestWillsAreNotServed: a will on a reserved topic reaches those who subscribe
// to it and the rules, but asks for nothing.
func TestWillsAreNotServed(t *testing.T) {
	t.Parallel()
	w, s := newCounting(t)
	p, _ := w.connect(clean(mqtt.V5, "p"))
	p.subscribe(1, countPrefix+"#")
	connect := clean(mqtt.V5, "gone")
	connect.Will = &mqtt.Will{Topic: countPrefix + "a", Payload: []byte("will"), QoS: 1}
	gone, ack := w.connect(connect)
	if ack.Code != mqtt.Success {
		t.Fatalf("CONNACK %v", ack.Code)
	}
	w.refused("iot:Publish", "topic/"+countPrefix+"a", "no service does what a will asks for")
	gone.close()
	p.receive(countPrefix+"a", "will")
	if a := p.publish(countPrefix+"a", "x"); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
	p.receive(countPrefix+"a", "x")
	p.receive(countPrefix+"a/value", "1") // the first one that is counted
	if n := s.value(countPrefix + "a"); n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestReservedNeverDeadlocks has clients whose bursts want the same counters in
// different orders, by themselves and through a rule.
func TestReservedNeverDeadlocks(t *testing.T) {
	t.Parallel()
	w, s := newCounting(t)
	w.rules.set(func(b *store.Batch, m *message.Message) (out message.Outcome) {
		if names, ok := strings.CutPrefix(m.Topic, "both/"); ok {
			for name := range strings.SplitSeq(names, "/") {
				out.Republish = append(out.Republish, &message.Message{Topic: countPrefix + name, Depth: 1})
			}
		}
		return out
	})
	const rounds, perRound = 20, 24
	var clients sync.WaitGroup
	for i, topics := range [][]string{{countPrefix + "a", countPrefix + "b", "both/b/a"}, {"both/a/b", countPrefix + "b", countPrefix + "a"}} {
		p, _ := w.connect(clean(mqtt.V5, fmt.Sprint(i)))
		clients.Go(func() {
			for range rounds {
				var packets []mqtt.Packet
				for id := range perRound {
					packets = append(packets, &mqtt.Publish{Topic: topics[id%len(topics)], QoS: 1, PacketID: uint16(id + 1)})
				}
				p.send(packets...)
				for id := range perRound {
					if a := expect[*mqtt.Ack](p); a.Code != mqtt.Success || a.PacketID != uint16(id+1) {
						t.Errorf("PUBACK %+v, want %d", a, id+1)
					}
				}
			}
		})
	}
	clients.Wait()
	for _, name := range []string{"a", "b"} {
		if n := s.value(countPrefix + name); n != 2*2*rounds*perRound/3 {
			t.Errorf("%s counted %d, want %d", name, n, 2*2*rounds*perRound/3)
		}
	}
	s.mu.Lock() // presence events are held too, when the clients go
	defer s.mu.Unlock()
	if len(s.held) != 0 {
		t.Errorf("%d are still held", len(s.held))
	}
}

// TestReservedCutOff: a burst that has to wait is stored in two parts; when the
// first is not, the publish is not acknowledged.
func TestReservedCutOff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		code mqtt.ReasonCode
	}{{"stored", nil, mqtt.Success}, {"full", store.ErrFull, mqtt.QuotaExceeded}} {
		t.Run(c.name, func(t *testing.T) {
			w, s := newCounting(t)
			w.rules.set(func(b *store.Batch, m *message.Message) message.Outcome {
				if m.Topic == countPrefix+"a" {
					b.Set([]byte("ix"), nil)
					b.BeforeApply(func() error { return c.err })
				}
				return message.Outcome{}
			})
			other := w.store.NewBatch()
			s.Hold(other, countPrefix+"a", false)
			p, _ := w.connect(clean(mqtt.V5, "p"))
			p.send(&mqtt.Publish{Topic: "before", QoS: 1, PacketID: 1}, &mqtt.Publish{Topic: countPrefix + "a", QoS: 1, PacketID: 2}, &mqtt.Publish{Topic: "after", QoS: 1, PacketID: 3})
			// The first part is answered while the rest waits.
			if a := expect[*mqtt.Ack](p); a.PacketID != 1 || a.Code != c.code {
				t.Errorf("PUBACK %+v", a)
			}
			_ = p.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			if err := p.in.Fill(); err == nil {
				t.Error("there is an answer while another batch has the counter")
			}
			other.Discard()
			if a := expect[*mqtt.Ack](p); a.PacketID != 2 || a.Code != c.code {
				t.Errorf("PUBACK %+v", a)
			}
			if a := expect[*mqtt.Ack](p); a.PacketID != 3 || (a.Code == mqtt.Success) != (c.err == nil) {
				t.Errorf("PUBACK %+v", a)
			}
			if a := p.publish(countPrefix+"b", ""); a.Code != mqtt.Success {
				t.Errorf("afterwards: PUBACK %+v", a)
			}
		})
	}
}

// TestAnswerToOne: an answer for one client reaches nobody else.
func TestAnswerToOne(t *testing.T) {
	t.Parallel()
	w, _ := newCounting(t)
	watched := make(chan *message.Message, 8)
	defer w.b.Watch(watched)()
	other, _ := w.connect(clean(mqtt.V5, "other"))
	other.subscribe(1, countPrefix+"#")
	p, _ := w.connect(clean(mqtt.V5, "alone"))
	p.send(&mqtt.Publish{Topic: countPrefix + "a", QoS: 1, PacketID: 9, Payload: []byte("x")})
	if a := expect[*mqtt.Ack](p); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
	p.receive(countPrefix+"a/value", "yours")
	p.publish("end", "")
	if a := p.publish(countPrefix+"b", "last"); a.Code != mqtt.Success {
		t.Errorf("PUBACK %v", a.Code)
	}
	other.receive(countPrefix+"a", "x")
	other.receive(countPrefix+"b", "last") // and not the answer
	if n := w.rules.seen.Load(); n != 3 {
		t.Errorf("the rules saw %d messages, want the three that were published", n)
	}
	for range 3 {
		if m := <-watched; m.To != "" {
			t.Errorf("a watcher saw %s", m.Topic)
		}
	}
}
