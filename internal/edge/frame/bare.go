package frame

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"mote/internal/reading"
)

const bareName = "value"

// Bare is the format of messages that hold one value and nothing else, such as
// 21.5 on a topic of MQTT. name is the value's; "" when each message brings it,
// as its [Message.Name]. Each message is a frame of its own. What is no number is
// refused, unless the value is declared as text. A value called rate is the
// board's upload period in seconds, and no value of a reading.
func Bare(name string, o Options) (*Format, error) {
	f := &Format{pattern: bareName, close: "\n", whole: true}
	err := f.take(o)
	if err == nil {
		err = f.checkMax()
	}
	if err == nil && name != "" {
		f.fields = []field{{name: name}}
		if err = checkBareName(name); err == nil {
			err = f.declareText(o.Text)
		}
	}
	var known []string // nil: any
	if name != "" {
		known = []string{name}
	}
	if err == nil {
		err = f.refine(o, known)
	}
	switch {
	case err != nil:
	case f.time != "":
		err = errors.New("a message that is one value has no board's clock")
	case f.named():
		err = errors.New(`a message that is one value does not say what board it is from: name it by the topic, id = "{topic:2}", or with board = "…"`)
	}
	if err != nil {
		return nil, fmt.Errorf("format %s: %w", bareName, err)
	}
	text := map[string]bool{}
	for _, name := range o.Text {
		text[name] = true
	}
	f.bare = func(brought string, body []byte) (Frame, error) {
		if name != "" {
			brought = name
		}
		return f.readBare(brought, body, text[brought])
	}
	return f, nil
}

func checkBareName(name string) error {
	switch {
	case !fieldName(name):
		return fmt.Errorf("%.20q is no name of a field; want 1 to %d bytes that can be printed", name, maxName)
	case name == "id" || name == "time":
		return fmt.Errorf("a value cannot be called %s: the reading has that for something else", name)
	}
	return nil
}

func (f *Format) readBare(name string, body []byte, text bool) (Frame, error) {
	if err := checkBareName(name); err != nil {
		return Frame{}, err
	}
	if !utf8.Valid(body) {
		return Frame{}, errors.New("it is not text (invalid UTF-8)")
	}
	value := strings.TrimSpace(string(body))
	if !text && !reading.Value(name, value, false).Number {
		return Frame{}, fmt.Errorf("the value of %s, %.40q, is not a number; if it should be text, name the field in text", name, value)
	}
	out := Frame{Value: name}
	return out, f.put(&out, name, value, text)
}
