package awsapi

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Error is a failure with its wire form: what a client sees of it. Every
// engine error is mapped to one, once per wire.
type Error struct {
	Code    string         // exception name, for example "ResourceNotFoundException"
	Status  int            // HTTP status
	Message string         // for the person
	Extra   map[string]any // further members of the body
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf returns an Error with a formatted message.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Code: code, Status: status, Message: fmt.Sprintf(format, args...)}
}

// NewRequestID returns a random UUID for x-amzn-RequestId.
func NewRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562: version 4, variant 10
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// WriteJSON answers a REST-JSON call (Smithy, "AWS restJson1 protocol") with
// status 200; a nil body becomes "{}".
func WriteJSON(w http.ResponseWriter, body any) { WriteJSONStatus(w, http.StatusOK, body) }

// WriteJSONStatus is WriteJSON with another status.
func WriteJSONStatus(w http.ResponseWriter, status int, body any) {
	if body == nil {
		body = struct{}{}
	}
	writeJSON(w, status, body)
}

// WriteError answers a REST-JSON call with err: an *Error as it is, anything
// else as InternalFailureException without its text. It returns false for the
// latter, so that the caller logs it.
func WriteError(w http.ResponseWriter, err error) bool {
	var e *Error
	known := errors.As(err, &e)
	if !known {
		e = &Error{Code: "InternalFailureException", Status: http.StatusInternalServerError, Message: "internal failure, see the server's log"}
	}
	body := map[string]any{"message": e.Message}
	for k, v := range e.Extra {
		body[k] = v
	}
	w.Header().Set("x-amzn-ErrorType", e.Code)
	writeJSON(w, e.Status, body)
	return known
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"message":"internal failure"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if w.Header().Get("x-amzn-RequestId") == "" {
		w.Header().Set("x-amzn-RequestId", NewRequestID())
	}
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
