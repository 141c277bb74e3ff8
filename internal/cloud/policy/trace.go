package policy

import (
	"slices"
	"strings"
)

// Trace is a decision with the statement that it rests on.
type Trace struct {
	Decision
	// Statement is the one that decided. When none did, it is the nearest one
	// that allows something: the one with the fewest Misses. It is nil when no
	// policy allows anything.
	Statement *Statement
	// Misses say what of Statement did not fit: "action", "resource",
	// "condition"; none when it decided.
	Misses []string
	// Why says for people what missed, for example `its condition … does not
	// hold`; "" when nothing did.
	Why string
}

// Statement is one statement of a policy document.
type Statement struct {
	Policy string // name of the policy
	Index  int    // from 0
	Sid    string // "" without one
	Source string // its JSON, as it was written
}

// Denied says that a statement denies, and not just that none allows.
func (t *Trace) Denied() bool { return !t.Allowed && t.Policy != "" }

// What a statement can lack; see [Trace].
const (
	MissAction    = "action"
	MissResource  = "resource"
	MissCondition = "condition"
)

// Explain decides like the [Judge] of the same subject and documents, and tells
// the statement; see [NewJudge].
func Explain(s *Subject, arn string, docs []*Document, action, resource string) Trace {
	j := NewJudge(s, arn, docs).(*judge)
	t := Trace{Decision: j.Decide(action, resource)}
	if t.Policy == "" {
		j.nearest(&t, action, resource)
		return t
	}
	for i := range j.statements {
		if b := &j.statements[i]; b.st.deny != t.Allowed && len(j.misses(b, action, resource)) == 0 {
			t.Statement = b.st.public()
			return t
		}
	}
	return t
}

func (st *statement) public() *Statement {
	return &Statement{Policy: st.policy, Index: st.index, Sid: st.sid, Source: st.source}
}

// nearest finds the statement that nearly allows action on resource. Of equally
// near ones, it is the one that is about the action, then about the resource.
func (j *judge) nearest(t *Trace, action, resource string) {
	best := -1
	for i := range j.statements {
		b := &j.statements[i]
		if b.st.deny {
			continue
		}
		misses := j.misses(b, action, resource)
		distance := 4 * len(misses)
		if slices.Contains(misses, MissAction) {
			distance += 2
		}
		if slices.Contains(misses, MissResource) {
			distance++
		}
		if best < 0 || distance < best {
			best, t.Statement, t.Misses = distance, b.st.public(), misses
			t.Why = j.why(b, misses, action, resource)
		}
	}
}

func (j *judge) scope(action string) *scope {
	return &scope{Subject: j.subject, arn: j.arn, connect: action == connectAction}
}

// misses says what of a statement does not fit a question.
func (j *judge) misses(b *bound, action, resource string) (out []string) {
	if !b.st.names(actionBit(action), action) {
		out = append(out, MissAction)
	}
	s := j.scope(action)
	if _, err := b.st.bindResources(s); err != nil || !b.covers(resource) {
		out = append(out, MissResource)
	}
	if b.st.unmet(s) != nil {
		out = append(out, MissCondition)
	}
	return out
}

// why says for people what of a statement does not fit.
func (j *judge) why(b *bound, misses []string, action, resource string) string {
	var out []string
	s := j.scope(action)
	for _, m := range misses {
		switch m {
		case MissAction:
			out = append(out, "it is not about "+short(action))
		case MissResource:
			text := "its resources do not fit " + short(resource)
			if _, err := b.st.bindResources(s); err != nil {
				text = err.Error()
			}
			out = append(out, text)
		case MissCondition:
			out = append(out, b.st.unmet(s).Error())
		}
	}
	return strings.Join(out, "; ")
}
