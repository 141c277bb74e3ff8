package iotjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/jobs"
)

// book answers as it is told, and notes what it was asked.
type book struct {
	asked string
	data  *jobs.Data
	err   error
}

func (b *book) note(op string, parts ...string) { b.asked = op + " " + strings.Join(parts, " ") }

func (b *book) GetPending(_ context.Context, thing string) (jobs.Pending, error) {
	b.note("pending", thing)
	return jobs.Pending{InProgress: []jobs.PendingSummary{}, Queued: []jobs.PendingSummary{{JobID: "j", QueuedAt: 7}}}, b.err
}

func (b *book) StartNext(_ context.Context, thing string, payload []byte) (*jobs.Data, error) {
	b.note("start", thing, string(payload))
	return b.data, b.err
}

func (b *book) Describe(_ context.Context, thing, job string, payload []byte) (*jobs.Data, error) {
	b.note("describe", thing, job, string(payload))
	return b.data, b.err
}

func (b *book) UpdateExecution(_ context.Context, thing, job string, payload []byte) (jobs.Updated, error) {
	b.note("update", thing, job, string(payload))
	return jobs.Updated{State: &jobs.State{Status: jobs.Failed, VersionNumber: 3}, JobDocument: json.RawMessage(`{"a": 1}`)}, b.err
}

// TestDevicePolicy: a device with its certificate needs the action of each
// operation on its thing.
func TestDevicePolicy(t *testing.T) {
	for _, c := range []struct{ method, target, asks string }{
		{"GET", "/things/a/jobs", "iot:GetPendingJobExecutions thing/a"},
		{"PUT", "/things/a/jobs/$next", "iot:StartNextPendingJobExecution thing/a"},
		{"GET", "/things/b/jobs/j", "iot:DescribeJobExecution thing/b"},
		{"POST", "/things/a/jobs/j", "iot:UpdateJobExecution thing/a"},
	} {
		for _, allowed := range []bool{true, false} {
			b, asked := &book{}, ""
			may := func(action, resource string) error {
				if asked = action + " " + resource; !allowed {
					return errors.New("no policy allows it")
				}
				return nil
			}
			r := httptest.NewRequest(c.method, c.target, nil)
			awsapi.SetBody(r, []byte("{}"))
			w := httptest.NewRecorder()
			New(b, nil).ServeHTTP(w, r.WithContext(awsapi.WithCaller(r.Context(), awsapi.Identity{CertificateID: "c", May: may})))
			if asked != c.asks || (w.Code == 200) != allowed || (b.asked != "") != allowed || !allowed && (w.Code != 403 || !strings.Contains(w.Body.String(), "no policy allows it")) {
				t.Errorf("%s %s: asked %q, %d %s", c.method, c.target, asked, w.Code, w.Body)
			}
		}
	}
}

func TestService(t *testing.T) {
	one := &jobs.Data{JobID: "j", Status: jobs.Queued, QueuedAt: 7, JobDocument: json.RawMessage(`{"a": "<1.0>"}`)}
	refusal := func(code jobs.Code) error {
		return &jobs.Error{Code: code, Message: "why", State: &jobs.State{Status: jobs.Failed, VersionNumber: 3}}
	}
	const doc = `"jobDocument":"{\"a\": \"\u003c1.0\u003e\"}"`
	for _, c := range []struct {
		method, target, payload string
		data                    *jobs.Data
		err                     error
		asked                   string
		status                  int
		errorType, body         string
	}{
		{"GET", "/things/a%3Ab/jobs", "", nil, nil, "pending a:b", 200, "", `"queuedJobs":[{"jobId":"j","queuedAt":7,`},
		{"PUT", "/things/a/jobs/%24next", `{"stepTimeoutInMinutes":1}`, one, nil, `start a {"stepTimeoutInMinutes":1}`, 200, "", doc},
		{"PUT", "/things/a/jobs/$next", `{}`, nil, nil, `start a {}`, 200, "", `{}`},
		{"PUT", "/things/a/jobs/j", `{}`, nil, nil, ``, 405, "MethodNotAllowedException", "$next"},
		{"GET", "/things/a/jobs/$next?includeJobDocument=true", "", one, nil, `describe a $next {"includeJobDocument":true}`, 200, "", doc},
		{"GET", "/things/a/jobs/j?executionNumber=2", "", one, nil, `describe a j {"executionNumber":"2"}`, 200, "", `"execution":{`},
		{"GET", "/things/a/jobs/j", "", nil, refusal(jobs.TerminalStateReached), `describe a j {}`, 410, "TerminalStateException", `"why"`},
		{"GET", "/things/a/jobs/j", "", nil, refusal(jobs.ResourceNotFound), `describe a j {}`, 404, "ResourceNotFoundException", `"why"`},
		{"GET", "/things/a/jobs/j?x=%zz", "", nil, nil, ``, 400, "InvalidRequestException", `query`},
		{"POST", "/things/a/jobs/j", `{"status":"FAILED"}`, nil, nil, `update a j {"status":"FAILED"}`, 200, "", `"jobDocument":"{\"a\": 1}"`},
		{"POST", "/things/a/jobs/j", `{}`, nil, refusal(jobs.InvalidStateTransition), `update a j {}`, 409, "InvalidStateTransitionException", `"executionState":{"status":"FAILED"`},
		{"POST", "/things/a/jobs/j", `{}`, nil, refusal(jobs.VersionMismatch), `update a j {}`, 409, "InvalidStateTransitionException", `"versionNumber":3`},
		{"POST", "/things/a/jobs/j", `{`, nil, refusal(jobs.InvalidJSON), `update a j {`, 400, "InvalidRequestException", `"why"`},
		{"POST", "/things/a/jobs/j", `{}`, nil, refusal(jobs.RequestThrottled), `update a j {}`, 429, "ThrottlingException", `"why"`},
		{"POST", "/things/a/jobs/j", `{}`, nil, errors.New("disk full"), `update a j {}`, 503, "ServiceUnavailableException", `disk full`},
		{"DELETE", "/things/a/jobs", "", nil, nil, ``, 405, "MethodNotAllowedException", "GET"},
		{"POST", "/command-executions", "", nil, nil, ``, 501, "NotImplementedException", "command-executions"},
	} {
		t.Run(fmt.Sprint(c.method, " ", c.target), func(t *testing.T) {
			b := &book{data: c.data, err: c.err}
			r := httptest.NewRequest(c.method, c.target, nil)
			awsapi.SetBody(r, []byte(c.payload))
			w := httptest.NewRecorder()
			New(b, nil).ServeHTTP(w, r)
			if got := w.Body.String(); w.Code != c.status || w.Header().Get("x-amzn-ErrorType") != c.errorType || !strings.Contains(got, c.body) {
				t.Errorf("%d %q %s", w.Code, w.Header().Get("x-amzn-ErrorType"), got)
			}
			if b.asked != c.asked {
				t.Errorf("asked %q, want %q", b.asked, c.asked)
			}
		})
	}
}
