package provisioning

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The part of CBOR (RFC 8949) that provisioning speaks: what JSON can say too.
// Byte strings, tags and other simple values are refused.

// The major types (RFC 8949, section 3.1).
const (
	majorUint  = 0
	majorNint  = 1
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorOther = 7
)

// maxCBORDepth bounds how deep arrays and maps nest.
const maxCBORDepth = 16

var errCBORShort = errors.New("the CBOR data ends too early")

// decodeCBOR reads one data item that takes all of data, into what
// encoding/json reads JSON into; numbers are json.Number.
func decodeCBOR(data []byte) (any, error) {
	d := cborReader{data}
	v, err := d.item(0)
	if err == nil && len(d.data) > 0 {
		err = fmt.Errorf("%d bytes follow the CBOR data item", len(d.data))
	}
	return v, err
}

// cborReader holds what is not read yet.
type cborReader struct{ data []byte }

// head reads the major type, the additional information and the argument of an
// item. Indefinite lengths (31) are refused.
func (d *cborReader) head() (major, info byte, arg uint64, err error) {
	if len(d.data) == 0 {
		return 0, 0, 0, errCBORShort
	}
	major, info = d.data[0]>>5, d.data[0]&31
	d.data = d.data[1:]
	switch {
	case info < 24:
		return major, info, uint64(info), nil
	case info > 27:
		return 0, 0, 0, fmt.Errorf("CBOR items with the additional information %d are not supported: send definite lengths", info)
	}
	n := 1 << (info - 24)
	if len(d.data) < n {
		return 0, 0, 0, errCBORShort
	}
	for _, b := range d.data[:n] {
		arg = arg<<8 | uint64(b)
	}
	d.data = d.data[n:]
	return major, info, arg, nil
}

func (d *cborReader) item(depth int) (any, error) {
	major, info, arg, err := d.head()
	if err != nil {
		return nil, err
	}
	if depth > maxCBORDepth {
		return nil, fmt.Errorf("the CBOR data nests deeper than %d levels", maxCBORDepth)
	}
	switch major {
	case majorUint:
		return json.Number(fmt.Sprint(arg)), nil
	case majorNint:
		if arg > math.MaxInt64 {
			return nil, errors.New("a negative integer of the CBOR data is too small")
		}
		return json.Number(fmt.Sprint(-1 - int64(arg))), nil
	case majorText:
		return d.text(arg)
	case majorArray:
		return d.array(arg, depth)
	case majorMap:
		return d.object(arg, depth)
	case majorOther:
		return simple(info, arg)
	}
	return nil, fmt.Errorf("CBOR data of the major type %d is not supported here: use text, numbers, arrays and maps", major)
}

func (d *cborReader) text(n uint64) (string, error) {
	if n > uint64(len(d.data)) {
		return "", errCBORShort
	}
	s := string(d.data[:n])
	d.data = d.data[n:]
	if !utf8.ValidString(s) {
		return "", errors.New("a text of the CBOR data is not UTF-8")
	}
	return s, nil
}

// array reads n items; each takes a byte at least, which bounds n.
func (d *cborReader) array(n uint64, depth int) ([]any, error) {
	if n > uint64(len(d.data)) {
		return nil, errCBORShort
	}
	out := []any{}
	for range n {
		v, err := d.item(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (d *cborReader) object(n uint64, depth int) (map[string]any, error) {
	if n > uint64(len(d.data)) {
		return nil, errCBORShort
	}
	out := map[string]any{}
	for range n {
		key, err := d.item(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("a key of a CBOR map is not a text")
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("the key %.50q is twice in a CBOR map", name)
		}
		if out[name], err = d.item(depth + 1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// simple is an item of the last major type (RFC 8949, section 3.3).
func simple(info byte, arg uint64) (any, error) {
	var f float64
	switch info {
	case 20, 21:
		return info == 21, nil
	case 22:
		return nil, nil
	case 26:
		f = float64(math.Float32frombits(uint32(arg)))
	case 27:
		f = math.Float64frombits(arg)
	default:
		return nil, fmt.Errorf("the CBOR simple value %d is not supported", arg)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, errors.New("a number of the CBOR data is not finite")
	}
	return f, nil
}

// appendCBOR appends v, which is what a template or an answer can hold. Keys
// are in order, so that the same answer is the same bytes.
func appendCBOR(b []byte, v any) ([]byte, error) {
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, majorOther<<5|22), nil
	case bool:
		if v {
			return append(b, majorOther<<5|21), nil
		}
		return append(b, majorOther<<5|20), nil
	case int:
		return appendInt(b, int64(v)), nil
	case string:
		return append(appendHead(b, majorText, uint64(len(v))), v...), nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return appendInt(b, n), nil
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return appendHead(b, majorUint, n), nil
		}
		f, err := v.Float64()
		return appendFloat(b, f), err
	case float64:
		return appendFloat(b, v), nil
	case []any:
		b = appendHead(b, majorArray, uint64(len(v)))
		for _, one := range v {
			if b, err = appendCBOR(b, one); err != nil {
				return b, err
			}
		}
		return b, nil
	case map[string]any:
		b = appendHead(b, majorMap, uint64(len(v)))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b = append(appendHead(b, majorText, uint64(len(key))), key...)
			if b, err = appendCBOR(b, v[key]); err != nil {
				return b, err
			}
		}
		return b, nil
	}
	return b, fmt.Errorf("a %T cannot be written as CBOR", v)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, majorNint, uint64(-1-n))
	}
	return appendHead(b, majorUint, uint64(n))
}

func appendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, majorOther<<5|27), math.Float64bits(f))
}

func appendHead(b []byte, major byte, arg uint64) []byte {
	switch {
	case arg < 24:
		return append(b, major<<5|byte(arg))
	case arg <= math.MaxUint8:
		return append(b, major<<5|24, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major<<5|25), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major<<5|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(b, major<<5|27), arg)
}
