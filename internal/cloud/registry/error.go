package registry

import (
	"fmt"
	"strings"
)

// Code is the exception of the AWS IoT API that a failure is on the wire
// (AWS IoT API reference, errors of each action).
type Code string

// The codes of the registry's failures.
const (
	InvalidRequest   Code = "InvalidRequestException"
	NotFound         Code = "ResourceNotFoundException"
	Exists           Code = "ResourceAlreadyExistsException"
	MalformedPolicy  Code = "MalformedPolicyException"
	DeleteConflict   Code = "DeleteConflictException"
	CertificateState Code = "CertificateStateException"

	CertificateValidation      Code = "CertificateValidationException"
	CertificateConflict        Code = "CertificateConflictException"
	InvalidToken               Code = "InvalidCertificateOwnershipToken" // on MQTT alone
	RegistrationCodeValidation Code = "RegistrationCodeValidationException"

	VersionsLimit   Code = "VersionsLimitExceededException"
	VersionConflict Code = "VersionConflictException"
	LimitExceeded   Code = "LimitExceededException"
	Unavailable     Code = "ServiceUnavailableException" // the disk is full
)

// Error is a failure that the caller of an operation is told about.
type Error struct {
	Code        Code
	Msg         string
	ResourceID  string // of Exists
	ResourceARN string // of Exists
}

func (e *Error) Error() string { return e.Msg }

// exists is the refusal to make the resource again, for example "policy/a".
func (r *Registry) exists(resource, format string, args ...any) *Error {
	e := errorf(Exists, format, args...)
	_, e.ResourceID, _ = strings.Cut(resource, "/")
	e.ResourceARN = r.ARN(resource)
	return e
}

func errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}
