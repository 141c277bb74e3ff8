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
	actions     []action // those that are executed
	steps       []step   // all
	errorAction action   // nil: none, or one that is not executed
	errorStep   *step    // nil: none
	notExecuted []string // kinds of actions that are only kept
	notOffered  []string // functions that need a service that mote does not have
	outgoing    int      // actions that go through the outbox
	stats       *stats
	order       int  // of its name among all rules
	broken      bool // stored, but does not compile
}

// step is an action of a rule with its kind; action is nil when it is only kept.
type step struct {
	kind   string
	action action
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
	ctx := &ruleContext{prog: c.prog, notOffered: slices.Clone(c.prog.NotOffered())}
	for i, raw := range r.Payload.Actions {
		s, err := c.step(fmt.Sprintf("action %d", i+1), raw, ctx)
		if err != nil {
			return nil, err
		}
		c.add(s)
	}
	if raw := bytes.TrimSpace(r.Payload.ErrorAction); len(raw) > 0 && string(raw) != "null" {
		ctx.forError = true
		s, err := c.step("errorAction", raw, ctx)
		if err != nil {
			return nil, err
		}
		c.errorStep, c.errorAction = &s, s.action
	}
	c.notOffered = ctx.notOffered
	return c, nil
}

// add adds one of the actions.
func (c *compiled) add(s step) {
	c.steps = append(c.steps, s)
	if s.action == nil {
		return
	}
	c.actions = append(c.actions, s.action)
	if _, ok := s.action.(sender); ok {
		c.outgoing++
	}
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

// performed are the kinds of actions that mote performs.
var performed = map[string]func(*fields) action{
	"dynamoDB": (*fields).dynamoDB, "dynamoDBv2": (*fields).dynamoDBv2, "republish": (*fields).republish,
	"http": (*fields).http, "s3": (*fields).s3, "lambda": (*fields).lambda, "kafka": (*fields).kafka,
}

// kept are the kinds of actions of AWS that mote stores and does not execute.
var kept = []string{
	"cloudwatchAlarm", "cloudwatchLogs", "cloudwatchMetric", "elasticsearch", "firehose", "influxDB", "iotAnalytics", "iotEvents",
	"iotSiteWise", "kinesis", "location", "openSearch", "salesforce", "sns", "sqs", "stepFunctions", "timestream",
}

// step compiles one action.
func (c *compiled) step(where string, raw json.RawMessage, ctx *ruleContext) (step, error) {
	kind, body, err := kindOf(raw)
	if err != nil {
		return step{}, invalid("%s: %v", where, err)
	}
	f := &fields{where: where + " (" + kind + ")", rule: ctx}
	if f.members, err = readObject(body); err != nil {
		return step{}, invalid("%s: %v", f.where, err)
	}
	if compileKind := performed[kind]; compileKind != nil {
		a, err := f.finish(compileKind(f))
		return step{kind, a}, err
	}
	if !slices.Contains(kept, kind) {
		return step{}, invalid("%s: unknown kind of action %.60q", where, kind)
	}
	c.notExecuted = append(c.notExecuted, kind)
	return step{kind, nil}, nil
}

// kindOf reads an action: an object whose one member is named after its kind.
func kindOf(raw json.RawMessage) (kind string, body json.RawMessage, err error) {
	top, err := readObject(raw)
	if err != nil {
		return "", nil, err
	}
	if len(top) != 1 {
		return "", nil, fmt.Errorf("want an object with one member, the kind of action, found %d", len(top))
	}
	for kind, body = range top {
		continue
	}
	return kind, body, nil
}
