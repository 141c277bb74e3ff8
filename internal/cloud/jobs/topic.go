package jobs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// The topics of jobs (AWS IoT developer guide, "Reserved topics", Jobs topics).
const (
	topicPrefix = "$aws/things/"
	jobsPart    = "/jobs/"
)

// answered are the ends of the topics on which the service alone publishes.
var answered = []string{"accepted", "rejected"}

// filters are the topics that clients may subscribe to, below a thing.
var filters = []string{
	"notify", "notify-next", "get/accepted", "get/rejected", "start-next/accepted", "start-next/rejected",
	"+/get/accepted", "+/get/rejected", "+/update/accepted", "+/update/rejected",
	"get", "start-next", "+/get", "+/update",
}

// split returns the thing that a topic is about, and what follows jobs/.
func split(topic string) (thing, rest string, ok bool) {
	topic, ok = strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return "", "", false
	}
	thing, rest, ok = strings.Cut(topic, jobsPart)
	return thing, rest, ok && thing != "" && !strings.Contains(thing, "/")
}

// Serves says whether a topic, or a filter, is one of jobs.
func (e *Engine) Serves(topicOrFilter string) bool {
	_, _, ok := split(topicOrFilter)
	return ok
}

// asks returns what a message on a topic asks for, opNone when nothing.
func asks(rest string) (o op, job string) {
	switch rest {
	case "get":
		return opGet, ""
	case "start-next":
		return opStart, ""
	}
	job, verb, _ := strings.Cut(rest, "/")
	switch {
	case verb == "get" && (job == nextJob || validJobID(job)):
		return opDescribe, job
	case verb == "update" && validJobID(job):
		return opUpdate, job
	}
	return opNone, ""
}

// ours says whether the service alone publishes on a topic.
func ours(rest string) bool {
	if rest == "notify" || rest == "notify-next" {
		return true
	}
	for _, end := range answered {
		if strings.HasSuffix(rest, "/"+end) {
			return true
		}
	}
	return false
}

// CheckTopic says why nobody may publish on a topic that begins with $, or nil.
// One that asks for nothing is answered with InvalidTopic, where there is
// somebody to answer; without, those that change nothing are of no use.
func (e *Engine) CheckTopic(topic string, answered bool) error {
	thing, rest, ok := split(topic)
	switch {
	case !ok || !validThing(thing) || rest == "":
		return fmt.Errorf("%.300q is no topic of jobs: publish on %s<thing>/jobs/get, start-next, <jobId>/get or <jobId>/update", topic, topicPrefix)
	case ours(rest):
		return fmt.Errorf("only the jobs service publishes on %.300q: publish on …/jobs/get, start-next, <jobId>/get or <jobId>/update", topic)
	case answered:
		return nil
	}
	switch o, _ := asks(rest); o {
	case opNone:
		return fmt.Errorf("there is no operation of jobs on %.300q: publish on …/jobs/start-next or <jobId>/update", topic)
	case opGet, opDescribe:
		return fmt.Errorf("only clients of MQTT are answered on %.300q: ask over MQTT, or with GET /things/<thing>/jobs", topic)
	}
	return nil
}

// CheckFilter says why clients may not subscribe to a filter that begins with
// $, or nil. It may have wildcards below $aws/things/.
func (e *Engine) CheckFilter(filter string) error {
	if strings.HasPrefix(filter, topicPrefix) {
		for _, end := range filters {
			if mqtt.OverlapAWS(filter, topicPrefix+"+"+jobsPart+end) {
				return nil
			}
		}
	}
	return fmt.Errorf("%.300q is no filter of jobs: subscribe to %s<thing>/jobs/notify, notify-next, or …/jobs/#", filter, topicPrefix)
}

// Hold reserves the jobs for b until b is applied or given up, when a message
// on topic asks for something. It says no when another batch has them and wait
// is false; b must hold nothing when wait is true.
func (e *Engine) Hold(b *store.Batch, topic string, wait bool) bool {
	_, rest, ok := split(topic)
	if !ok || ours(rest) {
		return true
	}
	return e.hold(b, wait) || wait
}

// Apply does what a message on a topic of jobs asks for, adds the writes to b
// and returns the messages to publish with it: the answer, which is for the
// client that asked alone, and the notifications. Other messages, the service's
// own among them, are none of its business. The error, if not nil, is *[Error].
func (e *Engine) Apply(b *store.Batch, m *message.Message) (_ []*message.Message, err error) {
	thing, rest, ok := split(m.Topic)
	if !ok || ours(rest) {
		return nil, nil
	}
	t := e.begin(b)
	q, body, refused := e.answer(t, thing, rest, m.Payload)
	if refused == nil {
		if err := t.flush(); err != nil {
			e.log.Error("jobs cannot be read", "thing", thing, "err", err)
			refused = refuse(InternalError, "Internal service failure")
		}
	}
	end := "/accepted"
	if refused != nil {
		err = refused
		t.out, body, end = nil, rejection{Code: refused.Code, Message: refused.Message, State: refused.State}, "/rejected"
	}
	if m.ClientID != "" {
		out := &message.Message{Topic: m.Topic + end, Payload: encode(t.stamp(body, q)), QoS: m.QoS, To: m.ClientID}
		t.out = append([]*message.Message{out}, t.out...)
	}
	for _, out := range t.out {
		out.Time, out.Depth = m.Time, m.Depth+1 // rules that answer these feed themselves as those that republish do
	}
	return t.out, err
}

// answer does what a request asks for.
func (e *Engine) answer(t *tx, thing, rest string, payload []byte) (q request, body any, refused *Error) {
	o, job := asks(rest)
	q, refused = readRequest(payload, o)
	switch {
	case o == opNone:
		return q, nil, refuse(InvalidTopic, "There is no operation on this topic: publish on jobs/get, start-next, <jobId>/get or <jobId>/update")
	case refused != nil:
		return q, nil, refused
	case !e.held(t.b):
		return q, nil, refuse(RequestThrottled, "Too many requests wait, send it again later")
	}
	if refused := e.checkThing(thing); refused != nil {
		return q, nil, refused
	}
	switch o {
	case opGet:
		return q, t.pendingOf(thing), nil
	case opUpdate:
		body, refused = t.update(thing, job, q)
		return q, body, refused
	}
	var one execution
	if o == opStart {
		one.Execution, refused = t.startNext(thing, q)
	} else {
		one.Execution, refused = t.describe(thing, job, q)
	}
	return q, one, refused
}

func (e *Engine) held(b *store.Batch) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.owner == b
}

// execution is the answer about one.
type execution struct {
	Execution *Data `json:"execution,omitempty"`
}

// rejection is the answer to a request that was refused.
type rejection struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	State   *State `json:"executionState,omitempty"`
}

// stamp puts the token and the time beside a body.
func (t *tx) stamp(body any, q request) any {
	s := struct {
		Token     *string `json:"clientToken,omitempty"`
		Timestamp int64   `json:"timestamp"`
	}{nil, seconds(t.now)}
	if q.has {
		s.Token = &q.token
	}
	return [2]any{s, body}
}

// encode is the JSON text of a value, with < and > as they are; two values are
// the members of both in one object.
func encode(v any) []byte {
	if pair, ok := v.([2]any); ok {
		first, second := encode(pair[0]), encode(pair[1])
		if len(second) <= len("{}") {
			return first
		}
		return append(append(first[:len(first)-1], ','), second[1:]...)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // the types above marshal, and documents are JSON
		panic(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// changed is a notification that the queue of a thing has changed.
type changed struct {
	Timestamp int64                       `json:"timestamp"`
	Jobs      map[Status][]PendingSummary `json:"jobs"`
}

// nextChanged is a notification that a thing has another execution to do next.
type nextChanged struct {
	Timestamp int64 `json:"timestamp"`
	Execution *Data `json:"execution,omitempty"`
}

// notify tells a thing of changes in its queue (AWS IoT developer guide, "Jobs
// notifications").
func (t *tx) notify(thing string, q *queue) {
	prefix := topicPrefix + thing + jobsPart
	if q.changed {
		c := changed{seconds(t.now), map[Status][]PendingSummary{}}
		for i := range q.list[:min(len(q.list), maxListed)] {
			p := &q.list[i]
			c.Jobs[p.Status] = append(c.Jobs[p.Status], p.summary())
		}
		t.out = append(t.out, &message.Message{Topic: prefix + "notify", Payload: encode(c), QoS: 1})
	}
	var first pending
	if len(q.list) > 0 {
		first = q.list[0]
	}
	if first.is(&q.first) {
		return
	}
	n := nextChanged{Timestamp: seconds(t.now)}
	if job, _, x := t.next(thing); job != "" {
		n.Execution = t.data(job, "", x, true)
	}
	t.out = append(t.out, &message.Message{Topic: prefix + "notify-next", Payload: encode(n), QoS: 1})
}
