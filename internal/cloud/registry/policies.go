package registry

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"time"

	"mote/internal/cloud/policy"
)

// Policy is a named policy with its versions.
type Policy struct {
	Name         string          `json:"name"`
	Created      time.Time       `json:"created"`
	Modified     time.Time       `json:"modified"`
	GenerationID string          `json:"generation_id"`
	Default      int             `json:"default"` // id of the version that counts
	Last         int             `json:"last"`    // id of the newest version that ever was
	Versions     []PolicyVersion `json:"versions"`

	compiled *policy.Document // the default version
}

// PolicyVersion is one version of a policy.
type PolicyVersion struct {
	ID       int       `json:"id"` // from 1
	Document string    `json:"document"`
	Created  time.Time `json:"created"`
}

// maxVersions is how many versions a policy may have (AWS IoT API
// reference, CreatePolicyVersion).
const maxVersions = 5

var policyNameForm = form{regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]+$`), 128}

func (r *Registry) loadPolicy(name string, data []byte) error {
	p := new(Policy)
	if err := json.Unmarshal(data, p); err != nil {
		return err
	}
	if err := p.compile(); err != nil {
		return err
	}
	r.policies.put(name, p)
	r.policyOrder = append(r.policyOrder, orderKey(p.Created, name))
	return nil
}

// compile compiles the default version.
func (p *Policy) compile() (err error) {
	v, err := p.Version(p.Default)
	if err != nil {
		return err
	}
	p.compiled, err = compile(p.Name, v.Document)
	return err
}

func compile(name, document string) (*policy.Document, error) {
	d, err := policy.Compile(name, document)
	if err != nil {
		return nil, errorf(MalformedPolicy, "Policy document is Malformed: %v", err)
	}
	return d, nil
}

// Version returns a version of the policy.
func (p *Policy) Version(id int) (PolicyVersion, error) {
	for _, v := range p.Versions {
		if v.ID == id {
			return v, nil
		}
	}
	return PolicyVersion{}, errorf(NotFound, "Policy version %d of policy %s does not exist", id, p.Name)
}

// clone returns a copy whose versions can be changed.
func (p *Policy) clone() *Policy {
	c := *p
	c.Versions = slices.Clone(p.Versions)
	return &c
}

// CreatePolicy makes a policy with a first version.
func (r *Registry) CreatePolicy(name, document string, tags map[string]string) (Policy, error) {
	if !policyNameForm.MatchString(name) {
		return Policy{}, errorf(InvalidRequest, "the policy name %q is not valid: it must have 1 to 128 characters of a-z, A-Z, 0-9 and _+=,.@-", short(name))
	}
	doc, err := compile(name, document)
	if err != nil {
		return Policy{}, err
	}
	at := now()
	p := &Policy{
		Name: name, Created: at, Modified: at, GenerationID: newUUID(), Default: 1, Last: 1,
		Versions: []PolicyVersion{{1, document, at}}, compiled: doc,
	}
	err = r.change(func(t *tx) error {
		if _, ok := r.policies.get(name); ok {
			return r.exists("policy/"+name, "Policy cannot be created - name already exists (name=%s)", name)
		}
		if err := r.newTags(t, "policy/"+name, tags); err != nil {
			return err
		}
		t.then(func() { r.policyOrder = insert(r.policyOrder, orderKey(at, name)) })
		return r.putPolicy(t, p)
	})
	return *p, err
}

// putPolicy writes a policy.
func (r *Registry) putPolicy(t *tx, p *Policy) error {
	if old, ok := r.policies.get(p.Name); ok && old.compiled != p.compiled {
		_, loginHas := r.loginWith(p.Name)
		t.judges = loginHas || len(r.attached.right(p.Name)) > 0
	}
	t.then(func() { r.policies.put(p.Name, p) })
	return t.set(kindPolicy, p.Name, p)
}

// Policy returns a policy; its versions are not to be changed.
func (r *Registry) Policy(name string) (Policy, error) {
	return copyOf(r, name, r.policy)
}

// policy finds a policy; mu or writeMu is held.
func (r *Registry) policy(name string) (*Policy, error) {
	return r.policies.find("Policy", name)
}

// Policies lists policies by creation, and the token of the next page.
func (r *Registry) Policies(p Page) ([]Policy, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	keys, next, err := Cut(r.policyOrder, p, nil)
	return copies(&r.policies, orderIDs(keys)), next, err
}

// DeletePolicy removes a policy that is attached to nothing and has one
// version.
func (r *Registry) DeletePolicy(name string) error {
	return r.change(func(t *tx) error {
		p, err := r.policy(name)
		login, loginHas := r.loginWith(name)
		switch {
		case err != nil:
			return err
		case len(r.attached.right(name)) > 0:
			return errorf(DeleteConflict, "The policy cannot be deleted as the policy is attached to one or more principals (name=%s)", name)
		case loginHas:
			return errorf(DeleteConflict, "The policy cannot be deleted as account %s has it (name=%s)", login, name)
		case len(p.Versions) > 1:
			return errorf(DeleteConflict, "Cannot delete the policy because it has one or more policy versions attached to it (name=%s)", name)
		}
		t.delete(kindPolicy, name)
		r.noTags(t, "policy/"+name)
		t.then(func() {
			r.policies.drop(name)
			r.policyOrder = remove(r.policyOrder, orderKey(p.Created, name))
		})
		return nil
	})
}

// CreatePolicyVersion adds a version, as the default one when asDefault is set.
func (r *Registry) CreatePolicyVersion(name, document string, asDefault bool) (PolicyVersion, error) {
	doc, err := compile(name, document)
	if err != nil {
		return PolicyVersion{}, err
	}
	var v PolicyVersion
	err = r.change(func(t *tx) error {
		old, err := r.policy(name)
		if err != nil {
			return err
		}
		if len(old.Versions) >= maxVersions {
			return errorf(VersionsLimit, "The policy %s already has the maximum number of versions (%d)", name, maxVersions)
		}
		p := old.clone()
		p.Last++
		p.Modified = now()
		v = PolicyVersion{p.Last, document, p.Modified}
		p.Versions = append(p.Versions, v)
		if asDefault {
			p.Default, p.compiled = v.ID, doc
		}
		return r.putPolicy(t, p)
	})
	return v, err
}

// changePolicy changes a copy of a policy and puts it in place.
func (r *Registry) changePolicy(name string, f func(p *Policy) error) error {
	return r.change(func(t *tx) error {
		old, err := r.policy(name)
		if err != nil {
			return err
		}
		p := old.clone()
		if err := f(p); err != nil {
			return err
		}
		p.Modified = now()
		return r.putPolicy(t, p)
	})
}

// SetDefaultPolicyVersion says which version counts.
func (r *Registry) SetDefaultPolicyVersion(name string, id int) error {
	return r.changePolicy(name, func(p *Policy) error {
		p.Default = id
		return p.compile()
	})
}

// DeletePolicyVersion removes a version that is not the default one.
func (r *Registry) DeletePolicyVersion(name string, id int) error {
	return r.changePolicy(name, func(p *Policy) error {
		if _, err := p.Version(id); err != nil {
			return err
		}
		if id == p.Default {
			return errorf(InvalidRequest, "Cannot delete the default version of a policy")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(v PolicyVersion) bool { return v.ID == id })
		return nil
	})
}

// ParseVersion reads a version id of the API.
func ParseVersion(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 || s != strconv.FormatUint(n, 10) {
		return 0, errorf(InvalidRequest, "the policy version id %q is not valid: it must be a number from 1", short(s))
	}
	return int(n), nil
}
