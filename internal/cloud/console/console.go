// Package console is the web page of a running cloud: the boards with their
// last readings, live charts, the newest rows of the tables, the rules and the
// refused requests.
//
// A board is whatever publishes JSON objects with an id: the id, the time and
// the other members are its reading. The console learns of boards from the
// messages as they are published and, after a start, from the newest rows of
// the tables whose keys are id and time.
//
// What it promises:
//
//   - It only looks: the one thing that it changes is the rate that a board's
//     shadow desires.
//   - It is for this machine: requests from other addresses, and requests to
//     another host name (which is how a page from elsewhere would get here, by
//     DNS rebinding), are refused.
//   - It never holds up the cloud: it misses messages rather than falls
//     behind, and its memory and its reads are bounded (see limits.go).
//   - The page needs no network: everything it loads is in the binary.
package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/table"
	"mote/internal/pageguard"
)

// Messages is where published messages come from; the broker is one.
type Messages interface {
	// Watch sends every published message to ch, without waiting for it, until
	// stop is called.
	Watch(ch chan<- *message.Message) (stop func())
}

// Tables is what the console reads of the tables; *table.DB is one.
type Tables interface {
	List(after string, limit int) (names []string, last string)
	Describe(name string) (*table.Table, error)
	Count(t *table.Table) table.Count
	Query(r table.QueryRequest) (table.Page, error)
	Scan(r table.ScanRequest) (table.Page, error)
}

// Counters are the small figures of the page, since the start of the cloud
// unless they say otherwise.
type Counters struct {
	Connections int     `json:"connections"` // live MQTT connections now
	Sessions    int     `json:"sessions"`    // MQTT sessions now, those away included
	Received    uint64  `json:"received"`    // messages published, after their commit
	Dropped     uint64  `json:"dropped"`     // messages that did not fit into a subscriber's queue
	Queued      int     `json:"queued"`      // messages on disk that subscribers have not acknowledged
	Retained    int     `json:"retained"`    // retained messages
	Throttled   uint64  `json:"throttled"`   // publishes and CONNECTs beyond AWS's rates
	Rules       []Rule  `json:"rules"`
	Builds      []Build `json:"builds,omitempty"` // indexes that are being filled or removed

	Expiring []Expiring `json:"expiring,omitempty"` // certificates that end soon, the first to end first
}

// Expiring is a certificate that ends soon or has ended.
type Expiring struct {
	CA       bool      `json:"ca"` // of a CA; false: of a device
	ID       string    `json:"id"`
	Name     string    `json:"name"` // of its thing, or the CA's subject; "": none
	NotAfter time.Time `json:"not_after"`
}

// Build is an index on its way.
type Build struct {
	Table string  `json:"table"`
	Index string  `json:"index"` // "": the times at which items expire
	Done  float64 `json:"done"`  // 0 to 1
}

// Rule is what one topic rule has done.
type Rule struct {
	Name    string `json:"name"`
	Filter  string `json:"filter"`
	Enabled bool   `json:"enabled"`
	Matched int64  `json:"matched"` // messages whose topic matched
	Fired   int64  `json:"fired"`   // of these, those that its WHERE let through
	Failed  int64  `json:"failed"`  // actions that failed
	Waiting int64  `json:"waiting"` // actions that are still to be performed

	LastError   *RuleError `json:"last_error,omitempty"`
	LastRetry   string     `json:"last_retry,omitempty"`   // why an action that waits was not performed the last time
	NotExecuted []string   `json:"not_executed,omitempty"` // kinds of actions that are stored, not executed
	NotOffered  []string   `json:"not_offered,omitempty"`  // functions that need a service mote does not have
}

// RuleError is the last failure of a rule, with the message that caused it.
type RuleError struct {
	Time     time.Time `json:"time"`
	Text     string    `json:"text"`
	Action   string    `json:"action,omitempty"`
	Topic    string    `json:"topic,omitempty"`
	ClientID string    `json:"client_id,omitempty"`
	Payload  string    `json:"payload,omitempty"` // its beginning
}

// Config is what a console shows. Messages and Tables are required.
type Config struct {
	Messages Messages
	Tables   Tables
	Refusals *refusal.Log    // nil: none are shown
	Counters func() Counters // called about once in two seconds while somebody looks; nil: none are shown
	Shadows  Shadows         // nil: boards are not steered
	Log      *slog.Logger    // nil: discard
}

// Console is the handler of the page. It owns one goroutine, which Close ends.
type Console struct {
	c      Config
	log    *slog.Logger
	assets map[string]*asset
	mux    *http.ServeMux
	boards *boards
	hub    *hub
	reads  chan struct{} // one token for each read of history or rows under way

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	done sync.WaitGroup
}

// New starts a console.
func New(c Config) *Console {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k := &Console{c: c, log: c.Log, assets: loadAssets(), boards: newBoards(), hub: newHub(), reads: make(chan struct{}, maxReads)}
	k.ctx, k.stop = context.WithCancel(context.Background())
	k.mux = k.routes()
	messages := make(chan *message.Message, watchBuffer)
	refusals := make(chan refusal.Refusal, watchBuffer)
	stopMessages, stopRefusals := c.Messages.Watch(messages), c.Refusals.Watch(refusals)
	k.done.Go(func() {
		defer stopRefusals()
		defer stopMessages()
		k.warmUp(k.ctx)
		k.run(messages, refusals)
	})
	return k
}

// Close ends the live streams and the console's goroutine, and waits for it.
// Call it before the tables are closed.
func (k *Console) Close() error {
	k.stop()
	k.hub.close()
	k.done.Wait()
	return nil
}

func (k *Console) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for path, a := range k.assets {
		mux.Handle("GET "+path, a)
	}
	mux.HandleFunc("GET /console/events", k.serveEvents)
	mux.HandleFunc("GET /console/api/boards", k.serveBoards)
	mux.HandleFunc("GET /console/api/counters", k.serveCounters)
	mux.HandleFunc("GET /console/api/refusals", k.serveRefusals)
	mux.HandleFunc("GET /console/api/tables", k.serveTables)
	mux.HandleFunc("GET /console/api/rows", k.bounded(k.serveRows))
	mux.HandleFunc("GET /console/api/history", k.bounded(k.serveHistory))
	if k.c.Shadows != nil {
		mux.HandleFunc("GET /console/api/rate", k.bounded(k.serveRate))
		mux.HandleFunc("POST /console/api/rate", k.bounded(k.steer))
	}
	return mux
}

// ServeHTTP implements http.Handler.
func (k *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pageguard.SetHeaders(w.Header(), policy)
	if err := admit(r); err != nil {
		k.c.Refusals.Add(refusal.Refusal{Where: "console", Action: r.Method + " " + clip(r.URL.Path, maxText),
			Resource: clip(r.Host, maxText), SourceIP: remoteIP(r), Reason: err.Error()})
		if strings.HasPrefix(r.URL.Path, "/console/api/") {
			writeError(w, http.StatusForbidden, err)
		} else {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
		return
	}
	k.mux.ServeHTTP(w, r)
}

// bounded lets only a few reads of the tables run at a time.
func (k *Console) bounded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case k.reads <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		defer func() { <-k.reads }()
		h(w, r)
	}
}

func (k *Console) serveBoards(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, struct {
		Now    int64   `json:"now"`
		Boards []state `json:"boards"`
	}{time.Now().UnixMilli(), k.boards.states(time.Now())})
}

func (k *Console) serveCounters(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, k.counters())
}

// counters are the current ones.
func (k *Console) counters() Counters {
	var c Counters
	if k.c.Counters != nil {
		c = k.c.Counters()
	}
	if c.Rules == nil {
		c.Rules = []Rule{} // a list on the wire, also when empty
	}
	return c
}

// refused is the page's view of the refusals.
type refused struct {
	Total    uint64            `json:"total"` // since the start
	Refusals []refusal.Refusal `json:"refusals"`
}

func (k *Console) refusals() refused {
	list, total := k.c.Refusals.Recent(maxRefusals)
	return refused{total, append([]refusal.Refusal{}, list...)}
}

func (k *Console) serveRefusals(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, k.refusals())
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // a client that went away needs no answer
}

// writeError answers an error as JSON; err's text is for the person.
func writeError(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
}

// writeFailure answers a failed read of a table.
func (k *Console) writeFailure(w http.ResponseWriter, r *http.Request, err error) {
	if e, ok := errors.AsType[*table.Error](err); ok {
		status := http.StatusBadRequest
		if e.Code == table.CodeNotFound {
			status = http.StatusNotFound
		}
		writeError(w, status, errors.New(e.Message))
		return
	}
	if r.Context().Err() != nil {
		return
	}
	k.log.Error("console read failed", "path", r.URL.Path, "err", err)
	writeError(w, http.StatusInternalServerError, errors.New("the table could not be read, see the server's log"))
}

// compareNatural orders texts with the numbers in them by value: 2 before 10.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		x, y := leadingDigits(a), leadingDigits(b)
		if x != "" && y != "" {
			if c := compareDigits(x, y); c != 0 {
				return c
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func leadingDigits(s string) string {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return s[:i]
		}
	}
	return s
}

// compareDigits compares two decimal numbers of any length; 7 comes before 07.
func compareDigits(x, y string) int {
	short, long := trimZeros(x), trimZeros(y)
	return cmp.Or(cmp.Compare(len(short), len(long)), cmp.Compare(short, long), cmp.Compare(len(x), len(y)))
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}
