package rules

import (
	"encoding/base64"
	"encoding/json"
	"errors"
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

	members []table.Member // room for one item; clear between uses
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
	matching, topic := e.match(buf[:0], m.Topic)
	if len(matching) == 0 {
		return message.Outcome{}
	}
	x := executions.Get().(*execution)
	x.engine, x.batch, x.in = e, b, m
	x.msg = eval.Message{
		Topic: topic, Payload: m.Payload, ClientID: m.ClientID, Principal: m.Principal,
		SourceIP: m.SourceIP, Account: e.opt.Account, Time: m.Time,
	}
	if m.Time.IsZero() {
		x.msg.Time = time.Now()
	}
	for _, c := range matching {
		x.runRule(c)
	}
	out := x.out
	x.msg.Release()
	*x = execution{members: x.members}
	executions.Put(x)
	return out
}

// match appends the enabled rules for a topic to dst, and returns the topic
// that they see.
func (e *Engine) match(dst []*compiled, topic string) ([]*compiled, string) {
	s := e.snap.Load()
	direct, ok := strings.CutPrefix(topic, basicIngest)
	if !ok {
		return s.root.match(dst, topic), topic
	}
	name, rest, _ := strings.Cut(direct, "/")
	if c := s.byName[name]; c != nil && c.enabled() {
		return append(dst, c), rest
	}
	if ok, missed := e.missing.allow(); ok {
		e.log.Warn("a message for a rule that is not there, or is disabled", "rule", cut(name, 128), "topic", cut(topic, 256), "not_logged", missed)
	}
	return dst, rest
}

func (x *execution) runRule(c *compiled) {
	x.rule = c
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
	if len(failed) == 0 {
		return
	}
	if c.errorAction != nil {
		f := x.performErrorAction(failed)
		if f == nil {
			return
		}
		failed = append(failed, f)
	}
	x.out.Failed = append(x.out.Failed, failed...)
	if ok, missed := x.engine.failures.allow(); ok { // a publisher over MQTT is not told
		x.engine.log.Warn("an action of a rule failed, and no error action took it", "rule", c.rule.Name,
			"action", failed[0].Action, "target", cut(failed[0].Target, maxShownError), "topic", cut(x.in.Topic, maxShownError),
			"err", cut(failed[0].Err.Error(), maxShownError), "not_logged", missed)
	}
}

// perform runs one action. It returns nil when that worked, or when the store
// cannot write for now: then the message will come again.
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
	if errors.Is(err, store.ErrFull) {
		x.out.Unavailable = err
		return nil
	}
	return f
}

// errorPayload is what an error action gets (AWS IoT developer guide, "Error
// action message format").
type errorPayload struct {
	RuleName              string         `json:"ruleName"`
	Topic                 string         `json:"topic"`
	CloudwatchTraceID     string         `json:"cloudwatchTraceId"`
	ClientID              string         `json:"clientId"`
	Base64OriginalPayload string         `json:"base64OriginalPayload"`
	Failures              []errorFailure `json:"failures"`
}

type errorFailure struct {
	FailedAction   string `json:"failedAction"`
	FailedResource string `json:"failedResource"`
	ErrorMessage   string `json:"errorMessage"`
}

// performErrorAction runs the error action of the rule once for all failures.
func (x *execution) performErrorAction(failed []*message.Failure) *message.Failure {
	p := errorPayload{
		RuleName: x.rule.rule.Name, Topic: x.in.Topic, CloudwatchTraceID: x.msg.TraceID(), ClientID: x.in.ClientID,
		Base64OriginalPayload: base64.StdEncoding.EncodeToString(x.in.Payload),
	}
	if p.ClientID == "" {
		p.ClientID = "N/A"
	}
	for _, f := range failed {
		p.Failures = append(p.Failures, errorFailure{f.Action, cut(f.Target, maxShownError), cut(f.Err.Error(), maxShownError)})
	}
	data, err := json.Marshal(p)
	if err == nil {
		var r eval.Result
		if r, err = eval.ValueResult(string(data)); err == nil {
			return x.perform(x.rule.errorAction, r)
		}
	}
	return &message.Failure{Rule: p.RuleName, Action: x.rule.errorAction.name(), Err: err}
}
