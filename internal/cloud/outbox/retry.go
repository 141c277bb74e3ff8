package outbox

import (
	"math/rand/v2"
	"time"
)

// attempts is how often an entry whose rule has an error action is tried (AWS
// IoT developer guide, "HTTP": at most two retries).
const attempts = 3

// Pauses between attempts.
const (
	firstPause = time.Second
	maxPause   = 5 * time.Minute
)

// backoff is the pause after the n-th failed attempt: doubled each time, and 20 %
// more or less, so that lanes that failed together do not try together.
func backoff(n int) time.Duration {
	pause := maxPause
	if n < 10 {
		pause = min(maxPause, firstPause<<max(0, n-1))
	}
	return pause*8/10 + rand.N(pause*4/10)
}

// note keeps what an attempt says about the destination.
func (t *turn) note(errs []error, now time.Time) {
	l := t.l
	failed := error(nil)
	worst := Busy
	for _, err := range errs {
		if err == nil {
			continue
		}
		if class, _ := classOf(err); class != Permanent && failed == nil {
			failed, worst = err, class
		}
	}
	if failed == nil { // it answers: also when it refuses an entry for good
		if l.failed > 0 {
			t.o.log.Info("a destination takes actions again", "kind", l.kind, "rule", l.rule, "destination", l.name, "failed_attempts", l.failed)
		}
		l.failed, l.fails, l.last = 0, nil, nil
		return
	}
	if l.failed == 0 {
		t.o.log.Warn("a destination does not take an action, it is tried again", "kind", l.kind, "rule", l.rule, "destination", l.name, "err", cut(failed.Error()))
	}
	l.failed++
	l.last = failed
	if len(l.fails) == keptFails {
		l.fails = append(l.fails[:0], l.fails[1:]...)
	}
	l.fails = append(l.fails, failure{now, worst})
}

// waited counts the last failed attempts of the lane since the entry is there.
func (t *turn) waited(e *Entry) int {
	n := 0
	for _, f := range t.l.fails {
		if !f.at.Before(e.Added) {
			n++
		}
	}
	return n
}

// final says whether an entry is given up after its delivery ended with err.
func (t *turn) final(e *Entry, err error, now time.Time) bool {
	class, _ := classOf(err)
	switch {
	case class == Permanent:
		return true
	case e.Keep:
		return false
	case e.HasErrorAction:
		return class == Uncertain || e.Attempt >= attempts || t.waited(e) >= attempts
	}
	return now.Sub(e.Added) >= t.o.opt.MaxAge
}

// hopeless says whether an entry is given up without an attempt of its own,
// since those of its lane failed for as long as it may wait.
func (t *turn) hopeless(e *Entry) bool {
	n := len(t.l.fails)
	if n == 0 || e.Keep || e.seq <= t.l.tried { // or it is to be tried again
		return false
	}
	last := t.l.fails[n-1]
	if e.HasErrorAction {
		return last.class == Unreachable && t.waited(e) >= attempts
	}
	return last.at.Sub(e.Added) >= t.o.opt.MaxAge
}

// again notes that entries are tried again, and says after which pause.
func (t *turn) again(stay []Failure) time.Duration {
	head := stay[0].Entry
	t.l.tries, t.l.tried = head.Attempt, stay[len(stay)-1].Entry.seq
	pause := time.Duration(0)
	for _, f := range stay {
		n := t.l.failed
		if f.Entry.HasErrorAction && !f.Entry.Keep {
			n = f.Entry.Attempt
		}
		_, after := classOf(f.Err)
		pause = max(pause, backoff(n), min(after, maxPause))
	}
	t.o.count(t.l, func(c *ruleCounters) {
		c.retries += int64(len(stay))
		c.fail(t.l.name, stay[0].Err)
	})
	return pause
}

// giveUp hands entries that failed for good to the owner's Failed, and removes
// them, in one commit.
func (t *turn) giveUp(lost []Failure) error {
	o := t.o
	t.l.undone++
	b := o.st.NewBatch()
	for _, f := range lost {
		b.Delete(f.Entry.key)
	}
	if o.opt.Failed != nil {
		if err := o.opt.Failed(o.ctx, b, lost); err != nil {
			b.Discard()
			o.log.Error("a failed action cannot be given up, it is tried again", "kind", t.l.kind, "rule", t.l.rule, "err", err)
			return err
		}
	}
	if err := o.st.Commit(b); err != nil {
		o.log.Error("a failed action cannot be given up, it is tried again", "kind", t.l.kind, "rule", t.l.rule, "err", err)
		return err
	}
	t.l.undone = 0
	for _, f := range lost {
		o.removed(t.l, f.Entry.size)
	}
	o.count(t.l, func(c *ruleCounters) {
		c.failed += int64(len(lost))
		c.fail(t.l.name, lost[0].Err)
	})
	if ok, missed := o.losses.Allow(); ok {
		f := lost[0]
		o.log.Warn("an action of a rule failed for good", "kind", t.l.kind, "rule", t.l.rule, "destination", t.l.name, "id", f.Entry.ID,
			"added", f.Entry.Added, "error_action", f.Entry.HasErrorAction, "err", cut(f.Err.Error()), "not_logged", missed)
	}
	return nil
}
