package rules

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/outbox"
	"mote/internal/cloud/sink"
	"mote/internal/cloud/store"
)

// failedEntry is one entry that the outbox gave up, with its message.
type failedEntry struct {
	*origin
	failure outbox.Failure
}

// GiveUp takes the entries that the outbox gave up, which are of one rule and
// one destination: it runs the rule's error action, once for each message. What
// that writes goes into b; what it republishes is published, and is durable,
// before GiveUp returns, so a crash can repeat it but not lose it. An error
// means that the error action cannot run for now.
//
// When several outgoing actions of one message fail, the error action gets the
// first failure; the others are counted and logged.
func (e *Engine) GiveUp(ctx context.Context, b *store.Batch, failures []outbox.Failure) error {
	if len(failures) == 0 {
		return nil
	}
	c := e.snap.Load().byName[failures[0].Entry.Rule]
	open := make([]failedEntry, 0, len(failures))
	for _, f := range failures {
		o, err := decodeOrigin(f.Entry.Context)
		if err != nil {
			e.log.Error("an action of a rule failed, and its error action cannot run", "rule", f.Entry.Rule, "err", f.Err, "why", err)
			continue
		}
		entry := failedEntry{o, f}
		if c != nil {
			c.stats.failure(entry.asFailure(), o.message())
		}
		runs, err := e.opens(b, c, entry)
		if err != nil {
			return err
		}
		if runs {
			open = append(open, entry)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if isBatched(open[0]) {
		return e.runForEntries(ctx, b, c, open)
	}
	for i := range open {
		if err := e.runForEntries(ctx, b, c, open[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// isBatched says whether the rule asked for the entry to be batched, so that its
// error action gets the form for batches. Records for Kafka only travel together.
func isBatched(f failedEntry) bool {
	return f.failure.Entry.Kind == sink.KindHTTP && f.failure.Entry.Batch != nil
}

func (f *failedEntry) asFailure() *message.Failure {
	return &message.Failure{Rule: f.failure.Entry.Rule, Action: f.Action, Target: f.Target, Err: f.failure.Err}
}

// opens says whether the error action is to run for the entry, and notes in b
// that it ran.
func (e *Engine) opens(b *store.Batch, c *compiled, f failedEntry) (bool, error) {
	if c == nil || c.errorAction == nil || f.ErrorRun {
		e.logFailure(f.asFailure(), f.Topic)
		return false, nil
	}
	key := markKey(c.rule.Name, f.Time, f.Trace)
	first := e.claim(b, key)
	_, ran, err := b.Get(key)
	if err != nil {
		return false, fmt.Errorf("look whether the error action of rule %s ran: %w", c.rule.Name, err)
	}
	if !first || ran {
		e.logFailure(f.asFailure(), f.Topic)
		return false, nil
	}
	if f.Companions {
		e.mark(b, key)
	}
	return true, nil
}

// claim says whether nobody else runs the error action that a mark stands for;
// it is the caller's until b is visible or given up.
func (e *Engine) claim(b *store.Batch, mark []byte) bool {
	name := string(mark)
	if _, taken := e.claims.LoadOrStore(name, struct{}{}); taken {
		return false
	}
	b.OnApplied(func() { e.claims.Delete(name) })
	return true
}

// runForEntries runs the error action of c once, for one entry or those of a batch.
func (e *Engine) runForEntries(ctx context.Context, b *store.Batch, c *compiled, failed []failedEntry) error {
	first := failed[0]
	x := executions.Get().(*execution)
	defer x.release()
	x.begin(e, b, first.message(), first.Basic)
	x.msg.SetTraceID(first.Trace)
	x.rule = c
	p := x.errorPayload([]errorFailure{newErrorFailure(first.Action, first.Target, first.failure.Err)})
	if isBatched(first) {
		p.batched(failed)
	}
	if f := x.performErrorAction(p); f != nil {
		e.logFailure(f, first.Topic)
	}
	if x.out.Unavailable != nil {
		return x.out.Unavailable
	}
	return e.publishAll(ctx, x.out.Republish)
}

// batched turns p into the form for messages of a batch.
func (p *errorPayload) batched(failed []failedEntry) {
	p.CloudwatchTraceID, p.ClientID, p.Base64OriginalPayload, p.Failures = "", "", nil, nil
	across := failed[0].Across
	if across {
		p.Topic = ""
	}
	byText := map[string]int{} // error text → index of its failure
	for i, f := range failed {
		one := batchedPayload{
			ID: i + 1, CloudwatchTraceID: f.Trace, ClientID: clientOr(f.ClientID), SourceIP: f.SourceIP,
			Base64OriginalPayload: base64.StdEncoding.EncodeToString(f.Payload),
		}
		if across {
			one.Topic = f.Topic
		}
		p.Payloads = append(p.Payloads, one)
		text := f.failure.Err.Error()
		at, ok := byText[text]
		if !ok {
			at = len(p.Failures)
			byText[text] = at
			p.Failures = append(p.Failures, newErrorFailure(f.Action, f.Target, f.failure.Err))
		}
		p.Failures[at].AffectedIDs = append(p.Failures[at].AffectedIDs, i+1)
	}
}

var errNoPublish = errors.New("this server has no broker that could republish")

// publishAll publishes what an error action republishes.
func (e *Engine) publishAll(ctx context.Context, messages []*message.Message) error {
	for _, m := range messages {
		if e.opt.Publish == nil {
			return errNoPublish
		}
		if err := e.opt.Publish(ctx, m); err != nil {
			return fmt.Errorf("republish for an error action: %w", err)
		}
	}
	return nil
}

// Marks say for which rule and message the error action ran, as long as another
// action of the two may still fail. Their keys cannot be those of rules.
const (
	markTag  = 0x00
	markAge  = 72 * time.Hour // more than an entry waits
	markTick = time.Hour      // between two removals of old marks
)

func markPrefix(t time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(store.SpaceRule), markTag}, uint64(t.UnixMilli()))
}

func markKey(rule string, t time.Time, trace string) []byte {
	return append(append(append(markPrefix(t), rule...), 0), trace...)
}

// mark notes a run in b, and now and then removes the old marks.
func (e *Engine) mark(b *store.Batch, key []byte) {
	defer b.Set(key, nil) // last: the clock may have been set since the message came
	now, last := time.Now(), e.swept.Load()
	if now.UnixNano()-last > int64(markTick) && e.swept.CompareAndSwap(last, now.UnixNano()) {
		b.DeleteRange(markPrefix(time.UnixMilli(0)), markPrefix(now.Add(-markAge)))
	}
}
