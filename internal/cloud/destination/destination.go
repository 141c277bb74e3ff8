// Package destination keeps the topic rule destinations of AWS IoT: which web
// services said that they want the messages of rules. A destination is created
// with a confirmation URL, gets a token there, and is enabled when the token
// comes back. [Destinations.Allow] says whether a rule may send to a URL.
//
// What it promises: nothing is sent anywhere but the one confirmation request,
// to the URL that the (authenticated) owner of the account named; it follows no
// redirect, and it never reaches link-local addresses, where clouds hand out
// credentials. Tokens are random, stored as hashes, and expire. What a call
// changed is on disk when it returns.
//
// VPC destinations are kept as they come, so that rules for Kafka clusters can
// be moved from and to AWS, and are enabled at once: mote has no virtual
// private clouds and reaches the clusters over its own network.
package destination

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"mote/internal/cloud/store"
)

// Status is the state of a destination (AWS IoT API, TopicRuleDestination).
type Status string

// The states.
const (
	InProgress Status = "IN_PROGRESS" // the confirmation request is under way, or unanswered
	Enabled    Status = "ENABLED"
	Disabled   Status = "DISABLED" // confirmed, and switched off
	Failed     Status = "ERROR"    // the confirmation failed; InProgress sends it again
)

// Destination is one topic rule destination.
type Destination struct {
	ARN       string
	Status    Status
	Reason    string // why it has the status; may be empty
	CreatedAt time.Time
	UpdatedAt time.Time
	URL       string          // confirmation URL; empty if it is a VPC's
	VPC       json.RawMessage // the vpcConfiguration as it came; nil if it is a URL's
}

// Trusts of URLs that no destination covers.
const (
	TrustLoopback = "loopback" // this machine's own services
	TrustAll      = "all"
	TrustNone     = "none"
)

// Options configure the destinations.
type Options struct {
	Region, Account string // for ARNs; default us-east-1 and 000000000001

	// Trust says which URLs need no destination: TrustLoopback (default), TrustAll
	// or TrustNone.
	Trust string
	// Base returns where clients reach this server, for example
	// "https://localhost:8443": confirmation requests name it. nil: they name none.
	Base func() string

	Log *slog.Logger // default: discard

	now    func() time.Time // for tests
	pauses []time.Duration  // between the attempts to send a confirmation request; for tests
}

// Errors that callers map to their wire.
var (
	ErrNotFound = errors.New("there is no such destination")
	ErrExists   = errors.New("a destination has this confirmation URL already")
	ErrToken    = errors.New("no destination waits for this confirmation token: it may have expired, or a newer request has replaced it; set the destination's status to IN_PROGRESS for a new one")
	ErrLimit    = fmt.Errorf("there are %d destinations already: delete one that is not needed", maxDestinations)
)

// InvalidError refuses what a caller asks for.
type InvalidError struct{ Msg string }

func (e *InvalidError) Error() string { return e.Msg }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

const (
	maxDestinations = 1000
	maxURL          = 2000 // AWS IoT API, HttpUrlDestinationConfiguration
	maxVPC          = 16 << 10

	// tokenLife is how long a confirmation request can be answered. AWS names no
	// figure for rules; for the same handshake Amazon SNS has three days.
	tokenLife = 72 * time.Hour
)

// Destinations is the open set. Its methods are safe for concurrent use.
type Destinations struct {
	st     *store.Store
	opt    Options
	log    *slog.Logger
	client *http.Client

	mu  sync.RWMutex // guards all; held for writing across a commit, so that memory is what the disk has
	all map[string]*record

	sending sync.WaitGroup
	slots   chan struct{} // one for each confirmation request on its way
	ctx     context.Context
	cancel  context.CancelFunc
}

// recordVersion is the first byte of every record (FORMAT.md).
const recordVersion = 1

// record is the stored form of a destination.
type record struct {
	Created time.Time       `json:"created"`
	Updated time.Time       `json:"updated"`
	Status  Status          `json:"status"`
	Reason  string          `json:"reason,omitempty"`
	URL     string          `json:"url,omitempty"`
	VPC     json.RawMessage `json:"vpc,omitempty"`
	Token   []byte          `json:"token,omitempty"`
	Expires time.Time       `json:"expires,omitzero"`
	Sent    bool            `json:"sent,omitempty"`

	target target // of URL
}

// Open loads the destinations of the store, and sends the confirmation requests
// that a stop has interrupted. Close it before the store.
func Open(st *store.Store, o Options) (*Destinations, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	d := &Destinations{st: st, opt: o, log: o.Log, all: map[string]*record{}, slots: make(chan struct{}, 8)}
	d.client = d.newClient()
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.load(); err != nil {
		return nil, fmt.Errorf("load destinations: %w", err)
	}
	for _, id := range d.interrupted() {
		if _, err := d.confirmAgain(id); err != nil {
			d.log.Error("a confirmation request cannot be sent again", "destination", d.arn(id), "err", err)
		}
	}
	return d, nil
}

// interrupted returns the ids of destinations whose confirmation request was
// under way when the process ended.
func (d *Destinations) interrupted() (ids []string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for id, r := range d.all {
		if r.Status == InProgress && !r.Sent && d.now().Before(r.Expires) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (o *Options) setDefaults() error {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Account == "" {
		o.Account = "000000000001"
	}
	if o.Trust == "" {
		o.Trust = TrustLoopback
	}
	if !slices.Contains([]string{TrustLoopback, TrustAll, TrustNone}, o.Trust) {
		return fmt.Errorf("destinations: trust is %q: it must be loopback, all or none", o.Trust)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.pauses == nil {
		o.pauses = []time.Duration{2 * time.Second, 10 * time.Second}
	}
	return nil
}

// Close ends the confirmation requests that are on their way; the next Open
// sends them again.
func (d *Destinations) Close() {
	d.cancel()
	d.sending.Wait()
}

func (d *Destinations) now() time.Time { return d.opt.now().UTC().Truncate(time.Millisecond) }

func (d *Destinations) load() error {
	prefix := []byte{byte(store.SpaceDest)}
	it, err := d.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		id := string(it.Key()[1:])
		r, err := decode(it.Value())
		if err != nil {
			return errors.Join(fmt.Errorf("destination %s: %w", id, err), it.Close())
		}
		d.all[id] = r
	}
	return it.Close()
}

func decode(data []byte) (*record, error) {
	if len(data) == 0 || data[0] != recordVersion {
		return nil, errors.New("it is stored in a form that this mote does not read: use the mote that wrote it")
	}
	r := new(record)
	if err := json.Unmarshal(data[1:], r); err != nil {
		return nil, fmt.Errorf("the stored record is damaged: %w", err)
	}
	if r.URL != "" {
		var err error
		if r.target, err = parseTarget(r.URL); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func key(id string) []byte { return append([]byte{byte(store.SpaceDest)}, id...) }

// save stores r and then makes it what readers see. The caller holds mu for
// writing.
func (d *Destinations) save(id string, r *record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	b := d.st.NewBatch()
	b.Set(key(id), append([]byte{recordVersion}, data...))
	if err := d.st.Commit(b); err != nil {
		return fmt.Errorf("store destination %s: %w", id, err)
	}
	d.all[id] = r
	return nil
}

func (d *Destinations) arnPrefix() string {
	return "arn:aws:iot:" + d.opt.Region + ":" + d.opt.Account + ":ruledestination/"
}

func (d *Destinations) arn(id string) string { return d.arnPrefix() + id }

// find returns the record of an ARN. The caller holds mu.
func (d *Destinations) find(arn string) (string, *record, error) {
	id, ok := strings.CutPrefix(arn, d.arnPrefix())
	r := d.all[id]
	if !ok || r == nil {
		return "", nil, fmt.Errorf("%w: %.200q", ErrNotFound, arn)
	}
	return id, r, nil
}

// view returns a record as callers see it.
func (d *Destinations) view(id string, r *record) Destination {
	out := Destination{ARN: d.arn(id), Status: r.Status, Reason: r.Reason, CreatedAt: r.Created, UpdatedAt: r.Updated, URL: r.URL, VPC: slices.Clone(r.VPC)}
	if r.Status == InProgress && !d.now().Before(r.Expires) {
		out.Status, out.UpdatedAt = Failed, r.Expires
		out.Reason = fmt.Sprintf("nobody answered the confirmation request within %s: set the status to IN_PROGRESS to send a new one", tokenLife)
	}
	return out
}

// Get returns a destination, or ErrNotFound.
func (d *Destinations) Get(arn string) (Destination, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	id, r, err := d.find(arn)
	if err != nil {
		return Destination{}, err
	}
	return d.view(id, r), nil
}

// List returns all destinations, ordered by ARN.
func (d *Destinations) List() []Destination {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := make([]Destination, 0, len(d.all))
	for id, r := range d.all {
		out = append(out, d.view(id, r))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ARN < out[j].ARN })
	return out
}

// Delete removes a destination; rules can no longer send there. A missing one
// is ErrNotFound.
func (d *Destinations) Delete(arn string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, _, err := d.find(arn)
	if err != nil {
		return err
	}
	b := d.st.NewBatch()
	b.Delete(key(id))
	if err := d.st.Commit(b); err != nil {
		return fmt.Errorf("delete destination %s: %w", id, err)
	}
	delete(d.all, id)
	return nil
}
