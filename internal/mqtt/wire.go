package mqtt

import (
	"encoding/binary"
	"unicode/utf8"
)

// maxRemaining is the largest remaining length, four bytes of seven bits
// (section 1.5.5).
const maxRemaining = 268_435_455

// maxText is the longest UTF-8 string and binary data (sections 1.5.4, 1.5.6).
const maxText = 65_535

// varint reads a variable byte integer (section 1.5.5). n is its length in
// bytes: 0 when b ends inside it, -1 when it is longer than four bytes.
func varint(b []byte) (value uint32, n int) {
	for n < 4 {
		if n == len(b) {
			return 0, 0
		}
		c := b[n]
		value |= uint32(c&0x7F) << (7 * n)
		n++
		if c < 0x80 {
			return value, n
		}
	}
	return 0, -1
}

// varintLen is how many bytes value takes; value is at most maxRemaining.
func varintLen(value uint32) int {
	switch {
	case value < 1<<7:
		return 1
	case value < 1<<14:
		return 2
	case value < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(dst []byte, value uint32) []byte {
	for value >= 0x80 {
		dst = append(dst, byte(value)|0x80)
		value >>= 7
	}
	return append(dst, byte(value))
}

// setLength writes n as a variable byte integer in the place of the single byte
// dst[at], which stands for it, and moves up what follows.
func setLength(dst []byte, at, n int) ([]byte, error) {
	if n > maxRemaining {
		return nil, refuse(PacketTooLarge, "%d bytes do not fit in one packet, the most are %d (section 1.5.5)", n, maxRemaining)
	}
	var v [4]byte
	enc := appendVarint(v[:0], uint32(n))
	if extra := len(enc) - 1; extra > 0 {
		end := len(dst)
		dst = append(dst, enc[1:]...)
		copy(dst[at+1+extra:], dst[at+1:end])
	}
	copy(dst[at:], enc)
	return dst, nil
}

func appendText[T string | []byte](dst []byte, what string, s T) ([]byte, error) {
	if len(s) > maxText {
		return nil, malformed("%s has %d bytes, the most are %d (section 1.5.4)", what, len(s), maxText)
	}
	dst = append(dst, byte(len(s)>>8), byte(len(s)))
	return append(dst, s...), nil
}

// validText checks a UTF-8 encoded string [MQTT-1.5.4-1], [MQTT-1.5.4-2].
// Control characters and non-characters are let through, as the standard
// leaves open.
func validText(what string, b []byte) error {
	if plainText(b) {
		return nil
	}
	for _, c := range b {
		if c == 0 {
			return malformed("%s contains the null character [MQTT-1.5.4-2]", what)
		}
	}
	if !utf8.Valid(b) {
		return malformed("%s is not UTF-8: %.40q [MQTT-1.5.4-1]", what, b)
	}
	return nil
}

// plainText says whether b is ASCII without a null character.
func plainText(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		// (w-ones)&^w has a high bit where a byte of w is zero
		if (w|(w-ones)&^w)&highs != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c-1 >= 0x7F { // 0, or above 0x7F
			return false
		}
	}
	return true
}

// cursor reads the fields of one packet body. The first thing that is wrong is
// kept in err, and everything read after it is zero.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *cursor) take(n int, what string) []byte {
	if c.err != nil || len(c.b) < n {
		c.fail(malformed("packet ends before its %s", what))
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) u8(what string) byte {
	if b := c.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16(what string) uint16 {
	if b := c.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32(what string) uint32 {
	if b := c.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// packetID reads a packet identifier, which is never 0 [MQTT-2.2.1-3].
func (c *cursor) packetID() uint16 {
	id := c.u16("packet identifier")
	if id == 0 && c.err == nil {
		c.fail(protocolError("packet identifier 0 [MQTT-2.2.1-3]"))
	}
	return id
}

// binary reads two bytes of length and as many bytes (section 1.5.6); the
// result is a part of the packet.
func (c *cursor) binary(what string) []byte {
	n := c.u16(what)
	return c.take(int(n), what)
}

// text reads a UTF-8 encoded string (section 1.5.4) as a part of the packet.
func (c *cursor) text(what string) []byte {
	b := c.binary(what)
	if c.err == nil {
		if err := validText(what, b); err != nil {
			c.fail(err)
		}
	}
	return b
}

// varint reads a variable byte integer in its shortest form [MQTT-1.5.5-1].
func (c *cursor) varint(what string) uint32 {
	if c.err != nil {
		return 0
	}
	value, n := varint(c.b)
	switch {
	case n == 0:
		c.fail(malformed("packet ends before its %s", what))
	case n < 0 || n != varintLen(value):
		c.fail(malformed("%s is not a variable byte integer in its shortest form [MQTT-1.5.5-1]", what))
	default:
		c.b = c.b[n:]
	}
	return value
}

// end checks that nothing is left.
func (c *cursor) end(t Type) error {
	if c.err == nil && len(c.b) > 0 {
		c.fail(malformed("%d bytes too many at the end of %s", len(c.b), t))
	}
	return c.err
}
