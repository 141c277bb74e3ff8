package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mote/internal/cloud/store"
)

// Change is one record of a stream.
type Change struct {
	Sequence uint64
	Event    string // INSERT, MODIFY or REMOVE
	At       time.Time
	Keys     Item
	Old, New Item // nil: the view does not have it, or there was none
	Size     int  // bytes of keys and images
	Expired  bool // the item was removed since its time was over
}

// record adds the record of a change to b; a change that leaves the item as it
// was makes none. It runs in the order of commits.
func (s *Stream) record(db *DB, b *store.Batch, c *change) {
	if c.old != nil && c.item != nil && equal(&Value{Kind: M, Map: c.old}, &Value{Kind: M, Map: c.item}) {
		return
	}
	item := c.item
	if item == nil {
		item = c.old
	}
	r := Change{Event: "MODIFY", At: db.opt.Now(), Keys: c.t.keyOf(item), Expired: c.expires}
	switch {
	case c.old == nil:
		r.Event = "INSERT"
	case c.item == nil:
		r.Event = "REMOVE"
	}
	if s.View == ViewNew || s.View == ViewBoth {
		r.New = c.item
	}
	if s.View == ViewOld || s.View == ViewBoth {
		r.Old = c.old
	}
	key, record := s.recordKey(db.sequence.Add(1)), r.encode()
	if c.item == nil {
		b.Note(key, record)
	} else {
		b.Set(key, record)
	}
}

// recordVersion is the first byte of every record (FORMAT.md).
const recordVersion = 1

// Bits of the second byte of a record.
const (
	recordNew     = 1 << iota // it has the new image
	recordOld                 // it has the old image
	recordExpired             // the item's time was over
)

var events = []string{"INSERT", "MODIFY", "REMOVE"}

func (r *Change) encode() []byte {
	flags, event := byte(0), byte(0)
	if r.New != nil {
		flags |= recordNew
	}
	if r.Old != nil {
		flags |= recordOld
	}
	if r.Expired {
		flags |= recordExpired
	}
	for i, name := range events {
		if name == r.Event {
			event = byte(i)
		}
	}
	out := binary.BigEndian.AppendUint64([]byte{recordVersion, flags, event}, uint64(r.At.UnixMilli()))
	out = appendMap(out, r.Keys)
	for _, image := range []Item{r.New, r.Old} {
		if image != nil {
			out = appendMap(out, image)
		}
	}
	return out
}

const recordFixed = 3 + 8 // bytes of a record before its items

func recordTime(data []byte) (time.Time, error) {
	if len(data) < recordFixed || data[0] != recordVersion || int(data[2]) >= len(events) {
		return time.Time{}, errDamaged
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(data[3:]))), nil
}

// decodeChange reads what encode wrote.
func decodeChange(data []byte) (r Change, err error) {
	if r.At, err = recordTime(data); err != nil {
		return r, err
	}
	flags := data[1]
	r.Event, r.Expired = events[data[2]], flags&recordExpired != 0
	d := decoder{rest: string(data[recordFixed:])}
	r.Keys = d.image(&r.Size)
	if flags&recordNew != 0 {
		r.New = d.image(&r.Size)
	}
	if flags&recordOld != 0 {
		r.Old = d.image(&r.Size)
	}
	if d.bad || d.rest != "" {
		return r, errDamaged
	}
	return r, nil
}

// image reads an item and adds its size.
func (d *decoder) image(size *int) Item {
	item := Item{}
	d.attributes(item, maxDepth)
	n, _ := checkMap(item, maxDepth)
	*size += n
	return item
}

// CodeTrimmed refuses to read records that were removed.
const CodeTrimmed = "TrimmedDataAccessException"

var errTrimmed = &Error{Code: CodeTrimmed, Message: "The operation attempted to read past the oldest stream record in a shard: records are kept for 24 hours"}

// Streams returns the streams of a table, or of all tables when it is "", in
// the order of their ARNs, also those that were closed in the last 24 hours.
func (db *DB) Streams(table string) (all []*Stream) {
	db.streams.Range(func(_, v any) bool {
		if s := v.(*Stream); table == "" || s.Table == table {
			all = append(all, s)
		}
		return true
	})
	sortStreams(all)
	return all
}

// Stream returns the stream with an ARN.
func (db *DB) Stream(arn string) (*Stream, error) {
	s, ok := db.streams.Load(arn)
	if !ok {
		return nil, &Error{Code: CodeNotFound, Message: "Requested resource not found: Stream: " + clip(arn, 1024) + " not found"}
	}
	return s.(*Stream), nil
}

// Oldest is the least sequence number that can be read from a stream.
func (s *Stream) Oldest() uint64 { return max(s.First, s.floor) }

// NextSequence is a sequence number that is greater than those of all records
// that are there.
func (db *DB) NextSequence() uint64 { return db.sequence.Load() + 1 }

// maxChanges is DynamoDB's limit of GetRecords.
const maxChanges = 1000

// Changes returns up to limit (0: 1000) records of a stream, and not many more
// bytes than 1 MiB, from a sequence number on, and where to go on; 0 at the
// end of a closed stream.
func (db *DB) Changes(s *Stream, from uint64, limit int) (list []Change, next uint64, err error) {
	if from < s.floor {
		return nil, 0, errTrimmed
	}
	if limit <= 0 || limit > maxChanges {
		limit = maxChanges
	}
	it, err := db.st.Iterator(s.recordKey(from), store.PrefixEnd(appendStreamKey(streamChanges, s.table, s.id)))
	if err != nil {
		return nil, 0, err
	}
	defer it.Close()
	size := 0
	for it.First(); it.Valid() && len(list) < limit && size < maxPage; it.Next() {
		r, err := decodeChange(it.Value())
		if err != nil {
			return nil, 0, err
		}
		if r.Sequence, err = sequenceOf(it.Key()); err != nil {
			return nil, 0, err
		}
		size += len(it.Value())
		list = append(list, r)
		from = r.Sequence + 1
	}
	if !s.Closed.IsZero() && !it.Valid() {
		from = 0
	}
	return list, from, it.Error()
}

// ErrIterator refuses what is no place in a stream.
var ErrIterator = errors.New("no place in a stream")

// AWS's sequence numbers have at least 21 digits; with a 1 before all others
// they sort as texts too.
const (
	sequenceDigits = 21
	sequencePrefix = "1"
)

// SequenceText is a sequence number as the wire has it.
func SequenceText(seq uint64) string {
	return sequencePrefix + fmt.Sprintf("%0*d", sequenceDigits-1, seq)
}

// ParseSequence reads what [SequenceText] wrote.
func ParseSequence(text string) (uint64, error) {
	digits, ok := strings.CutPrefix(text, sequencePrefix)
	if !ok || len(digits) != sequenceDigits-1 {
		return 0, ErrIterator
	}
	seq := uint64(0)
	for _, c := range []byte(digits) {
		if !isDigit(c) || seq > (1<<64-1-9)/10 {
			return 0, ErrIterator
		}
		seq = 10*seq + uint64(c-'0')
	}
	return seq, nil
}

func sortStreams(all []*Stream) {
	slices.SortFunc(all, func(a, b *Stream) int { return strings.Compare(a.ARN, b.ARN) })
}
