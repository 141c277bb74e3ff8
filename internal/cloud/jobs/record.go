package jobs

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"

	"mote/internal/cloud/store"
)

// Status is how far a thing is with a job (AWS IoT developer guide, "Jobs and
// job execution states").
type Status string

// The statuses of executions.
const (
	Queued     Status = "QUEUED"
	InProgress Status = "IN_PROGRESS"
	Succeeded  Status = "SUCCEEDED"
	Failed     Status = "FAILED"
	TimedOut   Status = "TIMED_OUT"
	Rejected   Status = "REJECTED"
	Removed    Status = "REMOVED"
	Canceled   Status = "CANCELED"
)

var statuses = []Status{Queued, InProgress, Succeeded, Failed, TimedOut, Rejected, Removed, Canceled}

// Terminal says whether the status is the last one of an execution.
func (s Status) Terminal() bool { return s != Queued && s != InProgress }

// Valid says whether there is such a status.
func (s Status) Valid() bool { return slices.Contains(statuses, s) }

// The statuses of jobs.
const (
	JobScheduled  = "SCHEDULED"
	JobInProgress = "IN_PROGRESS"
	JobCanceled   = "CANCELED"
	JobCompleted  = "COMPLETED"
	JobDeleting   = "DELETION_IN_PROGRESS"
)

// JobStatuses are all statuses of jobs.
var JobStatuses = []string{JobInProgress, JobCanceled, JobCompleted, JobDeleting, JobScheduled}

// Job is one job. Times are in milliseconds since 1970, 0 for never.
type Job struct {
	ID          string        `json:"id"`
	Description string        `json:"description,omitempty"`
	Source      string        `json:"source,omitempty"` // documentSource
	Targets     []string      `json:"targets"`          // ARNs
	Continuous  bool          `json:"continuous,omitempty"`
	Template    string        `json:"template,omitempty"`  // ARN of the template it was made from
	Namespace   string        `json:"namespace,omitempty"` // namespaceId
	Presigned   *PresignedURL `json:"presigned,omitempty"`
	Config
	Schedule *Schedule `json:"schedule,omitempty"`

	Status    string         `json:"status"`
	Forced    bool           `json:"forced,omitempty"` // it was cancelled with force
	Reason    string         `json:"reason,omitempty"`
	Comment   string         `json:"comment,omitempty"`
	Created   int64          `json:"created"`
	Updated   int64          `json:"updated"`
	Completed int64          `json:"completed,omitempty"`
	Things    map[Status]int `json:"things,omitempty"`   // things by the status of their latest execution
	Notified  int            `json:"notified,omitempty"` // things that got an execution
	Waiting   int            `json:"waiting,omitempty"`  // things that are to get one

	Window   int64  `json:"window,omitempty"`    // when the minute began that the next two are about
	InWindow int    `json:"in_window,omitempty"` // things that were told in it
	Rate     int    `json:"rate,omitempty"`      // how many may be
	Phase    string `json:"phase,omitempty"`     // what is being done to all executions; "" nothing
	Cursor   string `json:"cursor,omitempty"`    // the last thing that Phase was done for
	Ended    bool   `json:"ended,omitempty"`     // its end time is past: no new executions
	NextRun  int64  `json:"next_run,omitempty"`  // when its timer is due; 0: it has none
}

// Phases of a job.
const (
	phaseCancel = "cancel"
	phaseDelete = "delete"
	phaseStop   = "stop" // give it to no more things
)

// terminal says whether nothing more will be rolled out.
func (j *Job) terminal() bool { return j.Status == JobCanceled || j.Status == JobCompleted }

// Concurrent says whether executions are being rolled out, cancelled or deleted.
func (j *Job) Concurrent() bool {
	return j.Phase != "" || j.Status == JobInProgress && j.Waiting > 0
}

// Execution is one try of one thing at one job. Times are as in [Job].
type Execution struct {
	Number  int64             `json:"number"` // from 1, for each thing and job
	Status  Status            `json:"status"`
	Details map[string]string `json:"details,omitempty"`
	Queued  int64             `json:"queued"`
	Started int64             `json:"started,omitempty"`
	Updated int64             `json:"updated"`
	Version int64             `json:"version"`         // from 1
	Retry   int               `json:"retry,omitempty"` // how many tries were before this one
	Forced  bool              `json:"forced,omitempty"`

	JobDeadline  int64 `json:"job_deadline,omitempty"`
	StepDeadline int64 `json:"step_deadline,omitempty"`
}

// deadline is when the execution times out, 0 for never.
func (x *Execution) deadline() int64 {
	if x.JobDeadline == 0 || x.StepDeadline != 0 && x.StepDeadline < x.JobDeadline {
		return x.StepDeadline
	}
	return x.JobDeadline
}

// run is what one thing made of one job, the latest execution last.
type run struct {
	job, thing string
	Last       int64          `json:"last"`              // the number of the latest execution ever
	Retries    map[Status]int `json:"retries,omitempty"` // tries again, by the failure before
	Executions []Execution    `json:"executions"`
}

// keptExecutions is how many executions of one thing and job are kept.
const keptExecutions = 20

// latest returns the latest execution, or nil.
func (r *run) latest() *Execution {
	if len(r.Executions) == 0 {
		return nil
	}
	return &r.Executions[len(r.Executions)-1]
}

// number returns the execution of a number, the latest for 0, or nil.
func (r *run) number(n int64) *Execution {
	if n == 0 {
		return r.latest()
	}
	for i := range r.Executions {
		if r.Executions[i].Number == n {
			return &r.Executions[i]
		}
	}
	return nil
}

// pending is an execution in the queue of a thing.
type pending struct {
	Job     string `json:"job"`
	Number  int64  `json:"number"`
	Status  Status `json:"status"`
	Queued  int64  `json:"queued"`
	Started int64  `json:"started,omitempty"`
	Updated int64  `json:"updated"`
	Version int64  `json:"version"`
}

func (p *pending) is(q *pending) bool { return p.Job == q.Job && p.Number == q.Number }

// sortPending puts executions in the order in which a thing is to do them:
// those in progress first, then by when they were queued (AWS IoT developer
// guide, "Jobs notifications").
func sortPending(list []pending) {
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		if p, q := a.Status == InProgress, b.Status == InProgress; p != q {
			return p
		}
		return a.Queued < b.Queued
	})
}

// The keys of the store (FORMAT.md).
const (
	keyJob      = 'j'
	keyDocument = 'd'
	keyRun      = 'x'
	keyByThing  = 'y'
	keyQueue    = 'q'
	keyWaiting  = 'w'
	keyTimer    = 't'
	keyTemplate = 'k'
)

func key(kind byte, parts ...string) []byte {
	return append([]byte{byte(store.SpaceJobs), kind}, strings.Join(parts, "\x00")...)
}

// parts returns what a key was made of.
func parts(key []byte) (first, second string) {
	first, second, _ = strings.Cut(string(key[2:]), "\x00")
	return first, second
}

// timerKey is due at a time. id is a job, or a job and a thing.
func timerKey(at int64, job, thing string) []byte {
	k := binary.BigEndian.AppendUint64([]byte{byte(store.SpaceJobs), keyTimer}, uint64(max(at, 0)))
	return append(append(append(k, job...), 0), thing...)
}

// parseTimer is the reverse of timerKey.
func parseTimer(k []byte) (at int64, job, thing string) {
	job, thing, _ = strings.Cut(string(k[10:]), "\x00")
	return int64(binary.BigEndian.Uint64(k[2:])), job, thing
}

// recordVersion is the first byte of every value.
const recordVersion = 1

func record(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil { // the types above marshal
		panic(err)
	}
	return append([]byte{recordVersion}, data...)
}

func readRecord(data []byte, into any) error {
	if len(data) == 0 || data[0] != recordVersion {
		return fmt.Errorf("the record has a form that this mote does not read: use the mote that wrote it")
	}
	return json.Unmarshal(data[1:], into)
}
