package policy

import (
	"fmt"
	"slices"
	"strings"
)

// NewJudge binds documents to a subject: variables and conditions are
// evaluated here once, so that a decision only compares texts. arn is what
// stands before the resource in the account's ARNs, for example
// "arn:aws:iot:us-east-1:000000000001:". Neither the subject nor the documents
// may change afterwards. The result is safe for concurrent use.
func NewJudge(s *Subject, arn string, docs []*Document) Judge {
	j := &judge{subject: s, arn: arn}
	scopes := [2]*scope{{Subject: s, arn: arn}, {Subject: s, arn: arn, connect: true}}
	for _, d := range docs {
		j.policies = append(j.policies, d.name)
		for _, st := range d.statements {
			j.statements = append(j.statements, bind(st, scopes))
		}
	}
	// Denials first: the first statement that fits decides.
	slices.SortStableFunc(j.statements, func(a, b bound) int { return order(a) - order(b) })
	return j
}

func order(b bound) int {
	if b.st.deny {
		return 0
	}
	return 1
}

type judge struct {
	subject    *Subject
	arn        string
	policies   []string
	statements []bound
}

// bound is a statement with the values of one subject.
type bound struct {
	st        *statement
	resources []matcher
	counts    [2]bool // whether it is looked at, for other actions and for iot:Connect
}

func bind(st *statement, scopes [2]*scope) bound {
	b := bound{st: st, resources: st.fixed}
	if b.resources == nil {
		var err error
		if b.resources, err = st.bindResources(scopes[0]); err != nil {
			return b
		}
	}
	for i, s := range scopes {
		b.counts[i] = st.unmet(s) == nil
	}
	return b
}

func (st *statement) bindResources(s *scope) ([]matcher, error) {
	out := make([]matcher, 0, len(st.resources))
	for _, t := range st.resources {
		parts, err := t.bind(s)
		if err != nil {
			return nil, err
		}
		out = append(out, compileParts(parts))
	}
	return out, nil
}

// unmet says which condition does not hold; nil when all do.
func (st *statement) unmet(s *scope) error {
	for i := range st.conditions {
		c := &st.conditions[i]
		ok, err := c.holds(s)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("its condition %s does not hold", c.label)
		}
	}
	return nil
}

// covers says whether the statement is about resource.
func (b *bound) covers(resource string) bool {
	for i := range b.resources {
		if b.resources[i].match(resource) {
			return !b.st.not
		}
	}
	return b.st.not
}

const connectAction = "iot:Connect"

// Decide implements [Judge].
func (j *judge) Decide(action, resource string) Decision {
	bit, scope := actionBit(action), 0
	if action == connectAction {
		scope = 1
	}
	for i := range j.statements {
		b := &j.statements[i]
		if !b.counts[scope] || !b.st.names(bit, action) || !b.covers(resource) {
			continue
		}
		if b.st.deny {
			return Decision{Policy: b.st.policy, Reason: fmt.Sprintf("%s denies %s on %s", b.st.label, action, short(resource))}
		}
		return Decision{Allowed: true, Policy: b.st.policy, Reason: b.st.why}
	}
	return Decision{Reason: j.explain(action, resource)}
}

// hintLimit is how many near misses an explanation tells.
const hintLimit = 4

// explain says why nothing allowed action on resource.
func (j *judge) explain(action, resource string) string {
	text := fmt.Sprintf("no statement allows %s on %s; ", action, short(resource))
	if len(j.policies) == 0 {
		return text + "no policy is attached to the certificate: attach one that does"
	}
	text += "policies looked at: " + strings.Join(j.policies, ", ")
	hints := 0
	for i := range j.statements {
		b := &j.statements[i]
		if b.st.deny || !b.st.names(actionBit(action), action) {
			continue
		}
		if hints++; hints > hintLimit {
			return text + "; …"
		}
		text += "; " + j.hint(b, action)
	}
	return text
}

// hint says why a statement that allows the action did not fit.
func (j *judge) hint(b *bound, action string) string {
	s := &scope{Subject: j.subject, arn: j.arn, connect: action == connectAction}
	if _, err := b.st.bindResources(s); err != nil {
		return fmt.Sprintf("%s does not count: %v", b.st.label, err)
	}
	if err := b.st.unmet(s); err != nil {
		return fmt.Sprintf("%s does not count: %v", b.st.label, err)
	}
	var names []string
	for _, t := range b.st.resources {
		names = append(names, t.src)
	}
	but := "only on"
	if b.st.not {
		but = "on all but"
	}
	all := strings.Join(names, ", ")
	text := fmt.Sprintf("%s allows it %s %s", b.st.label, but, short(all))
	if strings.ContainsAny(all, "+#") && action != "iot:Subscribe" {
		text += ` ("+" and "#" mean themselves in a policy, "*" means any text)`
	}
	return text
}

// short bounds what a client can put into a message.
func short(s string) string {
	const limit = 300
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
