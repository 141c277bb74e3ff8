package iot

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"mote/internal/cloud/awsapi"
	"mote/internal/cloud/jobs"
	"mote/internal/cloud/registry"
)

// jobOperations are those on jobs (AWS IoT API reference).
var jobOperations = []route{
	{"PUT", "/jobs/{jobId}", createJob},
	{"GET", "/jobs/{jobId}", describeJob},
	{"PATCH", "/jobs/{jobId}", updateJob},
	{"DELETE", "/jobs/{jobId}", deleteJob},
	{"PUT", "/jobs/{jobId}/cancel", cancelJob},
	{"GET", "/jobs", listJobs},
	{"POST", "/jobs/{jobId}/targets", associateTargets},
	{"GET", "/jobs/{jobId}/job-document", getJobDocument},
	{"GET", "/jobs/{jobId}/things", listExecutionsForJob},
	{"GET", "/things/{thingName}/jobs", listExecutionsForThing},
	{"GET", "/things/{thingName}/jobs/{jobId}", describeExecution},
	{"PUT", "/things/{thingName}/jobs/{jobId}/cancel", cancelExecution},
	{"DELETE", "/things/{thingName}/jobs/{jobId}/executionNumber/{executionNumber}", deleteExecution},
	{"PUT", "/job-templates/{jobTemplateId}", createJobTemplate},
	{"GET", "/job-templates/{jobTemplateId}", describeJobTemplate},
	{"DELETE", "/job-templates/{jobTemplateId}", deleteJobTemplate},
	{"GET", "/job-templates", listJobTemplates},
	{"GET", "/managed-job-templates", listManagedJobTemplates},
	{"GET", "/managed-job-templates/{templateName}", describeManagedJobTemplate},
}

// jobStatuses are the exceptions of the control plane by the codes of jobs.
var jobStatuses = map[jobs.Code]struct {
	name   string
	status int
}{
	jobs.InvalidRequest:         {"InvalidRequestException", 400},
	jobs.InvalidJSON:            {"InvalidRequestException", 400},
	jobs.ResourceNotFound:       {"ResourceNotFoundException", 404},
	jobs.InvalidStateTransition: {"InvalidStateTransitionException", 409},
	jobs.VersionMismatch:        {"VersionConflictException", 409},
	jobs.Exists:                 {"ResourceAlreadyExistsException", 409},
	jobs.Conflict:               {"ConflictException", 409},
	jobs.LimitExceeded:          {"LimitExceededException", 410},
	jobs.RequestThrottled:       {"ThrottlingException", 400},
}

// jobError is a refusal of jobs on the wire.
func (h *Handler) jobError(err error) error {
	e, ok := errors.AsType[*jobs.Error](err)
	if !ok {
		return err
	}
	wire := jobStatuses[e.Code]
	out := &awsapi.Error{Code: wire.name, Status: wire.status, Message: e.Message}
	if e.Code == jobs.Exists {
		out.Extra = map[string]any{"resourceId": e.ResourceID, "resourceArn": h.reg.ARN("job/" + e.ResourceID)}
	}
	return out
}

// jobConfig are the members of requests and answers that say how a job runs.
type jobConfig struct {
	Presigned *jobs.PresignedURL `json:"presignedUrlConfig,omitempty"`
	jobs.Config
}

// jobSource are the members that say what a job's document is.
type jobSource struct {
	DocumentSource string `json:"documentSource,omitempty"`
	Document       string `json:"document,omitempty"`
}

// notOffered are members of requests that this server refuses.
type notOffered struct {
	Parameters map[string]string        `json:"documentParameters"`
	Packages   []string                 `json:"destinationPackageVersions"`
	Windows    []jobs.MaintenanceWindow `json:"maintenanceWindows"`
}

func (n notOffered) check() error {
	switch {
	case len(n.Parameters) > 0:
		return badRequest("documentParameters are for templates that AWS manages, which this server has not: leave them out")
	case len(n.Packages) > 0:
		return badRequest("this server has no software packages: leave destinationPackageVersions out")
	case len(n.Windows) > 0:
		return badRequest("this server has no maintenance windows: leave maintenanceWindows out")
	}
	return nil
}

// jobAnswer answers the operations that change a job.
type jobAnswer struct {
	ARN         string `json:"jobArn"`
	ID          string `json:"jobId"`
	Description string `json:"description,omitempty"`
}

func (h *Handler) jobAnswer(j *jobs.Job, err error) (any, error) {
	if err != nil {
		return nil, h.jobError(err)
	}
	return jobAnswer{h.reg.ARN("job/" + j.ID), j.ID, j.Description}, nil
}

const (
	snapshot   = "SNAPSHOT"
	continuous = "CONTINUOUS"
)

func createJob(h *Handler, c *call) (any, error) {
	var in struct {
		jobSource
		jobConfig
		notOffered
		Targets     []string       `json:"targets"`
		Description string         `json:"description"`
		Selection   string         `json:"targetSelection"`
		Namespace   string         `json:"namespaceId"`
		Template    string         `json:"jobTemplateArn"`
		Schedule    *jobs.Schedule `json:"schedulingConfig"`
		Tags        []tag          `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := cmp.Or(in.check(), registry.CheckTags(tagMap(in.Tags))); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"", snapshot, continuous}, in.Selection) {
		return nil, badRequest("the targetSelection %.40q is not valid: it must be SNAPSHOT or CONTINUOUS", in.Selection)
	}
	j, err := h.jobs.Create(c.r.Context(), jobs.Spec{
		ID: c.label("jobId"), Description: in.Description, Targets: in.Targets, Document: in.Document, Source: in.DocumentSource,
		Continuous: in.Selection == continuous, Presigned: in.Presigned, Template: in.Template, Namespace: in.Namespace,
		Config: in.Config, Schedule: in.Schedule,
	})
	if err == nil {
		err = h.reg.SetTags("job/"+j.ID, tagMap(in.Tags), nil)
	}
	return h.jobAnswer(j, err)
}

// millis is a time as the API writes it; nil for never.
func millis(ms int64) *epochMillis {
	if ms == 0 {
		return nil
	}
	e := epochMillis(ms)
	return &e
}

// epochMillis is a time in milliseconds since 1970, written in seconds.
type epochMillis int64

// MarshalJSON implements json.Marshaler.
func (e epochMillis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(e)/1000, 'f', 3, 64), nil
}

func selection(j *jobs.Job) string {
	if j.Continuous {
		return continuous
	}
	return snapshot
}

// jobSummary is a job in a list.
type jobSummary struct {
	ARN         string       `json:"jobArn"`
	ID          string       `json:"jobId"`
	Selection   string       `json:"targetSelection"`
	Status      string       `json:"status"`
	Created     *epochMillis `json:"createdAt,omitempty"`
	LastUpdated *epochMillis `json:"lastUpdatedAt,omitempty"`
	Completed   *epochMillis `json:"completedAt,omitempty"`
	Concurrent  bool         `json:"isConcurrent"`
}

func (h *Handler) jobSummary(j *jobs.Job) jobSummary {
	return jobSummary{h.reg.ARN("job/" + j.ID), j.ID, selection(j), j.Status, millis(j.Created), millis(j.Updated), millis(j.Completed), j.Concurrent()}
}

// processDetails are JobProcessDetails of the API.
type processDetails struct {
	Targets    []string `json:"processingTargets,omitempty"`
	Canceled   int      `json:"numberOfCanceledThings"`
	Succeeded  int      `json:"numberOfSucceededThings"`
	Failed     int      `json:"numberOfFailedThings"`
	Rejected   int      `json:"numberOfRejectedThings"`
	Queued     int      `json:"numberOfQueuedThings"`
	InProgress int      `json:"numberOfInProgressThings"`
	Removed    int      `json:"numberOfRemovedThings"`
	TimedOut   int      `json:"numberOfTimedOutThings"`
}

func detailsOf(j *jobs.Job) processDetails {
	n := j.Things
	d := processDetails{Canceled: n[jobs.Canceled], Succeeded: n[jobs.Succeeded], Failed: n[jobs.Failed], Rejected: n[jobs.Rejected],
		Queued: n[jobs.Queued], InProgress: n[jobs.InProgress], Removed: n[jobs.Removed], TimedOut: n[jobs.TimedOut]}
	if j.Waiting > 0 && j.Status == jobs.JobInProgress {
		d.Targets = j.Targets
	}
	return d
}

func describeJob(h *Handler, c *call) (any, error) {
	j, err := h.jobs.Job(c.label("jobId"))
	if err != nil {
		return nil, h.jobError(err)
	}
	type jobJSON struct {
		jobSummary
		jobConfig
		Forced      bool           `json:"forceCanceled"`
		Reason      string         `json:"reasonCode,omitempty"`
		Comment     string         `json:"comment,omitempty"`
		Targets     []string       `json:"targets"`
		Description string         `json:"description,omitempty"`
		Details     processDetails `json:"jobProcessDetails"`
		Namespace   string         `json:"namespaceId,omitempty"`
		Template    string         `json:"jobTemplateArn,omitempty"`
		Schedule    *jobs.Schedule `json:"schedulingConfig,omitempty"`
	}
	return struct {
		Source string  `json:"documentSource,omitempty"`
		Job    jobJSON `json:"job"`
	}{j.Source, jobJSON{h.jobSummary(j), jobConfig{j.Presigned, j.Config}, j.Forced, j.Reason, j.Comment, j.Targets, j.Description,
		detailsOf(j), j.Namespace, j.Template, j.Schedule}}, nil
}

// inNamespace refuses a job that is not of the namespaceId that the request says.
func (h *Handler) inNamespace(c *call) error {
	want := c.query.Get("namespaceId")
	if want == "" {
		return nil
	}
	j, err := h.jobs.Job(c.label("jobId"))
	if err == nil && j.Namespace != want {
		err = &jobs.Error{Code: jobs.ResourceNotFound, Message: fmt.Sprintf("Job %s is not of the namespaceId %.64q", j.ID, want)}
	}
	return h.jobError(err)
}

func updateJob(h *Handler, c *call) (any, error) {
	var in struct {
		jobConfig
		Description *string `json:"description"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := h.inNamespace(c); err != nil {
		return nil, err
	}
	return nil, h.jobError(h.jobs.Update(c.r.Context(), c.label("jobId"), jobs.Changes{Description: in.Description, Presigned: in.Presigned, Config: in.Config}))
}

func deleteJob(h *Handler, c *call) (any, error) {
	force, err := c.flag("force", false)
	if err != nil {
		return nil, err
	}
	if err := h.inNamespace(c); err != nil {
		return nil, err
	}
	if err := h.jobs.Delete(c.r.Context(), c.label("jobId"), force); err != nil {
		return nil, h.jobError(err)
	}
	return nil, h.reg.DropTags("job/" + c.label("jobId"))
}

func cancelJob(h *Handler, c *call) (any, error) {
	var in struct {
		Reason  string `json:"reasonCode"`
		Comment string `json:"comment"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	force, err := c.flag("force", false)
	if err != nil {
		return nil, err
	}
	return h.jobAnswer(h.jobs.Cancel(c.r.Context(), c.label("jobId"), force, in.Reason, in.Comment))
}

func associateTargets(h *Handler, c *call) (any, error) {
	var in struct {
		Targets []string `json:"targets"`
		Comment string   `json:"comment"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	return h.jobAnswer(h.jobs.Associate(c.r.Context(), c.label("jobId"), in.Targets, in.Comment))
}

func getJobDocument(h *Handler, c *call) (any, error) {
	doc, err := h.jobs.Document(c.label("jobId"))
	if err != nil {
		return nil, h.jobError(err)
	}
	return map[string]string{"document": doc}, nil
}

// jobPage reads what part of a list is wanted: the last key of the page before
// and how many entries.
func (c *call) jobPage() (after string, limit int, err error) {
	n, err := c.number("maxResults")
	if err != nil {
		return "", 0, err
	}
	if n > 250 {
		return "", 0, badRequest("maxResults is %d: it must be from 1 to 250", n)
	}
	if limit = int(n); limit == 0 {
		limit = 250
	}
	data, err := base64.RawURLEncoding.DecodeString(c.query.Get("nextToken"))
	if err != nil {
		return "", 0, badRequest("the paging token %.200q is not one that a list operation returned", c.query.Get("nextToken"))
	}
	return string(data), limit, nil
}

func jobToken(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

// jobFilter reads which jobs a list is about.
func (h *Handler) jobFilter(c *call) (func(*jobs.Job) bool, error) {
	status, kind, group := c.query.Get("status"), c.query.Get("targetSelection"), c.query.Get("thingGroupName")
	switch {
	case status != "" && !slices.Contains(jobs.JobStatuses, status):
		return nil, badRequest("the status %.40q is not one of a job", status)
	case kind != "" && kind != snapshot && kind != continuous:
		return nil, badRequest("the targetSelection %.40q is not valid: it must be SNAPSHOT or CONTINUOUS", kind)
	case c.query.Get("thingGroupId") != "":
		return nil, badRequest("jobs cannot be listed by thingGroupId: use thingGroupName")
	}
	arn, namespace := h.reg.ARN("thinggroup/"+group), c.query.Get("namespaceId")
	return func(j *jobs.Job) bool {
		return (status == "" || j.Status == status) && (kind == "" || selection(j) == kind) &&
			(group == "" || slices.Contains(j.Targets, arn)) && (namespace == "" || j.Namespace == namespace)
	}, nil
}

func listJobs(h *Handler, c *call) (any, error) {
	after, limit, err := c.jobPage()
	if err != nil {
		return nil, err
	}
	keep, err := h.jobFilter(c)
	if err != nil {
		return nil, err
	}
	list, next, err := h.jobs.Jobs(after, limit, keep)
	if err != nil {
		return nil, h.jobError(err)
	}
	return pageOf("jobs", each(list, h.jobSummary), nextToken, jobToken(next)), nil
}

// executionSummary is a JobExecutionSummary of the API.
type executionSummary struct {
	Status      jobs.Status  `json:"status"`
	Queued      *epochMillis `json:"queuedAt,omitempty"`
	Started     *epochMillis `json:"startedAt,omitempty"`
	LastUpdated *epochMillis `json:"lastUpdatedAt,omitempty"`
	Number      int64        `json:"executionNumber"`
	Retry       int          `json:"retryAttempt,omitempty"`
}

// executionEntry is an execution in a list.
type executionEntry struct {
	JobID    string           `json:"jobId,omitempty"`
	ThingARN string           `json:"thingArn,omitempty"`
	Summary  executionSummary `json:"jobExecutionSummary"`
}

// executions answers a list of executions.
func (h *Handler) executions(list []jobs.Summary, next string, byJob bool) map[string]any {
	entry := func(s jobs.Summary) executionEntry {
		e := executionEntry{JobID: s.Job, Summary: executionSummary{s.Status, millis(s.Queued), millis(s.Started), millis(s.Updated), s.Number, s.Retry}}
		if byJob {
			e.JobID, e.ThingARN = "", h.reg.ARN("thing/"+s.Thing)
		}
		return e
	}
	return pageOf("executionSummaries", each(list, entry), nextToken, jobToken(next))
}

func (c *call) executionStatus() (jobs.Status, error) {
	s := jobs.Status(c.query.Get("status"))
	if s != "" && !s.Valid() {
		return "", badRequest("the status %.40q is not one of a job execution", s)
	}
	return s, nil
}

func listExecutionsForJob(h *Handler, c *call) (any, error) {
	after, limit, err := c.jobPage()
	if err != nil {
		return nil, err
	}
	status, err := c.executionStatus()
	if err != nil {
		return nil, err
	}
	list, next, err := h.jobs.ExecutionsOfJob(c.label("jobId"), after, limit, status)
	if err != nil {
		return nil, h.jobError(err)
	}
	return h.executions(list, next, true), nil
}

func listExecutionsForThing(h *Handler, c *call) (any, error) {
	after, limit, err := c.jobPage()
	if err != nil {
		return nil, err
	}
	status, err := c.executionStatus()
	if err != nil {
		return nil, err
	}
	list, next, err := h.jobs.ExecutionsOfThing(c.label("thingName"), after, limit, status, c.query.Get("jobId"))
	if err != nil {
		return nil, h.jobError(err)
	}
	if namespace := c.query.Get("namespaceId"); namespace != "" {
		list = slices.DeleteFunc(list, func(s jobs.Summary) bool {
			j, err := h.jobs.Job(s.Job)
			return err != nil || j.Namespace != namespace // a page may have less than it could
		})
	}
	return h.executions(list, next, false), nil
}

func describeExecution(h *Handler, c *call) (any, error) {
	n, err := c.number("executionNumber")
	if err != nil {
		return nil, err
	}
	x, err := h.jobs.Execution(c.label("thingName"), c.label("jobId"), n)
	if err != nil {
		return nil, h.jobError(err)
	}
	type details struct {
		Map map[string]string `json:"detailsMap"`
	}
	out := struct {
		JobID    string   `json:"jobId"`
		ThingARN string   `json:"thingArn"`
		Forced   bool     `json:"forceCanceled"`
		Details  *details `json:"statusDetails,omitempty"`
		executionSummary
		Version    int64  `json:"versionNumber"`
		TimedOutIn *int64 `json:"approximateSecondsBeforeTimedOut,omitempty"`
	}{JobID: c.label("jobId"), ThingARN: h.reg.ARN("thing/" + c.label("thingName")), Forced: x.Forced, Version: x.Version, TimedOutIn: h.jobs.SecondsLeft(x)}
	out.executionSummary = executionSummary{x.Status, millis(x.Queued), millis(x.Started), millis(x.Updated), x.Number, 0}
	if x.Details != nil {
		out.Details = &details{x.Details}
	}
	return map[string]any{"execution": out}, nil
}

func cancelExecution(h *Handler, c *call) (any, error) {
	var in struct {
		Expected int64             `json:"expectedVersion"`
		Details  map[string]string `json:"statusDetails"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	force, err := c.flag("force", false)
	if err != nil {
		return nil, err
	}
	return nil, h.jobError(h.jobs.CancelExecution(c.r.Context(), c.label("thingName"), c.label("jobId"), force, in.Expected, in.Details))
}

func deleteExecution(h *Handler, c *call) (any, error) {
	n, err := strconv.ParseInt(c.label("executionNumber"), 10, 64)
	if err != nil || n < 1 {
		return nil, badRequest("the execution number %.40q is not a number from 1", c.label("executionNumber"))
	}
	force, err := c.flag("force", false)
	if err != nil {
		return nil, err
	}
	if err := h.inNamespace(c); err != nil {
		return nil, err
	}
	return nil, h.jobError(h.jobs.DeleteExecution(c.r.Context(), c.label("thingName"), c.label("jobId"), n, force))
}

func createJobTemplate(h *Handler, c *call) (any, error) {
	var in struct {
		jobSource
		jobConfig
		notOffered
		Job         string `json:"jobArn"`
		Description string `json:"description"`
		Tags        []tag  `json:"tags"`
	}
	if err := c.body(&in); err != nil {
		return nil, err
	}
	if err := cmp.Or(in.check(), registry.CheckTags(tagMap(in.Tags))); err != nil {
		return nil, err
	}
	id := c.label("jobTemplateId")
	err := h.jobs.CreateTemplate(c.r.Context(), jobs.Template{ID: id, Description: in.Description, Source: in.DocumentSource, Document: in.Document,
		Presigned: in.Presigned, Config: in.Config}, in.Job)
	if err == nil {
		err = h.reg.SetTags("jobtemplate/"+id, tagMap(in.Tags), nil)
	}
	if err != nil {
		return nil, h.jobError(err)
	}
	return map[string]string{"jobTemplateArn": h.reg.ARN("jobtemplate/" + id), "jobTemplateId": id}, nil
}

// templateSummary is a JobTemplateSummary of the API.
type templateSummary struct {
	ARN         string       `json:"jobTemplateArn"`
	ID          string       `json:"jobTemplateId"`
	Description string       `json:"description"`
	Created     *epochMillis `json:"createdAt"`
}

func (h *Handler) templateSummary(t *jobs.Template) templateSummary {
	return templateSummary{h.reg.ARN("jobtemplate/" + t.ID), t.ID, t.Description, millis(t.Created)}
}

func describeJobTemplate(h *Handler, c *call) (any, error) {
	t, err := h.jobs.Template(c.label("jobTemplateId"))
	if err != nil {
		return nil, h.jobError(err)
	}
	return struct {
		templateSummary
		jobSource
		jobConfig
	}{h.templateSummary(t), jobSource{t.Source, t.Document}, jobConfig{t.Presigned, t.Config}}, nil
}

func deleteJobTemplate(h *Handler, c *call) (any, error) {
	if err := h.jobs.DeleteTemplate(c.r.Context(), c.label("jobTemplateId")); err != nil {
		return nil, h.jobError(err)
	}
	return nil, h.reg.DropTags("jobtemplate/" + c.label("jobTemplateId"))
}

func listJobTemplates(h *Handler, c *call) (any, error) {
	after, limit, err := c.jobPage()
	if err != nil {
		return nil, err
	}
	list, next, err := h.jobs.Templates(after, limit)
	if err != nil {
		return nil, h.jobError(err)
	}
	return pageOf("jobTemplates", each(list, h.templateSummary), nextToken, jobToken(next)), nil
}

// listManagedJobTemplates answers that there are none: they are AWS's own.
func listManagedJobTemplates(*Handler, *call) (any, error) {
	return map[string]any{"managedJobTemplates": []struct{}{}}, nil
}

func describeManagedJobTemplate(_ *Handler, c *call) (any, error) {
	return nil, awsapi.Errorf(http.StatusNotFound, "ResourceNotFoundException",
		"Managed job template %.64s does not exist: this server has no templates that AWS manages, make one with CreateJobTemplate", c.label("templateName"))
}

// Jobs are the jobs as the control plane needs them. Errors are *[jobs.Error],
// or say why nothing was done for now.
type Jobs interface {
	Create(ctx context.Context, s jobs.Spec) (*jobs.Job, error)
	Update(ctx context.Context, id string, c jobs.Changes) error
	Cancel(ctx context.Context, id string, force bool, reason, comment string) (*jobs.Job, error)
	Delete(ctx context.Context, id string, force bool) error
	Associate(ctx context.Context, id string, targets []string, comment string) (*jobs.Job, error)
	Job(id string) (*jobs.Job, error)
	Document(id string) (string, error)
	Jobs(after string, limit int, keep func(*jobs.Job) bool) ([]*jobs.Job, string, error)
	ExecutionsOfJob(id, after string, limit int, status jobs.Status) ([]jobs.Summary, string, error)
	ExecutionsOfThing(thing, after string, limit int, status jobs.Status, only string) ([]jobs.Summary, string, error)
	Execution(thing, job string, number int64) (*jobs.Execution, error)
	SecondsLeft(x *jobs.Execution) *int64
	CancelExecution(ctx context.Context, thing, job string, force bool, expected int64, details map[string]string) error
	DeleteExecution(ctx context.Context, thing, job string, number int64, force bool) error
	CreateTemplate(ctx context.Context, t jobs.Template, job string) error
	Template(id string) (*jobs.Template, error)
	Templates(after string, limit int) ([]*jobs.Template, string, error)
	DeleteTemplate(ctx context.Context, id string) error
	FleetChanged()
}
