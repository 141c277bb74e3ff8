package registry

import (
	"slices"
	"strings"
)

// principalRecord is the value of a kindPrincipal record.
type principalRecord struct {
	Exclusive bool `json:"exclusive,omitempty"`
}

// CertificateID returns the id in a certificate's ARN.
func (r *Registry) CertificateID(arn string) (string, error) {
	id, ok := strings.CutPrefix(arn, r.ARN("cert/"))
	if !ok || !certificateIDForm.MatchString(id) {
		return "", errorf(InvalidRequest, "%q is not the ARN of a certificate of this account and region: it must look like %s<64 hexadecimal digits>",
			short(arn), r.ARN("cert/"))
	}
	return id, nil
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
