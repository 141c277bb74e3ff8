package iotdata

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/message"
)

// maxRetainedPage is the most messages that ListRetainedMessages returns.
const maxRetainedPage = 200

type retainedMessage struct {
	Topic            string `json:"topic"`
	Payload          []byte `json:"payload"` // base64
	QoS              byte   `json:"qos"`
	LastModifiedTime int64  `json:"lastModifiedTime"` // milliseconds since 1970
	UserProperties   string `json:"userProperties,omitempty"`
}

type retainedSummary struct {
	Topic            string `json:"topic"`
	PayloadSize      int    `json:"payloadSize"`
	QoS              byte   `json:"qos"`
	LastModifiedTime int64  `json:"lastModifiedTime"`
}

type retainedPage struct {
	RetainedTopics []retainedSummary `json:"retainedTopics"`
	NextToken      string            `json:"nextToken,omitempty"`
}

func (s *Service) getRetained(r *http.Request, _ string) (any, error) {
	topic := r.PathValue("topic")
	if err := validTopic(topic); err != nil {
		return nil, err
	}
	if err := may(r, "iot:GetRetainedMessage", "topic/"+topic); err != nil {
		return nil, err
	}
	m, found, err := s.c.Retained.Retained(topic)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, awsapi.Errorf(http.StatusNotFound, "ResourceNotFoundException", "no retained message has the topic %.256q", topic)
	}
	payload := m.Payload
	if payload == nil {
		payload = []byte{}
	}
	return retainedMessage{m.Topic, payload, m.QoS, m.Time.UnixMilli(), encodeProperties(m.UserProperties)}, nil
}

func encodeProperties(properties []message.UserProperty) string {
	if len(properties) == 0 {
		return ""
	}
	list := make([]map[string]string, len(properties))
	for i, p := range properties {
		list[i] = map[string]string{p.Name: p.Value}
	}
	data, _ := json.Marshal(list) // strings always marshal
	return base64.StdEncoding.EncodeToString(data)
}

// listRetained pages by topic: the token is the last topic of a page.
func (s *Service) listRetained(r *http.Request, _ string) (any, error) {
	if err := may(r, "iot:ListRetainedMessages", "*"); err != nil {
		return nil, err
	}
	query := r.URL.Query()
	limit := maxRetainedPage
	if v := query.Get("maxResults"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > maxRetainedPage {
			return nil, invalid("maxResults must be from 1 to %d, not %.32q", maxRetainedPage, v)
		}
		limit = n
	}
	after, err := base64.RawURLEncoding.DecodeString(query.Get("nextToken"))
	if err != nil {
		return nil, invalid("nextToken is not one of this server")
	}
	list, err := s.c.Retained.RetainedAfter(string(after), limit+1)
	if err != nil {
		return nil, err
	}
	page := retainedPage{RetainedTopics: []retainedSummary{}}
	for i, m := range list {
		if i == limit {
			page.NextToken = base64.RawURLEncoding.EncodeToString([]byte(list[i-1].Topic))
			break
		}
		page.RetainedTopics = append(page.RetainedTopics, retainedSummary{m.Topic, len(m.Payload), m.QoS, m.Time.UnixMilli()})
	}
	return page, nil
}
