package console

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mote/internal/cloud/message"
	"mote/internal/cloud/table"
)

// The names that make a JSON object a reading of a board.
const (
	idName   = "id"
	timeName = "time"
)

// sample is one reading of one board.
type sample struct {
	id     string
	at     time.Time
	fields []field // by name
}

// field is one value of a reading.
type field struct {
	Name  string   `json:"name"`
	Text  string   `json:"text"`
	Value *float64 `json:"value,omitempty"` // nil: not a number
}

// aheadAtMost is how far in the future a reading's time may lie; a board whose
// clock is further off gets the time of arrival.
const aheadAtMost = 10 * time.Minute

// sampleOf reads a message as a reading; ok is false when it is none. Topics
// that begin with $ are the cloud's own, and what rules republish was already
// seen as it came in.
func sampleOf(m *message.Message) (s sample, ok bool) {
	if len(m.Payload) > maxPayload || strings.HasPrefix(m.Topic, "$") || m.Depth > 0 {
		return s, false
	}
	received := m.Time
	if received.IsZero() {
		received = time.Now()
	}
	members, ok := objectMembers(m.Payload)
	if !ok {
		return s, false
	}
	s.at = received
	for _, member := range members {
		text, ok := scalarText(member.value)
		switch {
		case !ok:
		case member.name == idName:
			s.id = text
		case member.name == timeName:
			s.at = plausible(text, received)
		default:
			s.add(member.name, text)
		}
	}
	return s, validID(s.id)
}

// sampleOfItem reads an item of a table as a reading.
func sampleOfItem(item table.Item, now time.Time) (s sample, ok bool) {
	at, ok := itemTime(item[timeName])
	if !ok {
		return s, false
	}
	s.at = at
	if at.After(now.Add(aheadAtMost)) {
		return s, false
	}
	names := make([]string, 0, len(item))
	for name := range item {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v := item[name]
		text, scalar := v.Str, v.Kind == table.S || v.Kind == table.N
		if v.Kind == table.BOOL {
			text, scalar = strconv.FormatBool(v.Bool), true
		}
		switch {
		case !scalar || name == timeName:
		case name == idName:
			s.id = text
		default:
			s.add(name, text)
		}
	}
	return s, validID(s.id)
}

func validID(id string) bool { return id != "" && len(id) <= maxID && clip(id, maxID) == id }

// add keeps a field, within the limits. Of a repeated name the last value
// counts, as for most readers of JSON.
func (s *sample) add(name, text string) {
	if name == "" || len(name) > maxName {
		return
	}
	f := field{Name: strings.ToValidUTF8(name, "\ufffd"), Text: clip(text, maxText)}
	if v, ok := parseNumber(text); ok {
		f.Value = &v
	}
	i, found := slices.BinarySearchFunc(s.fields, f.Name, func(f field, name string) int { return strings.Compare(f.Name, name) })
	switch {
	case found:
		s.fields[i] = f
	case len(s.fields) < maxFields:
		s.fields = slices.Insert(s.fields, i, f)
	}
}

// parseNumber reads a number as JSON or a board writes it; infinities and
// hexadecimal are not numbers here.
func parseNumber(text string) (float64, bool) {
	if text == "" || len(text) > 40 || strings.Trim(text, "+-.0123456789eE") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// member is one member of a JSON object.
type member struct {
	name  string
	value []byte // JSON
}

// between is what stands between the names and values of a valid object.
const between = " \t\r\n,:"

// objectMembers returns the members of a JSON object in their order. Far more
// than are shown are none of a reading. It sees every message that the console
// looks at: a json.Decoder would be most of what the console costs.
func objectMembers(payload []byte) (list []member, ok bool) {
	rest := bytes.TrimLeft(payload, between)
	if len(rest) == 0 || rest[0] != '{' || !json.Valid(payload) {
		return nil, false
	}
	next := func() (value []byte) {
		rest = bytes.TrimLeft(rest, between)
		n := valueLength(rest)
		value, rest = rest[:n], rest[n:]
		return value
	}
	list = make([]member, 0, 8)
	for rest = rest[1:]; ; {
		name := next()
		switch {
		case len(name) == 0: // the object's end
			return list, true
		case len(list) == 8*maxFields:
			return nil, false
		}
		list = append(list, member{stringText(name), next()})
	}
}

// valueLength is how long the value is that valid JSON goes on with; 0 at the
// end of an object or array.
func valueLength(b []byte) int {
	switch b[0] {
	case '"':
		return stringLength(b)
	case '{', '[':
		return nestedLength(b)
	}
	return bytes.IndexAny(b, between+"]}")
}

func stringLength(b []byte) int {
	i := 1
	for ; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func nestedLength(b []byte) int {
	for i, depth := 0, 0; ; i++ {
		switch b[i] {
		case '"':
			i += stringLength(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// scalarText is the text of a JSON string, number or boolean.
func scalarText(value []byte) (string, bool) {
	switch value[0] {
	case '"':
		return stringText(value), true
	case '{', '[', 'n':
		return "", false
	}
	return string(value), true
}

// stringText is the text of a valid JSON string.
func stringText(value []byte) string {
	plain := value[1 : len(value)-1]
	if bytes.IndexFunc(plain, func(r rune) bool { return r == '\\' || r >= utf8.RuneSelf }) < 0 {
		return string(plain)
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return "" // it was valid
	}
	return text
}

// plausible reads the time of a reading.
func plausible(text string, received time.Time) time.Time {
	at, ok := parseTime(text)
	if !ok || at.After(received.Add(aheadAtMost)) {
		return received
	}
	return at
}

// parseTime reads RFC 3339 and Unix times in seconds or milliseconds, told
// apart by their size: 1e11 seconds is the year 5138, 1e11 milliseconds 1973.
func parseTime(text string) (time.Time, bool) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at.UTC(), true
	}
	n, ok := parseNumber(text)
	switch {
	case !ok || n < 1e8 || n >= 1e14:
		return time.Time{}, false
	case n < 1e11:
		n *= 1000
	}
	return time.UnixMilli(int64(n)).UTC(), true
}

func itemTime(v table.Value) (time.Time, bool) {
	if v.Kind != table.S && v.Kind != table.N {
		return time.Time{}, false
	}
	return parseTime(v.Str)
}
