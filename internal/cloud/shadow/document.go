package shadow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"mote/internal/cloud/record"
)

// document is a shadow, or what is kept of one that was deleted.
type document struct {
	state   *node // with desired, reported or both; nil when it has neither
	version int64 // 0: there never was one
	updated int64 // seconds since 1970; of the deletion for a deleted one
	deleted bool
}

// exists says whether clients see the shadow.
func (d *document) exists() bool { return d.version > 0 && !d.deleted }

func (d *document) delta() *node {
	return difference(d.state.member("desired"), d.state.member("reported"))
}

// size is how many bytes of state count towards the limit.
func (d *document) size() int {
	if d.state == nil {
		return 0
	}
	return len(d.state.appendTo(nil))
}

// empty stands for a state without sections.
var empty = &node{kind: object}

func orEmpty(n *node) *node {
	if n == nil {
		return empty
	}
	return n
}

// appendSnapshot appends state, metadata and version, as parts of an object.
func (d *document) appendSnapshot(b []byte, state *node) []byte {
	b = orEmpty(state).appendTo(append(b, `"state":`...))
	b = orEmpty(d.state).appendTimes(append(b, `,"metadata":`...))
	return strconv.AppendInt(append(b, `,"version":`...), d.version, 10)
}

// appendEnd appends the time and the token that close an answer.
func appendEnd(b []byte, now int64, token string) []byte {
	b = strconv.AppendInt(append(b, `,"timestamp":`...), now, 10)
	if token != "" {
		b = appendString(append(b, `,"clientToken":`...), token)
	}
	return append(b, '}')
}

// whole is the answer to a get: the state with the delta, whose metadata is
// that of desired and not repeated.
func (d *document) whole(now int64, token string) []byte {
	state := d.state
	if delta := d.delta(); delta != nil {
		with := append(append([]member{}, state.members...), member{"delta", delta})
		state = &node{kind: object, members: with}
	}
	return appendEnd(d.appendSnapshot([]byte{'{'}, state), now, token)
}

// accepted is the answer to an update: what it asked for.
func accepted(r request, version, now int64) []byte {
	b := r.state.appendTo([]byte(`{"state":`))
	b = r.state.appendTimes(append(b, `,"metadata":`...))
	b = strconv.AppendInt(append(b, `,"version":`...), version, 10)
	return appendEnd(b, now, r.token)
}

// documents shows an update from before and after.
func documents(before, after *document, now int64, token string) []byte {
	b := before.appendSnapshot([]byte(`{"previous":{`), before.state)
	b = after.appendSnapshot(append(b, `},"current":{`...), after.state)
	return appendEnd(append(b, '}'), now, token)
}

// deltaMessage is what tells a device what it should change. It has no client
// token, as captured from AWS.
func (d *document) deltaMessage(delta *node, now int64) []byte {
	b := strconv.AppendInt([]byte(`{"version":`), d.version, 10)
	b = strconv.AppendInt(append(b, `,"timestamp":`...), now, 10)
	b = delta.appendTo(append(b, `,"state":`...))
	return append(delta.appendTimes(append(b, `,"metadata":`...)), '}')
}

// removed is the answer to a delete.
func removed(version, now int64, token string) []byte {
	return appendEnd(strconv.AppendInt([]byte(`{"version":`), version, 10), now, token)
}

// rejected is the answer to a request that is refused.
func rejected(e *Error, token string) []byte {
	b := strconv.AppendInt([]byte(`{"code":`), int64(e.Code), 10)
	b = appendString(append(b, `,"message":`...), e.Message)
	if token != "" {
		b = appendString(append(b, `,"clientToken":`...), token)
	}
	return append(b, '}')
}

// recordVersion is the first byte of every stored shadow (FORMAT.md).
const recordVersion = 1

const flagDeleted = 1

// record is the stored form of d.
func (d *document) record() []byte {
	flags := byte(0)
	if d.deleted {
		flags = flagDeleted
	}
	b := binary.AppendUvarint([]byte{recordVersion, flags}, uint64(d.version))
	b = binary.AppendVarint(b, d.updated)
	if d.deleted {
		return b
	}
	return orEmpty(d.state).appendRecord(b, d.updated)
}

func (n *node) appendRecord(b []byte, since int64) []byte {
	b = append(b, byte(n.kind))
	switch n.kind {
	case object:
		b = binary.AppendUvarint(b, uint64(len(n.members)))
		for _, m := range n.members {
			b = record.AppendText(b, m.name)
			b = m.value.appendRecord(b, since)
		}
		return b
	case array:
		b = binary.AppendUvarint(b, uint64(len(n.items)))
		for _, item := range n.items {
			b = item.appendRecord(b, since)
		}
		return b
	case text, number:
		b = record.AppendText(b, n.text)
	}
	return binary.AppendVarint(b, n.at-since)
}

var errDamaged = errors.New("the stored shadow is damaged")

// readRecord reads the stored form.
func readRecord(data []byte) (d document, err error) {
	if len(data) < 2 || data[0] != recordVersion {
		return d, errors.New("the shadow is stored in a form that this mote does not read: use the mote that wrote it")
	}
	r := recordReader{record.Read(data[2:])}
	d.deleted = data[1]&flagDeleted != 0
	d.version = int64(r.Uvarint())
	d.updated = r.Varint()
	if !d.deleted && !r.Bad() {
		if d.state = r.node(d.updated, 0); d.state != nil && len(d.state.members) == 0 {
			d.state = nil
		}
	}
	if r.Bad() || len(r.Left()) > 0 || d.version <= 0 {
		return document{}, fmt.Errorf("%w (%d bytes)", errDamaged, len(data))
	}
	return d, nil
}

// recordReader reads nodes.
type recordReader struct{ record.Reader }

// count reads how many things of at least one byte follow.
func (r *recordReader) count() int {
	n := r.Uvarint()
	if n > uint64(len(r.Left())) {
		r.Fail()
		return 0
	}
	return int(n)
}

func (r *recordReader) node(since int64, depth int) *node {
	if len(r.Left()) == 0 || depth > maxNesting {
		r.Fail()
		return nil
	}
	n := &node{kind: kind(r.Byte())}
	switch n.kind {
	case object:
		for count := r.count(); count > 0 && !r.Bad(); count-- {
			name := r.Text()
			n.members = append(n.members, member{name, r.node(since, depth+1)})
		}
		return n
	case array:
		for count := r.count(); count > 0 && !r.Bad(); count-- {
			n.items = append(n.items, r.node(since, depth+1))
		}
		return n
	case text, number:
		n.text = r.Text()
	case isTrue, isFalse:
	default:
		r.Fail()
	}
	n.at = since + r.Varint()
	return n
}
