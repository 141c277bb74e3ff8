package jobs

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"mote/internal/cloud/store"
)

// Limits of jobs (AWS IoT Device Management quotas; those on a whole account
// are this server's own).
const (
	maxTargets  = 100
	maxThings   = 100_000  // that a job is given to at its beginning
	maxActive   = 1000     // jobs that are not ended
	maxDocument = 32 << 10 // bytes
)

// Spec is what a new job is made of.
type Spec struct {
	ID, Description  string
	Targets          []string // ARNs
	Document, Source string   // one of them; Source is an object of a bucket
	Continuous       bool
	Presigned        *PresignedURL
	Template         string // ARN of a template that has what is not given here
	Namespace        string
	Config           Config
	Schedule         *Schedule
}

// Create makes a job, and gives it to its first things. The error is *[Error],
// or says why nothing was done for now.
func (e *Engine) Create(ctx context.Context, s Spec) (*Job, error) {
	if !validJobID(s.ID) {
		return nil, wrong("the jobId %.80q is not valid: it must have 1 to %d characters of a-z, A-Z, 0-9, underscore and hyphen", s.ID, maxJobID)
	}
	if refused := e.fill(&s); refused != nil {
		return nil, refused
	}
	doc, refused := e.check(&s)
	if refused != nil {
		return nil, refused
	}
	things := e.expand(s.Targets)
	if len(things) > maxThings {
		return nil, refuse(LimitExceeded, "the targets have %d things: a job can begin with %d", len(things), maxThings)
	}
	j := &Job{ID: s.ID, Description: s.Description, Source: s.Source, Targets: s.Targets, Continuous: s.Continuous, Template: s.Template,
		Namespace: s.Namespace, Presigned: s.Presigned, Config: s.Config, Schedule: s.Schedule, Status: JobInProgress}
	err := e.change(ctx, func(t *tx) *Error { return t.create(j, doc, things) })
	if err != nil {
		return nil, err
	}
	return j, nil
}

func (t *tx) create(j *Job, doc []byte, things []string) *Error {
	if t.job(j.ID) != nil {
		return &Error{Code: Exists, Message: "Job " + j.ID + " already exists", ResourceID: j.ID}
	}
	if t.active() >= maxActive {
		return refuse(LimitExceeded, "there are %d jobs that are not ended, which is the most: cancel some or wait for them", maxActive)
	}
	j.Created, j.Updated = t.now, t.now
	t.jobs[j.ID] = j
	t.docs[j.ID] = doc
	t.writes = append(t.writes, func() { t.b.Set(key(keyDocument, j.ID), append([]byte{recordVersion}, doc...)) })
	if j.Schedule.starts() > t.now {
		j.Status = JobScheduled
		t.plan(j)
		return nil
	}
	n := min(t.allowed(j), len(things))
	j.Waiting = n
	t.wait(j, things[n:])
	t.rollOut(j, things[:n])
	t.plan(j)
	return nil
}

// active counts the jobs that are not ended.
func (t *tx) active() (n int) {
	prefix := key(keyJob)
	it, err := t.e.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		t.err = err
		return 0
	}
	for ok := it.First(); ok; ok = it.Next() {
		var j struct{ Status string }
		if readRecord(it.Value(), &j) == nil && j.Status != JobCanceled && j.Status != JobCompleted {
			n++
		}
	}
	if err := it.Close(); err != nil && t.err == nil {
		t.err = err
	}
	return n
}

// check refuses a job that cannot be, and returns its document.
func (e *Engine) check(s *Spec) ([]byte, *Error) {
	if refused := checkText("description", s.Description); refused != nil {
		return nil, refused
	}
	if len(s.Targets) == 0 || len(s.Targets) > maxTargets {
		return nil, wrong("the job has %d targets: it must have 1 to %d", len(s.Targets), maxTargets)
	}
	for _, arn := range s.Targets {
		if _, refused := e.parseTarget(arn); refused != nil {
			return nil, refused
		}
	}
	if refused := s.Config.check(); refused != nil {
		return nil, refused
	}
	if refused := s.Schedule.check(e.now().UnixMilli()); refused != nil {
		return nil, refused
	}
	return e.readDocument(s.Document, s.Source)
}

// readDocument returns the document of a job or a template.
func (e *Engine) readDocument(document, source string) ([]byte, *Error) {
	switch {
	case document != "" && source != "":
		return nil, wrong("the job has both document and documentSource: give one of them")
	case document == "" && source == "":
		return nil, wrong("the job has no document: give document or documentSource")
	case source != "":
		var refused *Error
		if document, refused = e.fetch(source); refused != nil {
			return nil, refused
		}
	}
	switch {
	case len(document) > maxDocument:
		return nil, wrong("the job document has %d bytes: it must have at most %d", len(document), maxDocument)
	case !utf8.ValidString(document) || !json.Valid([]byte(document)):
		return nil, wrong("the job document is not JSON")
	case strings.Contains(document, "${aws:iot:"):
		return nil, wrong("this server does not fill placeholders of job documents such as ${aws:iot:s3-presigned-url:…}: write the URL itself into the document")
	}
	return []byte(document), nil
}

// fetch reads a document from a bucket.
func (e *Engine) fetch(source string) (string, *Error) {
	bucket, object, ok := parseSource(source)
	if !ok {
		return "", wrong("the documentSource %.300q is not the URL of an object: write it as https://s3.amazonaws.com/BUCKET/KEY or s3://BUCKET/KEY", source)
	}
	if e.docs == nil {
		return "", wrong("this server has no buckets: give the document itself in place of documentSource")
	}
	data, err := e.docs(bucket, object)
	if err != nil {
		return "", wrong("the documentSource %.300q cannot be read: %v", source, err)
	}
	return string(data), nil
}

// parseSource reads the URL of an object (Amazon S3 user guide, "Methods for
// accessing a bucket").
func parseSource(source string) (bucket, object string, ok bool) {
	u, err := url.Parse(source)
	if err != nil || len(source) > 1350 || u.RawQuery != "" {
		return "", "", false
	}
	path := strings.TrimPrefix(u.Path, "/")
	host := u.Hostname()
	switch own, isS3 := strings.CutSuffix(host, ".amazonaws.com"); {
	case u.Scheme == "s3":
		bucket, object = host, path
	case u.Scheme != "https" || !isS3:
		return "", "", false
	case own == "s3" || strings.HasPrefix(own, "s3-") || strings.HasPrefix(own, "s3."):
		bucket, object, _ = strings.Cut(path, "/")
	default:
		if i := strings.LastIndex(own, ".s3"); i > 0 {
			bucket, object = own[:i], path
		}
	}
	return bucket, object, bucket != "" && object != ""
}

// expand returns the names of the things of targets, each once, in order.
func (e *Engine) expand(targets []string) []string {
	var out []string
	for _, arn := range targets {
		t, refused := e.parseTarget(arn)
		switch {
		case refused != nil: // it is gone
		case t.group:
			out = append(out, e.fleet.GroupMembers(t.name)...)
		default:
			out = append(out, t.name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Changes are what [Engine.Update] changes; nil leaves a part as it is.
type Changes struct {
	Description *string
	Presigned   *PresignedURL
	Config      Config
}

// Update changes a job that is not ended. A new time-out is for executions that
// begin after it.
func (e *Engine) Update(ctx context.Context, id string, c Changes) error {
	if refused := c.Config.check(); refused != nil {
		return refused
	}
	if c.Description != nil {
		if refused := checkText("description", *c.Description); refused != nil {
			return refused
		}
	}
	return e.change(ctx, func(t *tx) *Error {
		j := t.job(id)
		switch {
		case j == nil:
			return noJob(id)
		case j.terminal() || j.Status == JobDeleting:
			return wrong("Job %s is %s: only a job that is IN_PROGRESS or SCHEDULED can be changed", id, j.Status)
		}
		j.take(c)
		j.Updated = t.now
		t.plan(j)
		return nil
	})
}

func (j *Job) take(c Changes) {
	if c.Description != nil {
		j.Description = *c.Description
	}
	if c.Presigned != nil {
		j.Presigned = c.Presigned
	}
	j.Config.take(c.Config)
}

// take puts what o has in the place of what c has.
func (c *Config) take(o Config) {
	if o.Rollout != nil {
		c.Rollout = o.Rollout
	}
	if o.Abort != nil {
		c.Abort = o.Abort
	}
	if o.Timeout != nil {
		c.Timeout = o.Timeout
	}
	if o.Retry != nil {
		c.Retry = o.Retry
	}
}

// Cancel cancels a job: executions that are queued, and with force also those
// in progress.
func (e *Engine) Cancel(ctx context.Context, id string, force bool, reason, comment string) (*Job, error) {
	if refused := checkText("comment", comment); refused != nil {
		return nil, refused
	}
	if len(reason) > 128 || !reasonForm.MatchString(reason) {
		return nil, wrong("the reasonCode %.140q is not valid: it must have at most 128 capital letters, digits and underscores", reason)
	}
	var j *Job
	err := e.change(ctx, func(t *tx) *Error {
		switch j = t.job(id); {
		case j == nil:
			return noJob(id)
		case j.terminal() && !(force && j.Status == JobCanceled && !j.Forced) || j.Status == JobDeleting:
			return wrong("Job %s is %s: it cannot be cancelled", id, j.Status)
		}
		t.cancel(j, force, reason, comment)
		t.proceed(j)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// Delete deletes a job with its executions; one that is not ended only with
// force.
func (e *Engine) Delete(ctx context.Context, id string, force bool) error {
	return e.change(ctx, func(t *tx) *Error {
		j := t.job(id)
		switch {
		case j == nil:
			return noJob(id)
		case j.Status == JobDeleting:
			return nil
		case !j.terminal() && !force:
			return refuse(InvalidStateTransition, "Job %s is %s: cancel it first, or delete it with force", id, j.Status)
		}
		j.Status, j.Updated = JobDeleting, t.now
		j.Phase, j.Cursor = phaseDelete, ""
		t.at(j, t.now)
		t.proceed(j)
		return nil
	})
}

// Associate adds groups to the targets of a continuous job.
func (e *Engine) Associate(ctx context.Context, id string, targets []string, comment string) (*Job, error) {
	if refused := checkText("comment", comment); refused != nil {
		return nil, refused
	}
	for _, arn := range targets {
		t, refused := e.parseTarget(arn)
		if refused == nil && !t.group {
			refused = wrong("the target %.300q is not a thing group: only groups can be added to a job", arn)
		}
		if refused != nil {
			return nil, refused
		}
	}
	var j *Job
	err := e.change(ctx, func(t *tx) *Error {
		switch j = t.job(id); {
		case j == nil:
			return noJob(id)
		case len(targets) == 0:
			return wrong("there are no targets: name the ARN of at least one thing group")
		case !j.Continuous:
			return wrong("Job %s is of SNAPSHOT: targets can be added to CONTINUOUS ones only", id)
		case j.Status != JobInProgress:
			return wrong("Job %s is %s: targets can be added while it is IN_PROGRESS", id, j.Status)
		}
		all := append([]string{}, j.Targets...)
		for _, arn := range targets {
			if !slices.Contains(all, arn) {
				all = append(all, arn)
			}
		}
		if len(all) > maxTargets {
			return refuse(LimitExceeded, "Job %s would have %d targets: the most are %d", id, len(all), maxTargets)
		}
		j.Targets, j.Updated = all, t.now
		if comment != "" {
			j.Comment = comment
		}
		t.keepJob(j)
		return nil
	})
	if err != nil {
		return nil, err
	}
	e.FleetChanged()
	return j, nil
}

// load reads a record of the store; false when there is none.
func (e *Engine) load(key []byte, into any) (bool, error) {
	data, found, err := e.st.Get(key)
	if err == nil && found {
		err = readRecord(data, into)
	}
	return found, err
}

// Job returns a job.
func (e *Engine) Job(id string) (*Job, error) {
	j := new(Job)
	found, err := e.load(key(keyJob, id), j)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, noJob(id)
	}
	return j, e.settle()
}

// Document returns the document of a job.
func (e *Engine) Document(id string) (string, error) {
	data, found, err := e.st.Get(key(keyDocument, id))
	switch {
	case err != nil:
		return "", err
	case !found || len(data) == 0:
		return "", noJob(id)
	}
	return string(data[1:]), e.settle()
}

// Jobs returns up to limit jobs that keep accepts whose ids come after the
// given one, in byte order. When there are others, next is the last one's id.
func (e *Engine) Jobs(after string, limit int, keep func(*Job) bool) (out []*Job, next string, err error) {
	err = e.walk(key(keyJob), after, func(_ string, value []byte) (bool, error) {
		j := new(Job)
		if err := readRecord(value, j); err != nil {
			return false, err
		}
		if !keep(j) {
			return true, nil
		}
		if len(out) == limit {
			next = out[len(out)-1].ID
			return false, nil
		}
		out = append(out, j)
		return true, nil
	})
	if err != nil {
		return nil, "", err
	}
	return out, next, e.settle()
}

// walk calls f with what follows the prefix in the keys after the given one,
// until f says no.
func (e *Engine) walk(prefix []byte, after string, f func(rest string, value []byte) (bool, error)) error {
	lower := prefix
	if after != "" {
		lower = append(append(append([]byte{}, prefix...), after...), 0)
	}
	it, err := e.st.Iterator(lower, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	goOn := true
	for ok := it.First(); ok && goOn && err == nil; ok = it.Next() {
		goOn, err = f(string(it.Key()[len(prefix):]), it.Value())
	}
	if cerr := it.Close(); err == nil {
		err = cerr
	}
	return err
}

// Summary is one execution in a list.
type Summary struct {
	Job, Thing string
	Execution
}

// ExecutionsOfJob lists the executions of a job, by thing. after and limit are
// about things; next is the last thing of the page when there are others. An
// empty status means all.
func (e *Engine) ExecutionsOfJob(id, after string, limit int, status Status) (out []Summary, next string, err error) {
	if _, err := e.Job(id); err != nil {
		return nil, "", err
	}
	err = e.walk(key(keyRun, id, ""), after, func(thing string, value []byte) (bool, error) {
		if len(out) >= limit {
			next = out[len(out)-1].Thing
			return false, nil
		}
		return true, collect(&out, id, thing, value, status)
	})
	return out, next, err
}

// collect appends the executions of a run, the latest first.
func collect(out *[]Summary, job, thing string, value []byte, status Status) error {
	var r run
	if err := readRecord(value, &r); err != nil {
		return err
	}
	for _, x := range slices.Backward(r.Executions) {
		if status == "" || x.Status == status {
			*out = append(*out, Summary{job, thing, x})
		}
	}
	return nil
}

// ExecutionsOfThing lists the executions of a thing, by job. after, limit and
// next are about jobs; only, when it is set, names the one job that counts.
func (e *Engine) ExecutionsOfThing(thing, after string, limit int, status Status, only string) (out []Summary, next string, err error) {
	if !e.fleet.HasThing(thing) {
		return nil, "", noThing(thing)
	}
	err = e.walk(key(keyByThing, thing, ""), after, func(job string, _ []byte) (bool, error) {
		switch {
		case only != "" && job != only:
			return true, nil
		case len(out) >= limit:
			next = out[len(out)-1].Job
			return false, nil
		}
		value, found, err := e.st.Get(key(keyRun, job, thing))
		if err != nil || !found {
			return true, err
		}
		return true, collect(&out, job, thing, value, status)
	})
	if err != nil {
		return nil, "", err
	}
	return out, next, e.settle()
}

// Execution returns an execution, the latest for number 0.
func (e *Engine) Execution(thing, job string, number int64) (*Execution, error) {
	var r run
	if _, err := e.load(key(keyRun, job, thing), &r); err != nil {
		return nil, err
	}
	x := r.number(number)
	if x == nil {
		return nil, noExecution(thing, job)
	}
	return x, e.settle()
}

// CancelExecution cancels one execution; one in progress only with force.
// expected is the version that it must have, 0 for any.
func (e *Engine) CancelExecution(ctx context.Context, thing, job string, force bool, expected int64, details map[string]string) error {
	if refused := checkDetails(details); refused != nil {
		return refused
	}
	return e.change(ctx, func(t *tx) *Error {
		j := t.job(job)
		if j == nil {
			return noJob(job)
		}
		r := t.run(job, thing)
		x := r.latest()
		switch {
		case x == nil:
			return noExecution(thing, job)
		case expected != 0 && expected != x.Version:
			return x.mismatch(expected)
		case x.Status.Terminal():
			return x.transition(Canceled)
		case x.Status == InProgress && !force:
			return refuse(InvalidStateTransition, "The execution of job %s for thing %s is IN_PROGRESS: cancel it with force", job, thing)
		}
		if details != nil {
			x.Details = details
		}
		x.Forced = force
		t.change(j, r, x, Canceled)
		return nil
	})
}

// DeleteExecution deletes one execution; one that is not ended only with force.
func (e *Engine) DeleteExecution(ctx context.Context, thing, job string, number int64, force bool) error {
	return e.change(ctx, func(t *tx) *Error {
		j := t.job(job)
		if j == nil {
			return noJob(job)
		}
		r := t.run(job, thing)
		x := r.number(number)
		switch {
		case x == nil || number == 0:
			return noExecution(thing, job)
		case !x.Status.Terminal() && !force:
			return refuse(InvalidStateTransition, "The execution of job %s for thing %s is %s: cancel it first, or delete it with force", job, thing, x.Status)
		}
		t.remove(j, r, x)
		t.complete(j)
		return nil
	})
}
