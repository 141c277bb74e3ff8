package registry

import (
	"slices"
	"strings"
)

// principalRecord is the value of a kindPrincipal record.
type principalRecord struct {
	Exclusive bool `json:"exclusive,omitempty"`
}

// maxPolicies is how many policies a certificate may have (AWS IoT quotas,
// "Maximum number of policies that can be attached to a certificate").
const maxPolicies = 10

// CertificateID returns the id in a certificate's ARN.
func (r *Registry) CertificateID(arn string) (string, error) {
	id, ok := strings.CutPrefix(arn, r.ARN("cert/"))
	if !ok || !certificateIDForm.MatchString(id) {
		return "", errorf(InvalidRequest, "%q is not the ARN of a certificate of this account and region: it must look like %s<64 hexadecimal digits>",
			short(arn), r.ARN("cert/"))
	}
	return id, nil
}

// AttachPolicy attaches a policy to a certificate; that it is attached already
// is no error.
func (r *Registry) AttachPolicy(name, certificate string) error {
	return r.change(func(t *tx) error {
		if err := r.both(name, certificate); err != nil || r.attached.has(name, certificate) {
			return err
		}
		if n := len(r.attached.left(certificate)); n >= maxPolicies {
			return errorf(LimitExceeded, "certificate %s has %d policies already, the limit is %d: put several statements into one policy", certificate, n, maxPolicies)
		}
		t.judges = true
		t.then(func() { r.attached.add(name, certificate) })
		return t.set(kindAttached, pair(name, certificate), struct{}{})
	})
}

// DetachPolicy takes a policy from a certificate; that it is not attached is
// no error.
func (r *Registry) DetachPolicy(name, certificate string) error {
	return r.change(func(t *tx) error {
		if err := r.both(name, certificate); err != nil || !r.attached.has(name, certificate) {
			return err
		}
		t.judges = true
		t.delete(kindAttached, pair(name, certificate))
		t.then(func() { r.attached.drop(name, certificate) })
		return nil
	})
}

// both says whether the policy and the certificate exist; writeMu is held.
func (r *Registry) both(name, certificate string) error {
	if _, err := r.policy(name); err != nil {
		return err
	}
	_, err := r.certificate(certificate)
	return err
}

// AttachedPolicies lists the names of the policies of a certificate.
func (r *Registry) AttachedPolicies(certificate string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.certificate(certificate); err != nil {
		return nil, "", err
	}
	return Cut(r.attached.left(certificate), p, nil)
}

// PolicyTargets lists the ids of the certificates that a policy is attached to.
func (r *Registry) PolicyTargets(name string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.policy(name); err != nil {
		return nil, "", err
	}
	return Cut(r.attached.right(name), p, nil)
}

// EffectivePolicies returns the policies that count for a certificate.
func (r *Registry) EffectivePolicies(certificate string) ([]Policy, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.certificate(certificate); err != nil {
		return nil, err
	}
	var out []Policy
	for _, name := range r.attached.left(certificate) {
		out = append(out, *r.policies.items[name])
	}
	return out, nil
}

// AttachThingPrincipal attaches a certificate to a thing. An exclusive one may
// be attached to that thing only. That it is attached already is no error.
func (r *Registry) AttachThingPrincipal(thing, certificate string, exclusive bool) error {
	return r.change(func(t *tx) error {
		if err := r.thingAnd(thing, certificate); err != nil {
			return err
		}
		others := slices.Clone(r.principals.left(certificate))
		others = slices.DeleteFunc(others, func(n string) bool { return n == thing })
		only, taken := r.exclusive[certificate]
		switch {
		case taken && only != thing:
			return errorf(InvalidRequest, "certificate %s belongs to thing %s alone: detach it there first", certificate, only)
		case exclusive && len(others) > 0:
			return errorf(InvalidRequest, "certificate %s cannot belong to thing %s alone: it is attached to %s", certificate, thing, others[0])
		case r.principals.has(thing, certificate) && taken == exclusive:
			return nil
		}
		t.judges = true
		t.then(func() {
			r.principals.add(thing, certificate)
			if delete(r.exclusive, certificate); exclusive {
				r.exclusive[certificate] = thing
			}
		})
		return t.set(kindPrincipal, pair(thing, certificate), principalRecord{exclusive})
	})
}

// DetachThingPrincipal takes a certificate from a thing; that it is not
// attached is no error.
func (r *Registry) DetachThingPrincipal(thing, certificate string) error {
	return r.change(func(t *tx) error {
		if err := r.thingAnd(thing, certificate); err != nil || !r.principals.has(thing, certificate) {
			return err
		}
		t.judges = true
		t.delete(kindPrincipal, pair(thing, certificate))
		t.then(func() {
			r.principals.drop(thing, certificate)
			delete(r.exclusive, certificate)
		})
		return nil
	})
}

// thingAnd says whether the thing and the certificate exist; writeMu is held.
func (r *Registry) thingAnd(thing, certificate string) error {
	if _, err := r.thing(thing); err != nil {
		return err
	}
	_, err := r.certificate(certificate)
	return err
}

// ThingPrincipals lists the ids of the certificates attached to a thing.
func (r *Registry) ThingPrincipals(thing string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.thing(thing); err != nil {
		return nil, "", err
	}
	return Cut(r.principals.right(thing), p, nil)
}

// PrincipalThings lists the names of the things that a certificate is attached
// to.
func (r *Registry) PrincipalThings(certificate string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.certificate(certificate); err != nil {
		return nil, "", err
	}
	return Cut(r.principals.left(certificate), p, nil)
}

// Exclusive says whether the certificate belongs to that thing alone.
func (r *Registry) Exclusive(thing, certificate string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	only, ok := r.exclusive[certificate]
	return ok && only == thing
}
