package registry

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"mote/internal/cloud/policy"
)

// Login is an account of MQTT: a name and a password, for clients without a
// certificate, and what it may do.
type Login struct {
	Name     string    `json:"name"`
	Version  string    `json:"version"` // another one with every password
	Policies []string  `json:"policies"`
	Created  time.Time `json:"created"`

	Salt       []byte `json:"salt"`
	Hash       []byte `json:"hash"` // PBKDF2 with HMAC-SHA-256
	Iterations int    `json:"iterations"`
}

// hashIterations is what OWASP's password storage cheat sheet asks of PBKDF2
// with HMAC-SHA-256.
const hashIterations = 600_000

const saltBytes = 16

// passwordMost bounds what is hashed; CONNECT can carry 65535 bytes.
const passwordMost = 1024

var loginForm = form{regexp.MustCompile(`^[A-Za-z0-9_.@:+-]+$`), 128}

// verifier checks passwords. What was right once is known by a quick keyed hash
// that only this process can make, so that devices that come back cost nothing.
type verifier struct {
	iterations int // of new passwords
	slots      chan struct{}
	key        []byte

	mu    sync.Mutex
	known map[string][]byte // version of a login to the hash of its password; guarded by mu
}

func newVerifier(iterations int) *verifier {
	if iterations <= 0 {
		iterations = hashIterations
	}
	v := &verifier{iterations: iterations, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), key: make([]byte, sha256.Size), known: map[string][]byte{}}
	rand.Read(v.key)
	return v
}

func (v *verifier) quick(version string, password []byte) []byte {
	h := hmac.New(sha256.New, v.key)
	fmt.Fprintf(h, "%d:%s", len(version), version)
	h.Write(password)
	return h.Sum(nil)
}

// slow hashes the password, when it is its turn.
func (v *verifier) slow(ctx context.Context, password, salt []byte, iterations int) ([]byte, error) {
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
		return pbkdf2.Key(sha256.New, string(password), salt, iterations, sha256.Size)
	case <-ctx.Done():
		return nil, fmt.Errorf("too many passwords are being verified: %w", ctx.Err())
	}
}

// VerifyPassword returns the version of a login when the password is its own.
// An unknown name takes as long as a wrong password.
func (r *Registry) VerifyPassword(ctx context.Context, name string, password []byte) (version string, err error) {
	r.mu.RLock()
	l, found := r.logins[name]
	r.mu.RUnlock()
	v := r.verifier
	if !found { // the same work, for nothing
		l = &Login{Salt: make([]byte, saltBytes), Hash: make([]byte, sha256.Size), Iterations: v.iterations}
	}
	password = password[:min(len(password), passwordMost+1)] // no login has a longer one
	quick := v.quick(l.Version, password)
	v.mu.Lock()
	known := v.known[l.Version]
	v.mu.Unlock()
	if found && known != nil && subtle.ConstantTimeCompare(known, quick) == 1 {
		return l.Version, nil
	}
	hash, err := v.slow(ctx, password, l.Salt, l.Iterations)
	switch {
	case err != nil:
		return "", err
	case subtle.ConstantTimeCompare(hash, l.Hash) != 1 || !found:
		if !found {
			return "", fmt.Errorf("there is no account %q: make it with mote account add", short(name))
		}
		return "", fmt.Errorf("the password of account %q is another one: set a new one with mote account password", name)
	}
	v.mu.Lock()
	v.known[l.Version] = quick
	v.mu.Unlock()
	return l.Version, nil
}

// CheckAccount says why a client that gave the password of that version may not
// stay connected, or nil.
func (r *Registry) CheckAccount(name, version string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch l, ok := r.logins[name]; {
	case !ok:
		return fmt.Errorf("account %q was removed", name)
	case l.Version != version:
		return fmt.Errorf("account %q has a new password", name)
	}
	return nil
}

// CreateLogin makes an account with at least one policy.
func (r *Registry) CreateLogin(name, password string, policies []string) error {
	if !loginForm.MatchString(name) {
		return errorf(InvalidRequest, "the account name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9 and _.@:+-", short(name))
	}
	if len(policies) == 0 || len(policies) > maxPolicies {
		return errorf(InvalidRequest, "an account has 1 to %d policies, not %d: they say what it may do", maxPolicies, len(policies))
	}
	l := &Login{Name: name, Policies: slices.Compact(slices.Sorted(slices.Values(policies))), Created: now()}
	if err := l.setPassword(password, r.verifier.iterations); err != nil {
		return err
	}
	return r.change(func(t *tx) error {
		if _, ok := r.logins[name]; ok {
			return errorf(Exists, "there is an account %s already: give it another password with mote account password, or remove it first", name)
		}
		for _, p := range l.Policies {
			if _, err := r.policy(p); err != nil {
				return err
			}
		}
		return r.putLogin(t, l)
	})
}

// setPassword takes its time.
func (l *Login) setPassword(password string, iterations int) (err error) {
	if len(password) < 8 || len(password) > passwordMost {
		return errorf(InvalidRequest, "a password has 8 to %d bytes, not %d", passwordMost, len(password))
	}
	l.Version, l.Salt, l.Iterations = newUUID(), make([]byte, saltBytes), iterations
	rand.Read(l.Salt)
	l.Hash, err = pbkdf2.Key(sha256.New, password, l.Salt, l.Iterations, sha256.Size)
	return err
}

func (r *Registry) putLogin(t *tx, l *Login) error {
	t.judges = true
	t.then(func() { r.logins[l.Name] = l })
	return t.set(kindLogin, l.Name, l)
}

// SetPassword gives an account another password; its clients are disconnected.
func (r *Registry) SetPassword(name, password string) error {
	fresh := &Login{}
	if err := fresh.setPassword(password, r.verifier.iterations); err != nil {
		return err
	}
	return r.change(func(t *tx) error {
		old, err := r.login(name)
		if err != nil {
			return err
		}
		l := *old
		l.Version, l.Salt, l.Hash, l.Iterations = fresh.Version, fresh.Salt, fresh.Hash, fresh.Iterations
		r.verifier.forget(old.Version)
		return r.putLogin(t, &l)
	})
}

// DeleteLogin removes an account; its clients are disconnected.
func (r *Registry) DeleteLogin(name string) error {
	return r.change(func(t *tx) error {
		l, err := r.login(name)
		if err != nil {
			return err
		}
		r.verifier.forget(l.Version)
		t.judges = true
		t.delete(kindLogin, name)
		t.then(func() { delete(r.logins, name) })
		return nil
	})
}

func (v *verifier) forget(version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.known, version)
}

// login finds an account; mu or writeMu is held.
func (r *Registry) login(name string) (*Login, error) {
	l, ok := r.logins[name]
	if !ok {
		return nil, errorf(NotFound, "there is no account %s", short(name))
	}
	return l, nil
}

// Logins lists the accounts by name, without what their passwords left.
func (r *Registry) Logins() []Login {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Login, 0, len(r.logins))
	for _, l := range r.logins {
		out = append(out, Login{Name: l.Name, Policies: l.Policies, Created: l.Created})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// loginWith finds an account that has a policy; mu or writeMu is held.
func (r *Registry) loginWith(policyName string) (name string, ok bool) {
	for _, l := range r.logins {
		if slices.Contains(l.Policies, policyName) {
			return l.Name, true
		}
	}
	return "", false
}

func (r *Registry) loadLogin(name string, data []byte) error {
	l := new(Login)
	if err := json.Unmarshal(data, l); err != nil {
		return err
	}
	r.logins[name] = l
	return nil
}

// judgeLogin judges a client without a certificate: by the policies of its
// account, or as anonymous.
func (r *Registry) judgeLogin(s *policy.Subject, add, skip []string) policy.Judge {
	var docs []*policy.Document
	if s.Anonymous {
		docs = append(docs, anonymousPolicy())
	}
	r.mu.RLock()
	if l, ok := r.logins[s.Account]; ok {
		add = slices.Concat(add, l.Policies)
	}
	slices.Sort(add)
	for _, name := range slices.Compact(add) {
		if p, ok := r.policies.get(name); ok && !slices.Contains(skip, name) {
			docs = append(docs, p.compiled)
		}
	}
	r.mu.RUnlock()
	own := *s
	return policy.NewJudge(&own, r.arn, docs)
}

var anonymousPolicy = sync.OnceValue(func() *policy.Document {
	d, err := policy.Compile("anonymous", anonymousDocument)
	if err != nil {
		panic(err) // the text is ours
	}
	return d
})

// anonymousDocument is what clients may do on a listener that asks nothing of
// them: everything but the cloud's own topics.
const anonymousDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
{"Effect":"Deny","Action":["iot:Publish","iot:Receive","iot:RetainPublish","iot:Subscribe"],"Resource":["arn:aws:iot:*:*:topic/$aws/*","arn:aws:iot:*:*:topicfilter/$aws/*"]}]}`
