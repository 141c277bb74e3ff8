package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"mote/internal/iotsql"
	"mote/internal/iotsql/eval"
)

// readObject reads a JSON object; members that are null count as absent.
func readObject(raw json.RawMessage) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, fmt.Errorf("want a JSON object, found %s", cut(string(raw), 60))
	}
	for name, v := range members {
		if string(v) == "null" {
			delete(members, name)
		}
	}
	return members, nil
}

// fields reads the members of an action. The first error stays.
type fields struct {
	where   string
	rule    *ruleContext
	members map[string]json.RawMessage
	err     error
}

// ruleContext is what the actions of one rule have in common.
type ruleContext struct {
	prog       *eval.Program
	forError   bool     // the action is the error action
	notOffered []string // functions in templates, see [eval.Program.NotOffered]
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = invalid(f.where+": "+format, args...)
	}
}

// finish returns the action when all members were right and known.
func (f *fields) finish(a action) (action, error) {
	f.noMore()
	if f.err != nil {
		return nil, f.err
	}
	return a, nil
}

// noMore refuses members that nobody took.
func (f *fields) noMore() {
	for name := range f.members {
		f.fail("unknown member %.60q", name)
	}
}

// take returns a member and marks it as known.
func (f *fields) take(name string) (json.RawMessage, bool) {
	raw, ok := f.members[name]
	delete(f.members, name)
	return raw, ok
}

// sub returns the fields of a member that is an object; nil when it is absent.
func (f *fields) sub(name string) *fields {
	raw, ok := f.take(name)
	if !ok {
		return nil
	}
	members, err := readObject(raw)
	if err != nil {
		f.fail("%s: %v", name, err)
	}
	return &fields{where: f.where + ": " + name, rule: f.rule, members: members}
}

// merge takes the error of sub over.
func (f *fields) merge(sub *fields) {
	sub.noMore()
	if f.err == nil {
		f.err = sub.err
	}
}

// text returns a member that is a string, "" when it is absent.
func (f *fields) text(name string) string {
	raw, ok := f.take(name)
	if !ok {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		f.fail("%s: want a string, found %s", name, cut(string(raw), 60))
	}
	return s
}

// template compiles a member; absent is the text that stands for an absent
// member. It returns nil when there is no text.
func (f *fields) template(name, absent string) *eval.Template {
	s := f.text(name)
	if s == "" {
		s = absent
	}
	if s == "" {
		return nil
	}
	return f.compile(name, s)
}

// compile compiles the text of a member.
func (f *fields) compile(name, text string) *eval.Template {
	t, err := f.rule.template(text)
	if err != nil {
		if f.err == nil {
			f.err = badSQL(f.where+": "+name+": ", err)
		}
		return nil
	}
	for _, function := range t.NotOffered() {
		if !slices.Contains(f.rule.notOffered, function) {
			f.rule.notOffered = append(f.rule.notOffered, function)
		}
	}
	return t
}

// template compiles a text with ${expression} in it, which sees the variables
// of the statement.
func (r *ruleContext) template(text string) (*eval.Template, error) {
	if r.forError {
		if err := withoutExternal(text); err != nil {
			return nil, err
		}
	}
	return r.prog.CompileTemplate(text)
}

// external are the functions that ask another service (AWS IoT developer guide,
// "Error handling (error action)": not in an error action).
var external = []string{
	"aws_lambda", "get_dynamodb", "get_registry_data", "get_secret", "get_thing_shadow", "machinelearning_predict",
}

// withoutExternal refuses a template that calls an external function.
func withoutExternal(text string) (err error) {
	t, err := iotsql.ParseTemplate(text)
	if err != nil {
		return err
	}
	for _, p := range t.Parts {
		if p.X == nil {
			continue
		}
		iotsql.Walk(p.X, func(x iotsql.Expr) {
			if call, ok := x.(*iotsql.Call); ok && err == nil && slices.Contains(external, strings.ToLower(call.Name)) {
				err = iotsql.Errorf(text, call.Pos, "an error action cannot call %s, which asks another service", call.Name)
			}
		})
	}
	return err
}

// flag returns a member that is true or false.
func (f *fields) flag(name string) (value bool) {
	if raw, ok := f.take(name); ok {
		if err := json.Unmarshal(raw, &value); err != nil {
			f.fail("%s: want true or false, found %s", name, cut(string(raw), 60))
		}
	}
	return value
}

// number returns a member that is a whole number in a range, otherwise when it
// is absent.
func (f *fields) number(name string, least, most, otherwise int) int {
	raw, ok := f.take(name)
	if !ok {
		return otherwise
	}
	var n int
	if err := json.Unmarshal(raw, &n); err != nil || n < least || n > most {
		f.fail("%s %s: want a number from %d to %d", name, cut(string(raw), 20), least, most)
	}
	return n
}

// pair is a name with a value, for example a header.
type pair struct{ key, value *eval.Template }

// pairs reads a list of objects with the members key and value, both required.
func (f *fields) pairs(name string, most int) []pair {
	raw, ok := f.take(name)
	if !ok {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) > most {
		f.fail("%s: want a list of at most %d objects", name, most)
		return nil
	}
	out := make([]pair, 0, len(list))
	for i, one := range list {
		members, err := readObject(one)
		if err != nil {
			f.fail("%s %d: %v", name, i+1, err)
			return nil
		}
		sub := &fields{where: fmt.Sprintf("%s: %s %d", f.where, name, i+1), rule: f.rule, members: members}
		out = append(out, pair{sub.required("key"), sub.required("value")})
		f.merge(sub)
	}
	return out
}

// oneOf returns a member that is one of some words, "" when it is absent.
func (f *fields) oneOf(name string, words ...string) string {
	s := f.text(name)
	if s != "" && !slices.Contains(words, s) {
		f.fail("%s %.40q: want %s", name, s, alternatives(words))
	}
	return s
}

// alternatives lists words as "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// required is template for a member that must be there.
func (f *fields) required(name string) *eval.Template {
	t := f.template(name, "")
	if t == nil {
		f.fail("%s is required", name)
	}
	return t
}

// role reads roleArn: here nothing needs a role, AWS does.
func (f *fields) role() {
	if arn := f.text("roleArn"); strings.Contains(arn, "${") {
		f.fail("roleArn cannot hold a substitution template")
	}
}
