package jobs

import "fmt"

// Code says what kind of refusal an [Error] is. The first nine are those that
// devices see over MQTT (AWS IoT developer guide, "Jobs API", ErrorResponse).
type Code string

// The codes.
const (
	InvalidTopic           Code = "InvalidTopic"
	InvalidJSON            Code = "InvalidJson"
	InvalidRequest         Code = "InvalidRequest"
	InvalidStateTransition Code = "InvalidStateTransition"
	ResourceNotFound       Code = "ResourceNotFound"
	VersionMismatch        Code = "VersionMismatch"
	InternalError          Code = "InternalError"
	RequestThrottled       Code = "RequestThrottled"
	TerminalStateReached   Code = "TerminalStateReached"

	// Of the control plane alone.
	Exists        Code = "ResourceAlreadyExists"
	Conflict      Code = "Conflict"
	LimitExceeded Code = "LimitExceeded"
)

// Error refuses a request.
type Error struct {
	Code       Code
	Message    string
	State      *State // of the execution, with InvalidStateTransition and VersionMismatch
	ResourceID string // of Exists: the job's id
}

func (e *Error) Error() string { return e.Message }

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func noThing(name string) *Error {
	return refuse(ResourceNotFound, "Thing %.128s does not exist", name)
}

func noJob(id string) *Error { return refuse(ResourceNotFound, "Job %.64s does not exist", id) }

func noExecution(thing, job string) *Error {
	return refuse(ResourceNotFound, "There is no execution of job %.64s for thing %.128s", job, thing)
}
