package sink

import (
	"fmt"
	"strings"

	"mote/internal/cloud/record"
)

// Lambda is the action lambda: the statement's result goes to a function
// without waiting for its result (AWS IoT developer guide, "Lambda").
type Lambda struct {
	Function string // name or ARN, with or without version
	Payload  []byte
}

// maxFunction is how long an ARN of a function may be (AWS Lambda API, Invoke),
// and some more.
const maxFunction = 256

// Check says why the function can never be called, or nil.
func (l *Lambda) Check() error {
	if l.Function == "" || len(l.Function) > maxFunction {
		return fmt.Errorf("lambda: the function %.40q has %d bytes: want a name or ARN of 1 to %d", l.Function, len(l.Function), maxFunction)
	}
	if name, _ := functionName(l.Function); name == "" {
		return fmt.Errorf("lambda: %.100q is not the name or ARN of a function", l.Function)
	}
	return nil
}

// functionName returns the name and, if there is one, the version or alias of
// a function given by name or ARN (arn:aws:lambda:REGION:ACCOUNT:function:NAME[:VERSION]).
func functionName(function string) (name, version string) {
	text := function
	if strings.HasPrefix(function, "arn:") {
		parts := strings.SplitN(function, ":", 7)
		if len(parts) < 7 || parts[2] != "lambda" || parts[5] != "function" {
			return "", ""
		}
		text = parts[6]
	}
	name, version, _ = strings.Cut(text, ":")
	outside := func(r rune) bool { return !strings.ContainsRune(functionLetters, r) }
	if strings.ContainsFunc(name+version, outside) {
		return "", ""
	}
	return name, version
}

const functionLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_$"

// Lane returns the function.
func (l *Lambda) Lane() string { return l.Function }

// Encode returns the request for outbox.Entry.Data.
func (l *Lambda) Encode() []byte {
	dst := make([]byte, 0, len(l.Function)+len(l.Payload)+4)
	return append(record.AppendText(append(dst, encodingVersion), l.Function), l.Payload...)
}

// DecodeLambda reads an encoded request and checks it. The payload is part of data.
func DecodeLambda(data []byte) (*Lambda, error) {
	f := newFields(data)
	l := &Lambda{Function: f.text(), Payload: f.rest()}
	if err := f.err(); err != nil {
		return nil, err
	}
	return l, l.Check()
}
