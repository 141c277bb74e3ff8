package table

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"mote/internal/cloud/store"
)

// What the records of a stream hold besides the key.
const (
	ViewKeys = "KEYS_ONLY"
	ViewNew  = "NEW_IMAGE"
	ViewOld  = "OLD_IMAGE"
	ViewBoth = "NEW_AND_OLD_IMAGES"
)

// streamKept is how long the records of a stream are kept (DynamoDB developer
// guide, "Change data capture for DynamoDB Streams"), also those of a stream
// that was disabled and of a table that was dropped.
const streamKept = 24 * time.Hour

// Stream is the changes of a table's items, in the order of their commits, in
// one shard. It does not change once it is made.
type Stream struct {
	ARN     string
	Label   string
	Table   string
	View    string
	Hash    KeyAttr
	Range   *KeyAttr
	Created time.Time
	Closed  time.Time // zero while the stream is enabled

	First, Last uint64 // sequence numbers: the least that is possible, and of a closed stream the greatest
	floor       uint64 // all records below were removed
	table       uint32
	id          uint16
}

// streamRecord is a stream in the store (FORMAT.md).
type streamRecord struct {
	Version int      `json:"version"`
	ARN     string   `json:"arn"`
	Label   string   `json:"label"`
	Table   string   `json:"table"`
	View    string   `json:"view"`
	Hash    KeyAttr  `json:"hash"`
	Range   *KeyAttr `json:"range,omitempty"`
	Created int64    `json:"created"`          // Unix milliseconds
	Closed  int64    `json:"closed,omitempty"` // the same
	First   uint64   `json:"first"`
	Last    uint64   `json:"last,omitempty"`
	Floor   uint64   `json:"floor,omitempty"`
}

const streamVersion = 1

// Kinds of keys in the space of streams.
const (
	streamHead    = 0 // a stream itself
	streamChanges = 1 // its records
)

func appendStreamKey(kind byte, table uint32, id uint16) []byte {
	key := binary.BigEndian.AppendUint32([]byte{byte(store.SpaceStream), kind}, table)
	return binary.BigEndian.AppendUint16(key, id)
}

const streamKeyLen = 2 + 4 + 2

func (s *Stream) recordKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendStreamKey(streamChanges, s.table, s.id), seq)
}

// save adds the stream itself to b. A new one must have room; what becomes of it
// later goes with removals.
func (s *Stream) save(b *store.Batch, isNew bool) error {
	r := streamRecord{
		Version: streamVersion, ARN: s.ARN, Label: s.Label, Table: s.Table, View: s.View, Hash: s.Hash, Range: s.Range,
		Created: s.Created.UnixMilli(), First: s.First, Last: s.Last, Floor: s.floor,
	}
	if !s.Closed.IsZero() {
		r.Closed = s.Closed.UnixMilli()
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := appendStreamKey(streamHead, s.table, s.id)
	if isNew {
		b.Set(key, data)
	} else {
		b.Note(key, data)
	}
	return nil
}

// loadStreams reads all streams, and the last sequence number that was given.
func (db *DB) loadStreams() error {
	heads := []byte{byte(store.SpaceStream), streamHead}
	it, err := db.st.Iterator(heads, store.PrefixEnd(heads))
	if err != nil {
		return err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		s, err := readStream(it.Key(), it.Value())
		if err != nil {
			return err
		}
		last, err := db.lastRecord(s)
		if err != nil {
			return err
		}
		db.sequence.Store(max(db.sequence.Load(), last, s.First, s.Last, s.floor))
		db.streams.Store(s.ARN, s)
	}
	return it.Error()
}

func readStream(key, data []byte) (*Stream, error) {
	var r streamRecord
	if len(key) != streamKeyLen {
		return nil, errDamaged
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("record of a stream: %w", err)
	}
	if r.Version != streamVersion {
		return nil, fmt.Errorf("record of stream %s has version %d, this mote reads %d: use the mote that wrote it", r.ARN, r.Version, streamVersion)
	}
	s := &Stream{
		ARN: r.ARN, Label: r.Label, Table: r.Table, View: r.View, Hash: r.Hash, Range: r.Range, Created: time.UnixMilli(r.Created),
		First: r.First, Last: r.Last, floor: r.Floor, table: binary.BigEndian.Uint32(key[2:]), id: binary.BigEndian.Uint16(key[6:]),
	}
	if r.Closed != 0 {
		s.Closed = time.UnixMilli(r.Closed)
	}
	return s, nil
}

// streamOf returns the stream of a table, nil when it is gone.
func (db *DB) streamOf(table uint32, id uint16) (found *Stream) {
	db.streams.Range(func(_, v any) bool {
		if s := v.(*Stream); s.table == table && s.id == id {
			found = s
		}
		return found == nil
	})
	return found
}

// streaming says whether changes are recorded.
func (t *Table) streaming() bool { return t.Stream != nil && t.Stream.Closed.IsZero() }

// lastRecord is the greatest sequence number in a stream, 0 when it is empty.
func (db *DB) lastRecord(s *Stream) (uint64, error) {
	prefix := appendStreamKey(streamChanges, s.table, s.id)
	it, err := db.st.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return 0, err
	}
	defer it.Close()
	if !it.Last() {
		return 0, it.Error()
	}
	return sequenceOf(it.Key())
}

func sequenceOf(key []byte) (uint64, error) {
	if len(key) != streamKeyLen+8 {
		return 0, errDamaged
	}
	return binary.BigEndian.Uint64(key[streamKeyLen:]), nil
}

// openStream gives t, which nobody else sees yet, a stream.
func (db *DB) openStream(t *Table, view string, b *store.Batch) error {
	if t.streaming() {
		return invalid("Table already has an enabled stream: TableName: %s", t.Name)
	}
	t.nextIndex++
	now := db.opt.Now().UTC().Truncate(time.Millisecond)
	label := now.Format("2006-01-02T15:04:05.000")
	t.Stream = &Stream{
		ARN: t.ARN + "/stream/" + label, Label: label, Table: t.Name, View: view, Hash: t.Hash, Range: t.Range,
		Created: now, First: db.sequence.Load() + 1, table: t.id, id: t.nextIndex,
	}
	if _, exists := db.streams.Load(t.Stream.ARN); exists {
		return invalid("A stream with the label %s is there already: wait a moment and try again", label)
	}
	return db.keepStream(t.Stream, b, true)
}

// closeStream ends the stream of t: no records are added once b is applied.
func (db *DB) closeStream(t *Table, b *store.Batch) {
	b.BeforeApply(func() error {
		known, err := db.Stream(t.Stream.ARN) // as the removal of old records left it
		if err != nil {
			return err
		}
		s := *known
		s.Closed, s.Last = db.opt.Now(), db.sequence.Load()
		t.Stream = &s
		return db.keepStream(&s, b, false)
	})
}

// keepStream adds the stream to b, and to the known ones when b is applied.
func (db *DB) keepStream(s *Stream, b *store.Batch, isNew bool) error {
	b.OnApplied(func() {
		if b.Applied() {
			db.streams.Store(s.ARN, s)
		}
	})
	return s.save(b, isNew)
}

// setStream does what StreamSpecification says; view "" disables.
func (db *DB) setStream(t *Table, view string, b *store.Batch) error {
	if view != "" {
		return db.openStream(t, view, b)
	}
	if !t.streaming() {
		return invalid("Table has no stream to disable: TableName: %s", t.Name)
	}
	db.closeStream(t, b)
	return nil
}
