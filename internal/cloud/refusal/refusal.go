// Package refusal keeps the last refusals of the cloud, so that whoever was
// turned away can be told why: who asked, for what, and what decided. Every
// refusal is also one log line, unless there are very many: strangers can make
// refusals as fast as they like, and must not fill the disk with them. Nothing
// secret goes in.
package refusal

import (
	"log/slog"
	"sync"
	"time"
)

// Refusal is one thing that the cloud did not let somebody do.
type Refusal struct {
	Time      time.Time `json:"time"`
	Where     string    `json:"where"`               // "tls", "mqtt", "api", "rest"
	Action    string    `json:"action"`              // "iot:Publish", "TLS handshake", "POST /prod/dust", …
	Resource  string    `json:"resource,omitempty"`  // ARN, topic, path
	Principal string    `json:"principal,omitempty"` // certificate id, access key id; "" when unknown
	ClientID  string    `json:"client_id,omitempty"`
	SourceIP  string    `json:"source_ip,omitempty"`
	Reason    string    `json:"reason"` // what decided, and what to do about it
}

// keep is how many refusals are remembered.
const keep = 200

// So many refusals get a log line at once, and so many in a second from then
// on; the next line tells how many got none.
const (
	logBurst  = 200
	logPerSec = 20
)

// Log remembers the last refusals. Its methods are safe for concurrent use,
// and all work on a nil *Log, which drops everything.
type Log struct {
	log *slog.Logger

	mu    sync.Mutex
	ring  []Refusal // guarded by mu; the oldest first
	total uint64    // guarded by mu
	watch map[chan<- Refusal]struct{}

	lines    float64   // that may be logged now; guarded by mu
	linesAt  time.Time // when lines was true; guarded by mu
	unlogged int       // since the last line; guarded by mu
}

// New returns a Log that also writes each refusal to log.
func New(log *slog.Logger) *Log {
	return &Log{log: log, watch: map[chan<- Refusal]struct{}{}, lines: logBurst, linesAt: time.Now()}
}

// Add records r; its time is set when it is zero.
func (l *Log) Add(r Refusal) {
	if l == nil {
		return
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	l.write(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) == keep {
		l.ring = append(l.ring[:0], l.ring[1:]...)
	}
	l.ring = append(l.ring, r)
	l.total++
	for ch := range l.watch {
		select {
		case ch <- r:
		default: // a slow watcher misses some; Recent has them
		}
	}
}

// write logs r, or counts that it did not.
func (l *Log) write(r Refusal) {
	if l.log == nil {
		return
	}
	unlogged, ok := l.line()
	if !ok {
		return
	}
	log := l.log
	if unlogged > 0 {
		log = log.With("refusals_not_logged_before", unlogged)
	}
	log.Warn("refused", "where", r.Where, "action", r.Action, "resource", r.Resource,
		"principal", r.Principal, "client_id", r.ClientID, "source_ip", r.SourceIP, "reason", r.Reason)
}

// line says whether there is room for a log line, and how many refusals had
// none since the last.
func (l *Log) line() (unlogged int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.lines = min(logBurst, l.lines+now.Sub(l.linesAt).Seconds()*logPerSec)
	l.linesAt = now
	if l.lines < 1 {
		l.unlogged++
		return 0, false
	}
	l.lines--
	unlogged, l.unlogged = l.unlogged, 0
	return unlogged, true
}

// Recent returns up to n refusals, the newest first, and how many there were
// since the start.
func (l *Log) Recent(n int) ([]Refusal, uint64) {
	if l == nil {
		return nil, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, len(l.ring))
	out := make([]Refusal, 0, n)
	for i := range n {
		out = append(out, l.ring[len(l.ring)-1-i])
	}
	return out, l.total
}

// Watch sends every new refusal to ch, without blocking, until the returned
// function is called.
func (l *Log) Watch(ch chan<- Refusal) (stop func()) {
	if l == nil {
		return func() {}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch[ch] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watch, ch)
	}
}
