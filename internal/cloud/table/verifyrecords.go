package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"mote/internal/cloud/store"
)

// VerifiedRecords is what [VerifyRecords] has found.
type VerifiedRecords struct {
	Streams int64
	Changes int64 // records of the streams
	Exports int64
	findings
}

// maxFollowed bounds the items whose last change is held beside the table, for
// each stream: those that changed last.
const maxFollowed = 1 << 18

// VerifyRecords reads every stream, every export and what there is of backups
// besides their items, decodes it, and holds it to what it must agree with: the
// records of a stream to its view, its bounds and the items as they are now.
// seen is told how many records were read since the last call. What is damaged
// is in the result; an error is a failure to read.
func VerifyRecords(ctx context.Context, r store.Reader, seen func(records int64)) (v VerifiedRecords, err error) {
	db := &DB{}
	heads, err := v.heads(db, r)
	if err != nil {
		return v, err
	}
	tables, _, err := db.readCatalogue(r) // after the streams, which the tables name
	if err != nil {
		return v, err
	}
	if err := v.changes(ctx, r, heads, seen); err != nil {
		return v, err
	}
	for _, t := range tables {
		if t.streaming() {
			if err := v.follow(ctx, r, t); err != nil {
				return v, err
			}
		}
	}
	return v, v.copies(db, r)
}

// streamID is the table and the id of a stream, as its keys have them.
type streamID [4 + 2]byte

// heads reads the streams themselves, and makes them known to db.
func (v *VerifiedRecords) heads(db *DB, r store.Reader) (map[streamID]*Stream, error) {
	prefix := []byte{byte(store.SpaceStream), streamHead}
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return nil, err
	}
	defer it.Close()
	heads := map[streamID]*Stream{}
	for it.First(); it.Valid(); it.Next() {
		v.Streams++
		s, err := readStream(it.Key(), it.Value())
		if err == nil {
			err = s.verify()
		}
		if err != nil {
			v.fault("the stream with the key %x: %v", clip(string(it.Key()), 64), err)
		}
		if s == nil {
			continue
		}
		if _, twice := db.streams.LoadOrStore(s.ARN, s); twice {
			v.fault("two streams are called %s", clip(s.ARN, 256))
		}
		heads[streamID(it.Key()[2:])] = s
	}
	return heads, it.Error()
}

// verify holds what a stream says of itself together.
func (s *Stream) verify() error {
	switch {
	case s.View != ViewKeys && s.View != ViewNew && s.View != ViewOld && s.View != ViewBoth:
		return fmt.Errorf("it has no view called %.40q", s.View)
	case s.Hash.Name == "" || !strings.HasSuffix(s.ARN, ":table/"+s.Table+"/stream/"+s.Label):
		return errors.New("its name, table and key do not belong together")
	case !s.Closed.IsZero() && (s.Last+1 < s.First || s.floor > s.Last+1):
		return fmt.Errorf("its sequence numbers go from %d to %d, kept from %d", s.First, s.Last, s.floor)
	}
	return nil
}

// changes reads the records of all streams.
func (v *VerifiedRecords) changes(ctx context.Context, r store.Reader, heads map[streamID]*Stream, seen func(int64)) error {
	prefix := []byte{byte(store.SpaceStream), streamChanges}
	it, err := r.Iterator(prefix, []byte{byte(store.SpaceStream) + 1})
	if err != nil {
		return err
	}
	defer it.Close()
	const stride = 1 << 10
	for it.First(); it.Valid(); it.Next() {
		if err := v.change(heads, it.Key(), it.Value()); err != nil {
			v.fault("the stream record with the key %x: %v", clip(string(it.Key()), 64), err)
		}
		if v.Changes++; v.Changes%stride == 0 {
			seen(stride)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
	seen(v.Changes % stride)
	return it.Error()
}

func (v *VerifiedRecords) change(heads map[streamID]*Stream, key, value []byte) error {
	seq, err := sequenceOf(key)
	if err != nil || key[1] != streamChanges {
		return fmt.Errorf("no record has a key of %d bytes that begins so", len(key))
	}
	s := heads[streamID(key[2:])]
	switch {
	case s == nil:
		return errors.New("its stream is not there")
	case seq < s.Oldest() || !s.Closed.IsZero() && seq > s.Last:
		return fmt.Errorf("its sequence number %d is none of its stream's", seq)
	}
	return s.verifyChange(value)
}

// verifyChange holds one record to its encoding, its event and the view.
func (s *Stream) verifyChange(data []byte) error {
	c, err := decodeChange(data)
	if err != nil {
		return err
	}
	isNew := (s.View == ViewNew || s.View == ViewBoth) && c.Event != "REMOVE"
	isOld := (s.View == ViewOld || s.View == ViewBoth) && c.Event != "INSERT"
	switch {
	case (c.New != nil) != isNew || (c.Old != nil) != isOld:
		return fmt.Errorf("it has not the images that %s has in %s", c.Event, s.View)
	case c.Expired && c.Event != "REMOVE":
		return fmt.Errorf("an item expires in it that stays: its event is %s", c.Event)
	case !bytes.Equal(c.encode(), data):
		return errors.New("it is not written as what it holds is written")
	}
	return s.verifyKeys(&c)
}

// verifyKeys holds the keys of a record to the stream, and to the images.
func (s *Stream) verifyKeys(c *Change) error {
	keys := []KeyAttr{s.Hash}
	if s.Range != nil {
		keys = append(keys, *s.Range)
	}
	for _, k := range keys {
		have := c.Keys.get(k.Name)
		if have == nil || have.Kind != k.Kind || len(c.Keys) != len(keys) {
			return errors.New("its key is none of the table's")
		}
		for _, image := range []Item{c.New, c.Old} {
			if is := image.get(k.Name); image != nil && (is == nil || !equal(is, have)) {
				return errors.New("an image in it is of another item")
			}
		}
	}
	return nil
}

// follow holds the last change of each item to the item as it is. It goes from
// the newest record back, so that what it holds in memory is bounded.
func (v *VerifiedRecords) follow(ctx context.Context, r store.Reader, t *Table) error {
	prefix := appendStreamKey(streamChanges, t.Stream.table, t.Stream.id)
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	seed, met := maphash.MakeSeed(), map[uint64]bool{}
	for it.Last(); it.Valid() && len(met) < maxFollowed; it.Prev() {
		c, err := decodeChange(it.Value())
		if err != nil {
			continue // told before
		}
		key, err := t.encodeKey(c.Keys)
		if err != nil {
			continue
		}
		if sum := maphash.Bytes(seed, key); !met[sum] {
			met[sum] = true
			if err := v.agree(r, t, key, &c); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return it.Error()
}

// agree says what the last change of an item and the item do not agree about.
func (v *VerifiedRecords) agree(r store.Reader, t *Table, key []byte, c *Change) error {
	value, found, err := r.Get(key)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the stream of the table %s and its item with the key %x", t.Name, clip(string(key), 64))
	switch {
	case found != (c.Event != "REMOVE"):
		v.fault("%s do not agree: the last record is %s, the item is there: %v", what, c.Event, found)
	case found && c.New != nil:
		item, err := t.decode(key, value)
		if err == nil && !equal(&Value{Kind: M, Map: item}, &Value{Kind: M, Map: c.New}) {
			v.fault("%s do not agree: the last record has another image of it", what)
		}
	}
	return nil
}

// copies reads the records of backups and exports, and looks for items of
// backups that have none.
func (v *VerifiedRecords) copies(db *DB, r store.Reader) error {
	_, wrong, err := db.backupsIn(r)
	if err != nil {
		return err
	}
	exports, more, err := exportsIn(r)
	if err != nil {
		return err
	}
	v.Exports = int64(len(exports) + len(more))
	for _, err := range append(wrong, more...) {
		v.fault("%v", err)
	}
	all := []byte{byte(store.SpaceBackup)}
	it, err := r.Iterator(all, store.PrefixEnd(all))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		next, err := v.copied(r, it.Key())
		if err != nil {
			return err
		}
		ok = it.SeekGE(next)
	}
	return it.Error()
}

// copied looks at the first key of something in the space of backups, and
// returns where the next one begins.
func (v *VerifiedRecords) copied(r store.Reader, key []byte) (next []byte, err error) {
	const head = 2 + len(backupID{})
	isRecord := len(key) > 1 && (key[1] == backupRecords || key[1] == backupExports)
	switch {
	case !isRecord && (len(key) < head || key[1] != backupItems):
		v.fault("no backup and no export has the key %x", clip(string(key), 64))
		fallthrough
	case isRecord:
		return append(bytes.Clone(key), 0), nil
	}
	id := backupID(key[2:])
	_, found, err := r.Get(appendBackupKey(nil, backupRecords, id))
	if err == nil && !found {
		v.fault("there are items of a backup %s, and no record of it", id.text())
	}
	return store.PrefixEnd(key[:head]), err
}

// verifyParts looks for entries of an index, or of expiry times, that the table
// does not have.
func (t *Table) verifyParts(r store.Reader, v *Verified) error {
	all := appendTableEntries(nil, t.id)
	it, err := r.Iterator(all, store.PrefixEnd(all))
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		key := it.Key()
		if len(key) < prefixLen {
			return nil // told with those of no table
		}
		id := binary.BigEndian.Uint16(key[1+4:])
		if id != 0 && t.partOf(id) == nil { // 0: where builds go on
			v.fault("there are entries of an index with the id %d, which the table does not have", id)
		}
		ok = it.SeekGE(store.PrefixEnd(key[:prefixLen]))
	}
	return it.Error()
}
