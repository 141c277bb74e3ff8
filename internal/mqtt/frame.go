package mqtt

import (
	"io"
)

// Decoder decodes what one side of one connection sends. It is a value of
// settings; all its methods may be called concurrently.
type Decoder struct {
	// Version is V311 or V5; 0 before CONNECT told it, when only CONNECT can
	// be decoded.
	Version byte
	// From is the side that sends; 0 accepts the packets of both.
	From Side
	// Max is the largest packet accepted, in bytes with its header (what
	// version 5 calls Maximum Packet Size, section 3.1.2.11.4); 0 means the
	// protocol's own limit of 268,435,460.
	Max int
	// Level3 accepts a CONNECT of MQTT 3.1, the version before the first standard,
	// and DUP where that has it.
	Level3 bool
}

// Frame is one control packet, split from the stream but not decoded.
type Frame struct {
	First byte   // type and flags (section 2.1)
	Body  []byte // variable header and payload; a part of the buffer it came from
}

// Type is the packet's type.
func (f Frame) Type() Type { return Type(f.First >> 4) }

// Next splits the first packet off buf. n is how many bytes it takes; 0 means
// that buf does not hold all of it yet. A packet larger than Max is refused
// with PacketTooLarge as soon as its length can be read. The frame's body is a
// part of buf.
func (d *Decoder) Next(buf []byte) (f Frame, n int, err error) {
	if len(buf) < 2 {
		return f, 0, nil
	}
	head, size := 2, int(buf[1])
	if size >= 0x80 {
		if head, size, err = d.longLength(buf); head == 0 || err != nil {
			return f, 0, err
		}
	}
	if d.Max > 0 && size > d.Max-head {
		return f, 0, refuse(PacketTooLarge, "%s of %d bytes, at most %d are accepted (section 3.1.2.11.4)", Type(buf[0]>>4), int64(head)+int64(size), d.Max)
	}
	if size > len(buf)-head {
		return f, 0, nil
	}
	return Frame{First: buf[0], Body: buf[head : head+size : head+size]}, head + size, nil
}

// longLength reads a remaining length of more than one byte (section 2.1.4).
// head is the length of the fixed header, 0 when buf ends inside it. The
// shortest form is demanded from version 5 only: version 3.1.1 does not ask
// for it, and small devices write padded lengths.
func (d *Decoder) longLength(buf []byte) (head, size int, err error) {
	value, n := varint(buf[1:])
	switch {
	case n < 0:
		return 0, 0, malformed("remaining length takes more than 4 bytes (section 1.5.5)")
	case n == 0:
		return 0, 0, nil
	case d.Version == V5 && n != varintLen(value):
		return 0, 0, malformed("remaining length %d is written in %d bytes [MQTT-1.5.5-1]", value, n)
	}
	return 1 + n, int(value), nil
}

// missing is how many bytes must be there for the packet that buf begins with;
// it is called when buf does not hold all of it and Next had nothing against
// its length.
func missing(buf []byte) int {
	if len(buf) < 2 {
		return 2
	}
	value, n := varint(buf[1:])
	if n <= 0 {
		return len(buf) + 1
	}
	return 1 + n + int(value)
}

// The sizes of a Reader's buffer.
const (
	smallBuffer = 1 << 10
	burstBuffer = 64 << 10
)

// Reader splits a stream into frames through a buffer that grows with the
// traffic and with the packets, never above Decoder.Max or 64 KiB, whichever
// is more.
//
// Fill reads once; Next then gives the frames of the whole burst without
// reading, all valid until the next Fill, so that a burst can be handled and
// acknowledged together.
type Reader struct {
	Decoder
	src        io.Reader
	buf        []byte
	start, end int // the bytes not yet given out are buf[start:end]
	quiet      int // reads in a row that left most of the buffer unused
}

// NewReader returns a Reader of src. Version and Max may be changed between
// frames, once CONNECT or CONNACK has told them.
func NewReader(src io.Reader, d Decoder) *Reader {
	return &Reader{Decoder: d, src: src}
}

// Next returns the next frame that is wholly in the buffer; ok is false when
// there is none, and Fill is to be called.
func (r *Reader) Next() (f Frame, ok bool, err error) {
	f, n, err := r.Decoder.Next(r.buf[r.start:r.end])
	r.start += n
	return f, n > 0 && err == nil, err
}

// Fill reads once from the source. Frames given out before are no longer valid.
// The error is the source's: io.EOF between packets, io.ErrUnexpectedEOF inside
// one.
func (r *Reader) Fill() error {
	r.room()
	n, err := r.src.Read(r.buf[r.end:])
	r.adapt(n)
	r.end += n
	if n > 0 {
		return nil // an error comes again with the next read
	}
	if err == io.EOF && r.end > r.start {
		return io.ErrUnexpectedEOF
	}
	return err
}

// room moves the unfinished packet to the start of a buffer that can hold it.
func (r *Reader) room() {
	rest := r.buf[r.start:r.end]
	want := max(len(r.buf), smallBuffer)
	if len(rest) > 0 {
		want = max(want, missing(rest))
	}
	if r.quiet < 0 && want < burstBuffer { // the last read filled the buffer
		want = min(2*want, burstBuffer)
	}
	if r.quiet >= 32 && len(rest) == 0 && want > smallBuffer {
		want = max(want/2, smallBuffer)
	}
	if want != len(r.buf) {
		r.quiet = 0
		grown := make([]byte, want)
		r.end = copy(grown, rest)
		r.buf, r.start = grown, 0
		return
	}
	r.end = copy(r.buf, rest)
	r.start = 0
}

// adapt notes how much of the free buffer a read of n bytes used.
func (r *Reader) adapt(n int) {
	free := len(r.buf) - r.end
	switch {
	case n == free && r.end < len(r.buf):
		r.quiet = -1
	case n < len(r.buf)/8 && r.quiet >= 0:
		r.quiet++
	default:
		r.quiet = 0
	}
}

// Release gives up the buffer when nothing is in it, until the next Fill: for
// a connection that has been idle for a while. Frames given out before are no
// longer valid.
func (r *Reader) Release() {
	if r.start == r.end {
		r.buf, r.start, r.end, r.quiet = nil, 0, 0, 0
	}
}

// Buffered is how many bytes were read but not yet given out as frames.
func (r *Reader) Buffered() int { return r.end - r.start }
