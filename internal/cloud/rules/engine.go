package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/cloud/throttle"
)

// Tables is where the DynamoDB actions write.
type Tables interface {
	// Put adds the write of item into the named table to b, or adds nothing and
	// says why. The item is not kept. An error is permanent, except store.ErrFull.
	Put(b *store.Batch, tableName string, item table.Item) error
	// PutMembers is Put for an item that comes as a list, which is not kept.
	PutMembers(b *store.Batch, tableName string, members []table.Member) error
	// SetAttribute adds the setting of one attribute of the item with the key,
	// which comes into being when it is not there. Key and value are kept until
	// the commit. late gets an error that only the commit shows.
	SetAttribute(b *store.Batch, tableName string, key table.Item, name string, value table.Value, late func(error)) error
	// Remove adds the removal of the item with the key, which is not kept.
	Remove(b *store.Batch, tableName string, key table.Item) error
	// GetItem reads one item.
	GetItem(r table.GetRequest) (table.GetResult, error)
}

// Cluster reads items of tables that are elsewhere; package table/remote has one.
type Cluster interface {
	GetItem(r table.GetRequest) (table.GetResult, error)
}

// Options configure an engine.
type Options struct {
	Account string       // what accountid() returns, 12 digits; default 000000000001
	Region  string       // default us-east-1
	Log     *slog.Logger // default: discard

	// Cluster has the tables, in the place of the embedded engine: writes go
	// through the outbox, get_dynamodb asks it. nil: the tables are Open's.
	Cluster Cluster
	// Outbox takes the actions http, s3, lambda and kafka; nil: they fail.
	Outbox Outbox
	// Publish publishes what an error action republishes for an entry that the
	// outbox gave up. It returns when that is durable; an error means for now.
	Publish func(ctx context.Context, m *message.Message) error
	// Shadow returns the document of a thing's shadow, of the classic one when
	// name is "", with the changes that are in b (get_thing_shadow); nil: there
	// are none.
	Shadow func(b *store.Batch, thing, name string) (json []byte, ok bool)
	// RegistryData returns the answer of DescribeThing or
	// ListThingGroupsForThing for a thing (get_registry_data); nil: there is none.
	RegistryData func(api, thing string) (json []byte, ok bool)
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Account == "" {
		o.Account = "000000000001"
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
}

// Engine keeps the rules and runs them. Its methods are safe for concurrent use.
type Engine struct {
	st     *store.Store
	tables Tables
	opt    Options
	log    *slog.Logger

	mu   sync.Mutex               // serialises changes of the rules
	snap atomic.Pointer[snapshot] // what Apply reads; replaced, never changed

	notFound atomic.Int64 // messages for a rule that is not there, or is disabled
	claims   sync.Map     // marks (string) whose error actions run just now, see claim
	swept    atomic.Int64 // when old marks were removed last; Unix nanoseconds

	loops, missing, failures, unread throttle.Lines // of log lines
}

// snapshot is the rules at one time.
type snapshot struct {
	byName map[string]*compiled
	root   trie // of the enabled rules
}

// Open loads and compiles the stored rules. A rule that does not compile, since
// another version of mote stored it, stays and is reported, and does not run.
func Open(st *store.Store, tables Tables, o Options) (*Engine, error) {
	o.setDefaults()
	e := &Engine{st: st, tables: tables, opt: o, log: o.Log}
	byName, err := e.load()
	if err != nil {
		return nil, err
	}
	e.publish(byName)
	return e, nil
}

// recordVersion is the first byte of every stored rule (FORMAT.md).
const recordVersion = 1

// record is the stored form of a rule.
type record struct {
	CreatedAt time.Time `json:"created_at"`
	Payload   Payload   `json:"payload"`
}

func key(name string) []byte { return append([]byte{byte(store.SpaceRule)}, name...) }

func (e *Engine) load() (map[string]*compiled, error) {
	prefix := key("")
	it, err := e.st.Iterator(key("\x01"), store.PrefixEnd(prefix)) // after the marks
	if err != nil {
		return nil, fmt.Errorf("load rules: %w", err)
	}
	byName := map[string]*compiled{}
	for ok := it.First(); ok; ok = it.Next() {
		name := string(it.Key()[1:])
		c, err := e.fromRecord(name, it.Value())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		byName[name] = c
	}
	return byName, it.Close()
}

func (e *Engine) fromRecord(name string, data []byte) (*compiled, error) {
	if len(data) == 0 || data[0] != recordVersion {
		return nil, fmt.Errorf("rule %s is stored in a form that this mote does not read: use the mote that wrote it", name)
	}
	var r record
	if err := json.Unmarshal(data[1:], &r); err != nil {
		return nil, fmt.Errorf("stored rule %s is damaged: %w", name, err)
	}
	c, err := compile(Rule{Name: name, Payload: r.Payload, CreatedAt: r.CreatedAt})
	if err != nil {
		e.log.Error("a stored rule does not compile and does not run; replace it", "rule", name, "err", err)
		c = &compiled{rule: Rule{Name: name, Payload: r.Payload, CreatedAt: r.CreatedAt}, stats: &stats{}, broken: true}
		c.stats.fail(&LastError{Time: time.Now(), Text: "the rule does not compile: " + err.Error()})
	}
	e.warn(c)
	return c, nil
}

// warn says once per load of a rule what of it mote only keeps, and which of
// its functions have no value here.
func (e *Engine) warn(c *compiled) {
	if len(c.notExecuted) > 0 {
		e.log.Warn("the rule has actions that are stored, not executed", "rule", c.rule.Name, "actions", c.notExecuted)
	}
	if len(c.notOffered) > 0 {
		e.log.Warn("the rule calls functions that need a service mote does not have; they are Undefined", "rule", c.rule.Name, "functions", c.notOffered)
	}
}

// publish makes byName what Apply sees.
func (e *Engine) publish(byName map[string]*compiled) {
	s := &snapshot{byName: byName}
	for i, name := range slices.Sorted(maps.Keys(byName)) {
		c := byName[name]
		if c.order != i { // an older snapshot may be in use: its rules do not change
			moved := *c
			moved.order = i
			c = &moved
			byName[name] = c
		}
		if c.enabled() && c.rule.Filter != "" {
			s.root.add(c.rule.Filter, c)
		}
	}
	e.snap.Store(s)
}

// Create stores a new rule; it is durable and active when Create returns. The
// error is ErrExists, an *InvalidError, or one of the store.
func (e *Engine) Create(name string, p Payload) error {
	return e.put(name, p, func(old *compiled) (time.Time, error) {
		if old != nil {
			return time.Time{}, fmt.Errorf("%w: %s", ErrExists, name)
		}
		return time.Now().UTC().Truncate(time.Millisecond), nil
	})
}

// Replace stores a new payload for a rule; its counters go on. The error is
// ErrNotFound, an *InvalidError, or one of the store.
func (e *Engine) Replace(name string, p Payload) error {
	return e.put(name, p, func(old *compiled) (time.Time, error) {
		if old == nil {
			return time.Time{}, fmt.Errorf("%w: %s", ErrNotFound, name)
		}
		return old.rule.CreatedAt, nil
	})
}

func (e *Engine) put(name string, p Payload, createdAt func(old *compiled) (time.Time, error)) error {
	p.Actions = slices.Clone(p.Actions)
	c, err := compile(Rule{Name: name, Payload: p})
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.snap.Load().byName[name]
	if c.rule.CreatedAt, err = createdAt(old); err != nil {
		return err
	}
	if old != nil {
		c.stats = old.stats
	}
	if err := e.save(c); err != nil {
		return err
	}
	e.warn(c)
	return nil
}

// save stores c and then makes it active. The caller holds mu.
func (e *Engine) save(c *compiled) error {
	data, err := json.Marshal(record{CreatedAt: c.rule.CreatedAt, Payload: c.rule.Payload})
	if err != nil {
		return &InvalidError{Msg: "the rule is not valid JSON: " + err.Error()}
	}
	b := e.st.NewBatch()
	b.Set(key(c.rule.Name), append([]byte{recordVersion}, data...))
	if err := e.st.Commit(b); err != nil {
		return fmt.Errorf("store rule %s: %w", c.rule.Name, err)
	}
	byName := maps.Clone(e.snap.Load().byName)
	byName[c.rule.Name] = c
	e.publish(byName)
	return nil
}

// SetEnabled enables or disables a rule. The error is ErrNotFound or one of the
// store.
func (e *Engine) SetEnabled(name string, on bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	old, ok := e.snap.Load().byName[name]
	if !ok {
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	c := *old
	c.rule.Payload.RuleDisabled = !on
	return e.save(&c)
}

// Delete removes a rule; that is durable when it returns. A rule that is not
// there is no error, as on AWS.
func (e *Engine) Delete(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.snap.Load().byName[name]; !ok {
		return nil
	}
	b := e.st.NewBatch()
	b.Delete(key(name))
	if err := e.st.Commit(b); err != nil {
		return fmt.Errorf("delete rule %s: %w", name, err)
	}
	byName := maps.Clone(e.snap.Load().byName)
	delete(byName, name)
	e.publish(byName)
	return nil
}

// Get returns a rule, or ErrNotFound.
func (e *Engine) Get(name string) (Rule, error) {
	if c, ok := e.snap.Load().byName[name]; ok {
		return c.rule, nil
	}
	return Rule{}, fmt.Errorf("%w: %s", ErrNotFound, name)
}

// List returns all rules in the order of their names.
func (e *Engine) List() []Rule {
	byName := e.snap.Load().byName
	out := make([]Rule, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name].rule)
	}
	return out
}
