package websocket

import (
	"encoding/binary"
	"fmt"
)

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// The status codes of a Close frame that are sent here (RFC 6455, section
// 7.4.1).
const (
	statusNormal        = 1000
	statusProtocolError = 1002
	statusUnsupported   = 1003
)

// maxControl is the most payload of a control frame, bytes (section 5.5).
const maxControl = 125

// header is the beginning of a frame.
type header struct {
	final  bool
	opcode byte
	masked bool
	mask   [4]byte
	length uint64 // of the payload, bytes; below 1<<63
}

func (h *header) control() bool { return h.opcode >= opClose }

// protocolError is what the client did against RFC 6455, with the status of
// the Close frame that tells it.
type protocolError struct {
	status uint16
	reason string
}

func (e *protocolError) Error() string { return "websocket: " + e.reason }

// Violation says that the client broke the rules of the protocol.
func (e *protocolError) Violation() bool { return true }

func violation(format string, args ...any) error {
	return &protocolError{statusProtocolError, fmt.Sprintf(format, args...)}
}

// parseHeader reads the header at the beginning of b. n is its size, 0 when b
// does not hold all of it yet.
func parseHeader(b []byte) (h header, n int, err error) {
	if len(b) < 2 {
		return h, 0, nil
	}
	h.final, h.opcode, h.masked = b[0]&0x80 != 0, b[0]&0x0F, b[1]&0x80 != 0
	if b[0]&0x70 != 0 {
		return h, 0, violation("a frame has reserved bits set, but no extension was agreed")
	}
	n = 2
	switch short := b[1] & 0x7F; short {
	case 126:
		n += 2
	case 127:
		n += 8
	default:
		h.length = uint64(short)
	}
	if h.control() && (n > 2 || !h.final) {
		return h, 0, violation("a control frame is fragmented or longer than %d bytes", maxControl)
	}
	if h.masked {
		n += 4
	}
	if len(b) < n {
		return h, 0, nil
	}
	return h, n, h.readRest(b)
}

// readRest reads the long form of the length, and the mask.
func (h *header) readRest(b []byte) error {
	rest := b[2:]
	switch b[1] & 0x7F {
	case 126:
		h.length, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]
	case 127:
		h.length, rest = binary.BigEndian.Uint64(rest), rest[8:]
	}
	if h.length > 1<<63-1 {
		return violation("a frame has a length of 64 bits")
	}
	if h.masked {
		copy(h.mask[:], rest)
	}
	return nil
}

// appendHeader appends the header of a final, unmasked frame.
func appendHeader(buf []byte, opcode byte, length int) []byte {
	buf = append(buf, 0x80|opcode)
	switch {
	case length < 126:
		return append(buf, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(buf, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(buf, 127), uint64(length))
}

// unmask applies the mask to p, whose first byte is at position at of the
// payload (section 5.3).
func unmask(p []byte, mask [4]byte, at uint64) {
	var wide [8]byte
	for i := range wide {
		wide[i] = mask[(at+uint64(i))&3]
	}
	key := binary.NativeEndian.Uint64(wide[:])
	for len(p) >= 8 {
		binary.NativeEndian.PutUint64(p, binary.NativeEndian.Uint64(p)^key)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= wide[i]
	}
}
