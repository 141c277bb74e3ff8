package rules

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"mote/internal/cloud/message"
)

// Status is what a rule has done since the start.
type Status struct {
	Name        string     `json:"name"`
	Filter      string     `json:"filter"`
	Enabled     bool       `json:"enabled"`
	Matched     int64      `json:"matched"` // messages whose topic matched
	Fired       int64      `json:"fired"`   // of these, those that WHERE let through
	Failed      int64      `json:"failed"`  // actions that failed, error actions too
	LastError   *LastError `json:"last_error,omitempty"`
	NotExecuted []string   `json:"not_executed,omitempty"` // kinds of actions that are stored, not executed
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
	out := make([]Status, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		c := byName[name]
		out = append(out, Status{
			Name: name, Filter: c.rule.Filter, Enabled: c.enabled(),
			Matched: c.stats.matched.Load(), Fired: c.stats.fired.Load(), Failed: c.stats.failed.Load(),
			LastError: c.stats.lastError(), NotExecuted: c.notExecuted,
		})
	}
	return out
}

// throttle lets one log line pass per second.
type throttle struct {
	last   atomic.Int64 // Unix nanoseconds
	missed atomic.Int64
}

// allow says whether to log now, and how many lines were left out before.
func (t *throttle) allow() (bool, int64) {
	now, last := time.Now().UnixNano(), t.last.Load()
	if now-last < int64(time.Second) || !t.last.CompareAndSwap(last, now) {
		t.missed.Add(1)
		return false, 0
	}
	return true, t.missed.Swap(0)
}
