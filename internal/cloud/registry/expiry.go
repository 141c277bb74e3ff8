package registry

import (
	"sort"
	"time"
)

// Expiring is a certificate whose end is near, or was.
type Expiring struct {
	CA       bool   // a registered CA, or the root CA of the account; false: of a device
	ID       string // certificate id
	Name     string // the thing that has it, "" when there is none; or the CA's subject
	NotAfter time.Time
}

// Expiring lists the active certificates of devices, the active registered CAs
// and the root CA that end by the given time or have ended, the first to end
// first. Certificates of claims, which live for minutes, are not among them.
func (r *Registry) Expiring(until time.Time) []Expiring {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Expiring
	for id, c := range r.certificates.items {
		if k, ok := r.tokens[id]; c.Status != Active || c.NotAfter.After(until) || ok && k.Principal == "" {
			continue
		}
		e := Expiring{ID: id, NotAfter: c.NotAfter}
		if things := r.principals.left(id); len(things) > 0 {
			e.Name = things[0]
		}
		out = append(out, e)
	}
	for id, ca := range r.authorities.items {
		if ca.Status == Active && !ca.NotAfter.After(until) {
			out = append(out, Expiring{CA: true, ID: id, Name: short(ca.cert.Subject.String()), NotAfter: ca.NotAfter})
		}
	}
	if root := r.ca.cert; !root.NotAfter.After(until) {
		out = append(out, Expiring{CA: true, ID: fingerprint(root), Name: root.Subject.String(), NotAfter: root.NotAfter})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].NotAfter.Before(out[j].NotAfter) })
	return out
}
