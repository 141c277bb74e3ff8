package table

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mote/internal/cloud/store"
)

// States of a backup.
const (
	BackupCreating  = "CREATING"
	BackupAvailable = "AVAILABLE"
	BackupDeleted   = "DELETED"
)

// Codes of refusals around backups (Amazon DynamoDB API reference,
// "CreateBackup", "RestoreTableFromBackup").
const (
	CodeBackupNotFound = "BackupNotFoundException"
	CodeBackupInUse    = "BackupInUseException"
	CodeTableNotFound  = "TableNotFoundException"
	CodeTableExists    = "TableAlreadyExistsException"
	CodeTableInUse     = "TableInUseException"
)

// maxCopying is how many backups and exports are made at the same time.
const maxCopying = 4

// beginCopying counts one more of them; who began it counts it off.
func (db *DB) beginCopying() error {
	if db.copying.Add(1) > maxCopying {
		db.copying.Add(-1)
		return &Error{Code: CodeLimit, Message: fmt.Sprintf("Subscriber limit exceeded: %d backups and exports are being made already: try again when one of them is done", maxCopying)}
	}
	return nil
}

// Backup is a copy of a table at one moment, kept in the store.
type Backup struct {
	ARN, Name string
	Status    string
	Created   time.Time
	Count     Count  // of an available one
	Table     *Table // as it was; only for its description

	id     backupID
	record json.RawMessage // of Table
}

// backupID is the moment in Unix milliseconds, big-endian, and four random
// bytes: so ids sort by time.
type backupID [12]byte

// text is the last part of a backup's ARN.
func (id backupID) text() string {
	return fmt.Sprintf("%014d-%08x", binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint32(id[8:]))
}

func parseBackupID(text string) (id backupID, ok bool) {
	var ms uint64
	var random uint32
	if n, err := fmt.Sscanf(text, "%d-%x", &ms, &random); n != 2 || err != nil {
		return id, false
	}
	binary.BigEndian.PutUint64(id[:8], ms)
	binary.BigEndian.PutUint32(id[8:], random)
	return id, id.text() == text
}

// Keys of the space of backups (FORMAT.md).
const (
	backupRecords = 'r'
	backupItems   = 'i'
	backupExports = 'x'
)

func appendBackupKey(dst []byte, what byte, id backupID) []byte {
	return append(append(dst, byte(store.SpaceBackup), what), id[:]...)
}

const backupVersion = 1

type backupRecord struct {
	Version int             `json:"version"`
	Name    string          `json:"name"`
	Of      string          `json:"of"`    // name of the table
	Table   json.RawMessage `json:"table"` // its record in the catalogue
	Status  string          `json:"status"`
	Items   int64           `json:"items"`
	Bytes   int64           `json:"bytes"`
}

func (k *Backup) encode() ([]byte, error) {
	return json.Marshal(backupRecord{backupVersion, k.Name, k.Table.Name, k.record, k.Status, k.Count.Items, k.Count.Bytes})
}

func (db *DB) decodeBackup(key, value []byte) (*Backup, error) {
	var r backupRecord
	k := &Backup{}
	if len(key) != 2+len(k.id) {
		return nil, fmt.Errorf("a key of a backup has %d bytes, want %d: %x", len(key), 2+len(k.id), key[:min(len(key), 64)])
	}
	copy(k.id[:], key[2:])
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("the record of the backup %s is damaged: %w", k.id.text(), err)
	}
	if r.Version != backupVersion {
		return nil, fmt.Errorf("the record of the backup %s has version %d, this mote reads %d: use the mote that wrote it", k.id.text(), r.Version, backupVersion)
	}
	t, err := db.fromRecord(r.Of, r.Table)
	if err != nil {
		return nil, fmt.Errorf("the record of the backup %s is damaged: %w", k.id.text(), err)
	}
	if r.Status != BackupCreating && r.Status != BackupAvailable || r.Items < 0 || r.Bytes < 0 {
		return nil, fmt.Errorf("the record of the backup %s is damaged: status %.20q, %d items of %d bytes", k.id.text(), r.Status, r.Items, r.Bytes)
	}
	k.ARN, k.Name, k.Status, k.Table, k.record = t.ARN+"/backup/"+k.id.text(), r.Name, r.Status, t, r.Table
	k.Created = time.UnixMilli(int64(binary.BigEndian.Uint64(k.id[:8])))
	k.Count = Count{r.Items, r.Bytes}
	return k, nil
}

// Backups returns all backups, the oldest first, but for those whose record is
// damaged.
func (db *DB) Backups() (all []*Backup, err error) {
	all, _, err = db.backupsIn(db.st)
	return all, err
}

// backupsIn returns the backups in r, and what is wrong with the records that
// cannot be read: they are no reason to do without the others.
func (db *DB) backupsIn(r store.Reader) (all []*Backup, damaged []error, err error) {
	return recordsIn(r, backupRecords, db.decodeBackup)
}

// recordsIn returns the records of a kind, and what is wrong with those that
// cannot be decoded.
func recordsIn[R any](r store.Reader, kind byte, decode func(key, value []byte) (*R, error)) (all []*R, damaged []error, err error) {
	prefix := []byte{byte(store.SpaceBackup), kind}
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return nil, nil, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if x, err := decode(it.Key(), it.Value()); err != nil {
			damaged = append(damaged, err)
		} else {
			all = append(all, x)
		}
	}
	return all, damaged, it.Error()
}

// DescribeBackup returns the backup with an ARN.
func (db *DB) DescribeBackup(arn string) (*Backup, error) {
	k, err := recordOf(db, backupRecords, arn, "/backup/", db.decodeBackup)
	if err == nil && (k == nil || k.ARN != arn) {
		return nil, &Error{Code: CodeBackupNotFound, Message: "Backup not found: " + clip(arn, 1024)}
	}
	return k, err
}

// recordOf returns the record of a kind with the id that an ARN has behind
// part, nil when there is none. Its ARN may be another one.
func recordOf[R any](db *DB, kind byte, arn, part string, decode func(key, value []byte) (*R, error)) (*R, error) {
	_, text, _ := strings.Cut(arn, part)
	id, ok := parseBackupID(text)
	if !ok {
		return nil, nil
	}
	key := appendBackupKey(nil, kind, id)
	value, found, err := db.st.Get(key)
	if err != nil || !found {
		return nil, err
	}
	x, err := decode(key, value)
	if err != nil {
		return nil, &Error{Code: CodeDamaged, Message: err.Error() + ": " + damageAdvice}
	}
	return x, nil
}

// CreateBackup begins a backup of the table as it is now: what was written
// before the call is in it, what is written after it returns is not. The items
// are copied in the background. One that is not complete when the process ends
// is made anew at the next start, of the table as it is then: nothing has been
// written meanwhile. So it has what was there at the call, and what was written
// between the call and the end of the process.
func (db *DB) CreateBackup(table, name string) (*Backup, error) {
	db.ddl.Lock()
	defer db.ddl.Unlock()
	t, ok := (*db.tables.Load())[table]
	switch {
	case !ok:
		return nil, &Error{Code: CodeTableNotFound, Message: "Table not found: " + table}
	case t.restoring != "":
		return nil, &Error{Code: CodeTableInUse, Message: "Table is being created: " + table}
	}
	if err := db.beginCopying(); err != nil {
		return nil, err
	}
	k, err := db.beginBackup(t, name)
	if err != nil {
		db.copying.Add(-1)
		return nil, err
	}
	begun := *k
	return &begun, db.startBackup(k, t)
}

// startBackup begins to copy what is in the table now. It takes one of the
// places of copying over.
func (db *DB) startBackup(k *Backup, t *Table) error {
	snap := db.st.Snapshot()
	if !db.startWalk(func() { db.finishBackup(k, t, snap) }) {
		db.copying.Add(-1)
		return errors.Join(store.ErrClosed, snap.Close())
	}
	return nil
}

// beginBackup writes the record of a backup that has no items yet.
func (db *DB) beginBackup(t *Table, name string) (*Backup, error) {
	k := &Backup{Name: name, Status: BackupCreating, Table: t}
	now := db.opt.Now()
	binary.BigEndian.PutUint64(k.id[:8], uint64(now.UnixMilli()))
	rand.Read(k.id[8:])
	k.ARN, k.Created = t.ARN+"/backup/"+k.id.text(), now.Truncate(time.Millisecond)
	var err error
	if k.record, err = json.Marshal(t.record()); err != nil {
		return nil, err
	}
	return k, db.saveBackup(k)
}

func (db *DB) saveBackup(k *Backup) error {
	data, err := k.encode()
	if err != nil {
		return err
	}
	b := db.st.NewBatch()
	b.Set(appendBackupKey(nil, backupRecords, k.id), data)
	return db.st.Commit(b)
}

// note adds the record of a backup to b, which removes some of its items.
func (k *Backup) note(b *store.Batch) error {
	data, err := k.encode()
	if err == nil {
		b.Note(appendBackupKey(nil, backupRecords, k.id), data)
	}
	return err
}

// finishBackup copies the items of the snapshot, and makes the backup available
// or drops it.
func (db *DB) finishBackup(k *Backup, t *Table, snap *store.Snapshot) {
	defer db.copying.Add(-1)
	defer snap.Close()
	err := db.copyItems(k, t, snap)
	if err == nil {
		k.Status = BackupAvailable
		err = db.saveBackup(k)
	}
	if err == nil || db.closed() {
		return
	}
	db.log.Error("a backup of a table was given up, nothing of it is kept: make it again", "table", t.Name, "backup", k.ARN, "err", err)
	if err := db.dropBackup(k); err != nil {
		db.log.Warn("what there is of a backup stays until the next start", "backup", k.ARN, "err", err)
	}
}

// copyItems copies the items of t in r into the backup, in chunks with pauses.
func (db *DB) copyItems(k *Backup, t *Table, r store.Reader) error {
	prefix := t.appendPrefix(nil)
	to := appendBackupKey(nil, backupItems, k.id)
	k.Count = Count{}
	return db.chunks(r, prefix, func(b *store.Batch, rest, value []byte) error {
		k.Count.Items++
		k.Count.Bytes += int64(len(rest) - 2 + len(value)) // without the slot, as they are counted elsewhere
		b.Set(append(to[:len(to):len(to)], rest...), value)
		return nil
	})
}

// chunks calls f for every key in r with a prefix, whose rest it gets, and
// commits what f adds to the batch after a bounded number of them.
func (db *DB) chunks(r store.Reader, prefix []byte, f func(b *store.Batch, rest, value []byte) error) error {
	it, err := r.Iterator(prefix, store.PrefixEnd(prefix))
	if err != nil {
		return err
	}
	defer it.Close()
	b, n, size := db.st.NewBatch(), 0, 0
	for it.First(); it.Valid(); it.Next() {
		if err := f(b, it.Key()[len(prefix):], it.Value()); err != nil {
			b.Discard()
			return err
		}
		n++
		if size += len(it.Key()) + len(it.Value()); n < chunkItems && size < chunkBytes {
			continue
		}
		if err := db.st.Commit(b); err != nil {
			return err
		}
		b, n, size = db.st.NewBatch(), 0, 0
		if !db.pause(chunkPause) {
			b.Discard()
			return store.ErrClosed
		}
	}
	if err := it.Error(); err != nil {
		b.Discard()
		return err
	}
	return db.st.Commit(b)
}

// DeleteBackup removes a backup and returns what it was.
func (db *DB) DeleteBackup(arn string) (*Backup, error) {
	db.ddl.Lock()
	defer db.ddl.Unlock()
	k, err := db.DescribeBackup(arn)
	if err != nil {
		return nil, err
	}
	busy := k.Status != BackupAvailable
	for _, t := range *db.tables.Load() {
		busy = busy || t.restoring == k.id.text()
	}
	if busy {
		return nil, &Error{Code: CodeBackupInUse, Message: "Backup is being created or restored from: " + arn}
	}
	if err := db.dropBackup(k); err != nil {
		return nil, err
	}
	k.Status = BackupDeleted
	return k, nil
}

func (db *DB) dropBackup(k *Backup) error {
	b := db.st.NewBatch()
	b.Delete(appendBackupKey(nil, backupRecords, k.id))
	items := appendBackupKey(nil, backupItems, k.id)
	b.DeleteRange(items, store.PrefixEnd(items))
	return db.st.Commit(b)
}

// resumeBackups makes those anew whose making the end of the process has cut
// off, before anything is written.
func (db *DB) resumeBackups() error {
	all, damaged, err := db.backupsIn(db.st)
	if err != nil {
		return err
	}
	for _, err := range damaged {
		db.log.Error("a backup of a table cannot be read, the others can: "+damageAdvice, "err", err)
	}
	for _, k := range all {
		if k.Status == BackupAvailable {
			continue
		}
		if err := db.resumeBackup(k); err != nil && !errors.Is(err, store.ErrFull) {
			return err
		}
	}
	return nil
}

func (db *DB) resumeBackup(k *Backup) error {
	t := (*db.tables.Load())[k.Table.Name]
	if t == nil || t.UUID != k.Table.UUID || t.restoring != "" {
		db.log.Warn("a backup was not complete when the cloud ended, and its table is gone: it is dropped", "table", k.Table.Name, "backup", k.ARN)
		return db.dropBackup(k)
	}
	db.log.Info("a backup was not complete when the cloud ended: it is made of the table as it is now", "table", t.Name, "backup", k.ARN)
	var err error
	if k.record, err = json.Marshal(t.record()); err != nil {
		return err
	}
	k.Table = t
	b := db.st.NewBatch()
	items := appendBackupKey(nil, backupItems, k.id) // some may have been removed from the table since they were copied
	b.DeleteRange(items, store.PrefixEnd(items))
	if err := k.note(b); err != nil {
		b.Discard()
		return err
	}
	if err := db.st.Commit(b); err != nil {
		return err
	}
	db.copying.Add(1)
	return db.startBackup(k, t)
}

// RestoreRequest asks for a new table with the items of a backup.
type RestoreRequest struct {
	Backup      string // ARN
	Target      string // name of the new table
	Billing     string // "": as it was
	Read, Write int64  // with Billing Provisioned; 0: as it was
}

// Restore makes a table of a backup, with its indexes but without tags, stream,
// expiry of items and protection, as DynamoDB does. Its items come in the background,
// also over a restart; until all are there it can be described and nothing else.
func (db *DB) Restore(r RestoreRequest) (*Table, error) {
	if err := CheckName(r.Target); err != nil {
		return nil, err
	}
	db.ddl.Lock()
	defer db.ddl.Unlock()
	k, err := db.DescribeBackup(r.Backup)
	switch {
	case err != nil:
		return nil, err
	case k.Status != BackupAvailable:
		return nil, &Error{Code: CodeBackupInUse, Message: "Backup is being created: " + r.Backup}
	case (*db.tables.Load())[r.Target] != nil:
		return nil, &Error{Code: CodeTableExists, Message: "Table already exists: " + r.Target}
	}
	t, err := db.restored(k, &r)
	if err != nil {
		return nil, err
	}
	if err := db.number(t); err != nil {
		return nil, err
	}
	if err := db.addTable(t, db.st.NewBatch()); err != nil {
		return nil, err
	}
	return t, nil
}

// restored is the new table of a restore, without its id.
func (db *DB) restored(k *Backup, r *RestoreRequest) (*Table, error) {
	t, err := db.fromRecord(r.Target, k.record)
	if err != nil {
		return nil, err
	}
	t.Created, t.UUID = db.opt.Now().Truncate(time.Millisecond), newUUID()
	t.Tags, t.TTL, t.Stream, t.Protected = nil, nil, nil, false
	t.restoring, t.Source = k.id.text(), k.ARN
	switch r.Billing {
	case PayPerRequest:
		t.Billing, t.Read, t.Write = PayPerRequest, 0, 0
	case Provisioned:
		t.Billing, t.Read, t.Write = Provisioned, cmp.Or(r.Read, t.Read), cmp.Or(r.Write, t.Write)
		if t.Read < 1 || t.Write < 1 {
			return nil, invalidParam("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
		}
		t.dropCeilings()
	}
	t.Indexes = slices.DeleteFunc(t.Indexes, func(x *Index) bool { return x.Status == IndexDeleting })
	for _, x := range t.Indexes {
		x.Status = IndexActive // each item brings its entries
	}
	return t, nil
}

// Restoring says whether the table's items are still coming from a backup.
func (t *Table) Restoring() bool { return t.restoring != "" }

// restoreItems brings the items of its backup into a table, and opens it. After
// a restart it begins anew, over what is there: the items are the same.
func (db *DB) restoreItems(t *Table) {
	for {
		err := db.restoreOnce(t)
		if err == nil || db.closed() {
			return
		}
		db.log.Warn("the restore of a table waits: it will be tried again", "table", t.Name, "err", err)
		if !db.pause(retryPause) {
			return
		}
	}
}

func (db *DB) restoreOnce(t *Table) error {
	id, ok := parseBackupID(t.restoring)
	if !ok {
		return errDamaged
	}
	prefix := t.appendPrefix(nil)
	err := db.chunks(db.st, appendBackupKey(nil, backupItems, id), func(b *store.Batch, rest, value []byte) error {
		item, err := t.decode(append(prefix[:len(prefix):len(prefix)], rest...), value)
		if err != nil {
			return err
		}
		return db.put(b, t, item)
	})
	if err != nil {
		return err
	}
	err = db.alterWith(t.Name, t.id, func(t *Table, _ *store.Batch) error {
		t.restoring = ""
		return nil
	})
	if err == nil {
		db.forgetCounts(t) // who waits for the table asks for it at once
	}
	return err
}
