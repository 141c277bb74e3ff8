// Package dbus is a small D-Bus client: enough to call methods of a service on
// a bus, and to answer the calls that it makes back. Wire format and names are
// those of the D-Bus Specification, version 0.43.
//
// Values travel as Go values: byte, bool, int16, uint16, int32, uint32, int64,
// uint64, float64, string, [Path], [Signature]; an array is a []any, of bytes a
// []byte; a dictionary is a map[any]any, a struct a []any. A variant is read as
// the value in it, and written as a [Variant]. File descriptors are refused.
package dbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"unicode/utf8"
)

// Path is the name of an object.
type Path string

// Signature names types.
type Signature string

// Variant is a value that names its type.
type Variant struct {
	Type  Signature
	Value any
}

// Kinds of messages.
const (
	Call   = 1
	Return = 2
	Failed = 3
	Signal = 4
)

// Limits of what is taken from the bus; the specification allows more.
const (
	maxMessage = 4 << 20 // bytes
	maxDepth   = 16      // of containers within each other
)

// Message is one message of the bus.
type Message struct {
	Kind        byte
	Serial      uint32 // of the sender's connection
	ReplyTo     uint32 // the serial that a Return or Failed answers
	Path        Path
	Interface   string
	Member      string
	ErrorName   string
	Destination string
	Sender      string // set by the bus
	Type        Signature
	Body        []any
}

// Header fields.
const (
	fieldPath        = 1
	fieldInterface   = 2
	fieldMember      = 3
	fieldErrorName   = 4
	fieldReplyTo     = 5
	fieldDestination = 6
	fieldSender      = 7
	fieldType        = 8
)

const prelude = 16 // bytes of the header before its fields

// marshal returns the message as it is sent.
func (m *Message) marshal() ([]byte, error) {
	body := writer{}
	if err := body.values(m.Type, m.Body); err != nil {
		return nil, err
	}
	var fields []any
	add := func(code byte, kind Signature, value any, set bool) {
		if set {
			fields = append(fields, []any{code, Variant{kind, value}})
		}
	}
	add(fieldPath, "o", m.Path, m.Path != "")
	add(fieldInterface, "s", m.Interface, m.Interface != "")
	add(fieldMember, "s", m.Member, m.Member != "")
	add(fieldErrorName, "s", m.ErrorName, m.ErrorName != "")
	add(fieldReplyTo, "u", m.ReplyTo, m.ReplyTo != 0)
	add(fieldDestination, "s", m.Destination, m.Destination != "")
	add(fieldType, "g", m.Type, m.Type != "")
	head := writer{}
	if err := head.values("yyyyuua(yv)", []any{byte('l'), m.Kind, byte(0), byte(1), uint32(len(body.buf)), m.Serial, fields}); err != nil {
		return nil, err
	}
	head.align(8)
	if len(head.buf)+len(body.buf) > maxMessage {
		return nil, fmt.Errorf("dbus: the message has %d bytes, the most is %d", len(head.buf)+len(body.buf), maxMessage)
	}
	return append(head.buf, body.buf...), nil
}

// read takes one message.
func read(from io.Reader) (*Message, error) {
	head := make([]byte, prelude)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	order, err := byteOrder(head[0])
	if err != nil {
		return nil, err
	}
	body, fields := uint64(order.Uint32(head[4:])), uint64(order.Uint32(head[12:]))
	padded := (fields + 7) &^ 7
	if head[3] != 1 || prelude+padded+body > maxMessage {
		return nil, fmt.Errorf("dbus: a message of version %d with %d bytes; want version 1 and at most %d bytes", head[3], prelude+padded+body, maxMessage)
	}
	whole := append(head, make([]byte, padded+body)...)
	if _, err := io.ReadFull(from, whole[prelude:]); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return unmarshal(order, whole, int(fields), int(padded))
}

func byteOrder(mark byte) (binary.ByteOrder, error) {
	switch mark {
	case 'l':
		return binary.LittleEndian, nil
	case 'B':
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("dbus: a message in the byte order %q", mark)
}

func unmarshal(order binary.ByteOrder, whole []byte, fields, padded int) (*Message, error) {
	m := &Message{Kind: whole[1], Serial: order.Uint32(whole[8:])}
	r := reader{order: order, buf: whole[:prelude+fields], at: prelude - 4}
	values, err := r.fields("a(yv)", 0)
	if err != nil {
		return nil, fmt.Errorf("dbus: header: %w", err)
	}
	for _, f := range values[0].([]any) {
		pair := f.([]any)
		if err := m.field(pair[0].(byte), pair[1]); err != nil {
			return nil, err
		}
	}
	b := reader{order: order, buf: whole[prelude+padded:]}
	if m.Body, err = b.fields(m.Type, 0); err != nil {
		return nil, fmt.Errorf("dbus: body %q: %w", m.Type, err)
	}
	if b.at != len(b.buf) {
		return nil, fmt.Errorf("dbus: body %q: %d bytes too many", m.Type, len(b.buf)-b.at)
	}
	return m, nil
}

// field sets what a header field says; unknown ones are to be overlooked.
func (m *Message) field(code byte, value any) error {
	ok := true
	switch code {
	case fieldPath:
		m.Path, ok = value.(Path)
	case fieldInterface:
		m.Interface, ok = value.(string)
	case fieldMember:
		m.Member, ok = value.(string)
	case fieldErrorName:
		m.ErrorName, ok = value.(string)
	case fieldReplyTo:
		m.ReplyTo, ok = value.(uint32)
	case fieldDestination:
		m.Destination, ok = value.(string)
	case fieldSender:
		m.Sender, ok = value.(string)
	case fieldType:
		m.Type, ok = value.(Signature)
	}
	if !ok {
		return fmt.Errorf("dbus: header field %d is a %T", code, value)
	}
	return nil
}

// next cuts the first complete type off a signature.
func next(s Signature, depth int) (first, rest Signature, err error) {
	if s == "" || depth > maxDepth {
		return "", "", fmt.Errorf("the type %q ends early or nests deeper than %d", s, maxDepth)
	}
	switch s[0] {
	case 'y', 'b', 'n', 'q', 'i', 'u', 'x', 't', 'd', 's', 'o', 'g', 'v':
		return s[:1], s[1:], nil
	case 'a':
		_, rest, err = next(s[1:], depth+1)
	case '(', '{':
		rest, err = members(s, depth)
	default:
		return "", "", fmt.Errorf("there is no type %q here", s[0])
	}
	return s[:len(s)-len(rest)], rest, err
}

func members(s Signature, depth int) (rest Signature, err error) {
	end := byte(')')
	if s[0] == '{' {
		end = '}'
	}
	count := 0
	for rest = s[1:]; rest == "" || rest[0] != end; count++ {
		if count == 0 && end == '}' && rest != "" && (rest[0] == 'a' || rest[0] == 'v' || rest[0] == '(' || rest[0] == '{') {
			return "", errors.New("a dictionary's key is a container")
		}
		if _, rest, err = next(rest, depth+1); err != nil {
			return "", err
		}
	}
	if count == 0 || end == '}' && count != 2 {
		return "", fmt.Errorf("the type %q has %d members", s[:len(s)-len(rest)], count)
	}
	return rest[1:], nil
}

func alignment(kind byte) int {
	switch kind {
	case 'n', 'q':
		return 2
	case 'b', 'i', 'u', 's', 'o', 'a':
		return 4
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 1
}

type writer struct{ buf []byte }

func (w *writer) align(n int) {
	for len(w.buf)%n != 0 {
		w.buf = append(w.buf, 0)
	}
}

func (w *writer) values(s Signature, values []any) error {
	if len(s) > 255 {
		return fmt.Errorf("dbus: a type of %d letters", len(s))
	}
	if err := w.fields(s, values, 0); err != nil {
		return fmt.Errorf("dbus: body or header of type %q: %w", s, err)
	}
	return nil
}

var errType = errors.New("the value is of another type")

func (w *writer) value(s Signature, value any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	w.align(alignment(s[0]))
	le := binary.LittleEndian
	switch v := value.(type) {
	case byte:
		w.buf = append(w.buf, v)
		return is(s, "y")
	case bool:
		n := uint32(0)
		if v {
			n = 1
		}
		w.buf = le.AppendUint32(w.buf, n)
		return is(s, "b")
	case int16:
		w.buf = le.AppendUint16(w.buf, uint16(v))
		return is(s, "n")
	case uint16:
		w.buf = le.AppendUint16(w.buf, v)
		return is(s, "q")
	case int32:
		w.buf = le.AppendUint32(w.buf, uint32(v))
		return is(s, "i")
	case uint32:
		w.buf = le.AppendUint32(w.buf, v)
		return is(s, "u")
	case int64:
		w.buf = le.AppendUint64(w.buf, uint64(v))
		return is(s, "x")
	case uint64:
		w.buf = le.AppendUint64(w.buf, v)
		return is(s, "t")
	case float64:
		w.buf = le.AppendUint64(w.buf, math.Float64bits(v))
		return is(s, "d")
	case string:
		w.text(v)
		return is(s, "s")
	case Path:
		w.text(string(v))
		return is(s, "o")
	case Signature:
		w.signature(v)
		return is(s, "g")
	case Variant:
		w.signature(v.Type)
		first, rest, err := next(v.Type, depth)
		if err != nil || rest != "" {
			return fmt.Errorf("a variant of %q", v.Type)
		}
		return errors.Join(is(s, "v"), w.value(first, v.Value, depth+1))
	}
	return w.container(s, value, depth)
}

func is(s, want Signature) error {
	if s != want {
		return errType
	}
	return nil
}

func (w *writer) text(s string) {
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(s)))
	w.buf = append(append(w.buf, s...), 0)
}

func (w *writer) signature(s Signature) {
	w.buf = append(append(append(w.buf, byte(len(s))), s...), 0)
}

func (w *writer) container(s Signature, value any, depth int) error {
	switch v := value.(type) {
	case []byte:
		return errors.Join(is(s, "ay"), w.array("y", func() error { w.buf = append(w.buf, v...); return nil }))
	case []any:
		if s[0] == '(' {
			return w.fields(s[1:len(s)-1], v, depth+1)
		}
		if s[0] != 'a' || s[1] == '{' {
			return errType
		}
		return w.array(s[1:], func() error {
			for _, e := range v {
				if err := w.value(s[1:], e, depth+1); err != nil {
					return err
				}
			}
			return nil
		})
	case map[any]any:
		if len(s) < 4 || s[:2] != "a{" {
			return errType
		}
		return w.array(s[1:], func() error {
			for k, e := range v {
				w.align(8)
				if err := w.fields(s[2:len(s)-1], []any{k, e}, depth+1); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errType
}

// fields writes values of different types.
func (w *writer) fields(s Signature, values []any, depth int) error {
	for _, v := range values {
		first, rest, err := next(s, depth)
		if err == nil {
			err = w.value(first, v, depth)
		}
		if err != nil {
			return fmt.Errorf("%T as %q: %w", v, s, err)
		}
		s = rest
	}
	if s != "" {
		return fmt.Errorf("no value for %q", s)
	}
	return nil
}

// array writes the elements after their length in bytes.
func (w *writer) array(element Signature, elements func() error) error {
	at := len(w.buf)
	w.buf = append(w.buf, 0, 0, 0, 0)
	w.align(alignment(element[0]))
	begin := len(w.buf)
	err := elements()
	binary.LittleEndian.PutUint32(w.buf[at:], uint32(len(w.buf)-begin))
	return err
}

type reader struct {
	order binary.ByteOrder
	buf   []byte
	at    int
}

var errShort = errors.New("it ends early")

// take returns the next n bytes, those of an aligned value when n is 2, 4 or 8.
func (r *reader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.buf)-r.at {
		return nil, errShort
	}
	r.at += n
	return r.buf[r.at-n : r.at], nil
}

func (r *reader) align(n int) error {
	_, err := r.take((n - r.at%n) % n)
	return err
}

func (r *reader) value(s Signature, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if err := r.align(alignment(s[0])); err != nil {
		return nil, err
	}
	switch s[0] {
	case 'y', 'n', 'q', 'b', 'i', 'u', 'x', 't', 'd':
		return r.number(s[0])
	case 's', 'o':
		text, err := r.text()
		if s[0] == 'o' {
			return Path(text), err
		}
		return text, err
	case 'g':
		return r.signature()
	case 'v':
		return r.variant(depth)
	case 'a':
		return r.array(s[1:], depth)
	}
	return r.fields(s[1:len(s)-1], depth+1)
}

func (r *reader) number(kind byte) (any, error) {
	size := 8
	switch kind {
	case 'y':
		size = 1
	case 'n', 'q':
		size = 2
	case 'b', 'i', 'u':
		size = 4
	}
	p, err := r.take(size)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 'y':
		return p[0], nil
	case 'n':
		return int16(r.order.Uint16(p)), nil
	case 'q':
		return r.order.Uint16(p), nil
	case 'b':
		return r.order.Uint32(p) != 0, nil
	case 'i':
		return int32(r.order.Uint32(p)), nil
	case 'u':
		return r.order.Uint32(p), nil
	case 'x':
		return int64(r.order.Uint64(p)), nil
	case 't':
		return r.order.Uint64(p), nil
	}
	return math.Float64frombits(r.order.Uint64(p)), nil
}

func (r *reader) text() (string, error) {
	p, err := r.take(4)
	if err != nil {
		return "", err
	}
	n := r.order.Uint32(p)
	if uint64(n) >= uint64(len(r.buf)) {
		return "", errShort
	}
	if p, err = r.take(int(n) + 1); err != nil {
		return "", err
	}
	if p[n] != 0 || !utf8.Valid(p) {
		return "", errors.New("a string is not UTF-8 with a zero after it")
	}
	return string(p[:n]), nil
}

func (r *reader) signature() (Signature, error) {
	p, err := r.take(1)
	if err != nil {
		return "", err
	}
	n := int(p[0])
	if p, err = r.take(n + 1); err != nil {
		return "", err
	}
	return Signature(p[:n]), nil
}

func (r *reader) variant(depth int) (any, error) {
	s, err := r.signature()
	if err != nil {
		return nil, err
	}
	first, rest, err := next(s, depth)
	if err != nil || rest != "" {
		return nil, fmt.Errorf("a variant of %q", s)
	}
	return r.value(first, depth+1)
}

// fields reads values of different types.
func (r *reader) fields(s Signature, depth int) (values []any, err error) {
	for s != "" {
		var first Signature
		if first, s, err = next(s, depth); err != nil {
			return nil, err
		}
		v, err := r.value(first, depth)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// array reads elements up to their length in bytes. Each has a byte at least,
// so what is kept is bounded by what was sent.
func (r *reader) array(element Signature, depth int) (any, error) {
	p, err := r.take(4)
	if err != nil {
		return nil, err
	}
	n := r.order.Uint32(p)
	if err := r.align(alignment(element[0])); err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(r.buf)-r.at) {
		return nil, errShort
	}
	in := reader{order: r.order, buf: r.buf[:r.at+int(n)], at: r.at}
	r.at += int(n)
	if element == "y" {
		return append([]byte(nil), in.buf[in.at:]...), nil
	}
	if element[0] == '{' {
		return in.dictionary(element[1:len(element)-1], depth)
	}
	values := []any{}
	for in.at < len(in.buf) {
		v, err := in.value(element, depth+1)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

func (r *reader) dictionary(s Signature, depth int) (any, error) {
	entries := map[any]any{}
	for r.at < len(r.buf) {
		if err := r.align(8); err != nil {
			return nil, err
		}
		pair, err := r.fields(s, depth+2)
		if err != nil {
			return nil, err
		}
		entries[pair[0]] = pair[1]
	}
	return entries, nil
}
