package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"mote/internal/cloud/store"
	"mote/internal/watch"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func createIndexed(t *testing.T, db *DB, st *store.Store, items int) {
	t.Helper()
	_, err := db.Create(CreateRequest{Name: "air", Billing: PayPerRequest, Attributes: []KeyAttr{{"id", S}, {"n", N}}, Tags: []Tag{{"k", "v"}},
		Schema: []KeyElement{{"id", "HASH"}}, Global: []IndexRequest{{Name: "by-n", Global: true, Schema: []KeyElement{{"n", "HASH"}}, Projection: ProjectAll}}})
	if err != nil {
		t.Fatal(err)
	}
	b := st.NewBatch()
	for i := range items {
		if err := db.Put(b, "air", Item{"id": String(fmt.Sprint(i)), "n": number(t, fmt.Sprint(i%5))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func (db *DB) mustBackup(t *testing.T, table string) *Backup {
	t.Helper()
	k, err := db.CreateBackup(table, "nightly")
	if err != nil || k.Status != BackupCreating {
		t.Fatalf("%+v, %v", k, err)
	}
	watch.Until(t, "backup", func() bool {
		k, err = db.DescribeBackup(k.ARN)
		return err == nil && k.Status == BackupAvailable
	})
	return k
}

func TestATableComesBackFromItsBackup(t *testing.T) {
	db, st := openDB(t)
	createIndexed(t, db, st, 1000)
	air := db.mustTable(t, "air")
	was, err := db.countItems(air)
	if err != nil {
		t.Fatal(err)
	}
	k := db.mustBackup(t, "air")
	if k.Count != was || k.Name != "nightly" || k.Table.Name != "air" {
		t.Errorf("%+v, want %+v", k, was)
	}
	if _, err := db.DeleteItem(DeleteRequest{Table: "air", Key: Item{"id": String("7")}}); err != nil { // the backup keeps it
		t.Fatal(err)
	}
	if _, err := db.Restore(RestoreRequest{Backup: k.ARN, Target: "air"}); codeOf(err) != CodeTableExists {
		t.Errorf("restore over a table: %v", err)
	}
	made, err := db.Restore(RestoreRequest{Backup: k.ARN, Target: "air2", Billing: Provisioned, Read: 3, Write: 4})
	if err != nil {
		t.Fatal(err)
	}
	if made.Restoring() { // it has 1,000 items: some pauses long
		if _, err := db.DeleteBackup(k.ARN); codeOf(err) != CodeBackupInUse {
			t.Errorf("delete a backup in use: %v", err)
		}
		if _, err := db.GetItem(GetRequest{Table: "air2", Key: Item{"id": String("7")}}); codeOf(err) != CodeNotFound {
			t.Errorf("read a table that is being restored: %v", err)
		}
		if _, err := db.Delete("air2"); codeOf(err) != CodeInUse {
			t.Errorf("delete a table that is being restored: %v", err)
		}
		if err := db.SetTags("air2", []Tag{{"a", "b"}}); codeOf(err) != CodeInUse {
			t.Errorf("tag a table that is being restored: %v", err)
		}
	}
	watch.Until(t, "restored table", func() bool { now, err := db.Describe("air2"); return err == nil && !now.Restoring() })
	now := db.mustTable(t, "air2")
	if n, err := db.countItems(now); n != was || err != nil || now.Read != 3 || now.Write != 4 || len(now.Tags) != 0 || now.UUID == air.UUID || now.Source != k.ARN {
		t.Errorf("%+v of %+v, %v", n, now, err)
	}
	page, err := db.Query(QueryRequest{Reading: Reading{Table: "air2", Index: "by-n", Consistent: false,
		Values: Item{":n": number(t, "2")}}, KeyCondition: "n = :n"})
	if err != nil || len(page.Items) != 200 {
		t.Errorf("the index gives %d items, %v", len(page.Items), err)
	}
	found, err := Verify(context.Background(), st, func(int64) {})
	if err != nil || len(found) != 3 || found[0].Wrong+found[1].Wrong+found[2].Wrong != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := db.Delete("air"); err != nil { // the backup outlives its table
		t.Fatal(err)
	}
	if gone, err := db.DeleteBackup(k.ARN); err != nil || gone.Status != BackupDeleted {
		t.Errorf("%+v, %v", gone, err)
	}
	if _, err := db.DescribeBackup(k.ARN); codeOf(err) != CodeBackupNotFound {
		t.Errorf("a deleted backup: %v", err)
	}
	if n := spaceCount(t, st, store.SpaceBackup); n != 0 {
		t.Errorf("%d keys of it are left", n)
	}
}

func TestBackupsOfWhatIsNotThere(t *testing.T) {
	db, _ := openDB(t)
	if _, err := db.CreateBackup("none", "x"); codeOf(err) != CodeTableNotFound {
		t.Error(err)
	}
	for _, arn := range []string{"", "x", "arn:aws:dynamodb:us-east-1:000000000001:table/a/backup/01489602797149-73d8d5bc", "table/a/backup/1-1"} {
		for _, err := range []error{
			second(db.DescribeBackup(arn)), second(db.DeleteBackup(arn)), second(db.Restore(RestoreRequest{Backup: arn, Target: "new"})),
		} {
			if codeOf(err) != CodeBackupNotFound {
				t.Errorf("%q: %v", arn, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestBackupAndRestoreOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	db, st := openAt(t, dir)
	reopen := func() {
		t.Helper()
		if err := errors.Join(db.Close(), st.Close()); err != nil {
			t.Fatal(err)
		}
		db, st = openAt(t, dir)
	}
	createIndexed(t, db, st, 3000)
	good := db.mustBackup(t, "air")
	half, err := db.CreateBackup("air", "half")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Restore(RestoreRequest{Backup: good.ARN, Target: "again"}); err != nil {
		t.Fatal(err)
	}
	reopen()
	watch.Until(t, "backup that was cut off", func() bool {
		k, err := db.DescribeBackup(half.ARN)
		return err == nil && k.Status == BackupAvailable && k.Count == good.Count && k.Name == "half"
	})
	watch.Until(t, "restored table", func() bool { now, err := db.Describe("again"); return err == nil && !now.Restoring() })
	if n, err := db.countItems(db.mustTable(t, "again")); n != good.Count || err != nil {
		t.Errorf("%+v, want %+v, %v", n, good.Count, err)
	}
	reopen()
	found, err := Verify(context.Background(), st, func(int64) {})
	for _, v := range found {
		if v.Wrong != 0 {
			t.Errorf("%+v", v)
		}
	}
	if all, err2 := db.Backups(); err != nil || err2 != nil || len(all) == 0 || all[0].ARN != good.ARN {
		t.Errorf("%v, %v, %v", all, err, err2)
	}
	if err := errors.Join(db.Close(), st.Close()); err != nil {
		t.Error(err)
	}
}

// TestACutOffBackupIsOfTheTableAsItIs resumes a backup whose first items have
// changed since, and drops one whose table is gone.
func TestACutOffBackupIsOfTheTableAsItIs(t *testing.T) {
	db, st := openDB(t)
	createIndexed(t, db, st, 10)
	air := db.mustTable(t, "air")
	k, err := db.beginBackup(air, "half")
	if err != nil {
		t.Fatal(err)
	}
	lost := *k
	lost.id[11]++
	gone := *air
	gone.UUID = "of a table before"
	if lost.record, err = json.Marshal(gone.record()); err != nil {
		t.Fatal(err)
	}
	b := st.NewBatch()
	b.Set(append(appendBackupKey(nil, backupItems, k.id), "an item that went since"...), []byte("x"))
	if err := errors.Join(st.Commit(b), db.saveBackup(&lost)); err != nil {
		t.Fatal(err)
	}
	again, err := Open(st, Options{})
	if err != nil {
		t.Fatal(err)
	}
	watch.Until(t, "backup", func() bool {
		all, err := again.Backups()
		return err == nil && len(all) == 1 && all[0].ARN == k.ARN && all[0].Status == BackupAvailable && all[0].Count.Items == 10
	})
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, st)
}

// wantVerified holds the store to what [Verify] and [VerifyRecords] say.
func wantVerified(t *testing.T, st *store.Store) {
	t.Helper()
	tables, err := Verify(t.Context(), st, func(int64) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range tables {
		if v.Wrong != 0 {
			t.Errorf("%+v", v)
		}
	}
	if v, err := VerifyRecords(t.Context(), st, func(int64) {}); err != nil || v.Wrong != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestDamagedRecordsStopNothingElse opens an engine whose records of backups and
// exports are damaged.
func TestDamagedRecordsStopNothingElse(t *testing.T) {
	db, st := openDB(t)
	createIndexed(t, db, st, 10)
	good := db.mustBackup(t, "air")
	bad := *good
	bad.id[11]++
	b := st.NewBatch()
	b.Set(appendBackupKey(nil, backupRecords, bad.id), []byte(`{"version":1,"of":"air","status":"AVAIL`))
	b.Set(appendBackupKey(nil, backupExports, bad.id), []byte(`{"version":1,"status":"COMPLETED"}`)) // and no end
	b.Set(append([]byte{byte(store.SpaceBackup), backupExports}, "short"...), nil)
	if err := st.Commit(b); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	again, err := Open(st, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := strings.Count(log.String(), "mote verify tells what else is damaged"); n != 3 {
		t.Errorf("%d lines of it: %s", n, &log)
	}
	if all, err := again.Backups(); err != nil || len(all) != 1 || all[0].ARN != good.ARN {
		t.Errorf("%+v, %v", all, err)
	}
	if all, err := again.Exports(); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	arn := db.mustTable(t, "air").ARN
	for _, err := range []error{
		second(again.DescribeBackup(arn + "/backup/" + bad.id.text())), second(again.DeleteBackup(arn + "/backup/" + bad.id.text())),
		second(again.Restore(RestoreRequest{Backup: arn + "/backup/" + bad.id.text(), Target: "new"})), second(again.DescribeExport(arn + "/export/" + bad.id.text())),
	} {
		if codeOf(err) != CodeDamaged || !strings.Contains(err.Error(), bad.id.text()+" is damaged") {
			t.Errorf("a damaged record: %v", err)
		}
	}
	again.mustBackup(t, "air")
	v, err := VerifyRecords(t.Context(), st, func(int64) {})
	if err != nil || v.Wrong != 3 || v.Exports != 2 {
		t.Errorf("%+v, %v", v, err)
	}
}
