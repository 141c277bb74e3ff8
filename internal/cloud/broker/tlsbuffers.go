package broker

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// A tls.Conn keeps the largest buffers that it ever needed for as long as it
// lives: 3.5 KB after a handshake, 17 KB and more after one large message. It
// has no way to say that they may go, so that they are found here by name and
// type; a crypto/tls that has no such fields keeps its buffers.
var tlsBuffers = buffersOf(reflect.TypeFor[tls.Conn](), "rawInput", "hand")

// buffersOf returns the offsets of the fields of t with these names that are a
// bytes.Buffer.
func buffersOf(t reflect.Type, names ...string) (offsets []uintptr) {
	for _, name := range names {
		if f, ok := t.FieldByName(name); ok && f.Type == reflect.TypeFor[bytes.Buffer]() {
			offsets = append(offsets, f.Offset)
		}
	}
	return offsets
}

// releaseBuffers gives up the empty read buffers of c. It is called by the
// goroutine that reads, when all that was read has been taken out of c: nobody
// else looks at these fields, which crypto/tls guards by the lock of reading.
func releaseBuffers(c *tls.Conn) {
	for _, at := range tlsBuffers {
		if b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), at)); b.Len() == 0 {
			*b = bytes.Buffer{}
		}
	}
}
