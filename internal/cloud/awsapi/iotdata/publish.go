package iotdata

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/message"
	"mote/internal/mqtt"
)

// Limits of a publish ("AWS IoT Core endpoints and quotas").
const (
	maxTopicBytes     = 256
	maxTopicSlashes   = 7
	maxUserProperties = 8 << 10 // bytes of their JSON
	maxCorrelation    = 8 << 10 // bytes
)

// published is the answer to a publish, as captured from AWS. The
// failures are ours: on AWS they are only in a log.
type published struct {
	Message  string   `json:"message"`
	TraceID  string   `json:"traceId"`
	Failures []string `json:"failures,omitempty"`
}

// invalidMessage is an error of a [Publisher] that sending again does not help.
type invalidMessage interface {
	error
	Invalid() bool
}

func (s *Service) publish(r *http.Request, id string) (any, error) {
	m, err := s.message(r)
	if err == nil {
		err = mayPublish(r, m)
	}
	if err != nil {
		return nil, err
	}
	outcome, err := s.c.Publisher.Publish(r.Context(), m)
	if refused, ok := errors.AsType[invalidMessage](err); ok && refused.Invalid() {
		return nil, invalid("%v", refused)
	}
	if outcome.Unavailable != nil {
		err = outcome.Unavailable
	}
	if err != nil {
		s.c.Log.Warn("a message was not stored, its sender is asked to send it again", "topic", m.Topic, "request_id", id, "err", err)
		return nil, awsapi.Errorf(http.StatusServiceUnavailable, "ServiceUnavailableException", "the message was not stored, send it again later: %v", err)
	}
	return published{Message: "OK", TraceID: id, Failures: outcome.Failures()}, nil
}

// mayPublish asks the policies of a device.
func mayPublish(r *http.Request, m *message.Message) error {
	if err := may(r, "iot:Publish", "topic/"+m.Topic); err != nil || !m.Retain {
		return err
	}
	return may(r, "iot:RetainPublish", "topic/"+m.Topic)
}

// message makes the message of a publish request.
func (s *Service) message(r *http.Request) (*message.Message, error) {
	caller := awsapi.Caller(r.Context())
	m := &message.Message{Topic: r.PathValue("topic"), Principal: caller.Principal(), SourceIP: caller.SourceIP, Time: s.c.Now()}
	if err := validTopic(m.Topic); err != nil {
		return nil, err
	}
	body, err := awsapi.Body(r)
	if err != nil {
		return nil, err
	}
	m.Payload = body
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is malformed: %v", err)
	}
	if err := setQuery(m, query); err != nil {
		return nil, err
	}
	return m, setHeaders(m, r.Header)
}

func validTopic(topic string) error {
	if err := mqtt.ValidTopic(topic); err != nil {
		return invalid("topic %.256q: %v", topic, err)
	}
	if len(topic) > maxTopicBytes {
		return invalid("the topic is longer than %d bytes", maxTopicBytes)
	}
	if strings.Count(topic, "/") > maxTopicSlashes && !strings.HasPrefix(topic, "$aws/") {
		return invalid("the topic has more than %d slashes", maxTopicSlashes)
	}
	return nil
}

func setQuery(m *message.Message, query url.Values) error {
	switch qos := query.Get("qos"); qos {
	case "", "0":
	case "1":
		m.QoS = 1
	default:
		return invalid("qos must be 0 or 1, not %.32q", qos)
	}
	if v := query.Get("retain"); v != "" {
		retain, err := strconv.ParseBool(v)
		if err != nil {
			return invalid("retain must be true or false, not %.32q", v)
		}
		m.Retain = retain
	}
	if m.ContentType = query.Get("contentType"); !utf8.ValidString(m.ContentType) || len(m.ContentType) > 1024 {
		return invalid("contentType must be UTF-8 text of at most 1024 bytes")
	}
	if m.ResponseTopic = query.Get("responseTopic"); m.ResponseTopic != "" {
		if err := validTopic(m.ResponseTopic); err != nil {
			return err
		}
	}
	if v := query.Get("messageExpiry"); v != "" {
		seconds, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return invalid("messageExpiry must be a number of seconds, not %.32q", v)
		}
		if seconds > 0 {
			m.Expiry = m.Time.Add(time.Duration(seconds) * time.Second)
		}
	}
	return nil
}

func setHeaders(m *message.Message, h http.Header) error {
	switch v := h.Get("x-amz-mqtt5-payload-format-indicator"); v {
	case "", "UNSPECIFIED_BYTES":
	case "UTF8_DATA":
		if !utf8.Valid(m.Payload) {
			return invalid("the payload format is UTF8_DATA, but the payload is not UTF-8")
		}
		m.UTF8Payload = true
	default:
		return invalid("the payload format indicator must be UNSPECIFIED_BYTES or UTF8_DATA, not %.32q", v)
	}
	if v := h.Get("x-amz-mqtt5-correlation-data"); v != "" {
		data, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(data) > maxCorrelation {
			return invalid("the correlation data must be base64 of at most %d bytes", maxCorrelation)
		}
		m.CorrelationData = data
	}
	if v := h.Get("x-amz-mqtt5-user-properties"); v != "" {
		properties, err := userProperties(v)
		if err != nil {
			return err
		}
		m.UserProperties = properties
	}
	return nil
}

// userProperties decodes base64 of a JSON array of one-key objects.
func userProperties(encoded string) ([]message.UserProperty, error) {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(data) > maxUserProperties {
		return nil, invalid("the user properties must be base64 of at most %d bytes", maxUserProperties)
	}
	var list []map[string]string
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, invalid("the user properties must be base64 of a JSON array like [{\"name\":\"value\"}]")
	}
	out := make([]message.UserProperty, 0, len(list))
	for _, object := range list {
		if len(object) != 1 {
			return nil, invalid("each user property must be an object with one member")
		}
		for name, value := range object {
			out = append(out, message.UserProperty{Name: name, Value: value})
		}
	}
	return out, nil
}
