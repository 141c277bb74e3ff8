package sink

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"mote/internal/cloud/outbox"
)

func TestLambda(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "busy") {
			w.WriteHeader(http.StatusTooManyRequests)
		} else {
			w.WriteHeader(http.StatusAccepted)
		}
	})
	const arn = "arn:aws:lambda:us-east-1:123456789012:function:"
	d, err := NewLambda(LambdaOptions{Functions: map[string]string{
		"dust": s.URL, "dust:old": s.URL + "/old", arn + "exact": s.URL + "/exact?a=b", "busy": s.URL + "/",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	call := func(function, payload string) error {
		l := &Lambda{function, []byte(payload)}
		return d.Deliver(context.Background(), []*outbox.Entry{{ID: "id1", Data: l.Encode()}})[0]
	}
	for _, c := range []struct{ function, uri string }{
		{"dust", "POST /2015-03-31/functions/dust/invocations"},
		{arn + "dust", "POST /2015-03-31/functions/dust/invocations"},
		{arn + "dust:prod", "POST /2015-03-31/functions/dust/invocations?Qualifier=prod"},
		{arn + "dust:old", "POST /old"},
		{arn + "exact", "POST /exact?a=b"},
	} {
		if err := call(c.function, `{"a":1}`); err != nil {
			t.Errorf("%s: %v", c.function, err)
			continue
		}
		all := s.requests()
		r := all[len(all)-1]
		if r.uri != c.uri || r.body != `{"a":1}` || r.header.Get("X-Amz-Invocation-Type") != "Event" || r.header.Get("Content-Type") != "application/json" || r.header.Get(IDHeader) != "id1" {
			t.Errorf("%s: got %+v", c.function, r)
		}
	}
	if err := call("other", "{}"); class(err) != "permanent" || !strings.Contains(err.Error(), "[cloud.lambda]") || !strings.Contains(err.Error(), "other") {
		t.Errorf("unknown function: %v", err)
	}
	if err := call("busy", "{}"); class(err) != "busy" {
		t.Errorf("throttled function: %v", err)
	}
	if err := d.Deliver(context.Background(), []*outbox.Entry{{Data: []byte{9}}})[0]; class(err) != "permanent" {
		t.Errorf("damaged: %v", err)
	}
}

func TestNewLambdaRefusesBadURLs(t *testing.T) {
	for function, url := range map[string]string{"dust": "localhost:9000", "a/b": "http://h", "x": "http://u:p@h"} {
		if _, err := NewLambda(LambdaOptions{Functions: map[string]string{function: url}}); err == nil {
			t.Errorf("%s at %s was accepted", function, url)
		}
	}
}
