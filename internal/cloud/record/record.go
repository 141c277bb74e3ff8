// Package record has what the durable records of the cloud's parts are put
// together of, and takes them apart again. What is in a record, and its version,
// is its package's affair.
package record

import "encoding/binary"

// AppendText appends a text: its length in bytes as unsigned varint, and its
// bytes.
func AppendText[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Reader takes a record apart from its beginning on. Once something is not there
// it is bad, stays bad, and gives zeros.
type Reader struct {
	left []byte
	bad  bool
}

// Read begins with the first byte of data.
func Read(data []byte) Reader { return Reader{left: data} }

// Bad says whether the record was not as it was read.
func (r *Reader) Bad() bool { return r.bad }

// Fail makes it bad.
func (r *Reader) Fail() { r.left, r.bad = nil, true }

// Left is what was not read yet, a part of the record's memory.
func (r *Reader) Left() []byte { return r.left }

// Take reads n bytes, a part of the record's memory.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.left)) {
		r.Fail()
		return nil
	}
	out := r.left[:n:n]
	r.left = r.left[n:]
	return out
}

// Byte reads a byte.
func (r *Reader) Byte() byte {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint64 reads a number of eight bytes, the most significant first.
func (r *Reader) Uint64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads an unsigned varint.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.left)
	r.skip(n)
	return v
}

// Varint reads a signed varint.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.left)
	r.skip(n)
	return v
}

// skip goes past a varint of n bytes; there is none when n is not positive, and
// its value 0.
func (r *Reader) skip(n int) {
	if n <= 0 {
		r.Fail()
		return
	}
	r.left = r.left[n:]
}

// Bytes reads what [AppendText] wrote, as a part of the record's memory.
func (r *Reader) Bytes() []byte { return r.Take(r.Uvarint()) }

// Text reads what [AppendText] wrote.
func (r *Reader) Text() string { return string(r.Bytes()) }
