package frame

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown bounds how many bytes of a refused frame are kept for people.
const maxShown = 96

// Reasons for which a frame never reached the parser. The reason of a frame
// that did is the parser's error.
var (
	ErrCutOff  = errors.New("a new frame began before this one ended")
	ErrTooLong = errors.New("no closing mark came within the longest frame")
	ErrUnended = errors.New("the connection ended inside the frame")
	errEmpty   = errors.New("it is empty")

	// errNothing is a line that is not meant to be a frame: an empty one, a
	// comment, the heading of a table.
	errNothing = errors.New("there is no frame on this line")
)

// Reject is a piece of the stream that looked like a frame and was refused.
type Reject struct {
	Reason error
	Length int    // bytes refused, marks included
	Data   []byte // the first bytes of them, at most 96
}

// Hex returns the first bytes of what was refused, in hexadecimal.
func (r Reject) Hex() string { return fmt.Sprintf("% x", r.Data) }

// Text returns the same bytes as text; what cannot be printed is a dot.
func (r Reject) Text() string {
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '.'
		}
		return c
	}, string(r.Data))
}

// Scanner finds frames in the bytes of one connection. Its state is one frame
// of at most the format's longest length. It belongs to one goroutine.
type Scanner struct {
	format *Format
	from   Message // of the frames that do not say it; without Data
	first  bool    // what comes is the first line, which may be the rest of one
	start  matcher // the opening mark; without one, the closing mark of the frame before
	end    matcher
	inside bool
	buf    []byte // what came since the opening mark began, while inside
	head   int    // bytes of buf that are the opening mark

	skipped int64
	held    int // bytes outside that may turn out to begin an opening mark
}

// NewScanner returns a scanner at the begin of a connection.
func (f *Format) NewScanner() *Scanner {
	s := &Scanner{format: f, from: Message{Board: f.board}, end: newMatcher(f.close), buf: make([]byte, 0, min(f.max, 1024))}
	if s.start = newMatcher(f.open); f.open == "" {
		s.start = newMatcher(f.close)
	}
	s.inside, s.first = f.whole, f.whole
	return s
}

// Skipped returns how many bytes since the begin were neither in a frame nor in
// a reject.
func (s *Scanner) Skipped() int64 { return s.skipped }

// Feed takes the next bytes of the stream and calls frame for each frame that
// is now complete and reject for each that was refused, in stream order. The
// slices it hands out are the caller's to keep.
func (s *Scanner) Feed(p []byte, frame func(Frame), reject func(Reject)) {
	for len(p) > 0 {
		if !s.inside {
			p = p[s.skip(p):]
			continue
		}
		s.take(p[0], frame, reject)
		p = p[1:]
	}
}

// End says that the connection ended, which refuses a frame that is not
// complete. The scanner is then at the begin of a connection again; the count
// of skipped bytes goes on.
func (s *Scanner) End(reject func(Reject)) {
	if s.inside && len(s.buf) > s.head {
		reject(s.refuse(ErrUnended, len(s.buf)))
	} else {
		s.skipped += int64(len(s.buf))
	}
	s.skipped += int64(s.held)
	s.inside, s.first = s.format.whole, s.format.whole
	s.held, s.buf, s.head = 0, s.buf[:0], 0
	s.start.reset()
	s.end.reset()
}

// skip passes over bytes outside frames up to and including the next opening
// mark and returns how many it took.
func (s *Scanner) skip(p []byte) int {
	n := 0
	if s.start.matched == 0 { // the common case: nothing begun, look for a first byte
		if n = bytes.IndexByte(p, s.start.mark[0]); n < 0 {
			s.skipped += int64(len(p))
			return len(p)
		}
		s.skipped += int64(n)
	}
	for n < len(p) {
		s.held++
		opened := s.start.step(p[n])
		n++
		if opened {
			s.begin()
			return n
		}
		s.skipped += int64(s.held - s.start.matched)
		if s.held = s.start.matched; s.held == 0 {
			return n
		}
	}
	return n
}

// begin starts a frame whose opening mark has just been seen outside.
func (s *Scanner) begin() {
	s.inside = true
	s.buf, s.head = append(s.buf[:0], s.format.open...), len(s.format.open)
	// Of an end that only brings the scanner into step, nothing is kept.
	s.skipped += int64(s.held - s.head)
	s.held = 0
	s.end.reset()
	if s.head == 0 {
		s.start.reset()
	}
}

// take is one byte inside a frame.
func (s *Scanner) take(c byte, frame func(Frame), reject func(Reject)) {
	s.buf = append(s.buf, c)
	switch {
	case s.end.step(c):
		s.finish(frame, reject)
	case s.head > 0 && s.start.step(c):
		s.restart(reject)
	case len(s.buf) >= s.format.max:
		s.overflow(reject)
	}
}

// finish is a complete frame in buf.
func (s *Scanner) finish(frame func(Frame), reject func(Reject)) {
	body := s.buf[s.head : len(s.buf)-len(s.end.mark)]
	switch fr, err := s.parse(body); {
	case err == nil:
		frame(fr)
	case s.head == 0 && len(body) == 0, errors.Is(err, errNothing), s.first:
		s.skipped += int64(len(s.buf))
	default:
		reject(s.refuse(err, len(s.buf)))
	}
	s.buf = s.buf[:0]
	s.start.reset()
	s.end.reset()
	s.inside, s.first = s.head == 0, false
}

func (s *Scanner) parse(body []byte) (Frame, error) {
	if len(body) == 0 {
		return Frame{}, errEmpty
	}
	return s.format.read(s.from, body)
}

// restart is an opening mark inside a frame: what came before it is refused,
// unless it is nothing but opening marks that overlap.
func (s *Scanner) restart(reject func(Reject)) {
	lost := len(s.buf) - s.head
	if lost > s.head {
		reject(s.refuse(ErrCutOff, lost))
	} else {
		s.skipped += int64(lost)
	}
	s.buf = append(s.buf[:0], s.format.open...)
	s.end.reset()
}

// overflow refuses a frame that has reached its longest length. What may be the
// begin of an opening mark at its end stays.
func (s *Scanner) overflow(reject func(Reject)) {
	s.inside, s.first = false, false
	s.held = 0
	if s.head > 0 {
		s.held = s.start.matched
	} else { // in step again after the end of this one
		s.start.matched = s.end.matched
		s.held = s.start.matched
	}
	reject(s.refuse(ErrTooLong, len(s.buf)-s.held))
	s.buf = s.buf[:0]
}

func (s *Scanner) refuse(why error, n int) Reject {
	return Reject{Reason: why, Length: n, Data: bytes.Clone(s.buf[:min(n, maxShown)])}
}

// matcher finds a mark in a stream, one byte at a time, in constant time per
// byte on average (Knuth, Morris and Pratt).
type matcher struct {
	mark    string
	fall    []int // fall[i]: the longest border of mark[:i]
	matched int   // how many bytes of mark the stream ends with
}

func newMatcher(mark string) matcher {
	m := matcher{mark: mark, fall: make([]int, len(mark)+1)}
	for i, k := 1, 0; i < len(mark); i++ {
		for k > 0 && mark[i] != mark[k] {
			k = m.fall[k]
		}
		if mark[i] == mark[k] {
			k++
		}
		m.fall[i+1] = k
	}
	return m
}

func (m *matcher) reset() { m.matched = 0 }

// step takes the next byte and reports whether the mark ends with it.
func (m *matcher) step(c byte) bool {
	for m.matched > 0 && c != m.mark[m.matched] {
		m.matched = m.fall[m.matched]
	}
	if c == m.mark[m.matched] {
		m.matched++
	}
	if m.matched < len(m.mark) {
		return false
	}
	m.matched = m.fall[m.matched]
	return true
}
