package registry

import (
	"slices"

	"mote/internal/cloud/policy"
)

// Judge returns what decides what s may do: it sets s.Thing from the
// attachments and takes the default versions of the policies attached to the
// certificate, and to the groups of the things that the certificate is
// attached to (AWS IoT developer guide, "Static thing groups"). The result is
// a snapshot; see [Registry.Epoch].
func (r *Registry) Judge(s *policy.Subject) policy.Judge {
	return r.JudgeWith(s, nil, nil)
}

// JudgeWith is Judge with further policies, and without some, by name; those
// that do not exist are left out.
func (r *Registry) JudgeWith(s *policy.Subject, add, skip []string) policy.Judge {
	if s.Account != "" || s.Anonymous {
		return r.judgeLogin(s, add, skip)
	}
	return r.JudgeTarget(s, s.CertificateID, add, skip)
}

// JudgeTarget is JudgeWith for the policies of a target that [Registry.Target]
// returned, which need not be the certificate of s.
func (r *Registry) JudgeTarget(s *policy.Subject, target string, add, skip []string) policy.Judge {
	r.mu.RLock()
	s.Thing = r.connectedThing(s.ClientID, s.CertificateID)
	names := slices.Concat(r.policiesOf(target, r.principals.left(target)), add)
	slices.Sort(names)
	var docs []*policy.Document
	for _, name := range slices.Compact(names) {
		if p, ok := r.policies.get(name); ok && !slices.Contains(skip, name) {
			docs = append(docs, p.compiled)
		}
	}
	r.mu.RUnlock()
	own := *s // the caller may go on to change its own
	return policy.NewJudge(&own, r.arn, docs)
}

// connectedThing returns the thing that a connection stands for: the one that
// the certificate belongs to alone, or the one that is named as the client
// when it is attached to the certificate (AWS IoT developer guide,
// "Associating an AWS IoT thing to an MQTT client connection"). mu is held.
func (r *Registry) connectedThing(client, certificate string) *policy.Thing {
	name, alone := r.exclusive[certificate]
	if !alone {
		name = client
	}
	t, ok := r.things.get(name)
	if !ok || !r.principals.has(name, certificate) {
		return nil
	}
	return &policy.Thing{Name: t.Name, TypeName: t.Type, Attributes: t.Attributes}
}

// policiesOf returns the names of the policies of a target and of the groups of
// things, sorted; mu is held.
func (r *Registry) policiesOf(target string, things []string) []string {
	names := slices.Clone(r.attached.left(target))
	for _, thing := range things {
		for _, group := range r.members.left(thing) {
			names = append(names, r.inherited(group)...)
		}
	}
	if group, ok := groupOfTarget(target); ok {
		names = append(names, r.inherited(group)...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// inherited returns the names of the policies of a group and of those that it
// is in; mu is held.
func (r *Registry) inherited(group string) (names []string) {
	for group != "" {
		names = append(names, r.attached.left(groupTarget(group))...)
		g, ok := r.groups.get(group)
		if !ok {
			break
		}
		group = g.Parent
	}
	return names
}
