package jobs

import (
	"context"
	"time"

	"mote/internal/cloud/store"
)

// chunk is how many things one commit is about, at most.
const chunk = 100

// Times of the keeper.
const (
	lookEvery = 10 * time.Second       // without being told that the fleet has changed
	lookPause = 200 * time.Millisecond // at least, between two looks
	retryWait = time.Second            // after a failure
)

// keep is the goroutine that does what time has to do.
func (e *Engine) keep(ctx context.Context) {
	looked := time.Time{}
	for {
		wait, err := e.due(ctx)
		if err == nil && e.lookDue(looked) {
			err = e.lookAtFleet(ctx)
			looked = time.Now()
		}
		if err != nil && ctx.Err() == nil {
			e.log.Error("what jobs have to do cannot be done now, it is tried again", "err", err)
			wait = retryWait
		}
		timer := time.NewTimer(min(wait, lookEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-e.wake:
		case <-e.look:
			signal(e.look) // for lookDue
			pause(ctx, lookPause-time.Since(looked))
		case <-timer.C:
		}
		timer.Stop()
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// lookDue says whether it is time to look at things and groups.
func (e *Engine) lookDue(looked time.Time) bool {
	select {
	case <-e.look:
		return true
	default:
		return time.Since(looked) >= lookEvery
	}
}

// dueMost bounds how many timers are read at once.
const dueMost = 1000

// timer is one timer of the store.
type timer struct {
	at         int64
	job, thing string
}

// due does everything whose time has come, and returns how long there is
// nothing to do.
func (e *Engine) due(ctx context.Context) (time.Duration, error) {
	for {
		list, next, err := e.timers()
		if err != nil || len(list) == 0 {
			return next, err
		}
		for len(list) > 0 {
			n := min(len(list), chunk)
			if list[0].thing == "" {
				n = 1 // a job's own work is a chunk
			}
			if err := e.fire(ctx, list[:n]); err != nil {
				return retryWait, err
			}
			list = list[n:]
		}
	}
}

// timers returns those that are due, and how long it is to the next one.
func (e *Engine) timers() (list []timer, next time.Duration, err error) {
	prefix := key(keyTimer)
	it, err := e.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return nil, retryWait, err
	}
	now := e.now().UnixMilli()
	next = lookEvery
	for ok := it.First(); ok && len(list) < dueMost; ok = it.Next() {
		var t timer
		if t.at, t.job, t.thing = parseTimer(it.Key()); t.at > now {
			next = time.Duration(t.at-now) * time.Millisecond
			break
		}
		list = append(list, t)
	}
	return list, next, it.Close()
}

// fire does what the timers are for, in one commit. One that is out of date is
// taken away.
func (e *Engine) fire(ctx context.Context, list []timer) error {
	return e.change(ctx, func(t *tx) *Error {
		for _, one := range list {
			if one.thing == "" {
				t.work(one)
			} else {
				t.timeOut(one)
			}
		}
		return nil
	})
}

// timeOut ends the execution that a timer is for.
func (t *tx) timeOut(one timer) {
	j := t.job(one.job)
	if j != nil {
		r := t.run(one.job, one.thing)
		if x := r.latest(); x != nil && x.deadline() == one.at && x.Status == InProgress {
			t.change(j, r, x, TimedOut)
			return
		}
	}
	t.del(timerKey(one.at, one.job, one.thing))
}

// work goes on with a job.
func (t *tx) work(one timer) {
	j := t.job(one.job)
	if j == nil || j.NextRun != one.at {
		t.del(timerKey(one.at, one.job, ""))
		return
	}
	t.proceed(j)
}

// proceed does the next part of what a job has to do, and sets when it goes on.
func (t *tx) proceed(j *Job) {
	switch {
	case j.Phase != "":
		t.sweep(j)
		return
	case j.Status == JobScheduled && j.Schedule.starts() <= t.now:
		t.start(j)
		return
	}
	if end := j.Schedule.ends(); end != 0 && end <= t.now && !j.Ended && !j.terminal() {
		t.end(j)
		return
	}
	if j.Status == JobInProgress {
		t.rollOut(j, t.waiting(j.ID, t.allowed(j)))
	}
	t.plan(j)
}

// start begins a job whose time has come.
func (t *tx) start(j *Job) {
	j.Status, j.Updated = JobInProgress, t.now
	things := t.e.expand(j.Targets)
	t.wait(j, things)
	t.at(j, t.now)
	t.complete(j)
}

// end does what the end time of a job asks for.
func (t *tx) end(j *Job) {
	j.Ended = true
	if b := j.Schedule.EndBehavior; b != stopRollout {
		t.cancel(j, b == forceCancel, "END_TIME_REACHED", "the end time of the job is past")
		return
	}
	j.Phase, j.Cursor = phaseStop, ""
	t.at(j, t.now)
}

// plan sets when work goes on with a job.
func (t *tx) plan(j *Job) {
	var when int64
	switch {
	case j.Status == JobScheduled:
		when = j.Schedule.starts()
	case j.Status == JobInProgress && j.Waiting > 0 && t.allowed(j) > 0:
		when = t.now
	case j.Status == JobInProgress && j.Waiting > 0:
		when = j.Window + 60_000
	}
	if end := j.Schedule.ends(); end != 0 && !j.terminal() && !j.Ended && (when == 0 || end < when) {
		when = end
	}
	t.at(j, when)
}

// allowed is how many things may be told of a job now.
func (t *tx) allowed(j *Job) int {
	if t.now-j.Window >= 60_000 || t.now < j.Window {
		j.Window, j.InWindow, j.Rate = t.now, 0, j.Rollout.rate(j)
	}
	return max(min(j.Rate-j.InWindow, chunk), 0)
}

// waiting returns up to limit things that are to be told of a job, as the store
// has them.
func (t *tx) waiting(job string, limit int) []string {
	return t.scan(key(keyWaiting, job, ""), "", limit)
}

// scan returns up to limit second parts of the keys with a prefix, after one.
func (t *tx) scan(prefix []byte, after string, limit int) (out []string) {
	lower := prefix
	if after != "" {
		lower = append(append(append([]byte{}, prefix...), after...), 0)
	}
	it, err := t.e.st.Iterator(lower, store.PrefixEnd(prefix))
	if err != nil {
		t.err = err
		return nil
	}
	for ok := it.First(); ok && len(out) < limit; ok = it.Next() {
		_, second := parts(it.Key())
		out = append(out, second)
	}
	if err := it.Close(); err != nil && t.err == nil {
		t.err = err
	}
	return out
}

// wait notes things that are to be told of a job.
func (t *tx) wait(j *Job, things []string) {
	for _, thing := range things {
		k := key(keyWaiting, j.ID, thing)
		if _, found, err := t.b.Get(k); err != nil || found {
			if err != nil && t.err == nil {
				t.err = err
			}
			continue
		}
		t.writes = append(t.writes, func() { t.b.Set(k, []byte{recordVersion}) })
		j.Waiting++
	}
	t.keepJob(j)
}

// rollOut tells things that waited of a job.
func (t *tx) rollOut(j *Job, things []string) {
	for _, thing := range things {
		t.del(key(keyWaiting, j.ID, thing))
		j.Waiting--
		if t.e.fleet.HasThing(thing) {
			t.giveTo(j, thing)
			j.InWindow++
		}
	}
	t.keepJob(j)
	t.complete(j)
}

// sweep does the next part of what is done to all executions of a job.
func (t *tx) sweep(j *Job) {
	if gone := t.waiting(j.ID, chunk); len(gone) > 0 {
		for _, thing := range gone {
			t.del(key(keyWaiting, j.ID, thing))
		}
		j.Waiting = max(j.Waiting-len(gone), 0)
		t.at(j, t.now)
		return
	}
	var things []string
	if j.Phase != phaseStop {
		things = t.scan(key(keyRun, j.ID, ""), j.Cursor, chunk)
	}
	t.sweepThings(j, things)
}

// sweepThings does what the phase of a job is for to the executions of things,
// the next ones in order. Fewer than chunk of them are the last.
func (t *tx) sweepThings(j *Job, things []string) {
	for _, thing := range things {
		r := t.run(j.ID, thing)
		if j.Phase == phaseDelete {
			for len(r.Executions) > 0 {
				t.remove(j, r, r.latest())
			}
		} else if x := r.latest(); x != nil && (x.Status == Queued || x.Status == InProgress && j.Forced) {
			x.Forced = j.Forced
			t.change(j, r, x, Canceled)
		}
		j.Cursor = thing
	}
	switch {
	case len(things) == chunk:
		t.at(j, t.now)
	case j.Phase == phaseDelete:
		t.dropJob(j)
	default:
		j.Phase, j.Cursor = "", ""
		t.plan(j)
		t.complete(j)
	}
}

// cancel begins to cancel a job.
func (t *tx) cancel(j *Job, force bool, reason, comment string) {
	j.Status, j.Updated, j.Completed = JobCanceled, t.now, t.now
	j.Forced, j.Reason, j.Comment = force, reason, comment
	j.Phase, j.Cursor = phaseCancel, ""
	t.at(j, t.now)
}

// lookAtFleet takes executions away from things that are gone, and gives
// continuous jobs to things that have joined their groups.
func (e *Engine) lookAtFleet(ctx context.Context) error {
	gone, err := e.each(keyQueue, func(thing string) bool { return !e.fleet.HasThing(thing) })
	if err != nil {
		return err
	}
	for _, thing := range gone {
		if err := e.change(ctx, func(t *tx) *Error { t.forget(thing); return nil }); err != nil {
			return err
		}
	}
	ids, err := e.each(keyJob, nil)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := e.follow(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// each returns the first parts of the keys of a kind for which f, if there is
// one, is true.
func (e *Engine) each(kind byte, f func(string) bool) (out []string, err error) {
	prefix := key(kind)
	it, err := e.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if first, _ := parts(it.Key()); f == nil || f(first) {
			out = append(out, first)
		}
	}
	return out, it.Close()
}

// forget marks the executions of a thing that is gone.
func (t *tx) forget(thing string) {
	if t.e.fleet.HasThing(thing) { // it is back
		return
	}
	for _, p := range append([]pending{}, t.queue(thing).list...) {
		t.removed(p.Job, thing)
	}
}

func (t *tx) removed(job, thing string) {
	j := t.job(job)
	if j == nil {
		return
	}
	r := t.run(job, thing)
	if x := r.latest(); x != nil && !x.Status.Terminal() {
		t.change(j, r, x, Removed)
	}
}

// follow brings a continuous job in line with the members of its groups.
func (e *Engine) follow(ctx context.Context, id string) error {
	data, found, err := e.st.Get(key(keyJob, id))
	var j Job
	if err != nil || !found || readRecord(data, &j) != nil || !j.Continuous || j.Status != JobInProgress || j.Ended {
		return err
	}
	members := e.expand(j.Targets)
	is := make(map[string]bool, len(members))
	for _, thing := range members {
		is[thing] = true
	}
	for from := 0; from < len(members); from += chunk {
		part := members[from:min(from+chunk, len(members))]
		if part = e.newcomers(id, part); len(part) == 0 {
			continue
		}
		if err := e.change(ctx, func(t *tx) *Error { t.join(id, part); return nil }); err != nil {
			return err
		}
	}
	return e.leavers(ctx, id, is)
}

// newcomers are the things that a job was not given to yet, or was taken from.
func (e *Engine) newcomers(job string, things []string) (out []string) {
	for _, thing := range things {
		data, found, err := e.st.Get(key(keyRun, job, thing))
		r := run{}
		if err == nil && found {
			err = readRecord(data, &r)
		}
		if x := r.latest(); err == nil && (x == nil || x.Status == Removed) {
			out = append(out, thing)
		}
	}
	return out
}

// join has things wait for a continuous job.
func (t *tx) join(job string, things []string) {
	if j := t.job(job); j != nil && j.Status == JobInProgress {
		t.wait(j, things)
		t.at(j, t.now)
	}
}

// leavers takes a continuous job away from things that have left its groups.
func (e *Engine) leavers(ctx context.Context, job string, members map[string]bool) error {
	prefix := key(keyRun, job, "")
	it, err := e.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	var left []string
	for ok := it.First(); ok && len(left) < chunk; ok = it.Next() {
		_, thing := parts(it.Key())
		var r run
		if members[thing] || readRecord(it.Value(), &r) != nil {
			continue
		}
		if x := r.latest(); x != nil && !x.Status.Terminal() {
			left = append(left, thing)
		}
	}
	if err := it.Close(); err != nil || len(left) == 0 {
		return err
	}
	return e.change(ctx, func(t *tx) *Error {
		for _, thing := range left {
			t.removed(job, thing)
		}
		return nil
	})
}
