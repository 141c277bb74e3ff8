// Package refusal keeps the last refusals of the cloud, so that whoever was
// turned away can be told why: who asked, for what, and what decided. Every
// refusal is also one log line. Nothing secret goes in.
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

// Log remembers the last refusals. Its methods are safe for concurrent use,
// and all work on a nil *Log, which drops everything.
type Log struct {
	log *slog.Logger

	mu    sync.Mutex
	ring  []Refusal // guarded by mu; the oldest first
	total uint64    // guarded by mu
	watch map[chan<- Refusal]struct{}
}

// New returns a Log that also writes each refusal to log.
func New(log *slog.Logger) *Log {
	return &Log{log: log, watch: map[chan<- Refusal]struct{}{}}
}

// Add records r; its time is set when it is zero.
func (l *Log) Add(r Refusal) {
	if l == nil {
		return
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	if l.log != nil {
		l.log.Warn("refused", "where", r.Where, "action", r.Action, "resource", r.Resource,
			"principal", r.Principal, "client_id", r.ClientID, "source_ip", r.SourceIP, "reason", r.Reason)
	}
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
