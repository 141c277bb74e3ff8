package iotcore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"mote/internal/mqtt"
	"mote/internal/reading"
)

// Template makes a reading's topic: text with {name} in the place of the
// reading's field of that name, {id} and {time} among them, for example
// "sensors/{id}/air".
//
// What boards say must not choose other topics than the template means: a value
// that is empty, or holds a slash, a wildcard (+ or #), a control character or
// broken UTF-8 is refused, and so is one that begins with $ at the beginning of
// the topic. Nothing is escaped, so two boards never share a topic by accident.
type Template struct {
	text   string
	texts  []string // what stands before each field, and at the end
	fields []string
}

// maxTopicAWS and maxSlashesAWS are AWS IoT Core's limits (AWS General
// Reference, "AWS IoT Core message broker and protocol limits and quotas").
const (
	maxTopicAWS   = 256
	maxSlashesAWS = 7
)

// parseTemplate parses and checks a template.
func parseTemplate(text string) (*Template, error) {
	t := &Template{text: text}
	rest := text
	for {
		before, after, found := strings.Cut(rest, "{")
		if strings.Contains(before, "}") {
			return nil, fmt.Errorf("topic %q: there is a } without {", text)
		}
		t.texts = append(t.texts, before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed || name == "" || strings.Contains(name, "{") {
			return nil, fmt.Errorf("topic %q: want a field's name between { and }, for example {id}", text)
		}
		t.fields = append(t.fields, name)
		rest = after
	}
	if err := mqtt.ValidTopic(strings.Join(t.texts, "x")); err != nil {
		return nil, fmt.Errorf("topic %q: %w", text, err)
	}
	return t, nil
}

// fitsAWS checks the limits that AWS IoT Core refuses by.
func (t *Template) fitsAWS() error {
	if n := strings.Count(t.text, "/"); n > maxSlashesAWS && !strings.HasPrefix(t.text, "$aws/rules/") {
		return fmt.Errorf("topic %q has %d slashes, AWS IoT Core takes at most %d", t.text, n, maxSlashesAWS)
	}
	if n := len(strings.Join(t.texts, "x")); n > maxTopicAWS {
		return fmt.Errorf("topic %q is too long: AWS IoT Core takes at most %d bytes", t.text, maxTopicAWS)
	}
	return nil
}

// Topic returns the topic of a record, the JSON of a reading. An error means
// that this record can never have one.
func (t *Template) Topic(record []byte) (string, error) {
	if len(t.fields) == 1 && t.fields[0] == "id" {
		if id, ok := plainID(record); ok {
			return t.texts[0] + id + t.texts[1], nil
		}
	}
	var r reading.Reading
	if err := json.Unmarshal(record, &r); err != nil {
		if !errors.Is(err, reading.ErrNotReading) {
			err = fmt.Errorf("%w: %w", reading.ErrNotReading, err)
		}
		return "", err
	}
	var out strings.Builder
	for i, name := range t.fields {
		out.WriteString(t.texts[i])
		value, ok := valueOf(&r, name)
		if !ok {
			return "", fmt.Errorf("the reading has no field %q, which the topic %q needs", name, t.text)
		}
		if err := checkValue(value, out.Len() == 0); err != nil {
			return "", fmt.Errorf("field %q cannot stand in the topic %q: %w", name, t.text, err)
		}
		out.WriteString(value)
	}
	out.WriteString(t.texts[len(t.fields)])
	return out.String(), mqtt.ValidTopic(out.String())
}

// plainID finds the id in a record as reading.Reading.AppendJSON writes it when
// it is of letters, digits and a few signs that are safe in JSON and in topics;
// every other record is left to the JSON decoder.
func plainID(record []byte) (string, bool) {
	const before, between = `{"time":"`, `","id":"`
	rest, ok := bytes.CutPrefix(record, []byte(before))
	if !ok || len(rest) < 24 {
		return "", false
	}
	i := bytes.IndexByte(rest[:min(len(rest), 40)], '"')
	if i < 0 || !bytes.HasPrefix(rest[i:], []byte(between)) {
		return "", false
	}
	rest = rest[i+len(between):]
	for n, c := range rest {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '_', c == '.', c == ':':
		case c == '"' && n > 0 && n <= 128:
			return string(rest[:n]), true
		default:
			return "", false
		}
	}
	return "", false
}

func valueOf(r *reading.Reading, name string) (string, bool) {
	switch name {
	case "id":
		return r.ID, true
	case "time":
		return reading.TimeText(r.Time), true
	}
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Text, true
		}
	}
	return "", false
}

// checkValue checks one value; first says that it begins the topic.
func checkValue(value string, first bool) error {
	if value == "" {
		return errors.New("it is empty")
	}
	if strings.ContainsAny(value, "/+#") {
		return fmt.Errorf("%.60q contains a slash or a wildcard, / + or #", value)
	}
	for _, c := range value {
		if c < ' ' || c >= 0x7F && c < 0xA0 || c == '\uFFFD' {
			return fmt.Errorf("%.60q contains a control character or broken text", value)
		}
	}
	if first && value[0] == '$' {
		return fmt.Errorf("%.60q begins the topic with $, which is the server's own", value)
	}
	return nil
}
