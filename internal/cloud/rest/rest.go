// Package rest is the API Gateway engine: REST APIs with their resources,
// methods, integrations, deployments and stages, API keys and usage plans, and
// the handler that serves the deployed routes (API Gateway developer
// guide, "API Gateway REST APIs").
//
// Every change is on disk before it is answered. What requests need is
// compiled when it changes and read without a lock. A request is answered 200
// only after its message or item is durable; until then its sender keeps it.
//
// The control plane's wire is in package awsapi/apigateway.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/refusal"
	"mote/internal/cloud/store"
	"mote/internal/cloud/table"
	"mote/internal/sigv4"
)

// Publisher publishes one message. It returns when every effect of the message
// is durable, or could not be made so: then Outcome.Unavailable or the error is
// set and the message may be sent again, unless the error has a method
// Invalid() that returns true.
type Publisher interface {
	Publish(ctx context.Context, m *message.Message) (message.Outcome, error)
}

// Items puts one item and returns when it is durable. A *[table.Error] refuses
// the item for good; with an error that is [ErrUnavailable] it may be sent again.
type Items interface {
	PutDurable(ctx context.Context, tableName string, item table.Item) error
}

// ErrUnavailable says that the tables cannot take an item for now.
var ErrUnavailable = errors.New("the tables are not available for now")

// Options are what the engine works with.
type Options struct {
	Region, Account string
	Publisher       Publisher      // nil: requests of publishing routes are answered 500
	Items           Items          // nil: requests of item routes are answered 500
	Keys            sigv4.Keys     // access keys, for methods with AWS_IAM
	Sessions        sigv4.Sessions // of temporary access keys; nil: there are none
	Refusals        *refusal.Log
	Log             *slog.Logger     // nil: discard
	Now             func() time.Time // nil: time.Now
}

// Engine manages REST APIs and serves them. Its methods are safe for
// concurrent use.
type Engine struct {
	st *store.Store
	o  Options

	mu    sync.Mutex            // held while a change is made and written
	state atomic.Pointer[state] // never changed, only replaced, by who holds mu

	buckets buckets
}

// state is everything the engine knows at one moment.
type state struct {
	apis   map[string]*apiRecord  // by id
	keys   map[string]*Key        // by id
	plans  map[string]*planRecord // by id
	routes *routeTable
}

// The store's keys: SpaceRoute, a letter, the id. A value is JSON after one
// byte of format version.
const (
	kindAPI  = 'a'
	kindKey  = 'k'
	kindPlan = 'p'

	recordVersion = 1
)

func storeKey(kind byte, id string) []byte {
	return append([]byte{byte(store.SpaceRoute), kind}, id...)
}

// Open loads the engine's state from st.
func Open(st *store.Store, o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keys == nil {
		o.Keys = func(string) (string, bool) { return "", false }
	}
	e := &Engine{st: st, o: o}
	s := &state{apis: map[string]*apiRecord{}, keys: map[string]*Key{}, plans: map[string]*planRecord{}}
	if err := s.load(st); err != nil {
		return nil, fmt.Errorf("load REST APIs: %w", err)
	}
	routes, err := compileRoutes(s, o)
	if err != nil {
		return nil, fmt.Errorf("load REST APIs: %w", err)
	}
	s.routes = routes
	e.state.Store(s)
	return e, nil
}

func (s *state) load(r store.Reader) error {
	prefix := []byte{byte(store.SpaceRoute)}
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := s.loadOne(it.Key(), it.Value()); err != nil {
			return fmt.Errorf("record %q: %w", it.Key(), err)
		}
	}
	return it.Error()
}

func (s *state) loadOne(key, value []byte) error {
	if len(key) < 3 || len(value) < 1 || value[0] != recordVersion {
		return fmt.Errorf("not a record of version %d", recordVersion)
	}
	id, data := string(key[2:]), value[1:]
	switch key[1] {
	case kindAPI:
		return loadInto(s.apis, id, data)
	case kindKey:
		return loadInto(s.keys, id, data)
	case kindPlan:
		return loadInto(s.plans, id, data)
	}
	return fmt.Errorf("unknown kind %q", key[1])
}

func loadInto[T any](m map[string]*T, id string, data []byte) error {
	v := new(T)
	m[id] = v
	return json.Unmarshal(data, v)
}

// draft is a change in the making: a copy of the state whose records are
// copied when they are asked for with the edit methods.
type draft struct {
	*state
	b     *store.Batch
	dirty map[string]func() ([]byte, error) // store key -> new value
	now   int64                             // epoch seconds
}

// change runs f on a draft of the state, compiles the routes, writes what f
// changed and, once it is on disk, makes it the state.
func (e *Engine) change(f func(*draft) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	old := e.state.Load()
	d := &draft{b: e.st.NewBatch(), dirty: map[string]func() ([]byte, error){}, now: e.o.Now().Unix(),
		state: &state{apis: maps.Clone(old.apis), keys: maps.Clone(old.keys), plans: maps.Clone(old.plans)}}
	if err := e.prepare(d, f); err != nil {
		d.b.Discard()
		return err
	}
	if err := e.st.Commit(d.b); err != nil {
		return err
	}
	e.state.Store(d.state)
	return nil
}

func (e *Engine) prepare(d *draft, f func(*draft) error) error {
	if err := f(d); err != nil {
		return err
	}
	routes, err := compileRoutes(d.state, e.o)
	if err != nil {
		return err
	}
	d.routes = routes
	for key, encode := range d.dirty {
		value, err := encode()
		if err != nil {
			return err
		}
		d.b.Set([]byte(key), append([]byte{recordVersion}, value...))
	}
	return nil
}

// edit returns a copy of the record that may be changed and will be written.
func edit[T any](d *draft, m map[string]*T, kind byte, id string) (*T, error) {
	old, ok := m[id]
	if !ok {
		return nil, missing(kind, id)
	}
	if _, copied := d.dirty[string(storeKey(kind, id))]; copied {
		return old, nil
	}
	data, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, err
	}
	add(d, m, kind, id, v)
	return v, nil
}

// add puts a new record.
func add[T any](d *draft, m map[string]*T, kind byte, id string, v *T) {
	m[id] = v
	d.dirty[string(storeKey(kind, id))] = func() ([]byte, error) { return json.Marshal(v) }
}

// remove deletes a record.
func remove[T any](d *draft, m map[string]*T, kind byte, id string) error {
	if _, ok := m[id]; !ok {
		return missing(kind, id)
	}
	delete(m, id)
	delete(d.dirty, string(storeKey(kind, id)))
	d.b.Delete(storeKey(kind, id))
	return nil
}

// missing is AWS's text for an id that is not there.
func missing(kind byte, id string) *Error {
	switch kind {
	case kindAPI:
		return notFound("Invalid API identifier specified %.64s", id)
	case kindKey:
		return notFound("Invalid API Key identifier specified")
	}
	return notFound("Invalid Usage Plan ID specified")
}

func (d *draft) api(id string) (*apiRecord, error)   { return edit(d, d.apis, kindAPI, id) }
func (d *draft) key(id string) (*Key, error)         { return edit(d, d.keys, kindKey, id) }
func (d *draft) plan(id string) (*planRecord, error) { return edit(d, d.plans, kindPlan, id) }
