package jobs

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// op is what a device asks for.
type op int

const (
	opNone     op = iota
	opGet         // what it has to do
	opStart       // begin the next execution
	opDescribe    // one execution
	opUpdate      // report on one
)

// nextJob stands for the next job in the place of a job's id.
const nextJob = "$next"

// Bounds of requests (AWS IoT Device Management quotas).
const (
	maxPayload      = 32 << 10
	maxToken        = 1024
	maxDetails      = 10
	maxDetailKey    = 128
	maxDetailValue  = 1024
	cancelStepTimer = -1
)

// request is what a device sends.
type request struct {
	token string // clientToken; also set beside a refusal
	has   bool   // there is a token

	Status          Status
	StatusDetails   map[string]string // nil: leave them
	StepTimeout     int64             // minutes; 0: leave it, -1: none
	ExpectedVersion int64             // 0: any
	ExecutionNumber int64             // 0: the latest
	IncludeState    bool
	includeDocument *bool
}

// document says whether the job document is wanted.
func (q request) document(otherwise bool) bool {
	if q.includeDocument == nil {
		return otherwise
	}
	return *q.includeDocument
}

var errJSON = refuse(InvalidJSON, "The payload is not a JSON object in UTF-8")

// readRequest reads the payload of a request; nothing is an empty object.
func readRequest(payload []byte, o op) (q request, refused *Error) {
	if len(payload) > maxPayload {
		return q, wrong("the payload has %d bytes: it must have at most %d", len(payload), maxPayload)
	}
	var members map[string]json.RawMessage
	if strings.TrimSpace(string(payload)) == "" {
		members = map[string]json.RawMessage{}
	} else if !utf8.Valid(payload) || json.Unmarshal(payload, &members) != nil || members == nil {
		return q, errJSON
	}
	for name, value := range members {
		if string(value) == "null" {
			delete(members, name)
		}
	}
	if refused := q.readToken(members["clientToken"]); refused != nil {
		return q, refused
	}
	switch o {
	case opStart:
		refused = q.readReport(members)
	case opDescribe:
		refused = q.readChoice(members)
	case opUpdate:
		if refused = q.readReport(members); refused == nil {
			refused = q.readChoice(members)
		}
		if refused == nil {
			refused = q.readUpdate(members)
		}
	}
	return q, refused
}

func (q *request) readToken(value json.RawMessage) *Error {
	if value == nil {
		return nil
	}
	var token string
	if json.Unmarshal(value, &token) != nil || len(token) > maxToken {
		return wrong("clientToken must be a string of at most %d bytes", maxToken)
	}
	q.token, q.has = token, true
	return nil
}

// readReport reads what says how far the device is.
func (q *request) readReport(members map[string]json.RawMessage) *Error {
	if value := members["statusDetails"]; value != nil {
		q.StatusDetails = map[string]string{}
		if json.Unmarshal(value, &q.StatusDetails) != nil {
			return wrong("statusDetails must be an object whose values are strings")
		}
		if refused := checkDetails(q.StatusDetails); refused != nil {
			return refused
		}
	}
	if value := members["stepTimeoutInMinutes"]; value != nil {
		n, ok := integer(value)
		if !ok || n != cancelStepTimer && (n < 1 || n > maxMinutes) {
			return wrong("stepTimeoutInMinutes must be a number from 1 to %d, or -1 to end the timer", maxMinutes)
		}
		q.StepTimeout = n
	}
	return nil
}

// readChoice reads what says which execution is meant, and what of it is wanted.
func (q *request) readChoice(members map[string]json.RawMessage) *Error {
	if value := members["executionNumber"]; value != nil {
		n, ok := integer(value)
		if !ok || n < 1 {
			return wrong("executionNumber must be a number from 1")
		}
		q.ExecutionNumber = n
	}
	if value := members["includeJobDocument"]; value != nil && json.Unmarshal(value, &q.includeDocument) != nil {
		return wrong("includeJobDocument must be true or false")
	}
	return nil
}

// reportable are the statuses that a device may report.
var reportable = []Status{InProgress, Failed, Succeeded, Rejected}

func (q *request) readUpdate(members map[string]json.RawMessage) *Error {
	if string(members["status"]) == `"QUEUED"` { // a status, but none to go back to
		return refuse(InvalidStateTransition, "An execution cannot become QUEUED again")
	}
	if value := members["status"]; value == nil || json.Unmarshal(value, &q.Status) != nil || !slices.Contains(reportable, q.Status) {
		return wrong("status must be IN_PROGRESS, FAILED, SUCCEEDED or REJECTED")
	}
	if value := members["includeJobExecutionState"]; value != nil && json.Unmarshal(value, &q.IncludeState) != nil {
		return wrong("includeJobExecutionState must be true or false")
	}
	if value := members["expectedVersion"]; value != nil {
		n, ok := integer(value)
		if !ok || n < 0 {
			return wrong("expectedVersion must be a number from 1")
		}
		q.ExpectedVersion = n
	}
	return nil
}

// integer reads a whole number, which old clients send as a string.
func integer(value json.RawMessage) (int64, bool) {
	text := string(value)
	if strings.HasPrefix(text, `"`) && json.Unmarshal(value, &text) != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

var detailForm = regexp.MustCompile(`^[a-zA-Z0-9:_-]+$`)

// checkDetails refuses status details that are too many, or no names and texts.
func checkDetails(details map[string]string) *Error {
	if len(details) > maxDetails {
		return wrong("statusDetails has %d entries: it must have at most %d", len(details), maxDetails)
	}
	for name, value := range details {
		if len(name) > maxDetailKey || !detailForm.MatchString(name) {
			return wrong("the name %.140q in statusDetails is not valid: it must have 1 to %d characters of a-z, A-Z, 0-9, colon, underscore and hyphen", name, maxDetailKey)
		}
		if value == "" || len(value) > maxDetailValue || !plainForm.MatchString(value) {
			return wrong("the value of %q in statusDetails is not valid: it must have 1 to %d bytes and no control characters", name, maxDetailValue)
		}
	}
	return nil
}
