package iotdata

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"mote/internal/cloud/awsapi"
)

// ending notes what it is asked to end; only "here" is connected.
type ending struct {
	asked []string
	err   error
}

func (e *ending) Disconnect(_ context.Context, clientID string, clean, dropWill bool) (bool, error) {
	what := clientID
	if clean {
		what += " clean"
	}
	if dropWill {
		what += " without will"
	}
	e.asked = append(e.asked, what)
	return clientID == "here/1", e.err
}

func TestDeleteConnection(t *testing.T) {
	e := &ending{}
	s := New(Config{Publisher: &broker{}, Connections: e})
	for _, c := range []struct {
		method, target string
		status         int
		text           string
	}{
		{"DELETE", "/connections/here%2F1", 200, "{}"},
		{"DELETE", "/connections/here%2F1?cleanSession=true&preventWillMessage=true", 200, "{}"},
		{"DELETE", "/connections/gone?cleanSession=TRUE", 404, "no client with the id"},
		{"DELETE", "/connections/%24a", 400, "does not begin with $"},
		{"DELETE", "/connections/" + strings.Repeat("a", 129), 400, "at most 128"},
		{"DELETE", "/connections/a?cleanSession=perhaps", 400, "cleanSession must be true or false"},
		{"DELETE", "/connections/a?preventWillMessage=2", 400, "preventWillMessage must be"},
		{"DELETE", "/connections/a?x=%zz", 400, "query"},
		{"GET", "/connections/a", 501, "GetConnection is not offered"},
		{"GET", "/connections/a/subscriptions", 501, "ListSubscriptions is not offered"},
		{"POST", "/connections/a/messages?topic=t", 501, "SendDirectMessage is not offered"},
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(c.method, c.target, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
	}
	if want := []string{"here/1", "here/1 clean without will", "gone clean"}; !slices.Equal(e.asked, want) {
		t.Errorf("asked %q", e.asked)
	}
	e.err = context.DeadlineExceeded
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("DELETE", "/connections/here%2F1", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "has not yet") {
		t.Errorf("too slow: %d %s", w.Code, w.Body)
	}
}

// TestDevicesAreJudged lists what is asked of a device's policies.
func TestDevicesAreJudged(t *testing.T) {
	for _, c := range []struct{ method, target, want string }{
		{"POST", "/topics/a%2Fb?qos=1", "iot:Publish topic/a/b"},
		{"POST", "/topics/a?retain=true", "iot:RetainPublish topic/a"},
		{"GET", "/retainedMessage/a%2Fb", "iot:GetRetainedMessage topic/a/b"},
		{"GET", "/retainedMessage", "iot:ListRetainedMessages *"},
		{"GET", "/things/t/shadow", "iot:GetThingShadow thing/t"},
		{"POST", "/things/t/shadow?name=n", "iot:UpdateThingShadow thing/t/n"},
		{"DELETE", "/things/t/shadow", "iot:DeleteThingShadow thing/t"},
		{"GET", "/api/things/shadow/ListNamedShadowsForThing/t", "iot:ListNamedShadowsForThing thing/t"},
		{"DELETE", "/connections/c", "iot:DeleteConnection client/c"},
	} {
		b, e := &broker{}, &ending{}
		s := New(Config{Publisher: b, Retained: b, Shadows: &shadowBook{}, Connections: e})
		asked := ""
		may := func(action, resource string) error {
			if asked = action + " " + resource; asked == c.want {
				return errors.New("a policy denies it")
			}
			return nil
		}
		r := httptest.NewRequest(c.method, c.target, nil)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r.WithContext(awsapi.WithCaller(r.Context(), awsapi.Identity{CertificateID: "cert", May: may})))
		var m map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != http.StatusForbidden || m["message"] != "Forbidden" || w.Header().Get("x-amzn-ErrorType") != "ForbiddenException" {
			t.Errorf("%s %s: %d %s, asked %q", c.method, c.target, w.Code, w.Body, asked)
		}
		if len(b.got) > 0 || len(e.asked) > 0 {
			t.Errorf("%s %s: it was done", c.method, c.target)
		}
	}
	b := &broker{}
	r := httptest.NewRequest("POST", "/topics/a", nil)
	New(Config{Publisher: b}).ServeHTTP(httptest.NewRecorder(), r.WithContext(awsapi.WithCaller(r.Context(),
		awsapi.Identity{CertificateID: "cert", May: func(string, string) error { return nil }})))
	if len(b.got) != 1 || b.got[0].Principal != "cert" {
		t.Errorf("published %+v", b.got)
	}
}
