package registry

import (
	"regexp"
	"strings"
)

// maxPolicies is how many policies a certificate or a Cognito identity may have
// (AWS IoT quotas, "Maximum number of policies that can be attached to a
// certificate").
const maxPolicies = 10

// A target is what a policy is attached to: the id of a certificate,
// "thinggroup/" and the name of a group, or the id of an Amazon Cognito
// identity. Nothing authenticates by the last here; they are kept for tools
// that attach policies to them.
const groupPrefix = "thinggroup/"

// cognitoForm is the id of an Amazon Cognito identity (Amazon Cognito API,
// "GetId").
var cognitoForm = form{regexp.MustCompile(`^[a-z0-9-]+:[0-9a-fA-F-]+$`), 55}

func groupTarget(group string) string { return groupPrefix + group }

func groupOfTarget(target string) (group string, ok bool) {
	return strings.CutPrefix(target, groupPrefix)
}

// Target returns the target of a policy that the API names: the ARN of a
// certificate or a thing group, or an Amazon Cognito identity id.
func (r *Registry) Target(name string) (string, error) {
	rest, arn := strings.CutPrefix(name, r.ARN(""))
	switch id, ok := strings.CutPrefix(rest, "cert/"); {
	case arn && ok && certificateIDForm.MatchString(id):
		return id, nil
	case arn && strings.HasPrefix(rest, groupPrefix) && thingNameForm.MatchString(rest[len(groupPrefix):]):
		return rest, nil
	case !arn && cognitoForm.MatchString(name):
		return name, nil
	}
	return "", errorf(InvalidRequest, "%q is no target of a policy: it must be the ARN of a certificate (%s<64 hexadecimal digits>) or of a thing group (%s<name>) of this account and region, or an Amazon Cognito identity id",
		short(name), r.ARN("cert/"), r.ARN(groupPrefix))
}

// TargetName is what the API calls a target.
func (r *Registry) TargetName(target string) string {
	switch {
	case strings.HasPrefix(target, groupPrefix):
		return r.ARN(target)
	case certificateIDForm.MatchString(target):
		return r.ARN("cert/" + target)
	}
	return target
}

// checkTarget says whether the target exists; mu or writeMu is held.
func (r *Registry) checkTarget(target string) error {
	if group, ok := groupOfTarget(target); ok {
		_, err := r.group(group)
		return err
	}
	if cognitoForm.MatchString(target) {
		return nil
	}
	_, err := r.certificate(target)
	return err
}

// both says whether the policy and the target exist; writeMu is held.
func (r *Registry) both(policy, target string) error {
	if _, err := r.policy(policy); err != nil {
		return err
	}
	return r.checkTarget(target)
}

// AttachPolicy attaches a policy to a target; that it is attached already is no
// error.
func (r *Registry) AttachPolicy(name, target string) error {
	return r.change(func(t *tx) error {
		if err := r.both(name, target); err != nil || r.attached.has(name, target) {
			return err
		}
		most := maxPolicies
		if _, ok := groupOfTarget(target); ok {
			most = maxGroupPolicies
		}
		if n := len(r.attached.left(target)); n >= most {
			return errorf(LimitExceeded, "%s has %d policies already, the limit is %d: put several statements into one policy", r.TargetName(target), n, most)
		}
		t.judges = true
		t.then(func() { r.attached.add(name, target) })
		return t.set(kindAttached, pair(name, target), struct{}{})
	})
}

// DetachPolicy takes a policy from a target; that it is not attached is no
// error.
func (r *Registry) DetachPolicy(name, target string) error {
	return r.change(func(t *tx) error {
		if err := r.both(name, target); err != nil || !r.attached.has(name, target) {
			return err
		}
		t.judges = true
		t.delete(kindAttached, pair(name, target))
		t.then(func() { r.attached.drop(name, target) })
		return nil
	})
}

// AttachedPolicies lists the names of the policies of a target, and, when
// recursive is set, of those that a group inherits from the groups that it is
// in.
func (r *Registry) AttachedPolicies(target string, recursive bool, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.checkTarget(target); err != nil {
		return nil, "", err
	}
	names := r.attached.left(target)
	if group, ok := groupOfTarget(target); ok && recursive {
		names = distinct(r.inherited(group))
	}
	return Cut(names, p, nil)
}

// PolicyTargets lists the targets that a policy is attached to.
func (r *Registry) PolicyTargets(name string, p Page) ([]string, string, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, err := r.policy(name); err != nil {
		return nil, "", err
	}
	return Cut(r.attached.right(name), p, nil)
}

// EffectivePolicies returns the policies that count for a target (nil: for the
// thing alone), and for the thing when one is named: those of its groups.
func (r *Registry) EffectivePolicies(target, thing string) ([]Policy, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if target != "" {
		if err := r.checkTarget(target); err != nil {
			return nil, err
		}
	}
	things := r.principals.left(target)
	if thing != "" {
		if _, err := r.thing(thing); err != nil {
			return nil, err
		}
		things = []string{thing}
	}
	var out []Policy
	for _, name := range r.policiesOf(target, things) {
		out = append(out, *r.policies.items[name])
	}
	return out, nil
}
