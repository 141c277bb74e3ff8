package shadow

import (
	"net/http"
)

// Error refuses a request. Its texts are those of AWS, word for word (AWS IoT
// developer guide, "Device Shadow error messages").
type Error struct {
	Code    int // as the status of HTTP
	Message string
}

func (e *Error) Error() string { return e.Message }

// The refusals. The one of a missing shadow is made by [Name.missing].
var (
	errInvalidJSON = &Error{http.StatusBadRequest, "Invalid JSON"}
	errNoState     = &Error{http.StatusBadRequest, "Missing required node: state"}
	errState       = &Error{http.StatusBadRequest, "State node must be an object"}
	errDesired     = &Error{http.StatusBadRequest, "Desired node must be an object"}
	errReported    = &Error{http.StatusBadRequest, "Reported node must be an object"}
	errVersion     = &Error{http.StatusBadRequest, "Invalid version"}
	errToken       = &Error{http.StatusBadRequest, "Invalid clientToken"}
	errNesting     = &Error{http.StatusBadRequest, "JSON contains too many levels of nesting; maximum is 6"}
	errNode        = &Error{http.StatusBadRequest, "State contains an invalid node"}
	errNoThing     = &Error{http.StatusNotFound, "Thing not found"}
	errConflict    = &Error{http.StatusConflict, "Version conflict"}
	errTooLarge    = &Error{http.StatusRequestEntityTooLarge, "The payload exceeds the maximum size allowed"}
	errEncoding    = &Error{http.StatusUnsupportedMediaType, "Unsupported documented encoding; supported encoding is UTF-8"}
	errTooMany     = &Error{http.StatusTooManyRequests, "Too many requests"}
	errInternal    = &Error{http.StatusInternalServerError, "Internal service failure"}
	errShadowName  = &Error{http.StatusBadRequest, "the shadow name is not valid: it must have 1 to 64 characters of a-z, A-Z, 0-9, dollar, colon, underscore and hyphen"}
)
