package table

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mote/internal/cloud/store"
)

// States of an export.
const (
	ExportRunning   = "IN_PROGRESS"
	ExportCompleted = "COMPLETED"
	ExportFailed    = "FAILED"
)

// Codes of refusals around exports (Amazon DynamoDB API reference,
// "ExportTableToPointInTime", "DescribeExport").
const (
	CodeExportNotFound = "ExportNotFoundException"
	CodeExportConflict = "ExportConflictException"
)

const (
	maxExports  = 1000          // that are remembered; the oldest is forgotten
	exportToken = 8 * time.Hour // how long a token stands for its export (as in AWS)
)

// Export is the writing of a table, as it was at one moment, to files.
type Export struct {
	ID  string `json:"-"`
	ARN string `json:"-"`

	Version   int       `json:"version"`
	Table     string    `json:"table"` // its name
	TableARN  string    `json:"tableArn"`
	TableUUID string    `json:"tableId"`
	Bucket    string    `json:"bucket"`
	Prefix    string    `json:"prefix,omitempty"`
	Token     string    `json:"token,omitempty"` // ClientToken
	Status    string    `json:"status"`
	Manifest  string    `json:"manifest,omitempty"` // key of the summary
	Failure   string    `json:"failure,omitempty"`
	Started   time.Time `json:"started"`        // the moment of the items
	Ended     time.Time `json:"ended,omitzero"` // zero while it runs
	Items     int64     `json:"items"`          // that were written
	Bytes     int64     `json:"bytes"`          // of these as they are stored, as [Count] counts them

	id backupID
}

const exportVersion = 1

// ExportWriter writes every item that items calls its argument with, and returns
// the key of the manifest. What it has written of an export that fails, it
// removes. It runs in the background, and an error of items ends it.
type ExportWriter func(e *Export, items func(f func(Item) error) error) (manifest string, err error)

// Export begins to write the named table as it is now, to the bucket and prefix
// of e. A request with the token of an earlier one is that one. An export that
// is not done when the process ends has failed at the next start.
func (db *DB) Export(table string, e Export, write ExportWriter) (*Export, error) {
	db.ddl.Lock()
	defer db.ddl.Unlock()
	t, ok := (*db.tables.Load())[table]
	switch {
	case !ok:
		return nil, &Error{Code: CodeTableNotFound, Message: "Table not found: " + table}
	case t.restoring != "":
		return nil, t.beingCreated()
	}
	e.Table, e.TableARN, e.TableUUID = t.Name, t.ARN, t.UUID
	all, err := db.Exports()
	if err != nil {
		return nil, err
	}
	if old, err := e.earlier(all, db.opt.Now()); old != nil || err != nil {
		return old, err
	}
	if err := db.beginCopying(); err != nil {
		return nil, err
	}
	begun, err := db.beginExport(t, e, all, write)
	if err != nil {
		db.copying.Add(-1)
	}
	return begun, err
}

// earlier finds the export that has been asked for with the token of e.
func (e *Export) earlier(all []*Export, now time.Time) (*Export, error) {
	for _, old := range all {
		if e.Token == "" || old.Token != e.Token || now.Sub(old.Started) > exportToken {
			continue
		}
		if old.TableUUID != e.TableUUID || old.Bucket != e.Bucket || old.Prefix != e.Prefix {
			return nil, &Error{Code: CodeExportConflict, Message: "The ClientToken is that of " + old.ARN + ", which was asked for with other parameters: use another token"}
		}
		return old, nil
	}
	return nil, nil
}

// beginExport holds the moment, notes the export, and starts it.
func (db *DB) beginExport(t *Table, e Export, all []*Export, write ExportWriter) (*Export, error) {
	now := db.opt.Now()
	binary.BigEndian.PutUint64(e.id[:8], uint64(now.UnixMilli()))
	rand.Read(e.id[8:])
	e.Version, e.Status, e.Started = exportVersion, ExportRunning, now.Truncate(time.Millisecond)
	e.name()
	snap := db.st.Snapshot()
	var forget []backupID
	if len(all) >= maxExports {
		forget = append(forget, all[0].id)
	}
	if err := db.save(&e, forget...); err != nil {
		return nil, errors.Join(err, snap.Close())
	}
	begun := e
	if !db.startWalk(func() { db.finishExport(&e, t, snap, write) }) {
		return nil, errors.Join(store.ErrClosed, snap.Close())
	}
	return &begun, nil
}

// name fills in what follows from the id.
func (e *Export) name() { e.ID, e.ARN = e.id.text(), e.TableARN+"/export/"+e.id.text() }

// add adds the record of the export to b.
func (e *Export) add(b *store.Batch) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	key := appendBackupKey(nil, backupExports, e.id)
	if e.Status == ExportFailed { // the full disk that ended it must not keep that from being known
		b.Note(key, data)
	} else {
		b.Set(key, data)
	}
	return nil
}

// save notes how the export stands.
func (db *DB) save(e *Export, forget ...backupID) error {
	b := db.st.NewBatch()
	for _, id := range forget {
		b.Delete(appendBackupKey(nil, backupExports, id))
	}
	if err := e.add(b); err != nil {
		b.Discard()
		return err
	}
	return db.st.Commit(b)
}

// finishExport writes the items of the snapshot and notes how it ended.
func (db *DB) finishExport(e *Export, t *Table, snap *store.Snapshot, write ExportWriter) {
	manifest, err := write(e, func(f func(Item) error) error { return db.eachItem(e, t, snap, f) })
	if cerr := snap.Close(); cerr != nil {
		db.log.Warn("a snapshot was not closed", "err", cerr)
	}
	db.copying.Add(-1)
	if err != nil && db.closed() {
		return // the next start takes it for failed
	}
	e.Ended, e.Manifest, e.Status = db.opt.Now(), manifest, ExportCompleted
	if err != nil {
		db.log.Error("the export of a table failed, nothing of it is kept: begin it again", "table", t.Name, "export", e.ARN, "err", err)
		e.Status, e.Failure, e.Manifest = ExportFailed, clip(err.Error(), 1024), ""
	}
	for {
		err := db.save(e)
		if err == nil {
			return
		}
		db.log.Warn("the end of an export is not noted: it will be tried again", "export", e.ARN, "err", err)
		if !db.pause(retryPause) {
			return
		}
	}
}

// eachItem calls f for every item of t in r, with pauses, and counts them. With
// each chunk it notes how far it is: that also ends the export when the disk is
// nearly full, so that it does not take the last of it.
func (db *DB) eachItem(e *Export, t *Table, r store.Reader, f func(Item) error) error {
	prefix := t.appendPrefix(nil)
	return db.chunks(r, prefix, func(b *store.Batch, rest, value []byte) error {
		item, err := t.decode(append(prefix[:len(prefix):len(prefix)], rest...), value)
		if err != nil {
			return err
		}
		if b.Empty() {
			if err := e.add(b); err != nil {
				return err
			}
		}
		e.Items++
		e.Bytes += int64(len(rest) - 2 + len(value)) // without the slot, as they are counted elsewhere
		return f(item)
	})
}

func decodeExport(key, value []byte) (*Export, error) {
	e := &Export{}
	if len(key) != 2+len(e.id) {
		return nil, fmt.Errorf("a key of an export has %d bytes, want %d: %x", len(key), 2+len(e.id), key[:min(len(key), 64)])
	}
	copy(e.id[:], key[2:])
	if err := json.Unmarshal(value, e); err != nil {
		return nil, fmt.Errorf("the record of the export %s is damaged: %w", e.id.text(), err)
	}
	if e.Version != exportVersion {
		return nil, fmt.Errorf("the record of the export %s has version %d, this mote reads %d: use the mote that wrote it", e.id.text(), e.Version, exportVersion)
	}
	ended := e.Status == ExportCompleted || e.Status == ExportFailed
	if !ended && e.Status != ExportRunning || ended == e.Ended.IsZero() || e.Items < 0 || e.Bytes < 0 || (e.Failure != "") != (e.Status == ExportFailed) {
		return nil, fmt.Errorf("the record of the export %s is damaged: status %.20q, %d items of %d bytes", e.id.text(), e.Status, e.Items, e.Bytes)
	}
	e.name()
	return e, nil
}

// Exports returns all exports that are remembered, the oldest first, but for
// those whose record is damaged.
func (db *DB) Exports() (all []*Export, err error) {
	all, _, err = exportsIn(db.st)
	return all, err
}

// exportsIn returns the exports in r, and what is wrong with the records that
// cannot be read.
func exportsIn(r store.Reader) (all []*Export, damaged []error, err error) {
	return recordsIn(r, backupExports, decodeExport)
}

// DescribeExport returns the export with an ARN.
func (db *DB) DescribeExport(arn string) (*Export, error) {
	e, err := recordOf(db, backupExports, arn, "/export/", decodeExport)
	if err == nil && (e == nil || e.ARN != arn) {
		return nil, &Error{Code: CodeExportNotFound, Message: "Export not found: " + clip(arn, 1024)}
	}
	return e, err
}

// failCutExports notes that exports have failed which the end of the process
// has cut off.
func (db *DB) failCutExports() error {
	all, damaged, err := exportsIn(db.st)
	if err != nil {
		return err
	}
	for _, err := range damaged {
		db.log.Error("an export of a table cannot be read, the others can: "+damageAdvice, "err", err)
	}
	for _, e := range all {
		if e.Status != ExportRunning {
			continue
		}
		db.log.Warn("the export of a table was not done when the cloud ended: begin it again", "table", e.Table, "export", e.ARN)
		e.Status, e.Ended, e.Failure = ExportFailed, db.opt.Now(), "the cloud ended before the export was done: begin it again"
		if err := db.save(e); err != nil && !errors.Is(err, store.ErrFull) {
			return err
		}
	}
	return nil
}
