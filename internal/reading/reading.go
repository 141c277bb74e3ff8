// Package reading is the vocabulary that both halves of mote share: one
// [Reading] is what one frame from one board said, at one time.
//
// A reading's identity is its board id and its time, and it is fixed when the
// frame was complete: every retry carries the same identity, so that a store
// keyed by both never holds a reading twice. Two readings of one board in the
// same millisecond are told apart by a sequence number kept in the
// microseconds of the time (see [Clock]).
package reading

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Reading is one measurement of one board.
type Reading struct {
	Time   time.Time // UTC; milliseconds, the microseconds hold the sequence
	ID     string    // the board's id, as text
	Fields []Field   // in the order of the source's pattern; without id, time and rate
	Rate   string    // the board's upload period in seconds as it said it, or ""; board state, not part of the payload
}

// Field is one named value of a reading.
type Field struct {
	Name   string
	Text   string // as the board sent it; for a number, valid JSON number text
	Number bool   // Text is a JSON number
}

// Value makes the field called name from what a board sent: a number when text
// is one that every table takes and declaredText is false, text otherwise.
func Value(name, text string, declaredText bool) Field {
	if !declaredText {
		if n, ok := number(text); ok {
			return Field{Name: name, Text: n, Number: true}
		}
	}
	return Field{Name: name, Text: text}
}

// number turns the decimal notations that boards print ("+1.50", "007", ".5",
// "5.") into JSON's, keeping every significant digit.
func number(s string) (string, bool) {
	sign := ""
	switch {
	case strings.HasPrefix(s, "-"):
		sign, s = "-", s[1:]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	mantissa, exp := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exp = s[:i], s[i:]
	}
	whole, frac, dotted := strings.Cut(mantissa, ".")
	if !digits(whole) || !digits(frac) || whole == "" && frac == "" {
		return "", false
	}
	if exp != "" {
		e := strings.TrimLeft(exp[1:], "+-")
		if len(exp)-1-len(e) > 1 || e == "" || !digits(e) {
			return "", false
		}
	}
	whole = strings.TrimLeft(whole, "0")
	if !storable(whole, frac, exp) {
		return "", false
	}
	if whole == "" {
		whole = "0"
	}
	if dotted && frac != "" {
		whole += "." + frac
	}
	return sign + whole + exp, true
}

// A number of DynamoDB has at most 38 significant digits and is between 1E-130
// and 9.99…E+125 (Amazon DynamoDB developer guide, "Data types"). An item with
// any other is refused as a whole, so such a value is kept as text instead.
const (
	mostDigits  = 38
	mostPower   = 125
	leastPower  = -130
	mostExpText = 6 // bytes of an exponent that are looked at
)

// storable says whether DynamoDB takes the number; whole has no leading zeros,
// exp is empty or begins with an e.
func storable(whole, frac, exp string) bool {
	power := 0
	if exp != "" {
		if len(exp) > mostExpText {
			return false
		}
		power, _ = strconv.Atoi(exp[1:]) // its digits were checked
	}
	significant := strings.TrimLeft(whole+frac, "0")
	if significant == "" {
		return true
	}
	power += len(significant) - len(frac) - 1
	return len(strings.TrimRight(significant, "0")) <= mostDigits && leastPower <= power && power <= mostPower
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// TimeText is how a reading's time is written everywhere: RFC 3339, UTC, with
// milliseconds, or with microseconds when they hold a sequence number.
func TimeText(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond()/1000%1000 != 0 {
		return t.Format("2006-01-02T15:04:05.000000Z")
	}
	return t.Format("2006-01-02T15:04:05.000Z")
}

// MarshalJSON writes the payload of DESIGN: time, id, then the fields in
// order, for example
//
//	{"time":"2026-11-22T10:15:30.123Z","id":"1","dust":35.2,"temp":21.5,"humid":40}
func (r Reading) MarshalJSON() ([]byte, error) { return r.appendJSON(nil, false), nil }

// AppendJSON appends what MarshalJSON returns to dst.
func (r Reading) AppendJSON(dst []byte) []byte { return r.appendJSON(dst, false) }

// AppendTextJSON appends the reading with every value as a JSON string, the
// body that REST routes of the API Gateway tutorials expect:
//
//	{"time":"…","id":"1","dust":"35.2","temp":"21.5","humid":"40"}
func (r Reading) AppendTextJSON(dst []byte) []byte { return r.appendJSON(dst, true) }

func (r Reading) appendJSON(dst []byte, asText bool) []byte {
	dst = append(dst, `{"time":"`...)
	dst = append(dst, TimeText(r.Time)...)
	dst = append(dst, `","id":`...)
	dst = appendString(dst, r.ID)
	for _, f := range r.Fields {
		dst = append(dst, ',')
		dst = appendString(dst, f.Name)
		dst = append(dst, ':')
		if f.Number && !asText {
			dst = append(dst, f.Text...)
		} else {
			dst = appendString(dst, f.Text)
		}
	}
	return append(dst, '}')
}

// appendString appends s as a JSON string; invalid UTF-8 becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// ErrNotReading is returned for JSON that does not have the shape of a reading.
var ErrNotReading = errors.New("not a reading")

// UnmarshalJSON reads what MarshalJSON and AppendTextJSON write. Values that
// are neither text nor number are kept as their JSON text.
func (r *Reading) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return fmt.Errorf("%w: want a JSON object", ErrNotReading)
	}
	out := Reading{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotReading, err)
		}
		name, _ := tok.(string)
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return fmt.Errorf("%w: %w", ErrNotReading, err)
		}
		if err := out.set(name, raw); err != nil {
			return err
		}
	}
	if out.ID == "" || out.Time.IsZero() {
		return fmt.Errorf("%w: id and time are required", ErrNotReading)
	}
	*r = out
	return nil
}

func (r *Reading) set(name string, raw json.RawMessage) error {
	f := Field{Name: name, Text: string(raw)}
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &f.Text); err != nil {
			return fmt.Errorf("%w: %w", ErrNotReading, err)
		}
	} else {
		f.Number = raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
	}
	switch name {
	case "id":
		r.ID = f.Text
	case "time":
		t, err := time.Parse(time.RFC3339Nano, f.Text)
		if err != nil {
			return fmt.Errorf("%w: time: want RFC 3339 text, got %.40q", ErrNotReading, f.Text)
		}
		r.Time = t.UTC()
	default:
		r.Fields = append(r.Fields, f)
	}
	return nil
}
