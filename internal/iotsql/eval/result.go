package eval

import (
	"errors"
	"fmt"
)

// MaxOutput is how large a result may be, in bytes: twice what a message may
// hold.
const MaxOutput = 256 << 10

// Result is what a statement made of a message.
type Result struct {
	value  Value
	raw    []byte
	binary bool // raw is the result: a payload that is not JSON, as it was
	reduce bool
	err    error
}

// errWork is the Err of a result that took more than the budget.
var errWork = errors.New("the statement takes too much work for this message; it works on too large a part of the payload too often")

// Err says why there is no result: the statement took too much work.
func (r Result) Err() error { return r.err }

// Binary returns the bytes of a result that is a payload that is not JSON.
func (r Result) Binary() ([]byte, bool) { return r.raw, r.binary }

// Value returns the result when it is not Binary.
func (r Result) Value() Value { return r.value }

// AppendPayload appends the result as the payload of a message: JSON, the
// bytes of a Binary, or nothing for Undefined.
func (r Result) AppendPayload(dst []byte) ([]byte, error) {
	switch {
	case r.err != nil:
		return dst, r.err
	case r.binary:
		return append(dst, r.raw...), nil
	case r.value.kind == Undefined:
		return dst, nil
	}
	out := r.value.appendJSON(dst, r.reduce, len(dst)+MaxOutput)
	if len(out) > len(dst)+MaxOutput {
		return dst, fmt.Errorf("the result of the statement has more than %d bytes", MaxOutput)
	}
	return out, nil
}

// ValueResult makes a Result of a JSON text, for example the payload of an
// error action.
func ValueResult(json string) (Result, error) {
	v, err := readJSON(json)
	return Result{value: v}, err
}
