package record

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestWhatWasWrittenIsRead(t *testing.T) {
	b := binary.BigEndian.AppendUint64([]byte{7}, 1<<60+1)
	b = binary.AppendVarint(binary.AppendUvarint(b, 300), -300)
	b = AppendText(AppendText(b, "über"), []byte{0, 1})
	whole := append(b, "rest"...)
	r := Read(whole)
	if v := r.Byte(); v != 7 {
		t.Errorf("byte %d", v)
	}
	if v := r.Uint64(); v != 1<<60+1 {
		t.Errorf("number %d", v)
	}
	if u, v := r.Uvarint(), r.Varint(); u != 300 || v != -300 {
		t.Errorf("varints %d, %d", u, v)
	}
	if s, v := r.Text(), r.Bytes(); s != "über" || !bytes.Equal(v, []byte{0, 1}) {
		t.Errorf("texts %q, %q", s, v)
	}
	if r.Bad() || string(r.Left()) != "rest" {
		t.Errorf("bad %v, left %q", r.Bad(), r.Left())
	}
	for n := range b { // cut off anywhere
		r := Read(b[:n])
		r.Byte()
		r.Uint64()
		r.Uvarint()
		r.Varint()
		r.Bytes()
		if r.Text(); !r.Bad() || r.Left() != nil {
			t.Errorf("%d of %d bytes are enough", n, len(b))
		}
	}
}

// FuzzReader: no record is read beyond its end, and a bad one gives zeros.
func FuzzReader(f *testing.F) {
	f.Add(AppendText([]byte{1, 0xFF, 0xFF, 3}, "text"), "bvut")
	f.Add(bytes.Repeat([]byte{0xFF}, 12), "uvtn")
	f.Fuzz(func(t *testing.T, data []byte, steps string) {
		r := Read(data)
		for _, step := range steps {
			was, zero := r.Bad(), true
			switch step {
			case 'b':
				zero = r.Byte() == 0
			case 'n':
				zero = r.Uint64() == 0
			case 'u':
				zero = r.Uvarint() == 0
			case 'v':
				zero = r.Varint() == 0
			default:
				zero = r.Text() == ""
			}
			if was && (!zero || !r.Bad()) || !bytes.HasSuffix(data, r.Left()) {
				t.Fatalf("%c: zero %v, bad %v, left %q", step, zero, r.Bad(), r.Left())
			}
		}
	})
}
