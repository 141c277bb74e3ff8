package jobs

// giveTo makes a new execution of j for a thing, when it has none that is not
// ended.
func (t *tx) giveTo(j *Job, thing string) {
	r := t.run(j.ID, thing)
	if x := r.latest(); x != nil && !x.Status.Terminal() {
		return
	}
	if x := r.latest(); x != nil {
		j.count(x.Status, -1)
	} else {
		j.Notified++
	}
	t.enqueue(j, r, 0)
}

// enqueue adds an execution to a run; the one before is not counted any more.
func (t *tx) enqueue(j *Job, r *run, retry int) {
	r.Last++
	r.Executions = append(r.Executions, Execution{Number: r.Last, Status: Queued, Queued: t.now, Updated: t.now, Version: 1, Retry: retry})
	if n := len(r.Executions); n > keptExecutions {
		r.Executions = append(r.Executions[:0:0], r.Executions[n-keptExecutions:]...)
	}
	j.count(Queued, 1)
	t.keepJob(j)
	t.place(r.thing, j.ID, r.latest())
	t.putRun(r)
}

func (j *Job) count(s Status, n int) {
	if j.Things == nil {
		j.Things = map[Status]int{}
	}
	j.Things[s] += n
}

// change brings an execution to another status, and does what follows of it.
func (t *tx) change(j *Job, r *run, x *Execution, to Status) {
	from, deadline := x.Status, x.deadline()
	x.Status, x.Updated = to, t.now
	x.Version++
	if to == InProgress && x.Started == 0 {
		x.Started = t.now
		if m := j.Timeout.minutes(); m > 0 {
			x.JobDeadline = t.now + m*60_000
		}
	}
	if to.Terminal() {
		x.JobDeadline, x.StepDeadline = 0, 0
	}
	t.remind(r.job, r.thing, deadline, x.deadline())
	t.place(r.thing, r.job, x)
	if x == r.latest() && from != to {
		j.count(from, -1)
		j.count(to, 1)
		t.keepJob(j)
	}
	t.putRun(r)
	if to.Terminal() {
		t.ended(j, r, to)
	}
}

// ended tries again what may be tried again, gives the job up when too much of
// it failed, and completes it when nothing is left.
func (t *tx) ended(j *Job, r *run, s Status) {
	if j.Status == JobInProgress && j.Retry.again(s, r.Retries) {
		r.Retries[s]++
		j.count(s, -1)
		t.enqueue(j, r, r.Retries[Failed]+r.Retries[TimedOut])
		return
	}
	if c := j.Abort.met(j); c != nil && j.Status == JobInProgress {
		t.cancel(j, false, "ABORT_CRITERIA_MET", "the share of failures ("+c.FailureType+") reached the threshold of abortConfig")
		return
	}
	t.complete(j)
}

// complete ends a job of which nothing is left to do.
func (t *tx) complete(j *Job) {
	if j.Status != JobInProgress || j.Continuous && !j.Ended || j.Waiting > 0 || j.Things[Queued]+j.Things[InProgress] > 0 {
		return
	}
	j.Status, j.Completed, j.Updated = JobCompleted, t.now, t.now
	t.at(j, 0)
}

// step sets the step timer of an execution in progress; minutes is 0 to leave
// it as it is and -1 to take it away.
func (t *tx) step(r *run, x *Execution, minutes int64) {
	if minutes == 0 || x.Status != InProgress {
		return
	}
	before := x.deadline()
	x.StepDeadline = 0
	if minutes > 0 {
		x.StepDeadline = t.now + minutes*60_000
	}
	t.remind(r.job, r.thing, before, x.deadline())
	t.putRun(r)
}

// remove takes an execution away with its record.
func (t *tx) remove(j *Job, r *run, x *Execution) {
	latest := x == r.latest()
	number, status := x.Number, x.Status
	t.remind(r.job, r.thing, x.deadline(), 0)
	gone := *x
	if gone.Status = Removed; !status.Terminal() {
		t.place(r.thing, r.job, &gone)
	}
	kept := r.Executions[:0:0]
	for _, other := range r.Executions {
		if other.Number != number {
			kept = append(kept, other)
		}
	}
	r.Executions = kept
	if latest {
		j.count(status, -1)
		if x := r.latest(); x != nil {
			j.count(x.Status, 1)
		}
		t.keepJob(j)
	}
	t.putRun(r)
}
