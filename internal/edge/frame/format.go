// Package frame turns the bytes of a board's line into frames, and frames into
// readings.
//
// A [Format] is the compiled pattern of a line, such as
//
//	{id:dust:temp:humid:rate}
//
// and a [Scanner] follows one connection: it takes the bytes in whatever pieces
// they arrive, and yields the frames in them and what it had to refuse. The
// result never depends on how the stream was cut into pieces. A frame that does
// not fit is refused alone; the bytes between frames are skipped and counted.
// Memory and time per byte are bounded, whatever the line sends.
//
// The package leaves to others what time a frame has and whether its board is
// known.
package frame

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mote/internal/reading"
)

// The bounds of a frame. An id is what AWS takes as a thing name, shorter: it
// becomes one, and a topic level too.
const (
	DefaultMax = 256     // bytes of a frame, marks included
	LargestMax = 1 << 16 // the most that Options.Max may ask for
	MaxID      = 64      // bytes of a board's id
	MaxValue   = 1024    // bytes of any other value

	maxPattern = 4096
	maxFields  = 64
	maxName    = 64
	maxMark    = 16 // bytes of the opening and of the closing mark
)

// ErrPattern is wrapped by every error of [Compile].
var ErrPattern = errors.New("bad pattern")

// Options are what a pattern, or the name of another format, does not say.
type Options struct {
	Text []string // fields that stay text even where they look like a number
	Max  int      // longest frame in bytes, marks included; 0 means DefaultMax
	// Board is the id of every frame, for a line with one board that does not
	// say who it is. The frames then have no field id.
	Board string
	// Addressed says that each message brings its board from outside, as
	// [Format.Message] gives it, and that frames have no field id either.
	Addressed bool
	Time      string   // the field that holds the board's own clock; "" for none
	ID        string   // of JSON lines: the field that holds the id; "" means id
	Skip      []string // fields that are left out
	Values    []Value  // what is known of the values
	// DropFrame refuses a frame with an implausible value as a whole; without
	// it the value alone is left out.
	DropFrame bool
	Units     bool // adds the unit of each value as a field, temp_unit for temp
}

// Format is a compiled pattern, or another description of what a line sends. It
// is immutable and safe for concurrent use.
type Format struct {
	pattern     string
	open, close string
	fields      []field
	delimiters  []string // each once
	max         int
	board       string                                        // of every frame, or ""
	addressed   bool                                          // the board comes with the message
	time        string                                        // name of the board's clock, or ""
	body        func(f *Format, body []byte) (Frame, error)   // nil: the pattern
	bare        func(name string, body []byte) (Frame, error) // of bare values, instead of body
	whole       bool                                          // a body may have lines, and a connection begins with a frame: JSON
	refinery
}

// field is one name of the pattern and the literal text before it; the first
// field's is the opening mark, which is not part of a frame's body.
type field struct {
	name   string
	before string
	text   bool
}

// Compile reads a pattern: an opening mark, field names separated by literal
// text, a closing mark. A name is an ASCII letter and then letters, digits and
// underscores; everything else is literal. The field id is required, the field
// rate is the board's upload period in seconds, any other field is a value of
// the reading. A pattern without an opening mark, such as "id,dust\n", is for
// boards that end each frame and do not begin it; what comes before the first
// end of a connection is then skipped, since nothing tells a whole frame from
// the rest of one.
func Compile(pattern string, o Options) (*Format, error) {
	f := &Format{pattern: pattern}
	err := f.take(o)
	if err == nil {
		err = f.split()
	}
	if err == nil {
		err = f.check()
	}
	if err == nil {
		err = f.declareText(o.Text)
	}
	if err == nil {
		err = f.refine(o, f.Fields())
	}
	if err != nil {
		return nil, fmt.Errorf("%w %.100q: %w", ErrPattern, pattern, err)
	}
	return f, nil
}

// take reads the options that every format has.
func (f *Format) take(o Options) error {
	if f.max = o.Max; f.max == 0 {
		f.max = DefaultMax
	}
	f.board, f.addressed, f.time = o.Board, o.Addressed, o.Time
	if f.board != "" && f.addressed {
		return errors.New("the board is given twice, by its name and by the message")
	}
	if f.board != "" {
		if err := checkID(f.board); err != nil {
			return fmt.Errorf("the board's name: %w", err)
		}
	}
	if f.time == "id" || f.time == "rate" {
		return fmt.Errorf("the field %q cannot be the board's clock", f.time)
	}
	return nil
}

// named reports whether frames say themselves what board they are from.
func (f *Format) named() bool { return f.board == "" && !f.addressed }

// Pattern returns the text that the format was compiled from.
func (f *Format) Pattern() string { return f.pattern }

// Fields returns the pattern's names in order, id and rate included.
func (f *Format) Fields() []string {
	names := make([]string, len(f.fields))
	for i := range f.fields {
		names[i] = f.fields[i].name
	}
	return names
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func nameByte(c byte) bool { return letter(c) || '0' <= c && c <= '9' || c == '_' }

// split cuts the pattern into literals and names.
func (f *Format) split() error {
	if f.pattern == "" {
		return errors.New("it is empty; write one such as {id:dust:temp:humid:rate}")
	}
	if len(f.pattern) > maxPattern {
		return fmt.Errorf("it has %d bytes; at most %d", len(f.pattern), maxPattern)
	}
	rest, literal := f.pattern, 0
	for i := 0; i < len(rest); {
		if !letter(rest[i]) {
			if err := literalByte(rest[i]); err != nil {
				return err
			}
			i++
			continue
		}
		end := i + 1
		for end < len(rest) && nameByte(rest[end]) {
			end++
		}
		f.fields = append(f.fields, field{name: rest[i:end], before: rest[literal:i]})
		i, literal = end, end
	}
	f.close = rest[literal:]
	if len(f.fields) > 0 {
		f.open = f.fields[0].before
	}
	return nil
}

func literalByte(c byte) error {
	switch {
	case c >= utf8.RuneSelf:
		return errors.New("marks, delimiters and names are ASCII")
	case c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f:
		return fmt.Errorf("control character %#02x; of those only tab, carriage return and line feed can be part of a mark", c)
	}
	return nil
}

func (f *Format) check() error {
	switch {
	case len(f.fields) == 0:
		return errors.New("it names no field; write one such as {id:dust:temp:humid:rate}")
	case len(f.fields) > maxFields:
		return fmt.Errorf("it names %d fields; at most %d", len(f.fields), maxFields)
	case f.close == "":
		return errors.New("nothing closes the frame; end the pattern with a mark that the board sends after the last value, such as } or a line feed")
	case len(f.open) > maxMark || len(f.close) > maxMark:
		return fmt.Errorf("the opening and the closing mark may have %d bytes each", maxMark)
	case f.max < 0 || f.max > LargestMax:
		return fmt.Errorf("a longest frame of %d bytes; it must be between 1 and %d", f.max, LargestMax)
	case f.max <= len(f.open)+len(f.close):
		return fmt.Errorf("a longest frame of %d bytes leaves no room for values", f.max)
	case strings.Contains(f.close, f.open) && f.open != "" || strings.Contains(f.open, f.close):
		return fmt.Errorf("the opening mark %q and the closing mark %q must differ, and neither may contain the other", f.open, f.close)
	case overlap(f.close, f.open):
		return fmt.Errorf("the closing mark %q ends as the opening mark %q begins, so that a byte could belong to both", f.close, f.open)
	}
	if err := f.checkNames(); err != nil {
		return err
	}
	return f.checkDelimiters()
}

// overlap reports whether an end of a is a begin of b.
func overlap(a, b string) bool {
	for i := range a {
		if strings.HasPrefix(b, a[i:]) {
			return true
		}
	}
	return false
}

func (f *Format) checkNames() error {
	seen := map[string]bool{}
	for _, fd := range f.fields {
		switch {
		case len(fd.name) > maxName:
			return fmt.Errorf("the field name %.20q… has %d bytes; at most %d", fd.name, len(fd.name), maxName)
		case seen[fd.name]:
			return fmt.Errorf("the field %q is there twice", fd.name)
		case fd.name == "time" && f.time != "time":
			return errors.New(`the field "time" is given by the gateway when a frame is complete; if it is the board's own clock, say time = "time"`)
		}
		seen[fd.name] = true
	}
	return f.checkRoles(seen)
}

// checkRoles checks the fields that are not values.
func (f *Format) checkRoles(seen map[string]bool) error {
	switch {
	case f.named() && !seen["id"]:
		return errors.New(`it has no field "id", which says what board a frame is from; for a line with one board, name it with board = "…"`)
	case !f.named() && seen["id"]:
		return errors.New(`it has a field "id", and the board is named elsewhere too: keep one of them`)
	case f.time != "" && !seen[f.time]:
		return fmt.Errorf("the board's clock %q is no field of it", f.time)
	}
	return nil
}

func (f *Format) checkDelimiters() error {
	for _, fd := range f.fields[1:] {
		switch {
		case f.open != "" && strings.Contains(fd.before, f.open):
			return fmt.Errorf("the delimiter %q before %q contains the opening mark %q, which starts a new frame", fd.before, fd.name, f.open)
		case strings.Contains(fd.before, f.close):
			return fmt.Errorf("the delimiter %q before %q contains the closing mark %q, which ends the frame", fd.before, fd.name, f.close)
		case strings.TrimLeft(fd.before, "+-.0123456789") == "":
			return fmt.Errorf("the delimiter %q before %q can be part of a number; separate values by something else", fd.before, fd.name)
		}
		if !slices.Contains(f.delimiters, fd.before) {
			f.delimiters = append(f.delimiters, fd.before)
		}
	}
	return nil
}

func (f *Format) declareText(names []string) error {
	for _, name := range names {
		i := slices.IndexFunc(f.fields, func(fd field) bool { return fd.name == name })
		if i < 0 {
			return fmt.Errorf("the field %q is declared as text but is not in the pattern, which has %s", name, strings.Join(f.Fields(), ", "))
		}
		f.fields[i].text = true
	}
	return nil
}

// Frame is what one frame said.
type Frame struct {
	ID     string
	Rate   string // the board's upload period in seconds as it said it, or ""
	Fields []reading.Field
	Time   time.Time // by the board's own clock; zero when it has none
	// Value is the name of the one value that the frame is, of the format
	// [Bare]; a board's other values are in other frames. Otherwise it is "".
	Value string
	// Left says of each value that was left out because it is implausible why.
	Left []string
}

// Reading returns the reading of a frame that was complete at at; see
// [reading.Clock.Stamp].
func (fr Frame) Reading(at time.Time) reading.Reading {
	return reading.Reading{Time: at, ID: fr.ID, Fields: fr.Fields, Rate: fr.Rate}
}

// Parse reads the body of a frame, the bytes between its marks. Spaces around a
// value are dropped: boards pad numbers to a width. The error says what does
// not fit.
func (f *Format) Parse(body []byte) (Frame, error) {
	if !utf8.Valid(body) {
		return Frame{}, errors.New("it is not text (invalid UTF-8)")
	}
	rest := string(body)
	out := Frame{Fields: make([]reading.Field, 0, len(f.fields))}
	for i := range f.fields {
		value, more := rest, ""
		if i+1 < len(f.fields) {
			var found bool
			if value, more, found = strings.Cut(rest, f.fields[i+1].before); !found {
				return Frame{}, fmt.Errorf("it ends after %d of %d fields (%s)", i+1, len(f.fields), f.pattern)
			}
		}
		if err := f.set(&out, &f.fields[i], value); err != nil {
			return Frame{}, err
		}
		rest = more
	}
	return out, nil
}

// read reads a frame's body in any format. from says who sent it, and what value
// it is, when the frame does not.
func (f *Format) read(from Message, body []byte) (fr Frame, err error) {
	switch {
	case f.bare != nil:
		fr, err = f.bare(from.Name, body)
	case f.body != nil:
		fr, err = f.body(f, body)
	default:
		fr, err = f.Parse(body)
	}
	if err != nil {
		return Frame{}, err
	}
	if !f.named() {
		if fr.ID = from.Board; f.addressed {
			if err := checkID(fr.ID); err != nil {
				return Frame{}, err
			}
		}
	}
	return fr, f.refinery.apply(&fr)
}

// set checks one value and puts it in its place.
func (f *Format) set(out *Frame, fd *field, value string) error {
	for _, d := range f.delimiters {
		if strings.Contains(value, d) {
			return fmt.Errorf("the value of %s holds the delimiter %q; the pattern has %d fields", fd.name, d, len(f.fields))
		}
	}
	return f.put(out, fd.name, strings.Trim(value, " "), fd.text)
}

// put checks the value of a field and puts it in its place.
func (f *Format) put(out *Frame, name, value string, text bool) (err error) {
	if i := strings.IndexFunc(value, control); i >= 0 {
		return fmt.Errorf("the value of %s holds the control character %#02x", name, value[i])
	}
	if len(value) > MaxValue {
		return fmt.Errorf("the value of %s has %d bytes; at most %d", name, len(value), MaxValue)
	}
	switch {
	case name == f.time && name != "":
		out.Time, err = clock(value)
		return err
	case name == "id":
		out.ID = value
		return checkID(value)
	case name == "rate":
		out.Rate = value
	case f.skip[name]:
	default:
		out.Fields = append(out.Fields, reading.Value(name, value, text))
	}
	return nil
}

// fieldName says whether name can be a field's that the configuration does not
// name.
func fieldName(name string) bool {
	return len(name) <= maxName && strings.TrimSpace(name) != "" && utf8.ValidString(name) && strings.IndexFunc(name, control) < 0
}

// control reports C0, DEL and C1, and the two line separators that JSON readers
// stumble over.
func control(r rune) bool {
	return r < ' ' || 0x7f <= r && r <= 0x9f || r == 0x2028 || r == 0x2029
}

// checkID holds ids to the characters of an AWS thing name, [a-zA-Z0-9:_-]: a
// board's id becomes a thing name and a topic level, where / + and # would be
// read as something else.
func checkID(id string) error {
	if id == "" {
		return errors.New("the id is empty")
	}
	if len(id) > MaxID {
		return fmt.Errorf("the id has %d bytes; at most %d", len(id), MaxID)
	}
	for i := range len(id) {
		if c := id[i]; !nameByte(c) && c != '-' && c != ':' {
			return fmt.Errorf("the id %q holds %q; an id has only letters, digits, colon, underscore and hyphen", id, id[i:i+1])
		}
	}
	return nil
}
