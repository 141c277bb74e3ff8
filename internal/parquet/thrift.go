package parquet

import "encoding/binary"

// Types of Thrift's compact protocol (Apache Thrift, "Compact protocol").
const (
	thriftI32    = 5
	thriftI64    = 6
	thriftBinary = 8
	thriftList   = 9
	thriftStruct = 12
)

// encoder writes the metadata. Fields of a struct are written in the order of
// their ids.
type encoder struct {
	buf  []byte
	last []int16 // id of the last field of each open struct, the innermost last
}

func (e *encoder) open()  { e.last = append(e.last, 0) }
func (e *encoder) close() { e.buf, e.last = append(e.buf, 0), e.last[:len(e.last)-1] }

func (e *encoder) field(id int16, kind byte) {
	last := &e.last[len(e.last)-1]
	if delta := id - *last; delta > 0 && delta < 16 {
		e.buf = append(e.buf, byte(delta)<<4|kind)
	} else {
		e.buf = binary.AppendVarint(append(e.buf, kind), int64(id))
	}
	*last = id
}

func (e *encoder) i32(id int16, v int) {
	e.field(id, thriftI32)
	e.buf = binary.AppendVarint(e.buf, int64(v)) // zigzag, as Thrift has it
}

func (e *encoder) i64(id int16, v int64) {
	e.field(id, thriftI64)
	e.buf = binary.AppendVarint(e.buf, v)
}

func (e *encoder) text(id int16, s string) {
	e.field(id, thriftBinary)
	e.bytes(s)
}

func (e *encoder) bytes(s string) {
	e.buf = append(binary.AppendUvarint(e.buf, uint64(len(s))), s...)
}

func (e *encoder) list(id int16, kind byte, n int) {
	e.field(id, thriftList)
	if n < 15 {
		e.buf = append(e.buf, byte(n)<<4|kind)
		return
	}
	e.buf = binary.AppendUvarint(append(e.buf, 0xf0|kind), uint64(n))
}

// inside writes a member that is a struct.
func (e *encoder) inside(id int16, write func()) {
	e.field(id, thriftStruct)
	e.element(write)
}

// element writes one struct of a list.
func (e *encoder) element(write func()) {
	e.open()
	write()
	e.close()
}
