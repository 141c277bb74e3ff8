package table

import "fmt"

// Error is a refusal with DynamoDB's code and text. Everything that a caller
// did wrong is an *Error; other errors are failures of the machine (among
// them store.ErrFull).
type Error struct {
	Code    string // exception name, for example "ValidationException"
	Message string // DynamoDB's text where it has one
	Item    Item   // ConditionalCheckFailedException: the item, when it was asked for

	Reasons []Reason // TransactionCanceledException: one for each action
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Codes of refusals (DynamoDB developer guide, "Error handling with DynamoDB").
const (
	CodeValidation     = "ValidationException"
	CodeNotFound       = "ResourceNotFoundException"
	CodeInUse          = "ResourceInUseException"
	CodeLimit          = "LimitExceededException"
	CodeConditionCheck = "ConditionalCheckFailedException"
	CodeCancelled      = "TransactionCanceledException"
	CodeMismatch       = "IdempotentParameterMismatchException"
	CodeDamaged        = "InternalServerError" // a record cannot be read
)

// damageAdvice says what to do about a record that cannot be read.
const damageAdvice = "mote verify tells what else is damaged"

// invalid returns a ValidationException.
func invalid(format string, args ...any) *Error {
	return &Error{Code: CodeValidation, Message: fmt.Sprintf(format, args...)}
}

// invalidParam returns a ValidationException with DynamoDB's usual opening.
func invalidParam(format string, args ...any) *Error {
	return invalid("One or more parameter values were invalid: "+format, args...)
}
