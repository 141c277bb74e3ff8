package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The byte layout; FORMAT.md says the same in words.
const (
	magic      = "moteSPOL"
	version    = 1
	blockBytes = 4096           // what pre-zeroing writes and a header copy takes
	headBytes  = 2 * blockBytes // two copies of the header, then records

	headFixed = 48             // header bytes before the readers
	headCRC   = blockBytes - 4 // where a header copy's checksum lies

	recordHead  = 12 // checksum, length and type, delta
	recordAlign = 4
	recordLeast = recordHead + recordAlign // bytes of the smallest record

	typeData = 0xD1
	typeAcks = 0xA1

	// MaxRecord is the largest record in bytes.
	MaxRecord = 64 << 10

	maxReaders    = 32
	maxReaderName = 64
	maxBase       = 1 << 62 // no real spool counts so far; larger is damage
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// ackState is what one reader has acknowledged.
type ackState struct {
	name string
	progress
	change uint64 // of the reader's progress; not on disk
}

// header is what stands twice at the start of a segment.
type header struct {
	size       int64  // of the segment in bytes
	generation uint64 // grows with every use of every segment file
	base       uint64 // sequence of the first record
	salt       uint64 // random, so that no stale or foreign bytes can parse
	created    int64  // Unix milliseconds, informative
	acks       []ackState
}

// seed is the start value of the checksums of the segment's records.
func (h *header) seed() uint32 {
	var b [24]byte
	le.PutUint64(b[0:], h.salt)
	le.PutUint64(b[8:], h.generation)
	le.PutUint64(b[16:], h.base)
	return crc32.Checksum(b[:], castagnoli)
}

// appendHeader appends both copies of h to dst.
func appendHeader(dst []byte, h *header) []byte {
	block := make([]byte, headFixed, blockBytes)
	copy(block, magic)
	le.PutUint16(block[8:], version)
	le.PutUint16(block[10:], uint16(len(h.acks)))
	le.PutUint32(block[12:], uint32(h.size))
	le.PutUint64(block[16:], h.generation)
	le.PutUint64(block[24:], h.base)
	le.PutUint64(block[32:], h.salt)
	le.PutUint64(block[40:], uint64(h.created))
	block = appendRanges(appendAcks(block, h.acks), h.acks)[:blockBytes]
	le.PutUint32(block[headCRC:], crc32.Checksum(block[:headCRC], castagnoli))
	dst = append(dst, block...)
	return append(dst, block...)
}

// parseHeader reads the better copy from the first headBytes of a segment; b
// may be shorter. ok is false when neither copy is whole. err says that a copy
// is whole but this program does not know its version.
func parseHeader(b []byte) (h header, ok bool, err error) {
	for range 2 {
		if len(b) < blockBytes {
			break
		}
		if h, ok, err = parseHeaderCopy(b[:blockBytes]); ok || err != nil {
			return h, ok, err
		}
		b = b[blockBytes:]
	}
	return header{}, false, nil
}

func parseHeaderCopy(b []byte) (h header, ok bool, err error) {
	if string(b[:8]) != magic || le.Uint32(b[headCRC:]) != crc32.Checksum(b[:headCRC], castagnoli) {
		return h, false, nil
	}
	if v := le.Uint16(b[8:]); v != version {
		return h, false, fmt.Errorf("segment has format version %d, this program knows version %d: use the program that wrote it", v, version)
	}
	h.size = int64(le.Uint32(b[12:]))
	h.generation = le.Uint64(b[16:])
	h.base = le.Uint64(b[24:])
	h.salt = le.Uint64(b[32:])
	h.created = int64(le.Uint64(b[40:]))
	if h.base == 0 || h.base > maxBase || h.generation > maxBase {
		return header{}, false, nil
	}
	h.acks, ok = parseAcks(b[headFixed:headCRC], int(le.Uint16(b[10:])))
	return h, ok, nil
}

// appendAcks appends the states, each as name length, name and sequence.
func appendAcks(dst []byte, acks []ackState) []byte {
	for _, a := range acks {
		dst = append(dst, byte(len(a.name)))
		dst = append(dst, a.name...)
		dst = le.AppendUint64(dst, a.acked)
	}
	return dst
}

// appendRanges appends each reader's ranges: their number, then the ends of
// each. Programs that do not know them ignore what follows the states.
func appendRanges(dst []byte, acks []ackState) []byte {
	for _, a := range acks {
		dst = append(dst, byte(len(a.ranges)))
		for _, r := range a.ranges {
			dst = le.AppendUint64(le.AppendUint64(dst, r.from), r.to)
		}
	}
	return dst
}

// parseRanges reads the ranges that follow the states. It believes them as far
// as they make sense: a range that is not believed is delivered again.
func parseRanges(b []byte, acks []ackState) {
	for i := range acks {
		if len(b) == 0 || b[0] > maxRanges || len(b) < 1+16*int(b[0]) {
			return
		}
		n := int(b[0])
		b = b[1:]
		for range n {
			r := seqs{le.Uint64(b), le.Uint64(b[8:])}
			if r.from > r.to || r.to > maxBase {
				return
			}
			acks[i].add(r)
			b = b[16:]
		}
	}
}

// parseAcks reads count states from the start of b, and the ranges behind them.
func parseAcks(b []byte, count int) ([]ackState, bool) {
	if count > maxReaders {
		return nil, false
	}
	acks := make([]ackState, 0, count)
	for range count {
		if len(b) == 0 || len(b) < 1+int(b[0])+8 {
			return nil, false
		}
		n := 1 + int(b[0])
		a := ackState{name: string(b[1:n]), progress: progress{acked: le.Uint64(b[n:])}}
		if checkReaderName(a.name) != nil || a.acked > maxBase {
			return nil, false
		}
		acks, b = append(acks, a), b[n+8:]
	}
	parseRanges(b, acks)
	return acks, true
}

// parseAckRecord reads the data of a record of typeAcks.
func parseAckRecord(b []byte) ([]ackState, bool) {
	if len(b) == 0 {
		return nil, false
	}
	return parseAcks(b[1:], int(b[0]))
}

func appendAckRecord(dst []byte, seed, delta uint32, acks []ackState) []byte {
	var small [256]byte
	data := appendRanges(appendAcks(append(small[:0], byte(len(acks))), acks), acks)
	return appendRecord(dst, seed, typeAcks, delta, data)
}

// appendRecord appends one record and its padding. dst must stand for bytes
// that begin at an aligned place of the segment.
func appendRecord(dst []byte, seed uint32, typ byte, delta uint32, data []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = le.AppendUint32(dst, uint32(len(data))|uint32(typ)<<24)
	dst = le.AppendUint32(dst, delta)
	dst = append(dst, data...)
	le.PutUint32(dst[at:], crc32.Update(seed, castagnoli, dst[at+4:]))
	if over := len(dst) % recordAlign; over != 0 {
		dst = append(dst, "\x00\x00\x00\x00"[over:]...)
	}
	return dst
}

// recordBytes is the room in a segment that data of n bytes takes.
func recordBytes(n int) int64 {
	return (int64(n) + recordHead + recordAlign - 1) / recordAlign * recordAlign
}

func checkReaderName(name string) error {
	outside := func(r rune) bool { return r <= ' ' || r > '~' }
	if name == "" || len(name) > maxReaderName || bytes.ContainsFunc([]byte(name), outside) {
		return fmt.Errorf("spool reader name %.80q: want 1 to %d printable ASCII characters without spaces", name, maxReaderName)
	}
	return nil
}
