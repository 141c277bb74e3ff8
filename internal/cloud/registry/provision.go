package registry

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"
	"time"
)

// Override says what happens to something that is there already (AWS IoT
// developer guide, "Provisioning templates", OverrideSettings).
type Override string

// The overrides; "" is OverrideReplace.
const (
	OverrideNothing Override = "DO_NOTHING"
	OverrideReplace Override = "REPLACE"
	OverrideFail    Override = "FAIL"
	OverrideMerge   Override = "MERGE" // of attributes and groups
)

// Provision is what one device gets, all at once or not at all.
type Provision struct {
	// The certificate: one that is registered, by its id, or a new one by a
	// signing request or by itself, all in PEM.
	Certificate    string
	CSR            string
	PEM, CAPEM     string
	Status         Status // Active or Inactive
	StatusOverride Override

	Thing    *ProvisionThing
	Policies []ProvisionPolicy

	// Token is the ownership token of Certificate, which Principal asked for;
	// "" needs none. Request tells a repeated request, which is answered as the
	// first one was, from another one, which is refused.
	Token, Principal, Request string
}

// ProvisionThing is the thing of a device.
type ProvisionThing struct {
	Name       string
	Attributes map[string]string // nil: leave those of a thing that is there
	Type       string            // name of its thing type; "": none
	Groups     []string          // names of its thing groups
	Billing    string            // name of its billing group; "": none
	Exclusive  bool              // the certificate is for this thing alone

	Override, TypeOverride, GroupsOverride Override // of attributes, type and groups
}

// ProvisionPolicy is a policy of a device: one that is there, by its name, or
// a document, whose policy is named after its contents.
type ProvisionPolicy struct{ Name, Document string }

// Provisioned is what a device got.
type Provisioned struct {
	Certificate Certificate // with its PEM when it is new
	Thing       string      // "": none
	Policies    []string    // names, as in Provision
}

// Provision makes p: the certificate's state, the thing and what is attached
// to what are one change of the registry.
func (r *Registry) Provision(p Provision) (Provisioned, error) {
	if p.Status != Active && p.Status != Inactive {
		return Provisioned{}, errorf(InvalidRequest, "the status %q of the certificate is not valid: use ACTIVE or INACTIVE", short(string(p.Status)))
	}
	fresh, err := r.newForProvision(&p)
	if err != nil {
		return Provisioned{}, err
	}
	var out Provisioned
	err = r.change(func(t *tx) (err error) {
		again, done, err := r.useToken(t, p)
		if err != nil || done {
			out = again
			return err
		}
		if out.Certificate, err = r.provisionCertificate(t, p, fresh); err != nil {
			return err
		}
		if out.Policies, err = r.provisionPolicies(t, p, out.Certificate.ID); err != nil {
			return err
		}
		if p.Thing != nil {
			out.Thing = p.Thing.Name
			if err := r.provisionThing(t, p.Thing); err != nil {
				return err
			}
			err = r.provisionAttachment(t, p.Thing, out.Certificate.ID)
		}
		t.judges = true
		return err
	})
	return out, err
}

// newForProvision issues or reads the certificate that p adds; nil when it
// names one that is registered.
func (r *Registry) newForProvision(p *Provision) (*x509.Certificate, error) {
	switch {
	case p.CSR != "":
		req, err := readCSR(p.CSR)
		if err != nil {
			return nil, err
		}
		return r.sign(req.RawSubject, req.Subject, req.PublicKey, farFuture)
	case p.PEM != "":
		cert, _, err := checkDevice(p.PEM, p.Status)
		return cert, err
	}
	return nil, nil
}

func (r *Registry) provisionCertificate(t *tx, p Provision, fresh *x509.Certificate) (Certificate, error) {
	if fresh != nil {
		c := newCertificate(fresh, p.Status)
		if p.PEM != "" {
			issuer, err := r.findIssuer(fresh, p.CAPEM)
			if err != nil {
				return Certificate{}, err
			}
			c.CA, c.Mode = issuer.ID, issuer.Mode
			if issuer.Status != Active {
				return Certificate{}, errorf(CertificateState, "CA certificate %s is %s: activate it first", issuer.ID, issuer.Status)
			}
		}
		return c, r.addCertificate(t, c)
	}
	old, err := r.certificate(p.Certificate)
	if err != nil {
		return Certificate{}, err
	}
	c := *old
	switch {
	case c.Status == p.Status, c.Status != PendingActivation && p.StatusOverride == OverrideNothing:
		return c, nil
	case c.Status != PendingActivation && p.StatusOverride == OverrideFail:
		return c, errorf(CertificateState, "certificate %s is %s, and the template says not to change that", c.ID, c.Status)
	}
	c.Status, c.Modified = p.Status, now()
	c.CustomerVersion++
	kept := c
	t.then(func() { r.certificates.put(c.ID, &kept) })
	return c, t.set(kindCert, c.ID, &kept)
}

func (r *Registry) provisionThing(t *tx, p *ProvisionThing) error {
	if err := checkThingName(p.Name); err != nil {
		return err
	}
	p.Attributes = withoutEmpty(p.Attributes)
	old, ok := r.things.get(p.Name)
	if ok {
		return r.reprovisionThing(t, p, old)
	}
	thing := &Thing{Name: p.Name, ID: newUUID(), Attributes: p.Attributes, Type: p.Type, Billing: p.Billing, Version: 1, Created: r.created()}
	if err := r.fits(thing); err != nil {
		return err
	}
	if err := r.newThing(t, thing); err != nil {
		return err
	}
	return r.provisionGroups(t, p, thing.ID, p.Groups, nil)
}

// reprovisionThing changes a thing that is there as far as the overrides want.
func (r *Registry) reprovisionThing(t *tx, p *ProvisionThing, old *Thing) error {
	thing := *old
	if p.Attributes != nil && !maps.Equal(old.Attributes, p.Attributes) {
		if err := p.refused("attributes", p.Override); err != nil {
			return err
		}
		if p.Override != OverrideNothing {
			thing.Attributes = merged(old.Attributes, p.Attributes, p.Override == OverrideMerge)
		}
	}
	if old.Type != p.Type && p.Type != "" {
		if err := p.refused("thing type", p.TypeOverride); err != nil {
			return err
		}
		if p.TypeOverride != OverrideNothing {
			thing.Type = p.Type
		}
	}
	if p.Billing != "" {
		thing.Billing = p.Billing
	}
	if err := r.regroup(t, p); err != nil {
		return err
	}
	if maps.Equal(old.Attributes, thing.Attributes) && old.Type == thing.Type && old.Billing == thing.Billing {
		return nil
	}
	if err := r.fits(&thing); err != nil {
		return err
	}
	return r.writeThing(t, &thing)
}

// refused says no when the template forbids to change what.
func (p *ProvisionThing) refused(what string, o Override) error {
	if o != OverrideFail {
		return nil
	}
	return errorf(Exists, "Thing %s already exists in account with different %s, and the template says not to change them", p.Name, what)
}

// regroup puts a thing that is there into groups.
func (r *Registry) regroup(t *tx, p *ProvisionThing) error {
	had := slices.Clone(r.members.left(p.Name))
	add, drop := without(distinct(p.Groups), had), without(had, p.Groups)
	if len(p.Groups) == 0 || len(add)+len(drop) == 0 || p.GroupsOverride == OverrideNothing {
		return nil
	}
	if err := p.refused("thing groups", p.GroupsOverride); err != nil {
		return err
	}
	if p.GroupsOverride == OverrideMerge {
		drop = nil
	}
	return r.provisionGroups(t, p, r.things.items[p.Name].ID, add, drop)
}

func (r *Registry) provisionGroups(t *tx, p *ProvisionThing, id string, add, drop []string) error {
	add = distinct(add)
	for _, name := range add {
		if _, err := r.group(name); err != nil {
			return err
		}
	}
	if err := r.checkGroups(p.Name, without(r.members.left(p.Name), drop), add); err != nil {
		return err
	}
	return r.putMembers(t, p.Name, id, add, drop)
}

func (r *Registry) provisionAttachment(t *tx, p *ProvisionThing, certificate string) error {
	others := slices.DeleteFunc(slices.Clone(r.principals.left(certificate)), func(n string) bool { return n == p.Name })
	only, taken := r.exclusive[certificate]
	switch {
	case taken && only != p.Name:
		return errorf(InvalidRequest, "certificate %s belongs to thing %s alone: detach it there first", certificate, only)
	case p.Exclusive && len(others) > 0:
		return errorf(InvalidRequest, "certificate %s cannot belong to thing %s alone: it is attached to %s", certificate, p.Name, others[0])
	}
	t.then(func() {
		r.principals.add(p.Name, certificate)
		if delete(r.exclusive, certificate); p.Exclusive {
			r.exclusive[certificate] = p.Name
		}
	})
	return t.set(kindPrincipal, pair(p.Name, certificate), principalRecord{p.Exclusive})
}

// provisionPolicies attaches the policies, and makes those that are given by
// documents.
func (r *Registry) provisionPolicies(t *tx, p Provision, certificate string) ([]string, error) {
	all := slices.Clone(r.attached.left(certificate))
	var names []string
	for _, one := range p.Policies {
		name := one.Name
		if one.Document != "" {
			name = documentName(one.Document)
			if err := r.addPolicy(t, name, one.Document); err != nil {
				return nil, err
			}
		} else if _, err := r.policy(name); err != nil {
			return nil, err
		}
		names = append(names, name)
		if slices.Contains(all, name) {
			continue
		}
		all = append(all, name)
		t.then(func() { r.attached.add(name, certificate) })
		if err := t.set(kindAttached, pair(name, certificate), struct{}{}); err != nil {
			return nil, err
		}
	}
	if len(all) > maxPolicies {
		return nil, errorf(LimitExceeded, "certificate %s would have %d policies, the limit is %d: put several statements into one policy", certificate, len(all), maxPolicies)
	}
	return names, nil
}

// documentName is the name of a policy that a template gives by its document
// (AWS IoT developer guide, "Provisioning templates": the hash of the document).
func documentName(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}

// addPolicy makes a policy unless it is there.
func (r *Registry) addPolicy(t *tx, name, document string) error {
	if _, ok := r.policies.get(name); ok {
		return nil
	}
	doc, err := compile(name, document)
	if err != nil {
		return err
	}
	at := now()
	t.then(func() { r.policyOrder = insert(r.policyOrder, orderKey(at, name)) })
	return r.putPolicy(t, &Policy{
		Name: name, Created: at, Modified: at, GenerationID: newUUID(), Default: 1, Last: 1,
		Versions: []PolicyVersion{{1, document, at}}, compiled: doc,
	})
}

// expired says whether a time is over.
func expired(at time.Time) bool { return !time.Now().Before(at) }
