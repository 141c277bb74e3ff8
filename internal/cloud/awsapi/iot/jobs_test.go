package iot

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"mote/internal/cloud/jobs"
	"mote/internal/cloud/message"
	"mote/internal/cloud/registry"
	"mote/internal/cloud/rules"
	"mote/internal/cloud/store"
)

var _ Jobs = (*jobs.Engine)(nil)

// fleet is the registry as the jobs see it.
type fleet struct{ *registry.Registry }

func (f fleet) HasThing(name string) bool { _, err := f.Thing(name); return err == nil }
func (f fleet) HasGroup(name string) bool { _, _, err := f.ThingGroup(name); return err == nil }

func (f fleet) GroupMembers(name string) []string {
	names, _, _ := f.ThingsInGroup(name, true, registry.Page{})
	return names
}

// newJobsServer is newServer with jobs.
func newJobsServer(t *testing.T) (*httptest.Server, *jobs.Engine) {
	t.Helper()
	reg, st := openRegistry(t, t.TempDir())
	e := jobs.New(st, jobs.Options{Fleet: fleet{reg}, ARN: reg.ARN})
	e.Start(func(_ context.Context, f func(*store.Batch) []*message.Message) error {
		b := st.NewBatch()
		f(b)
		return st.Commit(b)
	})
	t.Cleanup(e.Close)
	srv := httptest.NewServer(New(reg, &fakeRules{rules: map[string]rules.Rule{}}, Options{Jobs: e}))
	t.Cleanup(srv.Close)
	return srv, e
}

// at returns a member of nested objects.
func at(v any, path ...string) any {
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// testJobs is the life of jobs with the AWS CLI.
func testJobs(t *testing.T, aws *cli) {
	srv, e := newJobsServer(t)
	aws.url = srv.URL
	const arn = "arn:aws:iot:us-east-1:000000000001:"
	for _, thing := range []string{"pi-1", "pi-2", "pi-3"} {
		aws.run(t, thing, "create-thing", "--thing-name", thing)
	}
	aws.run(t, "roof", "create-thing-group", "--thing-group-name", "roof")
	aws.run(t, "", "add-thing-to-thing-group", "--thing-group-name", "roof", "--thing-name", "pi-2")
	aws.run(t, `"jobId": "j1"`, "create-job", "--job-id", "j1", "--targets", arn+"thing/pi-1", arn+"thinggroup/roof", "--document", `{"do": "it"}`,
		"--description", "first", "--timeout-config", "inProgressTimeoutInMinutes=5", "--presigned-url-config", "roleArn=arn:aws:iam::1:role/service-role/x,expiresInSec=123",
		"--abort-config", `{"criteriaList":[{"failureType":"ALL","action":"CANCEL","thresholdPercentage":50.5,"minNumberOfExecutedThings":10}]}`,
		"--job-executions-rollout-config", `{"maximumPerMinute":100,"exponentialRate":{"baseRatePerMinute":50,"incrementFactor":1.5,"rateIncreaseCriteria":{"numberOfNotifiedThings":10}}}`)
	aws.run(t, "ResourceAlreadyExistsException", "create-job", "--job-id", "j1", "--targets", arn+"thing/pi-1", "--document", `{}`)
	aws.run(t, "ResourceNotFoundException", "create-job", "--job-id", "j2", "--targets", arn+"thing/none", "--document", `{}`)
	aws.run(t, "InvalidRequestException", "create-job", "--job-id", "j2", "--targets", arn+"thing/pi-1", "--document", `{`)
	got := aws.run(t, `"status": "IN_PROGRESS"`, "describe-job", "--job-id", "j1")
	if d := at(got, "job", "jobProcessDetails", "numberOfQueuedThings"); d != 2.0 || at(got, "job", "abortConfig") == nil || at(got, "job", "timeoutConfig", "inProgressTimeoutInMinutes") != 5.0 ||
		at(got, "job", "presignedUrlConfig", "expiresInSec") != 123.0 || at(got, "job", "targetSelection") != "SNAPSHOT" || at(got, "job", "createdAt") == nil {
		t.Errorf("%v", got)
	}
	if doc := aws.run(t, "", "get-job-document", "--job-id", "j1")["document"]; doc != `{"do": "it"}` {
		t.Errorf("the document is %q", doc)
	}
	if list, _ := aws.run(t, "pi-2", "list-job-executions-for-job", "--job-id", "j1", "--page-size", "1")["executionSummaries"].([]any); len(list) != 2 {
		t.Errorf("%v", list)
	}
	testExecutions(t, aws, e)
	aws.run(t, "", "update-job", "--job-id", "j1", "--description", "renamed", "--timeout-config", "inProgressTimeoutInMinutes=7")
	aws.run(t, "InvalidStateTransitionException", "delete-job", "--job-id", "j1")
	aws.run(t, "renamed", "cancel-job", "--job-id", "j1", "--reason-code", "ENOUGH", "--comment", "of it")
	aws.run(t, `"reasonCode": "ENOUGH"`, "describe-job", "--job-id", "j1")
	aws.run(t, "", "delete-job", "--job-id", "j1")
	aws.run(t, "ResourceNotFoundException", "describe-job", "--job-id", "j1")
	testContinuousJob(t, aws, arn)
	testJobTemplates(t, aws, arn)
}

func testExecutions(t *testing.T, aws *cli, e *jobs.Engine) {
	if _, err := e.StartNext(t.Context(), "pi-1", []byte(`{"statusDetails":{"step":"one"}}`)); err != nil {
		t.Fatal(err)
	}
	x := at(aws.run(t, "", "describe-job-execution", "--job-id", "j1", "--thing-name", "pi-1"), "execution")
	if at(x, "status") != "IN_PROGRESS" || at(x, "statusDetails", "detailsMap", "step") != "one" || at(x, "versionNumber") != 2.0 || at(x, "executionNumber") != 1.0 || at(x, "startedAt") == nil ||
		at(x, "approximateSecondsBeforeTimedOut") == nil {
		t.Errorf("%v", x)
	}
	aws.run(t, `"jobId": "j1"`, "list-job-executions-for-thing", "--thing-name", "pi-1", "--status", "IN_PROGRESS")
	aws.run(t, "InvalidStateTransitionException", "cancel-job-execution", "--job-id", "j1", "--thing-name", "pi-1")
	aws.run(t, "VersionConflictException", "cancel-job-execution", "--job-id", "j1", "--thing-name", "pi-1", "--force", "--expected-version", "9")
	aws.run(t, "", "cancel-job-execution", "--job-id", "j1", "--thing-name", "pi-1", "--force", "--status-details", "why=stopped")
	aws.run(t, `"forceCanceled": true`, "describe-job-execution", "--job-id", "j1", "--thing-name", "pi-1", "--execution-number", "1")
	aws.run(t, "", "delete-job-execution", "--job-id", "j1", "--thing-name", "pi-1", "--execution-number", "1")
	aws.run(t, "ResourceNotFoundException", "describe-job-execution", "--job-id", "j1", "--thing-name", "pi-1")
}

func testContinuousJob(t *testing.T, aws *cli, arn string) {
	aws.run(t, "", "create-job", "--job-id", "c", "--targets", arn+"thinggroup/roof", "--document", `{}`, "--target-selection", "CONTINUOUS")
	aws.run(t, "", "add-thing-to-thing-group", "--thing-group-name", "roof", "--thing-name", "pi-3")
	for range 100 {
		if strings.Contains(aws.output(t, "", "list-job-executions-for-job", "--job-id", "c"), "pi-3") {
			break
		}
	}
	aws.run(t, `"jobId": "c"`, "list-job-executions-for-thing", "--thing-name", "pi-3")
	aws.run(t, "", "create-thing-group", "--thing-group-name", "cellar")
	aws.run(t, `"jobId": "c"`, "associate-targets-with-job", "--job-id", "c", "--targets", arn+"thinggroup/cellar")
	aws.run(t, `thinggroup/cellar`, "describe-job", "--job-id", "c")
	list, _ := aws.run(t, "", "list-jobs", "--target-selection", "CONTINUOUS", "--thing-group-name", "cellar", "--status", "IN_PROGRESS")["jobs"].([]any)
	if len(list) != 1 || at(list[0], "jobId") != "c" {
		t.Errorf("%v", list)
	}
	aws.run(t, "", "delete-job", "--job-id", "c", "--force")
}

func testJobTemplates(t *testing.T, aws *cli, arn string) {
	aws.run(t, `jobtemplate/reboot`, "create-job-template", "--job-template-id", "reboot", "--description", "restart it", "--document", `{"op":"reboot"}`,
		"--job-executions-retry-config", `{"criteriaList":[{"failureType":"FAILED","numberOfRetries":3}]}`)
	aws.run(t, "ConflictException", "create-job-template", "--job-template-id", "reboot", "--description", "x", "--document", `{}`)
	aws.run(t, `"numberOfRetries": 3`, "describe-job-template", "--job-template-id", "reboot")
	aws.run(t, `"jobId": "t"`, "create-job", "--job-id", "t", "--targets", arn+"thing/pi-1", "--job-template-arn", arn+"jobtemplate/reboot")
	aws.run(t, `"numberOfRetries": 3`, "describe-job", "--job-id", "t")
	if list, _ := aws.run(t, "", "list-job-templates")["jobTemplates"].([]any); len(list) != 1 {
		t.Errorf("%v", list)
	}
	aws.run(t, "", "delete-job-template", "--job-template-id", "reboot")
	aws.run(t, "ResourceNotFoundException", "describe-job-template", "--job-template-id", "reboot")
	aws.run(t, `"managedJobTemplates": []`, "list-managed-job-templates")
	aws.run(t, "ResourceNotFoundException", "describe-managed-job-template", "--template-name", "AWS-Reboot")
}

// TestJobTags: jobs and job templates have tags as long as they are there.
func TestJobTags(t *testing.T) {
	srv, _ := newJobsServer(t)
	const arn = "arn:aws:iot:us-east-1:000000000001:"
	for _, s := range []step{
		{"POST", "/things/a", "", 200, ""},
		{"PUT", "/jobs/j", `{"targets":["` + arn + `thing/a"],"document":"{}","tags":[{"Key":"site","Value":"roof"}]}`, 200, ""},
		{"PUT", "/job-templates/t", `{"description":"d","document":"{}","tags":[{"Key":"site","Value":"cellar"}]}`, 200, ""},
		{"GET", "/tags?resourceArn=" + arn + "job/j", "", 200, `{"tags":[{"Key":"site","Value":"roof"}]}`},
		{"GET", "/tags?resourceArn=" + arn + "jobtemplate/t", "", 200, `{"tags":[{"Key":"site","Value":"cellar"}]}`},
		{"POST", "/tags", `{"resourceArn":"` + arn + `job/j","tags":[{"Key":"more","Value":"x"}]}`, 200, ""},
		{"POST", "/untag", `{"resourceArn":"` + arn + `job/j","tagKeys":["site"]}`, 200, ""},
		{"GET", "/tags?resourceArn=" + arn + "job/j", "", 200, `{"tags":[{"Key":"more","Value":"x"}]}`},
		{"GET", "/tags?resourceArn=" + arn + "job/none", "", 404, "Job none does not exist"},
		{"GET", "/tags?resourceArn=" + arn + "jobtemplate/none", "", 404, "Job template none does not exist"},
		{"DELETE", "/jobs/j?force=true", "", 200, ""},
		{"DELETE", "/job-templates/t", "", 200, ""},
		{"PUT", "/jobs/j", `{"targets":["` + arn + `thing/a"],"document":"{}"}`, 200, ""},
		{"PUT", "/job-templates/t", `{"description":"d","document":"{}"}`, 200, ""},
		{"GET", "/tags?resourceArn=" + arn + "job/j", "", 200, `{"tags":[]}`},
		{"GET", "/tags?resourceArn=" + arn + "jobtemplate/t", "", 200, `{"tags":[]}`},
	} {
		if status, code, body := do(t, srv, s.method, s.path, s.body); status != s.status || !strings.Contains(body, s.want) {
			t.Errorf("%s %s: %d %s %s", s.method, s.path, status, code, body)
		}
	}
}

// TestJobsRefused: what this server does not have is refused by name.
func TestJobsRefused(t *testing.T) {
	srv, _ := newJobsServer(t)
	const arn = "arn:aws:iot:us-east-1:000000000001:"
	if status, _, body := do(t, srv, "POST", "/things/a", ""); status != 200 {
		t.Fatal(body)
	}
	for _, c := range []struct{ method, path, body, want string }{
		{"PUT", "/jobs/j", `{"tags":[{"Key":"aws:a","Value":"b"}]}`, "tag key"},
		{"PUT", "/job-templates/t", `{"tags":[{"Key":"","Value":"b"}]}`, "tag key"},
		{"PUT", "/jobs/j", `{"documentParameters":{"a":"b"}}`, "documentParameters"},
		{"PUT", "/jobs/j", `{"destinationPackageVersions":["x"]}`, "destinationPackageVersions"},
		{"PUT", "/jobs/j", `{"targetSelection":"SOME"}`, "targetSelection"},
		{"PUT", "/jobs/j", `{"targets":["` + arn + `thing/a"],"document":"{}","schedulingConfig":{"maintenanceWindows":[{"startTime":"cron(0 0 * * ? *)","durationInMinutes":60}]}}`, "maintenanceWindows"},
		{"PUT", "/job-templates/t", `{"maintenanceWindows":[{}]}`, "maintenanceWindows"},
		{"GET", "/jobs?status=NONE", ``, "status"},
		{"GET", "/jobs?maxResults=251", ``, "maxResults"},
		{"GET", "/jobs?nextToken=!", ``, "paging token"},
		{"GET", "/jobs?thingGroupId=x", ``, "thingGroupId"},
		{"GET", "/things/a/jobs?status=X", ``, "status"},
		{"DELETE", "/things/a/jobs/j/executionNumber/x", ``, "execution number"},
	} {
		status, kind, body := do(t, srv, c.method, c.path, c.body)
		if status != 400 || kind != "InvalidRequestException" || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s %s", c.method, c.path, status, kind, body)
		}
	}
}

// TestJobNamespaces: a job of another namespace is not changed, deleted or listed
// by who names one.
func TestJobNamespaces(t *testing.T) {
	srv, _ := newJobsServer(t)
	for _, s := range []step{
		{"POST", "/things/a", "", 200, ""},
		{"PUT", "/jobs/j", `{"targets":["arn:aws:iot:us-east-1:000000000001:thing/a"],"document":"{}","namespaceId":"mine"}`, 200, ""},
		{"PATCH", "/jobs/j?namespaceId=other", `{"description":"x"}`, 404, `namespaceId \"other\"`},
		{"PATCH", "/jobs/j?namespaceId=mine", `{"description":"x"}`, 200, ""},
		{"GET", "/things/a/jobs?namespaceId=other", "", 200, `{"executionSummaries":[]}`},
		{"GET", "/things/a/jobs?namespaceId=mine", "", 200, `"jobId":"j"`},
		{"DELETE", "/things/a/jobs/j/executionNumber/1?force=true&namespaceId=other", "", 404, `namespaceId \"other\"`},
		{"DELETE", "/jobs/j?force=true&namespaceId=other", "", 404, `namespaceId \"other\"`},
		{"DELETE", "/jobs/none?force=true&namespaceId=other", "", 404, "none"},
		{"DELETE", "/jobs/j?force=true&namespaceId=mine", "", 200, ""},
	} {
		if status, code, body := do(t, srv, s.method, s.path, s.body); status != s.status || !strings.Contains(body, s.want) {
			t.Errorf("%s %s: %d %s %s", s.method, s.path, status, code, body)
		}
	}
}
