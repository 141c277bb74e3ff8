package outbox

import (
	"errors"
	"time"
)

// Class says what an error of a delivery means for the next attempt.
type Class byte

// The classes. An error that is no [Error] is Busy.
const (
	Busy        Class = iota // the destination answered that it cannot now: 429, 5xx, full disk
	Unreachable              // there is no answer; it holds for all that waits for the destination
	Uncertain                // it was sent, and no answer can be had: it may have been performed
	Permanent                // it will never work
)

// Error is an error of a delivery with its class.
type Error struct {
	Class Class
	Err   error
	After time.Duration // pause that the destination asks for; 0: none
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// Fail returns err with a class.
func Fail(c Class, err error) error { return &Error{Class: c, Err: err} }

func classOf(err error) (Class, time.Duration) {
	var e *Error
	if errors.As(err, &e) {
		return e.Class, e.After
	}
	return Busy, 0
}
