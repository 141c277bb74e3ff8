package awsapi

import (
	"bytes"
	"io"
	"net/http"
)

// memoryBody is a request body that was read whole.
type memoryBody struct {
	*bytes.Reader
	data []byte
}

func (memoryBody) Close() error { return nil }

// SetBody puts data in place of the body of r; the front does it, and tests.
func SetBody(r *http.Request, data []byte) {
	r.Body = memoryBody{bytes.NewReader(data), data}
	r.ContentLength = int64(len(data))
}

// Body returns the whole body of r without copying it when the front has read
// it already. The bytes are not to be changed.
func Body(r *http.Request) ([]byte, error) {
	if m, ok := r.Body.(memoryBody); ok {
		return m.data, nil
	}
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(r.Body)
}
