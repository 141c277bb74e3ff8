// Package sink performs the slow actions of rules: HTTP requests, functions,
// and objects as files. Each kind has a typed request, which encodes itself for
// outbox.Entry.Data and names its lane, and a deliverer, which the outbox calls.
//
// A request's Check finds what can never work, before it is added to the
// outbox; deliverers check again what they read back. Which destinations are
// allowed is decided by whoever builds a deliverer.
package sink

import (
	"errors"
	"unicode/utf8"

	"mote/internal/cloud/record"
)

// Kinds of outbox entries.
const (
	KindHTTP   = "http"
	KindLambda = "lambda"
	KindS3     = "s3"
)

// The encodings are described in FORMAT.md. Each begins with a version byte.
const encodingVersion = 1

var errEncoding = errors.New("the stored request is damaged, or of a newer mote")

// fields takes an encoding apart. What it returns is part of the encoding's
// memory.
type fields struct{ record.Reader }

// newFields begins to read an encoding after its version byte.
func newFields(data []byte) *fields {
	f := &fields{record.Read(data)}
	if f.Byte() != encodingVersion {
		f.Fail()
	}
	return f
}

// text reads a text, which is UTF-8 in every encoding.
func (f *fields) text() string {
	b := f.Bytes()
	if !utf8.Valid(b) {
		f.Fail()
		return ""
	}
	return string(b)
}

// rest returns all that is left.
func (f *fields) rest() []byte { return f.Take(uint64(len(f.Left()))) }

// err says whether everything could be read and nothing is left.
func (f *fields) err() error {
	if f.Bad() || len(f.Left()) > 0 {
		return errEncoding
	}
	return nil
}
