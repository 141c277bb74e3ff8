package iotdata

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/message"
	"mote/internal/sigv4"
)

// broker keeps what was published, and answers as it is told.
type broker struct {
	got      []*message.Message
	outcome  message.Outcome
	err      error
	retained []*message.Message // by topic
}

func (b *broker) Publish(_ context.Context, m *message.Message) (message.Outcome, error) {
	b.got = append(b.got, m)
	return b.outcome, b.err
}

func (b *broker) Retained(topic string) (*message.Message, bool, error) {
	for _, m := range b.retained {
		if m.Topic == topic {
			return m, true, nil
		}
	}
	return nil, false, nil
}

func (b *broker) RetainedAfter(topic string, limit int) ([]*message.Message, error) {
	var out []*message.Message
	for _, m := range b.retained {
		if m.Topic > topic && len(out) < limit {
			out = append(out, m)
		}
	}
	return out, nil
}

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func do(t testing.TB, b *broker, method, target, body string, header ...string) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	s := New(Config{Publisher: b, Retained: b, Now: func() time.Time { return now }})
	r := httptest.NewRequest(method, target, nil)
	awsapi.SetBody(r, []byte(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r = r.WithContext(awsapi.WithCaller(r.Context(), awsapi.Identity{AccessKeyID: "AKID", SourceIP: "192.0.2.1"}))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("%s %s answers %q: %v", method, target, w.Body, err)
	}
	if id := w.Header().Get("x-amzn-RequestId"); id == "" || m["traceId"] != nil && m["traceId"] != id {
		t.Errorf("request id %q, trace id %v", id, m["traceId"])
	}
	return w, m
}

func TestPublish(t *testing.T) {
	b := &broker{}
	w, m := do(t, b, "POST", "/topics/sensors%2F1/air/?qos=1&retain=true&contentType=application%2Fjson&responseTopic=r%2Fs&messageExpiry=60", `{"dust":1}`,
		"x-amz-mqtt5-user-properties", base64.StdEncoding.EncodeToString([]byte(`[{"a":"1"},{"a":"2"}]`)),
		"x-amz-mqtt5-payload-format-indicator", "UTF8_DATA", "x-amz-mqtt5-correlation-data", "AAE=")
	if w.Code != 200 || m["message"] != "OK" || m["traceId"] == nil || len(m) != 2 {
		t.Fatalf("%d %v", w.Code, m)
	}
	want := &message.Message{Topic: "sensors/1/air/", Payload: []byte(`{"dust":1}`), QoS: 1, Retain: true, Principal: "AKID", SourceIP: "192.0.2.1", Time: now,
		ContentType: "application/json", ResponseTopic: "r/s", CorrelationData: []byte{0, 1}, UTF8Payload: true, Expiry: now.Add(time.Minute),
		UserProperties: []message.UserProperty{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}}
	if len(b.got) != 1 || !reflect.DeepEqual(b.got[0], want) {
		t.Errorf("got %+v\nwant %+v", b.got[0], want)
	}
}

type refusedTopic struct{ error }

func (refusedTopic) Invalid() bool { return true }

func TestPublishOutcomes(t *testing.T) {
	b := &broker{outcome: message.Outcome{Failed: []*message.Failure{{Rule: "r", Action: "DynamoDBv2Action", Target: "air", Err: errors.New("no key")}}}}
	if w, m := do(t, b, "POST", "/topics/a", ""); w.Code != 200 || m["failures"].([]any)[0] != "rule r: DynamoDBv2Action on air: no key" {
		t.Errorf("failed: %d %v", w.Code, m)
	}
	b.outcome = message.Outcome{Refused: errors.New("Version conflict")}
	if w, m := do(t, b, "POST", "/topics/$aws/things/a/shadow/update", ""); w.Code != 200 || m["failures"].([]any)[0] != "Version conflict" {
		t.Errorf("refused by the service of the topic: %d %v", w.Code, m)
	}
	b.outcome = message.Outcome{Unavailable: errors.New("disk full")}
	if w, m := do(t, b, "POST", "/topics/a", ""); w.Code != 503 || w.Header().Get("x-amzn-ErrorType") != "ServiceUnavailableException" || !strings.Contains(m["message"].(string), "disk full") {
		t.Errorf("unavailable: %d %v", w.Code, m)
	}
	b.outcome, b.err = message.Outcome{}, errors.New("closing")
	if w, m := do(t, b, "POST", "/topics/a", ""); w.Code != 503 || !strings.Contains(m["message"].(string), "closing") {
		t.Errorf("broken: %d %v", w.Code, m)
	}
	b.err = refusedTopic{errors.New("reserved topic")}
	if w, m := do(t, b, "POST", "/topics/a", ""); w.Code != 400 || m["message"] != "reserved topic" {
		t.Errorf("refused: %d %v", w.Code, m)
	}
}

func TestPublishRefusals(t *testing.T) {
	for _, c := range []struct {
		target string
		header []string
		status int
		text   string
	}{
		{"/topics/a/%2B", nil, 400, "topic"},
		{"/topics/%23", nil, 400, "topic"},
		{"/topics/" + strings.Repeat("a", 257), nil, 400, "256 bytes"},
		{"/topics/a/b/c/d/e/f/g/h/i", nil, 400, "7 slashes"},
		{"/topics/a?qos=2", nil, 400, "qos must be 0 or 1"},
		{"/topics/a?retain=maybe", nil, 400, "retain"},
		{"/topics/a?messageExpiry=-1", nil, 400, "messageExpiry"},
		{"/topics/a?responseTopic=%23", nil, 400, "topic"},
		{"/topics/a?x=%zz", nil, 400, "query"},
		{"/topics/a", []string{"x-amz-mqtt5-user-properties", "!"}, 400, "user properties"},
		{"/topics/a", []string{"x-amz-mqtt5-user-properties", base64.StdEncoding.EncodeToString([]byte(`[{"a":"1","b":"2"}]`))}, 400, "one member"},
		{"/topics/a", []string{"x-amz-mqtt5-correlation-data", "!"}, 400, "correlation"},
		{"/topics/a", []string{"x-amz-mqtt5-payload-format-indicator", "X"}, 400, "UTF8_DATA"},
		{"/things/a/shadow", nil, 501, "does not offer POST"},
		{"/retainedMessage", nil, 405, "[GET]"},
	} {
		b := &broker{}
		w, m := do(t, b, "POST", c.target, "x", c.header...)
		if w.Code != c.status || !strings.Contains(m["message"].(string), c.text) || len(b.got) != 0 || m["traceId"] == nil {
			t.Errorf("%s: %d %v", c.target, w.Code, m)
		}
	}
}

func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		e                *sigv4.Error
		status           int
		errorType, wants string
	}{
		{&sigv4.Error{Code: sigv4.CodeMissingToken, Message: "Request is missing Authentication Token"}, 403, "ForbiddenException", "Missing Authentication Token"},
		{&sigv4.Error{Code: sigv4.CodeUnknownKey, Message: "The security token included in the request is invalid."}, 403, "ForbiddenException", "The security token"},
		{&sigv4.Error{Code: "RequestEntityTooLargeException", Status: 413, Message: "big"}, 413, "RequestEntityTooLargeException", "big"},
	} {
		w := httptest.NewRecorder()
		New(Config{}).Refuse(w, httptest.NewRequest("POST", "/topics/a", nil), c.e)
		if w.Code != c.status || w.Header().Get("x-amzn-ErrorType") != c.errorType || !strings.Contains(w.Body.String(), c.wants) || !strings.Contains(w.Body.String(), `"traceId"`) {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
	}
}

func TestRetained(t *testing.T) {
	b := &broker{}
	for _, topic := range []string{"a", "a/b", "c"} {
		b.retained = append(b.retained, &message.Message{Topic: topic, Payload: []byte(topic), QoS: 1, Time: now, UserProperties: []message.UserProperty{{Name: "n", Value: "v"}}})
	}
	w, m := do(t, b, "GET", "/retainedMessage/a%2Fb", "")
	properties, _ := base64.StdEncoding.DecodeString(m["userProperties"].(string))
	if w.Code != 200 || m["topic"] != "a/b" || m["payload"] != "YS9i" || m["lastModifiedTime"] != float64(now.UnixMilli()) || string(properties) != `[{"n":"v"}]` {
		t.Errorf("%d %v", w.Code, m)
	}
	if w, m := do(t, b, "GET", "/retainedMessage/x", ""); w.Code != 404 {
		t.Errorf("%d %v", w.Code, m)
	}
	var topics []string
	token := ""
	for range 3 {
		_, m := do(t, b, "GET", "/retainedMessage?maxResults=2&nextToken="+token, "")
		for _, one := range m["retainedTopics"].([]any) {
			topics = append(topics, one.(map[string]any)["topic"].(string))
		}
		if token, _ = m["nextToken"].(string); token == "" {
			break
		}
	}
	if !slices.Equal(topics, []string{"a", "a/b", "c"}) {
		t.Errorf("paged %v", topics)
	}
	if w, _ := do(t, b, "GET", "/retainedMessage?maxResults=0", ""); w.Code != 400 {
		t.Errorf("maxResults 0: %d", w.Code)
	}
}

func FuzzPublish(f *testing.F) {
	f.Add("a%2Fb?qos=1", "x", "W3siYSI6IjEifV0=", "AAE=", "UTF8_DATA")
	f.Add("%zz?retain=%", "", "!", "!", "X")
	f.Fuzz(func(t *testing.T, rest, body, properties, correlation, format string) {
		r, err := http.NewRequest("POST", "http://h/topics/"+rest, nil)
		if err != nil {
			return
		}
		awsapi.SetBody(r, []byte(body))
		r.Header.Set("x-amz-mqtt5-user-properties", properties)
		r.Header.Set("x-amz-mqtt5-correlation-data", correlation)
		r.Header.Set("x-amz-mqtt5-payload-format-indicator", format)
		b := &broker{}
		w := httptest.NewRecorder()
		New(Config{Publisher: b, Retained: b}).ServeHTTP(w, r)
		if (w.Code == 200) != (len(b.got) == 1) || w.Code == 500 {
			t.Errorf("%d with %d published: %s", w.Code, len(b.got), w.Body)
		}
	})
}

// TestCommandLine publishes through the front with the AWS command line.
func TestCommandLine(t *testing.T) {
	path, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no AWS command line is installed")
	}
	b := &broker{retained: []*message.Message{{Topic: "t/1", Payload: []byte("p"), Time: now}}}
	s := httptest.NewServer(awsapi.NewFront(awsapi.Config{IoTData: New(Config{Publisher: b, Retained: b}), Keys: func(id string) (string, bool) { return "s3cr3t", id == "AKID" }}))
	defer s.Close()
	aws := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), path, append([]string{"iot-data", "--endpoint-url", s.URL, "--region", "eu-west-1", "--output", "json"}, args...)...)
		cmd.Env = append(cmd.Environ(), "AWS_ACCESS_KEY_ID=AKID", "AWS_SECRET_ACCESS_KEY=s3cr3t", "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	aws("publish", "--topic", "a/b c/ü", "--qos", "1", "--payload", "eA==")
	if len(b.got) != 1 || b.got[0].Topic != "a/b c/ü" || b.got[0].QoS != 1 || len(b.got[0].Payload) == 0 {
		t.Errorf("published %+v", b.got)
	}
	if out := aws("list-retained-messages"); !strings.Contains(out, `"topic": "t/1"`) {
		t.Error(out)
	}
}
