package rules

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"mote/internal/cloud/message"
	"mote/internal/cloud/outbox"
)

// Status is what a rule has done since the start.
type Status struct {
	Name      string     `json:"name"`
	Filter    string     `json:"filter"`
	Enabled   bool       `json:"enabled"`
	Matched   int64      `json:"matched"` // messages whose topic matched
	Fired     int64      `json:"fired"`   // of these, those that WHERE let through
	Failed    int64      `json:"failed"`  // actions that failed, error actions too
	LastError *LastError `json:"last_error,omitempty"`

	// What the outbox has of the rule.
	Waiting   int64             `json:"waiting,omitempty"`    // actions that are still to be performed
	Delivered int64             `json:"delivered,omitempty"`  // performed since the start
	Retried   int64             `json:"retried,omitempty"`    // attempts after the first
	LastRetry *outbox.LastError `json:"last_retry,omitempty"` // the last failed attempt

	NotExecuted []string `json:"not_executed,omitempty"` // kinds of actions that are stored, not executed
	NotOffered  []string `json:"not_offered,omitempty"`  // functions that need a service mote does not have
}

// LastError is the last failure of a rule, with the message that caused it.
type LastError struct {
	Time     time.Time `json:"time"`
	Text     string    `json:"text"`
	Action   string    `json:"action,omitempty"` // as message.Failure names it
	Topic    string    `json:"topic,omitempty"`
	ClientID string    `json:"client_id,omitempty"`
	Payload  string    `json:"payload,omitempty"` // its beginning; bytes that are not text are shown as U+FFFD
}

// Bounds of what a LastError and an error action's payload repeat, in bytes.
const (
	maxShownPayload = 512
	maxShownError   = 512
)

// stats are the counters of a rule, shared by its successive versions.
type stats struct {
	matched, fired, failed atomic.Int64

	mu   sync.Mutex
	last *LastError // guarded by mu; what it points to does not change
}

func (s *stats) fail(e *LastError) {
	e.Text = cut(e.Text, maxShownError)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = e
}

func (s *stats) lastError() *LastError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// failure counts a failed action.
func (s *stats) failure(f *message.Failure, m *message.Message) {
	s.failed.Add(1)
	s.fail(&LastError{
		Time: time.Now().UTC(), Text: f.Err.Error(), Action: f.Action,
		Topic: cut(m.Topic, maxShownPayload), ClientID: cut(m.ClientID, maxShownPayload),
		Payload: cut(string(m.Payload[:min(len(m.Payload), maxShownPayload+utf8.UTFMax)]), maxShownPayload),
	})
}

// cut returns at most max bytes of s as text, and says when it left some out.
func cut(s string, max int) string {
	over := len(s) > max
	if over {
		for s = s[:max]; len(s) > 0; s = s[:len(s)-1] {
			if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
				break
			}
		}
	}
	out := make([]rune, 0, len(s)+1)
	for _, r := range s { // each byte that is not text becomes U+FFFD
		out = append(out, r)
	}
	if over {
		out = append(out, '…')
	}
	return string(out)
}

// Status returns the state of all rules in the order of their names.
func (e *Engine) Status() []Status {
	byName := e.snap.Load().byName
	waiting := e.waiting()
	out := make([]Status, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c := byName[name]
		one := Status{
			Name: name, Filter: c.rule.Filter, Enabled: c.enabled(),
			Matched: c.stats.matched.Load(), Fired: c.stats.fired.Load(), Failed: c.stats.failed.Load(),
			LastError: c.stats.lastError(), NotExecuted: c.notExecuted, NotOffered: c.notOffered,
		}
		for _, w := range waiting[name] {
			one.add(w)
		}
		out = append(out, one)
	}
	return out
}

// waiting is what the outbox has, by rule.
func (e *Engine) waiting() map[string][]outbox.RuleStatus {
	out := map[string][]outbox.RuleStatus{}
	if e.opt.Outbox != nil {
		for _, r := range e.opt.Outbox.Status().Rules {
			out[r.Rule] = append(out[r.Rule], r)
		}
	}
	return out
}

// add adds what the outbox has of one kind of actions.
func (s *Status) add(w outbox.RuleStatus) {
	s.Waiting += w.Waiting
	s.Delivered += w.Delivered
	s.Retried += w.Retries
	if w.LastError != nil && (s.LastRetry == nil || w.LastError.Time.After(s.LastRetry.Time)) {
		s.LastRetry = w.LastError
	}
}

// NotFound is how many messages of Basic Ingest named a rule that was not there
// or was disabled, since the start (AWS IoT metric RuleNotFound).
func (e *Engine) NotFound() int64 { return e.notFound.Load() }
