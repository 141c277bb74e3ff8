package provisioning

import (
	"encoding/json"
	"fmt"
	"strings"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/mqtt"
)

// The topics of provisioning (AWS IoT developer guide, "Reserved topics").
const (
	certificatePrefix = "$aws/certificates/"
	templatePrefix    = "$aws/provisioning-templates/"
	eventPrefix       = "$aws/events/certificates/registered/"
	eventsPrefix      = "$aws/events/certificates/"
)

// requests are what clients publish on, and answers what they are told, with +
// for the name of a template.
var requests, answers = topics()

func topics() (requests, answers []string) {
	for _, what := range []string{certificatePrefix + "create/", certificatePrefix + "create-from-csr/", templatePrefix + "+/provision/"} {
		for _, format := range []string{"json", "cbor"} {
			requests = append(requests, what+format)
			answers = append(answers, what+format+"/accepted", what+format+"/rejected")
		}
	}
	return requests, append(answers, eventPrefix+"+")
}

// request is what a topic asks for.
type request struct {
	operation string // "create", "create-from-csr" or "provision"
	template  string // of "provision"
	cbor      bool
}

func parseTopic(topic string) (q request, ok bool) {
	if rest, is := strings.CutPrefix(topic, templatePrefix); is {
		q.template, rest, _ = strings.Cut(rest, "/")
		topic = rest
	} else if topic, is = strings.CutPrefix(topic, certificatePrefix); !is {
		return q, false
	}
	operation, format, _ := strings.Cut(topic, "/")
	q.operation, q.cbor = operation, format == "cbor"
	known := operation == "provision" && q.template != "" || q.template == "" && (operation == "create" || operation == "create-from-csr")
	return q, known && (q.cbor || format == "json")
}

// Serves says whether a topic or a filter is the business of provisioning.
func (e *Engine) Serves(topic string) bool {
	for _, prefix := range []string{certificatePrefix, templatePrefix, eventsPrefix} {
		if strings.HasPrefix(topic, prefix) {
			return true
		}
	}
	return false
}

// CheckTopic says why nobody may publish on topic, or nil.
func (e *Engine) CheckTopic(topic string, answered bool) error {
	if _, ok := parseTopic(topic); ok {
		if !answered {
			return unanswered(topic)
		}
		return nil
	}
	return fmt.Errorf("only the provisioning service publishes on %.300q: publish on %screate/json, %screate-from-csr/json or %s<template>/provision/json",
		topic, certificatePrefix, certificatePrefix, templatePrefix)
}

// unanswered refuses a request from which nobody would ever learn what became
// of it (AWS IoT developer guide, "Device provisioning MQTT API": the results go
// back through the connection of the request).
func unanswered(topic string) error {
	return fmt.Errorf("only clients of MQTT are provisioned on %.300q: publish on it over MQTT", topic)
}

// CheckFilter says why clients may not subscribe to filter, or nil. What a
// device asks for holds its ownership token, so nobody else may listen to it.
func (e *Engine) CheckFilter(filter string) error {
	if !e.Serves(filter) {
		return fmt.Errorf("nothing of the provisioning service is on %.300q", filter)
	}
	for _, one := range requests {
		if mqtt.Overlap(filter, one) {
			return fmt.Errorf("%.300q takes in what devices ask for, with their tokens: subscribe to …/accepted and …/rejected", filter)
		}
	}
	for _, one := range answers {
		if mqtt.Overlap(filter, one) {
			return nil
		}
	}
	return fmt.Errorf("the provisioning service publishes nothing on %.300q: subscribe to %screate/json/accepted, %s<template>/provision/json/accepted, or %s<caCertificateId>",
		filter, certificatePrefix, templatePrefix, eventPrefix)
}

// Hold has a burst that asks for provisioning commit what it has first: what
// provisioning changes is committed by the registry, which takes its time.
func (e *Engine) Hold(_ *store.Batch, topic string, wait bool) bool {
	_, ok := parseTopic(topic)
	return !ok || wait
}

// Apply serves the request that m is. The answer goes to its client alone, and
// with QoS 0, so that a private key is never in a queue on disk.
func (e *Engine) Apply(_ *store.Batch, m *message.Message) ([]*message.Message, error) {
	q, ok := parseTopic(m.Topic)
	if !ok {
		return nil, nil
	}
	if m.ClientID == "" { // an answer would be for all
		return nil, unanswered(m.Topic)
	}
	body, refusal := e.serve(q, m)
	topic := m.Topic + "/accepted"
	if refusal != nil {
		refused := e.refusal(refusal)
		e.log.Warn("provisioning was refused", "client_id", m.ClientID, "principal", m.Principal, "topic", m.Topic, "reason", refused.Message)
		topic = m.Topic + "/rejected"
		body = map[string]any{"statusCode": refused.Status, "errorCode": refused.Code, "errorMessage": refused.Message}
	}
	payload, err := encode(q, body)
	if err != nil {
		e.log.Error("a provisioning answer cannot be encoded", "topic", m.Topic, "err", err)
		return nil, err
	}
	return []*message.Message{{Topic: topic, Payload: payload, To: m.ClientID, Time: m.Time, Depth: m.Depth + 1}}, refusal
}

// serve does what q asks for and returns the members of the answer.
func (e *Engine) serve(q request, m *message.Message) (map[string]any, error) {
	if m.Principal == "" {
		return nil, refuse(403, codeDenied, "only clients with a certificate or an access key are provisioned")
	}
	var in struct {
		CSR        string            `json:"certificateSigningRequest"`
		Token      string            `json:"certificateOwnershipToken"`
		Parameters map[string]string `json:"parameters"`
	}
	if err := decode(q, m.Payload, &in); err != nil {
		return nil, refuse(400, codePayload, "the payload cannot be read: %v", err)
	}
	if q.operation == "provision" {
		p, made, err := e.claimed(q.template, m.Principal, in.Token, in.Parameters)
		if err != nil {
			return nil, err
		}
		body := map[string]any{"thingName": made.Thing, "deviceConfiguration": map[string]any{}}
		if p.device != nil {
			body["deviceConfiguration"] = p.device
		}
		return body, nil
	}
	if q.operation == "create-from-csr" && in.CSR == "" {
		return nil, refuse(400, codePayload, "certificateSigningRequest is missing: send a signing request in PEM")
	}
	if q.operation == "create" {
		in.CSR = ""
	}
	e.making <- struct{}{}
	defer func() { <-e.making }()
	made, err := e.reg.CreatePending(m.Principal, in.CSR)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"certificateId": made.Certificate.ID, "certificatePem": made.Certificate.PEM, "certificateOwnershipToken": made.Token}
	if made.Keys.Private != "" {
		body["privateKey"] = made.Keys.Private
	}
	return body, nil
}

// decode reads a payload, which may be empty, into v.
func decode(q request, payload []byte, v any) error {
	if strings.TrimSpace(string(payload)) == "" && !q.cbor || len(payload) == 0 {
		return nil
	}
	if q.cbor {
		item, err := decodeCBOR(payload)
		if err != nil {
			return err
		}
		if payload, err = json.Marshal(item); err != nil {
			return err
		}
	}
	return json.Unmarshal(payload, v)
}

func encode(q request, body map[string]any) ([]byte, error) {
	if q.cbor {
		return appendCBOR(nil, body)
	}
	return json.Marshal(body)
}
