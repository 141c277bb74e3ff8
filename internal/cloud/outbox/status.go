package outbox

import (
	"cmp"
	"sort"
	"strings"
	"time"
)

// Status is what waits, and what was done since the start.
type Status struct {
	Waiting  int64     `json:"waiting"` // entries in the store
	Bytes    int64     `json:"bytes"`
	Counting bool      `json:"counting,omitempty"` // what waited at the start is still being counted
	Oldest   time.Time `json:"oldest,omitzero"`    // when what waits longest was added, as far as known

	Delivered int64 `json:"delivered"`
	Retries   int64 `json:"retries"`
	Failed    int64 `json:"failed"`  // for good
	Refused   int64 `json:"refused"` // because the outbox was full
	Aside     int64 `json:"aside"`   // stored entries that cannot be read

	Rules []RuleStatus `json:"rules,omitempty"` // in the order of rule and kind
}

// RuleStatus is the part of a Status that is about one kind of action of a rule.
type RuleStatus struct {
	Rule         string     `json:"rule"`
	Kind         string     `json:"kind"`
	Destinations int        `json:"destinations"` // for which entries wait
	Troubled     int        `json:"troubled"`     // of these, those that fail now
	Waiting      int64      `json:"waiting"`
	Oldest       time.Time  `json:"oldest,omitzero"`
	Delivered    int64      `json:"delivered"`
	Retries      int64      `json:"retries"`
	Failed       int64      `json:"failed"`
	LastError    *LastError `json:"last_error,omitempty"`
}

// LastError is the last failed attempt.
type LastError struct {
	Time        time.Time `json:"time"`
	Text        string    `json:"text"`
	Destination string    `json:"destination"`
}

type ruleKind struct{ rule, kind string }

// ruleCounters are guarded by the outbox's mu.
type ruleCounters struct {
	delivered, retries, failed int64
	troubled                   int        // lanes that fail
	last                       *LastError // what it points to does not change
}

// maxRules is for how many rules there are counters; further ones share one.
const maxRules = 10_000

func (c *ruleCounters) fail(destination string, err error) {
	c.last = &LastError{Time: time.Now().UTC(), Text: cut(err.Error()), Destination: cut(destination)}
}

// maxShown is how much of an error or a destination is kept, in bytes.
const maxShown = 512

func cut(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// counters returns those of the lane's rule; mu is held.
func (o *Outbox) counters(l *lane) *ruleCounters {
	k := ruleKind{l.rule, l.kind}
	if o.rules[k] == nil && len(o.rules) >= maxRules {
		k = ruleKind{}
	}
	c := o.rules[k]
	if c == nil {
		c = &ruleCounters{}
		o.rules[k] = c
	}
	return c
}

func (o *Outbox) count(l *lane, change func(*ruleCounters)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o.counters(l))
}

// Status returns the state of the outbox. It looks at every lane.
func (o *Outbox) Status() Status {
	s := Status{
		Waiting: max(0, o.total.entries.Load()), Bytes: max(0, o.total.bytes.Load()), Counting: !o.counted.Load(),
		Refused: o.total.refused.Load(), Aside: o.damaged.Load(),
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	rules := map[ruleKind]*RuleStatus{}
	of := func(k ruleKind) *RuleStatus {
		if rules[k] == nil {
			rules[k] = &RuleStatus{Rule: k.rule, Kind: k.kind}
		}
		return rules[k]
	}
	for k, c := range o.rules {
		r := of(k)
		r.Delivered, r.Retries, r.Failed, r.LastError = c.delivered, c.retries, c.failed, c.last
		s.Delivered, s.Retries, s.Failed = s.Delivered+c.delivered, s.Retries+c.retries, s.Failed+c.failed
	}
	for _, l := range o.lanes {
		l.addTo(of(ruleKind{l.rule, l.kind}))
	}
	for _, r := range rules {
		s.Oldest = earlier(s.Oldest, r.Oldest)
		s.Rules = append(s.Rules, *r)
	}
	sort.Slice(s.Rules, func(i, j int) bool {
		return cmp.Or(cmp.Compare(s.Rules[i].Rule, s.Rules[j].Rule), cmp.Compare(s.Rules[i].Kind, s.Rules[j].Kind)) < 0
	})
	return s
}

// addTo adds what waits in the lane; mu is held.
func (l *lane) addTo(r *RuleStatus) {
	n := l.waiting - len(l.settled)
	if n <= 0 && l.state == idle {
		return
	}
	r.Destinations++
	r.Waiting += int64(max(0, n))
	r.Oldest = earlier(r.Oldest, l.oldest)
	if l.trouble {
		r.Troubled++
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
