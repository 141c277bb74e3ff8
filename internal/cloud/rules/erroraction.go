package rules

import (
	"encoding/base64"
	"encoding/json"

	"mote/internal/cloud/message"
	"mote/internal/iotsql/eval"
)

// errorPayload is what an error action gets (AWS IoT developer guide, "Error
// handling (error action)"; for actions that were batched, "Batching HTTP
// action messages", error actions). One of Base64OriginalPayload and Payloads is
// there.
type errorPayload struct {
	RuleName              string           `json:"ruleName"`
	Topic                 string           `json:"topic,omitempty"` // not when the messages of a batch have several
	CloudwatchTraceID     string           `json:"cloudwatchTraceId,omitempty"`
	ClientID              string           `json:"clientId,omitempty"`
	Base64OriginalPayload *string          `json:"base64OriginalPayload,omitempty"`
	Payloads              []batchedPayload `json:"payloadsWithMetadata,omitempty"`
	Failures              []errorFailure   `json:"failures"`
}

// batchedPayload is one message of a batch.
type batchedPayload struct {
	ID                    int    `json:"id"` // from 1
	Topic                 string `json:"topic,omitempty"`
	CloudwatchTraceID     string `json:"cloudwatchTraceId"`
	ClientID              string `json:"clientId"`
	SourceIP              string `json:"sourceIp,omitempty"`
	Base64OriginalPayload string `json:"base64OriginalPayload"`
}

type errorFailure struct {
	AffectedIDs    []int  `json:"affectedIds,omitempty"` // ids of batched payloads
	FailedAction   string `json:"failedAction"`
	FailedResource string `json:"failedResource"`
	ErrorMessage   string `json:"errorMessage"`
}

func newErrorFailure(action, target string, err error) errorFailure {
	return errorFailure{FailedAction: action, FailedResource: cut(target, maxShownError), ErrorMessage: cut(err.Error(), maxShownError)}
}

// noClient is the clientId of a message that did not come over MQTT.
const noClient = "N/A"

func clientOr(id string) string {
	if id == "" {
		return noClient
	}
	return id
}

// errorPayload describes failures of the message that x runs over.
func (x *execution) errorPayload(failures []errorFailure) *errorPayload {
	payload := base64.StdEncoding.EncodeToString(x.in.Payload)
	return &errorPayload{
		RuleName: x.rule.rule.Name, Topic: x.in.Topic, CloudwatchTraceID: x.msg.TraceID(), ClientID: clientOr(x.in.ClientID),
		Base64OriginalPayload: &payload, Failures: failures,
	}
}

// performErrorAction runs the error action of the rule once for all failures.
func (x *execution) performErrorAction(p *errorPayload) *message.Failure {
	x.failing = true
	defer func() { x.failing = false }()
	data, err := json.Marshal(p)
	if err == nil {
		var r eval.Result
		if r, err = eval.ValueResult(string(data)); err == nil {
			return x.perform(x.rule.errorAction, r)
		}
	}
	return &message.Failure{Rule: p.RuleName, Action: x.rule.errorAction.name(), Err: err}
}
