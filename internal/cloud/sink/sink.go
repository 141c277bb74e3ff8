// Package sink performs the slow actions of rules: HTTP requests, functions,
// and objects as files. Each kind has a typed request, which encodes itself for
// outbox.Entry.Data and names its lane, and a deliverer, which the outbox calls.
//
// A request's Check finds what can never work, before it is added to the
// outbox; deliverers check again what they read back. Which destinations are
// allowed is decided by whoever builds a deliverer.
package sink

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
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

func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// fields takes an encoding apart; once it is bad it stays bad and gives zeros.
// What it returns is part of the encoding's memory.
type fields struct {
	b   []byte
	bad bool
}

// newFields begins to read an encoding after its version byte.
func newFields(data []byte) *fields {
	f := &fields{b: data}
	if f.byte() != encodingVersion {
		f.fail()
	}
	return f
}

func (f *fields) fail() { f.b, f.bad = nil, true }

func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.fail()
		return nil
	}
	out := f.b[:n:n]
	f.b = f.b[n:]
	return out
}

func (f *fields) byte() byte {
	if b := f.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) bytes() []byte { return f.take(f.uvarint()) }

// text reads a text, which is UTF-8 in every encoding.
func (f *fields) text() string {
	b := f.bytes()
	if !utf8.Valid(b) {
		f.fail()
		return ""
	}
	return string(b)
}

// rest returns all that is left.
func (f *fields) rest() []byte {
	out := f.b
	f.b = nil
	return out
}

// err says whether everything could be read and nothing is left.
func (f *fields) err() error {
	if f.bad || len(f.b) > 0 {
		return errEncoding
	}
	return nil
}
