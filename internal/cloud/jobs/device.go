package jobs

import (
	"context"
	"encoding/json"
)

// The answers to devices (AWS IoT developer guide, "Jobs device MQTT API" and
// "AWS IoT Jobs data types"). Times are in seconds since 1970.

// PendingSummary is an execution in the queue of a thing.
type PendingSummary struct {
	JobID           string `json:"jobId"`
	QueuedAt        int64  `json:"queuedAt"`
	LastUpdatedAt   int64  `json:"lastUpdatedAt"`
	StartedAt       int64  `json:"startedAt,omitempty"`
	ExecutionNumber int64  `json:"executionNumber"`
	VersionNumber   int64  `json:"versionNumber"`
}

// Pending are the executions that a thing has to do.
type Pending struct {
	InProgress []PendingSummary `json:"inProgressJobs"`
	Queued     []PendingSummary `json:"queuedJobs"`
}

// Data is one execution with what a device needs to do it.
type Data struct {
	JobID           string            `json:"jobId"`
	ThingName       string            `json:"thingName,omitempty"`
	Status          Status            `json:"status"`
	StatusDetails   map[string]string `json:"statusDetails,omitempty"`
	QueuedAt        int64             `json:"queuedAt"`
	StartedAt       int64             `json:"startedAt,omitempty"`
	LastUpdatedAt   int64             `json:"lastUpdatedAt"`
	TimedOutIn      *int64            `json:"approximateSecondsBeforeTimedOut,omitempty"`
	VersionNumber   int64             `json:"versionNumber"`
	ExecutionNumber int64             `json:"executionNumber"`
	JobDocument     json.RawMessage   `json:"jobDocument,omitempty"`
}

// State is how an execution stands.
type State struct {
	Status        Status            `json:"status"`
	StatusDetails map[string]string `json:"statusDetails"`
	VersionNumber int64             `json:"versionNumber"`
}

// Updated answers an update.
type Updated struct {
	State       *State          `json:"executionState,omitempty"`
	JobDocument json.RawMessage `json:"jobDocument,omitempty"`
}

func (x *Execution) state() *State {
	details := x.Details
	if details == nil {
		details = map[string]string{}
	}
	return &State{x.Status, details, x.Version}
}

func (x *Execution) mismatch(expected int64) *Error {
	return &Error{Code: VersionMismatch, State: x.state(),
		Message: refuse("", "The expected version %d is not that of the execution: found version %d", expected, x.Version).Message}
}

func (x *Execution) transition(to Status) *Error {
	return &Error{Code: InvalidStateTransition, State: x.state(),
		Message: refuse("", "The execution is %s: it cannot become %s", x.Status, to).Message}
}

func seconds(ms int64) int64 { return ms / 1000 }

func (p *pending) summary() PendingSummary {
	return PendingSummary{JobID: p.Job, QueuedAt: seconds(p.Queued), LastUpdatedAt: seconds(p.Updated), StartedAt: seconds(p.Started),
		ExecutionNumber: p.Number, VersionNumber: p.Version}
}

// data describes an execution.
func (t *tx) data(job, thing string, x *Execution, document bool) *Data {
	d := &Data{JobID: job, ThingName: thing, Status: x.Status, StatusDetails: x.Details, QueuedAt: seconds(x.Queued), StartedAt: seconds(x.Started),
		LastUpdatedAt: seconds(x.Updated), VersionNumber: x.Version, ExecutionNumber: x.Number}
	d.TimedOutIn = t.e.SecondsLeft(x)
	if document {
		d.JobDocument = t.document(job)
	}
	return d
}

// maxListed is how many executions are listed to a device (AWS IoT developer
// guide, "AWS IoT Jobs limits").
const maxListed = 15

// pendingOf lists what a thing has to do.
func (t *tx) pendingOf(thing string) Pending {
	out := Pending{[]PendingSummary{}, []PendingSummary{}}
	list := t.queue(thing).list
	for i := range list[:min(len(list), maxListed)] {
		if p := &list[i]; p.Status == InProgress {
			out.InProgress = append(out.InProgress, p.summary())
		} else {
			out.Queued = append(out.Queued, p.summary())
		}
	}
	return out
}

// next returns the execution that a thing is to do next; job is "" when there
// is none.
func (t *tx) next(thing string) (job string, r *run, x *Execution) {
	list := t.queue(thing).list
	if len(list) == 0 {
		return "", nil, nil
	}
	r = t.run(list[0].Job, thing)
	if x = r.number(list[0].Number); x == nil {
		return "", nil, nil
	}
	return list[0].Job, r, x
}

// startNext brings the next execution of a thing into progress. One that is
// already is returned as it is.
func (t *tx) startNext(thing string, q request) (*Data, *Error) {
	job, r, x := t.next(thing)
	if job == "" {
		return nil, nil
	}
	j := t.job(job)
	if j == nil {
		return nil, nil
	}
	if x.Status == Queued {
		if q.StatusDetails != nil {
			x.Details = q.StatusDetails
		}
		t.change(j, r, x, InProgress)
		t.step(r, x, q.StepTimeout)
	}
	return t.data(job, thing, x, true), nil
}

// describe returns an execution; job may be $next, of which there may be none.
func (t *tx) describe(thing, job string, q request) (*Data, *Error) {
	if job == nextJob {
		job, _, x := t.next(thing)
		if job == "" {
			return nil, nil
		}
		return t.data(job, thing, x, q.document(true)), nil
	}
	j, x := t.job(job), t.run(job, thing).number(q.ExecutionNumber)
	switch {
	case j == nil || x == nil:
		return nil, noExecution(thing, job)
	case j.terminal() && x.Status.Terminal():
		return nil, refuse(TerminalStateReached, "Job %s is %s, and its execution for thing %s is %s", job, j.Status, thing, x.Status)
	}
	return t.data(job, thing, x, q.document(true)), nil
}

// update does what a device reports.
func (t *tx) update(thing, job string, q request) (Updated, *Error) {
	r := t.run(job, thing)
	x := r.number(q.ExecutionNumber)
	j := t.job(job)
	switch {
	case j == nil || x == nil:
		return Updated{}, noExecution(thing, job)
	case q.ExpectedVersion != 0 && q.ExpectedVersion != x.Version:
		return Updated{}, x.mismatch(q.ExpectedVersion)
	case x.Status.Terminal():
		return Updated{}, x.transition(q.Status)
	}
	var out Updated
	if q.document(false) {
		out.JobDocument = t.document(job)
	}
	if q.StatusDetails != nil {
		x.Details = q.StatusDetails
	}
	after := *x
	after.Status, after.Version = q.Status, x.Version+1
	t.change(j, r, x, q.Status)
	if !q.Status.Terminal() {
		t.step(r, x, q.StepTimeout)
	}
	if q.IncludeState {
		out.State = after.state()
	}
	return out, nil
}

// checkThing refuses a request for a thing that is not there.
func (e *Engine) checkThing(thing string) *Error {
	if !validThing(thing) || !e.fleet.HasThing(thing) {
		return noThing(thing)
	}
	return nil
}

// device runs one request of a device that came by HTTP.
func (e *Engine) device(ctx context.Context, thing string, payload []byte, o op, f func(*tx, request) *Error) error {
	q, refused := readRequest(payload, o)
	if refused == nil {
		refused = e.checkThing(thing)
	}
	if refused != nil {
		return refused
	}
	if err := e.change(ctx, func(t *tx) *Error { return f(t, q) }); err != nil {
		return err
	}
	if o == opGet || o == opDescribe {
		return e.settle() // what it shows may be on its way to the disk
	}
	return nil
}

// GetPending returns what a thing has to do.
func (e *Engine) GetPending(ctx context.Context, thing string) (out Pending, err error) {
	err = e.device(ctx, thing, nil, opGet, func(t *tx, _ request) *Error { out = t.pendingOf(thing); return nil })
	return out, err
}

// StartNext begins the next execution of a thing, nil when there is none. The
// payload has the members of the MQTT request.
func (e *Engine) StartNext(ctx context.Context, thing string, payload []byte) (out *Data, err error) {
	err = e.device(ctx, thing, payload, opStart, func(t *tx, q request) (refused *Error) {
		out, refused = t.startNext(thing, q)
		return refused
	})
	return out, err
}

// Describe returns an execution, or for the job $next the next one, nil when
// there is none.
func (e *Engine) Describe(ctx context.Context, thing, job string, payload []byte) (out *Data, err error) {
	err = e.device(ctx, thing, payload, opDescribe, func(t *tx, q request) (refused *Error) {
		out, refused = t.describe(thing, job, q)
		return refused
	})
	return out, err
}

// UpdateExecution reports on an execution.
func (e *Engine) UpdateExecution(ctx context.Context, thing, job string, payload []byte) (out Updated, err error) {
	err = e.device(ctx, thing, payload, opUpdate, func(t *tx, q request) (refused *Error) {
		out, refused = t.update(thing, job, q)
		return refused
	})
	return out, err
}

// SecondsLeft is about how long an execution may still be in progress, nil
// without a limit.
func (e *Engine) SecondsLeft(x *Execution) *int64 {
	at := x.deadline()
	if at == 0 {
		return nil
	}
	left := max(seconds(at-e.now().UnixMilli()), 0)
	return &left
}
