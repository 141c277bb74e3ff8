// Package rules runs IoT topic rules over messages: it finds the rules whose
// topic filter matches, evaluates their SQL and performs their actions. Table
// writes go into the caller's batch, so that they reach the disk before the
// message is acknowledged. It also keeps the rules themselves.
package rules

import (
	"encoding/json"
	"errors"
	"time"
)

// Payload is a TopicRulePayload of the AWS IoT API, as clients send it.
type Payload struct {
	SQL              string            `json:"sql"`
	Description      string            `json:"description,omitempty"`
	Actions          []json.RawMessage `json:"actions"` // each an object with one member, the kind of action
	RuleDisabled     bool              `json:"ruleDisabled,omitempty"`
	AWSIoTSQLVersion string            `json:"awsIotSqlVersion,omitempty"` // "" means 2015-10-08
	ErrorAction      json.RawMessage   `json:"errorAction,omitempty"`
}

// Rule is a stored rule.
type Rule struct {
	Name      string
	Payload   Payload
	CreatedAt time.Time
	Filter    string // the FROM topic filter
}

// Errors of the rule operations; messages are for the client.
var (
	ErrNotFound = errors.New("no such rule")
	ErrExists   = errors.New("rule already exists")
)

// InvalidError says what is wrong with a rule.
type InvalidError struct {
	SQL bool // the statement does not parse: SqlParseException on the wire; else InvalidRequestException
	Msg string
}

func (e *InvalidError) Error() string { return e.Msg }
