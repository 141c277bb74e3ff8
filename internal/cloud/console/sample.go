package console

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

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
	s.sort()
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

// add keeps a field, within the limits.
func (s *sample) add(name, text string) {
	if name == "" || len(name) > maxName || len(s.fields) == maxFields {
		return
	}
	f := field{Name: strings.ToValidUTF8(name, "\ufffd"), Text: clip(text, maxText)}
	if v, ok := parseNumber(text); ok {
		f.Value = &v
	}
	s.fields = append(s.fields, f)
}

// sort brings the fields into a stable order; of a repeated name the last
// value counts, as for most readers of JSON.
func (s *sample) sort() {
	sort.SliceStable(s.fields, func(i, j int) bool { return s.fields[i].Name < s.fields[j].Name })
	out := s.fields[:0]
	for _, f := range s.fields {
		if n := len(out); n > 0 && out[n-1].Name == f.Name {
			out[n-1] = f
			continue
		}
		out = append(out, f)
	}
	s.fields = out
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
	value json.RawMessage
}

// objectMembers returns the members of a JSON object in their order. Far more
// than are shown are none of a reading.
func objectMembers(payload []byte) (list []member, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for dec.More() {
		t, err := dec.Token()
		name, isText := t.(string)
		var value json.RawMessage
		if err != nil || !isText || dec.Decode(&value) != nil || len(list) == 8*maxFields {
			return nil, false
		}
		list = append(list, member{name, value})
	}
	_, err := dec.Token()
	return list, err == nil
}

// scalarText is the text of a JSON string, number or boolean.
func scalarText(value json.RawMessage) (string, bool) {
	if len(value) == 0 {
		return "", false
	}
	switch value[0] {
	case '"':
		var text string
		err := json.Unmarshal(value, &text)
		return text, err == nil
	case '{', '[', 'n':
		return "", false
	}
	return string(value), true
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
