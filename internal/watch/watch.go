// Package watch lets a test watch what goes on beside it: it waits for what must
// come, and reads a log while it is written. Only tests import it.
package watch

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for what should come at once: far longer
// than it takes on an emulated machine that has other work too.
const Patience = 3 * time.Minute

// Soon waits until ok, at most for [Patience], and returns what ok came to.
func Soon(ok func() bool) bool {
	pause := time.Millisecond
	for end := time.Now().Add(Patience); !ok(); pause = min(2*pause, 30*time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(pause)
	}
	return true
}

// Until waits until ok, at most for [Patience]; then the test ends with the words
// that what did not come.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Soon(ok) {
		t.Fatalf("not within %v: %s", Patience, what)
	}
}

// Log is what something beside the test writes, such as a log or the output of
// a process. The zero Log is empty.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Count is how often what was written so far says what.
func (l *Log) Count(what string) int { return strings.Count(l.String(), what) }

// Logger writes into it.
func (l *Log) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
