package uplink

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// State is whether an uplink delivers, and logs each change once. The zero
// State has not delivered yet. It is safe for concurrent use.
type State struct {
	Log *slog.Logger

	mu        sync.Mutex
	up        bool      // guarded by mu
	since     time.Time // guarded by mu; of up
	failure   string    // guarded by mu; what was logged last, "" when all is well
	lastError string    // guarded by mu
	lastAt    time.Time // guarded by mu
	failures  uint64    // guarded by mu; calls of Failed and Note
}

// Up notes that the uplink reaches its server.
func (s *State) Up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		s.up, s.since = true, time.Now()
	}
}

// Well notes that deliveries succeed, and logs it when they did not.
func (s *State) Well(attrs ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != "" {
		s.Log.Info("delivering again", attrs...)
		s.failure = ""
	}
}

// Down notes that the uplink does not reach its server.
func (s *State) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up, s.since = false, time.Time{}
}

// Failed notes why deliveries do not succeed, and logs it unless the same was
// the last thing logged.
func (s *State) Failed(err error, attrs ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	s.lastError, s.lastAt = err.Error(), time.Now()
	if kind := sameness(err); kind != s.failure {
		s.failure = kind
		s.Log.Warn("cannot deliver, readings are kept", append([]any{"error", err}, attrs...)...)
	}
}

// Note keeps err as the last error, for what is logged elsewhere.
func (s *State) Note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures++
	s.lastError, s.lastAt = err.Error(), time.Now()
}

// Status is what the State knows of the uplink's status: whether the server is
// reached and since when, the failures, and the last error and when it was.
func (s *State) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Connected: s.up, Since: s.since, Failures: s.failures, LastError: s.lastError, LastErrorAt: s.lastAt}
}

// sameness is the text of err without what differs from try to try: the local
// port that network errors name.
func sameness(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
