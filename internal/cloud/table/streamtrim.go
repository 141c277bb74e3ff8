package table

import (
	"time"

	"mote/internal/cloud/store"
)

// Records are removed in steps, as much as a minute brings.
const (
	trimEvery = time.Minute
	trimItems = 20_000
	trimPause = 50 * time.Millisecond
)

// startTrim starts the removal of old records, unless it runs.
func (db *DB) startTrim() {
	const key = "trim"
	if _, running := db.works.LoadOrStore(key, true); running {
		return
	}
	if !db.startWalk(db.trimLoop) {
		db.works.Delete(key)
	}
}

func (db *DB) trimLoop() {
	for {
		more := false
		for _, s := range db.Streams("") {
			m, err := db.trim(s.ARN)
			if err != nil {
				db.log.Warn("old stream records wait: their removal will be tried again", "stream", s.ARN, "err", err)
			}
			more = more || m
		}
		pause := trimEvery
		if more {
			pause = trimPause
		}
		if !db.pause(pause) {
			return
		}
	}
}

// trim removes old records of a stream, and at the end the stream, if it is
// closed; more says that there may be more to remove.
func (db *DB) trim(arn string) (more bool, err error) {
	db.ddl.Lock() // so that the stream is not closed meanwhile
	defer db.ddl.Unlock()
	s, err := db.Stream(arn)
	if err != nil {
		return false, nil
	}
	limit := db.opt.Now().Add(-streamKept)
	prefix := appendStreamKey(streamChanges, s.table, s.id)
	b := db.st.NewBatch()
	if !s.Closed.IsZero() && s.Closed.Before(limit) {
		b.DeleteRange(prefix, store.PrefixEnd(prefix))
		b.Delete(appendStreamKey(streamHead, s.table, s.id))
		b.OnApplied(func() {
			if b.Applied() {
				db.streams.Delete(arn)
			}
		})
		return false, db.st.Commit(b)
	}
	floor, n, err := db.firstKept(s, limit)
	if err != nil || floor <= s.floor {
		b.Discard()
		return false, err
	}
	kept := *s
	kept.floor = floor
	b.DeleteRange(prefix, s.recordKey(floor))
	if err := db.keepStream(&kept, b, false); err != nil {
		b.Discard()
		return false, err
	}
	return n == trimItems, db.st.Commit(b)
}

// firstKept is the sequence number from which records are kept, after at most
// trimItems old ones; 0 when there are none to remove.
func (db *DB) firstKept(s *Stream, limit time.Time) (floor uint64, n int, err error) {
	it, err := db.st.Iterator(s.recordKey(s.floor), store.PrefixEnd(appendStreamKey(streamChanges, s.table, s.id)))
	if err != nil {
		return 0, 0, err
	}
	defer it.Close()
	for it.First(); it.Valid() && n < trimItems; it.Next() {
		at, err := recordTime(it.Value())
		if err != nil {
			return 0, 0, err
		}
		if !at.Before(limit) {
			break
		}
		seq, err := sequenceOf(it.Key())
		if err != nil {
			return 0, 0, err
		}
		floor = seq + 1
		n++
	}
	return floor, n, it.Error()
}
