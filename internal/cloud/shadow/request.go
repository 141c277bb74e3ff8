package shadow

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits (AWS IoT Core endpoints and quotas, "AWS IoT Device Shadow service").
const (
	maxState   = 8 << 10 // bytes of the state in a document, without spaces and metadata
	maxPayload = 32 << 10
	maxDepth   = 6  // levels of desired and of reported
	maxToken   = 64 // bytes
)

// request is what a client asks for.
type request struct {
	state   *node
	token   string // "" when there is none
	version int64  // the update's condition; -1 when there is none
}

// readRequest reads the members that all requests share. The token is set
// also beside an error when it could be read, so that the refusal carries it.
func readRequest(payload []byte) (r request, body *node, refused *Error) {
	r.version = -1
	switch {
	case len(payload) > maxPayload:
		return r, nil, errTooLarge
	case !utf8.Valid(payload):
		return r, nil, errEncoding
	}
	body, err := parse(payload)
	switch {
	case errors.Is(err, errDepth):
		return r, nil, errNesting
	case err != nil:
		return r, nil, errInvalidJSON
	}
	if token := body.member("clientToken"); token != nil && token.kind != null {
		if token.kind != text || len(token.text) > maxToken {
			return r, nil, errToken
		}
		r.token = token.text
	}
	return r, body, nil
}

// readToken reads the payload of a get or a delete: nothing, or an object that
// may have a clientToken.
func readToken(payload []byte) (request, *Error) {
	if strings.TrimSpace(string(payload[:min(len(payload), maxPayload)])) == "" && len(payload) <= maxPayload {
		return request{}, nil
	}
	r, _, refused := readRequest(payload)
	return r, refused
}

// readUpdate reads the payload of an update.
func readUpdate(payload []byte) (request, *Error) {
	r, body, refused := readRequest(payload)
	if refused != nil {
		return r, refused
	}
	if v := body.member("version"); v != nil && v.kind != null {
		n, err := strconv.ParseInt(v.text, 10, 64)
		if v.kind != number || err != nil || n < 0 {
			return r, errVersion
		}
		r.version = n
	}
	r.state = body.member("state")
	return r, checkState(r.state)
}

func checkState(state *node) *Error {
	switch {
	case state == nil:
		return errNoState
	case state.kind != object:
		return errState
	}
	for _, m := range state.members {
		var wrong *Error
		switch m.name {
		case "desired":
			wrong = errDesired
		case "reported":
			wrong = errReported
		default:
			return errNode
		}
		switch {
		case m.value.kind == null:
		case m.value.kind != object:
			return wrong
		case m.value.depth() > maxDepth:
			return errNesting
		case m.value.nullInArray(false):
			return errNode
		}
	}
	return nil
}
