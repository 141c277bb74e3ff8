// Package registry keeps the account: its root CA and access keys, and the
// things, certificates and policies that the AWS IoT control plane manages,
// with what is attached to what. It says whether a client certificate is
// welcome ([Registry.VerifyCertificate]) and what its owner may do
// ([Registry.Judge]).
//
// Everything is held in memory and written through to the store: a change is
// on disk before the method that makes it returns, and readers see it only
// then. FORMAT.md describes the records.
//
// Every change that can alter an answer of Judge or VerifyCertificate makes
// [Registry.Epoch] grow and calls the functions given to [Registry.OnChange].
package registry

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mote/internal/cloud/store"
)

// Options configure a registry.
type Options struct {
	Region  string // default "us-east-1"
	Account string // 12 digits; default: the stored one, on the first start "000000000001"
	Log     *slog.Logger

	// HashIterations is the work of PBKDF2 for the passwords of MQTT accounts;
	// default 600000. Only tests have a reason for less.
	HashIterations int
}

// Registry is an open registry. Its methods are safe for concurrent use.
type Registry struct {
	st      *store.Store
	log     *slog.Logger
	account string
	arn     string // "arn:aws:iot:<region>:<account>:"
	ca      *authority
	epoch   atomic.Uint64

	sessionKey []byte // of temporary credentials

	verifier *verifier

	// writeMu makes changes one after the other. A change reads the state
	// below under it alone and takes mu only to put its result in place, when
	// it is on disk.
	writeMu sync.Mutex
	latest  time.Time // what the last call of created returned; guarded by writeMu

	mu           sync.RWMutex // guards everything below
	keys         map[string]accessKey
	things       shelf[*Thing]
	thingOrder   []string // creation time and name, sorted
	certificates shelf[*Certificate]
	certOrder    []string // creation time and id, sorted
	authorities  shelf[*CA]
	caOrder      []string          // creation time and id, sorted
	code         string            // registration code; "": none
	tokens       map[string]*token // of certificates that wait to be provisioned, by tokenKey, and claims, by certificate id
	templates    shelf[*Template]  // provisioning templates
	roleAliases  shelf[*RoleAlias]
	policies     shelf[*Policy]
	logins       map[string]*Login // by name
	policyOrder  []string          // creation time and name, sorted
	attached     relation          // policy name to target, see Target
	principals   relation          // thing name to certificate id
	exclusive    map[string]string // certificate id to the one thing that it may be attached to
	tags         map[string]map[string]string
	types        shelf[*ThingType]
	typeOrder    []string // creation time and name, sorted
	typed        relation // thing type to thing name
	groups       shelf[*ThingGroup]
	children     relation // group to the groups directly in it
	members      relation // group to thing name
	billing      shelf[*BillingGroup]
	billed       relation // billing group to thing name
	indexing     Indexing
	telling      map[EventType]bool // types of events that are turned on
	tell         func([]Event)      // what OnEvents was given; nil: nobody wants to know

	hookMu sync.Mutex
	hooks  []func() // guarded by hookMu

	registered func(Certificate, CA) // guarded by hookMu
	announced  map[string]time.Time  // certificate id to the last call of registered; guarded by hookMu
}

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	regionForm  = form{regexp.MustCompile(`^[a-z0-9-]+$`), 64}
)

// firstAccount is the account of a new registry when none is asked for.
const firstAccount = "000000000001"

// Open loads the registry from st. On the first start it makes the account and
// its root CA.
func Open(st *store.Store, o Options) (*Registry, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if !regionForm.MatchString(o.Region) {
		return nil, fmt.Errorf("region %q is not valid: use a name like us-east-1", o.Region)
	}
	if o.Account != "" && !accountForm.MatchString(o.Account) {
		return nil, fmt.Errorf("account %q is not valid: it must have 12 digits", o.Account)
	}
	r := &Registry{
		st: st, log: o.Log,
		verifier: newVerifier(o.HashIterations), logins: map[string]*Login{},
		keys: map[string]accessKey{}, exclusive: map[string]string{}, tags: map[string]map[string]string{},
		things: newShelf[*Thing](), certificates: newShelf[*Certificate](), authorities: newShelf[*CA](), policies: newShelf[*Policy](),
		tokens: map[string]*token{}, templates: newShelf[*Template](), roleAliases: newShelf[*RoleAlias](), announced: map[string]time.Time{}, telling: map[EventType]bool{},
		attached: newRelation(), principals: newRelation(),
		types: newShelf[*ThingType](), groups: newShelf[*ThingGroup](), billing: newShelf[*BillingGroup](),
		typed: newRelation(), children: newRelation(), members: newRelation(), billed: newRelation(),
	}
	if err := r.openAccount(o.Account); err != nil {
		return nil, err
	}
	r.arn = "arn:aws:iot:" + o.Region + ":" + r.account + ":"
	if err := r.openAuthority(); err != nil {
		return nil, err
	}
	if err := r.openSessionKey(); err != nil {
		return nil, err
	}
	return r, r.load()
}

// accountRecord is the one record of kindAccount.
type accountRecord struct {
	Format  int       `json:"format"` // of the whole registry
	Account string    `json:"account"`
	Created time.Time `json:"created"`
}

const format = 1

func (r *Registry) openAccount(wanted string) error {
	var rec accountRecord
	found, err := r.read(kindAccount, "", &rec)
	switch {
	case err != nil:
		return err
	case found && rec.Format != format:
		return fmt.Errorf("the registry has format %d, this mote reads %d: use the mote that wrote it", rec.Format, format)
	case found && wanted != "" && wanted != rec.Account:
		return fmt.Errorf("the data belongs to account %s, not to %s: drop the account setting, or choose another data directory", rec.Account, wanted)
	case found:
		r.account = rec.Account
		return nil
	}
	if r.account = wanted; wanted == "" {
		r.account = firstAccount
	}
	return r.change(func(t *tx) error {
		return t.set(kindAccount, "", accountRecord{format, r.account, now()})
	})
}

// Account returns the account id, 12 digits.
func (r *Registry) Account() string { return r.account }

// ARN returns the ARN of a resource of the account: "topic/a" becomes
// "arn:aws:iot:<region>:<account>:topic/a".
func (r *Registry) ARN(resource string) string { return r.arn + resource }

// Epoch grows with every change that can alter an answer of Judge or
// VerifyCertificate.
func (r *Registry) Epoch() uint64 { return r.epoch.Load() }

// OnChange registers f to be called after each change that made the epoch
// grow, from the goroutine that made the change and without a lock held. It
// should return soon; several calls may run at once.
func (r *Registry) OnChange(f func()) {
	r.hookMu.Lock()
	defer r.hookMu.Unlock()
	r.hooks = append(r.hooks, f)
}

// kind is the second byte of a key of the registry; see FORMAT.md.
type kind byte

const (
	kindAccount    kind = 'a'
	kindAuthority  kind = 'o'
	kindAccessKey  kind = 'k'
	kindThing      kind = 't'
	kindCert       kind = 'c'
	kindCertPEM    kind = 'd'
	kindPolicy     kind = 'p'
	kindAttached   kind = 'A'
	kindPrincipal  kind = 'P'
	kindTags       kind = 'g'
	kindCA         kind = 'C'
	kindRegCode    kind = 'R'
	kindType       kind = 'y'
	kindGroup      kind = 'G'
	kindMember     kind = 'm'
	kindBilling    kind = 'b'
	kindToken      kind = 'K'
	kindTemplate   kind = 'T'
	kindLogin      kind = 'U'
	kindIndexing   kind = 'I'
	kindEvents     kind = 'E'
	kindRoleAlias  kind = 'L'
	kindSessionKey kind = 'S'
)

func key(k kind, id string) []byte {
	return append([]byte{byte(store.SpaceRegistry), byte(k)}, id...)
}

// pair is the id of a record about two things; names hold no NUL.
func pair(a, b string) string { return a + "\x00" + b }

// read reads one JSON record from the store.
func (r *Registry) read(k kind, id string, into any) (bool, error) {
	data, found, err := r.st.Get(key(k, id))
	if err != nil || !found {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return false, fmt.Errorf("registry record %q: %w", key(k, id), err)
	}
	return true, nil
}

// tx is one change: what to write, and what to do once it is on disk.
type tx struct {
	b      *store.Batch
	apply  []func()
	judges bool // an answer of Judge or VerifyCertificate may differ afterwards
	events []Event
}

func (t *tx) set(k kind, id string, record any) error {
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	t.b.Set(key(k, id), data)
	return nil
}

func (t *tx) delete(k kind, id string) { t.b.Delete(key(k, id)) }

// then registers what to do with the state in memory.
func (t *tx) then(f func()) { t.apply = append(t.apply, f) }

// change runs f, makes what it wrote durable, and then visible. f may read the
// state and must not change it but through then.
func (r *Registry) change(f func(t *tx) error) error {
	t := &tx{b: r.st.NewBatch()}
	if err := r.commit(t, f); err != nil || !t.judges {
		return err
	}
	r.hookMu.Lock()
	hooks := slices.Clone(r.hooks)
	r.hookMu.Unlock()
	for _, f := range hooks {
		f()
	}
	return nil
}

func (r *Registry) commit(t *tx, f func(t *tx) error) error {
	r.writeMu.Lock()
	defer r.writeMu.Unlock()
	if err := f(t); err != nil || t.b.Empty() {
		t.b.Discard()
		t.judges = false
		return err
	}
	if err := r.st.Commit(t.b); errors.Is(err, store.ErrFull) {
		return errorf(Unavailable, "nothing was changed: %v", err)
	} else if err != nil {
		return fmt.Errorf("write the registry: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range t.apply {
		f()
	}
	if r.tell != nil && len(t.events) > 0 {
		r.tell(t.events)
	}
	if t.judges {
		r.epoch.Add(1)
	}
	return nil
}

// load reads everything that is held in memory.
func (r *Registry) load() error {
	loaders := []struct {
		kind kind
		load func(id string, data []byte) error
	}{
		{kindAccessKey, r.loadAccessKey}, {kindThing, r.loadThing}, {kindCert, r.loadCertificate}, {kindPolicy, r.loadPolicy},
		{kindAttached, r.loadAttached}, {kindPrincipal, r.loadPrincipal}, {kindTags, r.loadTags},
		{kindCA, r.loadCA}, {kindRegCode, r.loadRegistrationCode},
		{kindType, r.loadType}, {kindGroup, r.loadGroup}, {kindMember, r.loadMember}, {kindBilling, r.loadBilling},
		{kindToken, r.loadToken}, {kindTemplate, r.loadTemplate},
		{kindLogin, r.loadLogin}, {kindIndexing, r.loadIndexing}, {kindEvents, r.loadEvents}, {kindRoleAlias, r.loadRoleAlias},
	}
	for _, l := range loaders {
		if err := r.each(l.kind, l.load); err != nil {
			return err
		}
	}
	slices.Sort(r.thingOrder)
	slices.Sort(r.typeOrder)
	slices.Sort(r.certOrder)
	slices.Sort(r.caOrder)
	slices.Sort(r.policyOrder)
	return nil
}

// each calls f with every record of one kind, in the order of their ids.
func (r *Registry) each(k kind, f func(id string, data []byte) error) (err error) {
	prefix := key(k, "")
	it, err := r.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer func() {
		if e := it.Close(); err == nil {
			err = e
		}
	}()
	for it.First(); it.Valid(); it.Next() {
		if err := f(string(it.Key()[len(prefix):]), it.Value()); err != nil {
			return fmt.Errorf("registry record %q: %w", it.Key(), err)
		}
	}
	return it.Error()
}

func (r *Registry) loadAttached(id string, _ []byte) error {
	name, target, ok := strings.Cut(id, "\x00")
	if !ok {
		return errors.New("its key has no two parts")
	}
	r.attached.add(name, target)
	return nil
}

func (r *Registry) loadPrincipal(id string, data []byte) error {
	thing, cert, ok := strings.Cut(id, "\x00")
	var p principalRecord
	if !ok {
		return fmt.Errorf("its key has no two parts")
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	r.principals.add(thing, cert)
	if p.Exclusive {
		r.exclusive[cert] = thing
	}
	return nil
}

func (r *Registry) loadTags(id string, data []byte) error {
	var tags map[string]string
	err := json.Unmarshal(data, &tags)
	r.tags[id] = tags
	return err
}

// now is the time of a record: UTC, in milliseconds as the API tells it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// created is the time of a record by which lists are ordered: now, and after
// every one before. writeMu is held.
func (r *Registry) created() time.Time {
	if at := now(); at.After(r.latest) {
		r.latest = at
	} else {
		r.latest = r.latest.Add(time.Millisecond)
	}
	return r.latest
}

// newUUID returns a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// copyOf returns a copy of what find finds.
func copyOf[T any](r *Registry, name string, find func(string) (*T, error)) (T, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	found, err := find(name)
	if err != nil {
		var none T
		return none, err
	}
	return *found, nil
}
