package rest

import "fmt"

// Error refuses a change or a question of the control plane.
type Error struct {
	Code    string // exception name of API Gateway
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Codes of refusals (API Gateway REST API reference).
const (
	CodeBadRequest = "BadRequestException"
	CodeNotFound   = "NotFoundException"
	CodeConflict   = "ConflictException"
	CodeLimit      = "LimitExceededException"
)

func badRequest(format string, args ...any) *Error {
	return &Error{CodeBadRequest, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) *Error {
	return &Error{CodeNotFound, fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) *Error {
	return &Error{CodeConflict, fmt.Sprintf(format, args...)}
}

func limitExceeded(format string, args ...any) *Error {
	return &Error{CodeLimit, fmt.Sprintf(format, args...)}
}
