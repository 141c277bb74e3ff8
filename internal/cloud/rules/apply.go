package rules

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/iotsql/eval"
)

// basicIngest is the prefix of topics that go to one rule by its name (AWS IoT
// developer guide, "Basic Ingest").
const basicIngest = "$aws/rules/"

// execution is one message on its way through the rules that match it.
type execution struct {
	engine *Engine
	batch  *store.Batch
	in     *message.Message
	msg    eval.Message
	rule   *compiled
	out    message.Outcome

	do      effects // what the actions do; x itself, except in a trial
	failing bool    // the error action of the rule runs
	sent    int     // entries of the rule that went to the outbox

	services services // of msg

	members []table.Member // room for one item; clear between uses
}

// begin makes x ready for a message. Statements see topic, or the topic of the
// message when that is "".
func (x *execution) begin(e *Engine, b *store.Batch, m *message.Message, topic string) {
	x.engine, x.batch, x.in, x.do = e, b, m, x
	x.services = services{e.tables, &e.opt, &e.unread, b}
	if topic == "" {
		topic = m.Topic
	}
	x.msg = eval.Message{
		Topic: topic, Payload: m.Payload, ClientID: m.ClientID, Principal: m.Principal, SourceIP: m.SourceIP, Account: e.opt.Account, Time: m.Time,
		ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData, Services: &x.services,
	}
	if m.UTF8Payload {
		x.msg.FormatIndicator = eval.FormatUTF8
	}
	for _, p := range m.UserProperties {
		x.msg.UserProperties = append(x.msg.UserProperties, eval.UserProperty(p))
	}
	if m.Time.IsZero() {
		x.msg.Time = time.Now()
	}
}

// release gives x back, with its room, for the next message.
func (x *execution) release() {
	x.msg.Release()
	*x = execution{members: x.members}
	executions.Put(x)
}

// keptMembers is how many members the room of an execution holds at most
// between messages.
const keptMembers = 64

// attributes returns room for an item of n attributes, zero values.
func (x *execution) attributes(n int) []table.Member {
	if n > keptMembers {
		return make([]table.Member, n)
	}
	if n > len(x.members) {
		x.members = make([]table.Member, n)
	}
	return x.members[:n]
}

var executions = sync.Pool{New: func() any { return new(execution) }}

// Apply runs the rules that match the message: their table writes go into b,
// the rest is in the outcome. Every action runs by itself; a failed one leaves
// nothing in b and stops no other. It takes no lock.
func (e *Engine) Apply(b *store.Batch, m *message.Message) message.Outcome {
	var buf [8]*compiled
	matching, topic, err := e.match(buf[:0], m.Topic)
	if len(matching) == 0 {
		return message.Outcome{Refused: err}
	}
	x := executions.Get().(*execution)
	x.begin(e, b, m, topic)
	x.out.Matched = true
	for _, c := range matching {
		x.runRule(c)
	}
	out := x.out
	x.release()
	return out
}

// match appends the enabled rules for a topic to dst, and returns the topic
// that they see. The error says that the rule for the topic is not there.
func (e *Engine) match(dst []*compiled, topic string) ([]*compiled, string, error) {
	s := e.snap.Load()
	direct, ok := strings.CutPrefix(topic, basicIngest)
	if !ok {
		return s.root.match(dst, topic), topic, nil
	}
	name, rest, _ := strings.Cut(direct, "/")
	if c := s.byName[name]; c != nil && c.enabled() {
		return append(dst, c), rest, nil
	}
	e.notFound.Add(1)
	if ok, missed := e.missing.Allow(); ok {
		e.log.Warn("a message for a rule that is not there, or is disabled", "rule", cut(name, 128), "topic", cut(topic, 256), "not_logged", missed)
	}
	return dst, rest, fmt.Errorf("there is no rule %.128q, or it is disabled", name)
}

func (x *execution) runRule(c *compiled) {
	x.rule, x.sent = c, 0
	c.stats.matched.Add(1)
	r, fired := c.prog.Run(&x.msg)
	if !fired {
		return
	}
	c.stats.fired.Add(1)
	var failed []*message.Failure
	for _, a := range c.actions {
		if f := x.perform(a, r); f != nil {
			failed = append(failed, f)
		}
	}
	if len(failed) > 0 {
		x.handle(failed)
	}
}

// handle gives failed actions to the error action, or else to the caller.
func (x *execution) handle(failed []*message.Failure) {
	if x.rule.errorAction != nil {
		failures := make([]errorFailure, len(failed))
		for i, f := range failed {
			failures[i] = newErrorFailure(f.Action, f.Target, f.Err)
		}
		if x.sent > 0 { // should these fail too: it ran
			x.engine.mark(x.batch, markKey(x.rule.rule.Name, x.msg.Time, x.msg.TraceID()))
		}
		f := x.performErrorAction(x.errorPayload(failures))
		if f == nil {
			return
		}
		failed = append(failed, f)
	}
	x.out.Failed = append(x.out.Failed, failed...)
	x.engine.logFailure(failed[0], x.in.Topic) // a publisher over MQTT is not told
}

// logFailure logs a failure that no error action took.
func (e *Engine) logFailure(f *message.Failure, topic string) {
	if ok, missed := e.failures.Allow(); ok {
		e.log.Warn("an action of a rule failed, and no error action took it", "rule", f.Rule, "action", f.Action,
			"target", cut(f.Target, maxShownError), "topic", cut(topic, maxShownError), "err", cut(f.Err.Error(), maxShownError), "not_logged", missed)
	}
}

// perform runs one action. It returns nil when that worked, or when neither the
// store nor the cluster of the tables can take a write for now: then the message
// will come again.
func (x *execution) perform(a action, r eval.Result) *message.Failure {
	target, err := "", r.Err()
	if err == nil {
		target, err = a.run(x, r)
	}
	if err == nil {
		return nil
	}
	f := &message.Failure{Rule: x.rule.rule.Name, Action: a.name(), Target: target, Err: err}
	x.rule.stats.failure(f, x.in)
	if errors.Is(err, store.ErrFull) || errors.Is(err, errWritesFull) {
		x.out.Unavailable = err
		return nil
	}
	return f
}

// publish implements effects.
func (x *execution) publish(m *message.Message) error {
	x.out.Republish = append(x.out.Republish, m)
	return nil
}
