package outbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"mote/internal/cloud/record"
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
		text = record.AppendText(text, s)
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
	dst = record.AppendText(record.AppendText(record.AppendText(dst, e.Kind), e.Rule), e.Lane)
	if b := e.Batch; b != nil {
		for _, n := range []int64{b.MaxOpen.Milliseconds(), int64(b.MaxSize), int64(b.MaxBytes), int64(b.Weight)} {
			dst = binary.AppendUvarint(dst, uint64(n))
		}
	}
	return append(record.AppendText(dst, e.Context), e.Data...)
}

var errDamaged = errors.New("the record is damaged")

// parseRecord reads an entry; the result shares no memory with key and value.
func parseRecord(key, value []byte) (*Entry, error) {
	_, seq, ok := splitKey(key)
	c := fields{record.Read(value)}
	if version := c.Byte(); !c.Bad() && version != recordVersion {
		return nil, fmt.Errorf("the record has version %d, this mote reads %d", version, recordVersion)
	}
	flags := c.Byte()
	e := &Entry{seq: seq, size: len(key) + len(value), HasErrorAction: flags&flagErrorAction != 0, Keep: flags&flagKeep != 0}
	e.Added = time.UnixMilli(int64(c.Uint64()))
	e.ID = entryID(c.Take(8), seq)
	e.Kind, e.Rule, e.Lane = c.text(maxKind), c.text(maxRule), c.text(maxLane)
	if flags&flagBatch != 0 {
		e.Batch = &Batching{
			MaxOpen: time.Duration(c.number(uint64(maxBatchOpen/time.Millisecond))) * time.Millisecond,
			MaxSize: c.number(maxBatchSize), MaxBytes: c.number(maxEntry), Weight: c.number(maxEntry),
		}
		if e.Batch.MaxSize == 0 {
			c.Fail()
		}
	}
	context := c.Bytes()
	if c.Bad() || !ok || flags&^knownFlags != 0 || e.Kind == "" || len(context)+len(c.Left()) > maxEntry {
		return nil, errDamaged
	}
	e.key = append([]byte{}, key...)
	e.Context, e.Data = append([]byte{}, context...), append([]byte{}, c.Left()...)
	return e, nil
}

// fields takes a record apart, within bounds.
type fields struct{ record.Reader }

func (c *fields) number(max uint64) int {
	v := c.Uvarint()
	if v > max {
		c.Fail()
		return 0
	}
	return int(v)
}

func (c *fields) text(max uint64) string {
	b := c.Bytes()
	if uint64(len(b)) > max {
		c.Fail()
		return ""
	}
	return string(b)
}
