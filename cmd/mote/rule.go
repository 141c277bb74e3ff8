//go:build !gateway

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"mote/internal/cloud/message"
	"mote/internal/cloud/rules"
	"mote/internal/config"
	"mote/internal/iotsql"
	"mote/internal/mqtt"
)

type ruleCmd struct {
	Test    ruleTestCmd    `cmd:"" help:"Show what a rule makes of a message, and what its actions would do. Nothing is written."`
	Explain ruleExplainCmd `cmd:"" help:"Print the tree of a statement: how it was understood."`
}

// defaultSQLVersion is what mote.toml and the AWS console use. The AWS API
// takes the older one where none is named.
const defaultSQLVersion = "2016-03-23"

// ruleFlags say which rule is meant.
type ruleFlags struct {
	SQL     string `name:"sql" help:"The statement." placeholder:"TEXT"`
	File    string `help:"A rule as for aws iot create-topic-rule --topic-rule-payload: JSON with sql and actions." type:"path" placeholder:"FILE" short:"f"`
	Config  string `help:"Configuration file with the rule." type:"path" placeholder:"FILE" short:"c"`
	Rule    string `help:"Name of the rule in --config." placeholder:"NAME"`
	Version string `name:"version" help:"SQL version, 2016-03-23 or 2015-10-08; default: what the rule says, else 2016-03-23." placeholder:"DATE" enum:",2016-03-23,2015-10-08,beta" default:""`
}

// payload returns the rule.
func (f ruleFlags) payload() (p rules.Payload, err error) {
	given := 0
	for _, s := range []string{f.SQL, f.File, f.Config} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return p, usagef("say which rule: one of --sql, --file, and --config with --rule")
	case f.SQL != "":
		p.SQL = f.SQL
	case f.File != "":
		p, err = payloadFile(f.File)
	default:
		p, err = f.configured()
	}
	if f.Version != "" {
		p.AWSIoTSQLVersion = f.Version
	}
	if p.AWSIoTSQLVersion == "" && f.File == "" {
		p.AWSIoTSQLVersion = defaultSQLVersion
	}
	return p, err
}

// payloadFile reads a TopicRulePayload, also one that create-topic-rule's
// --cli-input-json has with the rule's name around it.
func payloadFile(path string) (rules.Payload, error) {
	data, err := readInput(path, nil, maxPayload)
	if err != nil {
		return rules.Payload{}, err
	}
	var file struct {
		rules.Payload
		Inner *rules.Payload `json:"topicRulePayload"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return rules.Payload{}, usagef("%s: not the JSON of a rule: %w", path, err)
	}
	if file.Inner != nil {
		return *file.Inner, nil
	}
	if file.SQL == "" {
		return rules.Payload{}, usagef("%s: has no sql: want the JSON of a rule, with sql and actions", path)
	}
	return file.Payload, nil
}

// configured returns the rule of a mote.toml.
func (f ruleFlags) configured() (rules.Payload, error) {
	file, err := config.Load(f.Config)
	if err != nil {
		return rules.Payload{}, usageError{err}
	}
	var names []string
	for _, r := range file.Rules {
		if r.Name == f.Rule || f.Rule == "" && len(file.Rules) == 1 {
			return payloadOf(r)
		}
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return rules.Payload{}, usagef("%s has no [[rule]]", f.Config)
	}
	return rules.Payload{}, usagef("--rule %q: %s has %s", f.Rule, f.Config, strings.Join(names, ", "))
}

// payloadOf writes out the short forms of a rule in mote.toml.
func payloadOf(r config.Rule) (rules.Payload, error) {
	p := rules.Payload{SQL: r.SQL, AWSIoTSQLVersion: r.SQLVersion, Description: r.Description, ErrorAction: json.RawMessage(r.ErrorAction)}
	add := func(kind string, body any) error {
		data, err := json.Marshal(map[string]any{kind: body})
		p.Actions = append(p.Actions, data)
		return err
	}
	switch {
	case r.Table != "":
		return p, add("dynamoDBv2", map[string]any{"putItem": map[string]string{"tableName": r.Table}})
	case r.Republish != "":
		return p, add("republish", map[string]any{"topic": r.Republish, "qos": 1})
	}
	return p, json.Unmarshal([]byte(r.Actions), &p.Actions)
}

type ruleExplainCmd struct {
	ruleFlags
}

// Run prints the tree.
func (c ruleExplainCmd) Run(s *session) error {
	p, err := c.payload()
	if err != nil {
		return err
	}
	tree, err := rules.Explain(p.SQL, p.AWSIoTSQLVersion)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.stdout, tree)
	return err
}

type ruleTestCmd struct {
	ruleFlags
	Topic     string `help:"Topic of the message; default: the statement's own when it has no wildcard." placeholder:"TOPIC"`
	Payload   string `help:"The message: text, @FILE, or - for standard input." placeholder:"TEXT" default:"{}"`
	ClientID  string `name:"client-id" help:"What clientid() returns." default:"test"`
	Principal string `help:"What principal() returns." default:"test"`
	SourceIP  string `name:"source-ip" help:"What sourceip() returns." default:"127.0.0.1"`
	Account   string `help:"What accountid() returns." default:"000000000001"`
	Time      string `help:"When the message comes, RFC 3339 (default now)." placeholder:"TIME"`

	ContentType   string            `name:"content-type" help:"MQTT 5 content type." placeholder:"TEXT"`
	ResponseTopic string            `name:"response-topic" help:"MQTT 5 response topic." placeholder:"TOPIC"`
	Correlation   string            `help:"MQTT 5 correlation data." placeholder:"TEXT"`
	Property      map[string]string `help:"MQTT 5 user property." placeholder:"NAME=VALUE"`

	Output string `help:"text, or json: one object." enum:"text,json" default:"text" short:"o"`
}

// Run evaluates the rule and prints what it finds. A rule that does not fire
// is no failure.
func (c ruleTestCmd) Run(s *session) error {
	p, err := c.payload()
	if err != nil {
		return err
	}
	if _, err := rules.Explain(p.SQL, p.AWSIoTSQLVersion); err != nil { // before what the topic lacks
		return err
	}
	m, err := c.message(s, p)
	if err != nil {
		return err
	}
	trial, err := rules.Try(p, m, nil, rules.Options{Account: c.Account})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		enc := json.NewEncoder(s.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(trial)
	}
	return describeTrial(s.stdout, trial, m)
}

func (c ruleTestCmd) message(s *session, p rules.Payload) (*message.Message, error) {
	payload, err := readInput(c.Payload, s.stdin, maxPayload)
	if err != nil {
		return nil, err
	}
	m := &message.Message{
		Topic: c.Topic, Payload: payload, ClientID: c.ClientID, Principal: c.Principal, SourceIP: c.SourceIP, Time: time.Now().UTC(),
		ContentType: c.ContentType, ResponseTopic: c.ResponseTopic, CorrelationData: []byte(c.Correlation),
	}
	if c.Time != "" {
		if m.Time, err = time.Parse(time.RFC3339Nano, c.Time); err != nil {
			return nil, usagef("--time %q: want a time such as 2026-11-22T10:00:00Z", c.Time)
		}
	}
	for name, value := range c.Property {
		m.UserProperties = append(m.UserProperties, message.UserProperty{Name: name, Value: value})
	}
	if m.Topic == "" {
		if m.Topic, err = ownTopic(p.SQL); err != nil {
			return nil, err
		}
	}
	if err := mqtt.ValidTopic(m.Topic); err != nil {
		return nil, usagef("--topic %q: %w", m.Topic, err)
	}
	return m, nil
}

// ownTopic is the topic of a statement whose FROM has no wildcard.
func ownTopic(sql string) (string, error) {
	st, err := iotsql.Parse(sql)
	switch {
	case err != nil:
		return "", err
	case st.From == nil:
		return "", usagef("--topic is needed: the statement has no FROM")
	case strings.ContainsAny(st.From.Text, "+#"):
		return "", usagef("--topic is needed: FROM has wildcards, %s", st.From.Text)
	}
	return st.From.Text, nil
}

// readInput returns a text, the file behind an @, or standard input for "-"; a
// path is taken as such when there is no standard input. It is at most max
// bytes.
func readInput(text string, stdin io.Reader, max int64) ([]byte, error) {
	in := stdin
	switch path, isFile := strings.CutPrefix(text, "@"); {
	case stdin == nil || isFile:
		f, err := os.Open(path)
		if err != nil {
			return nil, usageError{err}
		}
		defer f.Close()
		in = f
	case text != "-":
		return []byte(text), nil
	}
	data, err := io.ReadAll(io.LimitReader(in, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("more than %d bytes", max)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", text, err)
	}
	return data, nil
}

// describeTrial writes for people what a rule makes of a message.
func describeTrial(w io.Writer, t *rules.Trial, m *message.Message) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", label, fmt.Sprintf(format, args...))
	}
	switch {
	case !t.Matched:
		line("fires", "no: FROM does not match the topic %s", m.Topic)
	case !t.Fired:
		line("fires", "no: WHERE is %s", t.Where)
	case t.Where == "":
		line("fires", "yes: there is no WHERE")
	default:
		line("fires", "yes: WHERE is %s", t.Where)
	}
	switch {
	case !t.Fired:
	case t.Error != "":
		line("result", "none: %s", t.Error)
	case t.ResultBase64 != nil:
		line("result", "binary, in base64: %s", *t.ResultBase64)
	case t.Result == nil:
		line("result", "empty: the value is undefined")
	default:
		line("result", "%s", t.Result)
	}
	for i := range t.Actions {
		if err := describeEffect(line, "action", &t.Actions[i]); err != nil {
			return err
		}
	}
	if t.ErrorAction != nil {
		if err := describeEffect(line, "on error", t.ErrorAction); err != nil {
			return err
		}
	}
	if len(m.Payload) > 0 && !json.Valid(m.Payload) {
		line("note", "the payload is not JSON: * is its bytes, and it has no members")
	}
	for _, name := range t.NotOffered {
		line("note", "%s needs a service that mote does not have: it is undefined here", name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func describeEffect(line func(label, format string, args ...any), label string, e *rules.Effect) error {
	text := e.Kind + " " + e.Does
	if e.Target != "" {
		text += ": " + e.Target
	}
	if e.Error != "" {
		text += ": " + e.Error
	}
	line(label, "%s", text)
	details := *e // what the line has said is left out
	details.Kind, details.Does, details.Target, details.Error = "", "", "", ""
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(details); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data.Bytes(), &members); err != nil {
		return err
	}
	for _, name := range []string{"item", "key", "attribute", "value", "publish", "request", "object"} {
		if v, ok := members[name]; ok {
			line("", "%s %s", name, v)
		}
	}
	return nil
}
