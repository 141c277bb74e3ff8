package frame

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Formats beside the pattern.
const (
	jsonName  = "jsonl"
	csvName   = "csv"
	mostDepth = 8 // objects and lists inside one another
)

// JSONLines is the format of boards that send one JSON object on each line. Its
// members are the fields of the reading; what is inside an object or a list
// gets a name with dots, dht.temp or pm.0; null is left out; true and false are
// text. Numbers keep their digits, and text stays text.
func JSONLines(o Options) (*Format, error) {
	f := &Format{pattern: jsonName, close: "\n", whole: true}
	err := f.take(o)
	if err == nil {
		err = f.checkMax()
	}
	if err == nil {
		err = f.refine(o, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("format %s: %w", jsonName, err)
	}
	text := map[string]bool{}
	for _, name := range o.Text {
		text[name] = true
	}
	id := o.ID
	if id == "" {
		id = "id"
	}
	if id == f.time || id == "rate" || id == "time" {
		return nil, fmt.Errorf("format %s: the field %q cannot be the id", jsonName, id)
	}
	f.body = func(f *Format, body []byte) (Frame, error) { return f.readObject(body, id, text) }
	return f, nil
}

func (f *Format) checkMax() error {
	if f.max < 2 || f.max > LargestMax {
		return fmt.Errorf("a longest frame of %d bytes; it must be between 2 and %d", f.max, LargestMax)
	}
	return nil
}

// object reads one JSON object into a frame.
type object struct {
	f    *Format
	dec  *json.Decoder
	out  Frame
	id   string
	text map[string]bool
	seen map[string]bool
}

func (f *Format) readObject(body []byte, id string, text map[string]bool) (Frame, error) {
	body = bytes.TrimSpace(body)
	switch {
	case len(body) == 0:
		return Frame{}, errNothing
	case !utf8.Valid(body):
		return Frame{}, errors.New("it is not text (invalid UTF-8)")
	case body[0] != '{':
		return Frame{}, errors.New("it is not a JSON object")
	}
	o := &object{f: f, dec: json.NewDecoder(bytes.NewReader(body)), id: id, text: text, seen: map[string]bool{}}
	o.dec.UseNumber()
	if err := o.value("", 0); err != nil {
		return Frame{}, err
	}
	if _, err := o.dec.Token(); err != io.EOF {
		return Frame{}, errors.New("something stands behind the JSON object")
	}
	if f.named() && !o.seen[id] {
		return Frame{}, fmt.Errorf("it has no member %q, which says what board it is from", id)
	}
	if f.time != "" && !o.seen[f.time] {
		return Frame{}, fmt.Errorf("it has no member %q, the board's clock", f.time)
	}
	return o.out, nil
}

// value reads the next value, which is called name.
func (o *object) value(name string, depth int) error {
	token, err := o.dec.Token()
	if err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return o.put(name, token)
	}
	if depth == mostDepth {
		return fmt.Errorf("%.40q is nested too deep; at most %d", name, mostDepth)
	}
	prefix := name
	if depth > 0 {
		prefix += "."
	}
	for i := 0; o.dec.More(); i++ {
		member := strconv.Itoa(i)
		if delim == '{' {
			token, err := o.dec.Token()
			if err != nil {
				return fmt.Errorf("it is not JSON: %w", err)
			}
			member = token.(string)
		}
		if err := o.value(prefix+member, depth+1); err != nil {
			return err
		}
	}
	if _, err := o.dec.Token(); err != nil { // the end
		return fmt.Errorf("it is not JSON: %w", err)
	}
	return nil
}

// put puts one value that is not nested in its place.
func (o *object) put(name string, token json.Token) error {
	switch {
	case !fieldName(name):
		return fmt.Errorf("%.20q is no name of a field; want 1 to %d bytes that can be printed", name, maxName)
	case o.seen[name]:
		return fmt.Errorf("the member %q is there twice", name)
	case len(o.seen) == maxFields:
		return fmt.Errorf("it has more than %d values", maxFields)
	}
	o.seen[name] = true
	if o.f.skip[name] && name != o.id && name != o.f.time {
		return nil
	}
	if err := o.taken(name); err != nil {
		return err
	}
	value, text := "", o.text[name]
	switch v := token.(type) {
	case nil:
		return nil
	case json.Number:
		value = v.String()
	case string:
		value, text = v, true
	case bool:
		value, text = strconv.FormatBool(v), true
	}
	if o.f.named() && name == o.id {
		name = "id"
	}
	return o.f.put(&o.out, name, value, text)
}

// taken refuses names that a reading has for something else.
func (o *object) taken(name string) error {
	switch {
	case name == "time" && o.f.time != "time":
		return errors.New(`its member "time" is given by the gateway: set time = "time" if it is the board's clock, or leave it out with skip`)
	case name == "id" && !(o.f.named() && o.id == "id"):
		return errors.New(`its member "id" is not the board's id by the configuration: leave it out with skip`)
	}
	return nil
}

// Table says how the lines of a table are written.
type Table struct {
	Columns   []string // the fields in order; "" leaves a column out
	Delimiter string   // one ASCII character; "" means a comma
	Comment   string   // what begins a line that is no frame, or ""
}

// CSV is the format of boards that send the lines of a table: values separated
// by a delimiter, in quotes where they hold one, a quote doubled in quotes. A
// value without text is left out of the reading. A line that repeats the names
// of the columns is passed over, also in the middle.
func CSV(t Table, o Options) (*Format, error) {
	f := &Format{pattern: csvName, close: "\n"}
	err := f.take(o)
	if err == nil {
		err = f.checkMax()
	}
	if err == nil {
		err = f.columns(t.Columns)
	}
	if err == nil {
		err = f.declareText(o.Text)
	}
	if err == nil {
		err = f.refine(o, f.Fields())
	}
	if t.Delimiter == "" {
		t.Delimiter = ","
	}
	if err == nil && (len(t.Delimiter) != 1 || t.Delimiter[0] >= utf8.RuneSelf || strings.ContainsAny(t.Delimiter, "\"\n\r+-.0123456789") || letter(t.Delimiter[0])) {
		err = fmt.Errorf("the delimiter %q: want one ASCII character that no number has, such as , or ;", t.Delimiter)
	}
	if err != nil {
		return nil, fmt.Errorf("format %s: %w", csvName, err)
	}
	f.body = func(f *Format, body []byte) (Frame, error) { return f.readRow(body, t) }
	return f, nil
}

// columns takes the names of the columns as fields.
func (f *Format) columns(names []string) error {
	if len(names) > maxFields {
		return fmt.Errorf("%d columns; at most %d", len(names), maxFields)
	}
	seen := map[string]bool{}
	for i, name := range names {
		f.fields = append(f.fields, field{name: name})
		switch {
		case name == "":
			continue
		case len(name) > maxName || strings.TrimSpace(name) != name || strings.IndexFunc(name, control) >= 0 || !utf8.ValidString(name):
			return fmt.Errorf("column %d, %.20q: want a name of at most %d bytes that can be printed", i+1, name, maxName)
		case seen[name]:
			return fmt.Errorf("the column %q is there twice", name)
		case name == "time" && f.time != "time":
			return errors.New(`the column "time" is given by the gateway: set time = "time" if it is the board's clock, or "" to leave it out`)
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return errors.New(`it has no columns: name them, columns = ["id", "dust", "temp"]`)
	}
	return f.checkRoles(seen)
}

func (f *Format) readRow(body []byte, t Table) (Frame, error) {
	if !utf8.Valid(body) {
		return Frame{}, errors.New("it is not text (invalid UTF-8)")
	}
	line := strings.TrimSuffix(string(body), "\r")
	if strings.Trim(line, " \t") == "" || t.Comment != "" && strings.HasPrefix(line, t.Comment) {
		return Frame{}, errNothing
	}
	cells, err := cut(line, t.Delimiter[0])
	switch {
	case err != nil:
		return Frame{}, err
	case len(cells) != len(f.fields):
		return Frame{}, fmt.Errorf("it has %d values; the table has %d columns", len(cells), len(f.fields))
	case slices.Equal(cells, t.Columns):
		return Frame{}, errNothing
	}
	var out Frame
	for i, cell := range cells {
		fd := &f.fields[i]
		if fd.name == "" || cell == "" && fd.name != "id" && fd.name != f.time {
			continue
		}
		if err := f.put(&out, fd.name, cell, fd.text); err != nil {
			return Frame{}, err
		}
	}
	return out, nil
}

// cut separates the values of a line. Spaces around them are dropped.
func cut(line string, delimiter byte) (cells []string, err error) {
	for {
		line = strings.TrimLeft(line, " ")
		cell, rest := "", ""
		if strings.HasPrefix(line, `"`) {
			if cell, rest, err = unquote(line[1:]); err != nil {
				return nil, err
			}
			if rest = strings.TrimLeft(rest, " "); rest != "" && rest[0] != delimiter {
				return nil, fmt.Errorf("%.20q stands behind a value in quotes", rest)
			}
		} else {
			end := strings.IndexByte(line, delimiter)
			if end < 0 {
				end = len(line)
			}
			cell, rest = strings.TrimRight(line[:end], " "), line[end:]
			if strings.Contains(cell, `"`) {
				return nil, fmt.Errorf("a quote stands inside the value %.20q, which does not begin with one", cell)
			}
		}
		if len(cells) == maxFields {
			return nil, fmt.Errorf("it has more than %d values", maxFields)
		}
		if cells = append(cells, cell); rest == "" {
			return cells, nil
		}
		line = rest[1:]
	}
}

// unquote returns the value up to the closing quote, and what is behind it.
func unquote(s string) (value, rest string, err error) {
	var out strings.Builder
	for {
		text, after, found := strings.Cut(s, `"`)
		if !found {
			return "", "", errors.New("a quote is not closed on its line; values with line ends are not taken")
		}
		out.WriteString(text)
		if !strings.HasPrefix(after, `"`) {
			return out.String(), after, nil
		}
		out.WriteByte('"')
		s = after[1:]
	}
}

// Message is a whole message of a board, such as one of MQTT.
type Message struct {
	Board string // who sent it, when that is known from outside
	Name  string // of the one value that it holds, when that is known from outside
	Data  []byte
}

// Message reads a whole message, such as one of MQTT; who it says sent it counts
// when the format does not say where a frame has its id. It calls frame and
// reject as [Scanner.Feed] does. A message is one JSON object, one bare value, or
// the lines or frames of another format; its end ends the last line.
func (f *Format) Message(m Message, frame func(Frame), reject func(Reject)) {
	s, p := f.NewScanner(), m.Data
	if s.from.Name = m.Name; f.board == "" {
		s.from.Board = m.Board
	}
	switch {
	case f.whole && len(p) > f.max:
		s.buf = append(s.buf, p[:min(len(p), maxShown)]...)
		reject(Reject{Reason: fmt.Errorf("the message has %d bytes; a longest frame has %d", len(p), f.max), Length: len(p), Data: s.buf})
	case f.whole:
		s.buf = append(s.buf, p...)
		s.finishMessage(frame, reject)
	default:
		s.inside = f.open == ""
		s.Feed(p, frame, reject)
		if s.inside && f.open == "" && !bytes.HasSuffix(p, []byte(f.close)) {
			s.Feed([]byte(f.close), frame, reject)
		}
		s.End(reject)
	}
}

func (s *Scanner) finishMessage(frame func(Frame), reject func(Reject)) {
	switch fr, err := s.format.read(s.from, s.buf); {
	case err == nil:
		frame(fr)
	default:
		reject(s.refuse(err, len(s.buf)))
	}
}

// A board's clock that says less than soonest is not set; see [Frame.Time].
var soonest = time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC) // 1,000,000,000 s

// milliseconds is from where a number cannot be seconds: the year 5138.
const milliseconds = 1e11

// clock reads the time of a board's own clock: RFC 3339, or seconds or
// milliseconds since 1970. The time of a clock that is not set is zero.
func clock(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n < 1e15) {
			return time.Time{}, fmt.Errorf("the board's time %.40q: want RFC 3339, or seconds or milliseconds since 1970", text)
		}
		if n < milliseconds {
			n *= 1000
		}
		t = time.UnixMilli(int64(n + 0.5))
	}
	if t = t.UTC().Truncate(time.Millisecond); t.Before(soonest) || t.Year() > 9999 {
		return time.Time{}, nil
	}
	return t, nil
}
