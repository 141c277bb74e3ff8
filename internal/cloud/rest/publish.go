package rest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"mote/internal/cloud/message"
)

// maxPayload is the largest message of the broker, in bytes
// ("AWS IoT Core endpoints and quotas").
const maxPayload = 128 << 10

// publish sends the body as a message to the rules and subscribers.
type publish struct {
	topic  topicTemplate // nil: rest/{stage}/{path}
	qos    byte
	answer response
}

func compilePublish(in *Integration, topic string, answer response) (action, error) {
	topic, query, _ := strings.Cut(topic, "?")
	p := publish{qos: 1, answer: answer}
	switch query {
	case "", "qos=1":
	case "qos=0":
		p.qos = 0
	default:
		return nil, badRequest("the uri's query %.64q is not offered here, only qos=0 or qos=1", query)
	}
	if len(in.RequestTemplates) > 0 {
		return nil, badRequest("a publishing integration sends the body as it is: remove the request templates")
	}
	var err error
	p.topic, err = compileTopic(topic, in.RequestParameters)
	return p, err
}

func (publish) maxBody() int { return maxPayload }

func (p publish) run(ctx context.Context, e *Engine, c *call) reply {
	topicOf := c.ownTopic
	if p.topic != nil {
		topicOf = func() (string, error) { return p.topic.topic(c) }
	}
	topic, err := topicOf()
	if err != nil {
		return failure(http.StatusBadRequest, "BadRequestException", err.Error())
	}
	if !validTopic(topic) {
		return failure(http.StatusBadRequest, "BadRequestException", "the topic "+strconv.QuoteToASCII(cut(topic))+" of this request is not valid: it has 1 to 256 bytes without + and #")
	}
	if e.o.Publisher == nil {
		e.o.Log.Error("a REST route publishes, but the engine has no publisher", "path", c.ep.path)
		return internalError()
	}
	outcome, err := e.o.Publisher.Publish(ctx, &message.Message{Topic: topic, Payload: c.body, QoS: p.qos, ContentType: c.r.Header.Get("Content-Type"),
		Principal: cmp.Or(c.accessKeyID, c.apiKeyID), SourceIP: c.sourceIP, Time: c.now})
	return p.outcome(e, c, outcome, err)
}

// outcome answers for what became of the message. AWS would answer 200 when a
// rule failed, and only its log would know; here the sender is told, with 400
// so that it does not try again what can never work.
func (p publish) outcome(e *Engine, c *call, outcome message.Outcome, err error) reply {
	if refused, ok := errors.AsType[invalidMessage](err); ok && refused.Invalid() {
		return failure(http.StatusBadRequest, "BadRequestException", refused.Error())
	}
	if err = cmp.Or(outcome.Unavailable, err); err != nil {
		e.o.Log.Warn("a REST message was not stored, its sender is asked to try again", "request_id", c.id, "err", err)
		return unavailable("message", err)
	}
	if texts := outcome.Failures(); len(texts) > 0 {
		return failure(http.StatusBadRequest, "BadRequestException", strings.Join(texts, "; "))
	}
	body, _ := json.Marshal(struct { // strings always marshal
		Message string `json:"message"`
		TraceID string `json:"traceId"`
	}{"OK", c.id})
	return p.answer.success(body)
}

// invalidMessage is an error of a [Publisher] that sending again does not help.
type invalidMessage interface {
	error
	Invalid() bool
}

func internalError() reply {
	return failure(http.StatusInternalServerError, "InternalServerErrorException", "Internal server error")
}
