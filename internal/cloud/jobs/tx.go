package jobs

import (
	"errors"
	"fmt"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// tx is one change of jobs in a batch. It keeps what it reads and writes it
// back at flush; until then the batch is as it was.
type tx struct {
	e   *Engine
	b   *store.Batch
	now int64 // ms
	err error // the first failure of the store; what follows it has no meaning

	jobs     map[string]*Job   // nil: there is none
	dirty    map[string]bool   // of jobs: to be written
	docs     map[string][]byte // of jobs
	runs     map[[2]string]*run
	queues   map[string]*queue
	order    []string // of queues, as they were touched
	writes   []func()
	out      []*message.Message
	deadline bool // a timer was set
}

// queue is the queue of a thing within a change.
type queue struct {
	list    []pending
	first   pending // before the change; zero: none
	changed bool    // an execution was added or removed
}

func (e *Engine) begin(b *store.Batch) *tx {
	return &tx{e: e, b: b, now: e.now().UnixMilli(), jobs: map[string]*Job{}, dirty: map[string]bool{}, docs: map[string][]byte{}, runs: map[[2]string]*run{}, queues: map[string]*queue{}}
}

// get reads a record; false when there is none.
func (t *tx) get(key []byte, into any) bool {
	data, found, err := t.b.Get(key)
	if err == nil && found {
		err = readRecord(data, into)
	}
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("jobs record %q: %w", key, err)
	}
	return found && err == nil
}

func (t *tx) set(key []byte, v any) { t.writes = append(t.writes, func() { t.b.Set(key, record(v)) }) }
func (t *tx) del(key []byte)        { t.writes = append(t.writes, func() { t.b.Delete(key) }) }

// job returns a job, or nil. What is changed of it is written with keepJob.
func (t *tx) job(id string) *Job {
	j, known := t.jobs[id]
	if !known {
		j = &Job{}
		if !t.get(key(keyJob, id), j) {
			j = nil
		}
		t.jobs[id] = j
	}
	return j
}

func (t *tx) keepJob(j *Job) { t.jobs[j.ID], t.dirty[j.ID] = j, true }

// dropJob removes a job with its document.
func (t *tx) dropJob(j *Job) {
	t.at(j, 0)
	t.jobs[j.ID] = nil
	delete(t.dirty, j.ID)
	t.del(key(keyJob, j.ID))
	t.del(key(keyDocument, j.ID))
}

// run returns what a thing made of a job; it has no executions when there is
// none yet.
func (t *tx) run(job, thing string) *run {
	id := [2]string{job, thing}
	r, known := t.runs[id]
	if !known {
		r = &run{job: job, thing: thing, Retries: map[Status]int{}}
		t.get(key(keyRun, job, thing), r)
		if r.Retries == nil {
			r.Retries = map[Status]int{}
		}
		t.runs[id] = r
	}
	return r
}

func (t *tx) putRun(r *run) {
	if len(r.Executions) == 0 {
		t.del(key(keyRun, r.job, r.thing))
		t.del(key(keyByThing, r.thing, r.job))
		return
	}
	t.set(key(keyRun, r.job, r.thing), r)
	t.writes = append(t.writes, func() { t.b.Set(key(keyByThing, r.thing, r.job), []byte{recordVersion}) })
}

// queue returns the queue of a thing.
func (t *tx) queue(thing string) *queue {
	q := t.queues[thing]
	if q == nil {
		q = &queue{}
		t.get(key(keyQueue, thing), &q.list)
		if len(q.list) > 0 {
			q.first = q.list[0]
		}
		t.queues[thing] = q
		t.order = append(t.order, thing)
	}
	return q
}

// place brings the queue of a thing in line with one of its executions.
func (t *tx) place(thing, job string, x *Execution) {
	q := t.queue(thing)
	p := pending{Job: job, Number: x.Number, Status: x.Status, Queued: x.Queued, Started: x.Started, Updated: x.Updated, Version: x.Version}
	at := -1
	for i := range q.list {
		if q.list[i].is(&p) {
			at = i
		}
	}
	switch {
	case at >= 0 && x.Status.Terminal():
		q.list = append(q.list[:at:at], q.list[at+1:]...)
		q.changed = true
	case at >= 0:
		q.list[at] = p
	case !x.Status.Terminal():
		q.list = append(q.list, p)
		q.changed = true
	}
	sortPending(q.list)
}

// remind sets the timer of an execution, and takes away the one for before.
func (t *tx) remind(job, thing string, before, at int64) {
	if before == at {
		return
	}
	if before != 0 {
		t.del(timerKey(before, job, thing))
	}
	if at != 0 {
		k := timerKey(at, job, thing)
		t.writes = append(t.writes, func() { t.b.Set(k, []byte{recordVersion}) })
		t.deadline = true
	}
}

// at sets when work goes on with a job; 0 means never.
func (t *tx) at(j *Job, when int64) {
	t.remind(j.ID, "", j.NextRun, when)
	j.NextRun = when
	t.keepJob(j)
}

// flush writes what was changed, and makes the notifications.
func (t *tx) flush() error {
	for _, thing := range t.order {
		t.notify(thing, t.queues[thing])
	}
	if t.err != nil {
		t.out = nil
		return t.err
	}
	for _, write := range t.writes {
		write()
	}
	for id := range t.dirty {
		t.b.Set(key(keyJob, id), record(t.jobs[id]))
	}
	t.saveQueues()
	if t.deadline {
		t.b.OnApplied(func() { signal(t.e.wake) })
	}
	return nil
}

func (t *tx) saveQueues() {
	for _, thing := range t.order {
		if q := t.queues[thing]; len(q.list) > 0 {
			t.b.Set(key(keyQueue, thing), record(q.list))
		} else if q.first.Job != "" {
			t.b.Delete(key(keyQueue, thing))
		}
	}
}

// document returns the document of a job.
func (t *tx) document(job string) []byte {
	if doc, ok := t.docs[job]; ok {
		return doc
	}
	data, found, err := t.b.Get(key(keyDocument, job))
	if err == nil && found && (len(data) == 0 || data[0] != recordVersion) {
		err = errors.New("unknown form")
	}
	if err != nil || !found {
		if err != nil && t.err == nil {
			t.err = fmt.Errorf("document of job %q: %w", job, err)
		}
		return []byte("{}")
	}
	t.docs[job] = data[1:]
	return data[1:]
}
