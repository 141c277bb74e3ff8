package table

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"mote/internal/cloud/store"
	"mote/internal/watch"
)

// collect is an ExportWriter that keeps the ids of the items.
func collect(ids map[string]bool, before func()) ExportWriter {
	return func(_ *Export, items func(func(Item) error) error) (string, error) {
		before()
		return "manifest", items(func(item Item) error {
			ids[item["id"].Str] = true
			return nil
		})
	}
}

func (db *DB) exportEnds(t *testing.T, arn string) (e *Export) {
	t.Helper()
	watch.Until(t, "end of the export", func() bool {
		var err error
		e, err = db.DescribeExport(arn)
		return err != nil || e.Status != ExportRunning
	})
	return e
}

func TestAnExportIsOfOneMoment(t *testing.T) {
	db, st := openDB(t)
	createIndexed(t, db, st, 600)
	was, err := db.countItems(db.mustTable(t, "air"))
	if err != nil {
		t.Fatal(err)
	}
	changed, ids := make(chan struct{}), map[string]bool{}
	begun, err := db.Export("air", Export{Bucket: "b-1", Prefix: "p", Token: "once"}, collect(ids, func() { <-changed }))
	if err != nil || begun.Status != ExportRunning || begun.Table != "air" {
		t.Fatalf("%+v, %v", begun, err)
	}
	again, err := db.Export("air", Export{Bucket: "b-1", Prefix: "p", Token: "once"}, nil)
	if err != nil || again.ARN != begun.ARN {
		t.Errorf("the same token: %+v, %v", again, err)
	}
	if _, err := db.Export("air", Export{Bucket: "b-2", Prefix: "p", Token: "once"}, nil); codeOf(err) != CodeExportConflict {
		t.Errorf("the same token for another bucket: %v", err)
	}
	if _, err := db.DeleteItem(DeleteRequest{Table: "air", Key: Item{"id": String("7")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Delete("air"); err != nil { // the export has its moment
		t.Fatal(err)
	}
	close(changed)
	e := db.exportEnds(t, begun.ARN)
	if e.Status != ExportCompleted || e.Manifest != "manifest" || e.Ended.IsZero() || (Count{e.Items, e.Bytes}) != was || len(ids) != 600 || !ids["7"] {
		t.Errorf("%+v with %d ids, want %+v", e, len(ids), was)
	}
}

func TestExportsThatFail(t *testing.T) {
	db, st := openDB(t)
	createIndexed(t, db, st, 1)
	e, err := db.Export("air", Export{Bucket: "b-1"}, func(*Export, func(func(Item) error) error) (string, error) { return "x", errors.New("no room") })
	if err != nil {
		t.Fatal(err)
	}
	if e = db.exportEnds(t, e.ARN); e.Status != ExportFailed || e.Failure != "no room" || e.Manifest != "" {
		t.Errorf("%+v", e)
	}
	if _, err := db.Export("none", Export{Bucket: "b-1"}, nil); codeOf(err) != CodeTableNotFound {
		t.Error(err)
	}
	for _, arn := range []string{"", "x", e.ARN + "0", "other" + e.ARN} {
		if _, err := db.DescribeExport(arn); codeOf(err) != CodeExportNotFound {
			t.Errorf("%q: %v", arn, err)
		}
	}
	hold := make(chan struct{})
	for range maxCopying {
		if _, err := db.Export("air", Export{Bucket: "b-1"}, collect(map[string]bool{}, func() { <-hold })); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Export("air", Export{Bucket: "b-1"}, nil); codeOf(err) != CodeLimit {
		t.Errorf("one export too many: %v", err)
	}
	close(hold)
	watch.Until(t, "free place", func() bool { return db.copying.Load() == 0 })
}

func TestATokenStandsForEightHours(t *testing.T) {
	now := time.Now()
	old := &Export{ARN: "a", TableUUID: "t", Bucket: "b", Token: "once", Started: now.Add(-exportToken)}
	same := Export{TableUUID: "t", Bucket: "b", Token: "once"}
	if e, err := same.earlier([]*Export{old}, now); e != old || err != nil {
		t.Errorf("%v, %v", e, err)
	}
	if e, err := same.earlier([]*Export{old}, now.Add(1)); e != nil || err != nil {
		t.Errorf("after it: %v, %v", e, err)
	}
	if e, err := (&Export{TableUUID: "t", Bucket: "b"}).earlier([]*Export{{TableUUID: "t", Bucket: "b", Started: now}}, now); e != nil || err != nil {
		t.Errorf("no token: %v, %v", e, err)
	}
}

func TestAnExportThatAStopCutsOffHasFailed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	db, st := openAt(t, dir)
	createIndexed(t, db, st, 600)
	ended := make(chan error, 1)
	e, err := db.Export("air", Export{Bucket: "b-1"}, func(_ *Export, items func(func(Item) error) error) (string, error) {
		<-db.quit // so the first pause ends it
		err := items(func(Item) error { return nil })
		ended <- err
		return "", err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), st.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, store.ErrClosed) { // Close has waited for it
		t.Errorf("the export ended with %v", err)
	}
	db, st = openAt(t, dir)
	cut, err := db.DescribeExport(e.ARN)
	if err != nil || cut.Status != ExportFailed || cut.Failure == "" || cut.Ended.IsZero() || cut.Items != 0 {
		t.Errorf("%+v, %v", cut, err)
	}
	if err := errors.Join(db.Close(), st.Close()); err != nil {
		t.Error(err)
	}
}
