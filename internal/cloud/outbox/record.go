package outbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"mote/internal/cloud/store"
)

// What the outbox keeps in the store is described in FORMAT.md; this file is
// the only one that knows the bytes.

const recordVersion = 1

// Flags of a record.
const (
	flagErrorAction = 1 << iota
	flagBatch
	flagKeep

	knownFlags = flagErrorAction | flagBatch | flagKeep
)

var (
	waitingPrefix = []byte{byte(store.SpaceOutbox), 'e'}
	asidePrefix   = []byte{byte(store.SpaceOutbox), 'x'}
)

// laneID stands for a laneKey in keys.
type laneID [16]byte

func newLaneID(kind, rule, name string) (id laneID) {
	var room [256]byte
	text := room[:0]
	for _, s := range []string{kind, rule, name} {
		text = append(binary.AppendUvarint(text, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(text)
	copy(id[:], sum[:])
	return id
}

const keyLen = 2 + len(laneID{}) + 8

func appendKey(dst []byte, id laneID, seq uint64) []byte {
	dst = append(append(dst, waitingPrefix...), id[:]...)
	return binary.BigEndian.AppendUint64(dst, seq)
}

func splitKey(key []byte) (id laneID, seq uint64, ok bool) {
	if len(key) != keyLen {
		return id, 0, false
	}
	copy(id[:], key[2:])
	return id, binary.BigEndian.Uint64(key[2+len(id):]), true
}

// entryID is what receivers get to know an entry by.
func entryID(run []byte, seq uint64) string {
	var raw [16]byte
	copy(raw[:8], run)
	binary.BigEndian.PutUint64(raw[8:], seq)
	return hex.EncodeToString(raw[:])
}

// appendRecord appends the value of e, which was added by the process with the
// random number run. A batch is normal.
func appendRecord(dst []byte, e *Entry, run [8]byte) []byte {
	flags := byte(0)
	if e.HasErrorAction {
		flags |= flagErrorAction
	}
	if e.Batch != nil {
		flags |= flagBatch
	}
	if e.Keep {
		flags |= flagKeep
	}
	dst = append(dst, recordVersion, flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Added.UnixMilli()))
	dst = append(dst, run[:]...)
	dst = appendText(appendText(appendText(dst, e.Kind), e.Rule), e.Lane)
	if b := e.Batch; b != nil {
		for _, n := range []int64{b.MaxOpen.Milliseconds(), int64(b.MaxSize), int64(b.MaxBytes), int64(b.Weight)} {
			dst = binary.AppendUvarint(dst, uint64(n))
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.Context)))
	dst = append(dst, e.Context...)
	return append(dst, e.Data...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

var errDamaged = errors.New("the record is damaged")

// parseRecord reads an entry; the result shares no memory with key and value.
func parseRecord(key, value []byte) (*Entry, error) {
	_, seq, ok := splitKey(key)
	c := fields{b: value}
	if version := c.byte(); !c.bad && version != recordVersion {
		return nil, fmt.Errorf("the record has version %d, this mote reads %d", version, recordVersion)
	}
	flags := c.byte()
	e := &Entry{seq: seq, size: len(key) + len(value), HasErrorAction: flags&flagErrorAction != 0, Keep: flags&flagKeep != 0}
	e.Added = time.UnixMilli(int64(c.uint64()))
	e.ID = entryID(c.take(8), seq)
	e.Kind, e.Rule, e.Lane = c.text(maxKind), c.text(maxRule), c.text(maxLane)
	if flags&flagBatch != 0 {
		e.Batch = &Batching{
			MaxOpen: time.Duration(c.number(uint64(maxBatchOpen/time.Millisecond))) * time.Millisecond,
			MaxSize: c.number(maxBatchSize), MaxBytes: c.number(maxEntry), Weight: c.number(maxEntry),
		}
		c.bad = c.bad || e.Batch.MaxSize == 0
	}
	context := c.take(c.uvarint())
	if c.bad || !ok || flags&^knownFlags != 0 || e.Kind == "" || len(context)+len(c.b) > maxEntry {
		return nil, errDamaged
	}
	e.key = append([]byte{}, key...)
	e.Context, e.Data = append([]byte{}, context...), append([]byte{}, c.b...)
	return e, nil
}

// fields takes a record apart; once it is bad it stays bad and gives zeros.
type fields struct {
	b   []byte
	bad bool
}

func (c *fields) fail() { c.b, c.bad = nil, true }

func (c *fields) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *fields) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *fields) uint64() uint64 {
	if b := c.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *fields) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *fields) number(max uint64) int {
	v := c.uvarint()
	if v > max {
		c.fail()
		return 0
	}
	return int(v)
}

func (c *fields) text(max uint64) string {
	n := c.uvarint()
	if n > max {
		c.fail()
	}
	return string(c.take(n))
}
