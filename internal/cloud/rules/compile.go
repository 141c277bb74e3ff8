package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mote/internal/iotsql"
	"mote/internal/iotsql/eval"
	"mote/internal/mqtt"
)

// compiled is a rule that is ready to run. It does not change.
type compiled struct {
	rule        Rule
	prog        *eval.Program
	actions     []action
	errorAction action   // nil: none, or one that is not executed
	notExecuted []string // kinds of actions that are only kept
	stats       *stats
	order       int  // of its name among all rules
	broken      bool // stored, but does not compile
}

func (c *compiled) enabled() bool { return !c.rule.Payload.RuleDisabled && !c.broken }

// maxActions is how many actions a rule may have (AWS IoT API, TopicRulePayload).
const maxActions = 10

// namePattern is what a rule may be called (AWS IoT API, CreateTopicRule).
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_]+$`) // and at most 128; counting here would take 100 KB

func invalid(format string, args ...any) error {
	return &InvalidError{Msg: fmt.Sprintf(format, args...)}
}

// badSQL makes the error for a statement or template that does not compile.
func badSQL(prefix string, err error) error {
	var e *iotsql.Error
	if errors.As(err, &e) {
		return &InvalidError{SQL: true, Msg: prefix + e.Detail()}
	}
	return &InvalidError{SQL: true, Msg: prefix + err.Error()}
}

// compile checks a rule and makes it ready; an error is an *InvalidError.
func compile(r Rule) (*compiled, error) {
	if len(r.Name) > 128 || !namePattern.MatchString(r.Name) {
		return nil, invalid("rule name %.140q: use 1 to 128 letters, digits and _", r.Name)
	}
	version, err := iotsql.ParseVersion(r.Payload.AWSIoTSQLVersion)
	if err != nil {
		return nil, invalid("awsIotSqlVersion: %v", err)
	}
	c := &compiled{rule: r, stats: &stats{}}
	if c.prog, c.rule.Filter, err = compileSQL(r.Payload.SQL, version); err != nil {
		return nil, err
	}
	if len(r.Payload.Actions) > maxActions {
		return nil, invalid("a rule has at most %d actions, this one has %d", maxActions, len(r.Payload.Actions))
	}
	for i, raw := range r.Payload.Actions {
		a, err := c.action(fmt.Sprintf("action %d", i+1), raw, version)
		if err != nil {
			return nil, err
		}
		if a != nil {
			c.actions = append(c.actions, a)
		}
	}
	if raw := bytes.TrimSpace(r.Payload.ErrorAction); len(raw) > 0 && string(raw) != "null" {
		c.errorAction, err = c.action("errorAction", raw, version)
	}
	return c, err
}

func compileSQL(sql string, version iotsql.Version) (*eval.Program, string, error) {
	st, err := iotsql.Parse(sql)
	if err != nil {
		return nil, "", badSQL("", err)
	}
	prog, err := eval.Compile(st, version)
	if err != nil {
		return nil, "", badSQL("", err)
	}
	if st.From == nil { // a rule for Basic Ingest only
		return prog, "", nil
	}
	filter := st.From.Text
	if err := checkFilter(filter); err != nil {
		return nil, "", badSQL("", iotsql.Errorf(sql, st.From.Pos, "%v", err))
	}
	return prog, filter, nil
}

func checkFilter(filter string) error {
	if strings.HasPrefix(filter, "$share/") {
		return errors.New("a rule cannot share a subscription: leave $share/… out")
	}
	err := mqtt.ValidFilter(filter)
	var e *mqtt.Error
	if errors.As(err, &e) {
		return errors.New(e.Reason)
	}
	return err
}

// kept are the kinds of actions of AWS that mote stores and does not execute.
var kept = []string{
	"cloudwatchAlarm", "cloudwatchLogs", "cloudwatchMetric", "elasticsearch", "firehose", "http", "iotAnalytics", "iotEvents",
	"iotSiteWise", "kafka", "kinesis", "lambda", "location", "openSearch", "s3", "salesforce", "sns", "sqs", "stepFunctions", "timestream",
}

// action compiles one action; nil without error means that it is only kept.
func (c *compiled) action(where string, raw json.RawMessage, version iotsql.Version) (action, error) {
	top, err := readObject(raw)
	if err != nil {
		return nil, invalid("%s: %v", where, err)
	}
	if len(top) != 1 {
		return nil, invalid("%s: want an object with one member, the kind of action, found %d", where, len(top))
	}
	for kind, body := range top {
		f := &fields{where: where + " (" + kind + ")", version: version}
		if f.members, err = readObject(body); err != nil {
			return nil, invalid("%s: %v", f.where, err)
		}
		switch {
		case kind == "dynamoDB":
			return f.finish(f.dynamoDB())
		case kind == "dynamoDBv2":
			return f.finish(f.dynamoDBv2())
		case kind == "republish":
			return f.finish(f.republish())
		case slices.Contains(kept, kind):
			c.notExecuted = append(c.notExecuted, kind)
			return nil, nil
		}
		return nil, invalid("%s: unknown kind of action %.60q", where, kind)
	}
	panic("unreachable: the object has one member")
}

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
	version iotsql.Version
	members map[string]json.RawMessage
	err     error
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
	return &fields{where: f.where + ": " + name, version: f.version, members: members}
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
	t, err := eval.CompileTemplate(s, f.version)
	if err != nil && f.err == nil {
		f.err = badSQL(f.where+": "+name+": ", err)
	}
	return t
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
