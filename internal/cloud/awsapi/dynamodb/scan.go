package dynamodb

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scanner walks a JSON text that json.Valid has let through, without building
// a tree of it: what a request does not need costs nothing, and numbers stay
// text. The first member of a wrong type sets err and ends the walk.
type scanner struct {
	data []byte
	pos  int
	err  error

	falseNull bool // {"NULL":false} is taken for {"NULL":true}
}

// Texts of SerializationException, as DynamoDB writes them.
const (
	unexpectedField = "Unexpected field type"
	unexpectedStart = "Start of structure or map found where not expected"
	unexpectedValue = "Unexpected value type in payload"
	unexpectedParam = "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class java.lang.Class " +
		"(sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and java.lang.Class are in module java.base of loader 'bootstrap')"
)

func (s *scanner) fail(message string) {
	if s.err == nil {
		s.err = serialization(message)
	}
	s.pos = len(s.data)
}

// peek returns the byte that the next value begins with, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// null takes a null, which is the same as an absent member.
func (s *scanner) null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.pos += len("null")
	return true
}

// object calls f for each member, with the scanner before its value. f must
// take the value. what is the Java type that AWS names when it finds a list.
func (s *scanner) object(scalar, list string, f func(key string)) {
	switch s.peek() {
	case '{':
	case '[':
		s.fail(list)
		return
	default:
		s.fail(scalar)
		return
	}
	s.pos++
	for s.err == nil && s.peek() != '}' && s.pos < len(s.data) {
		f(s.rawString())
	}
	s.pos++
}

// list calls f for each element, with the scanner before it.
func (s *scanner) list(f func()) { s.listOr(unexpectedField, f) }

// listOr is list with what AWS says to a scalar in its place.
func (s *scanner) listOr(scalar string, f func()) {
	switch s.peek() {
	case '[':
	case '{':
		s.fail(unexpectedStart)
		return
	default:
		s.fail(scalar)
		return
	}
	s.pos++
	for s.err == nil && s.peek() != ']' && s.pos < len(s.data) {
		f()
	}
	s.pos++
}

// skip passes over one value of any kind.
func (s *scanner) skip() {
	for depth := 0; ; {
		switch s.peek() {
		case 0:
			return
		case '"':
			s.passString()
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		default:
			s.scalar()
		}
		if depth <= 0 {
			return
		}
	}
}

// raw passes over one value and returns its bytes.
func (s *scanner) raw() []byte {
	s.peek()
	start := s.pos
	s.skip()
	return s.data[start:min(s.pos, len(s.data))]
}

// scalar takes a number, true, false or null.
func (s *scanner) scalar() []byte {
	start := s.pos
	for s.pos < len(s.data) && !bytes.ContainsRune([]byte(" \t\r\n,:]}"), rune(s.data[s.pos])) {
		s.pos++
	}
	return s.data[start:s.pos]
}

// passString passes over a string and says whether it holds no escape.
func (s *scanner) passString() (plain bool) {
	plain = true
	for s.pos++; s.pos < len(s.data); s.pos++ {
		switch s.data[s.pos] {
		case '\\':
			plain = false
			s.pos++
		case '"':
			s.pos++
			return plain
		}
	}
	return plain
}

// rawString takes a string.
func (s *scanner) rawString() string {
	s.peek()
	start := s.pos
	plain := s.passString()
	end := min(s.pos, len(s.data))
	if end-start < 2 {
		return ""
	}
	if inner := s.data[start+1 : end-1]; plain && utf8.Valid(inner) {
		return string(inner)
	}
	var text string
	if json.Unmarshal(s.data[start:end], &text) != nil {
		s.fail(unexpectedField)
	}
	return text
}

// mismatch refuses the next value where the Java type want is expected.
func (s *scanner) mismatch(want string) {
	switch c := s.peek(); c {
	case '{':
		s.fail(unexpectedStart)
	case '[':
		s.fail("Unrecognized collection type class java.lang." + want)
	case '"':
		s.fail("STRING_VALUE cannot be converted to " + want)
	case 't':
		s.fail("TRUE_VALUE cannot be converted to " + want)
	case 'f':
		s.fail("FALSE_VALUE cannot be converted to " + want)
	default:
		if bytes.ContainsAny(s.scalar(), ".eE") {
			s.fail("DECIMAL_VALUE cannot be converted to " + want)
			return
		}
		s.fail("NUMBER_VALUE cannot be converted to " + want)
	}
}

// text takes a member of type String; nil for null.
func (s *scanner) text() *string {
	if s.null() {
		return nil
	}
	if s.peek() != '"' {
		s.mismatch("String")
		return nil
	}
	return new(s.rawString())
}

// str is text for elements where null is empty.
func (s *scanner) str() string {
	if p := s.text(); p != nil {
		return *p
	}
	return ""
}

// boolean takes a member of type Boolean; nil for null. AWS takes some texts
// for it too.
func (s *scanner) boolean() *bool {
	if s.null() {
		return nil
	}
	switch s.peek() {
	case 't', 'f':
		return new(s.scalar()[0] == 't')
	case '"':
		switch strings.ToUpper(s.rawString()) {
		case "TRUE", "1", "YES":
			return new(true)
		case "FALSE", "0", "NO":
			return new(false)
		}
		s.fail("Unexpected token received from parser")
	default:
		s.mismatch("Boolean")
	}
	return nil
}

// integer takes a member of the Java type want (Integer or Long); nil for null.
// A fraction is rounded down, as AWS does.
func (s *scanner) integer(want string) *int64 {
	if s.null() {
		return nil
	}
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		s.mismatch(want)
		return nil
	}
	text := string(s.scalar())
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return &n
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f >= 1<<62 || f <= -1<<62 {
		s.fail("NUMBER_VALUE cannot be converted to " + want)
		return nil
	}
	return new(int64(math.Floor(f)))
}

// blob takes a member of type Blob.
func (s *scanner) blob() []byte {
	switch s.peek() {
	case '"':
	case '{':
		s.fail(unexpectedStart)
		return nil
	case '[':
		s.fail("Unrecognized collection type class java.nio.ByteBuffer")
		return nil
	default:
		s.fail("only base-64-encoded strings are convertible to bytes")
		return nil
	}
	text := s.rawString()
	if len(text)%4 != 0 {
		s.fail("Base64 encoded length is expected a multiple of 4 bytes but found: " + strconv.Itoa(len(text)))
		return nil
	}
	data, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		s.fail("Invalid last non-pad Base64 character dectected")
		return nil
	}
	return data
}
