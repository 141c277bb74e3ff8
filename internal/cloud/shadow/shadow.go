// Package shadow keeps the shadows of devices: JSON documents with what a
// device should be (desired) and says it is (reported), which clients get,
// update and delete by MQTT on reserved topics and by HTTP (AWS IoT developer
// guide, "AWS IoT Device Shadow service").
//
// What it promises:
//
//   - Every change is a write in a batch of its caller, who commits it before
//     anybody is told; the answers belong to that commit.
//   - Updates of one shadow come one after the other, each on the result of the
//     one before. Different shadows share nothing but the commit.
//   - The version of a shadow only grows, also over its deletion (for 48 hours).
//   - Members keep their order and numbers their digits.
//   - Clients have a shadow for any thing name; the thing need not be
//     registered, as on AWS.
//
// Who may do what is asked by others: the broker asks the topic policies.
package shadow

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/store"
)

// Name names a shadow.
type Name struct {
	Thing  string
	Shadow string // "" is the classic one
}

// The longest names, in bytes (AWS IoT Core quotas).
const (
	maxThing  = 128
	maxShadow = 64
)

// check refuses a name that no thing or shadow can have.
func (n Name) check() *Error {
	if !validName(n.Thing, maxThing, "") {
		return errNoThing
	}
	if n.Shadow != "" && !validName(n.Shadow, maxShadow, "$") {
		return errShadowName
	}
	return nil
}

// validName says whether s has 1 to most characters of a-z, A-Z, 0-9, colon,
// underscore, hyphen and those of also.
func validName(s string, most int, also string) bool {
	for i := range len(s) {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == ':' || c == '_' || c == '-' || also != "" && c == also[0] {
			continue
		}
		return false
	}
	return s != "" && len(s) <= most
}

// Options configure an engine.
type Options struct {
	Log *slog.Logger     // nil: discard
	Now func() time.Time // nil: time.Now
}

// Engine keeps the shadows. Its methods are safe for concurrent use.
type Engine struct {
	st  *store.Store
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	held map[Name]*held // shadows that batches are changing; guarded by mu
}

// held is a shadow that one batch has for itself until it is applied.
type held struct {
	owner   *store.Batch
	free    chan struct{} // closed when the batch is applied or given up
	waiting int           // batches that want it next; guarded by the engine's mu

	// Used by the owner alone.
	doc    document // as the batch leaves it
	loaded bool
}

// New returns the engine over the shadows in st.
func New(st *store.Store, o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Engine{st: st, log: o.Log, now: o.Now, held: map[Name]*held{}}
}

// maxWaiting bounds how many batches wait for one shadow; more are refused
// with 429.
const maxWaiting = 1000

// hold gives n to b until b is applied or given up. It returns nil when another
// batch has it, unless wait is true: then it waits for its turn, and returns nil
// only when too many do. A batch that waits must hold nothing, so that two
// batches never wait for each other; the holder waits for nobody.
func (e *Engine) hold(b *store.Batch, n Name, wait bool) *held {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		h := e.held[n]
		switch {
		case h == nil:
			h = &held{owner: b, free: make(chan struct{})}
			e.held[n] = h
			b.OnApplied(func() { e.release(n, h) })
			return h
		case h.owner == b:
			return h
		case !wait || h.waiting >= maxWaiting:
			return nil
		}
		h.waiting++
		e.mu.Unlock()
		<-h.free
		e.mu.Lock()
	}
}

func (e *Engine) release(n Name, h *held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.held, n)
	close(h.free)
}

// read returns the shadow as b sees it: with its own changes, and without
// those that others have not applied. b may be nil.
func (e *Engine) read(b *store.Batch, n Name) (document, error) {
	e.mu.Lock()
	h := e.held[n]
	e.mu.Unlock()
	if h != nil && b != nil && h.owner == b && h.loaded {
		return h.doc, nil
	}
	value, found, err := e.st.Get(n.key())
	if err != nil || !found {
		return document{}, err
	}
	d, err := readRecord(value)
	if err == nil && d.deleted && e.now().Unix()-d.updated >= int64(versionKept/time.Second) {
		return document{}, nil
	}
	return d, err
}

// write puts d into the batch of h.
func (h *held) write(n Name, d document) {
	h.doc, h.loaded = d, true
	h.owner.Set(n.key(), d.record())
}

// Answer is what a request leads to.
type Answer struct {
	// Body is the accepted document, for who asked. It is true once the batch
	// is committed.
	Body []byte
	// Refused says why nothing was done.
	Refused *Error
	// Messages are to be published with the batch: the accepted document, and
	// those that an update tells others. None for a refused request.
	Messages []*message.Message

	token string
}

// Update merges a request document into a shadow and adds the write to b. When
// another batch has the shadow, it waits; b must be new then, or one that
// [Engine.Hold] was asked for.
func (e *Engine) Update(b *store.Batch, n Name, payload []byte) Answer {
	r, refused := readUpdate(payload)
	a := Answer{Refused: refused, token: r.token}
	if a.Refused == nil {
		a.Refused = n.check()
	}
	if a.Refused != nil {
		return a
	}
	h := e.hold(b, n, true)
	if h == nil {
		a.Refused = errTooMany
		return a
	}
	before, err := e.read(b, n)
	if err != nil {
		a.Refused = e.failed(n, err)
		return a
	}
	a.update(h, n, before, r, e.now().Unix())
	return a
}

// failed refuses a request since the store cannot be read.
func (e *Engine) failed(n Name, err error) *Error {
	e.log.Error("a shadow cannot be read", "thing", n.Thing, "shadow", n.Shadow, "err", err)
	return errInternal
}

// update answers an update of a shadow that is held.
func (a *Answer) update(h *held, n Name, before document, r request, now int64) {
	if r.version >= 0 && r.version != before.version && (r.version > 0 || before.exists()) {
		a.Refused = errConflict
		return
	}
	previous := before
	if previous.deleted {
		previous.state = nil
	}
	r.state.stamp(now)
	after := document{state: merged(previous.state, r.state), version: before.version + 1, updated: now}
	if after.size() > maxState {
		a.Refused = errTooLarge
		return
	}
	h.write(n, after)
	a.Body = accepted(r, after.version, now)
	a.say(n, "update/accepted", a.Body)
	a.say(n, "update/documents", documents(&previous, &after, now, r.token))
	if delta := after.delta(); delta != nil {
		a.say(n, "update/delta", after.deltaMessage(delta, now))
	}
}

// say adds a message. They are of QoS 1, so that sessions that are away get
// them later.
func (a *Answer) say(n Name, topic string, body []byte) {
	a.Messages = append(a.Messages, &message.Message{Topic: n.prefix() + topic, Payload: body, QoS: 1})
}

// Get returns the whole document. Its caller answers only after a commit of b,
// or after [Engine.Settle]: what it shows may still be on its way to the disk.
func (e *Engine) Get(b *store.Batch, n Name, payload []byte) Answer {
	return e.simple(n, payload, "get/accepted", func(r request) ([]byte, *Error) {
		d, err := e.read(b, n)
		switch {
		case err != nil:
			return nil, e.failed(n, err)
		case !d.exists():
			return nil, n.missing()
		}
		return d.whole(e.now().Unix(), r.token), nil
	})
}

// Delete deletes a shadow; its version goes on when it is made again within 48
// hours (AWS IoT developer guide, "Device Shadow MQTT topics"). It waits as
// [Engine.Update] does.
func (e *Engine) Delete(b *store.Batch, n Name, payload []byte) Answer {
	return e.simple(n, payload, "delete/accepted", func(r request) ([]byte, *Error) {
		h := e.hold(b, n, true)
		if h == nil {
			return nil, errTooMany
		}
		d, err := e.read(b, n)
		switch {
		case err != nil:
			return nil, e.failed(n, err)
		case !d.exists():
			return nil, n.missing()
		}
		now := e.now().Unix()
		h.write(n, document{version: d.version, updated: now, deleted: true})
		b.Set(n.deletionKey(now), nil)
		if err := e.purge(b, now); err != nil {
			e.log.Error("deleted shadows cannot be cleared away", "err", err)
		}
		return removed(d.version, now, r.token), nil
	})
}

// simple answers a request whose payload has no more than a token.
func (e *Engine) simple(n Name, payload []byte, topic string, f func(request) ([]byte, *Error)) Answer {
	r, refused := readToken(payload)
	a := Answer{Refused: refused, token: r.token}
	if a.Refused == nil {
		a.Refused = n.check()
	}
	if a.Refused == nil {
		a.Body, a.Refused = f(r)
	}
	if a.Refused == nil {
		a.say(n, topic, a.Body)
	}
	return a
}

// Document returns the whole document of a shadow as it is in the store, as a
// get would answer it, for the SQL function get_thing_shadow; false when there
// is none. The classic shadow has the name "".
func (e *Engine) Document(thing, shadow string) ([]byte, bool) {
	return e.DocumentIn(nil, thing, shadow)
}

// DocumentIn is [Engine.Document] with the changes that are in b, for rules
// that run over the messages of an update.
func (e *Engine) DocumentIn(b *store.Batch, thing, shadow string) ([]byte, bool) {
	n := Name{thing, shadow}
	if n.check() != nil {
		return nil, false
	}
	d, err := e.read(b, n)
	if err != nil {
		e.failed(n, err)
	}
	if err != nil || !d.exists() {
		return nil, false
	}
	return d.whole(e.now().Unix(), ""), true
}

// Settle returns when everything that was read before is on disk.
func (e *Engine) Settle() error { return e.st.Commit(e.st.NewBatch()) }

// versionKept is how long the version of a deleted shadow is kept.
const versionKept = 48 * time.Hour

// purgeMost bounds what one deletion clears away of older ones.
const purgeMost = 8

// purge adds to b the removal of deleted shadows whose version need not be
// kept any more. One that another batch holds waits for the next time.
func (e *Engine) purge(b *store.Batch, now int64) error {
	first := deletions(0)
	it, err := e.st.Iterator(first, deletions(now-int64(versionKept/time.Second)+1))
	if err != nil {
		return err
	}
	for ok, n := it.First(), 0; ok && n < purgeMost; ok, n = it.Next(), n+1 {
		key := it.Key()
		deleted := int64(binary.BigEndian.Uint64(key[2:]))
		name := parseName(key[10:])
		if e.hold(b, name, false) == nil {
			continue
		}
		value, found, err := e.st.Get(name.key())
		if err != nil {
			return errors.Join(err, it.Close())
		}
		if d, err := readRecord(value); found && err == nil && d.deleted && d.updated == deleted {
			b.Delete(name.key())
		}
		b.Delete(append([]byte{}, key...))
	}
	return it.Close()
}
