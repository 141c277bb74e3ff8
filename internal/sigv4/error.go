package sigv4

// Codes of the refusals, as AWS names them.
const (
	CodeMissingToken = "MissingAuthenticationTokenException"
	CodeIncomplete   = "IncompleteSignatureException"
	CodeInvalid      = "InvalidSignatureException"
	CodeUnknownKey   = "UnrecognizedClientException"
	CodeExpired      = "ExpiredTokenException"
	CodeDenied       = "AccessDeniedException"
)

// The texts of two of them.
const (
	UnknownKeyMessage = "The security token included in the request is invalid."
	ExpiredMessage    = "The security token included in the request is expired"
)

// Error refuses a request for its signature. It goes to the client in the
// error form of the service that was called.
type Error struct {
	Code    string // one of the Code constants
	Message string // the text that AWS sends with it
	// Status is the HTTP status when it is not the service's usual one for a
	// refused signature (403; DynamoDB: 400), else 0.
	Status int
	// Diagnosis says for the log what is wrong and what to do about it, more
	// exactly than the wire may. It holds no secret and ends without full stop.
	Diagnosis string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// StatusOr returns e.Status, or usual when that is 0.
func (e *Error) StatusOr(usual int) int {
	if e.Status != 0 {
		return e.Status
	}
	return usual
}
