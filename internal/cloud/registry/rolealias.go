package registry

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"regexp"
	"time"
)

// RoleAlias is a name under which devices ask for temporary credentials, and
// the role that these are of (AWS IoT API reference, CreateRoleAlias).
type RoleAlias struct {
	Name     string        `json:"name"`
	ID       string        `json:"id"` // UUID: another one when the alias is deleted and made again
	Role     string        `json:"role"`
	Duration time.Duration `json:"duration"` // of credentials, whole seconds
	Created  time.Time     `json:"created"`
	Modified time.Time     `json:"modified"`
}

// The lifetime of credentials (API model, CredentialDurationSeconds).
const (
	DefaultCredentialLife = time.Hour
	minCredentialLife     = 15 * time.Minute
	maxCredentialLife     = 12 * time.Hour
)

// maxRoleAliases bounds the role aliases of the account (AWS IoT Core endpoints
// and quotas, "Role aliases").
const maxRoleAliases = 100

var (
	roleAliasForm = form{regexp.MustCompile(`^[\w=,@-]+$`), 128}
	// roleForm is the ARN of an IAM role (IAM user guide, "IAM ARNs").
	roleForm = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
)

func (r *Registry) loadRoleAlias(name string, data []byte) error {
	a := new(RoleAlias)
	err := json.Unmarshal(data, a)
	r.roleAliases.put(name, a)
	return err
}

func (a *RoleAlias) check() error {
	switch {
	case !roleAliasForm.MatchString(a.Name):
		return errorf(InvalidRequest, "the role alias %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9 and _=,@-", short(a.Name))
	case len(a.Role) > maxRole || !roleForm.MatchString(a.Role):
		return errorf(InvalidRequest, "roleArn %q is not the ARN of a role: it must look like arn:aws:iam::000000000001:role/gateway", short(a.Role))
	case a.Duration < minCredentialLife || a.Duration > maxCredentialLife:
		return errorf(InvalidRequest, "credentialDurationSeconds is %d: it must be from %d to %d", a.Duration/time.Second, minCredentialLife/time.Second, maxCredentialLife/time.Second)
	}
	return nil
}

// CreateRoleAlias makes a role alias; a Duration of 0 is DefaultCredentialLife.
func (r *Registry) CreateRoleAlias(name, role string, life time.Duration, tags map[string]string) (RoleAlias, error) {
	if life == 0 {
		life = DefaultCredentialLife
	}
	at := now()
	a := RoleAlias{Name: name, ID: newUUID(), Role: role, Duration: life, Created: at, Modified: at}
	if err := a.check(); err != nil {
		return RoleAlias{}, err
	}
	return a, r.change(func(t *tx) error {
		if _, ok := r.roleAliases.get(name); ok {
			return r.exists("rolealias/"+name, "Role alias %s already exists", name)
		}
		if len(r.roleAliases.keys) >= maxRoleAliases {
			return errorf(LimitExceeded, "there are %d role aliases already, which is the limit: delete one", maxRoleAliases)
		}
		if err := r.newTags(t, "rolealias/"+name, tags); err != nil {
			return err
		}
		return r.putRoleAlias(t, &a)
	})
}

func (r *Registry) putRoleAlias(t *tx, a *RoleAlias) error {
	t.then(func() { r.roleAliases.put(a.Name, a) })
	return t.set(kindRoleAlias, a.Name, a)
}

// RoleAlias returns a role alias.
func (r *Registry) RoleAlias(name string) (RoleAlias, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a, err := r.roleAlias(name)
	if err != nil {
		return RoleAlias{}, err
	}
	return *a, nil
}

// roleAlias finds a role alias; mu or writeMu is held.
func (r *Registry) roleAlias(name string) (*RoleAlias, error) {
	a, ok := r.roleAliases.get(name)
	if !ok {
		return nil, errorf(NotFound, "Role alias %s does not exist", short(name))
	}
	return a, nil
}

// RoleAliases lists the names of role aliases, and the token of the next page.
func (r *Registry) RoleAliases(p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Cut(r.roleAliases.keys, p, nil)
}

// UpdateRoleAlias changes the role and the lifetime of credentials; "" and 0
// leave them.
func (r *Registry) UpdateRoleAlias(name, role string, life time.Duration) error {
	return r.change(func(t *tx) error {
		old, err := r.roleAlias(name)
		if err != nil {
			return err
		}
		a := *old
		a.Modified = now()
		if role != "" {
			a.Role = role
		}
		if life != 0 {
			a.Duration = life
		}
		if err := a.check(); err != nil {
			return err
		}
		return r.putRoleAlias(t, &a)
	})
}

// DeleteRoleAlias removes a role alias; the credentials that it gave end.
func (r *Registry) DeleteRoleAlias(name string) error {
	return r.change(func(t *tx) error {
		if _, err := r.roleAlias(name); err != nil {
			return err
		}
		t.delete(kindRoleAlias, name)
		r.noTags(t, "rolealias/"+name)
		t.then(func() { r.roleAliases.drop(name) })
		return nil
	})
}

// Attached says whether the certificate is attached to the thing.
func (r *Registry) Attached(thing, certificate string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.principals.has(thing, certificate)
}

// ActiveCertificate says why a certificate that was welcome is so no more, or nil.
func (r *Registry) ActiveCertificate(id string) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, err := r.certificate(id)
	switch {
	case err != nil:
		return err
	case c.Status != Active:
		return errorf(CertificateState, "certificate %s is %s", id, c.Status)
	case time.Now().After(c.NotAfter):
		return errorf(CertificateState, "certificate %s expired at %s", id, c.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// sessionKeyRecord is the one record of kindSessionKey.
type sessionKeyRecord struct {
	Key []byte `json:"key"`
}

const sessionKeySize = 32 // bytes

// openSessionKey reads the key under which temporary credentials are sealed; the
// first time it makes one.
func (r *Registry) openSessionKey() error {
	var rec sessionKeyRecord
	found, err := r.read(kindSessionKey, "", &rec)
	if err != nil {
		return err
	}
	if !found {
		rec.Key = make([]byte, sessionKeySize)
		rand.Read(rec.Key)
		if err := r.change(func(t *tx) error { return t.set(kindSessionKey, "", rec) }); err != nil {
			return err
		}
	}
	if r.sessionKey = rec.Key; len(rec.Key) != sessionKeySize {
		return errors.New("the key of temporary credentials is damaged")
	}
	return nil
}

// SessionKey is the secret from which temporary credentials are made: 32 bytes,
// the same as long as there is the registry.
func (r *Registry) SessionKey() []byte { return r.sessionKey }
